#!/usr/bin/env python3
"""Peak memory of FCN-8s at VGG16 widths, one image: our net and plain PyTorch's.

    python benchmarks/memory.py [--size 375x500] [--threads 2] [--json FILE]

Each figure is the largest resident size (ru_maxrss) of a process of its own that makes the net and
runs it twice; `net alone` leaves out what Python and torch took before. It does not depend on what
else the machine does. Forward gives scores; a training step includes gradients and update.
"""

import multiprocessing
import resource
from argparse import Namespace

import fcn8s
import torch
from nets import ours, plain, sample
from peers import FORMATS
from timing import OURS, arguments, parse_size, prepare, write

FORWARD, STEP = 'forward', 'training step'
EAGER = 'eager, channels-last'


def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_twice(way, what, size, threads):
    """(peak bytes of this process after two runs, those from before the net)."""
    torch.set_num_threads(threads)
    before, args = peak(), Namespace(size=size, device='cpu')
    x, y = sample(size)
    if what == STEP:
        step, _ = fcn8s.our_step(args, x, y) if way == OURS else \
            fcn8s.eager_step(args, 'channels-last', x, y, foreach=True)
    elif way == OURS:
        net = ours()
        step = torch.inference_mode()(lambda: net(data=x)['score'])
    else:
        net = plain(FORMATS['channels-last'])
        image = x.contiguous(memory_format=torch.channels_last)
        step = torch.inference_mode()(lambda: net(image))
    for _ in range(2):
        step()
    return peak(), before


def main():
    parser = arguments(__doc__, 1)
    parser.add_argument('--size', type=parse_size, default=fcn8s.SIZE, metavar='HxW')
    args, rows, spawn = parser.parse_args(), [], multiprocessing.get_context('spawn')
    for what in FORWARD, STEP:      # a process inherits its parent's peak: so nothing comes before
        for way in EAGER, OURS:
            with spawn.Pool(1) as pool:
                after, before = pool.apply(run_twice, (way, what, args.size, args.threads))
            rows.append({'group': what, 'way': way, 'peak_bytes': after, 'bytes_before': before})
    machine = prepare(args)
    for row in rows:
        alone = row['peak_bytes'] - row['bytes_before']
        print(f'{row["group"]:16}{row["way"]:24}{row["peak_bytes"] / 1e6:8.0f} MB, net alone '
              f'{alone / 1e6:.0f} MB')
    write(args.json, machine, rows)


if __name__ == '__main__':
    main()
