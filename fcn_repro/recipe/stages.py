"""The staged recipe as a table, and what one row means: its folder, its data, its parent."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.prefetch import check_workers
from ..data.voc import VocFolder
from ..errors import FcnError
from ..formats.atomic import make_folder, write_text
from ..formats.weights import read_extra
from ..proto.prototxt import read_solver
from .models import MODELS
from .runs import iteration, newest_weights, same_data, snapshots

_INSIDE = Path(__file__).parents[1] / 'prototxt'        # of an installed package
PROTOTXT = _INSIDE if _INSIDE.exists() else Path(__file__).parents[2] / 'prototxt'
SCENES = Path('data/digits/VOC')        # what the mini nets' prototxt names
MNIST_SCENES = Path('data/mnist/VOC')
SOLVER = 'solver.prototxt'


@dataclass(frozen=True)
class Stage:
    """One row; its name is the folder of prototxt/.

    parent: the stage whose newest weights it starts from; trains_parent: whether a missing parent
    is trained without being asked for. weights: the file that the user has to give instead.
    surgeries: what is done to the net before the first iteration, see training.SURGERIES.
    score_every: iterations between scores of the val set. accuracy: a classifier's least.
    channels: whether pictures of all channels are drawn.
    """
    parent: str | None = None
    trains_parent: bool = False
    weights: str = ''
    surgeries: tuple[str, ...] = ('transplant', 'zero scores', 'interp')
    score_every: int = 0
    accuracy: float | None = None
    channels: bool = False


def fine_tuned(parent, score_every, **more):
    """A row that starts from another stage."""
    return Stage(parent=parent, score_every=score_every, **more)


VGG16 = Stage(weights='VGG_ILSVRC_16_layers.caffemodel', score_every=4000)
STAGES = {
    'mini-classifier': Stage(surgeries=(), accuracy=0.90),
    'mini-fcn32s-fixed': fine_tuned('mini-classifier', 500, trains_parent=True),
    'mini-fcn32s': fine_tuned('mini-classifier', 500, trains_parent=True),
    'mini-fcn16s': fine_tuned('mini-fcn32s', 200),
    'mini-fcn8s': fine_tuned('mini-fcn16s', 200),
    'mini-fcn8s-atonce': fine_tuned('mini-classifier', 500, trains_parent=True),
    'm2nist-classifier': Stage(surgeries=(), accuracy=0.90),
    'm2nist': fine_tuned('m2nist-classifier', 1000, trains_parent=True, surgeries=('transplant',),
                         channels=True),
    'scratch-fcn32s': Stage(score_every=500),
    'scratch-fcn16s': fine_tuned('scratch-fcn32s', 500),
    'scratch-fcn8s': fine_tuned('scratch-fcn16s', 500),
    'voc-fcn32s-fixed': VGG16,
    'voc-fcn32s': VGG16,
    'voc-fcn16s': fine_tuned('voc-fcn32s', 4000),
    'voc-fcn8s': fine_tuned('voc-fcn16s', 4000),
    'voc-fcn8s-atonce': VGG16,
}
ON = 'solver_on.prototxt'       # trains a stage's own result on: the control of the next stage
SLOW = 'solver_slow.prototxt'   # at the paper's rate, a hundredth of that of the stage before


@dataclass(frozen=True)
class Options:
    """What the command line can change.

    classes: of a data set that is not VOC's; mnist: folder of MNIST's IDX files, for the mini and
    m2nist stages to draw these digits; m2nist: folder of the published scenes; weights: a file, or
    'none' to start from random ones; restore: a .solverstate.h5, or 'newest'; force: restore it
    even where solver, net or data are others than those that wrote it; keep: how many snapshots;
    runs: the folder of all runs; workers: threads that read data ahead, None for a few; precision:
    of runtime.place; no_opt: names of switches.NAMES that are off.
    """
    voc: str | None = None
    sbd: str | None = None
    classes: int | None = None
    mnist: str | None = None
    m2nist: str | None = None
    weights: str | None = None
    out: str | None = None
    runs: str = 'runs'
    solver: str = SOLVER
    iterations: int | None = None
    seed: int | None = None
    device: str | None = None
    precision: str = 'fp32'
    restore: str | None = None
    force: bool = False
    fresh: bool = False
    keep: int | None = None
    pictures: int = 8
    workers: int | None = None
    no_opt: tuple[str, ...] = ()


def shipped(name):
    """The folder of a stage's prototxt files."""
    return PROTOTXT / name


