#!/usr/bin/env python3
"""Learned upsampling to 375x500: deconv_crop against conv_transpose2d and a slice.

    python benchmarks/deconv.py [--runs 15] [--threads 2] [--json FILE]

Random weights, dense (21 to 21 classes) and one filter a class (grouped), contiguous and
channels_last (of x: conv_transpose2d within deconv_crop always gives channels_last); the gradient
is that of input and weight. All ways alternate run by run in one
process. The floor counts the multiplications of the outputs that are kept, at the speed of one
large float32 matrix product in the same run.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from upcrop import CLASSES, HEIGHT, WIDTH, measure, processor

from fcn_repro.deconv import deconv_crop

SIZES = {'k4 s2': (4, 2, 5), 'k16 s8': (16, 8, 31), 'k64 s32': (64, 32, 19)}
FORMATS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
PRODUCT = 1024      # rows and columns of the matrices that give the machine's speed


def eager(stride, offset, group, form):
    def run(x, weight):
        whole = F.conv_transpose2d(x, weight, None, stride, groups=group)
        return whole[:, :, offset:offset + HEIGHT, offset:offset + WIDTH].contiguous(
            memory_format=form)
    return run


def ours(stride, offset, group, form):
    def run(x, weight):
        return deconv_crop(x, weight, None, (stride, stride), (0, 0), group, (offset, offset),
                           (HEIGHT, WIDTH))
    return run


def turns(kernel, stride, offset, group, device):
    """{(name, format, 'forward' or 'both'): a function to measure}"""
    cells = [(offset + size - kernel) // stride + 3 for size in (HEIGHT, WIDTH)]
    tensors = [torch.randn(shape, device=device) for shape in (
        (1, CLASSES, *cells), (CLASSES, CLASSES // group, kernel, kernel),
        (1, CLASSES, HEIGHT, WIDTH))]
    functions = {}
    for form, memory in FORMATS.items():
        x, weight, top = (t.contiguous(memory_format=memory) for t in tensors)
        learned = x.clone().requires_grad_(), weight.clone().requires_grad_()
        for name, make in ('conv_transpose2d + slice', eager), ('deconv_crop', ours):
            run = make(stride, offset, group, memory)
            functions[name, form, 'forward'] = lambda run=run, x=x, w=weight: run(x, w)
            functions[name, form, 'both'] = lambda run=run, both=learned, top=top: \
                torch.autograd.grad(run(*both), both, top)
    return functions


def compare(size, group, args):
    """Medians in milliseconds of one kernel, printed with the peer's share of ours."""
    kernel, stride, offset = SIZES[size]
    gpu = args.device == 'cuda'
    square = torch.randn(PRODUCT, PRODUCT, device=args.device)
    functions = turns(kernel, stride, offset, group, args.device)
    functions['product', '', ''] = lambda: square @ square
    taken = measure(functions, args.runs, 20 if gpu else 1, torch.cuda.synchronize if gpu else int)
    products = CLASSES * CLASSES // group * HEIGHT * WIDTH * (kernel / stride) ** 2
    floor = taken['product', '', ''] * products / PRODUCT ** 3
    print(f'\n{size}, {"dense" if group == 1 else "grouped"}: {products / 1e6:.0f} million '
          f'multiplications, floor {floor:.2f} ms forward, {3 * floor:.2f} ms with backward')
    print(f'{"":38}{"forward":>12}{"ratio":>8}{"fwd + bwd":>12}{"ratio":>8}')
    for name, form, part in taken:
        if part == 'forward':
            row = [(taken[name, form, p], taken['deconv_crop', form, p]) for p in (part, 'both')]
            print(f'{name + ", " + form:38}' + ''.join(f'{a:9.2f} ms{a / b:8.2f}' for a, b in row))
    return {' '.join(filter(None, key)): ms for key, ms in taken.items()} | {'floor': floor}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=15, help='turns that count')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--json', help='file for the medians')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    machine = processor(args.device)
    print(f'{machine}, {args.threads} threads, torch {torch.__version__}, float32, '
          f'medians of {args.runs} alternating runs')
    taken = {f'{size} group {group}': compare(size, group, args)
             for group in (1, CLASSES) for size in SIZES}
    if args.json:
        Path(args.json).write_text(json.dumps(
            {'machine': machine, 'torch': torch.__version__, **vars(args), 'ms': taken}, indent=1))


if __name__ == '__main__':
    main()
