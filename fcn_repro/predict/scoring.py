"""The score of one image as counts, and their sums over a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from .metrics import as_tensor, coarse, metrics, pair_counts

# Upper ends of the bands of distance from a boundary, in pixels; what is farther is one more band.
# Chen et al. (DeepLab, 2015), Figure 10, and Kraehenbuehl and Koltun (2011) call them trimaps.
BANDS = 1, 2, 4, 8, 16, 32


class Seconds(NamedTuple):
    """Of one image. net: the forward pass alone, from the blob to the label map. reading: decoding
    image and label and making the blob, in the thread that read them. waiting: for that thread."""
    net: float
    reading: float
    waiting: float


@dataclass(frozen=True)
class ImageScore:
    """What one image adds to the score.

    cells, counts: (m,) int64: counts[i] pixels of the pair and band that cells[i] numbers, band *
    n * n + label * n + prediction for n classes. bound: as those two, (2, m'), of the ground truth
    sampled at the net's stride (metrics.coarse), without bands.
    """
    id: str
    size: tuple[int, int]
    cells: np.ndarray
    counts: np.ndarray
    bound: np.ndarray
    seconds: Seconds

    def hist(self, n: int) -> np.ndarray:
        """The confusion matrix (n, n), rows are ground truth."""
        pairs = np.zeros(n * n, np.int64)
        np.add.at(pairs, self.cells % (n * n), self.counts)
        return pairs.reshape(n, n)

    def as_json(self) -> dict[str, Any]:
        """What from_json reads."""
        return {'id': self.id, 'size': self.size, 'cells': self.cells.tolist(),
                'counts': self.counts.tolist(), 'bound': self.bound.tolist(),
                'seconds': self.seconds}

    @classmethod
    def from_json(cls, found: dict[str, Any], n: int) -> ImageScore:
        """The ImageScore of as_json, of n classes. ValueError, KeyError or TypeError for anything
        else."""
        cells, counts = (np.array(found[key], np.int64) for key in ('cells', 'counts'))
        bound = np.array(found['bound'], np.int64).reshape(2, -1)
        height, width = (int(side) for side in found['size'])
        whole = cells.shape == counts.shape == (cells.size,) and \
            in_range(cells, (len(BANDS) + 1) * n * n) and in_range(bound[0], n * n) and \
            min(counts.min(initial=1), bound[1].min(initial=1)) > 0 and \
            max(counts.sum(), bound[1].sum()) <= height * width
        if not whole or not isinstance(found['id'], str):
            raise ValueError('no counts of an image')
        return cls(found['id'], (height, width), cells, counts, bound,
                   Seconds(*map(float, found['seconds'])))


def in_range(values: np.ndarray, end: int) -> bool:
    return bool(((values >= 0) & (values < end)).all())


def score_image(id_: str, label: np.ndarray, prediction: np.ndarray, n: int, stride: int,
                seconds: Seconds) -> ImageScore:
    """Score a prediction (H, W) against its label (H, W), 255 void, for n classes. stride: of the
    upper bound, 0 for none. FcnError as in pair_counts."""
    cells, counts = sparse(pair_counts(label, prediction, n, bands(label), len(BANDS) + 1))
    bound = np.zeros((2, 0), np.int64)
    if stride:
        bound = np.stack(sparse(pair_counts(label, coarse(label, stride), n)))
    return ImageScore(id_, (label.shape[0], label.shape[1]), cells, counts, bound, seconds)


def sparse(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(flat indices of those that are not 0, those), both int64."""
    found = np.flatnonzero(counts)
    return found, counts.reshape(-1)[found]


def bands(label: np.ndarray) -> np.ndarray:
    """(H, W) uint8: for each pixel the number of its band of BANDS, by the distance (chessboard, in
    pixels) from the nearest boundary. A pixel that touches one of another label, void included,
    above, below, left or right, is at distance 1."""
    return ops.boundary_bands(as_tensor(label), BANDS).numpy()


class Totals:
    """Sums of ImageScores of n classes. hist: (bands, n, n) int64; bound: (n, n) int64."""

    def __init__(self, n: int):
        self.n = n
        self.hist = np.zeros((len(BANDS) + 1, n, n), np.int64)
        self.bound = np.zeros((n, n), np.int64)

    def add(self, scores: Iterable[ImageScore]) -> Totals:
        """Count images; returns itself."""
        flat, bound = self.hist.reshape(-1), self.bound.reshape(-1)
        for score in scores:
            flat[score.cells] += score.counts
            bound[score.bound[0]] += score.bound[1]
        return self

    @property
    def confusion(self) -> np.ndarray:
        """(n, n) int64, rows are ground truth."""
        return self.hist.sum(0)

    def by_distance(self, rule: str) -> list[tuple[int | None, float, float]]:
        """[(upper end of the band in pixels, its mean IU, its share of the pixels)] of the bands
        that have pixels, from the boundary inwards; the end of the last one is None."""
        total = self.hist.sum()
        return [(end, float(metrics(hist, rule).mean_iu), float(hist.sum() / total))
                for end, hist in zip((*BANDS, None), self.hist, strict=True) if hist.any()]


def image_metrics(score: ImageScore, n: int) -> tuple[float, float]:
    """(pixel accuracy, mean IU) of one image; NaN where all of it is void. Its classes are those
    that its ground truth or its prediction has."""
    hist = score.hist(n)
    if not hist.any():
        return float('nan'), float('nan')
    found = metrics(hist, 'release')
    return found.pixel_accuracy, found.mean_iu

