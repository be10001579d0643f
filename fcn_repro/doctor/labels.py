"""Checks of labels: ids against the classes of the net, void; and of what stands before the loss
that reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch

from ..data.check import check_folder
from ..data.image import VOID
from ..data.voc import VocFolder
from ..errors import FcnError
from ..layers.python import Python
from ..layers.relu import ReLU
from ..layers.softmax import Softmax
from ..net.graph import Node
from .finding import DOUBT, FAULT, Finding
from .subject import Subject, counting

MOSTLY = 0.9        # share of ignored pixels from which on it is doubted; VOC has 5 %
MANY = 2000         # files of a folder up to which all are read: seconds
SAID = {'no-image', 'no-mask', 'clash', 'unreadable', 'lossy', 'colours', 'mask-mode', 'size',
        'binary', 'ids', 'one-class', 'all-void', 'edges', 'split', 'empty', 'image-mode',
        'no-scribble', 'no-stroke'}


def ids_of_samples(subject: Subject) -> list[int]:
    """The label ids of the samples, the ignored one among them, truncated as the loss does."""
    parts = [sample.labels.flatten().long().unique() for sample in subject.samples
             if sample.labels is not None]
    return torch.cat(parts).unique().tolist() if parts else []


def label_ids(subject: Subject) -> Iterator[Finding]:
    """Ids that are no class of the net: multiplied by 255, numbered from 1, void that is not
    ignored, or too many."""
    anatomy = subject.anatomy
    ids = ids_of_samples(subject)
    classes, ignore = anatomy.classes, subject.ignore
    if not ids or anatomy.loss is None:
        return
    place = f"blob '{anatomy.name(anatomy.label)}'"
    wrong = [i for i in ids if not 0 <= i < classes and i != ignore]
    numbers = f'ids {shown(ids)} in {len(subject.samples)} batches, the net has {classes} ' \
        f'classes, 0 to {classes - 1}, and ' + (f'ignores {ignore}' if ignore is not None else
                                       'ignores none')
    if anatomy.spatial and set(ids) == {0, VOID}:
        yield Finding(FAULT, 'labels-x255', 'the labels are masks of 0 and 255: 255 is '
                      + ('void, so that nothing but class 0 is learned' if ignore == VOID else
                         'no class'), numbers, 'Divide them by 255: class 1 is 1 in a label, and '
                      '255 is what has no label.', place)
    elif wrong and (step := spread(ids, classes)):
        yield Finding(FAULT, 'labels-scaled', 'the ids are spread over 0 to 255', numbers,
                      f'Divide them by {step}.', place)
    elif wrong == [VOID]:
        yield Finding(FAULT, 'void-not-ignored', 'void pixels, 255, are not ignored', numbers,
                      'Set loss_param { ignore_label: 255 }.', place)
    elif wrong == [classes] and 0 not in ids:
        yield Finding(FAULT, 'labels-from-1', 'the ids are numbered from 1', numbers,
                      'Subtract 1, or give the net one class more, with num_output of all score '
                      'layers.', place)
    elif wrong:
        yield Finding(FAULT, 'label-ids', 'there are ids that are no class of the net', numbers,
                      f'Correct the labels, or set num_output of all score layers to '
                      f'{max(wrong) + 1}.', place)


def spread(ids: list[int], classes: int) -> int:
    """The step by which ids are spread over 0 to 255, where divided by it they are classes; 0 where
    they are not."""
    for step in range(255, 1, -1):
        if all(i % step == 0 and i // step < classes for i in ids) and len(ids) > 1:
            return step
    return 0


def shown(ids: list[int]) -> str:
    """A list of ids, the middle of a long one left out."""
    return ', '.join(map(str, ids if len(ids) < 12 else [*ids[:6], '…', *ids[-4:]]))


def label_values(subject: Subject) -> Iterator[Finding]:
    """Labels that are not whole numbers: the loss truncates them."""
    for sample in subject.samples:
        if sample.labels is not None and subject.anatomy.loss is not None and \
                not torch.equal(sample.labels, sample.labels.trunc()):
            most = float(sample.labels.max())
            yield Finding(FAULT, 'labels-not-whole', 'the labels are not whole numbers, and the '
                          'loss truncates them', f'0 to {most:.4g}', 'Leave scale and mean out of '
                          "the labels' layer (transform_param).",
                          f"blob '{subject.anatomy.name(subject.anatomy.label)}'")
            return


def labelled(subject: Subject) -> Iterator[Finding]:
    """One class alone, or hardly a pixel that counts."""
    samples = [sample.labels for sample in subject.samples if sample.labels is not None]
    if not samples or subject.anatomy.loss is None or not subject.anatomy.spatial:
        return
    every = sum(labels.numel() for labels in samples)
    valid = [counting(labels, subject.ignore) for labels in samples]
    count = sum(v.numel() for v in valid)
    ids = set(ids_of_samples(subject)) - {subject.ignore}
    if count < (1 - MOSTLY) * every and not (count and subject.scribbled):
        yield Finding(FAULT if not count else DOUBT, 'mostly-void', 'hardly a pixel has a label '
                      'that counts', f'{count} of {every} pixels, all others are '
                      f'{subject.ignore}', 'Check which id is void, and ignore_label.')
    elif len(ids) == 1 and ids_of_samples(subject) != [0, VOID] and len(samples) > 3:
        yield Finding(DOUBT, 'one-class', 'all labels are of one class',
                      f'class {ids.pop()} in {len(samples)} batches, the net has '
                      f'{subject.anatomy.classes} classes', 'Check that the labels are read as '
                      'indices: an image of indices looks black.')


def folder(subject: Subject) -> Iterator[Finding]:
    """Faults of files in a folder of VOC's layout, as `data.check` has them."""
    for node in subject.net.graph.nodes:
        if node.type != 'Python':
            continue
        root = voc_folder(subject, node)
        if root is None:
            continue
        found = check_folder(root, classes=subject.anatomy.classes or None)
        found = found.for_scribbles() if subject.scribbled else found
        for kind in dict.fromkeys(fault.kind for fault in found.errors):
            faults = [fault for fault in found.errors if fault.kind == kind]
            if kind in SAID:
                yield Finding(FAULT, f'data-{kind}', faults[0].what, f'{len(faults)} such in '
                              f'{len(found.records)} samples', faults[0].do, str(faults[0].file),
                              {'folder': str(root)})


