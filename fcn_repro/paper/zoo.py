"""The zoo: small nets of every family on the same data, trained, scored, and side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np

from ..errors import FcnError, nearest
from ..files import read_regular
from ..formats.atomic import write_text
from ..lock import locked
from ..net.net import Net
from ..predict.crf import Crf
from ..predict.evaluation import spread
from ..predict.heads import find_heads
from ..predict.labels import data_layer, val_file
from ..predict.metrics import Confusion
from ..predict.sources import evaluate
from ..proto.prototxt import read_text
from ..recipe.comparison import loaded, read_metrics
from ..recipe.models import ZOO
from ..recipe.runs import Run
from ..recipe.stage import Entry
from ..recipe.stages import shipped
from ..report.curves import FILE as CURVES
from ..report.curves import read_curves
from ..report.refinement import refinement
from ..viewer.describe import Drawn, describe
from ..viewer.reading import parse_source
from .experiment import Line, Setting, Stop, row_of, train_rows
from .outcome import Measured, Outcome, Row, Table, as_json, spread_text
from .text import text_of

ON = 'scenes of digits, 600 to train on and 100 to score, 11 classes, 256x320 pixels'
COLUMNS = {'parameters': 'parameters', 'macs': 'multiply-adds', 'milliseconds': 'ms',
           'iterations': 'iterations', 'minutes': 'minutes', 'mean_iu': 'mean IU',
           'crf_iu': 'with a CRF'}
NOTES = (
    'parameters: all, statistics of batch normalisation too; multiply-adds: of one image, with '
    'what it is padded by; ms: the net alone, median of the val images, while they were scored',
    'minutes: of training, with those of the nets that it starts from',
    f'with a CRF: mean IU after {Crf().words}',
)
SOURCE = 'docs/successors.md'
CRF_SCORE = 'crf.json'  # in a run's folder
IMAGES = 4              # in a family's picture
SIZE = 256, 320         # of a scene


@dataclass(frozen=True)
class Facts:
    """What a net's text says. parameters, macs: of the net that is scored, for one image."""
    parameters: int
    macs: int


def families(names: Iterable[str] = ()) -> dict[str, list[Entry]]:
    """{family: its entries}, of these names, in the order of the registry; no names: of all.
    FcnError for an unknown one."""
    found: dict[str, list[Entry]] = {}
    for entry in ZOO:
        found.setdefault(entry.family, []).append(entry)
    wanted = list(names)
    for name in wanted:
        if name not in found:
            raise FcnError(f"there is no family '{name}'", code='no-family',
                           facts={'families': ', '.join(found)},
                           do=nearest(name, found) or f'Use {", ".join(found)}.')
    return {name: entries for name, entries in found.items() if not wanted or name in wanted}


def run_zoo(names: Sequence[str], setting: Setting) -> Outcome | None:
    """Train and score what is not there yet of these families, then write zoo.md, zoo.json and a
    picture of each family into setting.out; prints the table. None if a signal stopped a run: a
    second call goes on with it. FcnError for unknown families and as in training, and where another
    process is using that folder."""
    chosen = families(names)
    if setting.seeds < 1:
        raise FcnError(f'{setting.seeds} seeds', do='Give 1 or more.')
    setting = replace(setting, mini=True)
    with locked(setting.out):
        train_rows([Line(entry.label, mini=entry.stage)
                    for entries in chosen.values() for entry in entries], setting)
        try:
            rows = [row for entries in chosen.values() for entry in entries
                    if (row := row_of_entry(entry, setting)) is not None]
        except Stop:
            return None
        pictures = [draw_family(name, entries, setting, setting.out / f'{name}.png')
                    for name, entries in chosen.items() if trained(entries, rows)]
        outcome = Outcome('zoo', 'From FCN to its successors on equal data', SOURCE, True,
                          (Table('', (), tuple(rows), '', ON, COLUMNS, NOTES),),
                          pictures=tuple(pictures))
        write_text(as_json(outcome), setting.out / 'zoo.json')
        write_text(markdown(rows) + '\n', setting.out / 'zoo.md')
    print(f'\n{text_of(outcome)}\n\nin {setting.out}: zoo.md, zoo.json, '
          f'{", ".join(path.name for path in pictures)}', flush=True)
    return outcome


def trained(entries: Sequence[Entry], rows: Sequence[Row]) -> bool:
    """Whether every net of a family has a number."""
    there = {row.label for row in rows if row.ours}
    return all(entry.label in there for entry in entries)


