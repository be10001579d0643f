"""Base class of elementwise layers (Caffe's neuron_layer)."""

from .base import Layer
from .slope import with_slope


class NeuronLayer(Layer):
    """One bottom of any shape, one top of the same shape, possibly in place.

    If Caffe's backward pass reads the bottom, an in-place layer reads its own top there instead.
    Such a type defines `slope(bottom, top)`, Caffe's formula for the factor of the diff.
    """

    in_place = position_invariant = keeps_coordinates = local = True
    slope = None

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        x, = bottoms
        y = self.value(x)
        return [with_slope(y, x, self.slope(y, y)) if self.slope and self.overwrites else y]

    def value(self, x):
        """The top of a bottom."""
        raise NotImplementedError(self.type)
