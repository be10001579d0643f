"""Train a stage of the recipe, from its parent's weights to the score of its val set."""

import argparse
from dataclasses import fields

from ..distributed import Processes
from ..memory import keep_freed_memory
from ..recipe.distillation import PAIR_WEIGHT, WEIGHT
from ..recipe.method import ALL, SCORES, Method
from ..recipe.options import AUTO, NEWEST, Options
from ..recipe.runs import Run
from ..recipe.stages import SHORT, STAGES
from ..recipe.training import train
from .arguments import (
    add_dialect,
    add_max_pixels,
    add_optimisations,
    add_published,
    add_workers,
    add_writes,
    dialect_of_args,
    finite,
    processes_of_command,
)
from .remedies import HINTS

SEVERAL_PROCESSES = True        # torchrun may start it several times, to work together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('stage', metavar='STAGE', help=f"one of {', '.join([*SHORT, *STAGES])}")
    parser.add_argument('--voc', metavar='DIR', help='folder laid out as VOC2011 is '
                        '(default: scenes of handwritten digits, made from a seed)')
    parser.add_argument('--sbd', metavar='DIR', help="SBD's dataset folder, to train on")
    parser.add_argument('--classes', type=int, metavar='N', help='with background; for a data set '
                        "that is not VOC's: the nets are written for it")
    parser.add_argument('--class-weights', metavar='W', help='of the loss: by the pixels '
                        "of each class, 'balanced' or, stronger, 'median', or numbers such as "
                        '0.5,1,2')
    parser.add_argument('--mnist', metavar='DIR', help="MNIST's IDX files: scenes of these digits")
    parser.add_argument('--m2nist', metavar='DIR', help='folder of combined.npy and segmented.npy, '
                        'for the stage m2nist (default: such scenes, made from a seed)')
    add_published(parser)
    parser.add_argument('--recolour', type=finite, metavar='F', help='fraction of the crops of '
                        '--voc whose colours are rotated at random: 0 where colours tell the '
                        "classes, near 1 where shapes do (default: the stage's own)")
    add_method(parser)
    parser.add_argument('--rotate', type=finite, metavar='DEG', help='turn the crops of --voc by '
                        'up to so many degrees either way: 180 for things that have no upright')
    add_teacher(parser)
    parser.add_argument('--weights', metavar='FILE', help="a caffemodel or Caffe's HDF5 to start "
                        "from instead of the parent stage; 'none': random weights")
    parser.add_argument('--out', metavar='DIR', help="the run's folder (default: runs/STAGE, "
                        'with the name of another solver)')
    parser.add_argument('--runs', metavar='DIR', default='runs', help='folder of all runs '
                        '(default: %(default)s)')
    parser.add_argument('--solver', default='solver.prototxt', help='which solver of the stage '
                        'trains it, by its name in the folder in prototxt/, or the path of any '
                        'other')
    parser.add_argument('--iterations', type=int, metavar='N', help='iterations of this stage, '
                        'instead of max_iter; a parent that is missing trains its own')
    parser.add_argument('--batch', type=int, metavar='B', help='images of one size per forward '
                        "pass, instead of the stage's; with --samples, another recipe by the "
                        'rate rule of docs/training.md')
    parser.add_argument('--samples', type=int, metavar='S', help='samples of an iteration, a '
                        'multiple of B (default: B x iter_size of the solver, of each process)')
    parser.add_argument('--seed', type=int, metavar='N', help='of random numbers and of the order '
                        "of samples (default: the prototxt's)")
    parser.add_argument('--device', help='cpu, cuda, cuda:1, … (default: a GPU if there is one)')
    parser.add_argument('--precision', default='fp32', help='fp32, bf16; on a GPU tf32 too '
                        '(default: %(default)s)')
    parser.add_argument('--restore', nargs='?', const=NEWEST, metavar='STATE',
                        help="resume from a .solverstate.h5 (default: the newest of the run; "
                        "'auto': that, or from the beginning)")
    parser.add_argument('--force', action='store_true', help='restore even though solver, net or '
                        'data have changed')
    parser.add_argument('--keep', type=int, metavar='N', help='snapshots; older ones are removed')
    parser.add_argument('--fresh', action='store_true', help='rename an earlier run and start over')
    parser.add_argument('--pictures', type=int, default=8, metavar='N', help='pictures of the '
                        'val set to write (default: %(default)s)')
    parser.add_argument('--verbose', action='store_true', help='list every layer that takes '
                        'weights, not only those that are not simply copied')
    add_max_pixels(parser)
    add_dialect(parser)
    add_writes(parser)
    add_workers(parser)
    add_optimisations(parser)


