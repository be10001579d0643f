"""A golden of one layer or a few: NET.prototxt with Input layers, NET.h5 with all its arrays."""

from dataclasses import replace
from pathlib import Path

import torch

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.proto import TEST, TRAIN

from .golden import read_golden

PHASES = {'TRAIN': TRAIN, 'TEST': TEST}


def check_layer(case, path, limits):
    """path: of the .h5. Everything it holds is compared, forward and backward."""
    golden, limit = read_golden(path), limits.activations
    net = read_net(Path(path).with_suffix('.prototxt'), golden)
    fill(net, golden)
    for _ in range(int(golden.attrs.get('nforward', 1))):
        net.forward(blobs='all', **inputs_of(golden))
    outputs = {name for name in net.graph.outputs if name in net.blobs}
    for name in case.expect('outputs', outputs, golden.need('outputs', 'group')):
        case.compare(f'outputs/{name}', net.blobs[name].data, golden['outputs'][name], limit)
    for name in existing(case, 'blobs', net.blobs, golden):
        case.compare(f'blobs/{name}', net.blobs[name].data, golden['blobs'][name], limit)
    if net.total_loss is not None:
        case.number('loss', net.total_loss.item(), golden.attr('loss'), limits.losses)
    compare_params(case, 'params_after', net, golden.group('params_after'), limit,
                   lambda blob: blob.data)
    if 'output_diffs' not in golden:
        return
    net.backward(**arrays(golden['output_diffs']))
    for group in 'input_diffs', 'blob_diffs':
        for name in existing(case, group, net.blobs, golden):
            case.compare(f'{group}/{name}', diff_of(net, name), golden[group][name], limit)
    compare_params(case, 'param_diffs', net, golden.group('param_diffs'), limit,
                   lambda blob: blob.diff)


def read_net(path, golden, kind=Net):
    """The net of a golden: in its phase, with force_backward where its run had that."""
    phase = str(golden.attrs.get('phase', 'TEST'))
    if phase not in PHASES:
        raise FcnError(f"phase '{phase}' of the golden is none", file=str(golden.file),
                       do='Set the attribute phase to TRAIN or TEST.')
    net = kind.read(path, PHASES[phase])
    if golden.attrs.get('force_backward', False) and not net.graph.force_backward:
        net = kind(replace(net.graph, force_backward=True), folder=Path(path).parent)
    return net


def arrays(group):
    """{name: values} of a golden's group."""
    return {name: array.values.reshape(array.shape) for name, array in group.items()}


def inputs_of(golden):
    """{name: values} of the golden's inputs. FcnError where only a part of one is stored."""
    for name, array in golden.group('inputs').items():
        if array.step != 1:
            raise FcnError(f"of the input '{name}' only every {array.step}th value is stored",
                           file=str(golden.file), do='Store inputs in full: they are fed.')
    return arrays(golden.group('inputs'))


def fill(net, golden):
    """Set the params that a golden gives. FcnError where they are not the net's."""
    for layer, blobs in golden.group('params').items():
        for i, array in blobs.items():
            found = net.params.get(layer, ())
            if not i.isdigit() or int(i) >= len(found) or array.shape != found[int(i)].shape:
                shapes = [tuple(blob.shape) for blob in found]
                raise FcnError(f"the golden's param '{layer}/{i}' of shape {array.shape} is not "
                               f"the net's: it has {shapes or 'none there'}",
                               file=str(golden.file), do='Mend the net, or the golden.')
            found[int(i)].data[...] = torch.from_numpy(array.values.reshape(array.shape))


def existing(case, group, ours, golden):
    """The names in a golden's group that we have too; the others depart."""
    for name in golden.group(group):
        if name in ours:
            yield name
        else:
            case.differ(f'{group}/{name}', 'the net lacks it')


def compare_params(case, group, net, golden, limit, get, whole=True):
    """golden: {layer: {i: Array}}, a shared blob under its owner at least, or {}; get: what of a
    ParamBlob is compared; whole: must it have all layers?"""
    owned = [name for name, blobs in net.params.items() if any(b.owner is None for b in blobs)]
    for layer in dict.fromkeys([*golden, *owned] if golden and whole else golden):
        stored = golden.group(layer)
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
