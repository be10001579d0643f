"""Rewrite a caffemodel of an older Caffe in today's form."""

import argparse

from ...formats.upgrades import upgrade_net_binary
from .device import DIALECT, fork

USAGE = 'OLD_FILE_IN FILE_OUT'
WORDS = 2, 2
FLAGS = DIALECT[:1]


def run(flags: argparse.Namespace, args: list[str]) -> None:
    source, target = args
    upgrade_net_binary(source, target, fork(flags)['dialect'])
