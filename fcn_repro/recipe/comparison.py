"""Table 2 of the paper in miniature: every stage, and the controls without which it says little."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from ..errors import FcnError
from ..formats.atomic import make_folder, write_text
from ..net.placement import pick_device, place
from ..predict.evaluation import spread
from ..predict.labels import data_layer, predict
from ..predict.metrics import Confusion, coarse
from ..proto.prototxt import read_solver
from ..report.refinement import refinement
from .provenance import check_run
from .runs import NEWEST, iteration, newest_state, newest_weights, snapshots
from .stages import (
    ON,
    SLOW,
    SOLVER,
    STAGES,
    finished,
    iterations,
    parent_run,
    run_folder,
    shipped,
    stopped,
)
from .training import identity, make_data, parentage_now, train, val_net

TITLES = {'pixel_accuracy': 'pixel acc.', 'mean_accuracy': 'mean acc.', 'mean_iu': 'mean IU',
          'fw_iu': 'f.w. IU', 'figure_iu': 'figure IU'}
METRICS = list(TITLES)[:4]
FACTORS = (128, 64, 32, 16, 8, 4)       # of Appendix A


@dataclass(frozen=True)
class Row:
    """One line of the table: a stage under one of its solvers. paper: the mean IU that the paper
    (at once: the release) has for it on VOC2011's seg11valid."""
    label: str
    stage: str
    solver: str = SOLVER
    paper: float | None = None


ROWS = (
    Row('FCN-32s-fixed', 'fcn32s-fixed', paper=45.4),
    Row('FCN-32s', 'fcn32s', paper=59.4),
    Row('FCN-32s, trained on', 'fcn32s', ON),
    Row('FCN-16s', 'fcn16s', paper=62.4),
    Row('FCN-16s, slow', 'fcn16s', SLOW),
    Row('FCN-16s, trained on', 'fcn16s', ON),
    Row('FCN-8s', 'fcn8s', paper=62.7),
    Row('FCN-8s, slow', 'fcn8s', SLOW),
    Row('FCN-8s at once', 'fcn8s-atonce', paper=65.4),
)
STEPS = ('FCN-32s', 'FCN-16s', 'FCN-8s')        # the columns of Figure 4
NOTES = '''\
trained on: as long again as the next stage and at its rate, so 16s and 8s are compared with it;
slow: at the paper's rates, each a hundredth of that of the stage before;
figure IU: all classes but the background as one, so the outlines alone.'''


def rows_of(family):
    """The rows that a family (mini, voc) has solvers for, under its stages' names."""
    rows = [replace(row, stage=f'{family}-{row.stage}') for row in ROWS]
    return [row for row in rows if (shipped(row.stage) / row.solver).exists()]


def compare(family, options, seeds=1):
    """Train every row that is not trained yet, for each seed, and score it. Writes table.md,
    table.json and refinement.png into RUNS/staged-FAMILY; returns the table, or None where a
    signal stopped a run. FcnError as in train, and for a run that is not what its row says."""
    rows, results = rows_of(family), {}
    if seeds < 1:
        raise FcnError(f'{seeds} seeds', do='Give 1 or more.')
    if options.weights and not any(takes_weights(row) for row in rows):
        raise FcnError(f'no stage of {family} takes weights', do='Leave out --weights.')
    for seed in range(seeds):
        for row in rows:
            its = for_seed(options, seed, row)
            print(f'\n== {row.label}, seed {seed}: {run_folder(row.stage, its)}', flush=True)
            scored = result(row, its)
            if scored is None:
                return None
            results.setdefault(row.label, []).append(scored)
    out = Path(options.runs, f'staged-{family}')
    make_folder(out)
    first = [for_seed(options, 0, row) for row in rows]
    table = format_table(rows, results, first, bounds(rows[0].stage, first[0]))
    write_text(table + '\n', out / 'table.md')
    write_text(json.dumps(results, indent=1), out / 'table.json')
    print(f'\n{table}\n\nin {out}: table.md, table.json')
    if options.pictures:
        draw_refinement([(row, its) for row, its in zip(rows, first) if row.label in STEPS],
                        out / 'refinement.png', options.pictures)
        print(f'{out}/refinement.png: 32s, 16s, 8s and the ground truth, as in Figure 4')
    return table


def takes_weights(row):
    """Whether a row starts from weights that the user gives."""
    return row.solver != ON and STAGES[row.stage].parent is None


def for_seed(options, seed, row):
    """The options of one run. Each seed has a folder of runs of its own; the first one's is where
    tools/train.py puts them."""
    runs = Path(options.runs, f'seed{seed}') if seed else Path(options.runs)
    return replace(options, seed=seed or None, runs=str(runs), solver=row.solver,
                   weights=options.weights if takes_weights(row) else None)


