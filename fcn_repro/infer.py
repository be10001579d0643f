"""From an image to its label map, and from a val net to its confusion matrix."""

import time

import torch

from .data.image import check_label
from .errors import FcnError
from .layers.base import show


def data_layer(net):
    """The reader of a net's Python data layer: its samples, mean and classes."""
    for node in net.graph.nodes:
        if node.type == 'Python':
            return net.layer(node).reader
    raise FcnError('this net has no Python data layer', file=net.graph.file,
                   do='Give a val net; a deploy net has no data to be scored on.')


def score_layer(net, score):
    """Name of the layer that makes the blob `score`, in-place layers included."""
    return net.graph.producer(net.graph.last(score)).name


def predict(net, score='score', **inputs):
    """One forward pass up to `score` (1, C, H, W); returns its argmax (H, W), uint8 on the CPU.

    Ties go to the lowest index, as in the release's scripts.
    """
    with torch.inference_mode():
        out = net.forward(blobs=[score], stop_after=score_layer(net, score), **inputs)[score]
        return out[0].argmax(0).to(torch.uint8).cpu().numpy()


def evaluate(net, confusion, count=None, score='score'):
    """Run a val net over its data in order; yields (sample, prediction, seconds).

    count: number of images (all). Each is added to the Confusion; seconds are those of the forward
    pass, with what is left of reading the image (the next one is read meanwhile). FcnError for a
    label id that is neither void nor a class, and for a score of another size than the image.
    """
    data = data_layer(net)
    net.state.position = 0
    for k in range(len(data) if count is None else min(count, len(data))):
        sample, start = data.sample(k), time.perf_counter()
        check_label(sample.label, confusion.n,
                    data.reader.folder / data.reader.labels.format(sample.id))
        prediction = predict(net, score)
        seconds = time.perf_counter() - start
        if prediction.shape != sample.label.shape:
            raise FcnError(f"'{score}' is {show(prediction.shape)} for an image of "
                           f'{show(sample.label.shape)}', file=net.graph.file,
                           layer=score_layer(net, score), do='Crop it to the data.')
        confusion.add(sample.label, prediction)
        yield sample, prediction, seconds
