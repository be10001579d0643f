"""The paper's four metrics from a streaming confusion matrix, and their upper bound."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from fcn_repro import ops
from fcn_repro.data.image import VOID
from fcn_repro.errors import FcnError

NEAR = 16               # pixels within which nearest_labels looks by itself
NEIGHBOURS = np.array(sorted(               # (row, column) from a pixel; ties as in coarse
    ((y, x) for y in range(-NEAR, NEAR + 1) for x in range(-NEAR, NEAR + 1)
     if y * y + x * x <= NEAR * NEAR), key=lambda p: (p[0] ** 2 + p[1] ** 2, p[1], p[0])))


class Metrics(NamedTuple):
    """Fractions in [0, 1], in the paper's order. class_accuracy, class_iu: (n,) float64, NaN for
    classes that are left out of the means."""

    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    fw_iu: float
    class_accuracy: np.ndarray
    class_iu: np.ndarray


class Confusion:
    """Counts of (ground truth, prediction) pairs over any number of images.

    n: number of classes. hist: (n, n) int64, rows are ground truth, columns predictions.
    """

    def __init__(self, n: int):
        if n < 1:
            raise FcnError(f'{n} classes', do='Give the number of classes, at least 1.')
        self.n = n
        self.hist = np.zeros((n, n), np.int64)

    def add(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Count one image: two arrays of the same shape, apart from leading axes of length 1.

        Labels outside [0, n), such as void 255, do not count. FcnError for a prediction outside
        [0, n) where the label counts, and for shapes that differ.
        """
        self.hist += pair_counts(label, prediction, self.n)

    def metrics(self, rule: str = 'paper') -> Metrics:
        """The Metrics of what has been counted, by a rule of metrics()."""
        return metrics(self.hist, rule)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """The array itself as a tensor where torch takes it, otherwise a copy."""
    return torch.from_numpy(np.require(array, requirements=['C', 'W']))


def pair_counts(label: np.ndarray, prediction: np.ndarray, n: int,
                groups: np.ndarray | None = None, number: int = 1) -> np.ndarray:
    """How many pixels have each (ground truth, prediction) of n classes: (n, n) int64.

    Two arrays of the same shape, apart from leading axes of length 1; pixels count as in
    Confusion.add. groups: the number of each pixel's group, from 0 to `number` - 1, uint8 of that
    shape without such axes; each is counted by itself, (number, n, n). FcnError as in
    Confusion.add.
    """
    label, prediction = _whole(label, 'label'), _whole(prediction, 'prediction')
    if label.shape != prediction.shape:
        raise FcnError(f'the label is {label.shape}, the prediction {prediction.shape}',
                       do='Compare them at one size.')
    if label.dtype == prediction.dtype == np.uint8 and n <= 256:
        counts = ops.pair_counts(*map(as_tensor, (label, prediction)), n,
                                 None if groups is None else as_tensor(groups), number).numpy()
    else:
        rows, columns = (np.where((each >= 0) & (each < n), each, n).astype(np.int64)
                         for each in (label, prediction))
        group = 0 if groups is None else groups.astype(np.int64)
        pairs = (group * (n + 1) + rows) * (n + 1) + columns
        counts = np.bincount(pairs.reshape(-1), minlength=number * (n + 1) ** 2)
        counts = counts.reshape(number, n + 1, n + 1)
    if counts[:, :n, n].any():
        labelled, known = ((each >= 0) & (each < n) for each in (label, prediction))
        wrong = prediction[labelled & ~known][0]
        raise FcnError(f'the prediction holds class {wrong}, there are {n} classes',
                       do=f'Predict classes 0 to {n - 1}.')
    counts = counts[:, :n, :n]
    return counts[0] if groups is None else counts


def other_rule(rule: str) -> str:
    """The other of the two rules of metrics()."""
    return 'release' if rule == 'paper' else 'paper'


