"""ImageData: batches of the images and labels that a text file lists (Caffe's image_data_layer)."""

import os
from functools import partial

import numpy as np

from ..data.listed import ImageList, load_image
from ..data.prefetch import Prefetch
from ..errors import located
from ..sizes import check_room, dims
from .common.source import BatchSource
from .common.transform import MOVED, Transform


class ImageData(BatchSource):
    """No bottom; tops data (batch_size, 3, H, W), BGR (is_color: false: one grey channel), and
    label (batch_size,): the next lines of `source` in each forward pass, over and over.

    The size is that of the batch's first image, after new_height and new_width and transform_param;
    the others must have it too. Files are root_folder and the line's name, put together as they
    are. shuffle (a new order in each epoch) and rand_skip are functions of the net's seed and the
    layer's name. See data.listed.load_image for what differs from OpenCV's images.
    """

    type = 'ImageData'
    tops = 2
    fields = 'image_data_param'
    further_messages = ('transform_param',)
    unsupported = MOVED
    instead = 'Caffe ignores it here; move it to transform_param.'

    def setup(self):
        p = self.param
        if p.batch_size < 1:
            raise self.error('image_data_param.batch_size is 0', 'Set it.')
        if (p.new_height > 0) != (p.new_width > 0):
            raise self.error(f'new_height {p.new_height} and new_width {p.new_width}',
                             'Give both or none.')
        for name in 'force_color', 'force_gray':
            if getattr(self.node.param.transform_param, name):
                raise self.error(f'transform_param.{name} is not supported',
                                 'Set is_color: it is for encoded images in databases.')
        # resized in float32 with the file's own pixels beside it, then copied into the batch
        with located(None, self.node):
            check_room((4 + 1) * (3 if p.is_color else 1) * p.new_height * p.new_width,
                       f'an image of new_height {p.new_height} and new_width {p.new_width} takes')
        self.size = (p.new_height, p.new_width) if p.new_height else None
        self.transform = Transform(self)

    @classmethod
    def assumed_tops(cls, node, size):
        p = node.param.image_data_param
        size = (p.new_height, p.new_width) if p.new_height else size
        image = Transform.assumed(node.param.transform_param, 3 if p.is_color else 1, size)
        return image and [(p.batch_size, *image), (p.batch_size,)]

    def open(self, seed):
        """(lines in the order of a seed, reader of their batches ahead)."""
        lines = ImageList(self.state.search.find(self.param.source, 'list',
                                                 'image_data_param.source'),
                          f'{seed}/{self.node.unique_name}', self.param.shuffle,
                          self.param.rand_skip)
        return lines, Prefetch(partial(self.batch, lines))

    def image(self, lines, k):
        image, root = lines[k][0], self.param.root_folder
        field = f'root_folder or {self.param.source}'
        if root and os.path.isabs(image):
            field = f'{self.param.source}, whose names are absolute though root_folder is set'
        name = self.state.search.find(root + image, 'image', field)
        return load_image(name, self.param.is_color, self.size)

    def shape(self, bottoms):
        batch, (lines, _) = self.param.batch_size, self.located(self.source, self.state.seed)
        first = self.located(self.image, lines, self.state.position * batch)
        return [(batch, *self.transform.shape(first.shape)), (batch,)]

    def batch(self, lines, position):
        """The tops of a forward pass."""
        batch, images = self.param.batch_size, []
        picks = range(position * batch, (position + 1) * batch)
        for k in picks:
            image = self.transform(self.image(lines, k), k)
            if images and image.shape != images[0].shape:
                raise self.error(f'{lines[k][0]} gives {dims(image.shape)}, the first of its '
                                 f'batch {dims(images[0].shape)}',
                                 'Set new_height and new_width, crop_size, or batch_size: 1.')
            images.append(image)
        labels = np.float32([lines[k][1] for k in picks])
        return self.sent((np.stack(images), labels))
