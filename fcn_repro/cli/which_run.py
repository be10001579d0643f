"""Which net the options --run, --stage, --net and --weights mean: one rule, of infer and eval."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import FcnError
from ..recipe.choosing import choose_run
from ..recipe.finished import FinishedRun, opened
from ..solver.snapshot_files import list_snapshots


def add_run_options(parser: argparse.ArgumentParser, kind: str) -> None:
    """Add them; kind: of the prototxt that --net takes, in words."""
    parser.add_argument('--run', metavar='DIR', help='a run: its folder, or its name in --runs '
                        '(default: the newest finished run, or the one that was trained on these '
                        'data; the first line says which, and why)')
    parser.add_argument('--runs', metavar='DIR', default='runs', help='folder of all runs '
                        '(default: %(default)s)')
    parser.add_argument('--stage', help='net and weights of this stage')
    parser.add_argument('--net', metavar='FILE', help=kind)
    parser.add_argument('--weights', metavar='FILE', help="default: the run's newest")


def check_named(args: argparse.Namespace) -> None:
    """FcnError for options that contradict each other, and for a net or weights alone."""
    if args.run and (args.stage or args.net):
        raise FcnError(f"--run and --{'stage' if args.stage else 'net'} are both given",
                       do='Give one of them.')
    alone = None if args.run or args.stage or (args.weights and in_run(args.weights)) else \
        ('net', 'weights') if args.net and not args.weights else \
        ('weights', 'net') if args.weights and not args.net else None
    if alone:
        raise FcnError(f'--{alone[0]} without --{alone[1]}',
                       do='Give both, or the --run or --stage that has the other.')


def in_run(weights: str | Path) -> bool:
    """Whether a file of weights is one of a run's snapshots."""
    return Path(weights) in list_snapshots(Path(weights).parent)


def run_meant(args: argparse.Namespace, images: Sequence[Path],
              classifier: bool = False) -> FinishedRun:
    """The run that --run names, or that --weights lie in; where none is named, that of choose_run
    for these images, or this folder of data; prints which it is, and why."""
    if args.run or args.weights:
        run = opened(args.run or Path(args.weights).parent, args.runs)
        check_pixels(run)
        return run
    choice = choose_run(images, args.runs, classifier)
    print(f'{choice.run.folder}: {choice.why}')
    return choice.run


def check_pixels(run: FinishedRun) -> None:
    """FcnError for a run of image tags, whose net labels no pixels and no single thing."""
    if run.stage is not None and run.stage.tags:
        raise FcnError(f'the run is of {run.stage_name}, which tells the tags of an image',
                       file=str(run.folder), code='of-tags',
                       do='Make seeds of its class maps, and train own-scribbles on them.')


def results_of(kind: str, weights: str | Path, runs: str | Path) -> Path:
    """Where the results ('eval', 'infer') of a net or weights of one's own go by default: below
    RUNS/KIND, in folders named as the path of the weights is from here, so that files of one name
    have folders of their own."""
    path, top = Path(os.path.abspath(weights)), Path(os.path.abspath(runs))
    for start in top, Path.cwd():
        if path.is_relative_to(start):
            path = path.relative_to(start)
    return Path(runs, kind, *path.parts[path.is_absolute():-1], path.stem)
