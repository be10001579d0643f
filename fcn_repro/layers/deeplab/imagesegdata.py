"""ImageSegData: batches of images with label maps that a text file lists (DeepLab's
image_seg_data_layer)."""

from functools import partial

import numpy as np

from ...data.listed import PairList, load_image
from ...data.opencv import resize_linear, resize_nearest
from ...data.prefetch import Prefetch
from ...errors import located
from ...sizes import check_room, dims
from ..common.source import BatchSource
from ..common.transform import MOVED, Transform

NONE, IMAGE, PIXEL = range(3)       # ImageDataParameter.LabelType


class ImageSegData(BatchSource):
    """No bottom; tops data (batch_size, C, H, W), BGR or with `is_color: false` grey, label
    (batch_size, 1, H, W), and dim (batch_size, 1, 1, 2), the height and width of each image, at
    most H and W: the next lines of `source` in each forward pass, over and over. A text may leave
    out the last tops.

    label_type PIXEL: a line names an image and its label map, a file read as grey; IMAGE: an image
    and one label for all of it; NONE: an image alone, labels are ignore_label. Image and map are
    resized bilinearly to new_height and new_width; then the image bilinearly and the map to the
    nearest by one of scale_factors; then what is smaller than the crop gets a margin at the right
    and at the bottom, of the mean and of ignore_label; then both are cut to crop_size, or to
    crop_height and crop_width, at random in TRAIN and in the middle in TEST, and possibly mirrored.

    Random choices are functions of the net's seed, the layer's name and the number of images
    before.
    """

    type = 'ImageSegData'
    tops = auto_tops = 3
    fields = 'image_data_param'
    further_messages = ('transform_param',)
    dialect_fields = ('image_data_param.label_type', 'image_data_param.ignore_label',
                      'transform_param.scale_factors', 'transform_param.crop_width',
                      'transform_param.crop_height')
    unsupported = MOVED
    instead = 'The fork ignores it here; move it to transform_param.'

    def setup(self):
        p, t = self.param, self.node.param.transform_param
        if p.batch_size < 1:
            raise self.error('image_data_param.batch_size is 0', 'Set it.')
        if (p.new_height > 0) != (p.new_width > 0):
            raise self.error(f'new_height {p.new_height} and new_width {p.new_width}',
                             'Give both or none.')
        with located(None, self.node):
            check_room((4 + 1) * (3 if p.is_color else 1) * p.new_height * p.new_width,
                       f'an image of new_height {p.new_height} and new_width {p.new_width} takes')
        self.size = (p.new_height, p.new_width) if p.new_height else None
        for name in 'force_color', 'force_gray':
            if getattr(t, name):
                raise self.error(f'transform_param.{name} is not supported',
                                 'Set is_color: it is for encoded images in databases.')
        if t.HasField('mean_file'):
            raise self.error('transform_param.mean_file is not supported',
                             'Give mean_value, as for the fork.')
        sides = t.HasField('crop_height'), t.HasField('crop_width')
        if sides[0] != sides[1] or (sides[0] and t.HasField('crop_size')):
            raise self.error('crop_size, crop_height and crop_width do not fit together',
                             'Give crop_size alone, or crop_height and crop_width.')
        self.crop = (t.crop_height, t.crop_width) if sides[0] else (t.crop_size,) * 2
        self.scales = np.array(t.scale_factors, np.float32)
        if not (np.isfinite(self.scales) & (self.scales > 0)).all():
            raise self.error(f'scale_factors {[f"{s:g}" for s in self.scales]}',
                             'Give positive numbers.')
        if not 0 <= p.ignore_label <= 255:
            raise self.error(f'ignore_label {p.ignore_label} is no 8-bit value',
                             'Use 0 to 255: label maps are 8-bit images.')
        self.transform = Transform(self)

    @classmethod
    def assumed_tops(cls, node, size):
        p, t = node.param.image_data_param, node.param.transform_param
        sides = (t.crop_height, t.crop_width) if t.crop_height else (t.crop_size,) * 2
        size = sides if any(sides) else (p.new_height, p.new_width) if p.new_height else size
        return size and [(p.batch_size, 3 if p.is_color else 1, *size),
                         (p.batch_size, 1, *size), (p.batch_size, 1, 1, 2)]

    def open(self, seed):
        """(lines in the order of a seed, reader of their batches ahead)."""
        lines = PairList(self.state.search.find(self.param.source, 'list',
                                                'image_data_param.source'),
                         f'{seed}/{self.node.unique_name}', self.param.shuffle,
                         self.param.rand_skip, self.param.label_type != NONE)
        return lines, Prefetch(partial(self.batch, lines))

    def read(self, name, color):
        """The image file of a line, resized to new_height and new_width."""
        path = self.state.search.find(self.param.root_folder + name, 'image',
                                      f'root_folder or {self.param.source}')
        image = load_image(path, color)
        return resize_linear(image, self.size) if self.size else image

    def pair(self, lines, k):
        """(image (C, H, W), label map (1, H, W)) of line k, both uint8, before the transform."""
        p, (name, label) = self.param, lines[k]
        image = self.read(name, p.is_color)
        shape = (1, *image.shape[1:])
        if p.label_type == PIXEL:
            return image, self.read(label, False)
        if p.label_type == NONE:
            return image, np.full(shape, p.ignore_label, np.uint8)
        try:
            value = int(label)
        except ValueError:
            raise self.error(f"'{label}' is not a label of an image in {p.source}",
                             'Write a whole number, or set label_type: PIXEL.') from None
        return image, np.full(shape, min(max(value, 0), 255), np.uint8)

    def shape(self, bottoms):
        p, size = self.param, self.crop
        if not any(size):
            lines, _ = self.located(self.source, self.state.seed)
            image, _ = self.located(self.pair, lines, self.state.position * p.batch_size)
            size = image.shape[1:]
        channels = 3 if p.is_color else 1
        means = len(self.node.param.transform_param.mean_value)
        if means not in (0, 1, channels):
            raise self.error(f'{means} mean_value for {channels} channels',
                             'Give one, or one for each channel.')
        return [(p.batch_size, channels, *size), (p.batch_size, 1, *size), (p.batch_size, 1, 1, 2)]

    def batch(self, lines, position):
        """The tops of a forward pass."""
        count, size = self.param.batch_size, self.crop if any(self.crop) else None
        images, maps, sizes = [], [], []
        for k in range(position * count, (position + 1) * count):
            image, labels = self.pair(lines, k)
            if image.shape[1:] != labels.shape[1:]:
                raise self.error(f'{lines[k][1]} is {dims(labels.shape[1:])}, its image '
                                 f'{lines[k][0]} {dims(image.shape[1:])}',
                                 'They must be of one size.')
            size = size or image.shape[1:]
            sizes.append([min(a, b) for a, b in zip(size, image.shape[1:], strict=True)])
            image, labels = self.transformed(image, labels, k)
            if image.shape[1:] != tuple(size):
                raise self.error(f'{lines[k][0]} gives {dims(image.shape[1:])}, the first of its '
                                 f'batch {dims(size)}',
                                 'Set new_height and new_width, crop_size, or batch_size: 1.')
            images.append(image)
            maps.append(labels)
        return self.sent((np.stack(images), np.stack(maps),
                          np.float32(sizes).reshape(count, 1, 1, 2)))

    def transformed(self, image, labels, k):
        """Image k and its label map, scaled, with margins, cut, minus the mean, mirrored."""
        t, draw = self.node.param.transform_param, self.transform.drawn
        if self.scales.size:
            scale = self.scales[draw(k, 'scale', self.scales.size)]
            size = tuple(int(np.float32(side) * scale) for side in image.shape[1:])
            if min(size) < 1:
                raise self.error(f'an image of {dims(image.shape[1:])} and a scale of {scale:g}',
                                 'Use larger scale_factors or images.')
            if scale != 1:
                image, labels = resize_linear(image, size), resize_nearest(labels, size)
        image, mean = image.astype(np.float32), self.transform.mean
        if any(self.crop):
            margin = [max(0, to - side) for to, side in zip(self.crop, image.shape[1:],
                                                            strict=True)]
            image, labels = self.with_margin(image, labels, margin, mean)
            free = [side - to + 1 for to, side in zip(self.crop, image.shape[1:], strict=True)]
            top, left = ((draw(k, name, n) if self.train else (n - 1) // 2)
                         for name, n in zip(('top', 'left'), free, strict=True))
            cut = np.s_[:, top:top + self.crop[0], left:left + self.crop[1]]
            image, labels = image[cut], labels[cut]
        if mean.size:
            image = image - mean
        image = image * np.float32(t.scale)
        if t.mirror and draw(k, 'mirror', 2):
            image, labels = image[:, :, ::-1], labels[:, :, ::-1]
        return image, labels.astype(np.float32)

    def with_margin(self, image, labels, margin, mean):
        """Image and label map with rows at the bottom and columns at the right, of the mean and of
        ignore_label."""
        if not any(margin):
            return image, labels
        if not mean.size:
            raise self.error(f'an image of {dims(image.shape[1:])} is smaller than the crop '
                             f'{dims(self.crop)}, and its margin has the mean, which is not given',
                             'Give transform_param.mean_value.')
        (height, width), (h, w) = image.shape[1:], margin
        out = np.empty((len(image), height + h, width + w), np.float32)
        out[:] = mean
        out[:, :height, :width] = image
        maps = np.full((1, height + h, width + w), self.param.ignore_label, np.uint8)
        maps[:, :height, :width] = labels
        return out, maps
