"""Compare every blob of a net with Caffe's, and name the first one that departs.

    fcn-repro check-parity net.prototxt weights.caffemodel.h5 golden.h5

The golden has inputs/<blob> and blobs/ or outputs/; with blob_diffs/, input_diffs/ or param_diffs/
a backward pass is compared as well. Columns: the largest difference; the same divided by the
golden's largest value, which is what the limits apply to; the difference at the largest golden
value that differs, in units of float32's last place there. A diff marked `ties` exceeds its limit,
but by no more than the choice among tied maxima of max pooling can change it. The exit status is 1
if a blob departs. Precisions other than fp32 have wider limits (docs/numerics.md).
"""

import argparse

from ..parity import LIMITS, Placement, compare_blobs
from ..parity.blobs import DATA
from ..parity.comparison import DEPARTS, OK
from ..sizes import dims
from .arguments import add_dialect, add_placement, add_writes, dialect_of_args, finite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('net', help='prototxt')
    parser.add_argument('weights', help="caffemodel or HDF5, or 'none': the golden's own params")
    parser.add_argument('golden', help='HDF5, in the format of the goldens')
    parser.add_argument('--limit', type=finite, metavar='ERROR', help='of data (default: that of '
                        f'the precision, {LIMITS["fp32"].activations:g} of fp32)')
    parser.add_argument('--gradients', type=finite, metavar='ERROR', help='of diffs (default: that '
                        f'of the precision, {LIMITS["fp32"].gradients:g} of fp32)')
    add_dialect(parser)
    add_placement(parser)
    parser.add_argument('--blas', action='store_true', help='multiply matrices as Caffe does on '
                        "the CPU, for its very bits (see docs/numerics.md)")
    add_writes(parser)


def run(args: argparse.Namespace) -> int | None:
    """1 where an array departs."""
    where = Placement(args.device, args.precision)
    where.check()
    limits = LIMITS[where.precision]
    rows = compare_blobs(args.net, None if args.weights == 'none' else args.weights, args.golden,
                         limits.activations if args.limit is None else args.limit,
                         limits.gradients if args.gradients is None else args.gradients,
                         args.blas, args.writes, where, **dialect_of_args(args))
    name = max(len(row.name) for row in rows)
    shape = max(len(dims(row.shape)) for row in rows)
    print(f'{"blob":{name}}  {"":10}  {"shape":{shape}}  max abs  max rel      ULPs')
    for row in rows:
        remark = '' if row.verdict == OK else f'  {row.verdict}'
        print(f'{row.name:{name}}  {row.kind:10}  {dims(row.shape):{shape}}  {row.gap:7.1e}  '
              f'{row.relative:7.1e}  {row.ulps:8.3g}{remark}')
    departing = [row for row in rows if row.verdict == DEPARTS]
    if not departing:
        print(f'all {len(rows)} arrays are within their limits')
        return None
    first = departing[0]
    made = 'it is made by' if first.kind == DATA else 'its gradient comes from'
    print(f'{len(departing)} of {len(rows)} arrays depart; the first is the {first.kind} of '
          f"'{first.name}': {made} {first.layer}")
    return 1
