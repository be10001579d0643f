"""Data of one's own for training: random crops, mirrored and scaled, of a folder laid out as
VOC's."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from fcn_repro.data.image import VOID
from fcn_repro.data.layer import SegDataLayer
from fcn_repro.data.reader import Sample
from fcn_repro.data.voc import VocFolder
from fcn_repro.errors import FcnError, located, short

MOST_SIDE = 8192        # pixels of a crop's side
MOST_SCALE = 16.0
# Tops beside data and label, and their names in Sample.more
MASK, TAGS = 'mask', 'tags'


@functools.lru_cache(maxsize=8)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the samples of one epoch."""
    return np.random.default_rng((seed, epoch)).permutation(n)


class OwnDataLayer(SegDataLayer):
    """Crops of one size from the images of a split, several per forward pass; tops data and label.

    params: voc_dir; crop: (height, width); scale: (least, most), the range of the factor by which
    an image is resized, drawn evenly in its logarithm; mirror: whether half of the crops are;
    recolour: the fraction of crops whose colours are rotated at random about mid-grey, for classes
    that colour does not tell; rotate: the largest angle, in degrees, by which crops are turned
    either way, for things that have no upright; mask (default False): there is a third top, mask, 1
    where the crop holds the image; the rest as in SegDataLayer. Where an image, resized and turned,
    does not fill the crop, the rest is void, holds the mean pixel, and is 0 in the mask.

    tags (default 0): the number of classes but for the background. The top label then gives way to
    tags (B, tags), 1 for each class that is anywhere in the image's mask. Crops hold whole images:
    scale is then a factor of the size that fits, at most 1. FcnError for a mask that is void
    everywhere.

    Every epoch takes each image once, in a random order. A crop is a function of (seed, k), k the
    number of the consumed sample, so that reading ahead and resuming change nothing.
    """

    module = 'own_layers'
    folder_keys, optional = ('voc_dir',), ()
    options: ClassVar = {'voc': 'voc_dir', 'classes': 'classes'}
    settings: ClassVar[tuple[str, ...]] = ('crop', 'scale', 'mirror', 'recolour', 'rotate', 'mask',
                                           'tags')
    in_order, one_size = None, False

    def __init__(self, params: Mapping[str, Any]):
        super().__init__(params)
        self.crop = checked_crop(params.get('crop'))
        self.scale = checked_scale(params.get('scale', (1, 1)))
        self.mirror = bool(params.get('mirror', False))
        self.recolour = checked_fraction(params.get('recolour', 0))
        self.rotate = checked_angle(params.get('rotate', 0))
        self.masked, self.tags = bool(params.get('mask', False)), checked_tags(params)
        self.top_names = ('data', TAGS if self.tags else 'label', *[MASK] * self.masked)
        self.tops = len(self.top_names)

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]] | None:
        shapes = super().assumed_shapes(params, checked_crop(params.get('crop')))
        if shapes is None:
            return None
        data, label = shapes
        tags = checked_tags(params)
        return [data, (data[0], tags) if tags else label, *[label] * bool(params.get('mask'))]

    def open(self, params: Mapping[str, Any]) -> VocFolder:
        tags = checked_tags(params)
        return VocFolder(params['voc_dir'], params['split'], None,
                         tags + 1 if tags else params.get('classes'))

    def sample(self, k: int) -> Sample:
        """The crop of the k-th consumed sample."""
        epoch, i = divmod(k, len(self.reader))
        order = _permutation(len(self.reader), self.order.seed, epoch)
        whole = self.reader.load(int(order[i]))
        rng = np.random.default_rng((self.order.seed, epoch, i))
        return self.cut(whole, rng)

    def samples(self, k: int) -> list[Sample]:
        """The Samples of the k-th forward pass."""
        return [self.sample(k * self.batch_size + i) for i in range(self.batch_size)]

    def cut(self, whole: Sample, rng: np.random.Generator) -> Sample:
        """A random crop of a sample, of the layer's size."""
        low, high = self.scale
        factor = math.exp(rng.uniform(math.log(low), math.log(high)))
        if self.tags:
            factor = min(1., factor) * fitting(whole.label.shape, self.crop)
        spans = [_span(rng, size, side, factor)
                 for size, side in zip(whole.label.shape, self.crop, strict=True)]
        mirror = self.mirror and rng.random() < 0.5
        (top, height, y, rows), (left, width, x, columns) = spans
        box = left, top, left + width, top + height
        grey = tuple(int(value) for value in np.rint(self.mean[::-1]))
        image = np.empty((*self.crop, 3), np.uint8)
        image[:] = grey
        label = np.full(self.crop, VOID, np.uint8)
        part = np.s_[y:y + rows, x:x + columns]
        turn = _turned(rng.uniform(-self.rotate, self.rotate), box, (x, y, columns, rows)) \
            if self.rotate else None
        if turn is not None:
            part = slice(None), slice(None)
        planes: list[tuple[np.ndarray, np.ndarray, Image.Resampling, Any]] = [
            (image, whole.image, Image.Resampling.BILINEAR, grey),
            (label, whole.label, Image.Resampling.NEAREST, VOID)]
        if self.masked:
            planes.append((np.zeros(self.crop, np.uint8), np.ones_like(whole.label),
                           Image.Resampling.NEAREST, 0))
        for canvas, array, how, fill in planes:
            picture = Image.fromarray(array)
            canvas[part] = np.asarray(
                picture.resize((columns, rows), how, box) if turn is None else picture.transform(
                    self.crop[::-1], Image.Transform.AFFINE, turn, how, fillcolor=fill))
        if rng.random() < self.recolour:
            image[part] = rotated_colours(image[part], rng)
        image, label, *masks = (np.ascontiguousarray(canvas[:, ::-1] if mirror else canvas)
                                for canvas, *_ in planes)
        more = dict(zip((MASK,), masks, strict=False))
        if self.tags:
            with located(self.reader.label_file(whole.id)):
                more[TAGS] = tags_of(whole.label, self.tags)
        return Sample(whole.id, image, label, more)

    def top(self, sample: Sample, name: str) -> np.ndarray:
        """A top of one sample: (C, H, W) float32, tags (tags,)."""
        return sample.more[TAGS].astype(np.float32) if name == TAGS else super().top(sample, name)


