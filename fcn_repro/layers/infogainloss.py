"""InfogainLoss: softmax loss with a matrix of class weights (Caffe's infogain_loss_layer)."""

import math

import torch

from ..errors import FcnError
from ..formats.wire import read_binaryproto
from ..sizes import dims
from .common.base import Layer
from .common.labels import label_layout, labels_of
from .common.losses import normalizer, same_first
from .common.slope import with_slope

LEAST = math.log(1e-20)       # of Caffe's kLOG_THRESHOLD


class InfogainLoss(Layer):
    """bottoms: scores (…, C, …), labels, and the matrix H (C x C values), unless
    infogain_loss_param.source names a binaryproto of it -> the loss, a scalar, and optionally
    the probabilities. The sum of -H[label, l] log max(p[l], 1e-20) over classes l and positions
    that are not ignored, divided as in SoftmaxWithLoss (default VALID).

    p is floored in the loss, not in its gradient; labels and H get none, as in Caffe.
    """

    type = 'InfogainLoss'
    bottoms = (2, 3)
    tops = (1, 2)
    loss = True
    fields = 'infogain_loss_param'
    further_messages = ('loss_param',)

    def setup(self):
        loss = self.node.param.loss_param
        if loss.HasField('normalize'):
            raise self.error('loss_param.normalize is not known here', 'Use normalization.')
        self.normalization = loss.normalization
        self.ignore = loss.ignore_label if loss.HasField('ignore_label') else None
        if len(self.node.bottoms) == 2:
            if not self.param.HasField('source'):
                raise self.error('no matrix: infogain_loss_param.source is missing',
                                 'Set it, or give the matrix as the third bottom.')
            source = self.param.source
            try:
                self.matrix = torch.tensor(read_binaryproto(
                    self.state.search.find(source, 'matrix', 'source')))
            except FcnError as error:
                raise self.error(f'infogain_loss_param.source {source}: {error.what}',
                                 error.do) from None

    def shape(self, bottoms):
        same_first(self, bottoms)
        scores = bottoms[0]
        classes = scores[label_layout(self, self.param.axis, scores, bottoms[1])]
        matrix = bottoms[2] if len(bottoms) == 3 else tuple(self.matrix.shape)
        if math.prod(matrix) != classes ** 2:
            raise self.error(f'an infogain matrix of {dims(matrix)} for {classes} classes',
                             f'Give {dims((classes, classes))}.')
        return [(), scores][:len(self.node.tops)]

    def forward(self, bottoms, params):
        scores, blob = bottoms[:2]
        axis = label_layout(self, self.param.axis, scores.shape, blob.shape)
        classes = scores.shape[axis]
        inner = scores.shape[:axis] + scores.shape[axis + 1:]
        labels, valid = labels_of(self, blob.reshape(inner), classes, self.ignore)
        matrix = bottoms[2].detach() if len(bottoms) == 3 else self.matrix.to(scores)
        weights = matrix.reshape(classes, classes)[labels] * valid.unsqueeze(-1)
        logs = torch.log_softmax(scores, axis)
        floored = with_slope(logs.clamp(min=LEAST), logs, logs.new_ones(()))
        loss = -(weights.movedim(-1, axis) * floored).sum()
        norm = normalizer(self.normalization, scores.shape, axis, valid)
        return [loss / norm, logs.detach().exp()][:len(self.node.tops)]
