"""segment(): one image to its label map, in one call."""

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from ..data.image import MEAN
from ..errors import FcnError
from ..formats.weights import FILLER
from ..net.bn_statistics import check_weights_folded
from ..net.net import Net
from ..net.placement import check_precision, pick_device, place
from ..passes import DEFAULT
from ..proto.dialects import Dialect
from .labels import read_deploy
from .outputs import find_output
from .photos import read_photo, upright_rgb
from .segmenter import Segmenter

Picture = str | PathLike[str] | np.ndarray | Image.Image


def segment(image: Picture, net: str | PathLike[str] | Net,
            weights: str | PathLike[str] | None = None, *, mean: Sequence[float] = MEAN,
            device: str | None = None, precision: str = 'fp32', output: str | None = None,
            threshold: float | None = None, dialect: Dialect | str | None = None,
            define: Mapping[str, object] = MappingProxyType({})) -> np.ndarray:
    """Label every pixel of an image: the class index of its highest score, (H, W) uint8; of a net
    that ends in ArgMax its index, of a net with one channel 1 where that is above `threshold`.

    image: a file of any kind that Pillow reads (turned upright as its EXIF says), a Pillow image,
    or an array (H, W, 3) uint8 RGB. net: a deploy prototxt, whose one input is data (1, 3, H, W)
    and whose scores (1, C, H, W) are the blob 'score' or its one output; weights: its caffemodel,
    or HDF5 in Caffe's layout. Or a Net that has its weights, without `weights`; it runs where it
    was placed. To label many images, fcn_repro.load is made for that. mean: subtracted from the
    pixels, BGR. device: cpu, cuda, … (None: a GPU if there is one). precision: of placement.place.
    Ties go to the lowest class.
    output: the blob to take, where the net has several outputs; threshold: of a one-channel output
    (None: 0.5 after a Sigmoid). dialect, define: of the prototxt, as for proto.prototxt.read_net.

    FcnError for a file that cannot be read, an array of another shape or type, a net that does not
    map an image to scores of its size, and weights of other shapes. A warning names layers that the
    weights lack.
    """
    pixels = pixels_of(image)
    if isinstance(net, Net):
        if weights is not None:
            raise FcnError('weights are given besides a Net, which has its own',
                           do='Leave out weights, or give the path of the prototxt as net.')
        ready = net
    elif weights is None:
        raise FcnError('no weights are given for this net', file=net,
                       do='Give the path of its caffemodel as weights.')
    else:
        ready = net_with_weights(net, weights, device, precision, dialect, define)
    one = Segmenter(ready, mean, [find_output(ready, output, threshold)])
    one.check(*pixels.shape[:2])
    return one.predict(pixels)[0].labels


def pixels_of(image: Picture) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a path, a Pillow image or such an array; the first two as
    photos.read_photo converts them. FcnError for anything else."""
    if isinstance(image, (str, PathLike)):
        return read_photo(Path(image)).image
    if isinstance(image, Image.Image):
        return upright_rgb(image).image
    if not isinstance(image, np.ndarray):
        raise FcnError(f'the image is a {type(image).__name__}',
                       do='Give a path, a Pillow image or an array.')
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise FcnError(f'the image is {image.shape} {image.dtype}, not (H, W, 3) uint8',
                       do='Give an RGB image.')
    return image


def net_with_weights(net: str | PathLike[str], weights: str | PathLike[str],
                     device: str | None = None, precision: str = 'fp32',
                     dialect: Dialect | str | None = None,
                     define: Mapping[str, object] = MappingProxyType({})) -> Net:
    """The net of a deploy prototxt with its weights, placed on a device."""
    target = pick_device(device)
    check_precision(precision, target)
    loaded = read_deploy(net, dialect=dialect, define=define, weights=weights, passes=DEFAULT)
    check_weights_folded(loaded, weights)
    rows = loaded.copy_from(weights)
    unset = [row.layer for row in rows if row.action == FILLER]
    if unset:
        warnings.warn(f"{weights} has no weights for {', '.join(unset)}, which stay at their "
                      'fillers', stacklevel=3)
    return place(loaded, target, precision=precision)
