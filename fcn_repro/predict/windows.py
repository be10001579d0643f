"""Windows: an image in parts of the one size that a net is written for.

A net of PSPNet's has poolings for that size; Dilation's reads, unpadded, a margin around what it
labels. Both run on a padded image in windows of their input's size, whose probabilities are put
together: averaged where windows overlap. net/tiles.py is something else: parts of any size, with
the results of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..errors import FcnError
from ..layers.common.coordinates import IDENTITY
from ..net.coord_map import compose
from ..net.crops import way
from ..net.net import Net
from ..net.tiles import shapes_of
from ..sizes import dims
from .outputs import Output

Pair = tuple[int, int]
STRIDE = 2 / 3          # of a window's side, from one to the next


@dataclass(frozen=True)
class Windows:
    """size: of the net's input, (H, W). mirrors_parts: whether the mirror image of an image is run
    as that of each window, as in PSPNet's evaluation; else as an image of its own."""
    size: Pair
    mirrors_parts = True

    def run(self, blob: np.ndarray, mean: np.ndarray,
            forward: Callable[[np.ndarray], list[np.ndarray]]) -> list[np.ndarray]:
        """The probabilities (C, H, W) of an image's blob (3, H, W) that has lost its mean pixel.
        forward: those of a window's blob, each (C, h, w), one for each output."""
        height, width = blob.shape[1:]
        padded = self.padded(blob, mean)
        rows, columns = (self.places(axis, n) for axis, n in enumerate((height, width)))
        sums: list[np.ndarray] = []
        for y in rows:
            for x in columns:
                found = forward(self.window(padded, y, x))
                if not sums:
                    ends = self.cells(rows[-1], columns[-1])
                    sums = [np.zeros((len(each), *(end + side for end, side in zip(
                        ends, each.shape[1:], strict=True))), np.float32) for each in found]
                    times = np.zeros(sums[0].shape[1:], np.float32)
                top, left = self.cells(y, x)
                h, w = found[0].shape[1:]
                for total, each in zip(sums, found, strict=True):
                    total[:, top:top + h, left:left + w] += each
                times[top:top + h, left:left + w] += 1
        return [self.at_size(total / times, (height, width)) for total in sums]

    def padded(self, blob: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """The blob with what windows need around it."""
        raise NotImplementedError(f'{type(self).__name__} has no padded()')

    def places(self, axis: int, length: int) -> list[int]:
        """Where windows begin in the padded blob, along an axis of `length` pixels."""
        raise NotImplementedError(f'{type(self).__name__} has no places()')

    def window(self, padded: np.ndarray, y: int, x: int) -> np.ndarray:
        """The blob of the window that begins there."""
        return padded[:, y:y + self.size[0], x:x + self.size[1]]

    def cells(self, y: int, x: int) -> Pair:
        """The first cell of the outputs of the window that begins there."""
        return y, x

    def at_size(self, found: np.ndarray, size: Pair) -> np.ndarray:
        """The probabilities of the image's pixels."""
        return found[:, :size[0], :size[1]]

    @property
    def words(self) -> str:
        """For people."""
        raise NotImplementedError(f'{type(self).__name__} has no words')


@dataclass(frozen=True)
class Sliding(Windows):
    """PSPNet's: each window begins two thirds of one beyond the one before, the last one ends with
    the image; of images under a window's size the rest is the mean pixel."""

    def padded(self, blob: np.ndarray, mean: np.ndarray) -> np.ndarray:
        missing = [max(0, size - n) for size, n in zip(self.size, blob.shape[1:], strict=True)]
        if not any(missing):
            return blob
        # beside an image that needs several windows its 8-bit pixels are padded, with the mean's
        several = any(n > size for size, n in zip(self.size, blob.shape[1:], strict=True))
        out = np.empty((3, *(n + m for n, m in zip(blob.shape[1:], missing, strict=True))),
                       np.float32)
        out[:] = (np.floor(mean + 0.5) - mean if several else np.zeros(3))[:, None, None]
        out[:, :blob.shape[1], :blob.shape[2]] = blob
        return out

    def places(self, axis: int, length: int) -> list[int]:
        size = self.size[axis]
        step, last = math.ceil(size * STRIDE), max(0, length - size)
        return [min(k * step, last) for k in range(-(-last // step) + 1)]

    @property
    def words(self) -> str:
        return f'windows of {dims(self.size)}, {math.ceil(self.size[0] * STRIDE)} pixels apart'


@dataclass(frozen=True)
class Mirrored(Windows):
    """Dilation's: windows of what the net labels side by side, the image mirrored around it.

    margin: pixels of the input at each side that are not labelled. zoom: pixels a cell; the cell i
    is taken for the pixel zoom i, as its predict script does it. Behind the last cell, where the
    script reads beyond its array, nothing changes; windows that end within a cell (KITTI's, of
    images wider than 1268 pixels, which the script shifts) begin at whole ones.
    """
    margin: Pair
    zoom: int
    mirrors_parts = False       # cells lie to the left of their middle, mirrored or not

    def padded(self, blob: np.ndarray, mean: np.ndarray) -> np.ndarray:
        rows, columns = (mirror(-m, n + 2 * m, n)
                         for m, n in zip(self.margin, blob.shape[1:], strict=True))
        return blob[:, rows][:, :, columns]

    def places(self, axis: int, length: int) -> list[int]:
        labelled = self.size[axis] - 2 * self.margin[axis]
        return list(range(0, length, labelled // self.zoom * self.zoom))

    def window(self, padded: np.ndarray, y: int, x: int) -> np.ndarray:
        part = super().window(padded, y, x)
        rows, columns = (mirror(0, size, n)
                         for size, n in zip(self.size, part.shape[1:], strict=True))
        return part[:, rows][:, :, columns]

    def cells(self, y: int, x: int) -> Pair:
        return y // self.zoom, x // self.zoom

    def at_size(self, found: np.ndarray, size: Pair) -> np.ndarray:
        if self.zoom == 1:
            return super().at_size(found, size)
        for axis in 1, 2:
            cells, part = np.divmod(np.arange(size[axis - 1]), self.zoom)
            after = np.minimum(cells + 1, found.shape[axis] - 1)
            weight = (part / self.zoom).reshape((-1, 1) if axis == 1 else -1)
            found = weight * found.take(after, axis) + (1 - weight) * found.take(cells, axis)
        return found.astype(np.float32)

    @property
    def words(self) -> str:
        zoom = f', and its {self.zoom}x{self.zoom} cells are interpolated' if self.zoom > 1 else ''
        return (f'the net labels its input of {dims(self.size)} but for a margin of '
                f'{dims(self.margin)}: images are mirrored there, as in the predict script of '
                f'Dilation{zoom}')


def mirror(begin: int, length: int, size: int) -> np.ndarray:
    """Which of `size` cells stand at begin, begin + 1, … beyond whose edges all is mirrored, the
    cell at the edge only once."""
    if size == 1:
        return np.zeros(length, np.int64)
    at = np.arange(begin, begin + length) % (2 * (size - 1))
    return np.where(at < size, at, 2 * (size - 1) - at)


def windows_of(net: Net, source: int, outputs: Sequence[Output], sliding: bool) -> Windows | None:
    """In which windows a net runs: Mirrored where its outputs lack a margin of its input, else
    Sliding if asked for; None for whole images. FcnError for sliding windows of a net that has its
    own, and of one whose outputs are not as large as its input."""
    size = declared_size(net, source)
    margin = margin_of(net, source, outputs, size)
    if margin is not None:
        if sliding:
            raise FcnError('the net has windows of its own: it labels its input of '
                           f'{dims(size)} but for a margin of {dims(margin.margin)}',
                           file=net.graph.file, code='own-windows', do='Leave out sliding.')
        return margin
    if not sliding:
        return None
    shapes = shapes_of(net, source, *size)
    for output in outputs:
        if shapes[output.value][-2:] != size:
            raise FcnError(f"'{output.blob}' is {dims(shapes[output.value][-2:])} for an input of "
                           f'{dims(size)}', file=net.graph.file, code='score-size',
                           do='Crop it to the data, or draw the class grid of a classifier with '
                              'predict.heatmap.')
    return Sliding(size)


def declared_size(net: Net, source: int) -> Pair:
    """(H, W) that the text gives its input, whatever the net was reshaped to."""
    node = net.graph.producer(source)
    _, _, height, width = net.layer(node).shape([])[node.tops.index(source)]
    return height, width


def margin_of(net: Net, source: int, outputs: Sequence[Output], size: Pair) -> Mirrored | None:
    """The windows of a net whose outputs lack the same margin of its input at all sides: cells of
    zoom x zoom pixels, of which the first is centred in its pixels. None for other nets."""
    found: Mirrored | None = None
    shapes = shapes_of(net, source, *size)
    for output in outputs:
        found_map = map_to(net, source, output.value)
        if found_map is None:
            return None
        _, scale, shift = found_map
        margin, zoom = [], set()
        for axis in (0, 1):
            each, first = 1 / axis_of(scale, axis), -axis_of(shift, axis) / axis_of(scale, axis)
            missing = first - (each - 1) / 2
            if each < 1 or missing < 1 or each.denominator != 1 or missing.denominator != 1 \
                    or shapes[output.value][-2 + axis] != -(-(size[axis] - 2 * missing) // each):
                return None
            margin.append(int(missing))
            zoom.add(int(each))
        this = Mirrored(size, (margin[0], margin[1]), zoom.pop())
        if zoom or found not in (None, this):
            return None
        found = this
    return found


def map_to(net: Net, source: int, value: int) -> tuple | None:
    """The coordinate map from a net's input to another value, along first bottoms; None where a
    layer between them has none."""
    found = IDENTITY
    for each in way(net.graph, value):
        if each == source:
            return found
        node = net.graph.producer(each)
        if not node.bottoms:
            return None
        layer, bottom = net.layer(node), net.shapes[node.bottoms[0]]
        step = IDENTITY if layer.local else layer.cell_map(bottom)
        if step is None:
            return None
        found = compose(found, step)
    return None


def axis_of(numbers: np.ndarray, axis: int) -> Fraction:
    return Fraction(numbers[axis if len(numbers) > 1 else 0])
