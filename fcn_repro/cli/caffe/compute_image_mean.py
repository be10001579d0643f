"""Compute the mean image of a database, and its mean per channel."""

import argparse

from ...formats.converters import check_backend, mean_image
from .gflags import MAX_PIXELS, Flag

USAGE = '[FLAGS] INPUT_DB [OUTPUT_FILE]'
WORDS = 1, 2
FLAGS = (Flag('backend', 'lmdb', 'the type of the database: lmdb'), MAX_PIXELS)


def run(flags: argparse.Namespace, args: list[str]) -> None:
    database, *output = args
    check_backend(flags.backend, database)
    mean_image(database, *output)
