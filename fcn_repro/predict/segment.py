"""One photograph to its label map, in a call."""

from os import PathLike

import numpy as np

from ..data.image import check_mean, to_blob
from ..net.net import Net
from ..net.placement import check_precision, pick_device, place
from ..passes import DEFAULT
from ..proto import TEST
from .labels import image_input, output, predict
from .photos import read_photo

MEAN = 104.00699, 116.66877, 122.67892      # of VGG16, BGR


def segment(image: str | PathLike | np.ndarray, net: str | PathLike | Net,
            weights: str | PathLike | None = None, *,
            mean: tuple[float, float, float] = MEAN, device: str | None = None,
            precision: str = 'fp32') -> np.ndarray:
    """Return the label map (H, W), uint8, of one image; ties go to the lowest class index.

    image: a file that Pillow reads, or (H, W, 3) uint8 RGB. net: a deploy prototxt, with weights (a
    caffemodel or Caffe's HDF5); or a Net that has its weights. mean: BGR, subtracted. device:
    'cpu', 'cuda', ...; by default a GPU if there is one. precision: as of net.placement.place.
    FcnError for what cannot be read, and for a net that does not give an image its own size.
    """
    check_mean(mean)
    model = net if isinstance(net, Net) else load(net, weights, device, precision)
    image_input(model)
    pixels = image if isinstance(image, np.ndarray) else read_photo(image).image
    return predict(model, output(model)[0], data=to_blob(pixels, mean)[None])


def load(net: str | PathLike, weights: str | PathLike | None, device: str | None,
         precision: str) -> Net:
    """The net of a deploy prototxt with its weights, placed for inference."""
    target = pick_device(device)
    check_precision(precision, target)
    model = Net.read(net, TEST, passes=DEFAULT)
    model.copy_from(weights)
    place(model, target, precision=precision)
    return model
