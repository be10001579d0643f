"""MultinomialLogisticLoss: -log p of given probabilities (multinomial_logistic_loss_layer)."""

import math

from ..sizes import dims
from .common.base import Layer
from .common.losses import own_label, same_first
from .common.slope import with_slope

LEAST = 1e-20       # Caffe's kLOG_THRESHOLD


class MultinomialLogisticLoss(Layer):
    """bottoms: probabilities (N, …), taken as rows of K classes, and N labels -> the mean of
    -log max(p, 1e-20) at the labels. The gradient is -1 / max(p, 1e-20) there, also where p is
    under 1e-20, as in Caffe."""

    type = 'MultinomialLogisticLoss'
    bottoms = 2
    loss = True

    def shape(self, bottoms):
        same_first(self, bottoms)
        if math.prod(bottoms[1][1:]) != 1:
            raise self.error(f'labels of {dims(bottoms[1])} for scores of {dims(bottoms[0])}',
                             'Give one label for each row.')
        return [()]

    def forward(self, bottoms, params):
        rows, labels = own_label(self, *bottoms)
        own = rows.gather(1, labels)
        floored = own.clamp(min=LEAST)
        return [with_slope(-floored.log(), own, -1 / floored).sum() / len(rows)]
