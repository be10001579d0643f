"""The scores of a val set between two iterations of training."""

import logging

from ..distributed import ALONE, Processes
from ..net.net import Net
from .heads import find_heads
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
