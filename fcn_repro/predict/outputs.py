"""Which blob of a net is its prediction for each pixel, and how a label map comes from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import FcnError
from ..layers.argmax import ArgMax
from ..layers.internal.labelmap import index_type
from ..net.graph import LABELS, Node
from ..net.net import Net
from ..net.plan import Plan
from ..sizes import dims

SCORES, INDICES, MASK = 'scores', 'indices', 'mask'
ALL = 'all'             # as a name: every output
SCORE = 'score'         # what FCN's nets call their scores
OBJECT = 'background', 'object'
LOGITS = 'SigmoidCrossEntropyLoss'


@dataclass(frozen=True)
class Output:
    """A blob (N, C, H, W) or (N, H, W) that predicts something for each pixel.

    kind: SCORES, the class is the channel of the highest, the lowest one on ties; INDICES, channel
    0 holds the classes; MASK, one channel: class 1 where the value is above `threshold`, else 0.
    value: the blob's number in the graph. classes: how many. made_by: the type that decides.
    probability: whether a MASK's values are probabilities ('Sigmoid'), logits (LOGITS), or neither
    ('').
    """
    blob: str
    value: int
    kind: str
    classes: int
    made_by: str
    threshold: float = 0.
    probability: str = ''

    @property
    def words(self) -> str:
        """What was decided, for people."""
        if self.kind == SCORES:
            return f"'{self.blob}' is taken as scores of {self.classes} classes, the highest wins"
        if self.kind == INDICES:
            return f"'{self.blob}' is taken as class indices ({self.made_by})"
        heat = ', and a heat picture' if self.probability else ''
        return (f"'{self.blob}' has one channel ({self.made_by}): a mask where it is above "
                f'{self.threshold:g}{heat}')

    def predict(self, net: Net, **inputs) -> tuple[np.ndarray, np.ndarray | None]:
        """Run a net; returns the label map (H, W) uint8, and for a MASK its probabilities (H, W)
        float32, None if there are none. inputs: of Net.forward."""
        with torch.inference_mode():
            if self.kind == SCORES:
                return net.forward(labels_of=self.blob, **inputs)[LABELS][0].cpu().numpy(), None
            last = net.graph.producer(self.value).name
            return self.read(net.forward(self.blob, stop_after=last, **inputs)[self.blob][0]
                             .float())

    def values(self, net: Net, **inputs) -> torch.Tensor:
        """The blob's values (C, H, W) float32. inputs: of Net.forward."""
        last = net.graph.producer(self.value).name
        with torch.inference_mode():
            found = net.forward(self.blob, stop_after=last, **inputs)[self.blob][0].float()
        return found if found.ndim == 3 else found[None]

    def plan(self, net: Net) -> Plan:
        """The plan that `predict` runs."""
        if self.kind == SCORES:
            return net.executor.plan(frozenset(), None, self.blob)
        return net.executor.plan(frozenset((self.blob,)), net.graph.producer(self.value).name)

    def read(self, values: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """What `predict` returns, from the blob's values (C, H, W) or (H, W), float32."""
        if self.kind == SCORES:
            return values.argmax(0).to(index_type(len(values))).cpu().numpy(), None
        plane = values[0] if values.ndim == 3 else values
        if self.kind == INDICES:
            return plane.byte().cpu().numpy(), None
        heat = plane.sigmoid() if self.probability == LOGITS else plane
        return ((plane > self.threshold).byte().cpu().numpy(),
                heat.cpu().numpy() if self.probability else None)

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities (classes, H, W) float32 of the blob's values (C, H, W): the softmax of
        scores, what a Softmax made as it is, and of one channel those of background and object.
        FcnError for a blob of which there are none."""
        if self.kind == SCORES:
            if self.made_by == 'Softmax':
                return scores
            return torch.softmax(torch.from_numpy(scores), 0).numpy()
        if not self.probability:
            raise FcnError(f"'{self.blob}' has no probabilities: it holds "
                           f"{'class indices' if self.kind == INDICES else 'plain numbers'}",
                           code='no-probabilities', do='Take the scores that it is made from as '
                                                       'output.')
        heat = torch.from_numpy(scores[0])
        heat = heat.sigmoid() if self.probability == LOGITS else heat
        return torch.stack([1 - heat, heat]).numpy()


def find_output(net: Net, name: str | None = None, threshold: float | None = None) -> Output:
    """The prediction of a net: the blob `name`, else 'score', else its only output with a value
    per pixel.

    A 'score' of one channel gives way to what the net makes of it, and one that is smaller to what
    is larger (CRF-RNN's is a 32nd of the size). threshold: above which a
    one-channel blob means the object (None: 0.5 after a Sigmoid, 0 for what a
    SigmoidCrossEntropyLoss trains). FcnError where several blobs may be meant or none, and for a
    blob that has no classes to tell.
    """
    if name is not None:
        return read_output(net, net.graph.last(name), threshold)
    blobs = net.blobs
    outputs = {blob: net.graph.last(blob) for blob in net.graph.outputs}
    maps = {blob: v for blob, v in outputs.items() if per_pixel(net, v)}
    if SCORE in maps or (SCORE in blobs and not coarser(net, maps) and (
            not maps or channels(net, SCORE) > 1)):
        return read_output(net, net.graph.last(SCORE), threshold)
    if len(maps) == 1:
        return read_output(net, next(iter(maps.values())), threshold)
    listed = ', '.join(f"{blob} ({dims(net.shapes[v])})" for blob, v in (maps or outputs).items())
    if maps:
        raise FcnError(f"the net's outputs are {', '.join(maps)}; which of them to take is "
                       f'ambiguous: {listed}', file=net.graph.file, code='several-outputs',
                       do='Name the one to take as output.')
    if len(outputs) == 1:
        (blob, v), = outputs.items()
        raise FcnError(f"'{blob}' is {dims(net.shapes[v])}, not a score per pixel",
                       file=net.graph.file, code='not-segmentation',
                       do='Draw the class grid of a classifier with predict.heatmap.')
    raise FcnError(f"no output of the net has a value per pixel: {listed or 'it has none'}",
                   file=net.graph.file, code='several-outputs',
                   do='Name the blob of scores (N, C, H, W) to take as output.')


def find_outputs(net: Net, names: Sequence[str], threshold: float | None = None) -> list[Output]:
    """The predictions of a net: the blobs named, each once; none named: the one of find_output;
    'all': every output with a value per pixel. threshold: for those of one channel. FcnError as
    find_output, and for a threshold that none of them takes."""
    if len(names) < 2 and ALL not in names:
        return [find_output(net, names[0] if names else None, threshold)]
    if ALL in names:
        names = [blob for blob in net.graph.outputs if per_pixel(net, net.graph.last(blob))]
        if not names:
            raise FcnError('no output of the net has a value per pixel', file=net.graph.file,
                           code='several-outputs',
                           do='Name the blob of scores (N, C, H, W) to take as output.')
    names = list(dict.fromkeys(names))
    single = [threshold if takes_threshold(net, name) else None for name in names]
    if threshold is not None and single.count(None) == len(names):
        raise FcnError(f"none of {', '.join(names)} has one channel of numbers, which a threshold "
                       'is for', file=net.graph.file, code='threshold-unused',
                       do='Leave out threshold.')
    return [find_output(net, name, value) for name, value in zip(names, single, strict=True)]


def takes_threshold(net: Net, blob: str) -> bool:
    """Whether a blob has one channel of numbers."""
    value = net.graph.last(blob)
    return channels(net, blob) == 1 and decider(net, value).type != ArgMax.type


def channels(net: Net, blob: str) -> int:
    """The length of a blob's axis 1; 0 without."""
    return (*net.shapes[net.graph.last(blob)], 0, 0)[1]


def coarser(net: Net, others: Iterable[str]) -> bool:
    """Whether the blob 'score' has fewer rows and columns than one of the others."""
    size = net.shapes[net.graph.last(SCORE)][-2:]
    return any(len(shape) > 2 and shape[-2] > size[0] and shape[-1] > size[1]
               for shape in (net.shapes[net.graph.last(name)] for name in others)
               if len(size) == 2)


def per_pixel(net: Net, value: int) -> bool:
    """Whether an output may be a prediction per pixel: a layer computed it, in 3 or 4 axes."""
    return 3 <= len(net.shapes[value]) <= 4 and bool(net.graph.producer(value).bottoms)


def decider(net: Net, value: int) -> Node:
    """The layer that made the values of a blob, behind those that only copy or cut them."""
    node = net.graph.producer(value)
    while net.layer(node).passes_values:
        value = node.bottoms[0]
        node = net.graph.producer(value)
    return node


def trains_logits(net: Net, value: int) -> bool:
    """Whether a SigmoidCrossEntropyLoss reads a value as its prediction, maybe through Splits."""
    return any((node.type == LOGITS and node.bottoms[0] == value)
               or (net.layer(node).passes_values and node.bottoms[0] == value
               and any(trains_logits(net, top) for top in node.tops))
               for node in net.graph.nodes)


def read_output(net: Net, value: int, threshold: float | None) -> Output:
    """What a blob predicts, by its shape and the layer that made it."""
    blob, shape, node = net.graph.values[value], net.shapes[value], decider(net, value)

    place: dict[str, Any] = {'file': net.graph.file, 'layer': node.name, 'type': node.type}
    if len(shape) not in (3, 4):
        raise FcnError(f"'{blob}' is {dims(shape)}, not a score per pixel", file=net.graph.file,
                       code='not-segmentation',
                       do='Draw the class grid of a classifier with predict.heatmap.')
    if not node.bottoms:
        raise FcnError(f"'{blob}' is an input of the net, not what it predicts", **place,
                       do='Name a blob that a layer computes from it.')
    count = shape[1] if len(shape) == 4 else 1
    if threshold is not None and (node.type == ArgMax.type or count > 1):
        held = 'class indices' if node.type == ArgMax.type else f'{count} channels'
        raise FcnError(f"'{blob}' has {held}, and a threshold is for one channel of numbers",
                       code='threshold-unused', do='Leave out threshold.', **place)
    if node.type == ArgMax.type:
        return indices_of(net, blob, value, node)
    if count > 1:
        return Output(blob, value, SCORES, count, node.type)
    if node.type == 'Softmax':
        raise FcnError(f"'{blob}' is a Softmax of one channel, which is 1 everywhere", **place,
                       do='Use a Sigmoid for one class, or give the scores two channels.')
    known = net.layer(node).decision
    logits = known is None and trains_logits(net, value)
    if threshold is None:
        threshold = 0. if logits else known
    if threshold is None:
        raise FcnError(f"'{blob}' is {dims(shape)}: one channel of numbers, which may be a logit, "
                       'a depth or class indices', code='one-channel', **place,
                       do='Give a threshold above which it means the object (0 for a logit); or '
                          'end the net in Sigmoid or ArgMax. Maps of other values are read with '
                          'Net.forward.')
    if not (math.isfinite(threshold) if known is None else 0 <= threshold < 1):
        raise FcnError(f'the threshold is {threshold}, and no value or every one would be above',
                       do='Give a number' + ('.' if known is None else ', at least 0 and below 1, '
                                             f"for a {node.type}'s values."), **place)
    return Output(blob, value, MASK, 2, LOGITS if logits else node.type, threshold,
                  LOGITS if logits else 'Sigmoid' if node.type == 'Sigmoid' else '')


def indices_of(net: Net, blob: str, value: int, node: Node) -> Output:
    """The Output of an ArgMax. FcnError where that gives no class per pixel."""
    param, scores = node.param.argmax_param, net.shapes[node.bottoms[0]]
    source = net.graph.values[node.bottoms[0]]
    good = param.HasField('axis') and param.axis % max(len(scores), 1) == 1 and len(scores) == 4
    if not good or param.out_max_val:
        what = 'the largest values instead of their channels (out_max_val)' if good else \
            f'no class per pixel of a bottom of {dims(scores)}'
        raise FcnError(f"'{blob}' holds {what}", file=net.graph.file, layer=node.name,
                       type=node.type, code='argmax', facts={'scores': source},
                       do=f"Set axis: 1 without out_max_val, or name '{source}' as output.")
    first = f', the first of top_k {param.top_k}' if param.top_k > 1 else ''
    return Output(blob, value, INDICES, scores[1], f'ArgMax of {scores[1]} channels{first}')
