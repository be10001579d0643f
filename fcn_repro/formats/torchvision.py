"""torchvision's VGG16 as VGG16's caffemodel: the state dicts of vgg16 and vgg16_bn, which are files
such as vgg16-397923af.pth and vgg16_bn-6c64b313.pth (torchvision/models/vgg.py).

torchvision's nets take RGB of 0 to 1, less a mean, divided by a standard deviation; Caffe's take
BGR of 0 to 255 less a mean. The order of the channels and the deviation go into conv1_1's weights.
The mean does not: it stays where it is subtracted, in the data layers, because a convolution pads
with zeros, and 0 is the mean pixel only if the mean was subtracted before. In a bias it would be
wrong at every border.
"""

import pickle
import struct
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import FcnError, short
from ..files import open_regular
from ..proto import LayerParameter
from ..sizes import dims
from .safetensors import is_safetensors, read_safetensors

MEAN = (103.53, 116.28, 123.675)        # BGR, of 0 to 255: 255 x (0.406, 0.456, 0.485)
STD = (0.229, 0.224, 0.225)             # RGB, of 0 to 1
GROUPS = (2, 2, 3, 3, 3)                # VGG16's convolutions
CLASSIFIER = {'fc6': 0, 'fc7': 3, 'fc8': 6}     # the places of its InnerProducts
KERNEL = 3
BEGINNINGS = (b'PK\x03\x04', *(b'\x80' + bytes([protocol]) for protocol in range(2, 6)))
# What torch.load and its unpickler raise for damaged files, beside UnpicklingError.
DAMAGE = (RuntimeError, EOFError, ValueError, LookupError, TypeError, OSError, AttributeError,
          ArithmeticError, MemoryError, AssertionError, ImportError, struct.error)
LONGEST_NAME = 200                      # characters of a name that a message shows

Blobs = list[tuple[Any, list[np.ndarray]]]      # [(LayerParameter, its blobs)]


class Place(NamedTuple):
    """A convolution of torchvision's `features`: its name in Caffe, its index there, that of its
    batch normalisation (None without), and whether it is the first."""
    name: str
    conv: int
    norm: int | None
    first: bool


VGG16 = "Give the state dict of torchvision's vgg16 or vgg16_bn."


def is_state_dict(path: str | PathLike) -> bool:
    """Whether a file begins as torch.save's do, a zip archive, or before PyTorch 1.6 a pickle; or
    as safetensors do."""
    with open_regular(path, 'a file of weights') as file:
        begins = file.read(4).startswith(BEGINNINGS)
    return begins or is_safetensors(path)


