#!/usr/bin/env python3
"""One solver update of many parameters: ours in one pass, by the rules, and torch.optim's.

    python benchmarks/update.py [--numbers 8000000] [--runs 15] [--threads 2] [--json FILE]

float32 with momentum and weight decay (L2), as the solvers of FCN have it. All ways alternate run
by run in one process, each on arrays of its own, which no cache holds. The floor reads and writes
the arrays once: a copy of each onto itself, by threads of C++. torch.optim does not write the
gradient back (Caffe leaves the decayed one there), so it moves less.
"""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import torch
from upcrop import measure, processor

from fcn_repro.prototxt import parse_solver
from fcn_repro.update import fused_update, update_ref
from fcn_repro.update_rules import RULES

RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
PEERS = {'SGD': (torch.optim.SGD, {'momentum': MOMENTUM}),
         'Adam': (torch.optim.Adam, {'betas': (MOMENTUM, 0.999)})}


def parameters(numbers, device):
    """About `numbers` weights as in VGG16, most of them in one layer: each with a gradient."""
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
    return lambda: update(p, blobs, history, RATE, 10, 1.0)


def peer(kind, numbers, device, **options):
    make, fields = PEERS[kind]
    optimizer = make(parameters(numbers, device), RATE, weight_decay=DECAY, **fields, **options)
    return optimizer.step


def floor(kind, numbers, device):
    """Each array read and written once: (data, diff, histories) times a number of 1 bit more."""
    arrays = [torch.randn(numbers, device=device) for _ in range(2 + RULES[kind].histories)]
    return lambda: [array.mul_(1.0) for array in arrays]


def compare(kind, args):
    """Medians of one rule, in milliseconds, printed with how many times the floor each takes."""
    n, device = args.numbers, args.device
    turns = {'floor: arrays read and written': floor(kind, n, device),
             'ours, one pass': ours(fused_update, kind, n, device),
             'ours, by the rules': ours(update_ref, kind, n, device)}
    if kind in PEERS:
        turns |= {f'torch.optim.{kind} {name}': peer(kind, n, device, **{name: True})
                  for name in ('foreach', 'fused')}
    gpu = device == 'cuda'
    taken = measure(turns, args.runs, 20 if gpu else 1, torch.cuda.synchronize if gpu else int)
    least = taken['floor: arrays read and written']
    megabytes = n * 4 * (2 + RULES[kind].histories) / 1e6
    print(f'\n{kind}: {megabytes:.0f} MB')
    for name, ms in taken.items():
        print(f'{name:36}{ms:9.2f} ms{ms / least:8.2f}')
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--numbers', type=int, default=8_000_000, help='parameters')
    parser.add_argument('--rules', nargs='+', choices=RULES, default=['SGD', 'Adam'])
    parser.add_argument('--runs', type=int, default=15, help='turns that count')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--json', help='file for the medians')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    machine = processor(args.device)
    print(f'{machine}, {args.threads} threads, torch {torch.__version__}, float32, '
          f'medians of {args.runs} alternating runs')
    taken = {kind: compare(kind, args) for kind in args.rules}
    if args.json:
        Path(args.json).write_text(json.dumps(
            {'machine': machine, 'torch': torch.__version__, **vars(args), 'ms': taken}, indent=1))


if __name__ == '__main__':
    main()
