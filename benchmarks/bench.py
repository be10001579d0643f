#!/usr/bin/env python3
"""All benchmarks of this machine in one run, and whether what was wanted is reached.

    python benchmarks/bench.py [--json FILE] [--short] [--threads 2] [--compile] [--device cuda]

About three minutes on two quiet cores, 10 GB of memory. --short: small images, few rounds, to see
that all runs; its figures mean nothing. benchmarks/report.py makes pages and a plot of the JSON.
"""

import traceback

import deconv
import fcn8s
import gpu
import upcrop
import update
from targets import summary
from timing import arguments, headline, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

ROUNDS, NET_ROUNDS = 15, 3


def groups(args):
    """{name: a function that gives rows} of everything."""
    net = type(args)(**{**vars(args), 'runs': min(args.runs, NET_ROUNDS)})
    if args.device == 'cuda':
        net.size, net.runs = gpu.SIZE, args.runs
    found = {'upsampling': lambda: upcrop.targets(args), 'deconvolution':
             lambda: deconv.targets(args), 'update': lambda: update.compare('SGD', args),
             'images': lambda: fcn8s.images(net), 'training': lambda: fcn8s.training(net)}
    if args.device == 'cuda':
        found['online training'] = lambda: gpu.online_training(args)
    return found | {'curves': lambda: upcrop.curves(args)}


def gather(groups):
    """(rows, names of the groups that failed): an error ends its group alone, and is printed."""
    rows, failed = [], []
    for name, run in groups.items():
        try:
            rows += run()
        except Exception:
            print(f'\nbenchmark {name} failed:\n{traceback.format_exc()}', flush=True)
            failed.append(name)
    return rows, failed


@report_errors()
def main():
    parser = arguments(__doc__, ROUNDS)
    parser.add_argument('--short', action='store_true')
    parser.add_argument('--compile', action='store_true', help='torch.compile of the peers too; '
                        'minutes more')
    args = parser.parse_args()
    args.size, args.numbers = fcn8s.SIZE, update.NUMBERS
    if args.short:
        args.size, args.numbers, args.runs = (40, 52), 100_000, 1
    machine = prepare(args)
    rows, failed = gather(groups(args))
    write(args.json, machine, rows, short=args.short)
    print(f'\n{headline(machine)}\n{summary(rows)}')
    if args.device == 'cuda':
        print(gpu.summary(rows))
    if failed:
        raise FcnError(f'{len(failed)} benchmarks failed: {", ".join(failed)}',
                       do='Their errors are printed above; the other rows are written.')


if __name__ == '__main__':
    main()
