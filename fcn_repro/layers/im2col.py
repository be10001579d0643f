"""Im2col: the patches that a convolution reads, as channels (Caffe's im2col_layer)."""

import math

import torch.nn.functional as F

from ..sizes import dims
from .common.spatial import SpatialLayer


class Im2col(SpatialLayer):
    """(…, C, spatial) -> (…, C * k1 * k2 …, windows), row c * k1 * k2 + i * k2 + j being channel
    c at (i, j) of each window. Of convolution_param: kernel, stride, pad, dilation, axis."""

    type = 'Im2col'
    bottoms = tops = 1
    ignored = (*SpatialLayer.ignored, 'num_output', 'group', 'bias_term', 'weight_filler',
               'bias_filler')

    def setup(self):
        """Without the checks of num_output and group, which Caffe does not read here."""

    def parameters(self, bottoms):
        return []

    def shape(self, bottoms):
        bottom = bottoms[0]
        channel, kernel, *_ = self.geometry(bottom)
        if not kernel:
            raise self.error(f'no spatial axis in a bottom of shape {dims(bottom)}', 'Fix axis.')
        return [(*bottom[:channel], bottom[channel] * math.prod(kernel), *self.extents(bottom)[1])]

    def scratch(self, bottoms):
        """The top: of one value a window it may be a view of the bottom. The padded bottom."""
        bottom, (top,) = bottoms[0], self.shape(bottoms)
        channel, _, _, pad, _ = self.geometry(bottom)
        sides = [side + 2 * p for side, p in zip(bottom[channel + 1:], pad, strict=True)]
        padded = math.prod((*bottom[:channel + 1], *sides)) if any(pad) else 0
        return padded + (math.prod(top) if math.prod(top) > math.prod(bottom) else 0)

    def forward(self, bottoms, params):
        x = bottoms[0]
        top, = self.shape([x.shape])
        channel, kernel, stride, pad, dilation = self.geometry(x.shape)
        count = len(kernel)
        x = F.pad(x, [p for p in reversed(pad) for _ in range(2)])
        for i in range(count):              # each appends an axis: the places in a window
            extent = dilation[i] * (kernel[i] - 1) + 1
            x = x.unfold(channel + 1 + i, extent, stride[i])[..., ::dilation[i]]
        windows = range(channel + 1, channel + 1 + count)
        places = range(channel + 1 + count, channel + 1 + 2 * count)
        return [x.permute(*range(channel + 1), *places, *windows).reshape(top)]

    def torch_code(self, code):
        raise self.not_exported('PyTorch code', 'torch_code')

    def onnx_nodes(self, nodes):
        raise self.not_exported('ONNX', 'onnx_nodes')
