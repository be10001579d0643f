"""ReLU with negative_slope (Caffe's relu_layer)."""

import torch.nn.functional as F

from .base import Layer


class ReLU(Layer):
    """Any shape. At 0 the gradient is negative_slope times the top diff, as in Caffe."""

    type = 'ReLU'
    fields = 'relu_param'
    reuse = False       # may write over its bottom: set by the net, where nobody needs it again

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        slope = self.param.negative_slope
        if slope == 0:
            return [F.relu(bottoms[0], inplace=self.reuse)]
        return [F.leaky_relu(bottoms[0], slope)]
