"""Training of one stage, its steps in the order of time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..data.check import check_folder
from ..data.findings import Findings, by_kind, headed
from ..data.layouts import is_voc
from ..data.original import layout_of, read_by
from ..data.palette import VOC_CLASSES, palette
from ..distributed import ALONE, Processes
from ..errors import FcnError
from ..formats.atomic import make_folder
from ..formats.weights import read_extra
from ..lock import RunLock, locked
from ..net.net import Net
from ..net.placement import check_precision, hardware, place
from ..predict.channels import channel_pictures
from ..predict.evaluation import evaluate_and_report
from ..predict.labels import data_layer, data_params, python_layers_of, val_file
from ..predict.sources import TABLE_3
from ..predict.val import tag_line
from ..proto.dialects import find_dialect
from ..report.curves import FILE as CURVES
from ..report.curves import METRICS, complete_curves
from ..report.html import FILE as REPORT
from ..report.html import write_report
from ..report.progress import log_to
from ..solver.iteration import test_passes
from ..solver.snapshot_files import iteration
from ..solver.solver import Solver
from .checks import check_folders, check_options
from .distillation import TEACHER
from .finished import keep_classes
from .folders import set_aside
from .iterating import Session, WaitForRoom, by, device_of, hint, iterate
from .optimisations import Optimisations
from .options import NONE
from .provenance import (
    check_parent,
    check_run,
    commit,
    identity,
    parentage,
    parentage_now,
    run_classes,
)
from .run_facts import facts_of_run
from .runs import Run
from .stages import shipped
from .starting import Source, adapted, given, other_mean, prepare

LONG = 2 * 3600          # seconds of training from which on a hint goes with the estimate
AGAIN = 30               # seconds between two tries to write to a full disk
# What is printed about going on, in words of Python; {stage} is the stage's name.
HINTS = {
    'trained-already': 'fresh=True starts anew',
    'run-interrupted': "restore='newest' resumes it",
    'several-processes': 'samples=S sets the samples of an iteration, by the rate rule.',
    'long-training': 'Use a GPU, or fewer iterations for a trial.',
    'data-whole-masks': "The stage 'own' learns from masks.",
    'data-fewer': 'Give classes={classes}.',
}


def train(run: Run, hints: Mapping[str, str] = HINTS,
          processes: Processes = ALONE) -> Path | None:
    """Train a stage from its parent, then evaluate it.

    Returns the path of its weights, or None if a signal stopped it. hints: texts in the place of
    HINTS, in the words of a front end. processes: those that all call this, to train together on
    files that all of them see; the first one writes.
    FcnError for options, data, weights and earlier runs that do not fit, and where another run is
    using its folder; all that can be checked is checked before anything is changed."""
    run = replace(run, options=replace(run.options, processes=processes.size))
    options = run.options
    check_options(run)
    check_precision(options.precision, device_of(run, processes), train=True)
    Optimisations(options.no_opt)           # an unknown name is an error now
    with locked(run.folder) if processes.first else nullcontext() as lock:
        return train_locked(run, lock, hints, processes)


def train_locked(run: Run, lock: RunLock | None, hints: Mapping[str, str],
                 processes: Processes) -> Path | None:
    """`train` in a folder whose lock is held, by the first process."""
    options, session = run.options, Session(hints, processes, lock)

    # Is there a run already?
    fresh = options.fresh and bool(run.snapshots())
    state = run.state_to_restore()
    if not fresh:
        run.check_data()
    weights = None if state or fresh else run.complete()
    if there := state or weights:
        run = run.as_recorded(there)

    # Data, weights to start from, nets
    check_data(run, hints, processes, decode=weights is None)
    source = None if state or weights else starting_weights(run, hints, processes)
    processes.by_first(run.make_data)
    val = run.val_net(shipped(run.name)) if run.model is None else None     # finds missing data
    if fresh:
        check_source(run, val, source)
        processes.gather(None)              # nobody reads the earlier run any more
        if lock is not None:
            lock.moved(set_aside(run.folder))
    prototxt = processes.by_first(run.write_prototxt)
    if val is None:
        val = run.val_net(prototxt)
    mine = identity(run, prototxt, val)

    # Train, unless it is trained
    if weights is not None:
        check_run(weights, mine | parentage_now(run))
        print(f'{run.folder}: trained already{by(run, processes)}, up to iteration '
              f'{iteration(weights)} '
              f'({hint(hints, "trained-already", run)})')
    elif state:
        weights = resume(run, prototxt, val, state, mine, session)
    else:
        weights = learn(run, prototxt, val, source, mine, session)
    if weights is not None:
        score(run, val, weights, processes)
    return weights


# ---- data and weights to start from --------------------------------------------------------------

def check_data(run: Run, hints: Mapping[str, str], processes: Processes, decode: bool) -> None:
    """FcnError for folders of data that lack what a run reads; with `decode` also for faults in
    their files, all of which are then looked at."""
    if decode:
        processes.by_first(lambda: check_labels(checked(run), hints))
    check_folders(run)
    if decode:
        processes.by_first(lambda: check_labels(published(run), hints))


def check_labels(findings: Iterable[Findings], hints: Mapping[str, str]) -> None:
    """FcnError for faults in a data set for which training would fail or learn nothing, all in one
    list; prints what else is to be said about it."""
    for found in findings:
        found.raise_for_training()
        for kind, faults in by_kind(found.warnings).items():
            do = hints.get(f'data-{kind}', '').format(**faults[0].facts)
            print(f'warning: {headed(kind, faults)}: {faults[0].file}: {faults[0].what}. '
                  f'{do}'.rstrip())


def checked(run: Run) -> Iterator[Findings]:
    """What is in the user's own data set, or in SBD and VOC, which a run trains and is scored on:
    every file of train and val is decoded. Of folders that are not laid out so, nothing:
    check_folders tells that."""
    options = run.options
    if options.own_voc is not None:
        found = check_folder(options.own_voc, classes=options.classes)
        if not found.errors and run.model is not None:
            found = found.for_classes(run.model.settings.get('classes'))
        yield found.for_scribbles() if run.stage.scribbles else found
    elif options.sbd is not None:
        if layout_of(Path(options.sbd)) is not None:
            yield check_folder(options.sbd, ('train',))
        if options.voc is not None and is_voc(Path(options.voc)):
            yield check_folder(options.voc, (TABLE_3,), len(VOC_CLASSES), sbd=options.sbd)


def published(run: Run) -> Iterator[Findings]:
    """What is in the folder of NYUDv2, SIFT Flow or PASCAL-Context that a run trains and is scored
    on, whose files are there: as far as its nets read them, all are decoded."""
    options, folder = run.options, shipped(run.name)
    for root in filter(None, (options.nyud, options.siftflow, options.context)):
        nets = [data_params(net)[1] for net in (min(folder.glob('train*.prototxt')),
                                                val_file(folder))]
        splits = [params['split'] for params in nets]
        splits[0] = options.method.train_split or splits[0]
        yield read_by(check_folder(root, splits, pascal=options.pascal),
                      {top for params in nets for top in params.get('tops', ())})


def starting_weights(run: Run, hints: Mapping[str, str],
                     processes: Processes) -> Source | None:
    """The file that training starts from, or one for each stream; None for random weights.

    A missing parent is trained if the stage asks for that, a stopped one is resumed with
    `restore`. FcnError if there are no weights to start from."""
    options, stage, parents = run.options, run.stage, run.parents
    if options.weights == NONE or not (options.weights or parents or stage.weights):
        return None
    if options.weights is not None:
        return given(options.weights, stage)
    if not parents:
        own = 'voc' in stage.takes
        raise FcnError(f'{run.name} starts from ImageNet weights, which are not given',
                       code='weights-needed' if own else 'classifier-needed',
                       facts={'stage': run.name, 'weights': stage.weights},
                       do=f'Give {stage.weights} as weights' + (
                           ", or, for a data set of your own, weights='none'." * own or '.'))
    found = tuple(parent_weights(run, parent, hints, processes) for parent in parents)
    return found if stage.streams else found[0]


def parent_weights(run: Run, parent: Run, hints: Mapping[str, str],
                   processes: Processes) -> Path:
    """The weights of a run's parent, trained or resumed where starting_weights says so."""
    options, stopped = run.options, parent.stopped
    automatic = run.stage.trains_parent and parent.name == run.stage.parent
    if not automatic and not (options.restore and stopped):
        return parent.weights_for(run.name)
    goal = parent.length if parent.snapshots() else None
    print(f'{run.name} starts from {parent.name}, which has {goal or parent.max_iter} iterations '
          'of its own:')
    parent = replace(parent, options=replace(
        parent.options, fresh=options.fresh and stopped,
        restore=options.restore if stopped else None, iterations=goal))
    weights = train(parent, hints, processes)
    if weights is None:
        raise KeyboardInterrupt
    return weights


