"""AbsVal: |x| (Caffe's absval_layer)."""

from .common.neuron import NeuronLayer


class AbsVal(NeuronLayer):
    """Any shape, not in place. At 0 the gradient is 0."""

    type = 'AbsVal'
    in_place = False

    def value(self, x):
        return x.abs()
