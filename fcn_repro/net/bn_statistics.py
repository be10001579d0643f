"""What SegNet's and ENet's two scripts do: the statistics of a data set go into the scale and shift
of each BN (compute_bn_statistics.py), and these into the convolution before it (BN-absorber.py)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import FcnError
from ..formats.hdf5_read import is_hdf5, read_extra
from ..formats.weights import BATCH_STATISTICS
from ..formats.wire import read_layer_params
from ..layers import layer_class
from ..layers.segnet.bn import BN, EPS, is_inference
from ..proto import TRAIN, dialect_of
from ..proto.dialects import Dialect
from ..proto.prototxt import NetText, filter_net
from .net import Net


class Statistics(NamedTuple):
    """Averages over some batches of a BN's channels, float64; values: how many a channel has."""
    mean: np.ndarray
    variance: np.ndarray        # biased
    values: int


def is_bn(layer: Any) -> bool:
    """Whether a layer's message is a BN of two blobs that has a bn_mode."""
    return layer_class(layer.type, dialect_of(layer)) is BN


def learns(layer: Any) -> bool:
    """Whether a BN's message takes the statistics of its batch."""
    return not is_inference(layer.bn_param)


# ---- statistics ----------------------------------------------------------------------------------

def statistics_text(text: NetText) -> NetText:
    """The net of phase TRAIN with two further tops at each BN, its mean and its variance; to be
    built for TEST, as the script does, in which Dropout does nothing. FcnError for a net without a
    BN that learns."""
    text = filter_net(text, TRAIN)
    message = type(text.message)()
    message.CopyFrom(text.message)
    message.ClearField('state')
    found = 0
    for layer in message.layer:
        del layer.include[:], layer.exclude[:]
        if is_bn(layer) and learns(layer):
            found += 1
            wanted = [f'{layer.name}-mean', f'{layer.name}-var']
            layer.top.extend(wanted[len(layer.top) - 1:])
    if not found:
        raise FcnError('the net has no BN with bn_mode: LEARN, so there are no statistics to make',
                       file=text.file, do="Give SegNet's or ENet's train net.")
    return replace(text, message=message)