def check_source(run: Run, val: Net | None, source: Source | None) -> None:
    """FcnError for weights that the nets do not take, before an earlier run is renamed. val: the
    val net, whose layers are the train net's; None for a data set of the user's own, whose nets are
    not written yet, so that only the file is checked."""
    if source is None:
        return
    parentage(source)
    if val is not None:
        val.copy_from(adapted(run.stage, source, val))


# ---- iterations ----------------------------------------------------------------------------------

def learn(run: Run, prototxt: Path, val: Net, source: Source | None, mine: dict,
          session: Session) -> Path | None:
    """Train from `source` (None: from the fillers); as iterate."""
    processes = session.processes
    solver = make_solver(run, prototxt, mine | parentage(source), processes)
    if source is not None and run.options.weights is None and run.parent and \
            not run.parent.stage.classifier:            # a classifier has other data
        check_parent(mine, source)
    adjusted = source if source is None else adapted(run.stage, source, solver.net)
    open_folder(run, val, processes)
    report = prepare(solver.net, run.surgeries, adjusted, run.stage.score_layers,
                     run.stage.up_layers, run.options.verbose, processes)
    if source is not None and processes.first:
        report += other_mean(solver.net, source)
    if run.teacher is not None:
        report += f'\nthe layers {TEACHER}* are {run.teacher.weights}, and learn nothing'
    return iterate(run, solver, val, report, session)


