"""From an image to its label map, and from a val net to its confusion matrix."""

import time

import torch

from .errors import FcnError


def data_layer(net):
    """The reader of a net's Python data layer: its samples, mean and classes."""
    for node in net.graph.nodes:
        if node.type == 'Python':
            return net.layer(node).reader
    raise FcnError('this net has no Python data layer', file=net.graph.file,
                   do='Evaluate a train or val net; a deploy net takes images from tools/infer.py.')


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
    pass, with what is left of reading the image (the next one is read meanwhile).
    """
    data = data_layer(net)
    net.state.position = 0
    for k in range(len(data) if count is None else min(count, len(data))):
        sample, start = data.sample(k), time.perf_counter()
        prediction = predict(net, score)
        seconds = time.perf_counter() - start
        confusion.add(sample.label, prediction)
        yield sample, prediction, seconds