def add_teacher(parser: argparse.ArgumentParser) -> None:
    """What a net learns from another one."""
    parser.add_argument('--teacher', metavar='RUN', help='the folder of a finished run, or '
                        'NET,WEIGHTS: learn from what that net makes of the images too')
    parser.add_argument('--pixel-wise', type=finite, metavar='W', help='weight of the loss against '
                        f"the teacher's probabilities, 0 for none (default: {WEIGHT:g})")
    parser.add_argument('--pair-wise', type=finite, metavar='W', help='weight of the loss against '
                        'the similarities of its patches, 0 for none (default: '
                        f'{PAIR_WEIGHT:g})')


def add_method(parser: argparse.ArgumentParser) -> None:
    """What recipe.method varies."""
    parser.add_argument('--learn', choices=(ALL, SCORES), default=ALL, help='which layers learn: '
                        'all (the default), or the score layers alone')
    parser.add_argument('--random-scores', action='store_true', help='score layers start from '
                        'random weights, instead of zeros')
    parser.add_argument('--bias-rate', type=finite, metavar='F', help='learning rate of biases, in '
                        'multiples of that of weights (default: 2 in all recipes)')
    parser.add_argument('--keep-ratio', type=finite, default=1.0, metavar='P', help='patch '
                        'sampling: the probability that a pixel takes part in the loss, one over a '
                        'whole number; an iteration has 1/P times the images')
    parser.add_argument('--keep-cell', type=int, default=1, metavar='N', help='with --keep-ratio: '
                        'squares of NxN pixels are kept or left out as one, such as 32 for a cell '
                        'of FCN-32s (default: %(default)s)')
    parser.add_argument('--relax', type=int, default=1, metavar='N', help='label relaxation: any '
                        'class within a square of NxN pixels is right, 3 at borders (default: '
                        '%(default)s, each label alone)')
    parser.add_argument('--train-split', metavar='NAME', help='train on this split of the folder '
                        'that the val net reads: train of VOC, 1,112 images, instead of SBD')
    parser.add_argument('--mirror', action='store_true', help='mirror half of the training images')
    parser.add_argument('--jitter', type=int, default=0, metavar='N', help='move training images '
                        'by up to N pixels; the paper tried 32')


def run(args: argparse.Namespace) -> int | None:
    """130 where a signal stopped the training."""
    keep_freed_memory()
    options = {**vars(args), **dialect_of_args(args)}
    stage = options.pop('stage')
    options['method'] = Method(**{field.name: options.pop(field.name) for field in fields(Method)})
    with processes_of_command() as processes:
        follow_restarts(options, processes)
        run = Run(stage, Options(**options))
        return 130 if train(run, HINTS, processes) is None else None


def follow_restarts(options: dict, processes: Processes) -> None:
    """Where a launcher starts the processes again after a failure, resume by oneself."""
    if processes.restarts and not options['restore'] and \
            (processes.restarted or not options['fresh']):
        options.update(restore=AUTO, fresh=False)
    if processes.restarted:
        print('started again after a process ended: from the newest snapshot, or, if there is none '
              'yet, from the beginning')

