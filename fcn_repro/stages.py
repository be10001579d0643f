"""The staged recipe as a table, and how one stage is trained: every step in the order of time."""

import math
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from . import models, surgery
from .data.scenes import make_scenes
from .data.voc import VocFolder
from .errors import FcnError
from .evaluation import evaluate_and_report
from .files import write_text
from .net import Net
from .passes import DEFAULT
from .proto import TEST
from .prototxt import read_solver
from .report.progress import TrainingBar, human, log_to
from .runs import (
    NEWEST,
    complete,
    iteration,
    make_folder,
    newest_state,
    newest_weights,
    same_data,
    set_aside,
    snapshots,
)
from .runtime import pick_device, place, training_seconds
from .solver import Solver
from .weights import format_rows

PROTOTXT = Path(__file__).parents[1] / 'prototxt'
SCENES = Path('data/digits/VOC')        # what the mini nets' prototxt names
MNIST_SCENES = Path('data/mnist/VOC')
LONG = 2 * 3600          # seconds of training from which on the estimate is the first line


@dataclass(frozen=True)
class Stage:
    """One row: the folder of prototxt/ is the stage's name. parent: the stage it starts from;
    weights: the file that the user has to give instead; accuracy: the least on held-out data."""
    parent: str | None = None
    weights: str = ''
    accuracy: float | None = None


STAGES = {
    'mini-classifier': Stage(accuracy=0.90),
    'mini-fcn32s': Stage(parent='mini-classifier'),
    'voc-fcn32s': Stage(weights='VGG_ILSVRC_16_layers.caffemodel'),
}


@dataclass(frozen=True)
class Options:
    """What the command line can change.

    classes: of a data set that is not VOC's; mnist: folder of MNIST's IDX files, for the mini
    stages to draw these digits; weights: a file, or 'none' to start from random ones; restore: a
    .solverstate.h5, or 'newest'.
    """
    voc: str | None = None
    sbd: str | None = None
    classes: int | None = None
    mnist: str | None = None
    weights: str | None = None
    out: str | None = None
    solver: str = 'solver.prototxt'
    iterations: int | None = None
    seed: int | None = None
    device: str | None = None
    restore: str | None = None
    fresh: bool = False
    pictures: int = 8


def train(name, options):
    """Train a stage from its parent, then evaluate it. Returns the path of its weights, or None
    where a signal stopped it. All that can be checked is checked before anything is touched."""
    stage, out = STAGES[name], run_folder(name, options)
    check(name, options)
    model, max_iter = own_model(name, options), iterations(name, options)
    state = state_to_restore(stage, out, options)
    if options.fresh and snapshots(out):
        set_aside(out)
    same_data(out, options.voc if model else None)
    weights = None if state else complete(out, max_iter)
    if weights is not None:
        print(f'{out}: trained already, up to iteration {iteration(weights)} (--fresh starts anew)')
        source = None
    else:
        source = None if state else starting_weights(name, stage, options)
    if name.startswith('mini-fcn') and not options.voc:
        make_scenes(MNIST_SCENES if options.mnist else SCENES, mnist=options.mnist)
    folder = PROTOTXT / name if model is None else definition(model, out)
    net = val_net(folder, options)
    if weights is None:
        weights = learn(name, folder / options.solver, source, state, out, options)
    if weights is None:
        return None
    net.copy_from(weights)
    place(net, pick_device(options.device))
    if stage.accuracy is None:
        evaluate_and_report(net, out / 'eval', options.pictures)
    else:
        check_accuracy(net, stage.accuracy, weights)
    return weights


def run_folder(name, options):
    """Where a stage's run lies."""
    return Path(options.out or f'runs/{name}' + ('-mnist' if options.mnist else ''))


def check(name, options):
    """FcnError for options that make no sense together."""
    if options.iterations is not None and options.iterations < 1:
        raise FcnError(f'{options.iterations} iterations', do='Give --iterations 1 or more.')
    if options.restore and options.fresh:
        raise FcnError('--restore goes on with a run and --fresh starts anew', do='Give one.')
    if options.classes is not None and not options.voc:
        raise FcnError('--classes is for a data set of your own', do='Give its folder with --voc.')
    if options.classes is not None and not 1 <= options.classes <= 255:
        raise FcnError(f'{options.classes} classes', do='Give --classes 1 to 255.')
    if options.mnist and (options.voc or not name.startswith('mini-')):
        raise FcnError('--mnist is for the mini stages on digit scenes', do='Leave it out.')
    if options.sbd and (options.classes is not None or not name.startswith('voc-')):
        raise FcnError(f"--sbd is for the voc stages with VOC's own 21 classes, not for {name}" +
                       (f' with --classes {options.classes}' if options.classes else ''),
                       do='Leave out --sbd, or train voc-fcn32s without --classes.')


def iterations(name, options):
    """How far a stage is trained."""
    return options.iterations or read_solver(PROTOTXT / name / options.solver).message.max_iter


def own_model(name, options):
    """The stage's model for a data set of the user's own (a summed loss keeps base_lr x pixels, so
    the size of its first image counts); None where the shipped files will do."""
    if not options.voc or options.sbd:
        return None
    data = VocFolder(options.voc, 'val')
    pixels = math.prod(data.image(0).shape[:2])
    model = models.MODELS[name].on_data(classes=options.classes, voc_dir=str(options.voc),
                                        val_images=len(data), pixels=pixels)
    if options.weights == 'none':
        model = replace(model, settings={**model.settings, 'weight_filler': {'type': 'msra'}})
    return model


