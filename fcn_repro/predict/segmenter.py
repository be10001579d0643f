"""Segmenter: what a net predicts for an image, whole, in overlapping tiles, or in several views."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..data.image import MEAN, check_mean, to_blob
from ..errors import FcnError
from ..layers.internal.labelmap import BYTE
from ..net.cost import bottoms_of_plan, plan_bytes
from ..net.net import Net
from ..net.plan import Plan
from ..net.tiles import Tiling, shapes_of
from ..sizes import available, dims
from .crf import Crf
from .labels import image_input
from .outputs import LOGITS, MASK, SCORES, Output, find_output
from .resizing import resized
from .views import Views
from .windows import declared_size, windows_of

SHARE = 0.6             # of the memory that is free, for a plan: its cost is a lower bound
SMALLEST = 64           # pixels of an automatic tile's side at least, if the stride is less
LEAST = float(np.finfo(np.float32).tiny)        # probability

Run = Callable[[np.ndarray], list[np.ndarray]]      # an image or blob to values of each output


class Prediction(NamedTuple):
    """labels: (H, W) uint8. heat: (H, W) float32 probabilities of a one-channel output, or None.
    scores: (C, H, W) float32, the values of the blob itself; None where they were not asked for.
    averaged: whether scores are probabilities (classes, H, W), put together of several windows or
    views, or refined by a CRF."""
    labels: np.ndarray
    heat: np.ndarray | None
    scores: np.ndarray | None
    averaged: bool = False

    def probabilities(self, output: Output) -> np.ndarray:
        """Probabilities (classes, H, W) float32, where scores were asked for. FcnError as
        Output.probabilities."""
        assert self.scores is not None
        return self.scores if self.averaged else output.probabilities(self.scores)


class Segmenter:
    """Runs a deploy net over images.

    net: with its weights, placed. mean: BGR. outputs: of find_output (None: what that finds).
    tile: the side in pixels of the tiles in which a larger image is run, rounded to the net's
    stride; None: tiles where the memory that is free would not do for the whole; 0: never. Tiles
    overlap by what the net sees, so that their results are those of the whole (net/tiles.py).
    views: sizes, mirrored images and sliding windows, whose probabilities are averaged. A net whose
    outputs lack a margin of its input, as Dilation's do, runs in windows of its own
    (windows.Mirrored), whatever the views. crf: of the whole image, after all this.

    FcnError for a net whose one input is no image, a negative tile, a tile for a net that runs in
    windows, and outputs without probabilities where these are to be averaged or refined.
    """

    def __init__(self, net: Net, mean: Sequence[float] | np.ndarray = MEAN,
                 outputs: Sequence[Output] | None = None, tile: int | None = None,
                 views: Views | None = None, crf: Crf | None = None):
        if tile is not None and tile < 0:
            raise FcnError(f'tile is {tile}', code='negative', facts={'option': 'tile'},
                           do='Give tile of at least 0.')
        self.net, self.mean, self.tile, self.crf = net, check_mean(mean), tile, crf
        self.data = image_input(net)
        self.outputs = (find_output(net),) if outputs is None else tuple(outputs)
        self.views = Views() if views is None else views
        self.windows = windows_of(net, self.data, self.outputs, self.views.sliding)
        if self.averages or crf is not None:
            for output in self.outputs:
                output.probabilities(np.zeros((output.classes, 1, 1), np.float32))
        if self.windows is not None and tile:
            raise FcnError(f'tile is {tile}, for a net that runs in windows of '
                           f'{dims(self.windows.size)}', code='tile-unused', do='Leave out tile.')
        self._tiling: Tiling | None = None
        self._costed: tuple = (None, 0)         # (height, width, scores), bytes: the latest cost

    @property
    def averages(self) -> bool:
        """Whether probabilities of several windows or views are put together."""
        return self.windows is not None or not self.views.plain

    @property
    def words(self) -> tuple[str, ...]:
        """How images are shown to the net, for people; () for whole ones."""
        found = self.windows.words if self.windows is not None else '', self.views.words
        return tuple(text for text in found if text)

    @property
    def tiling(self) -> Tiling:
        """The net's tiles, found once. FcnError for a net that does not run in tiles."""
        if self._tiling is None:
            self._tiling = Tiling(self.net, self.data, [each.value for each in self.outputs])
        return self._tiling

    # ---- sizes and memory --------------------------------------------------------------------

    def check(self, height: int, width: int) -> None:
        """FcnError if the net does not take an image of this size, or does not return it."""
        for size in self.views.sizes(height, width):
            if self.windows is None:
                self._check_whole(*size)

    def _check_whole(self, height: int, width: int) -> None:
        size = declared_size(self.net, self.data)
        try:
            side = self.side(height, width)
            shapes = self.tiling.shapes(height, width) if side else self._reshaped(height, width)
        except FcnError as error:
            if not error.code and self._takes_only(size, (height, width)):
                raise FcnError(f'{error.what}; the net is written for {dims(size)} alone',
                               file=error.file, line=error.line, layer=error.layer, type=error.type,
                               code='fixed-size', facts={'size': dims(size)},
                               do='Run it in sliding windows of that size.') from None
            raise
        for output in self.outputs:
            shape = shapes[output.value]
            if shape[-2:] == (height, width):
                continue
            if self._takes_only(size, (height, width)):
                raise FcnError(f"'{output.blob}' is {dims(shape[-2:])}; the net is written for "
                               f'{dims(size)} alone', file=self.net.graph.file, code='fixed-size',
                               facts={'size': dims(size)},
                               do='Run it in sliding windows of that size.')
            own = self.net.own_size({self.data: (1, 3, height, width)})
            raise FcnError(f"'{output.blob}' is {dims(shape[-2:])}{own and f', and {own}'}",
                           code='score-size',
                           do='Crop it to the data, or draw the class grid of a classifier with '
                              'predict.heatmap.')

    def _takes_only(self, declared: tuple[int, int], other: tuple[int, int]) -> bool:
        """Whether the net takes the declared size and none but that: not the other one, with which
        something is wrong, nor one twice as large."""
        height, width = declared
        return declared != other and self._takes(height, width) \
            and not self._takes(2 * height, 2 * width) \
            and not self._takes(2 * height - 1, 2 * width - 1)      # strides with aligned corners

    def _takes(self, height: int, width: int) -> bool:
        """Whether the net gives outputs of its input's size for this one."""
        try:
            shapes = shapes_of(self.net, self.data, height, width)
        except FcnError:
            return False
        return all(shapes[each.value][-2:] == (height, width) for each in self.outputs)

    def _reshaped(self, height: int, width: int) -> dict[int, tuple]:
        self.net.reshape({self.data: (1, 3, height, width)})
        return self.net.shapes

    def side(self, height: int, width: int, scores: bool = False) -> int:
        """The side of the tiles in which an image of this size is run; 0: whole."""
        if self.tile is not None:
            return self.tile if 0 < self.tile < max(height, width) else 0
        plan, free = self._plan(scores), SHARE * available(self.net.options.gpu)
        if self._costed[0] != (height, width, scores):
            self._costed = (height, width, scores), self._bytes(plan, height, width)
        if self._costed[1] <= free:
            return 0
        try:
            stride = max(self.tiling.stride)
        except FcnError as error:
            if error.code != 'no-tiles':
                raise
            return 0                            # the executor says what memory it takes
        side = least = -(-SMALLEST // stride) * stride
        while 2 * side < max(height, width) and self._tile_bytes(plan, height, width,
                                                                 2 * side) <= free:
            side *= 2
        return max(side, least)

    def _plan(self, scores: bool) -> Plan:
        if len(self.outputs) == 1 and not scores:
            return self.outputs[0].plan(self.net)
        return self.net.executor.plan(frozenset(each.blob for each in self.outputs))

    def _bytes(self, plan: Plan, height: int, width: int) -> int:
        shapes = self.net.shapes | {self.data: (1, 3, height, width)}
        return plan_bytes(plan, self.net, shapes)

    def _tile_bytes(self, plan: Plan, height: int, width: int, side: int) -> int:
        """Bytes for the largest part that tiles of this side need."""
        parts = [tile.part for tile in self.tiling.tiles(height, width, side)]
        most = [max(part[axis].end - part[axis].first for part in parts) for axis in (0, 1)]
        return self._bytes(plan, *most)

    # ---- running -----------------------------------------------------------------------------

    def predict(self, image: np.ndarray, scores: bool = False) -> list[Prediction]:
        """What each output says of an image (H, W, 3) uint8 RGB, of a size that `check` accepts.
        scores: keep the values of the blobs, too."""
        if self.crf is None:
            return self._without_crf(image, scores)
        return [of_probabilities(output, self.crf.refine(found.probabilities(output), image))
                for output, found in zip(self.outputs, self._without_crf(image, True), strict=True)]

    def _without_crf(self, image: np.ndarray, scores: bool) -> list[Prediction]:
        if self.averages:
            return self._averaged(image)
        return self._at_once(image, scores)

    def _at_once(self, image: np.ndarray, scores: bool) -> list[Prediction]:
        if side := self.side(image.shape[0], image.shape[1], scores):
            return self._in_tiles(image, scores, side)
        return self._run(image, scores)

    def _averaged(self, image: np.ndarray) -> list[Prediction]:
        """The predictions of the mean of the views' probabilities."""
        own = image.shape[0], image.shape[1]
        sums: list[np.ndarray] = []
        for size in self.views.sizes(*own):
            found = self._view(image if size == own else in_size(image, size))
            if size != own:
                found = [each / each.sum(0) for each in (resized(each, own) for each in found)]
            if sums:
                found = [total + each for total, each in zip(sums, found, strict=True)]
            sums = found
        count = np.float32(len(self.views.scales))
        return [of_probabilities(output, total / count)
                for output, total in zip(self.outputs, sums, strict=True)]

    def _view(self, image: np.ndarray) -> list[np.ndarray]:
        """The probabilities (classes, H, W) of each output for an image of any size."""
        if self.windows is None:
            return self._probabilities(image, 1, self._whole, self.views.flip)
        if self.windows.mirrors_parts:
            return self._in_windows(image, self.views.flip)
        found = self._in_windows(image, False)
        if not self.views.flip:
            return found
        return [multiplied(one, np.flip(other, 2)) for one, other in
                zip(found, self._in_windows(np.flip(image, 1), False), strict=True)]

    def _in_windows(self, image: np.ndarray, flip: bool) -> list[np.ndarray]:
        assert self.windows is not None
        return self.windows.run(to_blob(image, self.mean), self.mean, lambda part:
                                self._probabilities(part, 2, self._of_blob, flip))

    def _probabilities(self, what: np.ndarray, axis: int, run: Run, flip: bool) -> list[np.ndarray]:
        """Those of run(what), what an image or a blob; with flip of the sum of its scores and those
        of its mirror image along an axis."""
        found = run(what)
        if flip:
            found = [summed(output, one, np.flip(other, 2)) for output, one, other in
                     zip(self.outputs, found, run(np.flip(what, axis)), strict=True)]
        return [output.probabilities(each)
                for output, each in zip(self.outputs, found, strict=True)]

    def _whole(self, image: np.ndarray) -> list[np.ndarray]:
        """The values (C, H, W) of the outputs for an image."""
        return [each.scores for each in self._at_once(image, True) if each.scores is not None]

    def _of_blob(self, blob: np.ndarray) -> list[np.ndarray]:
        """The values (C, H, W) of the outputs for a blob (3, H, W)."""
        with torch.inference_mode():
            found = self.net.forward([each.blob for each in self.outputs],
                                     data=np.ascontiguousarray(blob)[None])
            return [as_maps(found[output.blob][0].float()) for output in self.outputs]

    def _in_tiles(self, image: np.ndarray, scores: bool, side: int) -> list[Prediction]:
        height, width = image.shape[:2]
        whole = self.net.shapes | {self.data: (1, 3, height, width)}
        self.net.run_as(bottoms_of_plan(self._plan(scores), self.net, whole))
        made: list[Prediction] = []
        try:
            for tile in self.tiling.tiles(height, width, side):
                part = image[tuple(slice(*span) for span in tile.part)]
                found = self._run(np.ascontiguousarray(part), scores)
                made = made or [empty(each, height, width) for each in found]
                inner = tuple(slice(cells.first - part.first, cells.end - part.first)
                              for cells, part in zip(tile.cells, tile.part, strict=True))
                for target, source in zip(made, found, strict=True):
                    put(target, source, tuple(slice(*span) for span in tile.cells), inner)
        finally:
            self.net.run_as({})
        return made

    def _run(self, image: np.ndarray, scores: bool) -> list[Prediction]:
        data = to_blob(image, self.mean)[None]
        if len(self.outputs) == 1 and not scores:
            return [Prediction(*self.outputs[0].predict(self.net, data=data), None)]
        with torch.inference_mode():
            found = self.net.forward([each.blob for each in self.outputs], data=data)
            return [prediction(each, found[each.blob][0].float(), scores)
                    for each in self.outputs]


def prediction(output: Output, values: torch.Tensor, scores: bool) -> Prediction:
    """The Prediction of a blob's values (C, H, W) or (H, W)."""
    return Prediction(*output.read(values), as_maps(values) if scores else None)


def as_maps(values: torch.Tensor) -> np.ndarray:
    """A blob's values (C, H, W) or (H, W) as an array (C, H, W)."""
    return (values if values.ndim == 3 else values[None]).cpu().numpy()


def in_size(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) uint8 in another size."""
    return np.ascontiguousarray(resized(image.transpose(2, 0, 1), size).transpose(1, 2, 0))


def summed(output: Output, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Values (C, H, W) of an output's blob whose scores are the sums of those of two others: of
    what a Softmax or a Sigmoid made, of those before it."""
    if output.kind == SCORES:
        return multiplied(one, other) if output.made_by == 'Softmax' else one + other
    if output.probability == LOGITS:
        return one + other
    logits = (torch.logit(torch.from_numpy(np.ascontiguousarray(p)).double(), LEAST)
              for p in (one, other))
    return torch.sigmoid(sum(logits, torch.zeros(()))).float().numpy()


def multiplied(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Two arrays of probabilities (classes, H, W) multiplied and scaled to the sum 1: what the sum
    of their scores gives."""
    logarithm = np.log(np.maximum(one, LEAST)) + np.log(np.maximum(other, LEAST))
    return torch.softmax(torch.from_numpy(logarithm), 0).numpy()


def of_probabilities(output: Output, found: np.ndarray) -> Prediction:
    """The Prediction of probabilities (classes, H, W) of an output."""
    if output.kind != MASK:
        labels = found.argmax(0).astype(np.uint8 if len(found) <= BYTE else np.int64)
        return Prediction(labels, None, found, True)
    # a threshold of logits is one of their probabilities
    least = 1 / (1 + math.exp(-output.threshold)) if output.probability == LOGITS else \
        output.threshold
    return Prediction((found[1] > least).astype(np.uint8), found[1], found, True)


def empty(like: Prediction, height: int, width: int) -> Prediction:
    """A Prediction of that size to fill."""
    def room(part: np.ndarray | None) -> np.ndarray | None:
        return None if part is None else np.empty((*part.shape[:-2], height, width), part.dtype)
    return Prediction(np.empty((height, width), like.labels.dtype), room(like.heat),
                      room(like.scores))


def put(target: Prediction, source: Prediction, cells: tuple, inner: tuple) -> None:
    """Copy the part `inner` of a tile's prediction into `cells` of the image's."""
    for whole, part in ((target.labels, source.labels), (target.heat, source.heat),
                        (target.scores, source.scores)):
        if whole is not None and part is not None:
            whole[(..., *cells)] = part[(..., *inner)]
