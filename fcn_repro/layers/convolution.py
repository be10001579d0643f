"""Convolution: N-D, with group, dilation, rectangular kernels, axis (Caffe's conv_layer)."""

import math
from dataclasses import replace

import torch.nn.functional as F

from ..ops import blas
from ..ops.conv import Conv2d
from ..ops.dilated import conv_split, splits
from ..ops.pointwise import rectified
from .common.spatial import CONV, SpatialLayer


class Convolution(SpatialLayer):
    """bottom (N, C, …) -> top (N, num_output, …); weight (num_output, C / group, kernel …)."""

    type = 'Convolution'
    product = linear = overwritable = position_invariant = True
    functions, blas_functions = CONV, blas.CONV
    exported = 'Conv', 'Conv'
    makes_tops = True
    rectified = False       # computes the ReLU of its tops, too (internal/convolutionrelu.py)

    def weight_shape(self, channels):
        return self.param.num_output, channels // self.param.group

    def setup(self):
        super().setup()
        self.conv2d = Conv2d(self.state, self.node.key)

    def window(self):
        if self.param.axis != 1 or self.spatial_axes not in (None, 2):
            return None
        _, kernel, stride, pad, dilation = self.geometry((1, 1, 1, 1))
        reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
        return reach, stride, pad

    def spread(self, by):
        if self.window() is None:
            return None
        _, _, _, pad, dilation = self.geometry((1, 1, 1, 1))
        param = type(self.node.param)()
        param.CopyFrom(self.node.param)
        p = param.convolution_param
        for field in 'stride', 'stride_h', 'stride_w', 'pad', 'pad_h', 'pad_w', 'dilation':
            p.ClearField(field)
        p.pad.extend(n * m for n, m in zip(pad, by, strict=True))
        p.dilation.extend(n * m for n, m in zip(dilation, by, strict=True))
        return replace(self.node, param=param)

    def macs_per_cell(self, channels):
        p, (_, kernel, *_) = self.param, self.geometry((1, 1, 1, 1))
        return p.num_output * math.prod(kernel) * channels / p.group, p.num_output

    def run(self, conv, x, weight, bias, stride, pad, dilation, slope=None, other=None):
        """slope, other: of a PReLU and a blob to add before it (internal/foldedconvolution.py)."""
        arguments = x, weight, bias, stride, pad, dilation, self.param.group
        if conv is F.conv2d:
            whole = self.state.whole.get(self.node.key, x.shape)
            if self.state.options.winograd and splits(x, weight, *arguments[3:], whole):
                early = self.rectified and other is None
                y = conv_split(lambda parts: self.conv2d(
                    parts, weight, bias, (1, 1), (0, 0), (1, 1), 1, early), x, pad, dilation)
                return rectified(y, other, slope, self.rectified and not early)
            return self.conv2d(*arguments, self.rectified, slope, other)
        return rectified(conv(*arguments), other, slope, self.rectified)
