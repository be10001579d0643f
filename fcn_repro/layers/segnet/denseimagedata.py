"""DenseImageData: batches of images with label maps that a text file lists (SegNet's
dense_image_data_layer)."""

from functools import partial

import numpy as np

from ...data.listed import PairList, load_image
from ...data.opencv import resize_linear, resize_nearest
from ...data.prefetch import Prefetch
from ...errors import located
from ...sizes import check_room, dims
from ..common.source import BatchSource
from ..common.transform import Transform


class DenseImageData(BatchSource):
    """No bottom; tops data (batch_size, C, H, W), BGR or with `is_color: false` grey, and label
    (batch_size, 1, H, W), a file read as grey: the next lines of `source` in each forward pass,
    over and over.

    The image is resized bilinearly to new_height and new_width, its map to the nearest; then both
    are mirrored, half of them, and cut to crop_height and crop_width at random, in TEST too; mean
    and scale of transform_param change the image alone. ENet's label_divide_factor d makes maps of
    new_height / d rows and new_width / d columns.

    Random choices are functions of the net's seed, the layer's name and the number of images
    before.
    """

    type = 'DenseImageData'
    tops = 2
    fields = 'dense_image_data_param'
    further_messages = ('transform_param',)
    dialect_fields = tuple(f'dense_image_data_param.{name}' for name in (
        'source', 'batch_size', 'rand_skip', 'shuffle', 'new_height', 'new_width', 'is_color',
        'mean_file', 'root_folder', 'mirror', 'crop_width', 'crop_height', 'label_divide_factor'))
    unsupported = ('mean_file',)
    instead = 'The fork ignores it here; move it to transform_param.'

    def setup(self):
        p, t = self.param, self.node.param.transform_param
        if p.batch_size < 1:
            raise self.error('dense_image_data_param.batch_size is 0', 'Set it.')
        for name in 'new', 'crop':
            sides = getattr(p, f'{name}_height'), getattr(p, f'{name}_width')
            if (sides[0] > 0) != (sides[1] > 0):
                raise self.error(f'{name}_height {sides[0]} and {name}_width {sides[1]}',
                                 'Give both or none.')
        for name in 'crop_size', 'mirror', 'force_color', 'force_gray':
            if getattr(t, name):
                raise self.error(f'transform_param.{name} is not supported: it would change the '
                                 'image and not its labels', 'Use the fields of '
                                 'dense_image_data_param (crop_height, crop_width, mirror, '
                                 'is_color).')
        with located(None, self.node):
            check_room((4 + 1) * (3 if p.is_color else 1) * p.new_height * p.new_width,
                       f'an image of new_height {p.new_height} and new_width {p.new_width} takes')
        self.size = (p.new_height, p.new_width) if p.new_height else None
        self.crop = (p.crop_height, p.crop_width) if p.crop_height else None
        self.divide = p.label_divide_factor if 'label_divide_factor' in \
            p.DESCRIPTOR.fields_by_name else 1
        if self.divide < 1:
            raise self.error('label_divide_factor is 0', 'Give 1 or more.')
        if self.divide > 1 and (self.crop or not self.size):
            raise self.error(f'label_divide_factor {self.divide} is for images that are resized '
                             'and not cut', 'Give new_height and new_width, and neither '
                             'crop_height nor crop_width.')
        self.transform = Transform(self)

    @classmethod
    def assumed_tops(cls, node, size):
        p = node.param.dense_image_data_param
        size = (p.crop_height, p.crop_width) if p.crop_height else \
            (p.new_height, p.new_width) if p.new_height else size
        divide = getattr(p, 'label_divide_factor', 1) or 1
        return size and [(p.batch_size, 3 if p.is_color else 1, *size),
                         (p.batch_size, 1, *(side // divide for side in size))]

    def open(self, seed):
        """(lines in the order of a seed, reader of their batches ahead)."""
        lines = PairList(self.state.search.find(self.param.source, 'list',
                                                'dense_image_data_param.source'),
                         f'{seed}/{self.node.unique_name}', self.param.shuffle,
                         self.param.rand_skip, True)
        return lines, Prefetch(partial(self.batch, lines))

    def epoch(self):
        """As the fork's script counts: lines / batch_size, plus the rest of this division."""
        lines, _ = self.located(self.source, self.state.seed)
        whole, rest = divmod(len(lines), self.param.batch_size)
        return whole + rest

    def read(self, name, color):
        """The image file of a line."""
        return load_image(self.state.search.find(
            self.param.root_folder + name, 'image', f'root_folder or {self.param.source}'), color)

    def pair(self, lines, k):
        """(image (C, H, W), label map (1, H, W)) of line k, both uint8, resized."""
        name, label = lines[k]
        image, labels = self.read(name, self.param.is_color), self.read(label, False)
        if not self.size:
            if image.shape[1:] != labels.shape[1:]:
                raise self.error(f'{label} is {dims(labels.shape[1:])}, its image {name} '
                                 f'{dims(image.shape[1:])}', 'They must be of one size, or be '
                                 'resized by new_height and new_width.')
            return image, labels
        small = tuple(side // self.divide for side in self.size)
        return resize_linear(image, self.size), resize_nearest(labels, small)

    def shape(self, bottoms):
        p, size = self.param, self.crop or self.size
        if not size:
            lines, _ = self.located(self.source, self.state.seed)
            image, _ = self.located(self.pair, lines, self.state.position * p.batch_size)
            size = image.shape[1:]
        if self.size and min(self.size) < self.divide:
            raise self.error(f'label_divide_factor {self.divide} leaves nothing of '
                             f'{dims(self.size)}', 'Use larger images.')
        channels = 3 if p.is_color else 1
        means = len(self.node.param.transform_param.mean_value)
        if means not in (0, 1, channels):
            raise self.error(f'{means} mean_value for {channels} channels',
                             'Give one, or one for each channel.')
        small = (side // self.divide for side in size)
        return [(p.batch_size, channels, *size), (p.batch_size, 1, *small)]

    def batch(self, lines, position):
        """The tops of a forward pass."""
        count, images, maps = self.param.batch_size, [], []
        for k in range(position * count, (position + 1) * count):
            image, labels = self.transformed(lines, k)
            if images and image.shape != images[0].shape:
                raise self.error(f'{lines[k][0]} gives {dims(image.shape)}, the first of its '
                                 f'batch {dims(images[0].shape)}', 'Set new_height and new_width, '
                                 'crop_height and crop_width, or batch_size: 1.')
            images.append(image)
            maps.append(labels)
        return self.sent((np.stack(images), np.stack(maps)))

    def transformed(self, lines, k):
        """Image k and its label map, float32: mirrored, cut, the image minus the mean, times
        scale."""
        (image, labels), draw = self.pair(lines, k), self.transform.drawn
        if self.param.mirror and draw(k, 'mirror', 2):
            image, labels = image[:, :, ::-1], labels[:, :, ::-1]
        if self.crop:
            free = [side - to + 1 for side, to in zip(image.shape[1:], self.crop, strict=True)]
            if min(free) < 1:
                raise self.error(f'{lines[k][0]} is {dims(image.shape[1:])}, smaller than the '
                                 f'crop {dims(self.crop)}', 'Lower crop_height and crop_width, or '
                                 'set new_height and new_width.')
            top, left = draw(k, 'top', free[0]), draw(k, 'left', free[1])
            cut = np.s_[:, top:top + self.crop[0], left:left + self.crop[1]]
            image, labels = image[cut], labels[cut]
        return self.transform(image, k), labels.astype(np.float32)
