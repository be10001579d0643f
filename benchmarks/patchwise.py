#!/usr/bin/env python3
"""A classifier on every patch of an image against one pass over it (paper, section 3.1).

    python benchmarks/patchwise.py [--net alexnet] [--size 500x500] [--batch 10] [--runs 3]
                                   [--threads 2] [--device cuda] [--json FILE]

Random weights. ours: the fully convolutional net, once over the image; its patches are as many as
it has cells, in batches. The backward passes are timed by `fcn-repro paper timing`.
"""

import torch
from timing import OURS, arguments, measure, parse_size, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.paper.speed import random_net
from fcn_repro.predict.patchwise import Patchwise
from fcn_repro.recipe.stages import shipped


@report_errors()
def main():
    parser = arguments(__doc__, 3)
    parser.add_argument('--net', default='alexnet')
    parser.add_argument('--size', type=parse_size, default=(500, 500))
    parser.add_argument('--batch', type=int, default=10)
    args = parser.parse_args()
    machine = prepare(args)
    device = torch.device(args.device)
    ways = Patchwise(random_net(shipped(args.net) / 'deploy.prototxt', device), args.size,
                     args.batch)
    runs = ways.ways(50 * torch.randn(3, *args.size, device=device))
    case = {'net': args.net, 'size': 'x'.join(map(str, args.size)), 'batch': args.batch,
            'grid': 'x'.join(map(str, ways.grid))}
    rows = measure('a grid of scores', case, {
        OURS: runs['whole'], 'patches in batches': runs['naive'], 'one batch': runs['batch']},
        args, warm=False)
    write(args.json, machine, rows)


if __name__ == '__main__':
    main()
