"""What layers that compare the pixels of a window have in common: the fields `kernel` and `radius`
of fcn_repro_param."""

import math

from ... import ops
from ...sizes import dims

# Deviations that the op takes (csrc/window.cpp)
LEAST, MOST = 1e-18, 1e18
MOST_KERNELS = 8


def read_kernels(layer, own):
    """The kernels of a layer; FcnError for what is none."""
    if len(own.kernel) > MOST_KERNELS:
        raise layer.error(f'{len(own.kernel)} kernels', f'Give at most {MOST_KERNELS}.')
    return [_kernel(layer, i, kernel) for i, kernel in enumerate(own.kernel)]


def _kernel(layer, i, kernel):
    deviations = {name: getattr(kernel, name) for name in ('place', 'colour')
                  if kernel.HasField(name)}
    if not deviations:
        raise layer.error(f'kernel {i} has neither place nor colour',
                          'Give one of them, or both: the deviations in pixels and in values of '
                          'the image.')
    for name, deviation in deviations.items():
        if not LEAST <= deviation <= MOST:
            raise layer.error(f'{name} {deviation:g} of kernel {i} is no deviation',
                              'Give a positive number.')
    if not math.isfinite(kernel.weight):
        raise layer.error(f'weight {kernel.weight:g} of kernel {i} is not finite', 'Fix it.')
    return ops.WindowKernel(kernel.weight, **deviations)


def read_radius(layer, own):
    if own.radius < 1:
        raise layer.error('radius 0: windows of one pixel, which has no neighbours',
                          'Give at least 1: the window has 2 radius + 1 pixels a side.')
    return own.radius


def check_maps(layer, bottoms):
    """FcnError unless the bottoms are blobs of as many images, each with pixels."""
    first = bottoms[0]
    for shape in bottoms:
        if len(shape) != 4 or shape[0] != first[0] or not all(shape[1:]):
            raise layer.error(f'bottoms of {", ".join(map(dims, bottoms))}',
                              'Give blobs (N, C, H, W) of as many images, with channels and '
                              'pixels.')
