"""The release's trained weights, scored here: what needs no training."""

from __future__ import annotations

import os
from pathlib import Path

from ..formats.weights import read_extra
from ..net.placement import pick_device, place
from ..paths import confined
from ..predict.evaluation import evaluate_and_report
from ..predict.labels import data_layer
from ..recipe.comparison import METRICS, is_full_score, read_metrics
from ..report.paper import tables
from .experiment import SHORT, Line, Setting, stated
from .needs import absent_data
from .outcome import Measured, Row, Table

PAPER = 'released'      # the table of what is stated for them
# {experiment: [(row, key of PAPER or '', stage, file)]}
WEIGHTS = {
    'table1': (('FCN-AlexNet', 'fcn-alexnet', 'voc-fcn-alexnet', 'fcn-alexnet-pascal'),),
    'table2': (('FCN-32s', 'fcn32s', 'voc-fcn32s', 'fcn32s-heavy-pascal'),
               ('FCN-16s', 'fcn16s', 'voc-fcn16s', 'fcn16s-heavy-pascal'),
               ('FCN-8s', 'fcn8s', 'voc-fcn8s', 'fcn8s-heavy-pascal'),
               ('FCN-8s at once', 'fcn8s-atonce', 'voc-fcn8s-atonce', 'fcn8s-atonce-pascal')),
    'table4': (('FCN-32s RGB', '', 'nyud-fcn32s-color', 'nyud-fcn32s-color-heavy'),
               ('FCN-32s HHA', '', 'nyud-fcn32s-hha', 'nyud-fcn32s-hha-heavy'),
               ('FCN-32s RGB-HHA', '', 'nyud-fcn32s-color-hha', 'nyud-fcn32s-color-hha-heavy')),
    'table5': tuple((f'FCN-{n}s', '', f'siftflow-fcn{n}s', f'siftflow-fcn{n}s-heavy')
                    for n in (32, 16, 8)),
    'table6': tuple((f'FCN-{n}s, 59 classes', '', f'pascalcontext-fcn{n}s',
                     f'pascalcontext-fcn{n}s-heavy') for n in (32, 16, 8)),
}


def released(experiment: str, setting: Setting) -> tuple[Table, ...]:
    """The table of an experiment's released weights, from the files in setting.released; none in
    miniature, and without that folder."""
    if setting.mini or setting.released is None:
        return ()
    rows = tuple(row_of(setting, *each) for each in WEIGHTS[experiment])
    paper = tables()[PAPER]
    return (Table("the release's weights, scored here", paper.columns, rows, paper.on, 'the same'),)


def row_of(setting: Setting, label: str, key: str, stage: str, name: str) -> Row:
    """The row of a file of weights, scored unless an earlier call has scored it."""
    assert setting.released is not None
    file = setting.released / f'{name}.caffemodel'
    run = setting.run(Line(label, full=stage))
    row = Row(label, stated(PAPER, key))
    absent = [*absent_data(run, 'val'), *([] if os.path.isfile(file) else [f'the weights {file}'])]
    if absent:
        return Row(label, row.stated, needs=' and '.join(absent))
    out = confined(setting.out / 'released', name, 'weights')
    scores = out / 'metrics.json'
    net = run.val_net()
    if not (scores.exists() and scores.stat().st_mtime > file.stat().st_mtime
            and is_full_score(read_metrics(scores), data_layer(net))):
        print(f'\n== {label}: {file}', flush=True)
        net.copy_from(file)
        place(net, pick_device(setting.options.device), workers=setting.options.workers)
        evaluate_and_report(net, out, setting.options.pictures, weights=file,
                            provenance=read_extra(file))
    return Row(label, row.stated, (Measured(*scored(scores)),))


def scored(path: Path) -> tuple[dict[str, float], tuple[tuple[str, str], ...]]:
    """The columns and the facts of an evaluation's metrics.json."""
    found = read_metrics(path)
    return {name: 100 * found[name] for name in METRICS}, (
        ('data', f'{found.get("voc")} (SHA-256 {str(found.get("data"))[:SHORT]})'),
        ('images', str(found['images'])), ('weights', str(found.get('weights'))),
        ('hardware', str(found.get('device'))))