def run_folder(name, options):
    """Where a stage's run lies: runs/STAGE, with the names of another solver and of its data."""
    variant = Path(options.solver).stem.removeprefix('solver').replace('_', '-')
    variant += '-mnist' * bool(options.mnist) + '-published' * bool(options.m2nist)
    return Path(options.out or Path(options.runs, name + variant))


def check(name, options):
    """FcnError for options that make no sense together."""
    if options.iterations is not None and options.iterations < 1:
        raise FcnError(f'{options.iterations} iterations', do='Give --iterations 1 or more.')
    if options.workers is not None:
        check_workers(options.workers)
    if options.keep is not None and options.keep < 1:
        raise FcnError(f'{options.keep} snapshots to keep', do='Give --keep 1 or more.')
    if options.restore and options.fresh:
        raise FcnError('--restore goes on with a run and --fresh starts anew', do='Give one.')
    if options.force and not options.restore:
        raise FcnError('--force is for --restore', do='Give both, or neither.')
    if options.classes is not None and not options.voc:
        raise FcnError('--classes is for a data set of your own', do='Give its folder with --voc.')
    if options.classes is not None and not 1 <= options.classes <= 255:
        raise FcnError(f'{options.classes} classes', do='Give --classes 1 to 255.')
    if options.mnist and (options.voc or not name.startswith(('mini-', 'm2nist'))):
        raise FcnError('--mnist is for the mini and m2nist stages on digits', do='Leave it out.')
    if options.m2nist and (options.mnist or name != 'm2nist'):
        raise FcnError('--m2nist is for the stage m2nist, in place of --mnist', do='Leave it out.')
    if options.voc and name.startswith('m2nist'):
        raise FcnError(f'{name} takes no VOC folder', do='Leave out --voc (make: VOC=…).')
    if options.sbd and (options.classes is not None or not name.startswith('voc-')):
        raise FcnError(f"--sbd is for the voc stages with VOC's own 21 classes, not for {name}" +
                       (f' with --classes {options.classes}' if options.classes else ''),
                       do='Leave out --sbd, or train voc-fcn32s without --classes.')
    if options.weights == 'none' and name.startswith('voc-') and (options.sbd or not options.voc):
        raise FcnError(f"{name} is the release's net, all of whose layers start from 0", do='Give '
                       '--weights FILE; or, for random weights, --voc and --classes, or a scratch '
                       'stage.')
    if not (shipped(name) / options.solver).is_file():
        there = ', '.join(sorted(p.name for p in shipped(name).glob('solver*.prototxt')))
        raise FcnError(f"{name} has no solver '{options.solver}'", file=str(shipped(name)),
                       do=f'Give one of {there}.' if there else
                       'Run tools/make_prototxt.py, which writes the folder.')


def iterations(name, options):
    """How far a stage is trained."""
    return options.iterations or read_solver(shipped(name) / options.solver).message.max_iter


def own_model(name, options):
    """The stage's model for a data set of the user's own (a summed loss keeps base_lr x pixels, so
    the size of its first image counts); None where the shipped files will do."""
    if not options.voc or options.sbd:
        return None
    data = VocFolder(options.voc, 'val')
    pixels = math.prod(data.image(0).shape[:2])
    model = MODELS[name].on_data(classes=options.classes, voc_dir=str(options.voc),
                                 val_images=len(data), pixels=pixels)
    if options.weights == 'none':
        model = replace(model, settings={**model.settings, 'weight_filler': {'type': 'msra'}})
    return model


