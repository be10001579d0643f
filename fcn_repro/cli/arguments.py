"""What several commands share: options, and the processes that run them."""

import argparse
import logging
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields
from typing import Any

from ..data.image import MOST_PIXELS
from ..distributed import Processes, joined
from ..errors import FcnError, short
from ..predict.crf import GRID, Crf, option_of
from ..proto.dialects import Dialect, dialects, find_dialect
from ..recipe.optimisations import NAMES
from ..sizes import check_shape

SETTINGS = {'bi_w': 'weight of the kernel of place and colour',
            'bi_xy_std': 'its deviation in pixels', 'bi_rgb_std': 'its deviation in grey levels',
            'pos_w': 'weight of the kernel of place', 'pos_xy_std': 'its deviation in pixels',
            'iterations': 'iterations of mean field'}
SIZE = re.compile(r'(\d{1,9})(?:x(\d{1,9}))?')


def finite(text: str) -> float:
    """The number that an option gives, as argparse's type: neither NaN nor infinite, nor of so many
    digits that it is."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f'{short(repr(text), 80)} is no finite number')
    return value


def as_size(text: str) -> tuple[int, int]:
    """(H, W) of 'HxW', or of one number for both. FcnError for another text."""
    found = SIZE.fullmatch(text.replace('×', 'x'))
    if not found or not int(found[1]) or found[2] == '0':
        raise FcnError(f"'{text}' is no size", do='Give --size as height x width, such as 500x375.')
    size = int(found[1]), int(found[2] or found[1])
    check_shape((1, 3, *size), 'the image')
    return size


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--workers', type=int, metavar='N', help='threads that read images ahead, '
                        '0 for none (default: the number of cores, up to 4)')


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    """The limit of data.image, which main sets."""
    parser.add_argument('--max-pixels', type=int, metavar='N', default=MOST_PIXELS, help='largest '
                        'image or label that is read (default: %(default)s)')


def add_experiments(parser: argparse.ArgumentParser, what: str, out: str) -> None:
    """What commands have that train several runs and write what came out. what: one of the runs;
    out: the default of --out, in words."""
    parser.add_argument('--runs', metavar='DIR', default='runs', help='folder of all runs '
                        '(default: %(default)s)')
    parser.add_argument('--out', metavar='DIR', help=f'folder of what is written (default: {out})')
    parser.add_argument('--iterations', type=int, metavar='N', help=f'of every {what}, instead of '
                        'its own: a trial; give it --runs of its own. What one starts from that '
                        'is not among them (a classifier) is trained as always')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, … (default: a GPU if there is one)')
    parser.add_argument('--jobs', type=int, metavar='N', help='runs that train beside each other, '
                        'each with its part of the cores (default: one for each core; on a '
                        'GPU 1)')
    parser.add_argument('--keep', type=int, metavar='N', default=1, help='snapshots of a run; '
                        'older ones are removed (default: %(default)s)')
    add_max_pixels(parser)
    add_workers(parser)


def add_published(parser: argparse.ArgumentParser) -> None:
    """The folders of recipe.options.PUBLISHED."""
    for name, what in {
            'nyud': "NYUDv2's folder, with segmentation/ and train.txt",
            'siftflow': "SIFT Flow's folder, with SemanticLabels/ and trainval.txt",
            'context': "PASCAL-Context's folder, with trainval/",
            'pascal': 'the folder that VOC2010 is in, for PASCAL-Context'}.items():
        parser.add_argument(f'--{name}', metavar='DIR',
                            help=f'{what} (default: the one that the net names)')


def add_dialect(parser: argparse.ArgumentParser, texts: bool = True) -> None:
    """The fork of the nets that a command reads; texts: it reads prototxt files, not weights
    alone."""
    group = parser.add_argument_group("nets of Caffe's forks")
    group.add_argument('--dialect', metavar='NAME', help='the fork of Caffe that the net was '
                       f'written for: {", ".join(dialects())} (default: the one that its fields '
                       'and layer types tell)' if texts else 'the fork of Caffe that wrote the '
                       f'file: {", ".join(dialects())} (default: the one that its numbers tell)')
    if texts:
        group.add_argument('--define', action='append', default=[], metavar='NAME=VALUE',
                           help='the value of ${NAME} in nets and solvers, as in DeepLab\'s files; '
                           'may be repeated')


def dialect_of_args(args: argparse.Namespace) -> dict[str, Any]:
    """What --dialect and --define give, as read_net takes it. FcnError for an unknown dialect, and
    as defines_of."""
    return {'dialect': args.dialect and find_dialect(args.dialect),
            'define': defines_of(args.define)}


def say_dialect(file: object, dialect: Dialect, found: str) -> None:
    """Print which fork's dialect a net is read in, where it was found (Net.found) and not named."""
    if found:
        print(f"{file} is read in the dialect '{dialect.name}', found {found}; --dialect names "
              'another')


