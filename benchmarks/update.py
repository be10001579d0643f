#!/usr/bin/env python3
"""One solver update of many parameters: ours in one pass, by the rules, and torch.optim's.

    python benchmarks/update.py [--numbers 8000000] [--runs 15] [--threads 2] [--json FILE]

float32 with momentum and weight decay (L2), as the solvers of FCN have it. All ways alternate run
by run in one process, each on arrays of its own, which no cache holds. The floor reads and writes
the arrays once: a copy of each onto itself, by threads of C++. torch.optim does not write the
gradient back (Caffe leaves the decayed one there), so it moves less.
"""

from types import SimpleNamespace

import torch
from peers import check
from timing import OURS, arguments, measure, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.proto.prototxt import parse_solver
from fcn_repro.solver.rules import RULES
from fcn_repro.solver.update import fused_update, update_ref

NUMBERS = 8_000_000
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
PEERS = {'SGD': (torch.optim.SGD, {'momentum': MOMENTUM}),
         'Adam': (torch.optim.Adam, {'betas': (MOMENTUM, 0.999)})}


def parameters(numbers, device):
    """About `numbers` weights as in VGG16, most of them in one layer: each with a gradient. The
    same ones each time."""
    torch.manual_seed(0)
    shapes = [(numbers * 3 // 4,), *[(numbers // 64, 3), (64,)] * 5]
    made = [torch.nn.Parameter(torch.randn(shape, device=device)) for shape in shapes]
    for parameter in made:
        parameter.grad = torch.randn_like(parameter)
    return made


def solver(kind):
    """A SolverParameter of the type, with momentum where it has one."""
    p = parse_solver(f'type: "{kind}" weight_decay: {DECAY} regularization_type: "L2"').message
    if RULES[kind].momentum:
        p.momentum = MOMENTUM
    return p


def ours(update, kind, numbers, device):
    p, params = solver(kind), parameters(numbers, device)
    blobs = [SimpleNamespace(parameter=x, lr_mult=1, decay_mult=1) for x in params]
    history = [torch.zeros_like(x) for _ in range(RULES[kind].histories) for x in params]
    return lambda: update(p, blobs, history, RATE, 10, 1.0), params


def peer(kind, numbers, device, **options):
    make, fields = PEERS[kind]
    params = parameters(numbers, device)
    return make(params, RATE, weight_decay=DECAY, **fields, **options).step, params


def floor(kind, numbers, device):
    """Each array read and written once: (data, diff, histories) times a number of 1 bit more."""
    arrays = [torch.randn(numbers, device=device) for _ in range(2 + RULES[kind].histories)]
    return lambda: [array.mul_(1.0) for array in arrays]


def check_sgd(device):
    """FcnError where one step of ours and of torch.optim.SGD do not lead to the same weights."""
    ends = {}
    for name, make in ('torch.optim', peer), (OURS, lambda *which: ours(fused_update, *which)):
        step, params = make('SGD', 1000, device)
        step()
        ends[name] = lambda params=params: params[0].detach()
    check(ends, 'values')


def compare(kind, args):
    """Rows of one rule."""
    n, device = args.numbers, args.device
    check_sgd(device)
    functions = {OURS: ours(fused_update, kind, n, device)[0],
                 'ours, by the rules': ours(update_ref, kind, n, device)[0]}
    if kind in PEERS:
        functions |= {f'torch.optim {name}': peer(kind, n, device, **{name: True})[0]
                      for name in ('foreach', 'fused')}
    return measure(f'op 6 {kind}', {'numbers': n}, functions, args,
                   ('arrays read and written', floor(kind, n, device), 1), gradients=True)


@report_errors()
def main():
    parser = arguments(__doc__, 15)
    parser.add_argument('--numbers', type=int, default=NUMBERS, help='parameters')
    parser.add_argument('--rules', nargs='+', choices=RULES, default=['SGD', 'Adam'])
    args = parser.parse_args()
    machine = prepare(args)
    write(args.json, machine, [row for kind in args.rules for row in compare(kind, args)])


if __name__ == '__main__':
    main()
