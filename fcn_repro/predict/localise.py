"""Where the classes of an image are, by the class maps of a net that learned from image tags, and
the seeds that follow: labels where a map is high, or all are low."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from ..data.image import VOID, to_blob
from ..data.own import fitting
from ..errors import FcnError
from ..net.net import Net
from ..proto import TRAIN
from ..proto.prototxt import NetText
from .labels import image_input

MAPS = 'maps'           # the blob of class maps


def windowed(text: NetText) -> list[int]:
    """The layers, by index, that drop values of windows at random in training (FickleNet's)."""
    return [i for i, layer in enumerate(text.message.layer)
            if layer.type == 'Dropout' and layer.fcn_repro_param.window]


def with_passes(text: NetText, passes: int) -> NetText:
    """A net of phase TEST with `passes` random draws of its windowed Dropout as a batch: what that
    reads is computed once and repeated. FcnError for a net without such a layer, or with several,
    and for passes below 1."""
    if passes < 1:
        raise FcnError(f'passes is {passes}', code='not-positive', facts={'option': 'passes'},
                       do='Give passes of at least 1.')
    found = windowed(text)
    if len(found) != 1:
        raise FcnError(f'passes are random by a Dropout of windows, and the net has {len(found)}',
                       file=text.file, code='option-not-taken', facts={'option': 'passes'},
                       do='Leave out passes.')
    message, at = type(text.message)(), found[0]
    message.CopyFrom(text.message)
    del message.layer[at:]
    drop, name = text.message.layer[at], f'{text.message.layer[at].name}_passes'
    tile = message.layer.add(name=name, type='Tile', bottom=[drop.bottom[0]], top=[name])
    tile.tile_param.axis, tile.tile_param.tiles = 0, passes
    message.layer.extend(text.message.layer[at:])
    drawn = message.layer[at + 1]
    drawn.bottom[0], drawn.phase = name, TRAIN
    return replace(text, message=message, lines=(*text.lines[:at], None, *text.lines[at:]))


class Localiser:
    """Runs a net that learned from tags over images.

    net: a deploy net with its weights, placed, maybe as with_passes() makes it; maps: its blob of
    class maps (N,classes-1,h,w). mean: BGR. largest: (height, width) of the images that it learned
    from: larger ones are made smaller to fit, as they were.
    """

    def __init__(self, net: Net, maps: str, mean: Sequence[float], largest: tuple[int, int]):
        self.net, self.mean, self.largest = net, mean, largest
        if maps not in net.blobs:
            found = [name for name in net.blobs if name.startswith('maps')]
            raise FcnError(f"the net has no blob '{maps}'", file=net.graph.file,
                           do=f'Its class maps are {" and ".join(found)}.')
        self.blob, value = maps, net.graph.last(maps)
        self.layer, self.classes = net.graph.producer(value).name, net.shapes[value][1]
        data = net.shapes[image_input(net)]
        self.stride = max(1, round(data[2] / net.shapes[value][2]))
        self.lock = Lock()          # a net runs one image at a time

    def maps(self, image: np.ndarray, k: int) -> torch.Tensor:
        """The class maps of an image (H, W, 3) uint8 RGB, at its size: (classes, H, W) float32 on
        the CPU, each from 0 to its maximum, 1; 0 everywhere where it is not above 0. Of several
        passes the highest. k: the number of the image, of which random draws are a function."""
        height, width = image.shape[:2]
        factor = fitting((height, width), self.largest)
        size = max(1, round(factor * width)), max(1, round(factor * height))
        small = image if factor == 1 else np.asarray(
            Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        data = torch.from_numpy(to_blob(small, self.mean))[None].to(self.net.options.device)
        with self.lock, torch.inference_mode():
            self.net.seek(k)
            found = self.net.forward(self.blob, stop_after=self.layer, data=data)[self.blob]
            found = normalised(found.float().cpu()).amax(0, keepdim=True)
        cells = interpolate(found, scale_factor=self.stride, mode='bilinear')
        return interpolate(cells[:, :, :size[1], :size[0]], (height, width), mode='bilinear')[0]


def normalised(maps: torch.Tensor) -> torch.Tensor:
    """Maps (N, C, h, w) without what is below 0, each divided by its maximum if that is above 0."""
    maps = maps.clamp(min=0)
    most = maps.amax((2, 3), keepdim=True)
    return maps / torch.where(most > 0, most, 1)


def seeds(maps: torch.Tensor, tags: np.ndarray, foreground: float, background: float) \
        -> np.ndarray:
    """The seeds (H, W) uint8 of class maps (C, H, W) from 0 to 1: of the classes that are in the
    image (tags, (C,) bool) the one whose map is highest, where that is at least `foreground`; 0
    where all are at most `background`; else VOID."""
    present = np.flatnonzero(tags)
    label = np.full(maps.shape[1:], VOID, np.uint8)
    if not present.size:
        label[:] = 0
        return label
    most, winner = (each.numpy() for each in maps[present].max(0))
    label[most <= background] = 0
    sure = most >= foreground
    label[sure] = present[winner[sure]] + 1
    return label


def check_thresholds(foreground: float, background: float) -> None:
    """FcnError unless 0 <= background <= foreground <= 1, and foreground is above 0."""
    if not 0 <= background <= foreground <= 1 or not foreground:
        raise FcnError(f'foreground is {foreground:g} and background {background:g}: of maps whose '
                       'maximum is 1 a pixel is of a class from the first on, and background up to '
                       'the second', code='bad-thresholds',
                       do='Give two numbers from 0 to 1, foreground above 0 and not below '
                          'background.')
