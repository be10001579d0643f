"""Label images with a trained net: a palette PNG and an overlay each; or draw the class grid of a
classifier over them.

    fcn-repro infer photos/ --run runs/own-fcn16s
    fcn-repro infer photo.jpg --probabilities --npy
    fcn-repro infer 'photos/**/*.jpg' --net deploy.prototxt --weights fcn8s.caffemodel --out out
    fcn-repro infer scene.jpg --heatmap

Without --run, --stage or --net it is the newest finished run of runs/, or the one that was trained
on the data that the images are of; the first line says which, and why.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.image import MEAN
from ..distributed import Processes
from ..errors import FcnError, nearest
from ..export import Exported
from ..formats.weights import FILLER, format_rows
from ..memory import keep_freed_memory
from ..net.bn_statistics import check_weights_folded
from ..net.net import Net
from ..net.placement import check_precision, pick_device, place
from ..predict.crf import said_of
from ..predict.heatmap import Heatmaps, cast_net
from ..predict.labelmaps import Files, LabelMaps
from ..predict.labels import image_input, read_deploy
from ..predict.outputs import find_outputs
from ..predict.photos import find_photos, process
from ..predict.segmenter import Segmenter
from ..pycaffe.mode import set_user_code
from ..pycaffe.userlayer import UserNet, search_here
from ..recipe.choosing import listed, readable
from ..recipe.finished import FinishedRun, opened
from ..recipe.optimisations import Optimisations
from ..recipe.stages import PROTOTXT, SHORT
from ..solver.snapshot_files import list_snapshots
from .arguments import (
    add_crf,
    add_dialect,
    add_max_pixels,
    add_optimisations,
    add_precision,
    add_user_code,
    add_writes,
    crf_of_args,
    dialect_of_args,
    finite,
    processes_of_command,
    say_dialect,
)
from .reporting import remedy, show
from .views import add_views, views_of
from .which_run import add_run_options, check_named, results_of, run_meant

SEVERAL_PROCESSES = True        # torchrun may start it several times, to work together
SHOWN = 20                      # faults that are printed
FILES = {'npy': 'write NAME.npy, the label map',
         'mask': 'write NAME.mask.png, class indices as grey values, without a palette',
         'binary': 'write NAME.binary.png, white where the class is not 0, else black',
         'probabilities': 'write NAME.probabilities.npz, (C, H, W) float16 with the names of the '
                          'classes'}


class Source(NamedTuple):
    """What is run, its class names, mean and colours, and where its results go by default."""
    net: str | Path
    weights: str | Path
    out: Path
    classes: Sequence[str] | None = None
    mean: Sequence[float] = MEAN
    colours: np.ndarray | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='files, folders (without their '
                        "subfolders), or patterns in quotes: 'photos/**/*.jpg'")
    add_run_options(parser, "a deploy prototxt, in the stage's place")
    parser.add_argument('--classes', metavar='FILE', help='class names, one a line')
    parser.add_argument('--mean', type=finite, nargs=3, metavar=('B', 'G', 'R'),
                        help="default: that of the run's data, else VGG's")
    parser.add_argument('--output', metavar='BLOB', action='append', default=[], help='the blob to '
                        'take, where the net has several outputs; may be repeated; all: each of '
                        'them, in files NAME.BLOB.png, …')
    parser.add_argument('--threshold', type=finite, metavar='T', help='of a one-channel output: '
                        'the object is where it is above (default: 0.5 after a Sigmoid)')
    parser.add_argument('--out', metavar='DIR', help='default: infer in the folder of the run, or '
                        'runs/infer/WEIGHTS for a net or weights of your own')
    for name, text in FILES.items():
        parser.add_argument(f'--{name}', action='store_true', help=text)
    parser.add_argument('--tile', type=int, metavar='N', help='run images of more than N pixels a '
                        'side in overlapping tiles of N, with the results of the whole; 0: never '
                        '(default: where the memory that is free would not do)')
    parser.add_argument('--device')
    add_crf(parser)
    add_max_pixels(parser)
    add_dialect(parser)
    add_writes(parser)
    add_user_code(parser)
    add_precision(parser)
    add_optimisations(parser)
    add_views(parser)
    grid = parser.add_argument_group("a classifier's class grid")
    grid.add_argument('--heatmap', action='store_true', help='cast a classifier into a fully '
                      'convolutional net, and draw its probabilities')
    grid.add_argument('--top', type=int, metavar='N', help='classes to draw (default: 3)')
    grid.add_argument('--scale', type=finite, metavar='S', help='of the image for the net')
    grid.add_argument('--save-scores', action='store_true', help='write NAME.npz as well')


def run(args: argparse.Namespace) -> int:
    keep_freed_memory()
    search_here()
    set_user_code(not args.no_user_code)
    check_heatmap_options(args)
    with processes_of_command() as processes:
        return label(args, processes)


def label(args: argparse.Namespace, processes: Processes) -> int:
    """Label the images, each process its share of them; the exit status."""
    device = pick_device(args.device or processes.device())
    photos, missing, notes = find_photos(args.images)
    for note in notes:
        print(note)
    check_precision(args.precision, device)
    optimisations = Optimisations(args.no_opt)
    source = choose(args, photos)
    print(f'{source.net} with {source.weights}')
    net = read_deploy(source.net, UserNet, weights=source.weights, **dialect_of_args(args),
                      passes=optimisations.passes, writes=args.writes)
    say_dialect(source.net, net.graph.dialect, net.found)
    size = net.shapes[image_input(net)][2:]
    if args.heatmap:
        net = cast_net(net)
    check_weights_folded(net, source.weights)
    report(net.copy_from(source.weights), source.weights)
    job = heatmaps(args, net, size, source) if args.heatmap else label_maps(args, net, source)
    place(net, device, precision=args.precision, **optimisations.placed)
    faults = [*missing, *process(photos, job, args.out or source.out, processes)]
    return finish(faults, len(photos) + len(missing), args.out or source.out, processes)


def heatmaps(args: argparse.Namespace, net: Net, size: Sequence[int], source: Source) -> Heatmaps:
    """The job of --heatmap."""
    return Heatmaps(net, size, args.mean or source.mean, args.classes, args.top or 3,
                    args.scale or 1, args.save_scores)


def label_maps(args: argparse.Namespace, net: Net, source: Source) -> LabelMaps:
    """The job of label maps; prints what the outputs are taken as."""
    outputs, crf = find_outputs(net, args.output, args.threshold), crf_of_args(args)
    segmenter = Segmenter(net, args.mean or source.mean, outputs, args.tile, views_of(args), crf)
    job = LabelMaps(segmenter, source.classes if args.classes is None else args.classes,
                    Files(**{name: getattr(args, name) for name in FILES}), source.colours)
    for output in outputs:
        print(said_of(output.words, crf))
    for words in segmenter.words:
        print(words)
    return job


def finish(faults: Sequence[FcnError], count: int, out: str | Path, processes: Processes) -> int:
    """Print the faults, each with what to do, and how many images are done; the exit status.
    FcnError for the fault of a single image."""
    if len(faults) == count == 1:
        raise faults[0]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for fault in faults[:SHOWN] if processes.first else ():
        show(fault.with_remedy(remedy(fault, parser)))
    if len(faults) > SHOWN:
        print(f'and {len(faults) - SHOWN} more errors')
    if faults:
        have = 'has an error' if len(faults) == 1 else 'have errors'
        print(f'{count - len(faults)} of {count} images are written to {out}; {len(faults)} {have}'
              if len(faults) < count else f'none of {count} images could be done')
        return 1
    print(f'written to {out}')
    return 0


def check_heatmap_options(args: argparse.Namespace) -> None:
    """FcnError for an option of the class grid without --heatmap, and the reverse."""
    for name in () if args.heatmap else ('top', 'scale', 'save_scores'):
        if getattr(args, name) not in (None, False):
            raise FcnError(f'--{name.replace("_", "-")} is for the class grid of a classifier',
                           do='Give --heatmap, or leave it out.')
    for name in ('output', 'threshold', 'tile', 'crf', 'sliding', 'scales', 'flip', 'base_size',
                 *FILES) if args.heatmap else ():
        if getattr(args, name) not in (None, False, []):
            raise FcnError(f'--{name.replace("_", "-")} is for label maps',
                           do='Leave out --heatmap, or this.')


def choose(args: argparse.Namespace, photos: Sequence[Path]) -> Source:
    """What the options mean; prints which run it is, and why, where none is named."""
    check_named(args)
    if args.stage:
        return of_stage(args)
    if args.net:
        said = Exported.of(args.weights)
        return Source(args.net, args.weights, results_of('infer', args.weights, args.runs),
                      said.classes, said.mean or MEAN, said.colours)
    return of_run(args, run_meant(args, photos, args.heatmap))


def of_run(args: argparse.Namespace, run: FinishedRun) -> Source:
    """The net of a run with its newest weights, or with those given."""
    if not (run.finished or args.weights):
        print(f'warning: {run.folder} is at iteration {run.iteration} of {run.length}')
    out = results_of('infer', args.weights, args.runs) if args.weights else run.folder / 'infer'
    return Source(run.deploy, args.weights or run.weights, out, run.classes, run.mean,
                  run.colours)


def of_stage(args: argparse.Namespace) -> Source:
    """The net of a stage: with the newest weights of its run, or with those given and its shipped
    net or that of --net."""
    stage = SHORT.get(args.stage, args.stage)
    folder, shipped = Path(args.runs, stage), PROTOTXT / stage / 'deploy.prototxt'
    written = folder / 'net' / 'deploy.prototxt'
    if list_snapshots(folder) and not args.net:
        return of_run(args, opened(folder, args.runs))
    net = args.net or (written if written.exists() else shipped)
    if not args.net and not net.exists():
        raise FcnError(f"there is no net of the stage '{args.stage}'", do=nearest(
            args.stage, [p.parent.name for p in PROTOTXT.glob('*/deploy.prototxt')]) or
            'Give --net and --weights.')
    if not args.weights and not list_snapshots(folder):
        raise FcnError(f'there are no weights here{listed(readable(args.runs)[0])}',
                       file=str(folder), do=f'Train it (fcn-repro train {args.stage}), or give '
                                            '--weights.')
    weights = args.weights or list_snapshots(folder)[-1]
    return Source(net, weights, results_of('infer', weights, args.runs))


def report(rows: Sequence[Any], weights: str | Path) -> None:
    """Print what happened to the weights: a line, or the table where a layer has none."""
    unset = [row.layer for row in rows if row.action == FILLER]
    print(format_rows(rows) if unset else format_rows(rows).splitlines()[-1])
    if unset:
        print(f"warning: {weights} has nothing for {', '.join(unset)}, which "
              f"{'stays' if len(unset) == 1 else 'stay'} at the filler: the results may mean "
              'nothing')
