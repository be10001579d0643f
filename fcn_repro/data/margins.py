"""What a net's image has around it where its label has nothing: the mean pixel to the right and
below, as DeepLab's data layer pads, or a reflected margin, as Dilation's."""

from typing import Any

import numpy as np

from fcn_repro.errors import FcnError, short
from fcn_repro.sizes import dims

MOST_MARGIN = 4096      # pixels
MOST_SIDE = 32768       # of a padded image
Padded = int | tuple[int, int] | None


def check_margins(padded: Any, margin: Any) -> None:
    """FcnError unless padded is None, a whole number or a height and a width, and margin a whole
    number of pixels, and one of them at most is given."""
    pair = isinstance(padded, (tuple, list)) and len(padded) == 2
    sides = padded if pair else [padded]
    if padded is not None and not all(type(side) is int and 1 <= side <= MOST_SIDE
                                      for side in sides):
        raise FcnError(f'padded is {short(repr(padded), 80)}, not a height and a width of an image '
                       'or the number that a side less 1 is to be a multiple of',
                       do='Give (513, 513) or 32, for example.')
    if type(margin) is not int or not 0 <= margin <= MOST_MARGIN:
        raise FcnError(f'margin is {short(repr(margin), 80)}, not a whole number of pixels from 0 '
                       f'to {MOST_MARGIN}', do='Give 186, for example, or leave it out.')
    if padded is not None and margin:
        raise FcnError('both padded and margin are given', do='Give one of the two.')


def padded_size(padded: Padded, size: tuple[int, int]) -> tuple[int, int]:
    """The size (H, W) to which an image of this size is padded. FcnError for one that is larger."""
    if padded is None:
        return size
    if isinstance(padded, int):
        height, width = (-(-(side - 1) // padded) * padded + 1 for side in size)
        return height, width
    if size[0] > padded[0] or size[1] > padded[1]:
        raise FcnError(f'the net takes images of up to {dims(padded)} (height x width), and this '
                       f'one is {dims(size)}', code='image-too-large',
                       facts={'longest': min(padded)},
                       do='Make the images smaller, or raise the numbers of padded in the '
                          "net's param_str with the sizes of its layers.")
    return padded[0], padded[1]


def with_margins(blob: np.ndarray, padded: Padded, margin: int) -> np.ndarray:
    """A blob (3, H, W) of an image less its mean, padded with zeros to the right and below, and
    with a margin of so many pixels, reflected at the outermost ones."""
    height, width = padded_size(padded, blob.shape[1:])
    below, right = height - blob.shape[1], width - blob.shape[2]
    if below or right:
        blob = np.pad(blob, ((0, 0), (0, below), (0, right)))
    if margin:
        blob = np.pad(blob, ((0, 0), (margin, margin), (margin, margin)), mode='reflect')
    return blob
