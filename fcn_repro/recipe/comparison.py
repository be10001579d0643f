"""Table 2 of the paper in miniature: every stage of a family, with the controls it needs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from ..errors import FcnError
from ..files import read_regular
from ..formats.atomic import write_text
from ..lock import locked
from ..net.placement import pick_device, place
from ..predict.evaluation import spread
from ..predict.labels import data_layer, predict
from ..predict.metrics import upper_bounds
from ..proto.prototxt import read_solver
from ..report.html import FILE as REPORT
from ..report.paper import seg11valid
from ..report.refinement import refinement
from ..solver.snapshot_files import iteration
from .options import NEWEST, Options
from .provenance import check_run, identity, parentage_now
from .runs import Run
from .stages import ON, SLOW, SOLVER, STAGES, shipped
from .training import HINTS, train

TITLES = {'pixel_accuracy': 'pixel acc.', 'mean_accuracy': 'mean acc.', 'mean_iu': 'mean IU',
          'fw_iu': 'f.w. IU', 'figure_iu': 'figure IU'}
METRICS = list(TITLES)[:4]
FACTORS = (128, 64, 32, 16, 8, 4)       # strides of Appendix A


@dataclass(frozen=True)
class TableRow:
    """One row of the table: a net of the family under one of its solvers.

    net: the Stage.net that it is about; stage: the name of that stage in a family."""
    label: str
    net: str
    solver: str = SOLVER
    stage: str = ''

    @property
    def paper(self) -> float | None:
        """The mean IU that the paper (at once: the release) reports on VOC2011's seg11valid."""
        stated = [each for each in seg11valid() if each.key == self.net]
        return stated[0].values['mean_iu'] if stated and self.solver == SOLVER else None


ROWS = (
    TableRow('FCN-32s-fixed', 'fcn32s-fixed'),
    TableRow('FCN-32s', 'fcn32s'),
    TableRow('FCN-32s, trained on', 'fcn32s', ON),
    TableRow('FCN-16s', 'fcn16s'),
    TableRow('FCN-16s, slow', 'fcn16s', SLOW),
    TableRow('FCN-16s, trained on', 'fcn16s', ON),
    TableRow('FCN-8s', 'fcn8s'),
    TableRow('FCN-8s, slow', 'fcn8s', SLOW),
    TableRow('FCN-8s at once', 'fcn8s-atonce'),
)
STEPS = ('FCN-32s', 'FCN-16s', 'FCN-8s')        # the columns of Figure 4
NOTES = '''\
trained on: as long again as the next stage and at its rate, so 16s and 8s are compared with it;
slow: at the paper's rates, each a hundredth of that of the stage before;
figure IU: all classes but the background as one, so the outlines alone.'''


def rows_of(family: str) -> list[TableRow]:
    """The rows that a family has stages and solvers for."""
    names = {stage.net: name for name, stage in STAGES.items() if stage.family == family}
    rows = [replace(row, stage=names[row.net]) for row in ROWS if row.net in names]
    return [row for row in rows if (shipped(row.stage) / row.solver).exists()]


def compare(family: str, options: Options, seeds: int = 1,
            hints: Mapping[str, str] = HINTS) -> str | None:
    """Train every row that is not trained yet, for each seed, and score it.

    Writes table.md, table.json and refinement.png into RUNS/staged-FAMILY; returns the table, or
    None if a signal stopped a run. FcnError as in train, for a run in the place of a row that is
    another one, for a family without rows, and where another comparison is using that folder."""
    rows = rows_of(family)
    check(family, rows, options, seeds)
    with locked(out := Path(options.runs, f'staged-{family}')):
        return compare_rows(rows, options, seeds, hints, out)


