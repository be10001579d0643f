"""The lines that Caffe logs while it builds a net (Net::Init): its text, each layer's blobs, shapes
and memory, what needs a backward pass, and the outputs."""

import logging
from math import prod

from google.protobuf import text_format

from .. import glog
from ..proto.prototxt import filter_net
from .debug_info import learning_flags

log = glog.CAFFE
BYTES = 4                   # of a float32


def log_parameters(text, phase, level=0, stages=()):
    """Log a NetText's layers in a state, before anything is made of them."""
    if log.isEnabledFor(logging.INFO):
        message = filter_net(text, phase, level, stages).message
        log.info('Initializing net from parameters:\n%s', text_format.MessageToString(message),
                 extra=glog.at('net.cpp', 53))


def log_setup(net):
    """Log the layers of a net, in its order, then from the last to the first whether they have a
    backward pass, and its outputs."""
    if not log.isEnabledFor(logging.INFO):
        return
    used = 0
    for node in net.graph.nodes:
        _log_blobs(net.graph, node)
        log.info('Setting up %s', node.name, extra=glog.at('net.cpp', 124))
        for v, weight in zip(node.tops, net.layer(node).loss_weights, strict=True):
            shape = net.shapes[v]
            used += prod(shape)
            log.info('Top shape: %s', shape_string(shape), extra=glog.at('net.cpp', 131))
            if weight:
                log.info('    with loss weight %g', weight, extra=glog.at('net.cpp', 134))
        log.info('Memory required for data: %d', used * BYTES, extra=glog.at('net.cpp', 139))
    flags = learning_flags(net)
    for node in reversed(net.graph.nodes):
        if flags[id(node)] is None:
            log.info('%s does not need backward computation.', node.name,
                     extra=glog.at('net.cpp', 202))
        else:
            log.info('%s needs backward computation.', node.name, extra=glog.at('net.cpp', 200))
    for name in net.graph.outputs:
        log.info('This network produces output %s', name, extra=glog.at('net.cpp', 244))
    log.info('Network initialization done.', extra=glog.at('net.cpp', 257))


def _log_blobs(graph, node):
    """Log a layer's creation, and what it reads and writes."""
    log.info('Creating layer %s', node.name, extra=glog.at('layer_factory.hpp', 77))
    log.info('Creating Layer %s', node.name, extra=glog.at('net.cpp', 86))
    bottoms, tops = ([graph.values[v] for v in values] for values in (node.bottoms, node.tops))
    for name in bottoms:
        log.info('%s <- %s', node.name, name, extra=glog.at('net.cpp', 408))
    for i, name in enumerate(tops):
        if bottoms[i:i + 1] == [name]:
            log.info('%s -> %s (in-place)', node.name, name, extra=glog.at('net.cpp', 369))
        else:
            log.info('%s -> %s', node.name, name, extra=glog.at('net.cpp', 382))


def shape_string(shape):
    """Caffe's text of a blob's shape: `64 20 24 24 (737280)`."""
    return ''.join(f'{n} ' for n in shape) + f'({prod(shape)})'


def log_ignored(net, source):
    """Log the layers of weights that the net does not have; source: a Weights."""
    names = {node.name for node in net.graph.nodes}
    for layer in source.layers:
        if layer.name not in names:
            log.info('Ignoring source layer %s', layer.name, extra=glog.at('net.cpp', 746))
