"""BN of SegNet's and ENet's forks: a scale and a shift for each channel, behind a normalisation by
the batch's own statistics or, once these have been folded into them, alone (bn_layer)."""

import torch
import torch.nn.functional as F

from ...sizes import dims
from ..common.base import Layer
from ..common.normalise import Normalise, ScaleShift, batch_statistics

EPS = 1e-9


class BN(Layer):
    """(N, C, H, W) -> per channel scale (x - mean) / sqrt(variance + 1e-9) + shift with bn_mode
    LEARN, by the mean and the biased variance of the batch, in TRAIN and TEST alike; scale x +
    shift with INFERENCE. Optional further tops of LEARN: mean and variance, each (1, C, 1, 1),
    which no gradient comes from.

    Parameters, each (1, C, 1, 1): scale, shift. There are no running statistics: `fcn-repro
    bn-statistics` folds those of a data set into scale and shift (net/bn_statistics.py).

    An INFERENCE that overwrites its bottom has the gradient of its scale from the top, as in the
    fork.
    """

    type = 'BN'
    keeps_coordinates = in_place = True
    tops = (1, 3)
    fields = 'bn_param'
    dialect_fields = tuple(f'bn_param.{name}' for name in (
        'scale_filler', 'shift_filler', 'bn_mode'))

    def setup(self):
        self.folded = is_inference(self.param)
        # compute_bn_statistics.py gives its net, whose scale and shift hold them, three tops
        self.batch_statistics = not self.folded and len(self.node.tops) == 1
        if self.folded and len(self.node.tops) > 1:
            raise self.error(f'{len(self.node.tops)} tops with bn_mode: INFERENCE, which takes no '
                             'statistics', 'Remove the further tops, or use bn_mode: LEARN.')

    @property
    def local(self):
        return self.folded

    def parameters(self, bottoms):
        shape = (1, self.shape(bottoms)[0][1], 1, 1)
        return [(shape, self.param.scale_filler), (shape, self.param.shift_filler)]

    def shape(self, bottoms):
        if len(bottoms[0]) != 4:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}', 'BN takes (N, C, H, W).')
        return [bottoms[0], *[(1, bottoms[0][1], 1, 1)] * (len(self.node.tops) - 1)]

    def forward(self, bottoms, params):
        x, (scale, shift) = bottoms[0], params
        if self.folded:
            return [ScaleTop.apply(x, scale, shift) if self.overwrites else x * scale + shift]
        if len(self.node.tops) == 1 and x.numel() > x.shape[1]:
            return [F.batch_norm(x, None, None, scale.reshape(-1), shift.reshape(-1), True, 0,
                                 EPS)]
        mean, variance = batch_statistics(x, (0, 2, 3))
        y = Normalise.apply(x, scale, shift, mean, variance, EPS)
        return [y, mean, variance][:len(self.node.tops)]

    @classmethod
    def learns(cls, param):
        return 2

    @classmethod
    def folds(cls, param):
        return len(param.top) == 1 and is_inference(param.bn_param)

    def affine(self, params):
        if not self.folded:
            return None
        scale, shift = (param.reshape(-1) for param in params)
        return scale, shift

    # ---- export --------------------------------------------------------------------------------

    def torch_code(self, code):
        scale, shift = (blob.reshape(-1, 1, 1) for blob in code.blobs)
        self.check_exported()
        module = code.module(f'{code.helper(ScaleShift)}({len(scale)})', scale=scale, shift=shift)
        return f'{module}({code.bottoms[0]})'

    def onnx_nodes(self, nodes):
        self.check_exported()
        scale, shift = (nodes.floats(blob.reshape(-1, 1, 1)) for blob in nodes.blobs)
        return [nodes.op('Add', nodes.op('Mul', nodes.bottoms[0], scale), shift)]

    def check_exported(self):
        """FcnError where the layer takes the statistics of its batch."""
        if not self.folded:
            raise self.error('it normalises by the statistics of its batch, which cannot be '
                             'exported', 'Fold the statistics of a data set into its weights '
                             '(net.bn_statistics), and export the net that this writes.')


def is_inference(param):
    """Whether a bn_param has bn_mode: INFERENCE."""
    return param.bn_mode == param.INFERENCE


class ScaleTop(torch.autograd.Function):
    """x scale + shift in place of x, whose gradient of the scale reads the result instead of x, as
    Caffe's buffers make it."""

    @staticmethod
    def forward(ctx, x, scale, shift):
        y = x * scale + shift
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, grad):
        y, scale = ctx.saved_tensors
        sums = [each.sum((0, 2, 3), keepdim=True) for each in (grad * y, grad)]
        return grad * scale, *sums
