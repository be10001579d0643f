"""The images of an evaluation with the highest and the lowest mean IU."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from ..data.reader import Sample
from ..report.pictures import shrunk
from ..report.results import Example
from .scoring import ImageScore, image_metrics

EXTREMES = 8            # best images, and worst ones, that an Evaluation has


class Done(NamedTuple):
    """An image that has been run: its number, sample, label map and score."""
    k: int
    sample: Sample
    prediction: np.ndarray
    score: ImageScore


def result_of(k: int, sample: Sample, prediction: np.ndarray, task: Future) -> Done:
    """The Done of an image that is being scored."""
    return Done(k, sample, prediction, task.result())


class Extremes:
    """Examples of the images with the highest and the lowest mean IU so far, of n classes."""

    def __init__(self, n: int):
        self.n = n
        self.examples: dict[int, Example] = {}

    def add(self, done: Done) -> None:
        """Keep an image if it is among them; one that no longer is goes."""
        iu = image_metrics(done.score, self.n)[1]
        if iu != iu:
            return
        if len(self.examples) == 2 * EXTREMES:
            worst, best = halves({k: example.mean_iu for k, example in self.examples.items()})
            if iu < self.examples[worst[-1]].mean_iu:
                del self.examples[worst[-1]]
            elif iu > self.examples[best[-1]].mean_iu:
                del self.examples[best[-1]]
            else:
                return
        self.examples[done.k] = self.example(done)

    def example(self, done: Done) -> Example:
        """The Example of an image."""
        sample = done.sample
        return Example(sample.id, *shrunk(sample.image, sample.label, done.prediction),
                       *image_metrics(done.score, self.n))

    def chosen(self, scores: Mapping[int, ImageScore]) -> tuple[list[int], list[int]]:
        """(the worst images, worst first; the best ones, best first), none in both."""
        known = {k: image_metrics(score, self.n)[1] for k, score in scores.items()}
        return halves({k: iu for k, iu in known.items() if iu == iu})


def halves(values: Mapping[int, float]) -> tuple[list[int], list[int]]:
    """(numbers of the lowest values, lowest first; of the highest others, highest first), at most
    EXTREMES each."""
    count = min(EXTREMES, (len(values) + 1) // 2)
    lowest = sorted(values, key=lambda k: (values[k], k))[:count]
    return lowest, sorted(values.keys() - set(lowest), key=lambda k: (-values[k], k))[:EXTREMES]
