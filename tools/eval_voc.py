"""Score a net on a folder laid out as PASCAL VOC is: the four metrics, IU by class, pictures."""

import argparse
from pathlib import Path

from fcn_repro.cli.arguments import add_optimisations
from fcn_repro.errors import tool
from fcn_repro.formats.weights import format_rows
from fcn_repro.memory import keep_freed_memory
from fcn_repro.net import Net
from fcn_repro.net.placement import check_precision, pick_device, place
from fcn_repro.predict.evaluation import evaluate_and_report
from fcn_repro.proto import TEST
from fcn_repro.recipe.optimisations import Optimisations
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--net', metavar='FILE', help='a val prototxt with a VOC data layer '
                        '(default: val.prototxt of --stage)')
    parser.add_argument('--stage', default='mini-fcn32s', help='net and weights of this stage')
    parser.add_argument('--runs', metavar='DIR', default='runs', help='where the runs of all '
                        'stages lie (default: %(default)s)')
    parser.add_argument('--weights', metavar='FILE', help='default: the newest of runs/STAGE')
    parser.add_argument('--voc', metavar='DIR', help='default: the one that the net names')
    parser.add_argument('--sbd', metavar='DIR', help='to compute the split seg11valid')
    parser.add_argument('--mnist', metavar='DIR', help='the run, and the scenes, that --mnist of '
                        'train.py made')
    parser.add_argument('--m2nist', metavar='DIR', help='the run, and the scenes, that --m2nist of '
                        'train.py took')
    parser.add_argument('--split', help='default: the one that the net names')
    parser.add_argument('--rule', choices=('paper', 'release'), default='paper',
                        help='paper: classes absent from the ground truth are left out; release: '
                        'IU 0 if predicted (default: %(default)s)')
    parser.add_argument('--images', type=int, metavar='N', help='only the first N')
    parser.add_argument('--pictures', type=int, default=8, metavar='N')
    parser.add_argument('--out', metavar='DIR', help='default: runs/STAGE/eval, or '
                        'runs/eval/WEIGHTS for a net or weights of your own')
    parser.add_argument('--device')
    parser.add_argument('--workers', type=int, metavar='N', help='threads that read images ahead, '
                        '0 for none (default: as many as there are cores, up to 4)')
    parser.add_argument('--precision', default='fp32', help='fp32, bf16; on a GPU tf32 and fp16 '
                        'too (default: %(default)s)')
    add_optimisations(parser)
    return parser.parse_args()


@tool
def main():
    keep_freed_memory()
    args = arguments()
    device = pick_device(args.device)
    check_precision(args.precision, device)
    optimisations = Optimisations(args.no_opt)
    options = Options(voc=args.voc, sbd=args.sbd, mnist=args.mnist, m2nist=args.m2nist,
                      runs=args.runs)
    run = Run(args.stage, options)
    net_file = args.net or run.prototxt / 'val.prototxt'
    net = Net.read(net_file, TEST, passes=optimisations.passes,
                   overrides=options.in_order(args.split))
    weights = args.weights or run.newest_weights()
    print(f'{net_file} with {weights}')
    print(format_rows(net.copy_from(weights)))
    place(net, device, workers=args.workers, precision=args.precision, **optimisations.placed)
    own = Path('runs', 'eval', Path(weights).stem) if args.net or args.weights else \
        run.folder / 'eval'
    evaluate_and_report(net, args.out or own, args.pictures, args.images, args.rule)


if __name__ == '__main__':
    main()