def compare_rows(rows: Sequence[TableRow], options: Options, seeds: int, hints: Mapping[str, str],
                 out: Path) -> str | None:
    """`compare` of rows into the folder `out`, whose lock is held."""
    results: dict[str, list[dict]] = {}
    for seed in range(seeds):
        for row in rows:
            run = run_of(options, seed, row)
            print(f'\n== {row.label}, seed {seed}: {run.folder}', flush=True)
            metrics = result(run, hints)
            if metrics is None:
                return None
            results.setdefault(row.label, []).append(metrics)
    first = {row.label: run_of(options, 0, row) for row in rows}
    table = format_table(rows, results, first, bounds(first[rows[0].label]))
    write_text(table + '\n', out / 'table.md')
    write_text(json.dumps(results, indent=1), out / 'table.json')
    print(f'\n{table}\n\nin {out}: table.md, table.json')
    if options.pictures:
        draw_refinement({label: run for label, run in first.items() if label in STEPS},
                        out / 'refinement.png', options.pictures)
        print(f'{out}/refinement.png: 32s, 16s, 8s and the ground truth, as in Figure 4')
    return table


def check(family: str, rows: Sequence[TableRow], options: Options, seeds: int) -> None:
    """FcnError for a comparison without seeds or rows, of other recipes, and for weights that no
    row starts from."""
    if seeds < 1:
        raise FcnError(f'{seeds} seeds', do='Give 1 or more.')
    if options.batch or options.samples or options.method.changes:
        raise FcnError("the table compares the papers' recipes; batch and samples make others",
                       do='Leave them out.')
    if options.weights and not any(takes_weights(row) for row in rows):
        raise FcnError(f'no stage of {family} takes weights', code='weights-unused',
                       do='Leave out weights.')
    if not rows:
        raise FcnError(f"the family '{family}' has no stage of the table", do='Give one of '
                       f'{", ".join(sorted({s.family for s in STAGES.values()} - {family}))}.')


def takes_weights(row: TableRow) -> bool:
    """Whether a row starts from weights that the user gives."""
    return row.solver != ON and STAGES[row.stage].parent is None


def run_of(options: Options, seed: int, row: TableRow) -> Run:
    """The run of a row. Each seed has a separate folder of runs: options.runs itself, where single
    runs are too, for the first, and options.runs/seedN for the others."""
    runs = Path(options.runs, f'seed{seed}') if seed else Path(options.runs)
    return Run(row.stage, replace(options, seed=seed or None, runs=str(runs), solver=row.solver,
                                  weights=options.weights if takes_weights(row) else None))


def result(run: Run, hints: Mapping[str, str]) -> dict[str, float] | None:
    """The metrics of a finished run, which is trained, or resumed, if it is not finished; None if a
    signal stopped it. FcnError if the run in its folder is another one."""
    if is_scored(run):
        print('there already')
    else:
        begun = run.stopped
        if begun:
            check_run(run.newest_state(), parentage_now(run))
        resume = begun or (not run.snapshots() and run.parent and run.parent.stopped)
        options = replace(run.options, restore=NEWEST if resume else None)
        if train(replace(run, options=options), hints) is None:
            return None
    metrics = read_metrics(run.folder / 'eval' / 'metrics.json')
    scores = {name: 100 * metrics[name] for name in METRICS}
    scores['iterations'] = iteration(run.newest_weights())
    if next(iter(metrics['class_iu'])) == 'background':
        scores['figure_iu'] = figure_iu(metrics['confusion'])
    return scores


def is_scored(run: Run) -> bool:
    """Whether a run is finished, scored, and its report, which is written last, is there. FcnError
    if it is not the one asked for."""
    done, file, report = run.finished, run.folder / 'eval' / 'metrics.json', run.folder / REPORT
    if not done or iteration(done) != run.max_iter or not (file.exists() and report.exists()):
        return False
    run.make_data()
    net = run.val_net()
    check_run(done, identity(run, run.prototxt, net) | parentage_now(run))
    return report.stat().st_mtime >= file.stat().st_mtime > done.stat().st_mtime and \
        is_full_score(read_metrics(file), data_layer(net))


