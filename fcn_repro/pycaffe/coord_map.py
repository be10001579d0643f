"""pycaffe's coord_map: crop offsets from the net itself. Errors are also of pycaffe's kinds."""

import numpy as np

from ..errors import FcnError
from ..layers import TYPES
from ..layers.common.coordinates import crop_settings, window_settings
from ..net import coord_map as coords
from .net_spec import layers as L

__all__ = ['PASS_THROUGH_LAYERS', 'AxisMismatchException', 'L', 'UndefinedMapException', 'compose',
           'conv_params', 'coord_map', 'coord_map_from_to', 'crop', 'crop_params', 'inverse']

PASS_THROUGH_LAYERS = sorted(name for name, layer in TYPES.items()
                             if layer.keeps_coordinates and not layer.internal)


class UndefinedMapException(FcnError):
    """A layer type without a coordinate map."""


class AxisMismatchException(FcnError):
    """Two maps of different axes."""


class Unconnected(FcnError, RuntimeError):
    """Two blobs without a map between them."""


class CannotCrop(FcnError, AssertionError):
    """A map that no crop stands for."""


def conv_params(fn):
    """(axis, stride, dilated kernel size, pad) of a Convolution, Deconvolution, Pooling or Im2col
    function; the last three are arrays."""
    return window_settings(fn.params, fn.type_name)


def crop_params(fn):
    """(axis, offset) of a Crop function; offset is an array."""
    return crop_settings(fn.params)


def coord_map(fn):
    """The map (axis, scale, shift) of a function. UndefinedMapException for types without one."""
    found = coords.coord_map(fn)
    if found is None:
        raise UndefinedMapException('the type has no coordinate map', type=fn.type_name,
                                    do='Crop at another blob.')
    return found


def compose(base_map, next_map):
    """The map that applies next_map first, then base_map. AxisMismatchException if their axes
    differ."""
    base_map, next_map = ((axis, np.atleast_1d(scale), np.atleast_1d(shift))
                          for axis, scale, shift in (base_map, next_map))
    try:
        return coords.compose(base_map, next_map)
    except FcnError as error:
        raise AxisMismatchException(error.what, do=error.do, type=error.type) from None


def inverse(coord_map):
    """The map from output to input coordinates."""
    return coords.inverse(coord_map)


def coord_map_from_to(top_from, top_to):
    """(axis, scale, shift) that takes coordinates of top_from to those of top_to."""
    try:
        return coords.coord_map_from_to(top_from, top_to)
    except FcnError as error:
        raise Unconnected(error.what, do=error.do, type=error.type) from None


def crop(top_from, top_to):
    """A Crop layer that cuts top_from to top_to, with the offset derived from the net."""
    coord_map_from_to(top_from, top_to)
    try:
        return coords.crop(top_from, top_to)
    except FcnError as error:
        raise CannotCrop(error.what, do=error.do, type=error.type) from None
