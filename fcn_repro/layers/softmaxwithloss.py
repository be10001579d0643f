"""SoftmaxWithLoss (Caffe's softmax_loss_layer), with class weights, a sampled loss, the hardest
positions alone, and other targets than labels.

What Caffe's lacks is in fcn_repro_param, whose defaults change nothing. class_weight: one number
for each class, by which the terms of its pixels are multiplied. keep_ratio: the probability p with
which a position takes part in training. keep_cell: the side, in positions, of the squares that are
kept or left out as one. Sections 3.4 and 4.4 of the paper: patchwise training is a sampled loss,
with 1/p times as many images for a batch of the same size. The normaliser VALID counts the
positions that take part; weights do not change it.

ohem_thresh, ohem_min_ratio: in training only the positions take part whose own class has at most
this probability, and at least this share of the batch. targets: what the second bottom holds, in
the shape of the scores. PROBABILITIES q: the loss is -sum q log p; SETS, of 0 and 1: -log of the
sum of the p of the set. A position without any counts as a void one. relax: the side of the square
around a position whose labels make its set. What they compute is in common/targets.py.
"""

import math
from functools import lru_cache

import torch

from ..proto import FcnReproParameter, LossParameter
from ..sizes import dims
from .common import targets
from .common.base import Layer
from .common.labels import label_layout, labels_of, unchecked_labels
from .common.losses import normalization, normalizer, same_first

FLT_MIN = torch.finfo(torch.float32).tiny


