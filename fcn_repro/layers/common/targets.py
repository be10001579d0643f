"""What a softmax loss compares scores with beside one label for each position: the hardest labels,
probabilities, and sets of classes. Plain functions on tensors; gradients are autograd's.
"""

import torch
import torch.nn.functional as F

SUM = 1e-3      # by which the probabilities of a position may miss 1


def hardest(scores, labels, valid, axis, thresh, min_ratio):
    """The mask of the valid labels whose probability is at most `thresh`, or at most that of the
    k-th in ascending order where this is higher, with k = min_ratio of all positions of the batch:
    BiSeNet's online hard example mining (TorchSeg, ProbOhemCrossEntropy2d; its configs give k as a
    sixteenth of the crops' pixels).

    scores: (…, C, …) with the classes along `axis`; labels, valid: without that axis, labels
    from 0 to C - 1 everywhere. A position whose probability is NaN is kept."""
    with torch.no_grad():
        own = scores.softmax(axis).gather(axis, labels.unsqueeze(axis)).squeeze(axis)
        own = own.masked_fill(~valid, 1).flatten()
        if not own.numel():
            return valid
        least = own.kthvalue(max(1, int(min_ratio * own.numel()))).values
        return valid & ~(own > least.clamp(min=thresh)).view_as(valid)


def sets_around(labels, valid, classes, side):
    """(N, classes, H, W) of 0 and 1: the classes of the valid labels in the square of `side`
    positions around each one, inside the image. labels, valid: (N, H, W)."""
    one = F.one_hot(labels, classes).movedim(-1, 1) * valid.unsqueeze(1)
    return F.max_pool2d(one.float(), side, 1, side // 2)


def soft_terms(log, targets, axis, weights):
    """-sum over the classes of target log p, without the axis of the classes. log: the logarithm
    of the softmax; weights: None, or a factor of each class that broadcasts."""
    targets = targets if weights is None else targets * weights
    return -(targets * log).sum(axis)


def set_terms(log, sets, axis, weights):
    """-log of the probability of each position's set, times the mean weight of its classes; 0 for
    an empty set. Arguments as of soft_terms; sets: of 0 and 1."""
    count = sets.sum(axis)
    inside = (sets > 0) | (count == 0).unsqueeze(axis)      # of an empty one all: log 1
    terms = -log.masked_fill(~inside, -torch.inf).logsumexp(axis)
    if weights is not None:
        terms = terms * ((sets * weights).sum(axis) / count.clamp(min=1))
    return terms


def not_probabilities(targets, axis):
    """The mask of positions whose targets are neither probabilities that sum to 1 nor all 0."""
    total = targets.sum(axis)
    fits = (total - 1).abs() <= SUM
    return ~(((targets >= 0).all(axis) & fits) | (targets == 0).all(axis))


def not_sets(targets, axis):
    """The mask of positions with a target that is neither 0 nor 1."""
    return ~((targets == 0) | (targets == 1)).all(axis)
