#!/usr/bin/env python3
"""Dense output: skips against shift-and-stitch and filter rarefaction (paper, section 3.2).

    python benchmarks/dense.py [--size 256x320] [--stride 8 16] [--full] [--runs 3] [--threads 2]
                               [--json FILE]

The nets are the mini ones with random weights, or with --full the multiply-adds alone of VGG16's,
which are counted from the shapes. Each way gives scores at the stride asked for, before the last,
fixed upsampling: FCN-16s and 8s by their skips, FCN-32s's score_fr by the other two. ours: the
skips. Per row: times, multiply-adds of a pass or of all shifted ones, and how many passes.
"""

import torch
from timing import OURS, arguments, measure, parse_size, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.net import Net
from fcn_repro.net.dense import multiply_adds, rarefied, shift_and_stitch, stitching_sizes
from fcn_repro.net.placement import place
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST
from fcn_repro.recipe.stages import shipped

SKIPS = {16: ('fcn16s', 'fuse_pool4'), 8: ('fcn8s', 'fuse_pool3')}      # net, its scores there
COARSE = 'fcn32s', 'score_fr'


def deploy(name):
    """A placed deploy net with small random weights."""
    net = Net.read(shipped(name) / 'deploy.prototxt', TEST, passes=DEFAULT)
    draw = torch.Generator().manual_seed(0)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data.normal_(0, 0.01, generator=draw)
    return place(net)


def compare(stride, size, args):
    """Rows of one stride."""
    family = 'voc' if args.full else 'mini'
    (skips, fused), (coarse, scores) = SKIPS[stride], COARSE
    net, plain = deploy(f'{family}-{skips}'), deploy(f'{family}-{coarse}')
    spread = rarefied(plain, scores, stride)
    sizes = list(stitching_sizes(plain, scores, *size, stride))
    image = torch.randn(1, 3, *size)
    work = {OURS: multiply_adds(net, fused, *size),
            'coarse scores alone': multiply_adds(plain, scores, *size),
            'shift-and-stitch': sum(multiply_adds(plain, scores, *each) for each in sizes),
            'filter rarefaction': multiply_adds(spread, scores, *size)}
    passes = {way: len(sizes) if way == 'shift-and-stitch' else 1 for way in work}
    case = {'net': family, 'stride': stride, 'size': 'x'.join(map(str, size))}
    if args.full:
        rows = [{'group': 'dense output', 'case': case, 'way': way} for way in work]
    else:
        rows = measure('dense output', case, {
            OURS: lambda: net.forward(blobs=fused, stop_after=fused, data=image),
            'coarse scores alone': lambda: plain.forward(blobs=scores, stop_after=scores,
                                                         data=image),
            'shift-and-stitch': lambda: shift_and_stitch(plain, scores, image, stride),
            'filter rarefaction': lambda: spread.forward(data=image)}, args, warm=False)
    for row in rows:
        row |= {'multiply_adds': work[row['way']], 'passes': passes[row['way']]}
        print(f'{family}, stride {stride}: {row["way"]:22}{work[row["way"]] / 1e9:12.2f} billion '
              f'multiply-adds, {work[row["way"]] / work[OURS]:7.2f} times ours, '
              f'{passes[row["way"]]} passes')
    return rows


@report_errors()
def main():
    parser = arguments(__doc__, 3)
    parser.add_argument('--size', type=parse_size, default=(256, 320))
    parser.add_argument('--stride', type=int, nargs='+', choices=tuple(SKIPS), default=[16, 8])
    parser.add_argument('--full', action='store_true')
    args = parser.parse_args()
    machine = prepare(args)
    write(args.json, machine, [row for stride in args.stride
                               for row in compare(stride, args.size, args)])


if __name__ == '__main__':
    main()