class SoftmaxWithLoss(Layer):
    """bottoms: scores (…, C, …) and labels -> the loss, a scalar, and optionally the
    probabilities. The sum of -log p over pixels that are not ignored, divided by: VALID their
    number; FULL all positions; BATCH_SIZE those before the class axis; NONE 1; never under 1.

    p is clamped at FLT_MIN in the loss (at most 87.3 a pixel), not in its gradient, as in Caffe.
    Which positions a sampled loss keeps is, like Dropout's mask, a function of the net's seed, the
    layer's name and the number of forward passes so far; in phase TEST all take part.
    """

    type = 'SoftmaxWithLoss'
    bottoms = 2
    tops = (1, 2)
    loss = True
    fields = 'loss_param'
    further_messages = ('softmax_param',)
    own_fields = ('class_weight', 'keep_ratio', 'keep_cell', 'ohem_thresh', 'ohem_min_ratio',
                  'targets', 'relax')
    ignored = ('softmax_param.engine',)

    def setup(self):
        p = self.param
        self.normalization = normalization(p, LossParameter.VALID)
        self.ignore = p.ignore_label if p.HasField('ignore_label') else None
        own = self.node.param.fcn_repro_param
        self.class_weight = own.class_weight[:]
        self.ratio, self.cell = own.keep_ratio, own.keep_cell
        if not all(math.isfinite(w) and w >= 0 for w in self.class_weight):
            raise self.error(f'class_weight {[f"{w:g}" for w in self.class_weight]}',
                             'Give finite numbers that are not negative.')
        if not 0 < self.ratio <= 1:
            raise self.error(f'keep_ratio {self.ratio:g} is not above 0 and at most 1',
                             'Give the share of the positions that is kept.')
        if self.cell < 1:
            raise self.error('keep_cell is 0', 'Give the side of a cell in positions.')
        self.targets, self.relax = own.targets, own.relax
        self.ohem = self._read_ohem(own)
        self._check_targets()
        self.replayable = self.ohem is None and self.relax == 1     # a selection, one_hot's checks

    def _read_ohem(self, own):
        """(thresh, min_ratio), or None."""
        given = [own.HasField(name) for name in ('ohem_thresh', 'ohem_min_ratio')]
        if not any(given):
            return None
        if not all(given):
            raise self.error('one of ohem_thresh and ohem_min_ratio', 'Give both.')
        if not 0 < own.ohem_thresh <= 1:
            raise self.error(f'ohem_thresh {own.ohem_thresh:g} is not above 0 and at most 1',
                             'Give a probability.')
        if not 0 < own.ohem_min_ratio <= 1:
            raise self.error(f'ohem_min_ratio {own.ohem_min_ratio:g} is not above 0 and at most 1',
                             'Give the share of the positions that is kept at least.')
        return own.ohem_thresh, own.ohem_min_ratio

    def _check_targets(self):
        """FcnError for settings that contradict each other."""
        if self.relax % 2 == 0:
            raise self.error(f'relax {self.relax} is not odd', 'Give the side of a square around '
                             'a position: 3.')
        if self.targets == FcnReproParameter.LABELS:
            if self.relax > 1 and self.ohem:
                raise self.error('relax with ohem_thresh', 'Remove one of them.')
            return
        name = FcnReproParameter.Targets.Name(self.targets)
        for other, is_set in (('relax', self.relax > 1), ('ohem_thresh', self.ohem is not None),
                              ('loss_param.ignore_label', self.ignore is not None)):
            if is_set:
                raise self.error(f'{other} with targets: {name}', 'Remove it: a position whose '
                                 'targets are all 0 is void.' if 'ignore' in other else
                                 'Give labels, or remove one of them.')

    @classmethod
    def fuses(cls, param):
        """Whether the fused ops compute a layer of this message: one label each, all alike."""
        own = param.fcn_repro_param
        return own.targets == FcnReproParameter.LABELS and own.relax <= 1 \
            and not own.HasField('ohem_thresh') and not own.HasField('ohem_min_ratio')

    def class_axis(self, scores, labels):
        if self.targets != FcnReproParameter.LABELS:
            axis = self.axis(self.node.param.softmax_param.axis, scores)
            if tuple(labels) != tuple(scores):
                name = FcnReproParameter.Targets.Name(self.targets)
                raise self.error(f'targets: {name} of shape {dims(labels)} for scores '
                                 f'{dims(scores)}', 'Give one for each score.')
            return axis
        return label_layout(self, self.node.param.softmax_param.axis, scores, labels)

    def shape(self, bottoms):
        same_first(self, bottoms)
        classes = bottoms[0][self.class_axis(*bottoms)]
        if self.class_weight and len(self.class_weight) != classes:
            raise self.error(f'{len(self.class_weight)} class_weight for {classes} classes',
                             'Give one for each class.')
        if self.relax > 1 and (len(bottoms[0]) != 4 or self.class_axis(*bottoms) != 1):
            raise self.error(f'relax with scores of shape {dims(bottoms[0])}',
                             'Give (N, C, H, W) with the classes along axis 1.')
        return [(), bottoms[0]][:len(self.node.tops)]

    def weights(self, dtype, device):
        """The class weights as a tensor (C,); None without."""
        return constants(tuple(self.class_weight), dtype, device) if self.class_weight else None

    def divisor(self, scores, axis, valid):
        """What the sum is divided by, a 0-d tensor; arguments as of losses.normalizer."""
        return normalizer(self.normalization, scores, axis, valid)

    def kept(self, inner, axis, device):
        """The positions that take part in this pass, a bool tensor of shape `inner`, that of the
        scores without their class axis `axis`; None: all. Cells are counted from the first position
        of each axis after the classes; those at the end may be smaller."""
        if not self.train or self.ratio == 1:
            return None
        cells = [*inner[:axis], *(-(-n // self.cell) for n in inner[axis:])]
        keep = self.random(lambda: torch.empty(cells, device=device), self.draw).bool()
        for along in range(axis, len(inner)) if self.cell > 1 else ():
            side = min(self.cell, inner[along])
            keep = keep.repeat_interleave(side, along).narrow(along, 0, inner[along])
        return keep

    def draw(self, keep):
        """Fill a tensor with 1 for what takes part at the net's position, and 0."""
        keep.bernoulli_(self.ratio, generator=self.draws(self.state.position, device=keep.device))

    def forward(self, bottoms, params):
        scores, blob = bottoms
        axis = self.class_axis(scores.shape, blob.shape)
        if self.targets != FcnReproParameter.LABELS:
            return self.against(scores, *self.read_targets(scores, blob, axis), axis)
        inner = scores.shape[:axis] + scores.shape[axis + 1:]
        given = (blob.reshape(inner), scores.shape[axis], self.ignore,
                 None if self.relax > 1 else self.kept(inner, axis, scores.device))
        if self.state.unchecked:
            labels, valid, wrong = unchecked_labels(*given)
            labels = labels.masked_fill(~valid | wrong, 0)
        else:
            (labels, valid), wrong = labels_of(self, *given), None
        if self.relax > 1:
            sets = targets.sets_around(labels, valid, scores.shape[axis], self.relax)
            return self.against(scores, sets.to(scores.dtype), wrong, axis)
        if self.ohem and self.train:
            valid = targets.hardest(scores, labels, valid, axis, *self.ohem)
        norm = self.divisor(scores.shape, axis, valid)
        weights = self.weights(scores.dtype, scores.device)
        factor = valid if weights is None else weights[labels] * valid
        loss, prob = SoftmaxLoss.apply(scores, labels.unsqueeze(axis), factor.unsqueeze(axis), axis,
                                       norm)
        if wrong is not None:
            loss = loss.masked_fill(wrong.any(), math.nan)
        return [loss, prob][:len(self.node.tops)]

    def read_targets(self, scores, blob, axis):
        """(the targets in the scores' type, None), or with unchecked states the mask of the
        positions that are wrong; FcnError for these."""
        given = blob.detach().to(scores.dtype)
        if self.targets == FcnReproParameter.SETS:
            wrong, wanted = targets.not_sets(given, axis), '0 and 1 alone'
        else:
            wrong, wanted = targets.not_probabilities(given, axis), 'probabilities with the sum 1'
        if self.state.unchecked:
            return given, wrong
        if wrong.any():
            name = FcnReproParameter.Targets.Name(self.targets)
            first = given.movedim(axis, -1)[wrong][0]
            raise self.error(f'{int(wrong.sum())} of {wrong.numel()} positions without targets: '
                             f'{name}, such as {", ".join(f"{v:g}" for v in first[:6].tolist())}',
                             f'Give {wanted}, as a Softmax does, or zeros for a void position.'
                             if self.targets == FcnReproParameter.PROBABILITIES else
                             f'Give {wanted}.')
        return given, None

    def against(self, scores, given, wrong, axis):
        """The tops for targets in the shape of the scores."""
        valid = (given > 0).any(axis)
        kept = self.kept(valid.shape, axis, scores.device)
        valid = valid if kept is None else valid & kept
        weights = self.weights(scores.dtype, scores.device)
        if weights is not None:
            weights = weights.view(-1, *[1] * (scores.dim() - axis - 1))
        log = torch.log_softmax(scores, axis)
        terms = targets.soft_terms if self.targets == FcnReproParameter.PROBABILITIES \
            else targets.set_terms
        loss = (terms(log, given, axis, weights) * valid).sum() / self.divisor(
            scores.shape, axis, valid)
        if wrong is not None:
            loss = loss.masked_fill(wrong.any(), math.nan)
        return [loss, log.detach().exp()][:len(self.node.tops)]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def constants(numbers, dtype, device):
    """A tensor of these numbers, to be read alone: copied to a GPU once, not in every pass."""
    return torch.tensor(numbers, dtype=dtype, device=device)


class SoftmaxLoss(torch.autograd.Function):
    """The gradient is prob - onehot in closed form, so that only prob is kept for backward.
    factor: of each position's term, a bool or a number, 0 for those that do not count."""

    @staticmethod
    def forward(ctx, scores, labels, factor, axis, norm):
        prob = torch.softmax(scores, axis)
        own = prob.gather(axis, labels).clamp(min=FLT_MIN)
        loss = -(own.log() * factor).sum() / norm
        ctx.save_for_backward(prob, labels, factor, norm)
        ctx.axis = axis
        ctx.mark_non_differentiable(prob)
        return loss, prob

    @staticmethod
    def backward(ctx, grad, _):
        prob, labels, factor, norm = ctx.saved_tensors
        own = prob.gather(ctx.axis, labels)
        out = prob.scatter(ctx.axis, labels, own - 1)
        return out.mul_(factor).mul_(grad / norm), None, None, None, None
