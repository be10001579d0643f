"""Segmenter: what a net predicts for an image, whole or in overlapping tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..data.image import MEAN, check_mean, to_blob
from ..errors import FcnError
from ..net.cost import bottoms_of_plan, plan_bytes
from ..net.net import Net
from ..net.plan import Plan
from ..net.tiles import Tiling
from ..sizes import available, dims
from .crf import Crf
from .labels import image_input
from .outputs import Output, find_output

SHARE = 0.6             # of the memory that is free, for a plan: its cost is a lower bound
SMALLEST = 64           # pixels of an automatic tile's side at least, if the stride is less


class Prediction(NamedTuple):
    """labels: (H, W) uint8. heat: (H, W) float32 probabilities of a one-channel output, or None.
    scores: (C, H, W) float32, the values of the blob itself; None where they were not asked for.
    refined: (classes, H, W) float32, the probabilities after a CRF; None without one."""
    labels: np.ndarray
    heat: np.ndarray | None
    scores: np.ndarray | None
    refined: np.ndarray | None = None


class Segmenter:
    """Runs a deploy net over images.

    net: with its weights, placed. mean: BGR. outputs: of find_output (None: what that finds).
    tile: the side in pixels of the tiles in which a larger image is run, rounded to the net's
    stride; None: tiles where the memory that is free would not do for the whole; 0: never. Tiles
    overlap by what the net sees, so that their results are those of the whole (net/tiles.py). crf:
    of the whole image, after the net; the outputs need probabilities.
    FcnError for a net whose one input is no image, and for a negative tile.
    """

    def __init__(self, net: Net, mean: Sequence[float] | np.ndarray = MEAN,
                 outputs: Sequence[Output] | None = None, tile: int | None = None,
                 crf: Crf | None = None):
        if tile is not None and tile < 0:
            raise FcnError(f'tile is {tile}', code='negative', facts={'option': 'tile'},
                           do='Give tile of at least 0.')
        self.net, self.mean, self.tile, self.crf = net, check_mean(mean), tile, crf
        self.data = image_input(net)
        self.outputs = (find_output(net),) if outputs is None else tuple(outputs)
        self._tiling: Tiling | None = None
        self._costed: tuple = (None, 0)         # (height, width, scores), bytes: the latest cost

    @property
    def tiling(self) -> Tiling:
        """The net's tiles, found once. FcnError for a net that does not run in tiles."""
        if self._tiling is None:
            self._tiling = Tiling(self.net, self.data, [each.value for each in self.outputs])
        return self._tiling

    # ---- sizes and memory --------------------------------------------------------------------

    def check(self, height: int, width: int) -> None:
        """FcnError if the net does not take an image of this size, or does not return it."""
        side = self.side(height, width)
        shapes = self.tiling.shapes(height, width) if side else self._reshaped(height, width)
        for output in self.outputs:
            shape = shapes[output.value]
            if shape[-2:] != (height, width):
                own = self.net.own_size({self.data: (1, 3, height, width)})
                raise FcnError(f"'{output.blob}' is {dims(shape[-2:])}{own and f', and {own}'}",
                               code='score-size',
                               do='Crop it to the data, or draw the class grid of a classifier '
                                  'with predict.heatmap.')

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
        if self.crf is not None:
            return [after(self.crf, output, found, image) for output, found in
                    zip(self.outputs, self._predict(image, True), strict=True)]
        return self._predict(image, scores)

    def _predict(self, image: np.ndarray, scores: bool) -> list[Prediction]:
        height, width = image.shape[:2]
        if side := self.side(height, width, scores):
            return self._in_tiles(image, scores, side)
        return self._run(image, scores)

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
    return Prediction(*output.read(values), (values if values.ndim == 3 else values[None])
                      .cpu().numpy() if scores else None)


def after(crf: Crf, output: Output, found: Prediction, image: np.ndarray) -> Prediction:
    """A Prediction with its scores, after a CRF."""
    labels, refined = crf.read(output, torch.from_numpy(found.scores), image)
    return found._replace(labels=labels, refined=refined,
                          heat=None if found.heat is None else refined[1])


def empty(like: Prediction, height: int, width: int) -> Prediction:
    """A Prediction of that size to fill."""
    def room(part: np.ndarray | None) -> np.ndarray | None:
        return None if part is None else np.empty((*part.shape[:-2], height, width), part.dtype)
    return Prediction(np.empty((height, width), like.labels.dtype), room(like.heat),
                      room(like.scores))


def put(target: Prediction, source: Prediction, cells: tuple, inner: tuple) -> None:
    """Copy the part `inner` of a tile's prediction into `cells` of the image's."""
    for whole, part in zip(target, source, strict=True):
        if whole is not None and part is not None:
            whole[(..., *cells)] = part[(..., *inner)]
