"""FinishedRun: a run's folder as it lies there, without the options and the data that made it."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..data.colours import FILE as COLOURS
from ..data.colours import as_text, shown_in
from ..data.image import MEAN, check_mean
from ..data.palette import VOC_CLASSES, palette
from ..data.reader import read_class_names
from ..errors import FcnError, located, nearest, short
from ..formats.atomic import write_text
from ..formats.weights import read_extra
from ..predict.labels import data_params, names_of_data, val_file
from ..proto.prototxt import read_solver
from ..solver.snapshot_files import iteration, list_snapshots
from .folders import newest_weights, recorded_length
from .stages import SOLVER, STAGES, Stage, shipped

CLASSES = 'classes.txt'         # in a run's folder: its class names, one a line


@dataclass(frozen=True)
class FinishedRun:
    """What the folder of a run says about itself, without the options and the data that made it.

    folder: its path. weights: the newest ones; they need not be of its last iteration (`finished`).
    extra: what the weights record (stage, classes, max_iter, data, ...); {} for Caffe's own.
    prototxt: the folder of its nets: its own if they were written for it, else the stage's."""

    folder: Path
    weights: Path
    extra: dict[str, Any]
    prototxt: Path

    @property
    def stage_name(self) -> str:
        """The stage that the weights record; else the folder's name."""
        return str(self.extra.get('stage', '') or self.folder.resolve().name)

    @property
    def stage(self) -> Stage | None:
        """The stage; None for one that is not in the table (any more)."""
        return STAGES.get(self.stage_name)

    @property
    def deploy(self) -> Path:
        """The deploy prototxt."""
        return self.prototxt / 'deploy.prototxt'

    @property
    def val(self) -> Path:
        """The val prototxt, which reads the val set."""
        return val_file(self.prototxt)

    @property
    def iteration(self) -> int:
        """The iteration of the weights."""
        return iteration(self.weights)

    @property
    def length(self) -> int:
        """The iteration that the run was to reach: as its weights record, else the stage's."""
        return recorded_length(self.extra) or (
            read_solver(shipped(self.stage_name) / SOLVER).message.max_iter if self.stage else
            self.iteration)

    @property
    def finished(self) -> bool:
        """Whether the weights are those of the last iteration."""
        return self.iteration >= self.length

    @cached_property
    def params(self) -> dict[str, Any]:
        """The params of the val net's data layer; {} without a val net or a data layer of ours."""
        return data_params(self.val)[1]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names by label index: those kept with the run, else those of its data, else VOC's
        for 21 classes, else the bare indices; () where the number of classes is unknown."""
        kept = read_class_names(self.folder / CLASSES)
        count = self.extra.get('classes')
        if kept and count in (None, len(kept)):
            return kept
        named = tuple(names_of_data(self.val) or ())
        if not isinstance(count, int) or len(named) == count:
            return named
        return VOC_CLASSES if count == len(VOC_CLASSES) else tuple(map(str, range(count)))

    @property
    def colours(self) -> np.ndarray | None:
        """The colours of the classes, (256, 3) uint8 RGB, that are kept with the run; None for
        VOC's."""
        return shown_in(self.folder)

    @property
    def mean(self) -> tuple[float, float, float]:
        """The mean pixel that its data layers subtract, BGR; VGG's where they name none."""
        with located(self.val):
            blue, green, red = map(float, check_mean(self.params.get('mean', MEAN)))
        return blue, green, red

    @property
    def data(self) -> Path | None:
        """The folder of its data; None where the val net names none. It need not exist."""
        layer, params = data_params(self.val)
        keys = getattr(layer, 'folder_keys', ())
        return Path(params[keys[0]]) if keys and isinstance(params.get(keys[0]), str) else None


def opened(folder: str | PathLike, runs: str | PathLike = 'runs') -> FinishedRun:
    """The run in a folder, or of that name below `runs`. FcnError where there is no such folder, no
    weights in it, or no nets for them."""
    path = Path(folder) if os.path.isdir(folder) else Path(runs, folder)
    if not os.path.isdir(path):
        known = [each.name for each in folders_of_runs(runs)]
        raise FcnError('there is no such run', file=str(folder),
                       do=nearest(Path(folder).name, known) or (
                           f'Runs in {runs}: {", ".join(known)}.' if known else
                           f'Train one first; {runs} has none.'))
    weights = newest_weights(path)
    extra = read_extra(weights)
    own, name = path / 'net', str(extra.get('stage', '') or path.resolve().name)
    prototxt = own if os.path.isdir(own) or name not in STAGES else shipped(name)
    run = FinishedRun(path, weights, extra, prototxt)
    if not os.path.isfile(run.deploy):
        raise FcnError(f"the run has no net: it is of the stage '{short(name, 60)}', and there is "
                       'no such file', file=str(run.deploy),
                       do='Copy the nets that it was trained with into its folder net.')
    return run


def folders_of_runs(runs: str | PathLike = 'runs') -> list[Path]:
    """The folders in `runs` that hold weights, by name; without those that were set aside."""
    if not os.path.isdir(runs):
        return []
    return sorted(path for path in Path(runs).iterdir()
                  if list_snapshots(path) and not re.search(r'\.old\d+$', path.name))


def keep_classes(folder: Path, names: Sequence[str] | None, colours: np.ndarray) -> None:
    """Write the class names of a run's data into its folder, and their colours (256, 3) if they are
    not VOC's, for use without the data."""
    if names:
        write_text('\n'.join(names) + '\n', folder / CLASSES)
        if (colours != palette()).any():
            write_text(as_text(colours, tuple(names)), folder / COLOURS)
