#!/usr/bin/env python3
"""FCN-8s at VGG16 widths, one image: our net, each optimisation off, plain PyTorch and OpenCV.

    python benchmarks/fcn8s.py [--size 375x500] [--runs 5] [--threads 2] [--compile]
                               [--device cuda] [--json FILE]

Ours is prototxt/voc-fcn8s/deploy.prototxt as the tools run it; plain is the same net as one writes
it by hand in PyTorch; OpenCV reads the same prototxt and a caffemodel. First the scores, then the
label map, then a training step with its update (the loss summed over the pixels, no Dropout, so
that what is computed can be compared). float32, the same weights and image; on a GPU in TF32
and bf16 as well, peers in the same precision and with cudnn.benchmark. The floor is the
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
from peers import BEHIND, FORMATS, at, check, compiled
from timing import OURS, arguments, measure, parse_size, prepare, products, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.layers import PRECISIONS
from fcn_repro.net.graph import LABELS
from fcn_repro.ops import has_avx512_bf16
from fcn_repro.recipe.optimisations import NAMES

SIZE = 375, 500
REPLAYED = 'reduce-overhead'    # torch.compile with CUDA graphs
# on a GPU: {precision: the memory format that is compiled}; torch's float32 is slower channels-last
BEST = {'bf16': 'channels-last', 'tf32': 'channels-last', 'fp32': 'contiguous'}
TRAINING_TURN = 0.2     # seconds, of several steps
OFF = [name for name in NAMES if name not in ('fuse_score', 'fused_update', 'graphs')]


def reduced(args, x, mine):
    """Our net in bf16, where a CPU multiplies it; a GPU's precisions are groups of their own."""
    if args.device == 'cuda':
        return {}
    if not has_avx512_bf16():
        print('bf16 is left out: this CPU has no AVX512-BF16')
        return {}
    net = ours(precision='bf16', like=mine)
    return {'ours, bf16': lambda: net(data=x)['score']}


def peers(args, x, precision, compile):
    """{way: a function that gives scores} of plain PyTorch in both memory formats."""
    found, dtype = {}, PRECISIONS[precision] or torch.float32
    for form, memory in FORMATS.items():
        net = plain(memory, args.device, dtype)
        image = x.to(dtype).contiguous(memory_format=memory)
        found[f'eager, {form}'] = form, lambda net=net, image=image: net(image)
    if compile and args.device == 'cuda':
        best = f'eager, {BEST[precision]}'
        found |= compiled({best: found[best]}, REPLAYED)
    elif compile:
        found |= compiled(found)
    return {name: at(precision, run) if args.device == 'cuda' else run
            for name, (_, run) in found.items()}


def groups(args):
    """{name: a function that gives rows} of a whole net; on a GPU each precision by itself."""
    if args.device == 'cpu':
        return {'images': lambda: scores(args) + label_maps(args),
                'training': lambda: training(args)}
    found = {f'images {p}': lambda p=p: scores(args, p) for p in BEST}
    found |= {f'training {p}': lambda p=p: training(args, p) for p in ('tf32', 'fp32')}
    return found | {'label map': lambda: label_maps(args),
                    'optimisations': lambda: optimisations(args)}


def without(args, mine, x):
    """{way: a function that gives scores} of our net with one optimisation off at a time."""
    found = {}
    for name in [*OFF, *(['graphs'] if args.device == 'cuda' else [])]:
        net = ours(args.device, [name], like=None if name == 'channels_last' else mine)
        found[f'ours without {name}'] = lambda net=net: net(data=x)['score']
    return found


def optimisations(args):
    """Rows of our net on a GPU, and without each optimisation, in float32."""
    x, mine = sample(args.size)[0].to(args.device), ours(args.device)
    functions = {OURS: lambda: mine(data=x)['score'], **without(args, mine, x)}
    with torch.inference_mode():
        check(functions, 'values')
    return measure('FCN-8s scores, optimisations off', {'image': f'{args.size[0]}x{args.size[1]}'},
                   functions, args, captures=eager)


def scores(args, precision='fp32'):
    """Rows of an image's scores in one precision."""
    x, _ = sample(args.size)
    image, case = x.numpy(), {'image': f'{args.size[0]}x{args.size[1]}'}
    cuda, x = args.device == 'cuda', x.to(args.device)
    mine = ours(args.device, precision=precision)
    functions = peers(args, x, precision, args.compile) | {OURS: lambda: mine(data=x)['score']}
    functions |= {} if cuda else without(args, mine, x)
    other = opencv(args.threads) if not cuda else None
    if other:
        functions['OpenCV'] = lambda: torch.from_numpy(other(image))
    unrecorded = ours(args.device, ['graphs'], precision, mine) if cuda else mine
    with torch.inference_mode():
        check(functions, 'values', precision)
        work = count(lambda: unrecorded(data=x))
    functions |= reduced(args, x, mine)
    return measure(group('FCN-8s scores', precision), case, functions, args,
                   floor(work, args, precision), warm=cuda, captures=eager)