def tags_of(label: np.ndarray, count: int) -> np.ndarray:
    """Which of the classes 1 to `count` are in a mask (H, W): (count,) bool. FcnError for a mask
    that is void everywhere, which does not tell."""
    if (label == VOID).all():
        raise FcnError('all of the mask is 255, void: it has no tags',
                       do='Label something in it, background where there is nothing else, or '
                          'remove its id from the list of the split.')
    return np.isin(np.arange(1, count + 1), label)


def fitting(size: Sequence[int], crop: Sequence[int]) -> float:
    """The factor by which an image (height, width) is made smaller to fit into a crop; at most
    1."""
    return min(1., *(side / length for length, side in zip(size, crop, strict=True)))


def rotated_colours(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3), uint8, with its colours rotated (and perhaps mirrored) about mid-grey:
    differences of colours keep their size, all directions are as likely."""
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    return ((image - np.float32(127.5)) @ rotation + np.float32(128)).clip(0, 255).astype(np.uint8)


def _span(rng: np.random.Generator, size: int, side: int, factor: float) \
        -> tuple[float, float, int, int]:
    """Along one axis of `size` pixels: where the crop begins in the image and how much of it it
    takes (pixels of the image), and where that goes in the crop of `side` and how long it is
    there."""
    resized = max(1, round(size * factor))
    if resized > side:
        start = int(rng.integers(resized - side + 1))
        return start * size / resized, side * size / resized, 0, side
    return 0, size, int(rng.integers(side - resized + 1)), resized


def _turned(angle: float, box: tuple[float, float, float, float],
            place: tuple[int, int, int, int]) -> tuple[float, ...]:
    """The coefficients of Pillow's affine transform from a crop to the image that takes `box` of it
    (left, top, right, bottom) to `place` in the crop (x, y, columns, rows), turned by an angle in
    degrees about the middle of both."""
    left, top, right, bottom = box
    x, y, columns, rows = place
    across, down = (right - left) / columns, (bottom - top) / rows
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    a, b, d, e = cos * across, sin * across, -sin * down, cos * down
    middle_x, middle_y = x + columns / 2, y + rows / 2
    return (a, b, (left + right) / 2 - a * middle_x - b * middle_y,
            d, e, (top + bottom) / 2 - d * middle_x - e * middle_y)


def checked_crop(crop: Any) -> tuple[int, int]:
    """A crop's (height, width). FcnError unless it is two whole numbers from 1 to MOST_SIDE."""
    if not isinstance(crop, (tuple, list)) or len(crop) != 2 or \
            any(type(side) is not int or not 1 <= side <= MOST_SIDE for side in crop):
        raise FcnError(f'crop is {short(repr(crop), 80)}, not a height and a width of 1 to '
                       f'{MOST_SIDE}', type='OwnDataLayer', do='Give (224, 288), for example.')
    return crop[0], crop[1]


def checked_tags(params: Mapping[str, Any]) -> int:
    """The number of tags, 0 for none. FcnError unless it is one, and for tags of images that are
    turned, which the crop does not hold whole."""
    tags = params.get('tags', 0)
    if type(tags) is not int or not 0 <= tags < VOID:
        raise FcnError(f'tags is {short(repr(tags), 80)}, not a number of classes from 0 to '
                       f'{VOID - 1}', type='OwnDataLayer',
                       do='Give the number of classes without the background.')
    if tags and params.get('rotate'):
        raise FcnError('tags with rotate: crops do not hold all of an image that is turned',
                       type='OwnDataLayer', do='Leave out one of them.')
    return tags


def checked_scale(scale: Any) -> tuple[float, float]:
    """The least and the largest factor of size. FcnError unless they are in order, above 0 and at
    most MOST_SCALE."""
    if not isinstance(scale, (tuple, list)) or len(scale) != 2 or \
            any(type(value) not in (int, float) for value in scale) or \
            not 1 / MOST_SCALE <= scale[0] <= scale[1] <= MOST_SCALE:
        raise FcnError(f'scale is {short(repr(scale), 80)}, not two factors from '
                       f'{1 / MOST_SCALE:g} to {MOST_SCALE:g}', type='OwnDataLayer',
                       do='Give (0.7, 1.4), for example.')
    return float(scale[0]), float(scale[1])


def checked_fraction(value: Any) -> float:
    """The fraction of crops that are recoloured; FcnError unless it is from 0 to 1."""
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise FcnError(f'recolour is {short(repr(value), 80)}, not a fraction from 0 to 1',
                       type='OwnDataLayer', do='Give 0.5, for example, or leave it out.')
    return float(value)


def checked_angle(value: Any) -> float:
    """The largest angle of a turn; FcnError unless it is from 0 to 180 degrees."""
    if type(value) not in (int, float) or not 0 <= value <= 180:
        raise FcnError(f'rotate is {short(repr(value), 80)}, not an angle from 0 to 180 degrees',
                       type='OwnDataLayer', do='Give 15, for example, or leave it out.')
    return float(value)


LAYERS = (OwnDataLayer,)
