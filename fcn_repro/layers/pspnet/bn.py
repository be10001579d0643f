"""BN of PSPNet's fork: batch normalisation with scale, shift and moving averages in one layer
(bn_layer)."""

import torch

from ...sizes import dims
from ..common.base import Layer, constant
from ..common.exporting import number
from ..common.normalise import Normalise, StoredBN, batch_statistics


class BN(Layer):
    """(N, C, H, W) -> slope (x - mean) / sqrt(variance + eps) + bias, per channel.

    Parameters, each (1, C, 1, 1): slope, bias, moving mean, moving variance. TRAIN takes the
    batch's statistics (variance over m, not m - 1), and each such pass makes a moving one momentum
    times itself + (1 - momentum) times the batch's; TEST and frozen take the moving ones. The
    lr_mult and decay_mult of those two are always 0, of all four if frozen.

    Backward is the derivative for batch statistics also in TEST, with the normalised values of the
    moving ones, as in the fork; frozen, it is the plain derivative, and slope and bias get none.
    """

    type = 'BN'
    keeps_coordinates = in_place = True
    fields = 'bn_param'
    dialect_fields = tuple(f'bn_param.{name}' for name in (
        'slope_filler', 'bias_filler', 'momentum', 'eps', 'frozen', 'engine'))
    ignored = ('engine',)

    @property
    def local(self):
        return self.stored

    def setup(self):
        p = self.param
        self.stored = p.frozen or not self.train
        specs = self.node.param.param
        while len(specs) < 4:               # as the fork does, in the layer's own message
            specs.add()
        for spec in specs[0 if p.frozen else 2:4]:
            spec.lr_mult = spec.decay_mult = 0

    def parameters(self, bottoms):
        shape = (1, self.shape(bottoms)[0][1], 1, 1)
        return [(shape, self.param.slope_filler), (shape, self.param.bias_filler),
                (shape, constant()), (shape, constant(1 if self.param.frozen else 0))]

    def shape(self, bottoms):
        if len(bottoms[0]) != 4:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}', 'BN takes (N, C, H, W).')
        return list(bottoms)

    def forward(self, bottoms, params):
        x, (slope, bias, *stored) = bottoms[0], params
        if self.stored:
            mean, variance = (param.detach() for param in stored)
        else:
            mean, variance = batch_statistics(x, (0, 2, 3))
            self.add(params, mean, variance)
        if self.param.frozen:
            scale = slope.detach() * (variance + self.param.eps).rsqrt()
            return [(x - mean) * scale + bias.detach()]
        return [Normalise.apply(x, slope, bias, mean, variance, self.param.eps)]

    @classmethod
    def folds(cls, param):
        return True

    def affine(self, params):
        if not self.stored:
            return None
        slope, bias, mean, variance = (param.reshape(-1) for param in params)
        scale = slope * (variance + self.param.eps).rsqrt()
        return scale, bias - mean * scale

    def add(self, params, mean, variance):
        """Add a batch's statistics to the moving ones."""
        if self.state.postponed is None:
            self.write(params, (mean, variance))
        else:
            self.state.postponed.append((self.state.position, self.node.key, (mean, variance)))

    @torch.no_grad()
    def write(self, params, values):
        momentum = self.param.momentum
        for param, value in zip(params[2:], values, strict=True):
            param.mul_(momentum).add_(value, alpha=1 - momentum)

    # ---- export --------------------------------------------------------------------------------

    def torch_code(self, code):
        if not self.stored:
            raise self.error('it normalises by the statistics of its batch, which cannot be '
                             'exported', 'Export the net in phase TEST.')
        frozen = ', frozen=True' if self.param.frozen else ''
        module = code.module(
            f'{code.helper(StoredBN)}({code.blobs[0].size}, eps={number(self.param.eps)}{frozen})',
            'slope', 'bias', 'mean', 'variance')
        return f'{module}({code.bottoms[0]})'

    def onnx_nodes(self, nodes):
        if not self.stored:
            raise self.error('it normalises by the statistics of its batch, which cannot be '
                             'exported as ONNX', 'Export the net in phase TEST.')
        return [nodes.op('BatchNormalization', nodes.bottoms[0],
                         *(nodes.floats(blob.reshape(-1)) for blob in nodes.blobs),
                         epsilon=self.param.eps)]
