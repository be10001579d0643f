"""Base class of Convolution, Deconvolution and Im2col (Caffe's base_conv_layer)."""

import math

import torch.nn.functional as F

from ...sizes import dims
from . import coordinates
from .base import ANY, Layer
from .exporting import arguments, brief

MAX_SPATIAL = 3


def one_cell(x):
    """x (N, C, …) with a cell of zeros along spatial axes of size 0, which torch refuses: its
    windows see what Caffe's see, padding."""
    if 0 not in x.shape[2:]:
        return x
    return F.pad(x, [end for size in reversed(x.shape[2:]) for end in (0, int(not size))])


class SpatialLayer(Layer):
    """N-D convolution or its transpose. Bottoms share the weights; leading axes are batch.

    Parameters: weight (see `weight_shape`) and, with bias_term, bias (num_output,).
    """

    bottoms = tops = (1, ANY)
    fields = 'convolution_param'
    ignored = 'engine', 'force_nd_im2col'
    exported = '', ''           # names of torch's module, without its axes, and ONNX's operator

    @classmethod
    def learns(cls, param):
        return 1 + param.convolution_param.bias_term

    @property
    def spatial_axes(self):
        """2 for a setting with _h and _w, or as many values as a setting has; None for one value,
        which serves any number of axes."""
        p = self.param
        if any(map(p.HasField, ('kernel_h', 'pad_h', 'stride_h'))):
            return 2
        count = max(map(len, (p.kernel_size, p.stride, p.pad, p.dilation)))
        return count if count > 1 else None

    @classmethod
    def coord_map(cls, settings):
        return coordinates.convolution(settings, cls.type)

    def cell_map(self, bottom):
        _, *values = self.geometry(bottom)
        names = 'kernel_size', 'stride', 'pad', 'dilation'
        return self.coord_map(dict(zip(names, map(list, values), strict=True)))

    def __init__(self, node, state):
        self._settings = {}         # {number of spatial axes: kernel, stride, pad, dilation}
        super().__init__(node, state)

    def setup(self):
        p = self.param
        if len(self.node.bottoms) != len(self.node.tops):
            raise self.error(f'{len(self.node.bottoms)} bottoms for {len(self.node.tops)} tops',
                             'Give one top for each bottom.')
        if p.num_output < 1:
            raise self.error('convolution_param.num_output is missing or 0', 'Set it.')
        if p.group < 1 or p.num_output % p.group:
            raise self.error(f'num_output {p.num_output} is not a multiple of group {p.group}',
                             'Change one of them.')

    def geometry(self, bottom):
        """Channel axis of a bottom shape, and kernel, stride, pad, dilation per spatial axis."""
        channel = self.axis(self.param.axis, bottom)
        count = len(bottom) - channel - 1
        if count not in self._settings:
            self._settings[count] = self._read_settings(bottom, count)
        return channel, *self._settings[count]

    def _read_settings(self, bottom, count):
        if count > MAX_SPATIAL:
            raise self.error(f'{count} spatial axes in a bottom of shape {dims(bottom)}',
                             f'Up to {MAX_SPATIAL} are supported; correct axis or the bottom.')
        kernel = self._per_axis('kernel_size', 'kernel', count, None)
        stride = self._per_axis('stride', 'stride', count, 1)
        pad = self._per_axis('pad', 'pad', count, 0)
        dilation = self._per_axis('dilation', None, count, 1)
        for name, values in ('kernel_size', kernel), ('stride', stride), ('dilation', dilation):
            if min(values, default=1) < 1:
                raise self.error(f'{name} {dims(values)} is not positive', 'Fix the field.')
        return kernel, stride, pad, dilation

    def _per_axis(self, name, short, count, default):
        """Values of a repeated field (one, or one per axis), or of its _h and _w form in 2-D."""
        p, given = self.param, getattr(self.param, name)[:]
        if short and (p.HasField(f'{short}_h') or p.HasField(f'{short}_w')):
            if given:
                raise self.error(f'both {name} and {short}_h / {short}_w', 'Give one of the two.')
            if count != 2:
                raise self.error(f'{short}_h and {short}_w on {count} spatial axes',
                                 f'Use repeated {name}.')
            return getattr(p, f'{short}_h'), getattr(p, f'{short}_w')
        if not given and default is None and count:
            raise self.error(f'convolution_param.{name} is missing', 'Set it.')
        if len(given) not in (0, 1, count):
            raise self.error(f'{len(given)} values of {name} for {count} spatial axes',
                             f'Give 1 or {count}.')
        if len(given) < 2:
            return tuple(given or [default]) * count
        return tuple(given)

    def parameters(self, bottoms):
        channel, kernel, *_ = self.geometry(bottoms[0])
        channels, group = bottoms[0][channel], self.param.group
        if channels % group:
            raise self.error(f'the {channels} input channels are not a multiple of group {group}',
                             'Change group or the bottom.')
        out = [(self.weight_shape(channels) + kernel, self.param.weight_filler)]
        if self.param.bias_term:
            out.append(((self.param.num_output,), self.param.bias_filler))
        return out

    def shape(self, bottoms):
        for i, bottom in enumerate(bottoms[1:], 1):
            if tuple(bottom) != tuple(bottoms[0]):
                raise self.error(f'bottom {i} is {dims(bottom)}, bottom 0 is {dims(bottoms[0])}',
                                 'They must be of one shape.')
        channel, spatial = self.extents(bottoms[0])
        return [(*bottoms[0][:channel], self.param.num_output, *spatial)] * len(bottoms)

    def extents(self, bottom):
        """The channel axis of a bottom shape, and the top's spatial shape."""
        channel, kernel, stride, pad, dilation = self.geometry(bottom)
        spatial = tuple(map(self.extent, bottom[channel + 1:], kernel, stride, pad, dilation))
        if min(spatial, default=1) < 1:
            raise self.error(f'a bottom of {dims(bottom)} gives an empty top ({dims(spatial)}) '
                             f'with kernel {dims(kernel)}, pad {dims(pad)}',
                             'Use a larger input, a smaller kernel or more padding.')
        return channel, spatial

    def extent(self, size, kernel, stride, pad, dilation):
        """The number of windows along an axis."""
        return (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1

    def macs(self, bottoms):
        """A product with every weight for each cell of the tops that is not summed over."""
        channel, spatial = self.extents(bottoms[0])
        return self.products(bottoms, math.prod((*bottoms[0][:channel], *spatial)))

    def products(self, bottoms, cells):
        weights = [math.prod(shape) for shape, _ in self.parameters(bottoms)[:1]]
        return len(bottoms) * cells * sum(weights)

    def forward(self, bottoms, params, **more):
        """more: what else `run` of the type takes."""
        weight, bias = params[0], params[1] if len(params) > 1 else None
        channel, kernel, *axes = self.geometry(bottoms[0].shape)
        if not kernel:                          # no spatial axis: one of size 1
            weight, axes = weight.unsqueeze(-1), [(1,), (0,), (1,)]
        functions = self.blas_functions if self.state.options.blas else self.functions
        run, tops = functions[max(0, len(kernel) - 1)], []
        for x in bottoms:
            flat = x if channel == 1 else x.reshape(-1, *x.shape[channel:])
            y = self.run(run, one_cell(flat if kernel else flat.unsqueeze(-1)), weight, bias, *axes,
                         **more)
            if 0 in x.shape[channel + 1:]:
                for axis, size in enumerate(self.extents(x.shape)[1], 2):
                    y = y.narrow(axis, 0, size)
            if channel != 1 or not kernel:
                y = y.reshape(*x.shape[:channel], *y.shape[1:2 + len(kernel)])
            tops.append(y)
        return tops

    # ---- export --------------------------------------------------------------------------------

    def exported_geometry(self, bottom):
        """Kernel, stride, pad and dilation for a bottom shape that torch's modules and ONNX's
        operators take: (N, C, 1 to 3 spatial axes)."""
        channel, *geometry = self.geometry(bottom)
        if channel != 1 or not geometry[0]:
            raise self.error(f'a bottom of {dims(bottom)} with axis {channel} cannot be exported',
                             'Reshape it to (N, C, …) with 1 to 3 spatial axes, and use axis: 1.')
        return geometry

    def torch_code(self, code):
        kernel, stride, pad, dilation = self.exported_geometry(code.shapes[0])
        p = self.param
        call = arguments(code.shapes[0][1], p.num_output, brief(kernel), stride=(brief(stride), 1),
                         padding=(brief(pad), 0), dilation=(brief(dilation), 1),
                         groups=(p.group, 1), bias=(p.bias_term, True))
        names = ('weight', 'bias') if p.bias_term else ('weight',)
        module = code.module(f'nn.{self.exported[0]}{len(kernel)}d({call})', *names)
        return ', '.join(f'{module}({x})' for x in code.bottoms)

    def onnx_nodes(self, nodes):
        kernel, stride, pad, dilation = self.exported_geometry(nodes.shapes[0])
        return [nodes.op(self.exported[1], x, *nodes.params, kernel_shape=kernel, strides=stride,
                         pads=[*pad, *pad], dilations=dilation, group=self.param.group)
                for x in nodes.bottoms]


CONV = F.conv1d, F.conv2d, F.conv3d
CONV_TRANSPOSE = F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d
