"""What was trained on what: a run, or a file of weights, in words for its report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..formats.weights import read_extra
from ..report.curves import FILE, read_curves
from ..report.html import RunFacts
from .runs import Run

LONGEST = 10            # ancestors
LABELS = {'stage': 'stage', 'classes': 'classes', 'seed': 'seed', 'recipe': 'recipe',
          'max_iter': 'iterations', 'iteration': 'at iteration', 'data': 'data (SHA-256)',
          'commit': 'version of this project', 'hardware': 'hardware'}


def facts_of_run(run: Run, weights: Path) -> RunFacts:
    """The facts of a run of a stage."""
    p = run.solver_text(run.prototxt).message
    solver = (f'{p.type}, base_lr {p.base_lr:g} ({p.lr_policy}), momentum {p.momentum:g}, weight '
              f'decay {p.weight_decay:g}, {p.iter_size} passes an iteration')
    return RunFacts(run.name, str(run.folder), read_curves(run.folder / FILE),
                    [('solver', solver), *described(read_extra(weights))],
                    ancestors(weights), run.stage.net)


def facts_of_weights(weights: str | Path) -> RunFacts:
    """The facts of a file of weights, which may lie in the folder of a run."""
    folder, extra = Path(weights).parent, read_extra(weights)
    return RunFacts(str(extra.get('stage') or Path(weights).name), str(folder),
                    read_curves(folder / FILE) if extra.get('stage') else [], described(extra),
                    ancestors(weights))


def described(extra: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, value) of what weights record."""
    return [(label, str(extra[key])) for key, label in LABELS.items() if extra.get(key) is not None]


def ancestors(weights: str | Path) -> list[tuple[str, str]]:
    """(file, what it is) from these weights to those that training began with, as far as the files
    record it and are there."""
    return [(str(file), ', '.join(f'{label} {value}' for label, value in described(extra)
                                  if label in ('stage', 'iterations', 'seed')) or words)
            for file, extra, words in _chain(weights)]


def _chain(weights: str | Path) -> Iterator[tuple[str | Path, Mapping[str, Any], str]]:
    seen: set[str] = set()
    words = 'no record of its training'
    for _ in range(LONGEST):
        extra = read_extra(weights) if os.path.isfile(weights) else {}
        if not os.path.isfile(weights):
            words = 'not trained here' if str(weights) == 'random weights' else 'not there any more'
        yield weights, extra, words
        parent = str(extra.get('parent') or '')
        if not parent or parent in seen:
            return
        seen.add(parent)
        weights = parent
