"""Convolution: N-D, with group, dilation, rectangular kernels, axis (Caffe's conv_layer)."""

import torch.nn.functional as F

from ..ops import blas
from ..ops.conv import Conv2d
from .common.spatial import CONV, SpatialLayer


class Convolution(SpatialLayer):
    """bottom (N, C, …) -> top (N, num_output, …); weight (num_output, C / group, kernel …)."""

    type = 'Convolution'
    product = True
    functions, blas_functions = CONV, blas.CONV

    def weight_shape(self, channels):
        return self.param.num_output, channels // self.param.group

    def setup(self):
        super().setup()
        self.conv2d = Conv2d(self.state)

    def run(self, conv, x, weight, bias, stride, pad, dilation):
        conv = self.conv2d if conv is F.conv2d else conv
        return conv(x, weight, bias, stride, pad, dilation, self.param.group)
