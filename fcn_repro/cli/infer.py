"""Label images with a trained net: a palette PNG and an overlay each; or draw the class grid of a
classifier over them.

    fcn-repro infer photo.jpg
    fcn-repro infer a.jpg folder --stage voc-fcn8s --weights fcn8s.caffemodel --out out
    fcn-repro infer scene.jpg --heatmap
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.image import MEAN
from ..distributed import Processes
from ..errors import FcnError, nearest
from ..formats.weights import FILLER, format_rows
from ..memory import keep_freed_memory
from ..net.placement import check_precision, pick_device, place
from ..predict.heatmap import Heatmaps, cast_net
from ..predict.labels import LabelMaps, image_input, read_deploy
from ..predict.photos import find_photos, process
from ..pycaffe.mode import set_user_code
from ..pycaffe.userlayer import UserNet, search_here
from ..recipe.optimisations import Optimisations
from ..recipe.runs import Run
from ..recipe.stages import PROTOTXT
from ..solver.snapshot_files import iteration, list_snapshots
from .arguments import (
    add_max_pixels,
    add_optimisations,
    add_precision,
    add_user_code,
    add_writes,
    finite,
    processes_of_command,
)

SEVERAL_PROCESSES = True        # torchrun may start it several times, to work together
FINEST = 'mini-fcn8s', 'mini-fcn16s', 'mini-fcn32s'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='files, or folders of them')
    parser.add_argument('--stage', help='net and weights of this stage (default: the finest '
                        'finished mini FCN of runs/; with --heatmap mini-classifier)')
    parser.add_argument('--net', metavar='FILE', help="a deploy prototxt, in the stage's place")
    parser.add_argument('--weights', metavar='FILE', help='default: the newest of runs/STAGE')
    parser.add_argument('--classes', metavar='FILE', help='class names, one a line')
    parser.add_argument('--mean', type=finite, nargs=3, default=MEAN, metavar=('B', 'G', 'R'))
    parser.add_argument('--output', metavar='BLOB', help='the blob to take, where the net has '
                        'several outputs')
    parser.add_argument('--threshold', type=finite, metavar='T', help='of a one-channel output: '
                        'the object is where it is above (default: 0.5 after a Sigmoid)')
    parser.add_argument('--out', metavar='DIR', help='default: runs/STAGE/infer, or '
                        'runs/infer/WEIGHTS for a net or weights of your own')
    parser.add_argument('--device')
    add_max_pixels(parser)
    add_writes(parser)
    add_user_code(parser)
    add_precision(parser)
    add_optimisations(parser)
    grid = parser.add_argument_group("a classifier's class grid")
    grid.add_argument('--heatmap', action='store_true', help='cast a classifier into a fully '
                      'convolutional net, and draw its probabilities')
    grid.add_argument('--top', type=int, metavar='N', help='classes to draw (default: 3)')
    grid.add_argument('--scale', type=finite, metavar='S', help='of the image for the net')
    grid.add_argument('--save-scores', action='store_true', help='write NAME.npz as well')


def run(args: argparse.Namespace) -> None:
    keep_freed_memory()
    search_here()
    set_user_code(not args.no_user_code)
    check_heatmap_options(args)
    with processes_of_command() as processes:
        label(args, processes)


def label(args: argparse.Namespace, processes: Processes) -> None:
    """Label the images, each process its share of them."""
    device = pick_device(args.device or processes.device())
    photos = find_photos(args.images)
    check_precision(args.precision, device)
    optimisations = Optimisations(args.no_opt)
    net_file, weights, out = choose(args)
    print(f'{net_file} with {weights}')
    net = read_deploy(net_file, UserNet, passes=optimisations.passes, writes=args.writes)
    size = net.shapes[image_input(net)][2:]
    if args.heatmap:
        net = cast_net(net)
    report(net.copy_from(weights), weights)
    if args.heatmap:
        job: Heatmaps | LabelMaps = Heatmaps(net, size, args.mean, args.classes, args.top or 3,
                                             args.scale or 1, args.save_scores)
    else:
        job = LabelMaps(net, args.mean, args.classes, args.output, args.threshold)
        print(job.output.words)
    place(net, device, precision=args.precision, **optimisations.placed)
    process(photos, job, args.out or out, processes)
    print(f'written to {args.out or out}')


def check_heatmap_options(args: argparse.Namespace) -> None:
    """FcnError for an option of the class grid without --heatmap, and the reverse."""
    for name in () if args.heatmap else ('top', 'scale', 'save_scores'):
        if getattr(args, name) not in (None, False):
            raise FcnError(f'--{name.replace("_", "-")} is for the class grid of a classifier',
                           do='Give --heatmap, or leave it out.')
    for name in ('output', 'threshold') if args.heatmap else ():
        if getattr(args, name) is not None:
            raise FcnError(f'--{name} is for label maps', do='Leave out --heatmap, or this.')


def choose(args: argparse.Namespace) -> tuple[str | Path, str | Path, Path]:
    """(deploy prototxt, weights, default folder of the results)."""
    if (args.net or args.weights) and not args.stage and not (args.net and args.weights):
        raise FcnError(f"{'--net' if args.net else '--weights'} without "
                       f"{'--weights' if args.net else '--net'}",
                       do='Give both, or the --stage that has the other.')
    stage = args.stage or (args.net and 'own') or ('mini-classifier' if args.heatmap else finest())
    run = Path('runs', stage)
    written, shipped = (folder / 'deploy.prototxt' for folder in (run / 'net', PROTOTXT / stage))
    net = args.net or (written if os.path.exists(written) else shipped)
    if not args.net and not os.path.exists(net):
        raise FcnError(f"there is no net of the stage '{stage}'", do=nearest(
            stage, [p.parent.name for p in PROTOTXT.glob('*/deploy.prototxt')]) or
            'Give --net and --weights.')
    if not args.weights and not list_snapshots(run):
        raise FcnError('there are no weights here', file=str(run), do=f'{trained()}Train it '
                       f'(fcn-repro train {stage}), or give --weights.')
    own = args.net or args.weights
    weights = args.weights or list_snapshots(run)[-1]
    return net, weights, Path('runs/infer', Path(weights).stem) if own else run / 'infer'


def finest() -> str:
    """The mini FCN of the smallest stride whose training in runs/ reached its end."""
    for stage in FINEST:
        if Run(stage).finished:
            return stage
    raise FcnError(f"no finished run of {', '.join(FINEST)} is in runs/", do=f'{trained()}Train '
                   'one (fcn-repro train mini-fcn32s), or give --net and --weights.')


def trained() -> str:
    """A sentence that lists the stages with weights in runs/; '' if there are none."""
    found = [f'{run.name} (iteration {iteration(list_snapshots(run)[-1])})'
             for run in sorted(Path('runs').glob('*')) if list_snapshots(run)]
    return f"Stages with weights: {', '.join(found)}. " if found else ''


def report(rows: Sequence[Any], weights: str | Path) -> None:
    """Print what happened to the weights: a line, or the table where a layer has none."""
    unset = [row.layer for row in rows if row.action == FILLER]
    print(format_rows(rows) if unset else format_rows(rows).splitlines()[-1])
    if unset:
        print(f"warning: {weights} has nothing for {', '.join(unset)}, which "
              f"{'stays' if len(unset) == 1 else 'stay'} at the filler: the results may mean "
              'nothing')
