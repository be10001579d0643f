"""pycaffe's Detector: a net that classifies windows of images (python/caffe/detector.py)."""

import os

import numpy as np

from ..errors import FcnError
from ..sizes import dims
from . import io
from .classifier import with_transformer
from .net import Net
from .proto.caffe_pb2 import TEST


class Detector(Net):
    """A net in phase TEST that takes windows of images, warped to its input's size.

    mean, input_scale, raw_scale, channel_swap: as io.Transformer takes them. context_pad: how many
    pixels at each side of the net's square input show what lies around the window (R-CNN); what
    lies outside the image is the mean.
    """

    def __init__(self, model_file, pretrained_file, mean=None, input_scale=None, raw_scale=None,
                 channel_swap=None, context_pad=None):
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = with_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows):
        """Classify windows of images, [(file, [(ymin, xmin, ymax, xmax), ...]), ...].

        Returns one {'window', 'prediction', 'filename'} for each window, in order; a prediction is
        the row of the net's first output.
        """
        places, rows, name = [], [], self.inputs[0]
        for file, windows in images_windows:
            image = io.load_image(file)
            for window in windows:
                rows.append(self.transformer.preprocess(name, self.crop(image, window)))
                places.append((window, file))
        if not places:
            raise FcnError('there are no windows', do='Give at least one image with one window.')
        out = self.forward_all(**{name: np.array(rows)})[self.outputs[0]]
        return [{'window': window, 'prediction': row, 'filename': file}
                for (window, file), row in zip(places, out, strict=True)]

    def detect_selective_search(self, image_fnames):
        """detect_windows for the windows that selective search proposes; it needs MATLAB and the
        package selective_search_ijcv_with_python, as in Caffe."""
        try:
            import selective_search_ijcv_with_python as selective_search
        except ImportError:
            raise FcnError('there is no Python module selective_search_ijcv_with_python',
                           do='Install it from github.com/sergeyk, or make the windows otherwise '
                              'and use detect_windows.') from None
        files = [os.path.abspath(file) for file in image_fnames]
        return self.detect_windows(zip(files, selective_search.get_windows(
            files, cmd='selective_search_rcnn'), strict=True))

    def crop(self, im, window):
        """The window (ymin, xmin, ymax, xmax) of an (H, W, channels) image, as it is; with
        context_pad its box and what surrounds it, at the size of the net's input."""
        window = np.asarray(window)
        if not self.context_pad:
            top, left, bottom, right = window.astype(int)
            return im[top:bottom, left:right]
        side = int(self.crop_dims[0])
        top, left, bottom, right = widened(window, side / (side - 2. * self.context_pad))
        per_y, per_x = side / (bottom - top + 1), side / (right - left + 1)     # input a pixel
        y, x = round(max(0, -top) * per_y), round(max(0, -left) * per_x)
        rows = np.clip([top, bottom], 0, im.shape[0]).astype(int)
        columns = np.clip([left, right], 0, im.shape[1]).astype(int)
        height = min(round((rows[1] - rows[0] + 1) * per_y), side - y)
        width = min(round((columns[1] - columns[0] + 1) * per_x), side - x)
        piece = im[slice(*rows), slice(*columns)]
        if 0 in piece.shape or height <= 0 or width <= 0:
            raise FcnError(f'the window {tuple(window.tolist())} is not in the image '
                           f'({dims(im.shape[:2])})', do='Give (ymin, xmin, ymax, xmax).')
        made = np.ones(self.crop_dims, np.float32) * self.crop_mean
        made[y:y + height, x:x + width] = io.resize_image(piece, (height, width))
        return made

    def configure_crop(self, context_pad):
        """Set context_pad, the (H, W, channels) of a crop and, for padding, the mean in the values
        of an image."""
        name = self.inputs[0]
        channels, height, width = self.blobs[name].shape[1:]
        self.crop_dims, self.context_pad = np.array((height, width, channels)), context_pad
        if not context_pad:
            return
        if height != width or 2 * context_pad >= height:
            raise FcnError(f'context_pad is {context_pad} for an input of {height}x{width}',
                           do='Use a net with a square input of more than twice the context.')
        self.crop_mean = np.zeros(self.crop_dims, np.float32)
        if name in self.transformer.mean:
            mean = self.transformer.mean[name].transpose(1, 2, 0)
            order = self.transformer.channel_swap.get(name, range(channels))
            mean = mean[:, :, np.argsort(order)] / self.transformer.raw_scale.get(name, 1)
            self.crop_mean = self.crop_mean + mean.astype(np.float32)


def widened(window, factor):
    """A window's box, `factor` times as large about its centre, rounded."""
    half = (window[2:] - window[:2] + 1) / 2
    centre = window[:2] + half
    return np.round([*(centre - factor * half), *(centre + factor * half)])
