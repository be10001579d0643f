"""Heatmaps: the class grid of a classifier, cast and run over a whole image (paper, Figure 2)."""

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..data.image import check_mean, to_blob
from ..errors import FcnError
from ..formats.atomic import write_bytes
from ..layers import layer_class
from ..net.cast import cast_classifier
from ..net.coord_map import coord_map_from_to, inverse
from ..net.net import Net
from ..proto import dialect_of
from ..proto.netspec import Function
from ..report.heatmap import save_heatmap
from ..sizes import dims
from .labels import class_names, image_input, score_output


def cast_net(classifier: Net) -> Net:
    """The fully convolutional form of a classifier's Net, without weights, cut behind its scores.

    The scores are the net's only output or, if that is a Softmax, its input. FcnError for a net
    whose scores are not made by an InnerProduct or a Convolution. The layers of a net that is
    already fully convolutional stay as they are.
    """
    graph = cast_classifier(classifier)
    name, value = score_output(classifier)
    node = graph.producer(value)
    while layer_class(node.type, dialect_of(node.param)).keeps_ranking:
        value = node.bottoms[0]
        node = graph.producer(value)
    if node.type != 'Convolution':
        raise FcnError(f"'{name}' is made by a {node.type}, a classifier's scores by an "
                       'InnerProduct or a Convolution', file=graph.file, layer=node.name,
                       type=node.type, code='not-classifier',
                       do='For a segmentation net draw label maps (predict.labels).')
    nodes = graph.nodes[:graph.nodes.index(node) + 1]
    return Net(replace(graph, nodes=nodes, outputs=(graph.values[value],)))


def cell_places(net: Net, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """(stride, first), arrays (2,): cell (i, j) of the value `target` has the centre of its
    receptive field at first + stride * (i, j) of the value `source`, in its cells (of an image:
    pixels).

    FcnError if a layer between them has no coordinate map.
    """
    layers: dict = {}
    tops: dict = {}
    for node in net.graph.nodes:
        fn = Function(node.type, [tops[v] for v in node.bottoms], {'ntop': len(node.tops)})
        tops.update(zip(node.tops, fn.tops, strict=True))
        layers[fn] = net.layer(node), [net.shapes[v] for v in node.bottoms]

    def cell_map(fn):
        layer, bottoms = layers[fn]
        return layer.cell_map(bottoms[0])

    try:
        _, stride, first = inverse(coord_map_from_to(tops[source], tops[target], cell_map))
    except FcnError as error:
        raise FcnError(f'the position of the score cells in the image is unknown: {error.what}',
                       file=net.graph.file, do='Give a net of convolutions and poolings with '
                       'kernels of fixed size (a global pooling has one cell).') from None
    return (np.broadcast_to(np.array([float(v) for v in stride]), 2),
            np.broadcast_to(np.array([float(v) for v in first]), 2))


class Heatmaps:
    """Class grids of photographs as files, a job for photos.process: <name>.heatmap.png, and with
    save_scores <name>.npz with scores (C, h, w) float32 before the softmax and the cells' centres
    in the image, y (h,) and x (w,), in pixels.

    net: of cast_net, with its weights. size: (height, width) in pixels that the classifier was made
    for. mean: BGR. classes: as for labels.class_names. top: number of classes to draw. scale: of
    the image before it is given to the net. FcnError for a top or scale out of range.
    """

    endings: tuple[str, ...]

    def __init__(self, net: Net, size: Sequence[int], mean: Sequence[float],
                 classes: str | Path | None = None, top: int = 3, scale: float = 1.0,
                 save_scores: bool = False):
        self.net, self.size, self.mean, self.scale = net, size, check_mean(mean), scale
        self.data, self.value = image_input(net), net.graph.nodes[-1].tops[0]
        count = net.shapes[self.value][1]
        if not 1 <= top <= count:
            raise FcnError(f'top {top} of {count} classes', do=f'Give top from 1 to {count}.')
        if not 0 < scale < np.inf:
            raise FcnError(f'scale {scale:g}', do='Give a positive scale.')
        self.top, self.names = top, class_names(net.graph.file, count, classes)
        self.stride, self.first = cell_places(net, self.data, self.value)
        self.endings = ('.heatmap.png', '.npz') if save_scores else ('.heatmap.png',)

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """The size at which the net gets an image."""
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def check(self, height: int, width: int) -> None:
        """FcnError for an image that is too small for one cell."""
        seen = self.scaled(height, width)
        try:
            self.net.reshape({self.data: (1, 3, *seen)})
        except FcnError as error:
            least = max(n / own for n, own in zip(self.size, (height, width), strict=True))
            scale = f'{np.ceil(10 * least) / 10:g}'
            raise FcnError(f'{error.what} (the classifier is for {dims(self.size)}, this is '
                           f'{dims(seen)})', layer=error.layer, type=error.type,
                           code='image-small', facts={'scale': scale},
                           do=f'Give scale={scale}, or a larger image.') from None

    def run(self, image: np.ndarray, name: str, paths: Sequence[Path]) -> str:
        """Draw the grid of an image (H, W, 3) uint8 RGB; returns its size, classes and
        milliseconds."""
        height, width = size = image.shape[:2]
        seen = self.scaled(height, width)
        if seen != size:
            resized = Image.fromarray(image).resize(seen[::-1], Image.Resampling.BICUBIC)
        start = time.perf_counter()
        scores = self.scores(image if seen == size else np.asarray(resized))
        seconds = time.perf_counter() - start
        grid = torch.softmax(scores, 0).numpy()
        best = grid.reshape(len(grid), -1).max(1)
        chosen = np.argsort(-best, kind='stable')[:self.top]
        ratio = np.divide(seen, size)
        stride, first = self.stride / ratio, (self.first + 0.5) / ratio - 0.5
        shape = dims(grid.shape[1:])
        titles = [f'{self.names[c]}  max {best[c]:.2f}  grid {shape}' for c in chosen]
        save_heatmap(image, f'{name}  {dims(size)}', grid[chosen], titles, stride, first, paths[0])
        if len(paths) > 1:
            save_scores(scores.numpy(), stride, first, paths[1])
        found = ', '.join(f'{self.names[c]} {best[c]:.2f}' for c in chosen)
        return f'grid {shape}  {found}  {1000 * seconds:.0f} ms'

    def scores(self, image: np.ndarray) -> torch.Tensor:
        """Scores (C, h, w) float32 on the CPU for an image (H, W, 3) uint8 RGB."""
        with torch.inference_mode():
            out = self.net.forward(data=to_blob(image, self.mean)[None])
            return out[self.net.graph.outputs[0]][0].float().cpu()


def save_scores(scores: np.ndarray, stride: np.ndarray, first: np.ndarray, path: Path) -> None:
    """Write a .npz of scores (C, h, w) and of the centres of their cells, y (h,) and x (w,)."""
    y, x = (f + s * np.arange(n) for f, s, n in zip(first, stride, scores.shape[1:], strict=True))
    data = io.BytesIO()
    np.savez(data, scores=scores, y=y, x=x)
    write_bytes(data.getvalue(), path, 'the scores cannot be written')
