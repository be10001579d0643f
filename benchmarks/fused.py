#!/usr/bin/env python3
"""Labels, and a training step's loss and gradient, from low-resolution scores: fused or in steps.

    python benchmarks/fused.py [--runs 30] [--threads 2] [--device cuda]

The peers are what a user writes: conv_transpose2d, dense or depthwise, a slice, then argmax, or
cross_entropy and backward. All take turns in one process; on the CPU glibc is told to keep freed
memory, for all alike. The ratio is the median over the turns of peer / ours in the same turn, the
best that of the fastest turns.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from upcrop import CLASSES, HEIGHT, NETS, WIDTH, keep_memory, processor, scores

from fcn_repro import ops


def chains(kernel, stride, offset, device):
    """(name -> scores to labels), (name -> scores and labels to the gradient)."""
    taps = ops.bilinear_taps(kernel).float().to(device)
    square = torch.outer(taps, taps)
    dense = torch.zeros(CLASSES, CLASSES, kernel, kernel, device=device)
    dense[range(CLASSES), range(CLASSES)] = square
    single = square.expand(CLASSES, 1, -1, -1).contiguous()
    window = (..., slice(offset, offset + HEIGHT), slice(offset, offset + WIDTH))
    args = taps, taps, (stride, stride), (0, 0), (offset, offset)
    ups = {'dense': lambda x: F.conv_transpose2d(x, dense, None, stride)[window],
           'depthwise': lambda x: F.conv_transpose2d(x, single, None, stride,
                                                     groups=CLASSES)[window]}
    labels = {name: lambda x, y, up=up: up(x).argmax(1) for name, up in ups.items()}
    labels['ours'] = lambda x, y: ops.upcrop_argmax(x, *args, (HEIGHT, WIDTH))
    losses = {name: lambda x, y, up=up: torch.autograd.grad(
        F.cross_entropy(up(x), y, ignore_index=255), x) for name, up in ups.items()}
    losses['ours'] = lambda x, y: torch.autograd.grad(
        ops.upcrop_softmax_loss(x, y, *args, ignore_label=255), x)
    return labels, losses


def turns(functions, runs, wait):
    """name -> seconds of each turn; every function runs once unmeasured in a turn."""
    taken = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            function()
            wait()
            start = time.perf_counter()
            function()
            wait()
            taken[name].append(time.perf_counter() - start)
    return taken


def compare(title, functions, runs, wait):
    taken = turns(functions, runs, wait)
    ours = taken['ours']
    print(f'\n{title}\n{"":12}{"median":>12}{"best":>12}{"ratio":>8}{"of best":>9}')
    for name, times in taken.items():
        ratio = statistics.median(a / b for a, b in zip(times, ours))
        print(f'{name:12}{1e3 * statistics.median(times):9.3f} ms{1e3 * min(times):9.3f} ms'
              f'{ratio:8.1f}{min(times) / min(ours):9.1f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=30, help='turns')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    keep_memory()
    wait = torch.cuda.synchronize if args.device == 'cuda' else int
    print(f'{processor(args.device)}, {args.threads} threads, torch {torch.__version__}, float32, '
          f'{CLASSES} classes to {HEIGHT}x{WIDTH}, {args.runs} turns')
    for net, geometry in NETS.items():
        x = scores(*geometry, False).to(args.device)
        needs = x.clone().requires_grad_()
        y = torch.randint(CLASSES, (1, HEIGHT, WIDTH), device=args.device)
        labels, losses = chains(*geometry, args.device)
        compare(f'{net}: labels', {name: lambda f=f, x=x, y=y: f(x, y)
                                   for name, f in labels.items()}, args.runs, wait)
        compare(f'{net}: loss and gradient', {name: lambda f=f, x=needs, y=y: f(x, y)
                                              for name, f in losses.items()}, args.runs, wait)


if __name__ == '__main__':
    main()
