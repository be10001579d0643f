"""Layout of labels relative to scores, and checks of their values."""

import math

from ...sizes import dims


def label_layout(layer, axis, scores, labels):
    """The class axis of `scores`, after checking that there is one label for each position."""
    axis = layer.axis(axis, scores)
    wanted = math.prod(scores) // scores[axis] if scores[axis] else 0
    if math.prod(labels) != wanted:
        raise layer.error(f'{math.prod(labels)} labels ({dims(labels)}) for {wanted} positions of '
                          f'scores {dims(scores)} (class axis {axis})',
                          'Give one label for each position.')
    return axis


def labels_of(layer, blob, classes, ignore, kept=None):
    """(labels as int64, truncated as in Caffe, ignored ones set to 0; mask of those that count).

    kept: a bool mask of the labels that take part at all; None: all of them. Raises FcnError for
    one of these outside 0 … classes - 1 that is not `ignore` (Caffe reads past the blob there).
    """
    labels, valid, wrong = unchecked_labels(blob, classes, ignore, kept)
    if wrong.any():
        bad = labels[wrong]
        raise layer.error(f'{bad.numel()} labels outside 0 … {classes - 1}, such as '
                          f'{bad[0].item()}, with ignore_label '
                          f'{ignore if ignore is not None else "not set"}',
                          'Fix the labels, num_output of the scores, or loss_param.ignore_label.')
    return labels.masked_fill(~valid, 0), valid


def unchecked_labels(blob, classes, ignore, kept=None):
    """(labels as int64; mask of those that count; mask of those for which labels_of raises)."""
    labels = blob.detach().long()
    valid = labels != ignore if ignore is not None else labels == labels
    if kept is not None:
        valid = valid & kept
    return labels, valid, valid & ((labels < 0) | (labels >= classes))


def indices(layer, blob, count, what, do):
    """A blob as int64 (truncated, as Caffe does) for rows of `count` values.

    Raises FcnError for one outside 0 … count - 1 (Caffe reads past the blob there): `what` they
    are and what to `do`.
    """
    out = blob.detach().long()
    wrong = (out < 0) | (out >= count)
    if wrong.any():
        bad = out[wrong]
        raise layer.error(f'{bad.numel()} {what} outside 0 … {count - 1}, such as '
                          f'{bad[0].item()}', do)
    return out
