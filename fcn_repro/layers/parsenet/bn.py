"""BN of ParseNet's fork (bn_layer)."""

from ...sizes import dims
from ..common.base import Layer
from ..common.normalise import Normalise, batch_statistics


class BN(Layer):
    """(N, C, H, W) -> scale (x - mean) / sqrt(variance + var_eps) + shift, by the mean and the
    biased variance of the batch, in TRAIN and TEST alike: of each channel, or with
    across_spatial: false of each value over the images.

    Parameters, each (1, C, 1, 1) or (1, C, H, W): scale, shift. moving_average is refused in TEST:
    the fork keeps its averages outside the weights, so that a net made for TEST has none.
    """

    type = 'BN'
    keeps_coordinates = in_place = True
    fields = 'bn_param'
    dialect_fields = tuple(f'bn_param.{name}' for name in (
        'scale_filler', 'shift_filler', 'var_eps', 'moving_average', 'decay', 'across_spatial'))

    def setup(self):
        if self.param.moving_average and not self.train:
            raise self.error('moving_average in TEST: the fork writes its averages into no file, '
                             'so that there are none to test with', 'Remove moving_average; the '
                             'statistics are then those of the batch.')
        if not self.param.var_eps > 0:
            raise self.error(f'var_eps {self.param.var_eps:g}', 'Give a positive number.')

    def parameters(self, bottoms):
        _, channels, *size = self.shape(bottoms)[0]
        shape = (1, channels, *([1, 1] if self.param.across_spatial else size))
        return [(shape, self.param.scale_filler), (shape, self.param.shift_filler)]

    def shape(self, bottoms):
        if len(bottoms[0]) != 4:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}', 'BN takes (N, C, H, W).')
        return list(bottoms)

    def forward(self, bottoms, params):
        x, (scale, shift) = bottoms[0], params
        mean, variance = batch_statistics(x, (0, 2, 3) if self.param.across_spatial else (0,))
        return [Normalise.apply(x, scale, shift, mean, variance, self.param.var_eps)]

    def torch_code(self, code):
        raise self.by_batch()

    def onnx_nodes(self, nodes):
        raise self.by_batch()

    def by_batch(self):
        return self.error('it normalises by the statistics of its batch, which cannot be exported',
                          'Write it as a Scale with a bias, with what the statistics make of its '
                          'scale and shift.')
