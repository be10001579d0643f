"""Metrics as aligned text."""

from collections.abc import Sequence

import numpy as np

from fcn_repro.errors import FcnError

NAMED = 5       # classes in a line

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


def rules_line(hist: np.ndarray, metrics, other, rule: str,
               names: Sequence[str] | None = None) -> str:
    """Both rules of the means beside each other, where classes that the ground truth does not have
    were predicted; '' where the rules agree.

    hist: confusion matrix (n, n). metrics: by `rule`, 'paper' or 'release'; other: by the other
    one. names: as for metrics_table.
    """
    hist = np.asarray(hist)
    wrong = np.flatnonzero((hist.sum(1) == 0) & (hist.sum(0) > 0))
    if not wrong.size:
        return ''
    names = _names(names, len(hist))
    named = ', '.join(names[i] for i in wrong[:NAMED])
    more = f' and {wrong.size - NAMED} more' if wrong.size > NAMED else ''
    paper, release = (metrics, other) if rule == 'paper' else (other, metrics)
    return (f'not in the ground truth, but predicted: {named}{more}. Left out (rule of the paper): '
            f'mean IU {100 * paper.mean_iu:.1f}; with IU 0 (rule of the release): '
            f'{100 * release.mean_iu:.1f}')


def _names(names: Sequence[str] | None, n: int) -> list[str]:
    if names is None:
        return [str(i) for i in range(n)]
    if len(names) != n:
        raise FcnError(f'there are {len(names)} class names for {n} classes',
                       do='Give one name per class in label order (classes.txt).')
    return list(names)


def _percent(value: float) -> str:
    return '-' if np.isnan(value) else f'{100 * value:.1f}'
