"""MultinomialLogisticLoss: -log p of given probabilities (multinomial_logistic_loss_layer)."""

from .base import Layer
from .labels import indices
from .losses import rows
from .slope import with_slope

LEAST = 1e-20       # Caffe's kLOG_THRESHOLD


class MultinomialLogisticLoss(Layer):
    """bottoms: probabilities (N, …), taken as rows of K classes, and N labels -> the mean of
    -log max(p, 1e-20) at the labels. The gradient is -1 / max(p, 1e-20) there, also where p is
    under 1e-20, as in Caffe."""

    type = 'MultinomialLogisticLoss'
    bottoms = 2
    loss = True

    def shape(self, bottoms):
        rows(self, bottoms)
        return [()]

    def forward(self, bottoms, params):
        count, classes = rows(self, [x.shape for x in bottoms])
        labels = indices(self, bottoms[1].reshape(count, 1), classes, 'labels',
                         'Mend the labels, or num_output of the layer below.')
        own = bottoms[0].reshape(count, classes).gather(1, labels)
        floored = own.clamp(min=LEAST)
        return [with_slope(-floored.log(), own, -1 / floored).sum() / count]