def read_metrics(path: Path) -> dict[str, Any]:
    """The metrics.json of an evaluation. FcnError if it is damaged or another file."""
    try:
        found = json.loads(read_regular(path, 'a JSON file'))
        classes = len(dict(found['class_iu']))
        whole = classes and np.asarray(found['confusion'], float).shape == (classes, classes) and \
            all(isinstance(found[name], float) for name in METRICS) and {'rule', 'images'} <= set(
                found)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        whole = False
    if not whole:
        raise FcnError('is damaged, or not the metrics.json of an evaluation', file=str(path),
                       do='Remove it: the run is then scored again.')
    return found


def is_full_score(metrics: dict[str, Any], data) -> bool:
    """Whether metrics.json is the score of all of the data, by the paper's rule: another evaluation
    may have written another one."""
    return (metrics['rule'], metrics['images'], metrics.get('data')) == (
        'paper', len(data), data.fingerprint())


def figure_iu(confusion: Sequence[Sequence[int]]) -> float:
    """IU, in percent, of everything that is not class 0, the background, taken as one class: of the
    outlines alone, whatever class the net gives to what is inside them."""
    hist = np.asarray(confusion, float)
    return float(100 * hist[1:, 1:].sum() / (hist.sum() - hist[0, 0]))


def bounds(run: Run) -> dict[int, float]:
    """{stride: mean IU, in percent, of the val set's ground truth sampled at it} (Appendix A)."""
    data = data_layer(run.val_net())
    classes = run.options.classes or len(data.classes or ()) or 21
    found = upper_bounds((data.sample(k).label for k in range(len(data))), FACTORS, classes)
    return {factor: 100 * bound.mean_iu for factor, bound in found.items()}


def format_table(rows: Sequence[TableRow], results: Mapping[str, list[dict]],
                 runs: Mapping[str, Run], bound: Mapping[int, float]) -> str:
    """Markdown with the paper's columns: means over the seeds, and their standard deviation."""
    first = results[rows[0].label]
    seeds, columns = len(first), [name for name in TITLES if name in first[0]]
    lines = [f'| {seeds} seed{"s" * (seeds > 1)} | iterations | base_lr | '
             f'{" | ".join(TITLES[name] for name in columns)} | paper, mean IU on VOC |',
             '|---|' + '--:|' * (len(columns) + 3)]
    for row in rows:
        solver = read_solver(runs[row.label].prototxt / row.solver).message
        cells = [cell([scores[name] for scores in results[row.label]]) for name in columns]
        length = ', '.join({str(scores['iterations']): 1 for scores in results[row.label]})
        lines.append(f'| {row.label} | {length} | {solver.base_lr:.3g} | {" | ".join(cells)} | '
                     f'{row.paper or ""} |')
    lines += ['', NOTES, '', 'Upper bound of mean IU for labels at stride ' + ', '.join(
        f'{factor}: {value:.1f}' for factor, value in bound.items()) + ' (Appendix A)']
    return '\n'.join(lines)


def cell(values: Sequence[float]) -> str:
    """The mean, and the standard deviation of several values."""
    return f'{mean(values):.1f}' + (f' ±{stdev(values):.1f}' if len(values) > 1 else '')


def draw_refinement(runs: Mapping[str, Run], path: Path, count: int) -> None:
    """Draw image, prediction of each run, {label: run}, and ground truth, as in Figure 4, of
    `count` val images."""
    nets = [loaded(run) for run in runs.values()]
    data, strips = data_layer(nets[0]), []
    for k in sorted(spread(min(count, len(data)), len(data))):
        sample = data.sample(k)
        strips.append((sample.id, sample.image, [*predictions(nets, k), sample.label]))
    refinement(strips, [*runs, 'ground truth'], data.classes, path, data.colours)


def loaded(run: Run):
    """The val net with the run's weights, on its device."""
    net = run.val_net()
    net.copy_from(run.newest_weights())
    return place(net, pick_device(run.options.device))


def predictions(nets: Iterable, k: int) -> list[np.ndarray]:
    """The label maps (H, W) that val nets give for their k-th image."""
    maps = []
    for net in nets:
        net.seek(k)
        maps.append(predict(net))
    return maps
