"""How one stage is trained: every step in the order of time."""

import signal
from contextlib import contextmanager
from dataclasses import replace

import torch

from ..data.scenes import make_scenes
from ..errors import FcnError
from ..formats.atomic import make_folder
from ..formats.weights import FILLER, format_rows
from ..net import surgery
from ..net.net import Net
from ..net.placement import check_precision, pick_device, place, training_seconds
from ..predict.channels import channel_pictures
from ..predict.evaluation import evaluate_and_report, val_score
from ..proto import TEST
from ..proto.prototxt import read_solver
from ..report.progress import TrainingBar, human, log_to
from ..solver.nets import train_net
from ..solver.solver import Solver
from .provenance import check_parent, check_run, classes_of, commit, data_hash, parentage
from .runs import (
    NEWEST,
    complete,
    iteration,
    newest_state,
    newest_weights,
    same_data,
    set_aside,
    snapshots,
)
from .stages import (
    MNIST_SCENES,
    SCENES,
    STAGES,
    check,
    data_overrides,
    definition,
    finished,
    iterations,
    length,
    own_model,
    parent_run,
    parent_weights,
    run_folder,
    shipped,
    stopped,
)
from .switches import Switches

LONG = 2 * 3600          # seconds of training from which on the estimate is the first line


def train(name, options):
    """Train a stage from its parent, then evaluate it. Returns the path of its weights, or None
    where a signal stopped it. All that can be checked is checked before anything is touched."""
    check(name, options)
    check_precision(options.precision, pick_device(options.device), train=True)
    switches = Switches(options.no_opt)
    stage, out = STAGES[name], run_folder(name, options)
    model, max_iter = own_model(name, options), iterations(name, options)
    state, fresh = state_to_restore(name, out, options), options.fresh and snapshots(out)
    if not fresh:
        same_data(out, options.voc if model else None)
    weights = None if state or fresh else complete(out, max_iter)
    source = None if state or weights else starting_weights(name, options)
    make_data(name, options)
    folder = shipped(name)
    net = val_net(folder, options) if model is None else None
    if fresh:
        set_aside(out)
    if model is not None:
        folder = definition(model, out)
        net = val_net(folder, options)
    mine = identity(name, folder, net, options)
    if weights is not None:
        check_run(weights, mine | parentage_now(name, options))
        print(f'{out}: trained already, up to iteration {iteration(weights)} (--fresh starts anew)')
    else:
        weights = learn(name, folder / options.solver, net, source, state, mine, options)
    if weights is None:
        return None
    net.copy_from(weights)
    place(net, pick_device(options.device), workers=options.workers, precision=options.precision,
          **switches.placed)
    if stage.accuracy is not None:
        check_accuracy(net, stage.accuracy, weights)
        return weights
    evaluate_and_report(net, out / 'eval', options.pictures)
    if stage.channels:
        channel_pictures(net, out / 'eval' / 'channels.png')
        print(f'all channels: {out}/eval/channels.png')
    return weights


def identity(name, folder, val, options):
    """What tells this run from another one in the same place."""
    file = folder / options.solver
    solver = read_solver(file)
    seed = options.seed if options.seed is not None else max(int(solver.message.random_seed), 0)
    return {'stage': name, 'classes': options.classes or classes_of(val), 'seed': seed,
            'data': data_hash(train_net(solver), data_overrides(options))}


def parentage_now(name, options):
    """The parentage of a run that would start now; {} where the weights for it are not there."""
    parent = parent_run(name, options)
    if options.weights == 'none' or not (options.weights or parent or STAGES[name].weights):
        return parentage(None)
    now = options.weights or (parent and finished(*parent))
    return parentage(now) if now else {}


def make_data(name, options):
    """The scenes that a stage's prototxt names, where they are not there yet."""
    if name.startswith(('mini-fcn', 'scratch-fcn')) and not options.voc:
        make_scenes(MNIST_SCENES if options.mnist else SCENES, mnist=options.mnist)


def state_to_restore(name, out, options):
    """The snapshot to go on from, or None. Where the parent's run was stopped and this stage has
    none yet, --restore goes on with the parent."""
    if options.restore != NEWEST:
        later = [path for path in snapshots(out, 'solverstate')
                 if options.restore and iteration(path) > iteration(options.restore)]
        if later:
            raise FcnError(f'this run has a later snapshot, of iteration {iteration(later[-1])}, '
                           'which would be taken for its newest', file=str(out),
                           do='Give another --out, or move the later ones away.')
        return options.restore
    parent = parent_run(name, options)
    if not (snapshots(out, 'solverstate') or options.weights) and parent and stopped(*parent):
        return None
    return newest_state(out)