def read_vgg16(path: str | PathLike, state: Mapping[str, Any] | None = None) -> Blobs:
    """The layers of VGG16's caffemodel from a state dict of torchvision's vgg16 or vgg16_bn, of any
    widths: conv1_1 … conv5_3, fc6, fc7 and fc8; of vgg16_bn also a BatchNorm bn1_1 (mean, variance
    and their factor, 1) and a Scale scale1_1 (scale, bias) for each convolution, as the own nets
    have them. fc6 may be missing, and what is after it.

    state: what `load` read of the file, None to do so here. FcnError for a file
    that holds anything but such a dict, and for tensors that are missing, left over or of other
    shapes than these."""
    state = load(path) if state is None else state
    normalised = 'features.1.weight' in state
    taken: set[str] = set()

    def take(name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        taken.add(name)
        return tensor(state, name, shape, path)
    layers: Blobs = []
    channels = 3
    for place in places(normalised):
        found = convolution(place, channels, take)
        layers += found
        channels = len(found[0][1][0])
    layers += classifier(state, channels, take)
    left = sorted(set(map(str, state)) - taken - {f'features.{place.norm}.num_batches_tracked'
                                                  for place in places(normalised)})
    if left:
        raise FcnError(f"holds '{short(left[0], LONGEST_NAME)}', which VGG16 does not have "
                       f'({len(left)} such tensors)', file=str(path), do=VGG16)
    return layers


def places(normalised: bool) -> Iterator[Place]:
    """Where the convolutions are in `features`: each is followed by a ReLU, before that by a batch
    normalisation where the net has them; each group by a pooling layer."""
    index = 0
    for group, count in enumerate(GROUPS, 1):
        for i in range(1, count + 1):
            yield Place(f'{group}_{i}', index, index + 1 if normalised else None, index == 0)
            index += 3 if normalised else 2
        index += 1


def convolution(place: Place, channels: int, take) -> Blobs:
    """The layers of one convolution and its batch normalisation."""
    weight = take(f'features.{place.conv}.weight', (None, channels, KERNEL, KERNEL))
    width = len(weight)
    if place.first:
        weight = weight / (255 * np.array(STD, np.float32))[:, None, None]
        weight = weight[:, ::-1]
    layers = [layer('conv', place, 'Convolution', weight,
                    take(f'features.{place.conv}.bias', (width,)))]
    if place.norm is not None:
        mean, variance, scale, bias = (
            take(f'features.{place.norm}.{name}', (width,))
            for name in ('running_mean', 'running_var', 'weight', 'bias'))
        layers += [layer('bn', place, 'BatchNorm', mean, variance, np.ones(1, np.float32)),
                   layer('scale', place, 'Scale', scale, bias)]
    return layers


def layer(prefix: str, place: Place, kind: str, *blobs: np.ndarray) -> tuple[Any, list[np.ndarray]]:
    """A layer of the caffemodel, with float32 blobs."""
    return (LayerParameter(name=prefix + place.name, type=kind),
            [np.ascontiguousarray(blob, np.float32) for blob in blobs])


def classifier(state: Mapping[str, Any], channels: int, take) -> Blobs:
    """fc6, fc7 and fc8, InnerProducts as in VGG16's caffemodel; as many as the file has. fc6 sees
    7x7 cells of pool5, flattened in the order that Caffe flattens them in."""
    layers, width = [], 49 * channels
    for name, index in CLASSIFIER.items():
        if f'classifier.{index}.weight' not in state:
            break
        weight = take(f'classifier.{index}.weight', (None, width))
        width = len(weight)
        layers.append((LayerParameter(name=name, type='InnerProduct'),
                       [weight, take(f'classifier.{index}.bias', (width,))]))
    return layers


def load(path: str | PathLike) -> Mapping[str, Any]:
    """The dict in a file of torch.save or of safetensors; FcnError for a file that holds anything
    else. torch.load is called with weights_only, so that nothing in the file is run."""
    if is_safetensors(path):
        return read_safetensors(path)
    with open_regular(path, 'a file of weights') as file:
        try:
            state = torch.load(file, map_location='cpu', weights_only=True)
        except pickle.UnpicklingError as error:
            raise FcnError(f'cannot be read as weights alone: {first_line(error)}', file=str(path),
                           do='Give a state dict: in PyTorch torch.save(net.state_dict(), path).'
                           ) from None
        except DAMAGE as error:
            raise FcnError(f'is damaged: {first_line(error)}', file=str(path),
                           do='Copy or download it again.') from None
    if not isinstance(state, Mapping):
        raise FcnError(f'holds a {type(state).__name__}, not a state dict', file=str(path),
                       do='In PyTorch: torch.save(net.state_dict(), path).')
    return state


def first_line(error: BaseException) -> str:
    """The beginning of an error's text."""
    return short((str(error) or type(error).__name__).strip().splitlines()[0], LONGEST_NAME)


def tensor(state: Mapping[str, Any], name: str, shape: tuple[int | None, ...],
           path: str | PathLike, do: str = VGG16) -> np.ndarray:
    """A tensor of the dict as float32; FcnError where there is none, and unless it is dense, of a
    float type and of this shape (None: any number above 0)."""
    found = state.get(name)
    if not isinstance(found, torch.Tensor):
        what = 'has no tensor' if found is None else f'has a {type(found).__name__} as'
        raise FcnError(f"{what} '{name}'", file=str(path), do=do)
    wanted = tuple(size or max(1, has) for size, has in zip(shape, found.shape, strict=False))
    if tuple(found.shape) != wanted or len(wanted) != len(shape) or \
            not found.is_floating_point() or found.layout != torch.strided:
        raise FcnError(f"'{name}' is {dims(tuple(found.shape))} {found.dtype}, not "
                       f'{dims(tuple("n" if size is None else size for size in shape))} floats',
                       file=str(path), do=do)
    return found.detach().to(torch.float32).numpy()
