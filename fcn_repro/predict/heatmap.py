"""The class grid of a classifier: cast, run over a whole image, drawn (paper, Figure 2)."""

import io
import time
from dataclasses import replace

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
from ..proto.netspec import Function
from ..report.heatmap import save_heatmap
from ..sizes import dims
from .labels import class_names, image_input, output


def cast_net(classifier):
    """The fully convolutional Net of a classifier's, without weights, cut behind its scores.

    The scores are the net's one output, or what goes into it where that is a Softmax. FcnError
    for a net whose scores no InnerProduct or Convolution makes. A net that is fully convolutional
    already keeps its layers.
    """
    graph = cast_classifier(classifier)
    name, value = output(classifier)
    node = graph.producer(value)
    while layer_class(node.type).keeps_ranking:
        value = node.bottoms[0]
        node = graph.producer(value)
    if node.type != 'Convolution':
        raise FcnError(f"'{name}' is made by a {node.type}, a classifier's scores by an "
                       'InnerProduct or a Convolution', file=graph.file, layer=node.name,
                       type=node.type, do='Leave out --heatmap for a segmentation net.')
    nodes = graph.nodes[:graph.nodes.index(node) + 1]
    return Net(replace(graph, nodes=nodes, outputs=(graph.values[value],)))


def cell_places(net, source, target):
    """(stride, first): cell (i, j) of the value `target` has the centre of its receptive field at
    first + stride * (i, j) of the value `source`, in cells (for an image: pixels), arrays (2,).

    FcnError where a layer between them has no coordinate map.
    """
    layers, tops = {}, {}
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
        raise FcnError(f'where the cells of the scores lie in the image is not known: {error.what}',
                       file=net.graph.file, do='Give a net of convolutions and poolings with '
                       'kernels of their own (a global pooling has one cell).') from None
    return tuple(np.broadcast_to(np.array([float(v) for v in values]), 2)
                 for values in (stride, first))


class Heat:
    """The class grids of photos (photos.process): <name>.heatmap.png, and with save_scores
    <name>.npz with scores (C, h, w) float32 before the softmax, and where the cells' centres lie
    in the image: y (h,), x (w,).

    net: of cast_net, with its weights; size: (height, width) that the classifier was made for.
    mean: BGR; classes as in infer.class_names; top: how many classes are drawn; scale: of the
    image before the net sees it.
    """

    def __init__(self, net, size, mean, classes=None, top=3, scale=1.0, save_scores=False):
        self.net, self.size, self.mean, self.scale = net, size, check_mean(mean), scale
        self.data, self.value = image_input(net), net.graph.nodes[-1].tops[0]
        count = net.shapes[self.value][1]
        if not 1 <= top <= count:
            raise FcnError(f'--top {top} of {count} classes', do=f'Give 1 to {count}.')
        if not 0 < scale < np.inf:
            raise FcnError(f'--scale {scale:g}', do='Give a positive number.')
        self.top, self.names = top, class_names(net.graph.file, count, classes)
        self.stride, self.first = cell_places(net, self.data, self.value)
        self.endings = ('.heatmap.png', '.npz') if save_scores else ('.heatmap.png',)

    def scaled(self, height, width):
        """The size that the net sees."""
        return tuple(max(1, round(n * self.scale)) for n in (height, width))

    def check(self, height, width):
        """FcnError for an image that is too small for one cell."""
        seen = self.scaled(height, width)
        try:
            self.net.reshape({self.data: (1, 3, *seen)})
        except FcnError as error:
            least = max(n / own for n, own in zip(self.size, (height, width)))
            do = f'Give --scale {np.ceil(10 * least) / 10:g}, or a larger image.'
            raise FcnError(f'{error.what} (the classifier is for {dims(self.size)}, this is '
                           f'{dims(seen)})', layer=error.layer, type=error.type, do=do) from None

    def run(self, image, name, paths):
        """Draw one image (H, W, 3) uint8 RGB; returns the grid, its classes, milliseconds."""
        size = image.shape[:2]
        seen = self.scaled(*size)
        if seen != size:
            image_seen = np.asarray(Image.fromarray(image).resize(seen[::-1], Image.BICUBIC))
        start = time.perf_counter()
        scores = self.scores(image if seen == size else image_seen)
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

    def scores(self, image):
        """Scores (C, h, w) float32 on the CPU of an image (H, W, 3) uint8 RGB."""
        with torch.inference_mode():
            out = self.net.forward(data=to_blob(image, self.mean)[None])
            return out[self.net.graph.outputs[0]][0].float().cpu()


def save_scores(scores, stride, first, path):
    """The .npz of scores (C, h, w) and of the places of their cells."""
    y, x = (f + s * np.arange(n) for f, s, n in zip(first, stride, scores.shape[1:]))
    data = io.BytesIO()
    np.savez(data, scores=scores, y=y, x=x)
    write_bytes(data.getvalue(), path, 'the scores cannot be written')