def row_of_entry(entry: Entry, setting: Setting) -> Row | None:
    """The row of a net: of each seed its score, cost and time of training."""
    line = Line(entry.label, mini=entry.stage)
    row = row_of(line, '', setting)
    if row is None or not row.ours:
        return row
    facts, ours = facts_of_stage(entry.stage), []
    for seed, measured in enumerate(row.ours):
        run = setting.run(line, seed)
        score = read_metrics(run.folder / 'eval' / 'metrics.json')
        values = {**measured.values, 'parameters': facts.parameters, 'macs': facts.macs,
                  'milliseconds': 1000 * score['seconds']['net']['median'],
                  'minutes': seconds_of_training(run) / 60, 'crf_iu': crf_iu(run)}
        ours.append(Measured({name: values[name] for name in COLUMNS}, measured.facts))
    return replace(row, ours=tuple(ours))


def crf_iu(run: Run) -> float:
    """Mean IU, in percent, of a trained run's net with a CRF after it, on all its val images. It is
    kept in the run's folder, for as long as weights, data and settings are the same."""
    net, weights = loaded(run), run.newest_weights()
    key = {'weights': weights.name, 'data': data_layer(net).fingerprint(), **Crf().settings}
    file = run.folder / CRF_SCORE
    if file.is_file() and file.stat().st_mtime >= weights.stat().st_mtime:
        with suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError):  # damaged
            kept = json.loads(read_regular(file, 'a JSON file'))
            if kept['of'] == key:
                return float(kept['mean_iu'])
    output = find_heads(net)[0].output
    confusion = Confusion(output.classes)
    for _ in evaluate(net, confusion, output=output, crf=Crf()):
        pass
    found = 100 * confusion.metrics().mean_iu
    write_text(json.dumps({'of': key, 'mean_iu': found}), file)
    return found


def facts_of_stage(stage: str) -> Facts:
    """Parameters and multiply-adds of the net that scores a scene."""
    drawn = drawn_at(val_file(shipped(stage)), SIZE)
    return Facts(drawn.params, drawn.macs)


def drawn_at(path: Path, size: tuple[int, int]) -> Drawn:
    """The net of a prototxt file as it is for images of this size (height, width)."""
    return describe(parse_source(read_text(path), str(path)), 'TEST', size=size)


def seconds_of_training(run: Run) -> float:
    """Seconds of a run's training and of the runs that it starts from."""
    points = read_curves(run.folder / CURVES)
    own = max((point.get('seconds', 0.) for point in points), default=0.)
    return own + sum(map(seconds_of_training, run.parents))


# ---- the table and the pictures ------------------------------------------------------------------

def markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown: one row a net, means over the seeds."""
    seeds = max((len(row.ours) for row in rows), default=0)
    lines = [f'| {seeds} seed{"s" * (seeds != 1)} | {" | ".join(COLUMNS.values())} |',
             '|---|' + '--:|' * len(COLUMNS)]
    lines += [f'| {row.label} | {" | ".join(cell(row, name) for name in COLUMNS)} |'
              for row in rows if row.ours]
    return '\n'.join(lines)


def cell(row: Row, column: str) -> str:
    """A row's number as the table has it."""
    values = row.values(column)
    if column.endswith('_iu'):
        return spread_text('mean_iu', values)
    if column in ('parameters', 'iterations'):
        return f'{round(mean(values)):,}'
    return f'{mean(values) / 1e9:.2f} G' if column == 'macs' else f'{mean(values):.1f}'


def draw_family(name: str, entries: Sequence[Entry], setting: Setting, path: Path) -> Path:
    """Draw image, prediction of each net of a family, and ground truth, of a few val images."""
    runs = {entry.label: setting.run(Line(entry.label, mini=entry.stage)) for entry in entries}
    nets = {label: loaded(run) for label, run in runs.items()}
    data, strips = data_layer(next(iter(nets.values()))), []
    for k in sorted(spread(min(IMAGES, len(data)), len(data))):
        sample = data.sample(k)
        strips.append((sample.id, sample.image, [*labels_of(nets, k), sample.label]))
    refinement(strips, [*nets, 'ground truth'], data.classes, path, data.colours)
    return path


def labels_of(nets: Mapping[str, Net], k: int) -> list[np.ndarray]:
    """The label maps (H, W) that val nets give for their k-th image."""
    maps = []
    for net in nets.values():
        net.seek(k)
        maps.append(find_heads(net)[0].output.predict(net)[0])
    return maps


def listing() -> str:
    """Every family with its nets, and the stage that trains each."""
    return '\n'.join(f'{name:14} {entry.label:34} fcn-repro train {entry.stage}'
                     for name, entries in families().items() for entry in entries)
