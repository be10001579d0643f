#!/usr/bin/env python3
"""Upsampling and crop of class scores, with the skip, argmax or loss: fused and as others do it.

    python benchmarks/upcrop.py [--curves] [--compile] [--runs 15] [--threads 2] [--device cuda]
                                [--json FILE]

21 classes to 375x500, float32, at strides 8 and 32: the peers are conv_transpose2d with the dense
weight of the prototxt, or depthwise, and F.interpolate, each with a slice, contiguous and
channels-last; followed by argmax, or by cross_entropy and backward. Outputs are allocated alike,
and results compared first, but for those of F.interpolate, which differ at the border. --curves:
over image size, batch, classes, strides and threads.
"""

from dataclasses import asdict

import torch
import torch.nn.functional as F
from peers import FORMATS, Case, Inputs, check, compiled
from timing import OURS, arguments, exponentials, measure, prepare, products, write

from fcn_repro import ops
from fcn_repro.cli.reporting import report_errors

PEERS = 'dense', 'depthwise', 'F.interpolate'
CHAINS = 'dense', 'depthwise'
IGNORE = -1         # 255 is a class where there are 1000
CURVES = {          # {what changes: cases}; classes on a sixteenth of the image, as 1000 take long
    'image': [Case(height=h, width=w) for h, w in ((97, 131), (188, 250), (375, 500), (500, 667))],
    'batch': [Case(batch=n) for n in (1, 2, 4)],
    'classes': [Case(classes=c, height=94, width=125) for c in (21, 59, 150, 1000)],
    'stride': [Case(stride=s) for s in (2, 8, 32)]}


def same(functions):
    """Those that give the same values: F.interpolate repeats the border where Caffe has zeros."""
    return {name: run for name, run in functions.items() if 'interpolate' not in name}


def values(inputs, args, peers=PEERS):
    """Op 1, the scores alone."""
    ways = inputs.upsamplings(peers)
    ways |= compiled(ways) if args.compile else {}
    functions = {name: lambda f=f, x=inputs.scores[form], form=FORMATS[form]:
                 f(x).contiguous(memory_format=form) for name, (form, f) in ways.items()}
    for form, suffix in ('contiguous', ''), ('channels-last', ', channels-last'):
        functions[OURS + suffix] = lambda x=inputs.scores[form]: ops.upcrop(x, *inputs.args,
                                                                          inputs.size)
    check(same(functions), 'values')
    top = torch.empty_like(inputs.tops['contiguous'])
    return measure('op 1 forward', asdict(inputs.case), functions, args,
                   ('the output written once', lambda: top.fill_(1), 1))


def gradients(inputs, args):
    """Op 1, forward and backward."""
    ways = inputs.upsamplings(PEERS)
    ways |= compiled(ways) if args.compile else {}
    ways |= {OURS: ('contiguous', lambda x: ops.upcrop(x, *inputs.args, inputs.size))}
    functions = {name: lambda f=f, x=inputs.learned[form], top=inputs.tops[form],
                 form=FORMATS[form]: torch.autograd.grad(f(x).contiguous(memory_format=form), x,
                                                         top)[0]
                 for name, (form, f) in ways.items()}
    check(same(functions), 'gradients')
    top, grad = torch.empty_like(inputs.tops['contiguous']), inputs.tops['contiguous']
    return measure('op 1 forward + backward', asdict(inputs.case), functions, args,
                   ('output written, its gradient read', lambda: (top.fill_(1), grad.sum()), 1),
                   gradients=True)


