"""Crf: a fully connected CRF on what a net says of an image (Kraehenbuehl and Koltun 2011), as
DeepLab does after its nets; and the search for its settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from .. import ops
from ..data.image import check_label
from ..data.layer import DataLayer
from ..data.reader import Sample
from ..errors import FcnError
from ..layers.common.pairwise import Pairwise, by_colour, by_place
from ..sizes import dims
from .metrics import Confusion, metrics
from .outputs import Output

SMALLEST = torch.finfo(torch.float32).tiny      # a probability of which the logarithm is taken


@dataclass(frozen=True)
class Crf:
    """The settings of a CRF, of which every pixel is joined with every other one: by pos_w
    exp(-|p|^2 / 2 pos_xy_std^2) + bi_w exp(-|p|^2 / 2 bi_xy_std^2 - |I|^2 / 2 bi_rgb_std^2), of
    their distances p in pixels and I in grey levels, each normalised at every pixel.

    The defaults are those of run_densecrf.sh in deeplab-public-ver2, for VGG16 on PASCAL VOC 2012.
    FcnError for a deviation that is not positive, and negative weights or iterations.
    """
    bi_w: float = 4.
    bi_xy_std: float = 49.
    bi_rgb_std: float = 5.
    pos_w: float = 3.
    pos_xy_std: float = 3.
    iterations: int = 10

    def __post_init__(self) -> None:
        for name, value in self.settings.items():
            least = value > 0 if name.endswith('_std') else value >= 0
            if not (least and math.isfinite(value)):
                raise FcnError(f'{name} is {value:g}', code='crf-setting',
                               facts={'option': option_of(name), 'wanted': above(name)},
                               do=f'Give {name} a number {above(name)}.')

    def changed(self, settings: Mapping[str, Any]) -> Crf:
        """A copy with other settings."""
        return replace(self, **settings)

    @property
    def settings(self) -> dict[str, float]:
        """{name: value}."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def words(self) -> str:
        """What it is, for people."""
        listed = ', '.join(f'{name} {value:g}' for name, value in self.settings.items())
        return f'a dense CRF: {listed}'

    def refine(self, probabilities: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Probabilities (C, H, W) float32 after the CRF of an image (H, W, 3) uint8 RGB."""
        return self.infer(scores_of(probabilities),
                          colours(image, probabilities.shape[1:], self.bi_xy_std, self.bi_rgb_std),
                          probabilities.shape[1:])

    def infer(self, scores: torch.Tensor, bilateral: Pairwise, size: tuple) -> np.ndarray:
        """As refine, of scores_of probabilities and of their image's kernel of colour."""
        kernels = [place_kernel(*size, self.pos_xy_std).weighed(self.pos_w),
                   bilateral.weighed(self.bi_w)]
        return ops.mean_field(scores, kernels, self.iterations).T.reshape(-1, *size).numpy()


def said_of(words: str, crf: Crf | None) -> str:
    """What an output is taken as, in words, with the CRF after it."""
    return words if crf is None else f'{words}, after {crf.words}'


def option_of(name: str) -> str:
    """The option of a setting, without its hyphens."""
    return f"{'crf-' * (name == 'iterations')}{name.replace('_', '-')}"


def above(name: str) -> str:
    return 'above 0' if name.endswith('_std') else 'of at least 0'


def scores_of(probabilities: np.ndarray) -> torch.Tensor:
    """The logarithms (H W, C) float32 of probabilities (C, H, W)."""
    rows = torch.from_numpy(np.ascontiguousarray(probabilities)).float().flatten(1).T
    return rows.clamp(SMALLEST).log().contiguous()


@lru_cache(4)
def place_kernel(height: int, width: int, deviation: float) -> Pairwise:
    """by_place, kept for the images that follow."""
    return by_place(height, width, deviation)


def colours(image: np.ndarray, size: tuple, place: float, colour: float) -> Pairwise:
    """by_colour of an image (H, W, 3) uint8 RGB. FcnError for anything else."""
    if image is None or image.shape != (*size, 3):
        found = 'there is none' if image is None else f'this one is {dims(image.shape)}'
        raise FcnError(f'a CRF reads the image, (H, W, 3) of {dims(size)}: {found}',
                       code='crf-image', do='Give data with an RGB image, or leave out the CRF.')
    return by_colour(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1), place, colour)


