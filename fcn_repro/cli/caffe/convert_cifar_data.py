"""Store CIFAR-10's binary batches as two LMDBs, cifar10_train_lmdb and cifar10_test_lmdb."""

import argparse

from ...formats.converters import check_backend, convert_cifar

USAGE = 'INPUT_FOLDER OUTPUT_FOLDER DB_TYPE'
WORDS = 3, 3
FLAGS = ()


def run(flags: argparse.Namespace, args: list[str]) -> None:
    source, output, kind = args
    check_backend(kind, output)
    convert_cifar(source, output)
