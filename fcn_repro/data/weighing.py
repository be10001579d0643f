"""Class weights of a loss, from how many pixels of a split each class has."""

from typing import NamedTuple

import numpy as np

BALANCED, MEDIAN = 'balanced', 'median'
RULES = BALANCED, MEDIAN


class Pixels(NamedTuple):
    """Of each class (C,): its pixels, and all pixels of the images that it is in."""
    own: np.ndarray
    around: np.ndarray

    def first(self, classes: int) -> 'Pixels':
        """Those of the first classes."""
        return Pixels(self.own[:classes], self.around[:classes])


def weights_by(rule: str, pixels: Pixels) -> np.ndarray:
    """Weights (C,) by one of RULES. A class without pixels has the weight 1."""
    return balanced(pixels.own) if rule == BALANCED else median_frequency(pixels)


def balanced(pixels: np.ndarray) -> np.ndarray:
    """Weights of classes (C,) from their pixels (C,): one over the root of each class's frequency,
    with a mean of 1 over all pixels, so that the loss keeps its scale and the rate serves as it is.
    Frequency itself would make a pixel of a class a hundred times as rare count a hundred times as
    much, which mean IU, in which false positives count too, does not gain from. A class without
    pixels has the weight 1."""
    frequency = pixels / max(1, pixels.sum())
    root = np.sqrt(frequency)
    return np.where(frequency > 0, 1 / np.where(root > 0, root, 1) / root.sum(), 1)


def median_frequency(pixels: Pixels) -> np.ndarray:
    """Weights of classes (C,) by median frequency balancing (Eigen and Fergus, arXiv 1411.4734; as
    SegNet, arXiv 1511.00561): the median of the classes' frequencies over each one's, which is its
    share of the pixels, void ones too, of the images that it is in. A class without pixels has the
    weight 1 and no part in the median."""
    found = pixels.own > 0
    frequency = pixels.own[found] / pixels.around[found]
    weights = np.ones(len(pixels.own))
    if found.any():
        weights[found] = np.median(frequency) / frequency
    return weights
