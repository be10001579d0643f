"""Score a model: Caffe's `caffe test`."""

import argparse
import logging

import torch

from ...errors import FcnError
from ...glog import at
from ...memory import keep_freed_memory
from ...net.placement import place
from ...passes import DEFAULT
from ...paths import ANYWHERE
from ...proto import TEST
from ...pycaffe.mode import set_user_code
from ...pycaffe.userlayer import UserNet, search_here
from ...search import SearchPath
from . import device
from .gflags import MAX_PIXELS

log = logging.getLogger(__name__)

USAGE = '--model=FILE --weights=FILE [FLAGS]'
FLAGS = (device.MODEL, device.WEIGHTS, device.ITERATIONS, device.GPU, device.LEVEL, device.STAGE,
         device.USER_CODE, *device.DIALECT, MAX_PIXELS)


@torch.no_grad()
def run(flags: argparse.Namespace, args: list[str]) -> None:
    """Log each output of each pass, then the averages. FcnError for files that do not fit, and for
    outputs whose size changes from pass to pass."""
    keep_freed_memory()
    search_here()
    set_user_code(flags.user_code)
    device.need(flags, 'model', 'a model definition to score.')
    device.need(flags, 'weights', 'model weights to score.')
    if flags.iterations < 1:
        raise FcnError(f'iterations is {flags.iterations}', do='Give 1 or more.')
    where = device.pick(flags.gpu)
    net = UserNet.read(flags.model, TEST, flags.level, device.stages(flags), passes=DEFAULT,
                       writes=ANYWHERE, **device.fork(flags))
    place(net, where)
    for name in flags.weights.split(','):
        net.copy_from(SearchPath.of(flags.model).find(name.strip(), 'file', 'weights'))
    log.info('Running for %d iterations.', flags.iterations, extra=at('caffe.cpp', 292))
    weights = {net.graph.values[v]: weight for node in net.graph.nodes
               for v, weight in zip(node.tops, net.layer(node).loss_weights, strict=True)}
    sums: list[float] = []
    names: list[str] = []
    loss = 0.0
    for i in range(flags.iterations):
        outputs = [(name, value + 0.0) for name, top in net.forward().items()
                   for value in top.flatten().tolist()]
        loss += 0.0 if net.total_loss is None else net.total_loss.item()
        if i == 0:
            names, sums = [name for name, _ in outputs], [0.0] * len(outputs)
        if [name for name, _ in outputs] != names:
            raise FcnError(f'pass {i} gives {len(outputs)} values, the first {len(names)}: no '
                           'average', file=flags.model, do='Give the outputs that vary to a '
                           'Silence layer.')
        for k, (name, value) in enumerate(outputs):
            sums[k] += value
            log.info('Batch %d, %s = %.6g', i, name, value, extra=at('caffe.cpp', 314))
    log.info('Loss: %.6g', loss / flags.iterations, extra=at('caffe.cpp', 319))
    for name, total in zip(names, sums, strict=True):
        mean, weight = total / flags.iterations, weights.get(name, 0)
        counts = f' (* {weight:.6g} = {weight * mean:.6g} loss)' if weight else ''
        log.info('%s = %.6g%s', name, mean, counts, extra=at('caffe.cpp', 331))