def resume(run: Run, prototxt: Path, val: Net, state: Path, mine: dict,
           session: Session) -> Path | None:
    """Train from a solver state, which knows its parent; as iterate."""
    processes = session.processes
    solver = make_solver(run, prototxt, mine, processes)
    open_folder(run, val, processes)
    changed = solver.restore(state, run.options.force)
    report = f'restored {state}{by(run, processes)}' + \
        (f', although it differs:\n{changed}' if changed else '')
    return iterate(run, solver, val, report, session)


def make_solver(run: Run, prototxt: Path, mine: dict, processes: Processes) -> Solver:
    """The run's solver, whose snapshots record `mine`."""
    options, optimisations = run.options, Optimisations(run.options.no_opt)
    device = device_of(run, processes)
    provenance = {'commit': commit(), 'hardware': hardware(device), 'max_iter': run.max_iter,
                  **({'processes': options.processes} if options.processes > 1 else {}),
                  **({'dialect': find_dialect(options.dialect).name} if options.dialect else {}),
                  **{key: value for key, value in mine.items() if key != 'seed'}}
    text = run.solver_text(prototxt)
    return Solver(text, search=run.search(prototxt),
                  prefix=run.folder / 'train', seed=options.seed,
                  device=device, overrides=run.train_overrides,
                  test_overrides=options.overrides, max_iter=options.iterations, keep=options.keep,
                  workers=options.workers, precision=options.precision, provenance=provenance,
                  passes=optimisations.passes, placed=optimisations.placed,
                  fused=optimisations.fused, processes=processes, writes=options.writes,
                  iter_size_in_all=run.passes_in_all, when_full=WaitForRoom())


def open_folder(run: Run, val: Net, processes: Processes) -> None:
    """Begin to write into the run's folder, in the first process: Caffe's log lines into train.log,
    and the class names of the data."""
    if processes.first:
        make_folder(run.folder)
        log_to(run.folder / 'train.log')
        keep_classes(run.folder, class_names(val, run_classes(run, val)), colours_of(val))


def class_names(val: Net, count: int) -> Sequence[str] | None:
    """The class names of the data that a val net reads, if it has one for each of `count`; else the
    labels themselves: what labels images without the data must not take other names."""
    found = next((layer.reader.classes for layer in python_layers_of(val)), None)
    return found if found and len(found) == count else tuple(map(str, range(count)))


def colours_of(val: Net) -> np.ndarray:
    """The colours of the classes of the data that a val net reads, (256, 3) uint8 RGB."""
    return next((layer.reader.colours for layer in python_layers_of(val)), palette())


# ---- afterwards ----------------------------------------------------------------------------------

def score(run: Run, val: Net, weights: Path, processes: Processes) -> None:
    """Score the val net with the run's weights: eval/ in its folder, or the accuracy that a
    classifier has to have."""
    options = run.options
    val.copy_from(weights)
    place(val, device_of(run, processes), workers=options.workers, precision=options.precision,
          **Optimisations(options.no_opt).placed)
    if run.stage.accuracy is not None:
        check_accuracy(val, run.stage.accuracy, weights, run.name, processes)
        return
    if run.stage.tags:
        print(tag_line(val, processes))
        return
    extra = read_extra(weights)
    found = evaluate_and_report(val, run.folder / 'eval', options.pictures, processes=processes,
                                weights=weights, provenance=extra)
    if processes.first and found is not None:
        last = {name: float(getattr(found.metrics, name)) for name in METRICS}
        complete_curves(run.folder / CURVES, iteration(weights), last)
        write_report(run.folder / REPORT, found, facts_of_run(run, weights))
        print(f'report: {run.folder / REPORT}')
    if run.stage.channels and processes.first:
        channel_pictures(val, run.folder / 'eval' / 'channels.png')
        print(f'all channels: {run.folder}/eval/channels.png')


def check_accuracy(net: Net, least: float, weights: Path, name: str,
                   processes: Processes) -> None:
    """Run a classifier's val net over all its data; FcnError if its accuracy is below `least`."""
    data = data_layer(net)
    with torch.no_grad():
        accuracy = sum(outputs['accuracy'].item() for outputs, _ in
                       test_passes(net, len(data), processes)) / len(data)
    print(f'accuracy on held-out data: {100 * accuracy:.1f} %')
    if accuracy < least:
        raise FcnError(f'the classifier reached {100 * accuracy:.1f} % on held-out data, below '
                       f'{100 * least:.0f} %', file=str(weights), code='classifier-weak',
                       facts={'stage': name},
                       do='Train it for more iterations, or from another seed.')
