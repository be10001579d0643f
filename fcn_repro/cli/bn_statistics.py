"""Fold the statistics of a data set into the BNs of SegNet or ENet (compute_bn_statistics.py).

    fcn-repro bn-statistics --net train.prototxt --weights snapshot.caffemodel --out segnet-test

These nets' BN normalises by its batch, also when testing, until the averages of its mean and its
variance over a data set are folded into its scale and shift (bn_mode: INFERENCE). The net of phase
TRAIN runs over its own data, in phase TEST: Dropout does nothing, ENet's spatial dropout drops.

NAME.caffemodel gets the new scales and shifts, NAME.prototxt the deploy net: an Input layer instead
of the data, Softmax `prob` instead of the loss. `fcn-repro bn-absorb` makes them faster.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import FcnError
from ..formats.atomic import make_folder, write_text
from ..formats.weights import FILLER, blob_counts
from ..memory import keep_freed_memory
from ..net.bn_statistics import (
    fold,
    gather,
    inference_text,
    passes_of,
    statistics_text,
)
from ..net.net import Net
from ..net.placement import place
from ..proto import TEST
from ..proto.netspec import net_text
from ..proto.prototxt import read_net
from ..recipe.provenance import made_from
from .arguments import add_dialect, add_placement, dialect_of_args

SHOWN = 50          # passes between two lines of progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--net', required=True, metavar='NET', help='the train net, with its data')
    parser.add_argument('--weights', required=True, metavar='WEIGHTS', help='what it has learned: '
                        'a caffemodel, or HDF5')
    parser.add_argument('--out', metavar='NAME', required=True, help='NAME.prototxt and '
                        'NAME.caffemodel are written')
    parser.add_argument('--passes', type=int, metavar='N', help='forward passes over the data '
                        '(default: samples / batch, plus the rest of this division, as the script '
                        'of a list of images has it; one epoch of other data)')
    parser.add_argument('--unbiased', action='store_true', help='take the variances times m / (m - '
                        '1); the script means to, but its Python divides whole numbers')
    add_dialect(parser)
    add_placement(parser)


def run(args: argparse.Namespace) -> None:
    keep_freed_memory()
    if args.passes is not None and args.passes < 1:
        raise FcnError(f'--passes {args.passes}', do='Give a whole number from 1 on.')
    given = dialect_of_args(args)
    text = statistics_text(read_net(
        args.net, **given, blobs=None if given['dialect'] else lambda: blob_counts(args.weights)))
    net = Net.of(text, TEST)
    rows = net.copy_from(args.weights)
    missing = [row.layer for row in rows if row.action == FILLER]
    if missing:
        raise FcnError(f"the weights lack {', '.join(missing)}", file=args.weights,
                       do='Give the weights of this net.')
    place(net, args.device, precision=args.precision)
    passes = args.passes or passes_of(net)
    if not passes:
        raise FcnError('the data do not tell how many samples they have', file=args.net,
                       do='Give --passes.')
    made = gather(net, no_inputs(passes), lambda k: show(k, passes))
    deploy = inference_text(text, net)
    folded = Net.of(deploy, TEST)
    folded.copy_from(args.weights)
    with torch.no_grad():
        for name, statistics in made.items():
            blobs = folded.params[name]
            scale, shift = (blob.data.detach().numpy() for blob in blobs)
            for blob, value in zip(blobs, fold(scale, shift, statistics, args.unbiased),
                                   strict=True):
                blob.data[...] = torch.from_numpy(value)
    out = Path(args.out)
    make_folder(out.absolute().parent)
    folded.save(f'{out}.caffemodel', made_from(args.weights))
    write_text(net_text(deploy.message, f'made by fcn-repro bn-statistics from '
                        f'{Path(args.net).name}'), f'{out}.prototxt')
    print(f'statistics of {len(made)} BNs over {passes} passes: wrote {out}.prototxt and '
          f'{out}.caffemodel')


def no_inputs(count: int) -> Iterator[Mapping[str, Any]]:
    """So many feeds of a net that reads its data itself."""
    return ({} for _ in range(count))


def show(k: int, passes: int) -> None:
    """A line of progress now and then."""
    if k % SHOWN == 0 or k == passes:
        print(f'pass {k} of {passes}', flush=True)