def starting_weights(name, options):
    """The file that training starts from, after training the parent where that is missing and the
    stage's row says so; None for random weights."""
    stage, parent = STAGES[name], parent_run(name, options)
    if options.weights == 'none' or not (options.weights or parent or stage.weights):
        return None
    if options.weights is not None:
        return options.weights
    if parent is None:
        raise FcnError(f'{name} starts from ImageNet weights, and none are given',
                       do=f'Give --weights {stage.weights} (make: WEIGHTS=…), or, for a data set '
                          'of your own, --weights none.')
    unfinished = stopped(*parent)
    by_itself = stage.trains_parent and parent[0] == stage.parent
    if not by_itself and not (options.restore and unfinished):
        return parent_weights(name, *parent)
    print(f'{name} starts from {parent[0]}:')
    goal = length(*parent) if snapshots(run_folder(*parent)) else None
    weights = train(parent[0], replace(parent[1], fresh=options.fresh and unfinished,
                                       restore=options.restore if unfinished else None,
                                       iterations=goal))
    if weights is None:
        raise KeyboardInterrupt
    return weights


def val_net(folder, options):
    """The stage's val net: made before training, so that missing data is found then."""
    return Net.read(folder / 'val.prototxt', TEST, passes=Switches(options.no_opt).passes,
                    overrides=data_overrides(options))


def learn(name, solver_file, val, source, state, mine, options):
    """Run the solver to its end; returns the final weights, None where a signal stopped it."""
    device, stage, out = pick_device(options.device), STAGES[name], run_folder(name, options)
    switches = Switches(options.no_opt)
    solver = Solver(solver_file, prefix=out / 'train', seed=options.seed, device=device,
                    overrides=data_overrides(options), max_iter=options.iterations,
                    keep=options.keep, workers=options.workers, precision=options.precision,
                    passes=switches.passes, placed=switches.placed)
    solver.fused = switches.fused
    found = source is not None and options.weights is None and parent_run(name, options)
    if found and STAGES[found[0]].accuracy is None:     # a classifier has other data
        check_parent(mine, source)
    said = {'commit': commit(), 'max_iter': solver.param.max_iter,
            **{key: value for key, value in mine.items() if key != 'seed'}}
    solver.provenance = said if state else said | parentage(source)     # a state knows its parent
    make_folder(out)
    log_to(out / 'train.log')
    if state:
        changed = solver.restore(state, options.force)
        happened = f'restored {state}' + (f', although it differs:\n{changed}' if changed else '')
    else:
        happened = prepare(solver.net, stage.surgeries, source)
    introduce(name, solver, device)
    print(happened)
    place(val, device, workers=options.workers, precision=options.precision,
          **{**switches.placed, 'prepack': False})      # training needs the memory
    val.share_with(solver.net)
    batch = next(iter(solver.net.shapes.values()))[0] * solver.param.iter_size
    with stopped_by_signals(solver), TrainingBar(solver, batch) as bar:
        for _ in solver.run():
            bar.update()
            if stage.score_every and solver.iter % stage.score_every == 0 and \
                    solver.iter < solver.param.max_iter:
                bar.aside(val_score, val, solver.iter)
    if solver.stop:
        print(f'stopped at iteration {solver.iter} with a snapshot; go on with --restore '
              '(make: RESTORE=1)')
        return None
    last = [path for path in snapshots(out) if iteration(path) == solver.iter]
    return last[-1] if last else newest_weights(out)


def prepare(net, surgeries, source):
    """What is done to a net before its first iteration; says what happened.

    transplant: weights by name, InnerProduct cast into Convolution; without a source everything
    starts from its filler. zero scores: the score layers that the source lacks. interp: layers
    named `up` become bilinear.
    """
    if source is None:
        happened, fresh = 'every layer starts from its filler', list(net.params)
    elif 'transplant' in surgeries:
        rows = net.copy_from(source)
        happened, fresh = format_rows(rows), [row.layer for row in rows if row.action == FILLER]
    else:
        raise FcnError('this stage takes no weights', file=str(source), do='Leave out --weights.')
    if 'zero scores' in surgeries:
        for layer in fresh:
            if layer.startswith('score'):
                for blob in net.params[layer]:
                    blob.data.zero_()
    if 'interp' in surgeries:
        ups = [name for name in net.params if 'up' in name]
        surgery.interp(tensors(net), ups)
        happened += ''.join(f'\n{up} made bilinear' for up in ups)
    return happened


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
    size = f'{count / 1e6:.1f}M' if count >= 1e5 else f'{count / 1e3:.1f}k'
    print(f'{name}: {len(net.graph.nodes)} layers, {size} parameters, '
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
