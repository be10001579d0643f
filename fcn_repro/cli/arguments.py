"""Options that several commands share."""

import argparse

from ..recipe.optimisations import NAMES


def add_optimisations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--no-opt', action='append', default=[], metavar='NAME', help='switch an '
                        f'optimisation off, which changes the time alone: {", ".join(NAMES)}; may '
                        'be repeated')
