#!/usr/bin/env python3
"""All benchmarks of this machine in one run, and whether what was wanted is reached.

    python benchmarks/bench.py [--json FILE] [--short] [--threads 2] [--compile [nets]]
                               [--device cuda] [--only GROUP …]

About three minutes on two quiet cores, 10 GB of memory. --short: small images, few rounds, to see
that all runs; its figures mean nothing. --compile nets: of whole
nets alone, --only GROUP: of some groups. benchmarks/report.py makes pages and a plot of the JSON.
"""

import traceback

import deconv
import fcn8s
import gpu
import gpu_targets
import upcrop
import update
from targets import summary
from timing import arguments, headline, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

ROUNDS, NET_ROUNDS, GPU_ROUNDS = 15, 3, 7


def groups(args):
    """{name: a function that gives rows} of everything."""
    net = type(args)(**{**vars(args), 'runs': min(args.runs, NET_ROUNDS)})
    args = type(args)(**{**vars(args), 'compile': args.compile == 'all'})
    if args.device == 'cuda':
        net.runs = min(args.runs, GPU_ROUNDS)
        net.size = args.size if args.short else gpu.SIZE
    found = {'upsampling': lambda: upcrop.targets(args), 'deconvolution':
             lambda: deconv.targets(args), 'update': lambda: update.compare('SGD', args)}
    if args.device == 'cuda':
        found['online training'] = lambda: gpu.online_training(args)
    return found | fcn8s.groups(net) | {'curves': lambda: upcrop.curves(args)}


def gather(groups, keep=lambda rows: None):
    """(rows, names of the groups that failed): an error ends its group alone, and is printed. keep:
    called with all rows so far after each group, so that little is lost where this is ended."""
    rows, failed = [], []
    for name, run in groups.items():
        try:
            rows += run()
        except Exception:
            print(f'\nbenchmark {name} failed:\n{traceback.format_exc()}', flush=True)
            failed.append(name)
        keep(rows)
    return rows, failed


@report_errors()
def main():
    parser = arguments(__doc__, ROUNDS)
    parser.add_argument('--short', action='store_true')
    parser.add_argument('--compile', nargs='?', const='all', choices=('nets', 'all'),
                        help='torch.compile of the peers too; minutes more')
    parser.add_argument('--only', nargs='+', metavar='GROUP', help='some groups')
    args = parser.parse_args()
    args.size, args.numbers = fcn8s.SIZE, update.NUMBERS
    if args.short:
        args.size, args.numbers, args.runs = (40, 52), 100_000, 1
    machine = prepare(args)
    wanted = groups(args)
    for name in args.only or ():
        if name not in wanted:
            raise FcnError(f"no group '{name}'", do=f'Give some of {", ".join(wanted)}.')
    rows, failed = gather({name: wanted[name] for name in args.only or wanted},
                          lambda rows: write(args.json, machine, rows, short=args.short))
    print(f'\n{headline(machine)}')
    print(gpu_targets.summary(rows, machine['processor']) if args.device == 'cuda'
          else summary(rows))
    if failed:
        raise FcnError(f'{len(failed)} benchmarks failed: {", ".join(failed)}',
                       do='Their errors are printed above; the other rows are written.')


if __name__ == '__main__':
    main()
