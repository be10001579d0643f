"""Appendix A: the upper bound of mean IU at a coarse stride, for any set of labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..data.layer import SegDataLayer
from ..data.reader import Reader
from ..data.voc import VocFolder
from ..predict.labels import data_layer
from ..predict.metrics import upper_bounds
from ..recipe.comparison import FACTORS
from ..recipe.options import Options
from ..recipe.runs import Run
from ..report.paper import tables
from .experiment import SHORT, Line, Setting
from .needs import absent_data
from .outcome import Measured, Outcome, Row, Table

NAME = 'appendix-a'
VOC = 'PASCAL VOC 2011'
PAPERS = 'seg11valid', 'val'    # splits of a folder in VOC's layout, the first that it has
# Whose labels there are: the val set of the net of a stage
SETS = {
    VOC: Line(VOC, full='voc-fcn8s', mini='mini-fcn8s'),
    'NYUDv2': Line('NYUDv2', full='nyud-fcn32s-color', mini='mini-nyud-fcn32s-color'),
    'SIFT Flow': Line('SIFT Flow', full='siftflow-fcn8s', mini='mini-siftflow-fcn16s-sem'),
    'PASCAL-Context': Line('PASCAL-Context', full='pascalcontext-fcn8s',
                           mini='mini-context12-fcn8s'),
}


def appendix_a(setting: Setting) -> Outcome:
    """The bounds of the labels of VOC, or of a folder in its layout, beside the paper's, and those
    of the other data sets that are there. They need no net."""
    found = [table_of(name, line, setting) for name, line in SETS.items()]
    return Outcome(NAME, 'Appendix A: the upper bound of mean IU at a coarse stride', 'CVPR 2015',
                   setting.mini, tuple(table for table in found if table is not None))


def table_of(name: str, line: Line, setting: Setting) -> Table | None:
    """The table of a data set. None for one without numbers of the paper that is not there."""
    paper, run = tables()[NAME], setting.run(line)
    absent = absent_data(run, 'val')
    if absent and name != VOC:
        return None
    rows = [Row(f'factor {row.name}', row if name == VOC else None, needs=' and '.join(absent))
            for row in paper.rows]
    on, title = '', name if not setting.mini else f'miniature of {name}'
    if not absent:
        run.make_data()
        own = reader_of(setting.options) if name == VOC else None
        reader = own or reader_of_net(run)
        found = upper_bounds(labels_of(reader), FACTORS, reader.n_classes)
        on = f'{len(reader)} label maps of {reader.folder}, split {reader.split}'
        facts = (('data', f'{reader.folder} (SHA-256 {reader.fingerprint()[:SHORT]})'),)
        rows = [replace(row, ours=(Measured({'mean_iu': 100 * found[int(stated.key)].mean_iu},
                                            facts),))
                for row, stated in zip(rows, paper.rows, strict=True)]
    return Table(title, paper.columns, tuple(rows), paper.on if name == VOC else '', on)


def reader_of(options: Options) -> Reader | None:
    """The labels of the user's own folder in VOC's layout; None if none is given."""
    if options.own_voc is None:
        return None
    there = [split for split in PAPERS if os.path.isfile(
        os.path.join(options.own_voc, VocFolder.splits.format(split)))]
    return VocFolder(options.own_voc, (there or PAPERS[1:])[0])


def reader_of_net(run: Run) -> Reader:
    """What reads the files of a run's val set, which all of SETS have."""
    data = data_layer(run.val_net())
    assert isinstance(data, SegDataLayer)
    return data.reader


def labels_of(reader: Reader) -> Iterator[np.ndarray]:
    """All label maps of a split."""
    return (reader.label(i) for i in range(len(reader)))
