"""Store MNIST's images and labels, IDX files, as an LMDB."""

import argparse

from ...formats.converters import check_backend, convert_mnist
from .gflags import Flag

USAGE = '[FLAGS] INPUT_IMAGE_FILE INPUT_LABEL_FILE OUTPUT_DB_FILE'
WORDS = 3, 3
FLAGS = (Flag('backend', 'lmdb', 'the type of the database: lmdb'),)


def run(flags: argparse.Namespace, args: list[str]) -> None:
    images, labels, database = args
    check_backend(flags.backend, database)
    convert_mnist(images, labels, database)