def definition(model, out):
    """The folder with the model's prototxt files; those that a run was made with stay."""
    folder = out / 'net'
    if not (snapshots(out) and folder.exists()):
        make_folder(folder)
        for file, text in model.files().items():
            write_text(text, folder / file)
    return folder


def stopped(name, mnist):
    """Whether the stage's own run ended before its last iteration."""
    found = snapshots(run_folder(name, Options(mnist=mnist)))
    return bool(found) and iteration(found[-1]) < iterations(name, Options())


def state_to_restore(stage, out, options):
    """The snapshot to go on from, or None. Where the parent's run was stopped and this stage has
    none yet, --restore goes on with the parent."""
    if options.restore != NEWEST:
        return options.restore
    own = snapshots(out, 'solverstate') or options.weights or not stage.parent
    if not own and stopped(stage.parent, options.mnist):
        return None
    return newest_state(out)


def starting_weights(name, stage, options):
    """The file that training starts from, after training the parent where that is missing; None
    for random weights."""
    if options.weights == 'none' or not (options.weights or stage.parent or stage.weights):
        return None
    if options.weights is not None:
        return options.weights
    if stage.parent is None:
        raise FcnError(f'{name} starts from ImageNet weights, and none are given',
                       do=f'Give --weights {stage.weights} (make: WEIGHTS=…), or, for a data set '
                          'of your own, --weights none.')
    print(f'{name} starts from {stage.parent}:')
    weights = train(stage.parent, Options(
        seed=options.seed, device=options.device, mnist=options.mnist, restore=options.restore,
        fresh=options.fresh and stopped(stage.parent, options.mnist)))
    if weights is None:
        raise KeyboardInterrupt
    return weights


def data_overrides(options):
    """What the data layers read in place of the folders that the prototxt names."""
    voc_dir = options.voc or (MNIST_SCENES if options.mnist else None)
    voc = {'voc_dir': str(voc_dir)} if voc_dir else {}
    both = {'classes': options.classes} if options.classes else {}
    sbd = {'sbdd_dir': str(options.sbd)} if options.sbd else {}
    mnist = {'mnist': str(options.mnist)} if options.mnist else {}
    return {'VOCSegDataLayer': voc | sbd | both, 'SBDDSegDataLayer': sbd | both,
            'DigitDataLayer': mnist}


def val_net(folder, options):
    """The stage's val net: made before training, so that missing data is found then."""
    return Net.read(folder / 'val.prototxt', TEST, passes=DEFAULT,
                    overrides=data_overrides(options))


def learn(name, solver_file, source, state, out, options):
    """Run the solver to its end; returns the final weights, None where a signal stopped it."""
    device = pick_device(options.device)
    solver = Solver(solver_file, prefix=out / 'train', seed=options.seed, device=device,
                    overrides=data_overrides(options), max_iter=options.iterations)
    make_folder(out)
    log_to(out / 'train.log')
    if state:
        solver.restore(state)
        table = f'restored {state}'
    else:
        table = 'every layer starts from its filler' if source is None else \
            format_rows(solver.net.copy_from(source))
        ups = [name for name in solver.net.params if 'up' in name]
        surgery.interp(tensors(solver.net), ups)
        table += ''.join(f'\n{up} made bilinear' for up in ups)
    introduce(name, solver, device)
    print(table)
    batch = next(iter(solver.net.shapes.values()))[0] * solver.param.iter_size
    with stopped_by_signals(solver), TrainingBar(solver, batch) as bar:
        for _ in solver.run():
            bar.update()
    if solver.stop:
        print(f'stopped at iteration {solver.iter} with a snapshot; go on with --restore '
              '(make: RESTORE=1)')
        return None
    return newest_weights(out)


def introduce(name, solver, device):
    """Say what is trained, and first of all how long that takes where it is hours."""
    p, net = solver.param, solver.net
    left = p.max_iter - solver.iter
    seconds = training_seconds(net, device) * p.iter_size * left
    if seconds > LONG:
        print(f'{name}: {left} iterations would take about {human(seconds)} on this machine '
              f'({device}, {torch.get_num_threads()} threads). Use a GPU, or --iterations for a '
              'try (make: ITERATIONS=…).')
    count = sum(blob.parameter.numel() for blob in net.learnable_params)
    print(f'{name}: {len(net.graph.nodes)} layers, {count / 1e6:.1f}M parameters, '
          f'{p.max_iter} iterations of {p.iter_size} x {next(iter(net.shapes.values()))[0]} '
          f'images, base_lr {p.base_lr:g}, momentum {p.momentum:g}, torch {torch.__version__} on '
          f'{device}; about {human(seconds)}')


@contextmanager
def stopped_by_signals(solver):
    """SIGINT and SIGTERM end the run after the current iteration, with a snapshot."""
    def stop(number, frame):
        solver.stop = True
    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tensors(net):
    """{layer: its parameter tensors}, as surgery takes them."""
    return {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}


def check_accuracy(net, least, weights):
    """Run a classifier's val net over all its data. FcnError where it is under `least`."""
    data = next(net.layer(node).reader for node in net.graph.nodes if node.type == 'Python')
    with torch.no_grad():
        accuracy = sum(net.forward()['accuracy'].item() for _ in range(len(data))) / len(data)
    print(f'accuracy on held-out data: {100 * accuracy:.1f} %')
    if accuracy < least:
        raise FcnError(f'the classifier reached {100 * accuracy:.1f} % on held-out data, '
                       f'{100 * least:.0f} % are needed', file=str(weights),
                       do='Train it longer (--iterations) or from another --seed.')
