"""Benchmark the time of each layer: Caffe's `caffe time`, on the engine that pycaffe uses, which
runs a net layer by layer as it stands.
"""

import argparse
import logging
from time import perf_counter

import torch

from ...errors import FcnError
from ...glog import at
from ...memory import keep_freed_memory
from ...net import Net
from ...net.placement import place
from ...paths import ANYWHERE
from ...proto import TEST, TRAIN
from ...pycaffe.layerwise import LayerwiseNet
from ...pycaffe.mode import set_user_code
from ...pycaffe.userlayer import search_here
from . import device
from .gflags import MAX_PIXELS, Flag

log = logging.getLogger(__name__)

USAGE = '--model=FILE [FLAGS]'
FLAGS = (device.MODEL, device.ITERATIONS, Flag('phase', '', 'TRAIN (the default) or TEST'),
         device.GPU, device.LEVEL, device.STAGE, device.USER_CODE, *device.DIALECT, MAX_PIXELS)
PHASES = {'': TRAIN, 'TRAIN': TRAIN, 'TEST': TEST}


def run(flags: argparse.Namespace, args: list[str]) -> None:
    """Log the average milliseconds of each layer, forward and backward, and of whole passes."""
    keep_freed_memory()
    search_here()
    set_user_code(flags.user_code)
    device.need(flags, 'model', 'a model definition to time.')
    if flags.phase not in PHASES:
        raise FcnError(f"phase is '{flags.phase}'", do='Use TRAIN or TEST.')
    if flags.iterations < 1:
        raise FcnError(f'iterations is {flags.iterations}', do='Give 1 or more.')
    where = device.pick(flags.gpu)
    net = LayerwiseNet.read(flags.model, PHASES[flags.phase], flags.level, device.stages(flags),
                            writes=ANYWHERE, **device.fork(flags))
    place(net, where, channels_last=False, prepack=False, graphs=False)
    last = len(net.graph.nodes) - 1
    log.info('Performing Forward', extra=at('caffe.cpp', 364))
    log.info('Initial loss: %.6g', net.executor.run(0, last), extra=at('caffe.cpp', 369))
    log.info('Performing Backward', extra=at('caffe.cpp', 370))
    net.executor.run_back(last, 0)
    log.info('*** Benchmark begins ***', extra=at('caffe.cpp', 379))
    log.info('Testing for %d iterations.', flags.iterations, extra=at('caffe.cpp', 380))
    measure(net, last, flags.iterations)
    log.info('*** Benchmark ends ***', extra=at('caffe.cpp', 431))


def measure(net: Net, last: int, iterations: int) -> None:
    """Time `iterations` passes layer by layer, and log the table."""
    run, run_back, layers = net.executor.run, net.executor.run_back, range(last + 1)
    each = {'forward': [0.0] * len(layers), 'backward': [0.0] * len(layers)}
    whole = {'forward': 0.0, 'backward': 0.0}
    start = now(net)
    for j in range(iterations):
        before = now(net)
        for way, step, order in (('forward', run, layers), ('backward', run_back, layers[::-1])):
            first = latest = now(net)
            for i in order:
                step(i, i)
                end = now(net)
                each[way][i] += end - latest
                latest = end
            whole[way] += latest - first
        log.info('Iteration: %d forward-backward time: %.6g ms.', j + 1, now(net) - before,
                 extra=at('caffe.cpp', 406))
    total = now(net) - start
    log.info('Average time per layer: ', extra=at('caffe.cpp', 409))
    for i, node in enumerate(net.graph.nodes):
        for way, line in (('forward', 412), ('backward', 415)):
            log.info('%10s\t%s: %.6g ms.', node.name, way, each[way][i] / iterations,
                     extra=at('caffe.cpp', line))
    for title, ms, line in (('Forward pass', whole['forward'], 420),
                            ('Backward pass', whole['backward'], 422),
                            ('Forward-Backward', total, 424)):
        log.info('Average %s: %.6g ms.', title, ms / iterations, extra=at('caffe.cpp', line))
    log.info('Total Time: %.6g ms.', total, extra=at('caffe.cpp', 426))


def now(net: Net) -> float:
    """Milliseconds, after the work of the net's GPU."""
    if net.options.gpu is not None:
        torch.cuda.synchronize(net.options.gpu)
    return perf_counter() * 1000
