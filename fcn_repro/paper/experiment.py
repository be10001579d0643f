"""An experiment, how it is to be run, and its rows that are training runs of a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..paths import confined
from ..predict.outputs import SCORE
from ..recipe.beside import default_jobs, train_beside
from ..recipe.comparison import TableRow, is_scored, read_metrics, result, run_of
from ..recipe.options import Options
from ..recipe.runs import Run
from ..recipe.stages import SOLVER, STAGES
from ..recipe.training import HINTS
from ..report.paper import Stated, tables
from .needs import missing, needs, options_for
from .outcome import Measured, Outcome, Row, Table

SHORT = 12              # characters of a hash or a commit that are shown


class Stop(Exception):
    """A signal stopped a run: it can be resumed."""


@dataclass(frozen=True)
class Line:
    """A row that is a run. key: of the paper's row; '' for a control of ours. full, mini: its stage
    in the paper's experiment and in miniature; '' where it has none. solver: of the stage. options:
    of recipe.options.Options, what else differs. head: the blob whose score is geometric_accuracy,
    'score' for the net's only one; '' for none."""
    label: str
    key: str = ''
    full: str = ''
    mini: str = ''
    solver: str = SOLVER
    options: Mapping[str, Any] = field(default_factory=dict)
    head: str = ''

    def stage(self, mini: bool) -> str:
        """Its stage, '' for none."""
        return self.mini if mini else self.full


@dataclass(frozen=True)
class Setting:
    """How experiments are run. options: of all runs, data folders included. mini: on generated
    data with narrow nets. seeds: runs of each row. train: train what is not trained.
    released: folder of the release's caffemodels, to score them. out: the folder of what
    they write. jobs: runs that train beside each other (None: beside.default_jobs). hints: as for
    recipe.training.train."""
    options: Options = field(default_factory=Options)
    mini: bool = False
    seeds: int = 1
    train: bool = False
    released: Path | None = None
    out: Path = Path('runs/paper')
    jobs: int | None = None
    hints: Mapping[str, str] = field(default_factory=lambda: HINTS)

    def run(self, line: Line, seed: int = 0) -> Run:
        """The run of a line for a seed. FcnError as by comparison.run_of."""
        stage = line.stage(self.mini)
        row = TableRow(line.label, STAGES[stage].net, line.solver, stage)
        options = replace(options_for(stage, self.options), **line.options)
        if self.options.iterations:
            options = replace(options, iterations=self.options.iterations)
        return run_of(options, seed, row)


@dataclass(frozen=True)
class Experiment:
    """One of the paper's experiments. name: the word by which it is asked for. needs: what the full
    one takes beside what its lines say. run: a function of a Setting to its Outcome. lines: its
    rows that are runs; mini_lines: those in miniature, where they are others. mini: what it is in
    miniature, in words; '' for none. prepare: makes what the miniature reads beside its data."""
    name: str
    title: str
    source: str
    run: Callable[[Setting], Outcome]
    lines: tuple[Line, ...] = ()
    needs: tuple[str, ...] = ()
    mini: str = ''
    mini_lines: tuple[Line, ...] = ()
    prepare: Callable[[], None] | None = None

    def rows(self, mini: bool) -> list[Line]:
        """Its lines that have a stage."""
        return [line for line in (mini and self.mini_lines) or self.lines if line.stage(mini)]

    def needed(self) -> tuple[str, ...]:
        """All that the full experiment takes."""
        found = [need for line in self.lines if line.full for need in needs(line.full)]
        return tuple(dict.fromkeys([*self.needs, *found]))


def train_rows(lines: Sequence[Line], setting: Setting) -> None:
    """Train and score the runs of these rows that are not there, several beside each other, if they
    are to be trained. What a run fails by is raised when its row is asked for."""
    runs = [setting.run(line, seed) for line in lines for seed in range(setting.seeds)]
    runs = [run for run in runs if not missing(run)]
    if not (setting.train and runs):
        return
    jobs = default_jobs(runs) if setting.jobs is None else setting.jobs
    if jobs != 1:
        train_beside(runs, jobs, setting.hints, setting.out / 'logs')