def label_maps(args):
    """Rows of an image's label map."""
    x, case = sample(args.size)[0].to(args.device), {'image': f'{args.size[0]}x{args.size[1]}'}
    compile = args.compile and args.device == 'cpu'     # a GPU's takes as long once more
    chains = {name: lambda run=run: run().argmax(1)
              for name, run in peers(args, x, 'fp32', compile).items()}
    mine = ours(args.device)
    chains[OURS] = lambda: mine(data=x, labels_of='score')[LABELS]
    with torch.inference_mode():
        check(chains, 'labels')
    return measure('FCN-8s label map', case, chains, args, warm=args.device == 'cuda',
                   captures=eager)


def group(name, precision):
    """The group of a precision: float32's has the plain name."""
    return name if precision == 'fp32' else f'{name}, {precision}'


def floor(work, args, precision):
    """So many multiply-adds in one product of the precision."""
    name, run, scale = products(work, args.device, PRECISIONS[precision] or torch.float32)
    return name, at(precision, run) if args.device == 'cuda' else run, scale


def eager(way):
    """Whether a way is captured on a GPU; ours and torch.compile's replay graphs of their own."""
    return way.startswith(('eager', 'floor'))


def eager_step(args, form, x, y, precision='fp32', compile=False, **options):
    """A training step of plain PyTorch, and what it has learned from: {layer: momentum}."""
    net = plain(FORMATS[form], args.device)
    image, optimizer = x.contiguous(memory_format=FORMATS[form]), sgd(net, **options)

    def forward(image):
        return F.cross_entropy(net(image), y, ignore_index=VOID, reduction='sum')
    if compile:
        forward = torch.compile(forward, mode=REPLAYED)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = forward(image)
        loss.backward()
        loss.item()
        optimizer.step()
    if args.device == 'cuda':
        step = at(precision, step)
    return step, lambda: {name: optimizer.state[params[0]]['momentum_buffer'] for name, params
                          in of_plain(net).items() if params[0].requires_grad}


def our_step(args, x, y, off=(), precision='fp32'):
    made = solver(args.size, args.device, off, precision)
    made.net.forward(data=x, label=y[:, None].float())      # they stay in the input blobs
    blobs = [blob.parameter for blob in made.net.learnable_params]
    where = {id(parameter): i for i, parameter in enumerate(blobs)}
    return made.iterate, lambda: {name: made.history[where[id(params[0])]] / RATE for name, params
                                  in of_ours(made.net).items() if not name.startswith('up')}


def training(args, precision='fp32'):
    """Rows of a training step in one precision: forward, loss, backward, update."""
    x, y = (t.to(args.device) for t in sample(args.size))
    ways = {'eager, contiguous, foreach': ('contiguous', {'foreach': True}),
            'eager, channels-last, foreach': ('channels-last', {'foreach': True}),
            'eager, channels-last, fused': ('channels-last', {'fused': True})}
    if args.compile and args.device == 'cuda':
        ways[f'compiled eager, {BEST[precision]}, fused'] = (
            BEST[precision], {'fused': True, 'compile': True})
    steps = {name: eager_step(args, form, x, y, precision, **options)
             for name, (form, options) in ways.items()}
    steps[OURS] = our_step(args, x, y, precision=precision)
    run = {name: step for name, (step, _) in steps.items()}
    work = count(run[OURS])
    for name, step in run.items():
        if name != OURS:
            step()
    for layer, what in ('score_fr', 'gradients'), ('fc7', BEHIND):
        learned = {name: lambda f=found, layer=layer: f()[layer]
                   for name, (_, found) in steps.items()}
        check(learned, what, precision)
    return measure(group('FCN-8s training step', precision),
                   {'image': f'{args.size[0]}x{args.size[1]}'}, run, args,
                   floor(work, args, precision), gradients=True, warm=False,
                   captures=lambda way: way.startswith('floor'), turn=TRAINING_TURN)


@report_errors()
def main():
    parser = arguments(__doc__, 5)
    parser.add_argument('--size', type=parse_size, default=SIZE, metavar='HxW')
    parser.add_argument('--compile', action='store_true', help='torch.compile of plain too')
    args = parser.parse_args()
    machine = prepare(args)
    write(args.json, machine, [row for run in groups(args).values() for row in run()])


if __name__ == '__main__':
    main()
