"""What the runs of a stage need that is not there: data sets and weights, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..data import parse_params, python_layers
from ..predict.labels import val_file
from ..proto.prototxt import read_net
from ..recipe.options import FOLDERS, Options
from ..recipe.runs import Run
from ..recipe.stages import STAGES, shipped

# {DataLayer class: what it reads}, for those that no command generates
DATA = {
    'VOCSegDataLayer': 'PASCAL VOC 2011', 'SBDDSegDataLayer': 'SBD',
    'NYUDSegDataLayer': 'NYUDv2', 'SIFTFlowSegDataLayer': 'SIFT Flow',
    'PASCALContextSegDataLayer': 'PASCAL-Context with PASCAL VOC 2010',
}


def options_for(stage: str, options: Options) -> Options:
    """The options that a stage takes, of those that are given for all experiments."""
    dropped: dict[str, Any] = {name: None for name in FOLDERS
                               if name not in STAGES[stage].takes}
    return replace(options, **dropped)


def needs(stage: str) -> tuple[str, ...]:
    """What a stage and those that it starts from take: data sets, and the file of weights."""
    return (*dict.fromkeys(name for name, _ in folders(Run(stage))), *weights_of(stage))


def missing(run: Run) -> tuple[str, ...]:
    """What a run needs that is not there. Weights are needed before its first iteration only."""
    begun = run.options.weights or run.snapshots()
    return (*absent_data(run), *(() if begun else weights_of(run.name)))


def absent_data(run: Run, *nets: str) -> tuple[str, ...]:
    """The data sets of a run's nets, 'train' and 'val' or one of them, whose folders are not
    there."""
    return tuple(dict.fromkeys(name for name, folder in folders(run, *nets)
                               if not os.path.isdir(folder)))


def weights_of(stage: str) -> tuple[str, ...]:
    """The weights that the first of a stage's ancestors starts from, in words; none of a stage that
    starts from random ones."""
    row = STAGES[stage]
    before = [name for name, _ in row.streams] or ([] if row.parent is None else [row.parent])
    if before:
        return tuple(dict.fromkeys(need for name in before for need in weights_of(name)))
    return (f'the weights {row.weights}',) if row.weights else ()


def folders(run: Run, *nets: str) -> Iterator[tuple[str, str]]:
    """(data set, folder) that a run's nets read, but for generated data."""
    if run.stage.miniature or (run.stage.scenes and not run.options.voc):
        return
    folder = shipped(run.name)
    paths = {'val': (val_file(folder),),
             'train': (folder / 'train.prototxt', folder / 'trainval.prototxt')}
    for path in (path for name in nets or paths for path in paths[name] if path.exists()):
        for layer in read_net(path).message.layer:
            param = layer.python_param
            cls = python_layers.get((param.module, param.layer))
            if layer.type == 'Python' and cls is not None and cls.__name__ in DATA:
                params = parse_params(param.param_str) | run.options.overrides[cls.__name__]
                for key in cls.folder_keys:
                    yield DATA[cls.__name__], str(params[key])