def defines_of(texts: Sequence[str]) -> dict[str, str]:
    """{name: value} of texts NAME=VALUE. FcnError for one without a name or a value."""
    define = {}
    for text in texts:
        name, equals, value = text.partition('=')
        if not name.isidentifier() or not equals:
            raise FcnError(f"--define '{text}' is not NAME=VALUE",
                           do='Give it as --define NUM_LABELS=21.')
        define[name] = value
    return define


def add_user_code(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--no-user-code', action='store_true', help='refuse nets whose Python '
                        'layers are not of this project: nothing of theirs is imported')


def add_writes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--allow-writes', action='append', default=[], dest='writes', metavar='DIR',
                        help='a folder in which layers of the net may write files (HDF5Output); '
                        'may be repeated (default: none)')


def add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--precision', default='fp32', help='fp32, bf16; on a GPU tf32 and fp16 '
                        'too (default: %(default)s)')


def add_placement(parser: argparse.ArgumentParser) -> None:
    """The fields of parity.Placement."""
    parser.add_argument('--device', default='cpu', help='cpu, cuda, cuda:1, … (default: '
                        '%(default)s)')
    add_precision(parser)


def add_crf(parser: argparse.ArgumentParser, search: bool = False) -> None:
    """The settings of predict.crf.Crf, for --crf; search: and the grid for --crf-search."""
    group = parser.add_argument_group('a dense CRF after the net (docs/crf.md)')
    group.add_argument('--crf', action='store_true', help='refine the probabilities by a fully '
                       'connected CRF of place and colour')
    for each in fields(Crf):
        kind = int if each.name == 'iterations' else finite
        several: dict[str, Any] = {'nargs': '+'} if search and each.name in GRID else {}
        tried = f'; in a search {" ".join(f"{v:g}" for v in GRID[each.name])}' if several else ''
        group.add_argument(f'--{option_of(each.name)}', type=kind, metavar='N' if kind is int else
                           'X', dest=f'crf_{each.name}', **several,
                           help=f'{SETTINGS[each.name]} (default: {each.default:g}{tried})')
    if search:
        group.add_argument('--crf-search', action='store_true', help='try combinations of '
                           'settings on the first images of the split (--images, default: 100), '
                           'and print the best')
        group.add_argument('--crf-rounds', type=int, metavar='N', help='of a search, the further '
                           'ones at half the steps around the best (default: 2)')


def crf_of_args(args: argparse.Namespace) -> Crf | None:
    """What --crf means; None without it. FcnError for a setting without it, and for several values
    of one."""
    given = {each.name: getattr(args, f'crf_{each.name}') for each in fields(Crf)}
    given = {name: value for name, value in given.items() if value is not None}
    if not args.crf:
        for name in given:
            raise FcnError(f'--{option_of(name)} is for a CRF', do='Give --crf, or leave it out.')
        return None
    for name, value in given.items():
        if isinstance(value, list):
            if len(value) > 1:
                raise FcnError(f'{len(value)} values of --{option_of(name)}',
                               do='Give one, or try them by --crf-search in place of --crf.')
            given[name], = value
    return Crf(**given)


def grid_of_args(args: argparse.Namespace) -> dict[str, Sequence[float]]:
    """The grid of --crf-search. FcnError beside --crf."""
    if args.crf:
        raise FcnError('--crf and --crf-search are both given', do='Give one of them.')
    grid: dict[str, Sequence[float]] = {}
    for each in fields(Crf):
        value = getattr(args, f'crf_{each.name}')
        values: list[float] = list(GRID.get(each.name, (getattr(Crf(), each.name),))) \
            if value is None else value if isinstance(value, list) else [value]
        for one in values:
            Crf().changed({each.name: one})             # refuses what no CRF has
        grid[each.name] = tuple(dict.fromkeys(values))
    return grid


def add_optimisations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--no-opt', action='append', default=[], metavar='NAME', help='switch an '
                        f'optimisation off, which changes the time alone: {", ".join(NAMES)}; may '
                        'be repeated')


@contextmanager
def processes_of_command() -> Iterator[Processes]:
    """The processes that run this command together. The first one prints and warns; an error that
    all of them find is printed by one."""
    with joined() as processes:
        try:
            if processes.first:
                yield processes
            else:
                logging.getLogger('fcn_repro').setLevel(logging.ERROR)
                with open(os.devnull, 'w') as nowhere, redirect_stdout(nowhere):
                    yield processes
        except FcnError as error:
            if processes.told(error):
                sys.exit(1)
            raise