def gather(net: Net, feeds: Iterable[Mapping[str, Any]],
           report: Callable[[int], None] = lambda k: None) -> dict[str, Statistics]:
    """{BN layer: Statistics} of a net of statistics_text over forward passes, one for each feed of
    its inputs. FcnError without a pass, and where a statistic is not finite."""
    nodes = [node for node in net.graph.nodes if node.type == 'BN' and len(node.tops) == 3]
    blobs = [net.graph.values[value] for node in nodes for value in node.tops[1:]]
    sums: dict[str, np.ndarray] = {name: np.zeros(0) for name in blobs}
    passes = 0
    for feed in feeds:
        with torch.inference_mode():
            out = net.forward(blobs, nodes[-1].name, **feed)
        for name in blobs:
            value = out[name].double().cpu().numpy().reshape(-1)
            sums[name] = value if not passes else sums[name] + value
        passes += 1
        report(passes)
    if not passes:
        raise FcnError('no batch to make statistics of', do='Give at least one pass.')
    made = {}
    for node in nodes:
        mean, variance = (sums[net.graph.values[value]] / passes for value in node.tops[1:])
        if not np.isfinite([mean, variance]).all():
            raise FcnError('the statistics are not finite', layer=node.name, type=node.type,
                           line=node.line, file=net.graph.file,
                           do='Look for the cause in the weights and the data: fcn-repro doctor.')
        shape = net.shapes[node.bottoms[0]]
        made[node.name] = Statistics(mean, variance, int(np.prod(shape)) // shape[1])
    return made


def fold(scale: np.ndarray, shift: np.ndarray, made: Statistics,
         unbiased: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The scale and the shift, float32 of the given shapes, of a BN with bn_mode: INFERENCE.

    unbiased: the variance times m / (m - 1), which the script means; under the Python 2 that it is
    written for, this quotient of whole numbers is 1.
    """
    variance = made.variance * (made.values / max(1, made.values - 1) if unbiased else 1)
    gamma, beta = (np.asarray(blob, np.float64).reshape(-1) for blob in (scale, shift))
    factor = gamma / np.sqrt(variance + EPS)
    return (factor.astype(np.float32).reshape(scale.shape),
            (beta - made.mean * factor).astype(np.float32).reshape(shift.shape))


def inference_text(text: NetText, net: Net) -> NetText:
    """The deploy net of a net of statistics_text, which `net` is: BN with bn_mode: INFERENCE, an
    Input layer for its first source, Softmax `prob` for the loss; without what reads labels. ENet's
    spatial dropout becomes the factor that it has when testing."""
    message = type(text.message)()
    message.CopyFrom(text.message)
    del message.layer[:]
    known, lines, scores = set(net.graph.inputs), [], []
    for layer, line in zip(text.message.layer, text.lines, strict=True):
        cls = layer_class(layer.type, dialect_of(layer))
        if not layer.bottom and layer.top and layer.type != 'Input':
            if known or not cls.reads_data:
                continue                # a second source, or labels alone
            shape = net.shapes[net.graph.first(layer.top[0])]
            made = message.layer.add(name=layer.top[0], type='Input', top=layer.top[:1])
            made.input_param.shape.add(dim=[1, *shape[1:]])
        elif not set(layer.bottom) <= known:
            if cls.loss and layer.bottom[0] in known:
                scores.append(layer.bottom[0])
            continue
        elif cls.loss:
            scores.append(layer.bottom[0])
            continue
        else:
            made = message.layer.add()
            made.CopyFrom(layer)
            if is_bn(made):
                made.bn_param.bn_mode = made.bn_param.INFERENCE
                del made.top[1:]
            elif spatial(made):
                ratio = made.dropout_param.dropout_ratio
                made.ClearField('dropout_param')
                made.ClearField('fcn_repro_param')
                made.type, made.power_param.scale = 'Power', 1 / (1 - ratio)
        known |= set(made.top)
        lines.append(line)
    for name in dict.fromkeys(scores[:1]):
        message.layer.add(name='prob', type='Softmax', bottom=[name], top=['prob'])
        lines.append(None)
    return replace(text, message=message, lines=tuple(lines))


def spatial(layer: Any) -> bool:
    """Whether a layer is ENet's spatial dropout for training (dialects/segnet.py)."""
    return layer.type == 'Dropout' and layer.fcn_repro_param.per_channel and \
        layer.dropout_param.sample_weights_test


# ---- absorption ----------------------------------------------------------------------------------

class Absorbed(NamedTuple):
    """A net without the layers that its convolutions absorbed; layers: {layer: its convolution};
    left: the BNs that stay."""
    text: NetText
    blobs: dict[str, list[np.ndarray]]
    layers: dict[str, str]
    left: list[str]


def absorb(text: NetText, net: Net) -> Absorbed:
    """Absorb each BN with bn_mode: INFERENCE whose bottom only it reads, and a Power that only
    scales behind it, into the Convolution before, unless that shares its filters; `net` is the net
    of `text`, of phase TEST, with its weights. A BN behind another layer (a Deconvolution, a
    Concat) stays, as in the script. FcnError for a BN with bn_mode: LEARN, and where there is
    nothing to absorb."""
    graph = net.graph
    check_folded(text)
    for name in net.repeated_names():
        raise FcnError('several layers of this name have parameters', file=graph.file, layer=name,
                       do='Rename all but one.')
    blobs = {node.name: [np.asarray(param.data.detach().cpu(), np.float64)
                         for param in net.layer_params.get(node.key, ())] for node in graph.nodes}
    home: dict[int, Any] = {}           # value: the Convolution that has absorbed what makes it
    gone: dict[str, Any] = {}           # name of a layer: that Convolution
    left = []
    for node in graph.nodes:
        if node.type == 'Convolution' and not any(spec.name for spec in node.param.param):
            home[node.tops[0]] = node
        conv: Any = home.get(node.bottoms[0]) if len(node.bottoms) == 1 else None
        alone = conv is not None and len(graph.consumers(node.bottoms[0])) == 1
        if is_bn(node.param) and not alone:
            left.append(node.name)
        elif alone and (is_bn(node.param) or scales(node.param)):
            factor, summand = blobs[node.name] if is_bn(node.param) else (
                np.array(node.param.power_param.scale, np.float64), np.zeros(()))
            weight, bias = (*blobs[conv.name], np.zeros(len(blobs[conv.name][0])))[:2]
            wide = factor.reshape(-1) * np.ones(len(weight))
            blobs[conv.name] = [weight * wide.reshape(-1, *[1] * (weight.ndim - 1)),
                                bias * wide + summand.reshape(-1)]
            gone[node.name] = conv
            home[node.tops[0]] = conv
    if not gone:
        raise FcnError('no BN with bn_mode: INFERENCE stands behind a Convolution alone',
                       file=graph.file, do="Give SegNet's or ENet's deploy net.")
    for name in gone:
        del blobs[name]
    return Absorbed(without(text, gone, set(graph.outputs)), blobs,
                    {name: conv.name for name, conv in gone.items()}, left)


def scales(layer: Any) -> bool:
    """Whether a layer is a Power that multiplies by a number."""
    p = layer.power_param
    return layer.type == 'Power' and p.power == 1 and p.shift == 0


def without(text: NetText, gone: Mapping[str, Any], outputs: set[str]) -> NetText:
    """The text without the layers of these names; what reads their tops reads their Convolution's,
    which has a bias now."""
    message = type(text.message)()
    message.CopyFrom(text.message)
    message.ClearField('state')
    del message.layer[:]
    instead: dict[str, str] = {}        # blob: what has its values now
    lines: list[int | None] = []
    convolutions: dict[str, Any] = {}   # by top
    for layer, line in zip(text.message.layer, text.lines, strict=True):
        bottoms = [instead.get(name, name) for name in layer.bottom]
        if layer.name in gone:
            top, = layer.top
            if top in outputs and top != bottoms[0]:
                convolutions[bottoms[0]].top[:] = [top]     # an output keeps its name
            elif top != bottoms[0]:
                instead[top] = bottoms[0]
            continue
        made = message.layer.add()
        made.CopyFrom(layer)
        made.bottom[:] = bottoms
        for name in layer.top:
            instead.pop(name, None)     # written anew
        if any(conv.name == layer.name for conv in gone.values()):
            made.convolution_param.ClearField('bias_term')
            convolutions[made.top[0]] = made
        lines.append(line)
    return replace(text, message=message, lines=tuple(lines))


def check_folded(text: NetText) -> None:
    """FcnError for a net with a BN that takes the statistics of its batch."""
    for layer, line in zip(text.message.layer, text.lines, strict=True):
        if is_bn(layer) and learns(layer):
            raise unfolded(layer.name, text.file, line)


def unfolded(layer: str, file: str | None, line: int | None = None) -> FcnError:
    """The FcnError for a BN whose statistics have never been made."""
    return FcnError('the BN has no statistics yet: it normalises by its batch (bn_mode: LEARN)',
                    file=file, line=line, layer=layer, type='BN', code='bn-unfolded',
                    do='Make them from the train net first (net.bn_statistics), and give the net '
                       'and the weights that come out.')


def check_weights_folded(net: Net, file: str | PathLike[str]) -> None:
    """FcnError for a net with a folded BN whose weights are of a net that still learned."""
    folded = [node.name for node in net.graph.nodes if is_bn(node.param) and not learns(node.param)]
    learned = learning_in(file, net.graph.dialect) if folded else set()
    for name in folded:
        if name in learned:
            raise unfolded(name, str(file))


def learning_in(file: str | PathLike[str], dialect: Dialect) -> set[str]:
    """Names of the BNs that took the statistics of their batch in the net that wrote a file of
    weights. A caffemodel's messages say so: Caffe's snapshots have bn_mode: LEARN; what the scripts
    wrote has tops for mean and variance, or bn_mode: INFERENCE. Of HDF5, Caffe's own says nothing,
    and Net.save_hdf5 records them."""
    recorded = set(filter(None, str(read_extra(file).get(BATCH_STATISTICS, '')).split('\n')))
    if is_hdf5(file):
        return recorded
    return recorded | {name for name, layer in read_layer_params(file, dialect).items()
                       if is_bn(layer) and len(layer.top) == 1 and learns(layer)}


def passes_of(net: Net) -> int | None:
    """How many passes make the statistics: those of one epoch of the net's data (Source.epoch);
    None where the data do not tell."""
    sources: list[Any] = [net.layer(node) for node in net.graph.nodes
                          if net.layer(node).reads_data]
    return next((count for source in sources if (count := source.epoch())), None)
