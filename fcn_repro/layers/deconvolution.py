"""Deconvolution: the transpose of Convolution (Caffe's deconv_layer)."""

import math

import numpy as np

from ..ops import blas
from .common import coordinates
from .common.spatial import CONV_TRANSPOSE, SpatialLayer


class Deconvolution(SpatialLayer):
    """bottom (N, C, …) -> top (N, num_output, …); weight (C, num_output / group, kernel …).

    Caffe stores it dense (group 1): FCN's bilinear upsampling has all but the diagonal at zero.
    """

    type = 'Deconvolution'
    linear = overwritable = True
    functions, blas_functions = CONV_TRANSPOSE, blas.CONV_TRANSPOSE
    exported = 'ConvTranspose', 'ConvTranspose'
    makes_tops = True

    @classmethod
    def coord_map(cls, settings):
        return coordinates.deconvolution(settings, cls.type)

    def reach(self, bottom):
        if len(bottom) != 4 or self.axis(self.param.axis, bottom) != 1:
            return None
        _, kernel, stride, pad, dilation = self.geometry(bottom)
        return tuple(coordinates.Reach.transposed((k - 1) * d + 1, s, p) for k, s, p, d in
                     zip(kernel, stride, pad, dilation, strict=True))

    def weight_shape(self, channels):
        return channels, self.param.num_output // self.param.group

    def extent(self, size, kernel, stride, pad, dilation):
        return stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad

    def macs(self, bottoms):
        """A product with every weight for each cell of the bottoms."""
        channel = self.geometry(bottoms[0])[0]
        return self.products(bottoms, math.prod((*bottoms[0][:channel],
                                                 *bottoms[0][channel + 1:])))

    def run(self, conv, x, weight, bias, stride, pad, dilation):
        return conv(x, weight, bias, stride, pad, 0, self.param.group, dilation)

    def onnx_nodes(self, nodes):
        """A dense weight that is zero off its diagonal, FCN's bilinear one, as one group for each
        channel: runtimes do not see the zeros."""
        weight, channels = nodes.blobs[0], len(nodes.blobs[0])
        kernel, stride, pad, dilation = self.exported_geometry(nodes.shapes[0])
        group, params = self.param.group, nodes.params
        if group == 1 < channels == weight.shape[1]:
            diagonal = weight[range(channels), range(channels)]
            if np.count_nonzero(weight) == np.count_nonzero(diagonal):
                group, params = channels, [nodes.floats(diagonal[:, None]), *params[1:]]
        return [nodes.op('ConvTranspose', x, *params, kernel_shape=kernel, strides=stride,
                         pads=[*pad, *pad], dilations=dilation, group=group)
                for x in nodes.bottoms]
