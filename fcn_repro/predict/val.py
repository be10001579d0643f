"""The scores of a val set between two iterations of training, and those of image tags after it."""

import logging

import numpy as np
import torch

from ..data.order import Share
from ..distributed import ALONE, Processes
from ..net.net import Net
from .heads import find_heads
from .labels import data_layer
from .metrics import Confusion, Metrics
from .sources import checked, val_sources

log = logging.getLogger(__name__)


def val_metrics(net: Net, iteration: int, processes: Processes = ALONE) -> Metrics:
    """Score a val net during training, as the release's solve.py does between its steps: each of
    its heads, one after the other. Logs four lines for each; returns the first one's."""
    heads = find_heads(net)
    confusions = [Confusion(head.output.classes) for head in heads]
    sources = val_sources(net, heads, processes)
    for k in processes.share(len(sources[0].data)):
        for head, source, confusion in zip(heads, sources, confusions, strict=True):
            sample, prediction, _ = checked(source, net, head.output, k)
            confusion.add(sample.label, prediction)
    found = []
    for head, confusion in zip(heads, confusions, strict=True):
        confusion.hist = processes.add(confusion.hist)
        m = confusion.metrics()
        found.append(m)
        of = f'{head.output.blob} ' if len(heads) > 1 else ''
        values = {'overall accuracy': m.pixel_accuracy, 'mean accuracy': m.mean_accuracy,
                  'mean IU': m.mean_iu, 'fwavacc': m.fw_iu}
        for name, value in values.items():
            log.info('Iteration %d, %s%s = %.6g', iteration, of, name, value)
    return found[0]


def val_line(m: Metrics, iteration: int) -> str:
    """val_metrics as a line for the screen."""
    return (f'val at iteration {iteration}: pixel acc. {100 * m.pixel_accuracy:.1f}, mean acc. '
            f'{100 * m.mean_accuracy:.1f}, mean IU {100 * m.mean_iu:.1f}, f.w. IU '
            f'{100 * m.fw_iu:.1f}')


def tag_line(net: Net, processes: Processes = ALONE) -> str:
    """Run a val net of image tags, with the blobs score and tags (1,C), over all its images; a line
    for the screen: how many tags it tells, a class being there where its score is above 0."""
    count = len(data_layer(net))
    net.state.share = Share(processes.rank, processes.size, processes.size)
    found = np.zeros(4, np.int64)
    with torch.inference_mode():
        for k in processes.share(count):
            net.seek(k)
            outputs = net.forward()
            score, tags = (outputs[name].flatten().cpu().numpy() > 0 for name in ('score', 'tags'))
            found += np.array([tags.size, tags.sum(), (score & tags).sum(), (score & ~tags).sum()])
    every, present, right, wrong = processes.add(found)
    share = 1 - (present - right + wrong) / every
    return (f'tags of held-out images: {100 * share:.1f} % right; {right} of {present} classes '
            f'found, {wrong} that are not there')
