#!/usr/bin/env python3
"""Upsample and crop the class scores of a 375x500 image: the fused op against the usual ways.

    python benchmarks/upcrop.py [--runs 30] [--threads 2] [--channels-last] [--device cuda]

All ways alternate run by run in one process, so that other load falls on all of them alike; a turn
calls the function once unmeasured, and glibc is told to keep freed memory, so that no one pays for
the pages that another gave back. `best` are the fastest turns, which other load disturbs least. The
floor is the time to write the output once. F.interpolate has other values at the border; it is
there for its speed.
"""

import argparse
import ctypes
import platform
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from fcn_repro import ops

CLASSES, HEIGHT, WIDTH = 21, 375, 500
NETS = {'FCN-8s': (16, 8, 31), 'FCN-32s': (64, 32, 19)}    # kernel, stride, crop offset


def processor(device):
    """The GPU's or processor's name, or the architecture where /proc does not tell."""
    if device == 'cuda':
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    names = [line.split(':')[1].strip() for line in info.read_text().splitlines()
             if line.startswith('model name')] if info.exists() else []
    return names[0] if names else platform.machine()


def keep_memory():
    """Have glibc keep freed memory: large outputs are fresh pages in some turns otherwise."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        mallopt(-1, 2**31 - 1)      # M_TRIM_THRESHOLD
        mallopt(-3, 2**30)          # M_MMAP_THRESHOLD


def ways(kernel, stride, offset, device):
    """name -> function of the scores, all giving (1, CLASSES, HEIGHT, WIDTH)."""
    taps = ops.bilinear_taps(kernel).float().to(device)
    square = torch.outer(taps, taps)
    dense = torch.zeros(CLASSES, CLASSES, kernel, kernel, device=device)
    dense[range(CLASSES), range(CLASSES)] = square
    window = (..., slice(offset, offset + HEIGHT), slice(offset, offset + WIDTH))
    args = (stride, stride), (0, 0), (offset, offset), (HEIGHT, WIDTH)
    shift = offset - stride // 2    # F.interpolate leaves out the half kernel at the border
    inner = (..., slice(shift, shift + HEIGHT), slice(shift, shift + WIDTH))
    return {
        'dense conv_transpose2d + slice': lambda x: F.conv_transpose2d(x, dense, None, stride)[
            window].contiguous(),
        'depthwise conv_transpose2d + slice': lambda x: ops.upcrop_ref(x, taps, taps, *args
                                                                       ).contiguous(),
        'F.interpolate + slice': lambda x: F.interpolate(
            x, scale_factor=stride, mode='bilinear')[inner].contiguous(),
        'upcrop': lambda x: ops.upcrop(x, taps, taps, *args),
    }


def scores(kernel, stride, offset, last):
    """Random scores, one cell larger than the crop needs on each axis."""
    cells = [(offset + size - kernel) // stride + 3 for size in (HEIGHT, WIDTH)]
    x = torch.randn(1, CLASSES, *cells)
    return x.contiguous(memory_format=torch.channels_last) if last else x


def measure(functions, runs, repeat, wait):
    """name -> (median, best) milliseconds, functions taking turns; the first do not count.

    repeat: calls a turn, so that on a GPU the launches queue up; wait() returns when all is done.
    """
    times = {name: [] for name in functions}
    for _ in range(runs + 3):
        for name, function in functions.items():
            function()
            wait()
            start = time.perf_counter()
            for _ in range(repeat):
                function()
            wait()
            times[name].append(1e3 * (time.perf_counter() - start) / repeat)
    return {name: (statistics.median(taken[3:]), min(taken[3:])) for name, taken in times.items()}


def compare(net, runs, last, device):
    """Print one table: medians, and how many times longer than the fused op each takes."""
    kernel, stride, offset = NETS[net]
    x = scores(kernel, stride, offset, last).to(device)
    needs = x.clone().requires_grad_()
    top = torch.randn(1, CLASSES, HEIGHT, WIDTH, device=device).contiguous(
        memory_format=torch.channels_last if last else torch.contiguous_format)
    functions = ways(kernel, stride, offset, device)
    forward = {name: lambda f=f: f(x) for name, f in functions.items()}
    both = {name: lambda f=f: torch.autograd.grad(f(needs), needs, top)
            for name, f in functions.items()}
    turns = {('forward', name): f for name, f in forward.items()}
    turns |= {('both', name): f for name, f in both.items()}
    turns['floor', ''] = lambda: torch.empty_like(top).fill_(1)
    gpu = device == 'cuda'
    taken = measure(turns, runs, 100 if gpu else 1, torch.cuda.synchronize if gpu else int)
    print(f'\n{net}: kernel {kernel} stride {stride}, {tuple(x.shape)} to {tuple(top.shape)}')
    for at, what in enumerate(('medians', 'best')):
        print(f'{what:36}{"forward":>12}{"ratio":>8}{"fwd + bwd":>12}{"ratio":>8}')
        base = [taken[way, 'upcrop'][at] for way in ('forward', 'both')]
        for name in functions:
            row = [taken[way, name][at] for way in ('forward', 'both')]
            print(f'{name:36}' + ''.join(f'{a:9.3f} ms{a / b:8.1f}' for a, b in zip(row, base)))
        print(f'{"floor: the output written once":36}{taken["floor", ""][at]:9.3f} ms')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=30, help='turns that count')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_memory()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f'{processor(args.device)}, {args.threads} threads, torch {torch.__version__}, float32, '
          f'{"channels_last" if args.channels_last else "contiguous"}, '
          f'{args.runs} alternating runs')
    for net in NETS:
        compare(net, args.runs, args.channels_last, args.device)


if __name__ == '__main__':
    main()
