#!/usr/bin/env python3
"""Learned upsampling to 375x500: deconv_crop against conv_transpose2d and a slice.

    python benchmarks/deconv.py [--runs 15] [--threads 2] [--json FILE]

Random weights, dense (21 to 21 classes) and one filter a class (grouped), contiguous and
channels-last; the gradient is that of input and weight. The floor counts the multiply-adds of the
outputs that are kept, with the backward pass three times, at the rate of one large float32 matrix
product in the same run.
"""

import torch
import torch.nn.functional as F
from peers import FORMATS, KERNELS, check
from timing import OURS, arguments, measure, prepare, products, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.ops.deconv import deconv_crop

CLASSES, HEIGHT, WIDTH = 21, 375, 500
PEER = 'conv_transpose2d + slice'


def compare(stride, group, form, args):
    """Rows of one kernel in one memory format, forward and with backward."""
    kernel, offset = KERNELS[stride]
    cells = [(offset + size - kernel) // stride + 3 for size in (HEIGHT, WIDTH)]
    x, weight, top = (torch.randn(shape, device=args.device).contiguous(memory_format=FORMATS[form])
                      for shape in ((1, CLASSES, *cells), (CLASSES, CLASSES // group, kernel, kernel
                                                           ), (1, CLASSES, HEIGHT, WIDTH)))
    learned = x.clone().requires_grad_(), weight.clone().requires_grad_()
    ways = {PEER: lambda x, w: F.conv_transpose2d(x, w, None, stride, groups=group)[
                :, :, offset:offset + HEIGHT, offset:offset + WIDTH].contiguous(
                    memory_format=FORMATS[form]),
            OURS: lambda x, w: deconv_crop(x, w, None, (stride, stride), (0, 0), group,
                                           (offset, offset), (HEIGHT, WIDTH))}
    work = CLASSES * CLASSES // group * HEIGHT * WIDTH * (kernel / stride) ** 2
    case = {'stride': stride, 'filters': 'dense' if group == 1 else 'grouped', 'format': form}
    functions = {name: lambda f=f: f(x, weight) for name, f in ways.items()}
    check(functions, 'values')
    rows = measure('op 2 forward', case, functions, args, products(work, args.device))
    functions = {name: lambda f=f: torch.autograd.grad(f(*learned), learned, top)
                 for name, f in ways.items()}
    for i in range(2):
        check({name: lambda f=f, i=i: f()[i] for name, f in functions.items()}, 'gradients')
    return rows + measure('op 2 forward + backward', case, functions, args,
                          products(3 * work, args.device), gradients=True)


def targets(args):
    return [row for form in FORMATS for row in compare(8, 1, form, args)]


@report_errors()
def main():
    args = arguments(__doc__, 15).parse_args()
    machine = prepare(args)
    write(args.json, machine, [row for group in (1, CLASSES) for stride in KERNELS
                               for form in FORMATS for row in compare(stride, group, form, args)])


if __name__ == '__main__':
    main()
