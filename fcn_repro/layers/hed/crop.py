"""Crop of Caffe's branch `future`: the first bottom cut to the second's height and width, where
their coordinates coincide (HED's and CRF-RNN's crop_layer)."""

from ..crop import Crop


class AlignedCrop(Crop):
    """As BVLC's Crop with axis 2, its offset found by composing the coordinate maps of the layers
    from the last common blob to the two bottoms, along first bottoms. net/crops.py writes it into
    crop_param, which a text of these forks cannot set."""

    type = 'Crop'
    aligned = True
