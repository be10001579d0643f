"""Store a list of images with labels as an LMDB for Caffe's Data layer."""

import argparse

from ...formats.converters import check_backend, convert_imageset
from .gflags import MAX_PIXELS, Flag

USAGE = '[FLAGS] ROOTFOLDER/ LISTFILE DB_NAME'
WORDS = 3, 3
FLAGS = (
    Flag('gray', False, 'treat images as grayscale ones'),
    Flag('shuffle', False, 'store the images in a random order, the same each time'),
    Flag('backend', 'lmdb', 'the type of the database: lmdb'),
    Flag('resize_width', 0, 'width that images are resized to'),
    Flag('resize_height', 0, 'height that images are resized to'),
    Flag('check_size', False, 'stop at an image of another size than the first'),
    Flag('encoded', False, 'store the compressed images'),
    Flag('encode_type', '', "compress them as 'png', 'jpg', …; empty: as they are"),
    MAX_PIXELS,
)


def run(flags: argparse.Namespace, args: list[str]) -> None:
    root, listing, database = args
    check_backend(flags.backend, database)
    convert_imageset(
        root, listing, database, gray=flags.gray, shuffle=flags.shuffle,
        size=(flags.resize_height, flags.resize_width), check_size=flags.check_size,
        encoded=flags.encoded, encode_type=flags.encode_type)
