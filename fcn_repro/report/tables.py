"""Metrics as aligned text."""

from collections.abc import Sequence

import numpy as np

from fcn_repro.errors import FcnError


def metrics_table(metrics, names: Sequence[str] | None = None) -> str:
    """The four metrics in the paper's order, then the IU of each class, in percent.

    metrics: predict.metrics.Metrics. names: class names by index, None for the bare indices. A
    class that is left out of the means shows '-'.
    """
    iu = metrics.class_iu
    names = _names(names, len(iu))
    values = (metrics.pixel_accuracy, metrics.mean_accuracy, metrics.mean_iu, metrics.fw_iu)
    lines = ['pixel acc.  mean acc.  mean IU  f.w. IU',
             ''.join(f'{100 * v:{w}.1f}' for v, w in zip(values, (10, 11, 9, 9), strict=True)), '']
    width = max(len('class'), *map(len, names))
    lines.append(f'{"class":{width}}     IU')
    lines += [f'{name:{width}}  {_percent(v):>5}' for name, v in zip(names, iu, strict=True)]
    return '\n'.join(lines)


def of_bound(mean_iu: float, bound: float) -> str:
    """How a mean IU compares with its bound by nearest neighbour, both fractions, in words."""
    return f'the net reaches {100 * mean_iu / bound:.0f} % of that' + (
        ' (it interpolates between cells, which nearest neighbour does not)' * (mean_iu > bound))


def one_class_warning(hist: np.ndarray, names: Sequence[str] | None = None) -> str | None:
    """A warning if the net predicts a single class although the ground truth has others, or None.

    hist: confusion matrix (n, n), rows are ground truth.
    """
    hist = np.asarray(hist)
    names = _names(names, len(hist))
    predicted, there = np.flatnonzero(hist.sum(0)), np.flatnonzero(hist.sum(1))
    if len(predicted) != 1 or (len(there) == 1 and there[0] == predicted[0]):
        return None
    return (f'warning: every pixel is predicted as {names[predicted[0]]}, the ground truth has '
            f'{len(there)} classes: the net has not learned yet, or its weights are not loaded')


def _names(names: Sequence[str] | None, n: int) -> list[str]:
    if names is None:
        return [str(i) for i in range(n)]
    if len(names) != n:
        raise FcnError(f'there are {len(names)} class names for {n} classes',
                       do='Give one name per class in label order (classes.txt).')
    return list(names)


def _percent(value: float) -> str:
    return '-' if np.isnan(value) else f'{100 * value:.1f}'
