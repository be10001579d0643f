"""Checks of what a net makes of samples as it is: one class everywhere, and channels the other way
round."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ..errors import FcnError
from ..net.net import Net
from ..proto import TEST
from .finding import DOUBT, FAULT, Finding
from .inputs import CAFFE_MEAN
from .subject import Sample, Subject, mean_of, without_data

LOOKED = 6              # samples that are labelled
TRAINED = 200           # iterations before which a net may well give all pixels the commonest class
SOME = 0.02             # share of labelled pixels of other classes, from which on one must appear
BETTER = 0.8            # of the loss: what other channels must reach to be in doubt; the right ones
#                         are nearly always better by far
FITTED = 0.8            # of ln C: the loss of a net that has learned something


@dataclass(frozen=True)
class Look:
    """What a net made of a sample: its scores (N, C, …), those for channels the other way round
    (None for images without three), and the labels."""
    scores: torch.Tensor
    swapped: torch.Tensor | None
    labels: torch.Tensor


def looks(subject: Subject) -> list[Look]:
    """The looks at the first samples, in the phase TEST; [] where the net has no scores, no data,
    or scores that start from their filler."""
    cached = subject.looks
    if cached is None:
        cached = subject.looks = look(subject)
    return cached


def look(subject: Subject) -> list[Look]:
    anatomy = subject.anatomy
    if not subject.fits or subject.weights is None or not anatomy.spatial or \
            any(node.name in subject.fresh for node in anatomy.score_layers):
        return []
    samples = [sample for sample in subject.samples[:LOOKED] if sample.labels is not None]
    try:
        net = Net.of(without_data(subject.text, TEST), TEST,
                     search=subject.sources.search(subject.text.file))
        net.copy_from(subject.weights)
    except FcnError:
        return []
    data, score = anatomy.name(anatomy.data), anatomy.name(anatomy.score)
    if data not in net.graph.inputs or score not in net.graph.values:
        return []
    mean = torch.tensor(mean_of(subject) or CAFFE_MEAN)[:, None, None]
    found = []
    for sample in samples:
        fed = {name: sample.labels for name in net.graph.inputs if name != data}    # masks too
        swapped = None
        if sample.images.shape[1] == 3 and len(mean) == 3:
            other = (sample.images + mean).flip(1) - mean
            swapped = scores_of(net, score, fed | {data: other})
        found.append(Look(scores_of(net, score, fed | {data: sample.images}), swapped,
                          labels_of(sample, subject.ignore)))
    return found


def scores_of(net: Net, score: str, fed: dict[str, Any]) -> torch.Tensor:
    """The scores for what is fed, {blob: tensor}."""
    with torch.inference_mode():
        last = net.graph.producer(net.graph.last(score)).name
        return net.forward([score], stop_after=last, **fed)[score].float().clone()


def labels_of(sample: Sample, ignore: int | None) -> torch.Tensor:
    """(N, …) int64 labels of a sample, -1 where they do not count."""
    assert sample.labels is not None
    labels = sample.labels.long()
    return labels if ignore is None else labels.masked_fill(labels == ignore, -1)


def loss_of(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """The mean loss of the labels that count."""
    n, classes = scores.shape[:2]
    flat = labels.reshape(n, -1)
    return float(cross_entropy(scores.reshape(n, classes, -1), flat, ignore_index=-1))


def one_class(subject: Subject) -> Iterator[Finding]:
    """A trained net that gives every pixel the same class."""
    if not ready(subject):
        return
    found = looks(subject)
    predicted = torch.cat([each.scores.argmax(1).flatten() for each in found]) if found else None
    if predicted is None or predicted.unique().numel() > 1:
        return
    labels = torch.cat([each.labels.flatten() for each in found])
    labels = labels[labels >= 0]
    others = float((labels != predicted[0]).float().mean()) if labels.numel() else 0.
    if others < SOME:
        return
    flat = all(float(each.scores.flatten(2).std(2).max()) == 0 for each in found)
    if flat:
        yield Finding(FAULT, 'output-constant', 'the scores are the same at every pixel of every '
                      'image', f'class {int(predicted[0])} everywhere, {100 * others:.0f} % of the '
                      'labels are of others', 'Check that these are the weights of a trained net, '
                      'and that its upsampling is bilinear.', subject.file)
    else:
        yield Finding(DOUBT, 'output-one-class', 'the net gives every pixel the same class',
                      f'class {int(predicted[0])} everywhere in {len(found)} images, '
                      f'{100 * others:.0f} % of the labels are of others', 'Train for longer or '
                      'at another rate; check the labels, and that the weights it started from '
                      'were copied.', subject.file)


def ready(subject: Subject) -> bool:
    """Whether the weights are those of a run that has ended, or of a file of which nobody says."""
    s = subject.sources
    if subject.weights is None:
        return False
    return s.iteration >= max(s.length, TRAINED) if s.own else subject.solver is None


def channel_order(subject: Subject) -> Iterator[Finding]:
    """Channels for which a net that has learned does better the other way round."""
    found = [(loss_of(each.scores, each.labels), loss_of(each.swapped, each.labels))
             for each in looks(subject)
             if each.swapped is not None and bool((each.labels >= 0).any())]
    if len(found) < 3:
        return
    given, other = (sum(losses) / len(found) for losses in zip(*found, strict=True))
    if other < BETTER * given and other < FITTED * math.log(subject.anatomy.classes):
        yield Finding(DOUBT, 'channel-order', 'the net does better on images with their channels '
                      'the other way round', f'loss {given:.3g} on the images as they are read, '
                      f'{other:.3g} on the same with red and blue exchanged', "Caffe's nets take "
                      'BGR; give the images to this one in the order that it was trained on, or '
                      "reverse conv1's weights, weight[:, ::-1].", 'the data layer')