def skips(inputs, args):
    """Op 3, a skip's cropped scores added."""
    ways = inputs.upsamplings(CHAINS)
    ways |= compiled(ways) if args.compile else {}
    height, width = inputs.size
    skip = {form: F.pad(top, (9, 9, 9, 9)).contiguous(memory_format=FORMATS[form])
            for form, top in inputs.tops.items()}
    functions = {name: lambda f=f, x=inputs.scores[form], s=skip[form]:
                 f(x) + s[:, :, 9:9 + height, 9:9 + width] for name, (form, f) in ways.items()}
    functions[OURS] = lambda: ops.upcrop_add(inputs.scores['contiguous'], *inputs.args, inputs.size,
                                             skip['contiguous'], (9, 9))
    check(functions, 'values')
    top, read = torch.empty_like(inputs.tops['contiguous']), inputs.tops['contiguous']
    return measure('op 3 skip', asdict(inputs.case), functions, args,
                   ('skip read, sum written', lambda: top.copy_(read), 1))


def labels(inputs, args):
    """Op 4, the label map."""
    ways = inputs.upsamplings(CHAINS)
    run = {name: (form, lambda x, f=f: f(x).argmax(1)) for name, (form, f) in ways.items()}
    run |= compiled(run) if args.compile else {}
    functions = {name: lambda f=f, x=inputs.scores[form]: f(x) for name, (form, f) in run.items()}
    kind = torch.uint8 if inputs.case.classes <= 256 else torch.int64
    functions[OURS] = lambda: ops.upcrop_argmax(inputs.scores['contiguous'], *inputs.args,
                                                inputs.size, kind)
    check(functions, 'labels')
    return measure('op 4 labels', asdict(inputs.case), functions, args,    # two for each score
                   products(2 * inputs.case.outputs, args.device))


def losses(inputs, args):
    """Op 5, the loss and its gradient."""
    ways = inputs.upsamplings(CHAINS)
    run = {name: (form, lambda x, f=f: F.cross_entropy(f(x), inputs.label, ignore_index=IGNORE))
           for name, (form, f) in ways.items()}
    run |= compiled(run) if args.compile else {}
    run[OURS] = 'contiguous', lambda x: ops.upcrop_softmax_loss(
        x, inputs.label, *inputs.args, ignore_label=IGNORE)
    functions = {name: lambda f=f, x=inputs.learned[form]: torch.autograd.grad(f(x), x)[0]
                 for name, (form, f) in run.items()}
    check(functions, 'gradients')
    return measure('op 5 loss forward + backward', asdict(inputs.case), functions, args,
                   exponentials(inputs.case.outputs, args.device), gradients=True)


def targets(args):
    """Rows of all ops at the strides of FCN-8s and FCN-32s."""
    rows = []
    for stride in 8, 32:
        inputs = Inputs(Case(stride=stride), args.device)
        for op in values, gradients, skips, labels, losses:
            rows += op(inputs, args)
    if args.device == 'cuda':
        rows += values(Inputs(Case(batch=20), args.device), args)
    return rows


def curves(args):
    """Rows of ops 1, 4 and 5 over each axis, with `curve` its name; fewer rounds."""
    rows, threads = [], torch.get_num_threads()
    few = type(args)(**{**vars(args), 'runs': min(args.runs, 3), 'compile': False})
    cases = {**CURVES, **({} if args.device == 'cuda' else {'threads': [Case()] * 2})}
    for curve, points in cases.items():
        for i, case in enumerate(points):
            torch.set_num_threads(1 + i if curve == 'threads' else threads)
            inputs = Inputs(case, args.device)
            found = values(inputs, few, CHAINS) + labels(inputs, few) + losses(inputs, few)
            rows += [{**row, 'curve': curve} for row in found]
    torch.set_num_threads(threads)
    return rows


@report_errors()
def main():
    parser = arguments(__doc__, 15)
    parser.add_argument('--curves', action='store_true', help='over sizes, classes, … as well')
    parser.add_argument('--compile', action='store_true', help='torch.compile of each peer too, '
                        'which takes minutes')
    args = parser.parse_args()
    machine = prepare(args)
    write(args.json, machine, targets(args) + (curves(args) if args.curves else []))


if __name__ == '__main__':
    main()
