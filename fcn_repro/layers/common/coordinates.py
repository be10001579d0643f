"""Coordinate maps of layer types, as pycaffe's python/caffe/coord_map.py defines them.

A map (axis, scale, shift) takes an input coordinate x to the output coordinate scale * x + shift.
axis is the last axis before the spatial ones (1 for N, C, H, W), None if coordinates are kept.
scale and shift are numpy arrays of Fractions, one per spatial axis or one for all, so that no
rounding decides whether an offset is whole.

Settings are a layer's keywords as NetSpec takes them: in its parameter message or beside it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from ...errors import FcnError

PER_SIDE = {'pad_h', 'pad_w', 'kernel_h', 'kernel_w', 'stride_h', 'stride_w'}


def exact(value) -> np.ndarray:
    """A number or a list of numbers as an array of Fractions."""
    return np.array([Fraction(int(v)) for v in np.atleast_1d(value)], dtype=object)


IDENTITY = (None, exact(1), exact(0))


def convolution(settings: dict, type: str) -> tuple:
    """The map of a sliding window."""
    axis, stride, kernel, pad = window_settings(settings, type)
    return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride


def deconvolution(settings: dict, type: str) -> tuple:
    """The map of a sliding window's transpose."""
    axis, stride, kernel, pad = window_settings(settings, type)
    return axis, stride, (kernel - 1) / 2 - pad


def crop(settings: dict) -> tuple:
    """The map of a cut at an offset."""
    axis, offset = crop_settings(settings)
    return axis - 1, exact(1), -offset


def crop_settings(settings: dict) -> tuple:
    """(axis, offset) of a cut; axis is the first one that is cut."""
    params = settings.get('crop_param', settings)
    return params.get('axis', 2), exact(params.get('offset', 0))


def window_settings(settings: dict, type: str) -> tuple:
    """(axis, stride, kernel, pad) of a sliding window; kernel is dilated. FcnError without
    kernel_size, and for the separate _h and _w settings, as in pycaffe."""
    params = settings.get('convolution_param', settings)
    if 'kernel_size' not in params:
        raise FcnError('the coordinate map needs kernel_size', type=type,
                       do='Give kernel_size (not kernel_h and kernel_w, pooling_param or '
                          'global_pooling) to the layer.')
    separate = PER_SIDE & {*settings, *params}
    if separate:
        raise FcnError(f"the coordinate map does not take {', '.join(sorted(separate))}", type=type,
                       do='Give kernel_size, stride and pad as lists instead.')
    kernel = (exact(params['kernel_size']) - 1) * exact(params.get('dilation', 1)) + 1
    return (params.get('axis', 1), exact(params.get('stride', 1)), kernel,
            exact(params.get('pad', 0)))


class Reach(NamedTuple):
    """What a cell t of a top reads along one axis of a bottom: the cells from
    ceil((step t + low) / every) to floor((step t + high) / every)."""
    step: int = 1
    every: int = 1
    low: int = 0
    high: int = 0

    @classmethod
    def sliding(cls, kernel: int, stride: int, pad: int) -> Reach:
        """Of a sliding window; kernel: as wide as dilation makes it."""
        return cls(stride, 1, -pad, kernel - 1 - pad)

    @classmethod
    def transposed(cls, kernel: int, stride: int, pad: int) -> Reach:
        """Of a sliding window's transpose."""
        return cls(1, stride, pad - kernel + 1, pad)

    def cells(self, first: int, last: int) -> tuple[int, int]:
        """The first and the last cell of the bottom that the cells first to last of the top read;
        beyond the bottom's own where they read padding."""
        return (-(-(self.step * first + self.low) // self.every),
                (self.step * last + self.high) // self.every)

    @property
    def scale(self) -> Fraction:
        """Cells of the top for each one of the bottom."""
        return Fraction(self.every, self.step)
