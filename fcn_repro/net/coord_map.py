"""Coordinate maps between two blobs, and the crop offset that follows from one (as pycaffe's
python/caffe/coord_map.py).

A map (axis, scale, shift) is as in layers/common/coordinates.py; each layer class gives its own.
"""

from ..errors import FcnError
from ..layers import layer_class
from ..layers.common.coordinates import IDENTITY
from ..proto.netspec import L


def coord_map(fn):
    """The map of one layer, a netspec Function; None for types that have none (Concat,
    InnerProduct, ...)."""
    return layer_class(fn.type_name).coord_map(fn.params)


def compose(outer, inner):
    """The map that applies inner first, then outer. FcnError if their axes differ."""
    (axis1, scale1, shift1), (axis2, scale2, shift2) = outer, inner
    if axis1 is not None and axis2 is not None and axis1 != axis2:
        raise FcnError(f'two layers between the blobs start at different axes, {axis1 + 1} and '
                       f'{axis2 + 1}', do='Use the same axis in all of them.')
    if len({len(v) for v in (scale1, shift1, scale2, shift2)} - {1}) > 1:
        raise FcnError(f'two layers between the blobs have {len(shift1)} and {len(shift2)} spatial '
                       'axes', do='Give as many kernel sizes, strides, pads and offsets to each.')
    axis = axis2 if axis1 is None else axis1
    return axis, scale1 * scale2, scale1 * shift2 + shift1


def inverse(coord):
    """The map from output to input coordinates."""
    axis, scale, shift = coord
    return axis, 1 / scale, -shift / scale


def ancestors(top, map_of=coord_map):
    """(blob, map from it to top) for top itself and every blob it is made of, each once.

    Every bottom is followed but those that only give a size (the second of Crop).
    """
    for blob, reached, _ in walk(top, map_of):
        yield blob, reached


def walk(top, map_of=coord_map):
    """As ancestors, each with its way to top: the functions passed, the first one first."""
    waiting, seen = [(top, IDENTITY, ())], set()
    while waiting:
        blob, reached, way = waiting.pop()
        if blob in seen:
            continue
        seen.add(blob)
        yield blob, reached, way
        content = layer_class(blob.fn.type_name).content_bottoms
        bottoms = blob.fn.inputs[:content]
        step = map_of(blob.fn) if bottoms else None
        if step is not None:
            waiting.extend((bottom, compose(reached, step), (blob.fn, *way))
                           for bottom in bottoms)


def coord_map_from_to(top_from, top_to, map_of=coord_map):
    """The map that takes coordinates of top_from to those of top_to, through the first blob that
    both are made of. map_of: gives the map of a Function. FcnError if there is none."""
    known = dict(ancestors(top_from, map_of))
    for blob, reached in ancestors(top_to, map_of):
        if blob in known:
            return compose(reached, inverse(known[blob]))
    raise FcnError('the two blobs are not made from a common blob by layers with a coordinate map',
                   do='Crop a blob to one that shares its input through spatial layers.')


def crop_offset(top_from, top_to, map_of=coord_map):
    """(axis, offsets) that align top_from with top_to. FcnError if their scales differ or if the
    offset is negative or not whole."""
    axis, scale, shift = coord_map_from_to(top_from, top_to, map_of)
    if axis is None:
        raise FcnError('the two blobs have the same coordinates; nothing between them moves any',
                       do='Leave the crop out.')
    if (scale != 1).any():
        raise FcnError(f'the blobs have different scales: {_show(scale)} instead of 1',
                       do='Change the strides of the layers between them.')
    if (shift > 0).any():
        raise FcnError(f'the crop offset would be negative: {_show(-shift)}',
                       do='Use more padding before the blob that is cropped.')
    if any(s.denominator != 1 for s in shift):
        raise FcnError(f'the crop offset would not be whole: {_show(-shift)}',
                       do='Change a kernel size or a pad by one.')
    return axis + 1, [int(-s) for s in shift]


def _show(values):
    return ', '.join(f'{float(v):g}' for v in values)


def crop(top_from, top_to):
    """A Crop layer that cuts top_from to top_to, with the offset derived from the net."""
    axis, offset = crop_offset(top_from, top_to)
    return L.Crop(top_from, top_to, crop_param={'axis': axis, 'offset': offset})