# ---- the search for settings -------------------------------------------------------------------

class Scores(Protocol):
    """What a search reads: predict.sources.ValSource or GivenSource."""
    data: DataLayer
    label: str
    output: Output

    def values(self, k: int) -> tuple[Sample, torch.Tensor]:
        """The k-th sample, and the output's values (C, H, W) for it."""


Grid = Mapping[str, Sequence[float]]            # {setting: values to try}

# The first round, after DeepLab's (Chen et al. 2018), whose later rounds have finer steps around
# the best; pos_w, pos_xy_std and iterations stay at 3, 3 and 10 there
GRID = {'bi_w': (3., 4., 5., 6.), 'bi_xy_std': (30., 40., 50., 60., 70., 80., 90., 100.),
        'bi_rgb_std': (3., 4., 5., 6.)}


class Found(NamedTuple):
    """without: mean IU of the net alone. tried: {settings: mean IU}, in the order of trying."""
    without: float
    tried: Mapping[Crf, float]

    @property
    def best(self) -> Crf:
        """The settings of the highest mean IU; of several the first."""
        return max(self.tried, key=self.tried.__getitem__)


def search(source: Scores, count: int, grid: Grid, rounds: int = 2, rule: str = 'paper') -> Found:
    """Try all combinations of a grid on the first `count` images; then, in each further round, the
    best one's neighbours at half the steps. FcnError for less than 1 round."""
    if rounds < 1:
        raise FcnError(f'{rounds} rounds of a search', code='not-positive',
                       facts={'option': 'crf-rounds'}, do='Give rounds of at least 1.')
    tried: dict[Crf, float] = {}
    steps = {name: step_of(values) for name, values in grid.items()}
    trials = list(combinations(grid))
    without = math.nan
    for _ in range(rounds):
        without, scores = score(source, count, trials, rule)
        tried |= scores
        best = Found(without, tried).best
        steps = {name: step / 2 for name, step in steps.items()}
        around = {name: [v for v in (getattr(best, name) - step, getattr(best, name),
                                     getattr(best, name) + step) if v > 0] if step
                  else [getattr(best, name)] for name, step in steps.items()}
        trials = [trial for trial in combinations(around) if trial not in tried]
    return Found(without, tried)


def step_of(values: Sequence[float]) -> float:
    """The smallest distance of two values; 0 of one."""
    ordered = sorted(set(values))
    return min((b - a for a, b in itertools.pairwise(ordered)), default=0.)


def combinations(grid: Grid) -> Iterator[Crf]:
    for values in itertools.product(*grid.values()):
        yield Crf().changed(dict(zip(grid, values, strict=True)))


def score(source: Scores, count: int, trials: Iterable[Crf], rule: str
          ) -> tuple[float, dict[Crf, float]]:
    """(mean IU of the net alone, {settings: mean IU}) on the first `count` images."""
    output, trials = source.output, list(trials)
    plain = Confusion(output.classes)
    with_crf = {trial: Confusion(output.classes) for trial in trials}
    kernels = sorted({(trial.bi_xy_std, trial.bi_rgb_std) for trial in trials})
    for k in range(count):
        sample, values = source.values(k)
        check_label(sample.label, output.classes, source.data.label_file(sample, source.label))
        plain.add(sample.label, output.read(values)[0])
        probabilities = output.probabilities(values.cpu().numpy())
        for kernel in kernels:
            bilateral = colours(sample.image, probabilities.shape[1:], *kernel)
            for trial in trials:
                if (trial.bi_xy_std, trial.bi_rgb_std) == kernel:
                    found = trial.infer(scores_of(probabilities), bilateral,
                                        probabilities.shape[1:])
                    with_crf[trial].add(sample.label, found.argmax(0).astype(np.uint8))
    return mean_iu(plain, rule), {trial: mean_iu(confusion, rule)
                                  for trial, confusion in with_crf.items()}


def mean_iu(confusion: Confusion, rule: str) -> float:
    return float(metrics(confusion.hist, rule).mean_iu)
