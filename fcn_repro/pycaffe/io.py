"""pycaffe's io: images from files, resized and transformed for a net; arrays as messages.

Images are (H, W, channels), float32 from 0 to 1, RGB; a net's input is (channels, H, W).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError

from ..data.image import open_image
from ..errors import FcnError, known_names, short
from ..paths import as_path
from ..sizes import dims
from .proto import caffe_pb2
from .proto.caffe_pb2 import BlobProto, BlobProtoVector, Datum

__all__ = ['Transformer', 'array_to_blobproto', 'array_to_datum',
           'arraylist_to_blobprotovector_str', 'blobproto_to_array',
           'blobprotovector_str_to_arraylist', 'caffe_pb2', 'datum_to_array', 'load_image',
           'oversample', 'resize_image']

GREY = 0.2125, 0.7154, 0.0721           # luminance of R, G and B, as scikit-image has it
ROWS = 64                               # of an image that are converted at once, in float64


class BadInput(FcnError, ValueError):
    """A value that a function cannot take; pycaffe and numpy raise ValueError."""


def numbers(value, what):
    """A value as an array of numbers; BadInput for anything else."""
    try:
        array = np.asarray(value)
    except ValueError as error:             # rows of different lengths
        raise BadInput(f'{what} is no array: {error}', do='Give an array of numbers.') from None
    if array.dtype.kind not in 'buif':
        raise BadInput(f'{what} is {short(repr(value), 80)}, not numbers',
                       do='Give an array of numbers.')
    return array


def shaped(values, shape, what):
    """The values of a message in its shape."""
    if any(n < 0 for n in shape) or len(values) != math.prod(shape):
        raise BadInput(f'cannot reshape the {len(values)} values of a {what} to '
                       f'{dims(shape) or "a scalar"}', do='It is not whole: make it again.')
    return values.reshape(shape)


def order_of(order, count, what):
    """A permutation of `count` axes or channels, as given; BadInput for anything else."""
    given = numbers(order, what)
    if given.ndim != 1 or len(given) != count:
        number = len(given) if given.ndim == 1 else f'{given.ndim}-axis'
        raise BadInput(f'{number} {what} for {count}', do='Give as many as the input has'
                       + (', but the first.' if 'axes' in what else '.'))
    if given.dtype.kind not in 'iu' or sorted(int(i) % max(count, 1) for i in given) != \
            list(range(count)) or min(given) < -count or max(given) >= count:
        raise BadInput(f'{what} are {short(repr(order), 80)}',
                       do=f'Give each of 0 to {count - 1} once.')
    return order


# Messages

def blobproto_to_array(blob, return_diff=False):
    """The data (or the diff) of a BlobProto in its shape, new or of the old four fields."""
    values = np.array(blob.diff if return_diff else blob.data)
    if any(blob.HasField(name) for name in ('num', 'channels', 'height', 'width')):
        return shaped(values, (blob.num, blob.channels, blob.height, blob.width), 'BlobProto')
    return shaped(values, tuple(blob.shape.dim), 'BlobProto')


def array_to_blobproto(arr, diff=None):
    """A BlobProto of an array of any shape, and of a diff of the same shape."""
    blob, arr = BlobProto(), numbers(arr, 'the data')
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(numbers(diff, 'the diff').astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist):
    """Arrays as the bytes of a BlobProtoVector."""
    return BlobProtoVector(blobs=map(array_to_blobproto, arraylist)).SerializeToString()


def blobprotovector_str_to_arraylist(str):
    """The arrays in the bytes of a BlobProtoVector."""
    try:
        vector = BlobProtoVector.FromString(str)
    except (DecodeError, TypeError) as error:
        raise BadInput(f'is no BlobProtoVector: {error}',
                       do='Give the bytes of arraylist_to_blobprotovector_str.') from None
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr, label=None):
    """A Datum of a (channels, H, W) array: bytes where it is uint8, else floats."""
    arr = numbers(arr, 'the array of a datum')
    if arr.ndim != 3:
        raise BadInput(f'a datum has 3 axes (channels, height, width), not {arr.ndim}',
                       do='Give an array of (channels, height, width).')
    datum = Datum(channels=arr.shape[0], height=arr.shape[1], width=arr.shape[2])
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        try:
            datum.label = label
        except (TypeError, ValueError) as error:
            raise BadInput(f'the label is {short(repr(label), 80)}: {error}',
                           do='Give a whole number of 32 bits.') from None
    return datum


def datum_to_array(datum):
    """The (channels, H, W) array of a Datum, uint8 or float64; its label is datum.label."""
    values = np.frombuffer(datum.data, np.uint8).copy() if datum.data else \
        np.array(datum.float_data, float)
    return shaped(values, (datum.channels, datum.height, datum.width), 'Datum')


# Images

def load_image(filename, color=True):
    """(H, W, 3) of a file, or with color=False (H, W, 1), float32 from 0 to 1."""
    if not hasattr(filename, 'read'):
        filename = as_path(filename, 'the image', 'Give the path of a file.')
    image, _ = open_image(filename, 'image')
    deep = image.mode.startswith('I') or image.mode == 'F'
    plain = image.mode in ('L', 'RGB') or deep
    pixels = np.asarray(image if plain else image.convert('RGB'))
    result = np.empty((*pixels.shape[:2], 3 if color else 1), np.float32)
    for start in range(0, len(pixels), ROWS):
        part = pixels[start:start + ROWS].astype(np.float64) / (65535 if deep else 255)
        if pixels.ndim == 3 and not color:
            part = part @ GREY
        result[start:start + ROWS] = part if part.ndim == 3 else part[:, :, None]
    return result


def resize_image(im, new_dims, interp_order=1):
    """(H, W, channels) at another (height, width), interpolated by splines of an order.

    With 1 or 3 channels pixels are areas, and what lies outside counts as the image's minimum, as
    in scikit-image; else corners meet corners, as in scipy.ndimage.zoom. No anti-aliasing.
    """
    from scipy import ndimage

    im = numbers(im, 'the image')
    if im.ndim != 3 or not im.size:
        raise BadInput(f'an image has 3 axes (H, W, channels), not {im.ndim}' if im.ndim != 3
                       else f'the image is empty, {dims(im.shape)}',
                       do='Give such an array; to predict, a list of them.')
    wanted = numbers(new_dims, 'the new size')
    if wanted.shape != (2,) or not (wanted >= 1).all() or not np.isfinite(wanted).all():
        raise BadInput(f'the new size is {short(repr(new_dims), 80)}',
                       do='Give (height, width), of 1 or more.')
    factors = (new_dims[0] / im.shape[0], new_dims[1] / im.shape[1], 1)
    if im.shape[-1] not in (1, 3):
        return ndimage.zoom(im, factors, order=interp_order).astype(np.float32)
    low, high = im.min(), im.max()
    if low == high:
        return np.full((*new_dims, im.shape[-1]), low, np.float32)
    unit = ndimage.zoom((im - low) / (high - low), factors, order=interp_order,
                        mode='grid-constant', grid_mode=True)
    return (unit * (high - low) + low).astype(np.float32)


def check_crop(image_dims, crop_dims):
    """FcnError for (height, width) that crops do not fit into."""
    if any(image < crop for image, crop in zip(image_dims, crop_dims, strict=True)):
        (height, width), (h, w) = image_dims, crop_dims
        raise FcnError(f'crops of {h:g}x{w:g} do not fit into images of {height:g}x{width:g}',
                       do='Give larger images or image_dims.')


def oversample(images, crop_dims):
    """(10 N, h, w, channels): of each image the four corners and the centre, then their mirrors."""
    crop = numbers(crop_dims, 'the size of the crops')
    if crop.shape != (2,) or crop.dtype.kind not in 'iu' or (crop < 1).any():
        raise BadInput(f'the size of the crops is {short(repr(crop_dims), 80)}',
                       do='Give (height, width), whole numbers of 1 or more.')
    h, w = crop_dims
    if not isinstance(images, (Sequence, np.ndarray)) or isinstance(images, (str, bytes)):
        raise BadInput(f'images is {short(repr(images), 80)}', do='Give a list of images.')
    images = [numbers(image, 'an image') for image in images]
    shapes = sorted({image.shape for image in images})
    if not shapes or any(len(shape) != 3 or shape[2] != shapes[0][2] for shape in shapes):
        raise BadInput(f'images of {", ".join(map(str, shapes)) or "no shape"}',
                       do='Give images (H, W, channels) of equally many channels.')
    height, width = images[0].shape[:2]
    for shape in ((height, width), *(shape[:2] for shape in shapes)):
        check_crop(shape, (h, w))
    corners = [(y, x) for y in (0, height - h) for x in (0, width - w)]
    corners.append((int(height / 2 - h / 2), int(width / 2 - w / 2)))
    crops = []
    for image in images:
        cut = [image[y:y + h, x:x + w] for y, x in corners]
        crops += cut + [crop[:, ::-1] for crop in cut]
    return np.array(crops, np.float32)


class Transformer:
    """What is done to an image before it is fed: resize, transpose, channel_swap, raw_scale, mean,
    input_scale, in this order, each where it was set.

    inputs: {input name: shape of its blob, (N, channels, H, W)}.
    """

    def __init__(self, inputs):
        if not isinstance(inputs, Mapping):
            raise BadInput(f'inputs is {short(repr(inputs), 80)}',
                           do="Give {'data': net.blobs['data'].data.shape}.")
        self.inputs = inputs
        self.transpose, self.channel_swap, self.raw_scale = {}, {}, {}
        self.mean, self.input_scale = {}, {}

    def _check(self, name):
        if name not in self.inputs:
            raise FcnError(f"'{name}' is not an input", do=known_names(map(str, self.inputs)))
        shape = numbers(self.inputs[name], f"the shape of '{name}'")
        if shape.ndim != 1 or len(shape) < 2 or shape.dtype.kind not in 'iu':
            raise BadInput(f"the shape of '{name}' is {short(repr(self.inputs[name]), 80)}",
                           do='Give (N, channels, H, W).')

    def preprocess(self, in_, data):
        """(channels, H, W) for the input in_ of an (H', W', channels) image."""
        self._check(in_)
        size, image = tuple(self.inputs[in_][2:]), numbers(data, 'the image').astype(np.float32)
        if image.shape[:2] != size:
            image = resize_image(image, size)
        if in_ in self.transpose:
            order = self.transpose[in_]
            image = image.transpose(order_of(order, image.ndim, 'axes to transpose'))
        if in_ in self.channel_swap:
            order = list(self.channel_swap[in_])
            if len(order) != len(image):
                raise FcnError(f'{len(order)} channels to swap, and an image of {len(image)}',
                               do='Load it with color=True, or leave out channel_swap.')
            image = image[order]
        mean = self.mean.get(in_, 0)
        check_mean(image, mean)
        image = image * np.float32(self.raw_scale.get(in_, 1)) - mean
        return (image * np.float32(self.input_scale.get(in_, 1))).astype(np.float32)

    def deprocess(self, in_, data):
        """The image of what preprocess made, but for its size."""
        self._check(in_)
        image, mean = np.squeeze(numbers(data, 'the data')), self.mean.get(in_, 0)
        check_mean(image, mean)
        image = image / self.input_scale.get(in_, 1) + mean
        image = image / self.raw_scale.get(in_, 1)
        if in_ in self.channel_swap:
            count = len(image) if image.ndim else 0
            order = order_of(self.channel_swap[in_], count, 'channels to swap')
            image = image[np.argsort(order)]
        if in_ in self.transpose:
            order = order_of(self.transpose[in_], image.ndim, 'axes to transpose')
            image = image.transpose(np.argsort(order))
        return image

    def set_transpose(self, in_, order):
        """Order of axes: (2, 0, 1) makes (channels, H, W) of (H, W, channels)."""
        self._check(in_)
        self.transpose[in_] = order_of(order, len(self.inputs[in_]) - 1, 'axes to transpose')

    def set_channel_swap(self, in_, order):
        """Order of channels, after transpose: (2, 1, 0) makes BGR of RGB."""
        self._check(in_)
        self.channel_swap[in_] = order_of(order, self.inputs[in_][1], 'channels to swap')

    def set_raw_scale(self, in_, scale):
        """A factor before the mean is taken off: 255 for nets of 0 to 255."""
        self._check(in_)
        numbers(scale, 'the scale')
        self.raw_scale[in_] = scale

    def set_mean(self, in_, mean):
        """What is taken off: one number a channel, or an image, resized to the input's size."""
        self._check(in_)
        shape, mean = tuple(self.inputs[in_][1:]), numbers(mean, 'the mean').astype(np.float32)
        channels = len(mean) if mean.ndim in (1, 3) else shape[0]
        if channels not in (shape[0], 1) or (mean.ndim == 1 and channels != shape[0]):
            raise BadInput(f'a mean of {channels} channels for {shape[0]}',
                           do='Give one number a channel, or an image of as many.')
        if mean.ndim not in (1, 2, 3):
            raise BadInput(f'a mean of shape {dims(mean.shape) or "()"}',
                           do='Give (channels,), (H, W) or (channels, H, W).')
        if mean.ndim == 1:
            mean = mean[:, None, None]
        else:
            mean = mean[None] if mean.ndim == 2 else mean
            if mean.shape[1:] != shape[1:]:
                mean = resize_image(mean.transpose(1, 2, 0), shape[1:]).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_, scale):
        """A factor after the mean was taken off."""
        self._check(in_)
        numbers(scale, 'the scale')
        self.input_scale[in_] = scale


def check_mean(image, mean):
    """BadInput where a mean does not fit an image, each of (channels, H, W)."""
    try:
        fits = np.broadcast_shapes(np.shape(image), np.shape(mean)) == np.shape(image)
    except ValueError:
        fits = False
    if not fits:
        raise BadInput(f'a mean of shape {dims(np.shape(mean))} for an image of '
                       f'{dims(np.shape(image))}', do='Set transpose to (2, 0, 1), or give the '
                       "input's own number of channels.")


FOREIGN = {'resize': 'caffe.io.resize_image', 'zoom': 'scipy.ndimage.zoom',
           'skimage': 'caffe.io.load_image, or import scikit-image yourself'}


def __getattr__(name):
    if name in FOREIGN:         # what caffe.io happens to import from other libraries
        raise AttributeError(f'caffe.io.{name} is of another library, and not here. Use '
                             f'{FOREIGN[name]}.')
    raise AttributeError(f"module 'caffe.io' has no attribute '{name}'")