def definition(model, out):
    """The folder with the model's prototxt files; those that a run was made with stay."""
    folder = out / 'net'
    if not (snapshots(out, 'solverstate') and folder.exists()):
        make_folder(folder)
        for file, text in model.files().items():
            write_text(text, folder / file)
    return folder


def data_overrides(options):
    """What the data layers read in place of the folders that the prototxt names, and the seed of
    their order: the release's, 1337, and for --seed another one."""
    voc_dir = options.voc or (MNIST_SCENES if options.mnist else None)
    voc = {'voc_dir': str(voc_dir)} if voc_dir else {}
    both = {'classes': options.classes} if options.classes else {}
    seed = {'seed': 1337 + options.seed} if options.seed else {}
    sbd = {'sbdd_dir': str(options.sbd)} if options.sbd else {}
    mnist = {'mnist': str(options.mnist)} if options.mnist else {}
    published = {'m2nist': str(options.m2nist)} if options.m2nist else mnist
    order = {'order_seed': 1337 + options.seed} if options.seed else {}     # of the same scenes
    return {'VOCSegDataLayer': voc | sbd | both | seed, 'SBDDSegDataLayer': sbd | both | seed,
            'DigitDataLayer': mnist | seed, 'M2nistDigitDataLayer': mnist | order,
            'M2nistDataLayer': published | order}


# ---- the parent --------------------------------------------------------------------------------

def parent_run(name, options):
    """(stage, options) of the run that a stage starts from; None where it has no parent. The
    control trains the stage's own result on; at the paper's rates the parent has them as well."""
    parent = name if options.solver == ON else STAGES[name].parent
    if parent is None:
        return None
    its = Options(seed=options.seed, device=options.device, keep=options.keep, mnist=options.mnist,
                  runs=options.runs, workers=options.workers)
    if options.solver == SLOW and (shipped(parent) / SLOW).exists():
        its = replace(its, solver=SLOW)
    if STAGES[parent].accuracy is None:         # a classifier has data of its own
        its = replace(its, voc=options.voc, sbd=options.sbd, classes=options.classes)
    return parent, its


def length(name, options):
    """How far a stage's run in its folder was to go, as its weights say (--iterations counts)."""
    wanted = read_extra(newest_weights(run_folder(name, options))).get('max_iter')
    return int(wanted or iterations(name, options))


def finished(name, options):
    """The weights of a stage's run that reached its end, or None."""
    found = snapshots(run_folder(name, options))
    return found[-1] if found and iteration(found[-1]) >= length(name, options) else None


def stopped(name, options):
    """Whether the stage's run ended before its last iteration, and can be gone on with."""
    return bool(snapshots(run_folder(name, options), 'solverstate')) and \
        finished(name, options) is None


def parent_weights(child, name, options):
    """The newest weights of a finished parent; FcnError where it is missing or was stopped."""
    folder, weights = run_folder(name, options), finished(name, options)
    target = name.partition('-')[2] or name
    if stopped(name, options):
        state = snapshots(folder, 'solverstate')[-1]
        raise FcnError(f'{child} starts from {name}, whose run stopped at iteration '
                       f'{iteration(state)} of {length(name, options)}', file=str(folder),
                       do=f'Go on with it: make train-{target} RESTORE=1; or start from it as it '
                          f'is: --weights {snapshots(folder)[-1]} (make: WEIGHTS=…).')
    if weights is None:
        raise FcnError(f'{child} starts from {name}, which has not been trained', file=str(folder),
                       do=f'Train it first: make train-{target} (make staged does all), or '
                          'tools/train.py; or give --weights FILE (make: WEIGHTS=…).')
    same_data(folder, options.voc if not options.sbd else None)
    return weights