def voc_folder(subject: Subject, node: Node) -> Path | None:
    """The folder in VOC's layout that a Python layer reads, if all of it can be checked in
    seconds."""
    try:
        reader = getattr(cast(Python, subject.net.layer(node)).reader, 'reader', None)
    except FcnError:
        return None
    if not isinstance(reader, VocFolder) or len(reader.ids) > MANY:
        return None
    return Path(reader.folder)


# ---- between scores and loss ---------------------------------------------------------------------

def before_the_loss(subject: Subject) -> Iterator[Finding]:
    """A Softmax or a ReLU on the scores, before a loss that has a softmax of its own."""
    anatomy, net = subject.anatomy, subject.net
    if anatomy.loss is None or anatomy.score is None or \
            'softmax_param' not in net.layer(anatomy.loss).further_messages:
        return
    node = net.graph.producer(anatomy.score)
    while node.type == 'Split' or net.layer(node).passes_values:
        node = net.graph.producer(node.bottoms[0])
    place = f"layer '{node.name}'"
    if isinstance(net.layer(node), Softmax):
        yield Finding(FAULT, 'two-softmax', 'the loss takes a softmax of a softmax: its gradient '
                      'nearly vanishes', f'{node.type} before {anatomy.loss.type}, 1 is right',
                      f"Give '{net.graph.values[node.bottoms[0]]}' to the loss.", place)
    elif isinstance(net.layer(node), ReLU):
        yield Finding(FAULT, 'relu-on-scores', 'a ReLU on the scores: where all are negative, no '
                      'gradient passes', f'{node.type} before {anatomy.loss.type}',
                      'Remove it.', place)
