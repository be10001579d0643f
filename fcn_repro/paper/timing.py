"""Section 3.1: a classifier on every patch of an image against one pass of its fully convolutional
form, and the backward passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import mean, median

import torch

from ..net.net import Net
from ..predict.patchwise import Patchwise
from ..recipe.stages import shipped
from ..report.paper import tables
from .experiment import Setting, stated
from .outcome import Finding, Measured, Outcome, Row, Table
from .speed import SIZE, TRIALS, devices, facts, random_net

NET = 'alexnet'         # its folder in prototxt/
ROWS = {'patch': 'batch', 'grid': 'whole'}      # {row of the paper: way of Patchwise}
Work = Callable[[], object]
CLAIM = 'one pass over the image is more than 5 times faster than its patches one by one'


def timing(setting: Setting) -> Outcome:
    """The times of section 3.1 with random weights, which take as long as trained ones."""
    times, ratios, findings = [], [], []
    paper, paper_ratio = tables()['timing'], tables()['timing-ratio']
    for device in devices(setting.options.device):
        found, faster = measured(random_net(shipped(NET) / 'deploy.prototxt', device), device)
        about = facts(device)
        times += [Row(row.name, row, (Measured(found[row.key], about),)) for row in paper.rows]
        times.append(Row('one input in a pass of its own', ours=(
            Measured(found['single'], about),)))
        ratios.append(Row(paper_ratio.rows[0].name, stated('timing-ratio', 'grid'),
                          (Measured({'times_faster': faster}, about),)))
        least = paper_ratio.rows[0].values['times_faster']
        findings.append(Finding(CLAIM, f'{faster:.1f} times, {device}', faster > least))
    if all(device.type == 'cpu' for device in devices(setting.options.device)):
        times.append(Row('on a GPU', needs='a GPU'))
    on = f'{NET} at full width, random weights, one {SIZE[0]}x{SIZE[1]} image'
    return Outcome('timing', 'Section 3.1: patches and whole images', 'CVPR 2015', setting.mini, (
        Table('', paper.columns, tuple(times), paper.on, on,
              notes=('an input of a batch: the time of the batch, divided',)),
        Table('against the patches one by one, in batches', paper_ratio.columns, tuple(ratios),
              paper_ratio.on, on)), findings=tuple(findings))


def measured(classifier: Net, device: torch.device, size: tuple[int, int] = SIZE
             ) -> tuple[dict[str, dict[str, float]], float]:
    """({'patch', 'single', 'grid': {column: milliseconds}}, times faster): an input of a batch, one
    in a pass of its own, one pass over an image of this size, and how many times faster that is
    than its patches in batches, the median of turns."""
    ways = Patchwise(classifier, size)
    image = torch.zeros(3, *size).normal_(0, 50, generator=torch.Generator().manual_seed(0))
    image = image.to(device)
    runs = ways.ways(image)
    patches = ways.patches(image)[:ways.batch]
    runs['single'] = lambda: ways.classify(patches[:1])
    with torch.inference_mode():
        taken = turns({name: (lambda: None, run) for name, run in runs.items()}, device)
    back = turns({way: (runs[way], partial(ways.backward, way)) for way in ROWS.values()},
                 device)
    inputs = {'batch': len(patches), 'whole': 1}
    found = {row: {'milliseconds': 1000 * mean(taken[way]) / inputs[way],
                   'backward_milliseconds': 1000 * mean(back[way]) / inputs[way]}
             for row, way in ROWS.items()}
    found['single'] = {'milliseconds': 1000 * mean(taken['single'])}
    return found, median(n / w for n, w in zip(taken['naive'], taken['whole'], strict=True))


def turns(works: Mapping[str, tuple[Work, Work]], device: torch.device) -> dict[str, list[float]]:
    """{name: seconds of each call of the second of two functions, after the first, which does not
    count}, all taking turns; one round before does not count either."""
    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
    taken: dict[str, list[float]] = {name: [] for name in works}
    for i in range(TRIALS[device.type] + 1):
        for name, (before, work) in works.items():
            before()
            wait()
            start = time.perf_counter()
            work()
            wait()
            if i:
                taken[name].append(time.perf_counter() - start)
    return taken
