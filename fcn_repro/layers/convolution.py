"""Convolution: N-D, with group, dilation, rectangular kernels, axis (Caffe's conv_layer)."""

from .. import blas
from .spatial import CONV, SpatialLayer


class Convolution(SpatialLayer):
    """bottom (N, C, …) -> top (N, num_output, …); weight (num_output, C / group, kernel …)."""

    type = 'Convolution'
    functions, blas_functions = CONV, blas.CONV

    def weight_shape(self, channels):
        return self.param.num_output, channels // self.param.group

    def run(self, conv, x, weight, bias, stride, pad, dilation):
        return conv(x, weight, bias, stride, pad, dilation, self.param.group)
