"""Which run is meant where none is named: the one that fits the images, else the newest."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from ..errors import FcnError
from .finished import FinishedRun, folders_of_runs, opened

LISTED = 6              # runs that are named


class Choice(NamedTuple):
    """A run, and why it is the one, in words."""
    run: FinishedRun
    why: str


def choose_run(images: Sequence[Path] = (), runs: str | PathLike[str] = 'runs',
               classifier: bool = False) -> Choice:
    """The finished run that is meant for these images, where none is named: of those whose data
    folder holds all of the images, or of all runs where there is none, the newest, by the time of
    its weights. classifier: of a classifier, else of a segmentation net; never of image tags.

    FcnError where no such run is finished; it lists those that are not, and those that cannot be
    read."""
    found, broken = readable(runs)
    fitting = [run for run in found if (run.stage is not None and run.stage.classifier)
               == classifier and not (run.stage is not None and run.stage.tags)]
    finished = sorted((run for run in fitting if run.finished), key=age, reverse=True)
    if not finished and fitting:
        last = max(fitting, key=age)
        raise FcnError(f'no finished run is in {runs}{listed(found)}{told(broken)}',
                       code='only-stopped-runs', facts={'stage': last.stage_name,
                                                        'run': str(last.folder)},
                       do='Train one to its end, or name one that has weights.')
    if not finished:
        kind = 'of a classifier ' if classifier else ''
        raise FcnError(f'no finished run {kind}is in {runs}{listed(found)}{told(broken)}',
                       code='no-finished-run', facts={
                           'stage': 'mini-classifier' if classifier else 'mini-fcn32s'},
                       do='Train one, or give a run, or a net and its weights.')
    trained_on = [run for run in finished if holds(run.data, images)]
    run = (trained_on or finished)[0]
    why = reason(run, trained_on, finished)
    if not trained_on:
        why += ''.join(f'; {each.folder.name}, for the data that the images are of, is not finished'
                       f' (iteration {each.iteration} of {each.length})' for each in fitting
                       if not each.finished and holds(each.data, images))
    return Choice(run, why + told(broken))


def reason(run: FinishedRun, trained_on: Sequence[FinishedRun],
           finished: Sequence[FinishedRun]) -> str:
    """Why a run was chosen."""
    others = [each.folder.name for each in finished if each is not run]
    if not others:
        return 'the only finished run'
    names = ', '.join(others[:LISTED]) + (', …' if len(others) > LISTED else '')
    if len(trained_on) == 1:
        return f'trained on the data that the images are of; other runs: {names}'
    if trained_on:
        return f'the newest of {len(trained_on)} that were trained on the data that the images ' \
               f'are of; other runs: {names}'
    return f'the newest of {len(finished)} finished runs; others: {names}'


def readable(runs: str | PathLike[str]) -> tuple[list[FinishedRun], list[FcnError]]:
    """The runs of a folder, and what is wrong with those that cannot be opened."""
    found, broken = [], []
    for folder in folders_of_runs(runs):
        try:
            found.append(opened(folder))
        except FcnError as error:
            broken.append(error)
    return found, broken


def holds(data: Path | None, images: Sequence[Path]) -> bool:
    """Whether a data folder holds all of the images, of which there are some."""
    return data is not None and bool(images) and all(
        image.resolve().is_relative_to(data.resolve()) for image in images)


def age(run: FinishedRun) -> tuple[float, str]:
    """What runs are sorted by: the time of their weights, and on ties their name."""
    return run.weights.stat().st_mtime, run.folder.name


def listed(found: Sequence[FinishedRun]) -> str:
    """The runs that there are, in words; '' for none."""
    names = ', '.join(f'{run.folder.name} (iteration {run.iteration})' for run in found)
    return f'; with weights are {names}' if names else ''


def told(broken: Sequence[FcnError]) -> str:
    """What is wrong with the runs that cannot be opened; '' for none."""
    return ''.join(f'; left out is {error.file or ""}: {error.what}' for error in broken)
