"""Coordinate maps: where an output cell of a chain of layers lies in the input, and the crop
offset between two blobs that follows (as pycaffe's python/caffe/coord_map.py).

A map (axis, scale, shift) takes an input coordinate x to the output coordinate scale * x + shift.
axis is the last axis before the spatial ones (1 for N, C, H, W), None for layers that move nothing.
scale and shift are numpy arrays of Fractions, one per spatial axis or one for all, so that no
rounding decides whether an offset is whole.
"""

from fractions import Fraction

import numpy as np

from ..errors import FcnError
from ..proto.netspec import L

UNMOVED = ('AbsVal', 'BatchNorm', 'Bias', 'BNLL', 'Dropout', 'ELU', 'Eltwise', 'Exp', 'LRN', 'Log',
           'MVN', 'PReLU', 'Power', 'ReLU', 'Scale', 'Sigmoid', 'Split', 'TanH', 'Threshold')
HALVES = {'pad_h', 'pad_w', 'kernel_h', 'kernel_w', 'stride_h', 'stride_w'}


def exact(value):
    """A number or a list of them as an array of Fractions."""
    return np.array([Fraction(int(v)) for v in np.atleast_1d(value)], dtype=object)


IDENTITY = (None, exact(1), exact(0))


def window(fn):
    """(axis, stride, kernel, pad) of a netspec Function with a sliding window; kernel is dilated.
    FcnError without kernel_size, and for the separate _h and _w settings, as pycaffe."""
    params = fn.params.get('convolution_param', fn.params)
    if 'kernel_size' not in params:
        raise FcnError('the coordinate map needs kernel_size', type=fn.type_name,
                       do='Give kernel_size (not kernel_h and kernel_w, pooling_param or '
                          'global_pooling) to the layer.')
    halves = HALVES & {*fn.params, *params}
    if halves:
        raise FcnError(f"the coordinate map does not take {', '.join(sorted(halves))}",
                       type=fn.type_name, do='Give kernel_size, stride and pad as lists instead.')
    kernel = (exact(params['kernel_size']) - 1) * exact(params.get('dilation', 1)) + 1
    return (params.get('axis', 1), exact(params.get('stride', 1)), kernel,
            exact(params.get('pad', 0)))


def coord_map(fn):
    """The map of one layer, a netspec Function; None for types that have no map (Concat,
    InnerProduct, ...)."""
    if fn.type_name in ('Convolution', 'Pooling', 'Im2col'):
        axis, stride, kernel, pad = window(fn)
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == 'Deconvolution':
        axis, stride, kernel, pad = window(fn)
        return axis, stride, (kernel - 1) / 2 - pad
    if fn.type_name == 'Crop':
        params = fn.params.get('crop_param', fn.params)
        return params.get('axis', 2) - 1, exact(1), -exact(params.get('offset', 0))
    return IDENTITY if fn.type_name in UNMOVED else None


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


def ancestors(top):
    """(blob, map from it to top) for top itself and every blob it is made of, each once.

    Every bottom is followed but the second of Crop, which only gives a size.
    """
    waiting, seen = [(top, IDENTITY)], set()
    while waiting:
        blob, reached = waiting.pop()
        if blob in seen:
            continue
        seen.add(blob)
        yield blob, reached
        bottoms = blob.fn.inputs[:1] if blob.fn.type_name == 'Crop' else blob.fn.inputs
        step = coord_map(blob.fn) if bottoms else None
        if step is not None:
            waiting.extend((bottom, compose(reached, step)) for bottom in bottoms)


def coord_map_from_to(top_from, top_to):
    """The map that takes coordinates of top_from to those of top_to, through the first blob that
    both are made of. FcnError if there is none."""
    known = dict(ancestors(top_from))
    for blob, reached in ancestors(top_to):
        if blob in known:
            return compose(reached, inverse(known[blob]))
    raise FcnError('the two blobs are not made from a common blob by layers with a coordinate map',
                   do='Crop a blob to one that shares its input through spatial layers.')


def crop_offset(top_from, top_to):
    """(axis, offsets) that align top_from with top_to. FcnError if their scales differ or if the
    offset is negative or not whole."""
    axis, scale, shift = coord_map_from_to(top_from, top_to)
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