def metrics(hist: np.ndarray, rule: str = 'paper') -> Metrics:
    """Metrics of a confusion matrix (n, n) (CVPR 2015, section 5); rows are ground truth.

    rule: the treatment of a class without a pixel of ground truth. 'paper' leaves it out of the
    means. 'release' (score.py) counts its IU as 0 if it was predicted anywhere. FcnError for
    another rule and for a matrix of zeros.
    """
    if rule not in ('paper', 'release'):
        raise FcnError(f'unknown rule {rule!r}', do="Give 'paper' or 'release'.")
    hist = np.asarray(hist)
    if not hist.any():
        raise FcnError('no pixel has been counted', do='Check that the labels are not all void.')
    right, truth = np.diag(hist).astype(np.float64), hist.sum(1).astype(np.float64)
    union = truth + hist.sum(0) - right
    part = union > 0 if rule == 'release' else truth > 0
    accuracy, iu = np.full(len(hist), np.nan), np.full(len(hist), np.nan)
    np.divide(right, truth, out=accuracy, where=truth > 0)
    np.divide(right, union, out=iu, where=part)
    total, here = truth.sum(), truth > 0
    return Metrics(
        pixel_accuracy=float(right.sum() / total), mean_accuracy=float(np.nanmean(accuracy)),
        mean_iu=float(np.nanmean(iu)), fw_iu=float((truth[here] * iu[here]).sum() / total),
        class_accuracy=accuracy, class_iu=iu)


def coarse(label: np.ndarray, factor: int) -> np.ndarray:
    """Downsample a label map (H, W) by `factor` and upsample it again, by nearest neighbour.

    Every pixel gets the label of its cell's centre, (factor // 2, factor // 2) from the cell's
    corner, clamped to the map. A void centre (255) gets the label of the nearest labelled pixel, of
    equally near ones the leftmost, then the uppermost; a map that is entirely void stays so.
    """
    y, x = (np.minimum(np.arange(0, size, factor) + factor // 2, size - 1) for size in label.shape)
    cells = label[np.ix_(y, x)]
    rows, columns = np.nonzero(cells == VOID)
    if rows.size:
        cells[rows, columns] = nearest_labels(label, y[rows], x[columns])
    height, width = label.shape
    return cells.repeat(factor, 0)[:height].repeat(factor, 1)[:, :width]


def nearest_labels(label: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The labels (m,) of the labelled pixels nearest to m void ones (y, x), as `coarse` has them.

    Looks at their neighbours, the nearest first; where some have none within NEAR pixels, scipy's
    distance transform of the whole map, which breaks ties in the same way, takes ten times as long.
    """
    found = np.full(len(y), VOID, label.dtype)
    near = np.pad(label, NEAR, constant_values=VOID)
    left = np.arange(len(y))
    for part in np.split(NEIGHBOURS, range(8, len(NEIGHBOURS), 32)):
        values = near[y[left, None] + (NEAR + part[:, 0]), x[left, None] + (NEAR + part[:, 1])]
        first = (values != VOID).argmax(1)
        found[left] = values[np.arange(len(left)), first]
        left = left[found[left] == VOID]
        if not left.size:
            return found
    void = label == VOID
    if not void.all():
        from scipy.ndimage import distance_transform_edt  # slow to import

        rows, columns = distance_transform_edt(void, return_distances=False, return_indices=True)
        y, x = y[left], x[left]
        found[left] = label[rows[y, x], columns[y, x]]
    return found


def upper_bounds(labels: Iterable[np.ndarray], factors: Iterable[int],
                 n: int | None = None) -> dict[int, Metrics]:
    """{factor: the best metrics at that stride}: the ground truth down- and upsampled (CVPR,
    appendix A), for any set of labels, which is read once.

    labels: (H, W) label maps, 255 void; factors: strides in pixels; n: the number of classes, None
    for as many as the labels have. FcnError for labels that are all void.
    """
    factors = tuple(factors)
    for factor in factors:
        if factor < 1:
            raise FcnError(f'the factor is {factor}', do='Give a stride of at least 1 pixel.')
    sums = {factor: Confusion(n or VOID) for factor in factors}
    for label in map(np.asarray, labels):
        for factor, confusion in sums.items():
            if not (label == VOID).all():
                confusion.add(label, coarse(label, factor))
    present = max((np.flatnonzero(each.hist.any(1)).max(initial=0) for each in sums.values()),
                  default=0)
    end = n or int(present) + 1
    return {factor: metrics(confusion.hist[:end, :end]) for factor, confusion in sums.items()}


def upper_bound(labels: Iterable[np.ndarray], factor: int, n: int) -> Metrics:
    """upper_bounds of one factor."""
    return upper_bounds(labels, (factor,), n)[factor]


def _whole(array: np.ndarray, kind: str) -> np.ndarray:
    """The array without leading axes of length 1; FcnError unless it holds whole numbers."""
    array = np.asarray(array)
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.dtype.kind == 'f' and not (array == np.floor(array)).all():
        raise FcnError(f'the {kind} holds numbers that are not integers',
                       do='Give class indices, such as the argmax of the scores.')
    return array
