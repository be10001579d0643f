#!/usr/bin/env python3
"""FCN-8s at VGG16 widths, one image: our net, each optimisation off, plain PyTorch and OpenCV.

    python benchmarks/fcn8s.py [--size 375x500] [--runs 5] [--threads 2] [--compile]
                               [--device cuda] [--json FILE]

Ours is prototxt/voc-fcn8s/deploy.prototxt as the tools run it; plain is the same net as one writes
it by hand in PyTorch; OpenCV reads the same prototxt and a caffemodel. First the scores, then the
label map, then a training step with its update (the loss summed over the pixels, no Dropout, so
that what is computed can be compared). float32, the same weights and image. The floor is the
multiply-adds that our convolutions take, without the border that collapse_border leaves out and
with Winograd's algorithm, at the rate of one large product.
"""

import torch
import torch.nn.functional as F
from nets import (
    RATE,
    VOID,
    count,
    of_ours,
    of_plain,
    opencv,
    ours,
    plain,
    sample,
    sgd,
    solver,
)
from peers import FORMATS, check, compiled
from timing import OURS, arguments, measure, parse_size, prepare, products, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.net.graph import LABELS
from fcn_repro.net.placement import allow_tf32
from fcn_repro.ops import has_avx512_bf16
from fcn_repro.recipe.optimisations import NAMES

SIZE = 375, 500
OFF = [name for name in NAMES if name not in ('fuse_score', 'fused_update', 'graphs')]


def within(tf32, run):
    """`run` where products of float32 are those of TF32, or are not."""
    def call():
        allow_tf32(tf32)
        return run()
    return call


def precisions(args, x, mine):
    """Our net in other precisions, which the CPU has where it multiplies bfloat16."""
    cuda = args.device == 'cuda'
    if not cuda and not has_avx512_bf16():
        print('bf16 is left out: this CPU has no AVX512-BF16')
        return {}
    made = {name: ours(args.device, precision=name, like=mine)
            for name in ('tf32', 'bf16')[not cuda:]}
    return {f'ours, {name}': within(name == 'tf32', lambda net=net: net(data=x)['score'])
            for name, net in made.items()}


def peers(args, x):
    """{way: a function that gives scores} of plain PyTorch in both memory formats."""
    found = {}
    for form, memory in FORMATS.items():
        net, image = plain(memory, args.device), x.contiguous(memory_format=memory)
        found[f'eager, {form}'] = form, lambda net=net, image=image: net(image)
    if args.compile:
        found |= compiled(found)
    return {name: run for name, (_, run) in found.items()}


def images(args):
    """Rows of an image's scores and of its label map."""
    x, _ = sample(args.size)
    image, case = x.numpy(), {'image': f'{args.size[0]}x{args.size[1]}'}
    x = x.to(args.device)
    eager, mine = peers(args, x), ours(args.device)
    functions = eager | {OURS: lambda: mine(data=x)['score']}
    for name in [*OFF, *(['graphs'] if args.device == 'cuda' else [])]:
        net = ours(args.device, [name], like=None if name == 'channels_last' else mine)
        functions[f'ours without {name}'] = lambda net=net: net(data=x)['score']
    other = opencv(args.threads) if args.device == 'cpu' else None
    if other:
        functions['OpenCV'] = lambda: torch.from_numpy(other(image))
    with torch.inference_mode():
        check(functions, 'values')
    functions = {name: within(False, run) for name, run in functions.items()}
    functions |= precisions(args, x, mine)
    with torch.inference_mode():
        work = count(functions[OURS])
    rows = measure('FCN-8s scores', case, functions, args,
                   products(work, args.device), warm=args.device == 'cuda')
    chains = {name: within(False, lambda run=run: run().argmax(1)) for name, run in eager.items()}
    chains[OURS] = within(False, lambda: mine(data=x, labels_of='score')[LABELS])
    with torch.inference_mode():
        check(chains, 'labels')
    return rows + measure('FCN-8s label map', case, chains, args, warm=args.device == 'cuda')


def eager_step(args, form, x, y, **options):
    """A training step of plain PyTorch, and what it has learned from: {layer: momentum}."""
    net = plain(FORMATS[form], args.device)
    image, optimizer = x.contiguous(memory_format=FORMATS[form]), sgd(net, **options)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(net(image), y, ignore_index=VOID, reduction='sum')
        loss.backward()
        loss.item()
        optimizer.step()
    return step, lambda: {name: optimizer.state[params[0]]['momentum_buffer'] for name, params
                          in of_plain(net).items() if params[0].requires_grad}


def our_step(args, x, y, off=(), precision='fp32'):
    made = solver(args.size, args.device, off, precision)
    made.net.forward(data=x, label=y[:, None].float())      # they stay in the input blobs
    blobs = [blob.parameter for blob in made.net.learnable_params]
    where = {id(parameter): i for i, parameter in enumerate(blobs)}
    return made.iterate, lambda: {name: made.history[where[id(params[0])]] / RATE for name, params
                                  in of_ours(made.net).items() if not name.startswith('up')}


def training(args):
    """Rows of a training step: forward, loss, backward, update."""
    x, y = (t.to(args.device) for t in sample(args.size))
    steps = {'eager, contiguous, foreach': eager_step(args, 'contiguous', x, y, foreach=True),
             'eager, channels-last, foreach': eager_step(args, 'channels-last', x, y, foreach=True),
             'eager, channels-last, fused': eager_step(args, 'channels-last', x, y, fused=True),
             OURS: our_step(args, x, y)}
    for step, _ in steps.values():
        within(False, step)()
    for layer in 'fc7', 'score_fr':     # before these, a ReLU at 0 may go either way
        learned = {name: lambda f=found, layer=layer: f()[layer]
                   for name, (_, found) in steps.items()}
        check(learned, 'gradients')
    run = {name: within(False, step) for name, (step, _) in steps.items()}
    work = count(run[OURS])
    return measure('FCN-8s training step', {'image': f'{args.size[0]}x{args.size[1]}'}, run, args,
                   products(work, args.device), gradients=True, warm=False)


@report_errors()
def main():
    parser = arguments(__doc__, 5)
    parser.add_argument('--size', type=parse_size, default=SIZE, metavar='HxW')
    parser.add_argument('--compile', action='store_true', help='torch.compile of plain too')
    args = parser.parse_args()
    machine = prepare(args)
    write(args.json, machine, images(args) + training(args))


if __name__ == '__main__':
    main()
