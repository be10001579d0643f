"""A golden of one layer or a few: NET.prototxt with Input layers, NET.h5 with all its arrays."""

from dataclasses import replace
from pathlib import Path

import torch

from fcn_repro.errors import FcnError
from fcn_repro.net.net import Net
from fcn_repro.proto import TEST, TRAIN

from .golden import read_golden

PHASES = {'TRAIN': TRAIN, 'TEST': TEST}


def check_layer(case, path, limits):
    """path: of the .h5. Everything it holds is compared, forward and backward."""
    golden, limit = read_golden(path), limits.activations
    net = read_net(Path(path).with_suffix('.prototxt'), golden)
    fill(net, golden)
    for _ in range(int(golden.attrs.get('nforward', 1))):
        net.forward(blobs='all', **whole(golden, 'inputs'))
    outputs = {name for name in net.graph.outputs if name in net.blobs}
    golden.need('outputs', 'group')
    stored = golden.blobs('outputs')
    for name in case.expect('outputs', outputs, stored):
        case.compare(f'outputs/{name}', net.blobs[name].data, stored[name], limit)
    for name, array in existing(case, 'blobs', net.blobs, golden):
        case.compare(f'blobs/{name}', net.blobs[name].data, array, limit)
    case.number('loss', loss_of(net), golden.attr('loss'), limits.losses)
    compare_params(case, 'params_after', net, golden.params('params_after'), limit,
                   lambda blob: blob.data)
    if 'output_diffs' not in golden:
        return
    net.backward(**whole(golden, 'output_diffs'))
    for group in 'input_diffs', 'blob_diffs':
        for name, array in existing(case, group, net.blobs, golden):
            case.compare(f'{group}/{name}', diff_of(net, name), array, limit)
    compare_params(case, 'param_diffs', net, golden.params('param_diffs'), limit,
                   lambda blob: blob.diff)


def read_net(path, golden, kind=Net, **options):
    """The net of a golden: in its phase, with force_backward where its run had that. options: as
    for Net."""
    phase = str(golden.attrs.get('phase', 'TEST'))
    if phase not in PHASES:
        raise FcnError(f"phase '{phase}' of the golden is none", file=str(golden.file),
                       do='Set the attribute phase to TRAIN or TEST.')
    net = kind.read(path, PHASES[phase], **options)
    if golden.attrs.get('force_backward', False) and not net.graph.force_backward:
        net = kind(replace(net.graph, force_backward=True), folder=Path(path).parent, **options)
    return net


def loss_of(net):
    """What Caffe's forward pass returns: 0 where no top has a loss weight."""
    return 0.0 if net.total_loss is None else net.total_loss.item()


def whole(golden, group):
    """{blob: values} of what is fed. FcnError where only a part of it is stored."""
    for name, array in golden.blobs(group).items():
        if array.step != 1:
            raise FcnError(f"of '{group}/{name}' only every {array.step}th value is stored",
                           file=str(golden.file), do='Store in full what is fed.')
    return {name: array.values.reshape(array.shape)
            for name, array in golden.blobs(group).items()}


def fill(net, golden):
    """Set the params that a golden gives. FcnError where they are not the net's."""
    for layer, blobs in golden.params('params').items():
        for i, array in blobs.items():
            found = net.params.get(layer, ())
            fits = i.isdecimal() and int(i) < len(found) and array.step == 1
            if not fits or array.shape != tuple(found[int(i)].shape):
                shapes = [tuple(blob.shape) for blob in found]
                raise FcnError(f"the golden's param '{layer}/{i}' of shape {array.shape} is not "
                               f"the net's: it has {shapes or 'none there'}",
                               file=str(golden.file), do='Mend the net, or the golden.')
            found[int(i)].data[...] = torch.from_numpy(array.values.reshape(array.shape))


def existing(case, group, ours, golden):
    """(name, Array) of what a golden's group and we have; what we lack departs."""
    for name, array in golden.blobs(group).items():
        if name in ours:
            yield name, array
        else:
            case.differ(f'{group}/{name}', 'the net lacks it')


def compare_params(case, group, net, golden, limit, get, whole=True):
    """golden: {layer: {i: Array}}, a shared blob under its owner at least, or {}; get: what of a
    ParamBlob is compared; whole: must it have all layers?"""
    owned = [name for name, blobs in net.params.items() if any(b.owner is None for b in blobs)]
    for layer in dict.fromkeys([*golden, *owned] if golden and whole else golden):
        stored = golden.get(layer, {})
        blobs = {str(i): blob for i, blob in enumerate(net.params.get(layer, ()))
                 if blob.owner is None or str(i) in stored}
        for i in case.expect(f'{group}/{layer}', blobs, stored):
            case.compare(f'{group}/{layer}/{i}', get(blobs[i]), stored[i], limit)


def diff_of(net, name):
    """A blob's diff as Caffe leaves it: where no gradient is asked for it is 0, but Caffe's Scale
    puts data times top diff there, in want of other memory (ScaleLayer::Backward_cpu)."""
    blob, graph = net.blobs[name], net.graph
    value = graph.first(name)
    if wants_gradient(graph, value):
        return blob.diff
    for node in graph.consumers(value):
        top = graph.values[node.tops[0]] if node.tops else name
        if node.type == 'Scale' and node.bottoms[0] == value and top != name and \
                scale_of(net, node).numel() != blob.data.numel():
            return net.blobs[top].diff * blob.data
    return blob.diff


def wants_gradient(graph, value):
    """False for an input and the copies that a Split makes of it, unless backward is forced."""
    node = graph.producer(value)
    while node.type == 'Split':
        node = graph.producer(node.bottoms[0])
    return graph.force_backward or bool(node.bottoms)


def scale_of(net, node):
    """What a Scale layer multiplies by."""
    if len(node.bottoms) > 1:
        return net.blobs[net.graph.values[node.bottoms[1]]].data
    return net.params_of(node)[0]
