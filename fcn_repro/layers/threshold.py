"""Threshold: 1 above a threshold, else 0 (Caffe's threshold_layer)."""

from .common.neuron import NeuronLayer


class Threshold(NeuronLayer):
    """Any shape; no gradient."""

    type = 'Threshold'
    decision = 0.5
    fields = 'threshold_param'
    position_invariant = False      # not continuous: a rounding upstream can flip it

    def value(self, x):
        return (x.detach() > self.param.threshold).to(x.dtype)
