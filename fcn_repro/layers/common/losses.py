"""Normalisation and checks of loss layers."""

import math

import torch

from ...proto import LossParameter
from ...sizes import dims
from .labels import indices


def normalization(param, default):
    """The mode of a LossParameter: `normalization` wins over its old form `normalize`."""
    if param.HasField('normalization'):
        return param.normalization
    if param.HasField('normalize'):
        return LossParameter.VALID if param.normalize else LossParameter.BATCH_SIZE
    return default


def normalizer(mode, scores, axis, valid):
    """The divisor of a loss, a 0-d tensor of at least 1. scores: their shape; axis: that of the
    classes; valid: mask of the labels that count.

    VALID: the number of labels that count; FULL: of all; BATCH_SIZE: the positions before
    `axis`; NONE: 1.
    """
    if mode == LossParameter.VALID:
        return valid.sum().clamp(min=1)
    outer = math.prod(scores[:axis])
    count = {LossParameter.FULL: outer * math.prod(scores[axis + 1:]),
             LossParameter.BATCH_SIZE: outer, LossParameter.NONE: 1}[mode]
    return torch.full((), max(1, count), device=valid.device)


def same_first(layer, bottoms):
    """FcnError unless the first two bottoms of a loss layer have equal first axes, the batch."""
    first, second = bottoms[:2]
    if not first or not second or first[0] != second[0]:
        raise layer.error(f'bottoms of {dims(first)} and {dims(second)}',
                          'Their first axes, the batch, must agree.')


def one_target_each(layer, bottoms):
    """FcnError unless the bottoms of a loss layer are scores and as many targets."""
    same_first(layer, bottoms)
    scores, targets = bottoms
    if math.prod(scores) != math.prod(targets):
        raise layer.error(f'{math.prod(targets)} targets ({dims(targets)}) for '
                          f'{math.prod(scores)} scores ({dims(scores)})',
                          'Give one target for each score.')


def own_label(layer, scores, labels):
    """(scores as N rows of K, their N labels (N, 1) as int64) of blobs (N, …). Labels beyond the
    first N values are not read, as in Caffe."""
    rows = scores.unsqueeze(-1).flatten(1)
    return rows, indices(layer, labels.reshape(-1, 1)[:len(rows)], rows.shape[1], 'labels',
                         'Fix the labels, or num_output of the layer below.')
