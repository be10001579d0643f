"""pycaffe's Blob: the data and the diff of a net's blob or parameter as arrays."""

import math

import numpy as np
import torch

from ..errors import FcnError
from ..sizes import dims
from .arrays import array, settle


class Blob:
    """data and diff: float32 arrays, the blob's own memory; shape: a tuple."""

    def __init__(self, memory, name=''):
        self._memory, self._name = memory, name

    @property
    def data(self):
        return array(self._memory.data)

    @property
    def diff(self):
        return array(self._memory.diff)

    @property
    def shape(self):
        return tuple(self._memory.shape)

    @property
    def count(self):
        return math.prod(self.shape)

    def reshape(self, *shape):
        """Another shape, at once; the data is zero until it is written."""
        settle()
        if not all(isinstance(d, int | np.integer) and d >= 0 for d in shape):
            raise FcnError(f"blob '{self._name}' cannot have the shape {shape}",
                           do='Give whole numbers of 0 or more, one for each axis.')
        self._memory.reshape(tuple(map(int, shape)))

    def _legacy(self, axis):
        if len(self.shape) > 4:
            raise FcnError(f"blob '{self._name}' ({dims(self.shape)}) has {len(self.shape)} axes; "
                           'num, channels, height and width are those of at most 4',
                           do='Use shape.')
        return self.shape[axis] if axis < len(self.shape) else 1

    _gpu_data_ptr = property(lambda self: address(self._memory.data))
    _gpu_diff_ptr = property(lambda self: address(self._memory.diff))

    num = property(lambda self: self._legacy(0))
    channels = property(lambda self: self._legacy(1))
    height = property(lambda self: self._legacy(2))
    width = property(lambda self: self._legacy(3))


class Param(Blob):
    """A parameter blob: writing into data changes the net, and every net that shares it."""

    def __init__(self, blob):
        super().__init__(blob, blob.name)

    @property
    def diff(self):
        return array(diff_of(self._memory.parameter).view(self.shape))

    def reshape(self, *shape):
        if tuple(shape) != self.shape:
            raise FcnError(f"parameter '{self._name}' is {dims(self.shape)}, not {dims(shape)}",
                           do='Change the layer in the prototxt instead.')


def address(tensor):
    """The address of a blob's values on the GPU. AttributeError for a blob on the CPU, as in a
    Caffe that was built without CUDA."""
    if tensor.device.type == 'cpu':
        raise AttributeError('the blob is on the CPU and has no GPU address. Use data or diff, or '
                             'set_mode_gpu before the net is made.')
    settle()
    return tensor.data_ptr()


def diff_of(parameter):
    """The diff of a parameter, zeros until a backward pass adds to it."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