def stated(table: str, key: str) -> Stated | None:
    """The paper's row of a table; None for none."""
    return tables()[table].row(key) if key else None


def row_of(line: Line, table: str, setting: Setting) -> Row | None:
    """The row of a line: its runs trained, if they are to be, and scored. None where the line has
    no stage here and the paper no number. Stop if a signal stopped a run."""
    stage, paper = line.stage(setting.mini), stated(table, line.key)
    if not stage:
        return Row(line.label, paper, needs='a miniature; there is none') \
            if paper is not None and setting.mini else None
    row, ours = Row(line.label, paper), []
    for seed in range(setting.seeds):
        run = setting.run(line, seed)
        if absent := missing(run):
            return replace(row, needs=' and '.join(absent))
        if not (setting.train or is_scored(run)):
            return replace(row, needs=f'training: {run.max_iter:,} iterations of {stage}'
                           + (f', seed {seed}' if seed else ''))
        print(f'\n== {line.label}, seed {seed}: {run.folder}', flush=True)
        scores = result(run, setting.hints)
        if scores is None:
            raise Stop
        ours.append(Measured(values_of(line, run, scores), facts_of(run)))
    return replace(row, ours=tuple(ours))


def values_of(line: Line, run: Run, scores: Mapping[str, float]) -> dict[str, float]:
    """The columns of a scored run: those of its first head, and the pixel accuracy of the other."""
    if not line.head:
        return dict(scores)
    name = 'geometric_accuracy'
    if line.head == SCORE:
        return {name: scores['pixel_accuracy'], 'iterations': scores['iterations']}
    other = read_metrics(confined(run.folder / 'eval', line.head, 'blob') / 'metrics.json')
    return {**scores, name: 100 * other['pixel_accuracy']}


def rows_of_lines(lines: Sequence[Line], table: str, setting: Setting) -> tuple[Row, ...]:
    """The rows of all lines."""
    rows = (row_of(line, table, setting) for line in lines)
    return tuple(row for row in rows if row is not None)


def others(table: str, lines: Sequence[Line]) -> tuple[Row, ...]:
    """The paper's rows that no line is about: of other methods."""
    keys = {line.key for line in lines}
    return tuple(Row(row.name, row) for row in tables()[table].rows if row.key not in keys)


def table_of_runs(title: str, name: str, lines: Sequence[Line], setting: Setting, ours_on: str = '',
                  columns: tuple[str, ...] | None = None,
                  more: Mapping[str, str] | None = None,
                  notes: tuple[str, ...] = ()) -> Table:
    """The paper's table `name` beside our runs, with its rows of other methods unless `columns` are
    chosen. ours_on: what our runs in miniature are on."""
    paper = tables()[name]
    return Table(title, tuple(column for column in paper.columns
                              if columns is None or column in columns),
                 (() if columns else others(name, lines)) + rows_of_lines(lines, name, setting),
                 paper.on,
                 ours_on if setting.mini else 'the same', more or {}, notes)


def facts_of(run: Run) -> tuple[tuple[str, str], ...]:
    """What a scored run was measured on: data, weights, seed, iterations, commit, hardware."""
    found = read_metrics(run.folder / 'eval' / 'metrics.json')
    origin = found.get('provenance', {})
    return tuple((key, str(value)) for key, value in (
        ('data', f'{found.get("voc") or "generated"} (SHA-256 {str(found.get("data"))[:SHORT]})'),
        ('images', found['images']), ('weights', found.get('weights')),
        ('seed', origin.get('seed', '')), ('iterations', origin.get('iteration', '')),
        ('commit', str(origin.get('commit', ''))[:SHORT]),
        ('hardware', origin.get('hardware') or found.get('device'))) if value not in (None, ''))
