"""transform_param of the image sources: crop, mirror, mean, scale (Caffe's data_transformer)."""

import numpy as np
import torch

from ...errors import FcnError
from ...formats.wire import read_binaryproto
from ...sizes import dims

MOVED = 'scale', 'mean_file', 'crop_size', 'mirror'     # from the sources' own messages, after V1


class Transform:
    """(C, H, W) uint8 -> float32: cut to crop_size, minus the mean, times scale, possibly mirrored.

    Caffe draws the place of the crop (TRAIN; TEST takes the middle) and whether to mirror from its
    own generator; here both are functions of the net's seed, the layer's name and k, the number of
    images before this one. The mean of mean_file is taken at the image's own pixels.
    """

    def __init__(self, layer):
        self.layer, self.param = layer, layer.node.param.transform_param
        if self.param.mean_file and self.param.mean_value:
            raise layer.error('both mean_file and mean_value', 'Keep one of them.')
        self.mean = np.array(self.param.mean_value, np.float32).reshape(-1, 1, 1)
        if self.param.mean_file:
            try:
                mean = read_binaryproto(layer.state.search.find(self.param.mean_file, 'mean',
                                                                'mean_file'))
            except FcnError as error:
                raise layer.placed(error) from None
            mean = mean[0] if mean.shape[:-3] == (1,) else mean     # of the mapped file
            self.mean = np.array(mean, np.float32)                  # which may change meanwhile

    def shape(self, image):
        """The shape (C, H, W) of a transformed image of this shape; FcnError if it is smaller than
        the crop, or the mean has another shape."""
        channels, *sides = image
        crop = self.param.crop_size
        if crop > min(sides):
            raise self.layer.error(f'an image of {dims(sides)} and crop_size {crop}',
                                   'Lower crop_size, or use larger images.')
        if self.param.mean_file and self.mean.shape != tuple(image):
            raise self.layer.error(f'an image of {dims(image)} and a mean of '
                                   f'{dims(self.mean.shape)} (mean_file)', 'Compute the mean of '
                                   'these images (compute_image_mean), or give one mean_value for '
                                   'each channel instead.')
        if len(self.param.mean_value) not in (0, 1, channels):
            raise self.layer.error(f'{len(self.param.mean_value)} mean_value for {channels} '
                                   'channels', 'Give one, or one for each channel.')
        return (channels, crop, crop) if crop else tuple(image)

    @staticmethod
    def assumed(transform_param, channels, size):
        """The shape (C, H, W) of transformed images of size (H, W); None where size is None and
        they are not cropped."""
        crop = transform_param.crop_size
        return (channels, crop, crop) if crop else size and (channels, *size)

    def __call__(self, image, k):
        _, height, width = self.shape(image.shape)
        top, left = (n - m for n, m in zip(image.shape[1:], (height, width), strict=True))
        if self.layer.train:
            top, left = self.drawn(k, 'top', top + 1), self.drawn(k, 'left', left + 1)
        else:
            top, left = top // 2, left // 2
        cut = np.s_[:, top:top + height, left:left + width]
        out = image[cut].astype(np.float32)
        if self.mean.size:
            out -= self.mean[cut] if self.param.mean_file else self.mean
        out *= np.float32(self.param.scale)
        mirrored = self.param.mirror and self.drawn(k, 'mirror', 2)
        return out[:, :, ::-1] if mirrored else out

    def drawn(self, k, what, count):
        """A random number in 0 … count - 1 for image k, a function of the seed and `what`."""
        return int(torch.randint(count, (), generator=self.layer.draws(k, what)))
