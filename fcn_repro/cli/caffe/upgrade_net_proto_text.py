"""Rewrite a net's prototxt of an older Caffe in today's form."""

import argparse

from ...formats.upgrades import upgrade_net_text
from .device import DIALECT, fork

USAGE = 'OLD_FILE_IN FILE_OUT'
WORDS = 2, 2
FLAGS = DIALECT


def run(flags: argparse.Namespace, args: list[str]) -> None:
    source, target = args
    upgrade_net_text(source, target, **fork(flags))
