"""Seeds: labels for the train images of a folder, from the class maps of a run that learned from
image tags. The tags of an image say which classes may be in it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data.image import VOID
from ..data.own import checked_crop, tags_of
from ..data.reader import Reader
from ..data.relabelled import Relabelled, relabel_folder
from ..data.voc import VocFolder
from ..errors import FcnError, located
from ..net.net import Net
from ..net.placement import place
from ..predict.labels import data_params
from ..predict.localise import (
    MAPS,
    Localiser,
    check_thresholds,
    seeds,
    windowed,
    with_passes,
)
from ..predict.metrics import pair_counts
from ..proto import TEST
from ..proto.prototxt import read_net
from .finished import FinishedRun
from .optimisations import Optimisations

FOREGROUND, BACKGROUND = 0.75, 0.5      # measured in docs/own-nets.md
PASSES = 20


@dataclass(frozen=True)
class Seeds:
    """What localise() wrote, beside the masks of train. made: the folder; counts: (classes, classes
    + 1) int64 pixels, rows are the mask, columns the seed, the last one none."""

    made: Relabelled
    counts: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """(classes,) the share of a class' seeds that the mask agrees with; NaN without one."""
        return shares(np.diagonal(self.counts), self.counts[:, :-1].sum(0))

    @property
    def recall(self) -> np.ndarray:
        """(classes,) the share of a class' pixels that are its seeds; NaN without one."""
        return shares(np.diagonal(self.counts), self.counts.sum(1))

    @property
    def mean_iu(self) -> float:
        """Of the seeds as label maps: a pixel without a seed is wrong."""
        right = np.diagonal(self.counts)
        found = shares(right, self.counts[:, :-1].sum(0) + self.counts.sum(1) - right)
        return float(np.nanmean(found))

    @property
    def without(self) -> list[int]:
        """The classes that have no seed on a labelled pixel."""
        return np.flatnonzero(self.counts[:, :-1].sum(0) == 0).tolist()


def shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """Parts of wholes, float64; NaN where a whole is 0."""
    return np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes > 0)


def localise(run: FinishedRun, voc_dir: str | Path, out: str | Path, *,
             foreground: float = FOREGROUND, background: float = BACKGROUND,
             passes: int | None = None, maps: str = MAPS, seed: int = 0,
             device: torch.device | str = 'cpu') -> Seeds:
    """Write a folder in VOC's layout into `out` whose train labels are the seeds of the images in
    voc_dir; images and the masks of val are copied.

    run: of a stage that learns from image tags. foreground, background: of each map's maximum, as
    of predict.localise.seeds. passes: random draws of a net with a Dropout of windows, 0 for one
    pass without any (None: PASSES, or 0 for other nets). maps: the blob. seed: of the draws. The
    folder appears when it is complete.

    FcnError for numbers out of range, a run of another stage, a folder of other classes than the
    run's, a mask of train that is void everywhere, and what relabel_folder refuses.
    """
    check_thresholds(foreground, background)
    for name, value in ('seed', seed), ('passes', passes or 0):
        if value < 0:
            raise FcnError(f'{name} is {value}', code='negative', facts={'option': name},
                           do=f'Give {name} of at least 0.')
    localiser = localiser_of(run, passes, maps, seed, device)
    classes = localiser.classes + 1
    check_classes(run, Path(voc_dir), classes)

    def relabel(reader: Reader, i: int) -> tuple[np.ndarray, np.ndarray]:
        with located(reader.label_file(reader.ids[i])):
            sample = reader.load(i)
            tags = tags_of(sample.label, localiser.classes)
        label = seeds(localiser.maps(sample.image, i), tags, foreground, background)
        found = np.where(label == VOID, np.uint8(classes), label)
        return label, pair_counts(sample.label, found, classes + 1)[:classes]
    made = relabel_folder(voc_dir, out, relabel, 'seeds', classes)
    return Seeds(made, made.total)


def localiser_of(run: FinishedRun, passes: int | None, maps: str, seed: int,
                 device: torch.device | str) -> Localiser:
    """The net of a run with its weights. FcnError for a run that did not learn from tags."""
    if run.stage is None or not run.stage.tags:
        raise FcnError(f'the run is of {run.stage_name}, which does not learn from image tags',
                       file=str(run.folder), code='not-of-tags',
                       do='Give a run of own-tags or own-fickle.')
    text = read_net(run.deploy)
    if passes is None:
        passes = PASSES if windowed(text) else 0
    optimisations = Optimisations(())
    net = Net.of(with_passes(text, passes) if passes else text, TEST, seed=seed,
                 passes=optimisations.passes)
    net.copy_from(run.weights)
    train = run.prototxt / 'train.prototxt'
    with located(train):
        largest = checked_crop(data_params(train)[1].get('crop'))
    place(net, device, precision='fp32', **optimisations.placed)
    return Localiser(net, maps, run.mean, largest)


def check_classes(run: FinishedRun, folder: Path, count: int) -> None:
    """FcnError for a folder that names other classes than those of the run."""
    reader = VocFolder(folder, 'train')
    if reader.classes and reader.classes != run.classes:
        raise FcnError(f'the folder has the classes {", ".join(reader.classes)}; those of the run '
                       f'are {", ".join(run.classes) or count}', file=str(folder),
                       code='other-classes', facts={'stage': run.stage_name, 'folder': str(folder)},
                       do='Give the folder that the run was trained on, or train on this one.')