def result(row, options):
    """The metrics of a row's finished run, which is trained, or gone on with, where it is not;
    None where a signal stopped it. FcnError where the run that is there is another one."""
    out, parent = run_folder(row.stage, options), parent_run(row.stage, options)
    if there(row.stage, options):
        print('there already')
    else:
        begun = stopped(row.stage, options)
        if begun:
            check_run(newest_state(out), parentage_now(row.stage, options))
        go_on = begun or (not snapshots(out) and parent and stopped(*parent))
        if train(row.stage, replace(options, restore=NEWEST if go_on else None)) is None:
            return None
    metrics = json.loads((out / 'eval' / 'metrics.json').read_text())
    scored = {name: 100 * metrics[name] for name in METRICS}
    scored['iterations'] = iteration(newest_weights(out))
    if next(iter(metrics['class_iu'])) == 'background':
        scored['figure_iu'] = figure_iu(metrics['confusion'])
    return scored


def there(stage, options):
    """Whether a stage's run is finished and scored. FcnError where it is not the one asked for."""
    done = finished(stage, options)
    file = run_folder(stage, options) / 'eval' / 'metrics.json'
    if not done or iteration(done) != iterations(stage, options) or not file.exists():
        return False
    make_data(stage, options)
    folder = folder_of(stage, options)
    net = val_net(folder, options)
    check_run(done, identity(stage, folder, net, options) | parentage_now(stage, options))
    return file.stat().st_mtime > done.stat().st_mtime and \
        is_score(json.loads(file.read_text()), data_layer(net))


def is_score(metrics, data):
    """Whether metrics.json is the score of all of the data, by the rule of the paper: eval_voc may
    have written another one."""
    return (metrics['rule'], metrics['images'], metrics.get('data')) == (
        'paper', len(data), data.fingerprint())


def figure_iu(confusion):
    """IU, in percent, of everything that is not class 0, the background, taken as one class: the
    outlines alone, whatever name the net gives to what is inside them."""
    hist = np.asarray(confusion, float)
    return float(100 * hist[1:, 1:].sum() / (hist.sum() - hist[0, 0]))


def bounds(stage, options):
    """{factor: the mean IU of the val set's ground truth sampled at it} (Appendix A)."""
    data = data_layer(val_net(folder_of(stage, options), options))
    classes = options.classes or len(data.classes or ()) or 21
    sums = {factor: Confusion(classes) for factor in FACTORS}
    for k in range(len(data)):
        label = data.sample(k).label
        for factor, confusion in sums.items():
            confusion.add(label, coarse(label, factor))
    return {factor: 100 * confusion.metrics().mean_iu for factor, confusion in sums.items()}


def folder_of(stage, options):
    """Where a run's prototxt files lie."""
    own = run_folder(stage, options) / 'net'
    return own if own.exists() else shipped(stage)


def format_table(rows, results, options, bound):
    """Markdown, in the order of the paper's columns: means over the seeds, and their spread."""
    first = results[rows[0].label]
    seeds, columns = len(first), [name for name in TITLES if name in first[0]]
    lines = [f'| {seeds} seed{"s" * (seeds > 1)} | iterations | base_lr | '
             f'{" | ".join(TITLES[name] for name in columns)} | paper, mean IU on VOC |',
             '|---|' + '--:|' * (len(columns) + 3)]
    for row, its in zip(rows, options):
        solver = read_solver(folder_of(row.stage, its) / row.solver).message
        cells = [cell([scored[name] for scored in results[row.label]]) for name in columns]
        length = ', '.join({str(scored['iterations']): 1 for scored in results[row.label]})
        lines.append(f'| {row.label} | {length} | {solver.base_lr:.3g} | {" | ".join(cells)} | '
                     f'{row.paper or ""} |')
    lines += ['', NOTES, '', 'Upper bound of mean IU for labels at stride ' + ', '.join(
        f'{factor}: {value:.1f}' for factor, value in bound.items()) + ' (Appendix A)']
    return '\n'.join(lines)


def cell(values):
    """A mean, and the standard deviation where there are several values."""
    return f'{mean(values):.1f}' + (f' ±{stdev(values):.1f}' if len(values) > 1 else '')


def draw_refinement(runs, path, count):
    """Image, the prediction of each run, ground truth, as in Figure 4, of `count` val images."""
    nets = []
    for row, its in runs:
        net = val_net(folder_of(row.stage, its), its)
        net.copy_from(newest_weights(run_folder(row.stage, its)))
        nets.append(place(net, pick_device(its.device)))
    data, strips = data_layer(nets[0]), []
    for k in sorted(spread(min(count, len(data)), len(data))):
        sample = data.sample(k)
        maps = []
        for net in nets:
            net.state.position = k
            maps.append(predict(net))
        strips.append((sample.image, [*maps, sample.label]))
    refinement(strips, [*(row.label for row, _ in runs), 'ground truth'], path)
