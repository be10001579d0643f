"""pycaffe's Classifier: a net that takes images of any size (python/caffe/classifier.py)."""

import numpy as np

from . import io
from .net import Net
from .proto.caffe_pb2 import TEST


def with_transformer(net, mean, input_scale, raw_scale, channel_swap):
    """A Transformer from (H, W, channels) images to a net's first input, with what is not None
    set."""
    name = net.inputs[0]
    made = io.Transformer({name: net.blobs[name].shape})
    made.set_transpose(name, (2, 0, 1))
    for value, given in ((mean, made.set_mean), (input_scale, made.set_input_scale),
                         (raw_scale, made.set_raw_scale), (channel_swap, made.set_channel_swap)):
        if value is not None:
            given(name, value)
    return made


class Classifier(Net):
    """A net in phase TEST with a Transformer for its first input.

    image_dims: the (height, width) that images are resized to before they are cropped to the
    input's size; the input's size by default. mean, input_scale, raw_scale, channel_swap: as
    io.Transformer takes them.
    """

    def __init__(self, model_file, pretrained_file, image_dims=None, mean=None, input_scale=None,
                 raw_scale=None, channel_swap=None):
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = with_transformer(self, mean, input_scale, raw_scale, channel_swap)
        name = self.inputs[0]
        self.crop_dims = np.array(self.blobs[name].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else image_dims

    def predict(self, inputs, oversample=True):
        """(N, classes) of N images, each (H, W, channels) of any size: the first output, averaged
        over the ten crops of io.oversample, or that of the middle alone."""
        images = [io.resize_image(image, self.image_dims) for image in inputs]
        if oversample:
            crops = io.oversample(images, self.crop_dims)
        else:
            io.check_crop(self.image_dims, self.crop_dims)
            height, width = self.crop_dims
            y, x = (np.array(self.image_dims) / 2 - self.crop_dims / 2).astype(int)
            crops = [image[y:y + height, x:x + width] for image in images]
        name = self.inputs[0]
        rows = np.array([self.transformer.preprocess(name, crop) for crop in crops])
        out = self.forward_all(**{name: rows})[self.outputs[0]]
        return out.reshape(len(images), 10, -1).mean(1) if oversample else out
