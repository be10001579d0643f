"""pycaffe's coord_map: crop offsets from the net itself. Errors are also of pycaffe's kinds."""

from ..errors import FcnError
from ..net import coord_map as coords
from ..net.coord_map import compose, coord_map, inverse

__all__ = ['compose', 'coord_map', 'coord_map_from_to', 'crop', 'inverse']


class Unconnected(FcnError, RuntimeError):
    """Two blobs without a map between them."""


class CannotCrop(FcnError, AssertionError):
    """A map that no crop stands for."""


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
