"""Appendix A: the upper bound of mean IU at a coarse stride, for any set of labels."""

from __future__ import annotations

from ..predict.labels import data_layer
from ..recipe.comparison import bounds
from ..report.paper import tables
from .experiment import Setting
from .needs import absent_data
from .outcome import Measured, Outcome, Row, Table

NAME = 'appendix-a'
STAGE = {True: 'mini-fcn8s', False: 'voc-fcn8s'}       # whose val set it is about, by mini


def appendix_a(setting: Setting) -> Outcome:
    """The bounds of the val set's labels, which need no net."""
    stage, paper = STAGE[setting.mini], tables()[NAME]
    run = setting.run(stage, 'solver.prototxt', 0)
    absent, on = absent_data(run, 'val'), ''
    rows = [Row(f'factor {row.name}', row, needs=' and '.join(absent)) for row in paper.rows]
    if not absent:
        run.make_data()
        data = data_layer(run.val_net())
        found, folder = bounds(run), getattr(getattr(data, 'reader', None), 'folder', 'its data')
        on = f'{len(data)} label maps of {folder}'
        facts = (('data', f'{folder} (SHA-256 {data.fingerprint()[:12]})'),)
        rows = [Row(f'factor {row.name}', row, (Measured({'mean_iu': found[int(row.key)]}, facts),))
                for row in paper.rows]
    return Outcome(NAME, 'Appendix A: the upper bound of mean IU at a coarse stride', 'CVPR 2015',
                   setting.mini, (Table('', paper.columns, tuple(rows), paper.on, on),))
