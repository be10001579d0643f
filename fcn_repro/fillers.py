"""Initial values of parameters, as in include/caffe/filler.hpp; the random stream is torch's."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from .errors import FcnError
from .sizes import check_shape, possible


class Given(NamedTuple):
    """A filler of a layer that knows its initial values, of the parameter's shape: the result of
    make()."""
    make: Callable[[], torch.Tensor]
    type: str = 'given'


LARGEST = torch.finfo(torch.float32).max
FAN_IN, FAN_OUT, AVERAGE = 0, 1, 2            # FillerParameter.VarianceNorm


def fill(shape, filler, generator: torch.Generator) -> torch.Tensor:
    """A new float32 CPU tensor of `shape`.

    filler: a FillerParameter (type, value, min, max, mean, std, sparse, variance_norm), or Given.
    generator: a torch.Generator on the CPU, which random fillers advance.
    FcnError on an unknown type, on values that Caffe rejects, and on an empty shape.
    """
    shape, kind = tuple(shape), filler.type
    if not possible(shape):
        check_shape(shape)
    if isinstance(filler, Given):
        return filler.make()
    grouped = hasattr(filler, 'num_groups')     # in Dilation's fork
    known = FILLERS | {'identity': identity} if grouped else FILLERS
    if kind not in known:
        raise FcnError(f"unknown filler '{kind}'", do=f"Use one of {', '.join(known)}.")
    if grouped and kind != 'identity' and filler.HasField('num_groups'):
        reject(filler, 'num_groups is for identity alone', 'Remove it.')
    if 0 in shape:
        reject(filler, f'the parameter of shape {shape} is empty', 'Check the sizes of the layer.')
    if kind != 'gaussian' and filler.sparse != -1:
        reject(filler, f'sparse is {filler.sparse}, but only gaussian has it', 'Remove sparse.')
    return known[kind](shape, filler, generator)


def reject(filler, what, do):
    raise FcnError(f'filler {filler.type}: {what}', do=do)


def constant(shape, filler, generator):
    return torch.full(shape, filler.value)


def uniform(shape, filler, generator):
    if filler.min > filler.max:
        reject(filler, f'min {filler.min} is above max {filler.max}', 'Exchange them.')
    if not filler.max - filler.min <= LARGEST:          # NaN too
        reject(filler, f'min {filler.min} and max {filler.max} are further apart than float32 '
               'reaches', 'Give finite numbers.')
    return torch.empty(shape).uniform_(filler.min, filler.max, generator=generator)


def gaussian(shape, filler, generator):
    if not filler.std > 0:
        reject(filler, f'std is {filler.std}, it must be above 0', 'Use constant for one value.')
    if not (math.isfinite(filler.std) and math.isfinite(filler.mean)):
        reject(filler, f'mean is {filler.mean}, std {filler.std}', 'Give finite numbers.')
    out = torch.empty(shape).normal_(filler.mean, filler.std, generator=generator)
    if filler.sparse == -1:
        return out
    if not shape:
        reject(filler, f'sparse is {filler.sparse}, and the parameter has no axes', 'Remove it.')
    if not 0 <= filler.sparse <= shape[0]:
        reject(filler, f'sparse is {filler.sparse}, it must be in 0 to {shape[0]} (outputs)',
               'Change sparse, or remove it.')
    keep = torch.empty_like(out).bernoulli_(filler.sparse / shape[0], generator=generator)
    return out * keep


def positive_unitball(shape, filler, generator):
    """Positive values; those of each out[i] sum to 1."""
    out = torch.empty(shape).uniform_(0, 1, generator=generator)
    rows = out.view(shape[0] if shape else 1, -1)
    rows /= rows.sum(1, keepdim=True)
    return out


def fan(shape, norm):
    """The n of xavier and msra; shape (outputs, inputs, ...), for a single axis fan_out = count."""
    if not shape:
        raise FcnError('xavier and msra fillers need an output axis, the parameter has no axes',
                       do='Use constant, uniform or gaussian.')
    count = math.prod(shape)
    fan_in, fan_out = count // shape[0], count // shape[1] if len(shape) > 1 else count
    return {FAN_IN: fan_in, FAN_OUT: fan_out, AVERAGE: (fan_in + fan_out) / 2}[norm]


def xavier(shape, filler, generator):
    bound = math.sqrt(3 / fan(shape, filler.variance_norm))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def msra(shape, filler, generator):
    std = math.sqrt(2 / fan(shape, filler.variance_norm))
    return torch.empty(shape).normal_(0, std, generator=generator)


def bilinear(shape, filler, generator):
    """The same kernel in every (output, input) pair; surgery.interp fills the diagonal only."""
    if len(shape) != 4 or shape[2] != shape[3]:
        reject(filler, f'the shape {shape} is not (outputs, inputs, k, k)',
               'Use it for square Convolution or Deconvolution filters.')
    taps = bilinear_taps(shape[3], 'filler').float()
    return torch.empty(shape).copy_(torch.outer(taps, taps))


def identity(shape, filler, generator):
    """Each output the mean of its group's inputs, times value: num_groups / outputs in the middle
    of the kernels within a group, and elsewhere 0, or gaussian where std is given. num_groups: by
    default the number of inputs. As in fyu/caffe-dilation's filler.hpp."""
    if len(shape) != 4:
        reject(filler, f'the shape {shape} is not (outputs, inputs, h, w)',
               'Use it for Convolution filters.')
    outputs, inputs, height, width = shape
    groups = filler.num_groups if filler.HasField('num_groups') else inputs
    if groups < 1 or outputs < groups or outputs % groups:
        reject(filler, f'{groups} groups of {outputs} outputs',
               'Give a number of groups that divides the outputs.')
    out = gaussian(shape, filler, generator) if filler.HasField('std') else torch.zeros(shape)
    value = groups / outputs * (filler.value if filler.HasField('value') else 1)
    rows, columns = outputs // groups, inputs // groups
    for group in range(groups):
        out[group * rows:(group + 1) * rows, group * columns:(group + 1) * columns,
            height // 2, width // 2] = value
    return out


def bilinear_taps(size: int, rule: str = 'surgery') -> torch.Tensor:
    """The 1-D factor (size,) of Caffe's square bilinear kernels, as a float64 tensor.

    Both rules are 1 - |i - (size - 1) / 2| / ceil(size / 2). 'surgery' (upsample_filt in the FCN
    release's surgery.py) computes in float64; 'filler' (BilinearFiller in Caffe's filler.hpp) in
    float32, which rounds differently unless ceil(size / 2) is a power of two: 5, 6, 9, 10, ...
    FcnError for a size under 1 and an unknown rule.
    """
    if size < 1:
        raise FcnError(f'a bilinear kernel of {size} taps', do='Give at least 1.')
    half = (size + 1) // 2
    if rule == 'surgery':
        center = half - 1 if size % 2 else half - 0.5
        return 1 - (torch.arange(size, dtype=torch.float64) - center).abs() / half
    if rule == 'filler':
        center = torch.tensor((size - 1) / (2 * half), dtype=torch.float32)
        return (1 - (torch.arange(size, dtype=torch.float32) / half - center).abs()).double()
    raise FcnError(f"bilinear rule '{rule}'", do="Give 'surgery' or 'filler'.")


FILLERS = {f.__name__: f for f in (constant, uniform, gaussian, positive_unitball, xavier, msra,
                                   bilinear)}
