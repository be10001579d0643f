"""Goldens of files: what Caffe makes of old texts and binaries, what it filters and refuses."""

from pathlib import Path

import numpy as np
from google.protobuf import json_format, text_format

from fcn_repro import proto
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import modern, read_binaryproto, read_weights
from fcn_repro.layers import TYPES
from fcn_repro.net.graph import build
from fcn_repro.net.net import Net
from fcn_repro.proto.prototxt import filter_net, parse_net, read_net, read_solver

from .golden import read_golden, read_json
from .layers import compare_params


def check_upgrade(case, path, wanted, limits):
    """An old text, and the message that Caffe upgraded it to, as text or as JSON."""
    read = read_solver if Path(path).name.startswith('solver_') else read_net
    ours = read(path).message
    theirs, text = type(ours)(), Path(wanted).read_text('utf-8')
    try:
        (json_format if wanted.suffix == '.json' else text_format).Parse(text, theirs)
    except (json_format.ParseError, text_format.ParseError) as error:
        raise FcnError(f'cannot be read: {error}', file=str(wanted),
                       do='Write it again with Caffe.') from None
    case.equal('message', text_format.MessageToString(ours), text_format.MessageToString(theirs))


def check_header(case, path, wanted, limits):
    """A binary model beside the text of it, upgraded and without its numbers."""
    ours = read_weights(path)
    case.equal('layers with blobs',
               {name: (ours.types[name], len(blobs)) for name, blobs in ours.items() if blobs},
               {layer.name: (layer.type, len(layer.blobs))
                for layer in read_net(wanted).message.layer if len(layer.blobs)})


def check_rule(case, path, rule, limits):
    """Which layers remain for a phase, a level and a set of stages."""
    kept = filter_net(read_net(path), rule['phase'], rule['level'], rule['stages'])
    case.equal('layers', [layer.name for layer in kept.message.layer], rule['layers'])


def check_refusal(case, entry, builds, limits):
    """A text that Caffe refuses, while parsing it or while building the net; or not."""
    try:
        text = parse_net(entry['text'], case.name)
        if builds:
            Net(build(text, proto.TEST, auto_tops={n: 1 for n, t in TYPES.items() if t.loss}))
        refused = False
    except FcnError:
        refused = True
    case.equal(f"refused ({entry.get('message') or 'Caffe takes it'})", refused, entry['rejected'])


def check_legacy(case, path, wanted, limits):
    """Inputs of any age: layers with Caffe's Splits, blobs, inputs, outputs, shapes of params."""
    net = Net.read(path, proto.TEST)
    graph = net.graph
    case.equal('layers', [[node.name, node.type] for node in graph.nodes], wanted['layers'])
    case.equal('inputs', list(graph.inputs), wanted['inputs'])
    case.equal('outputs', list(graph.outputs), wanted['outputs'])
    case.equal('blobs', [(name, list(blob.shape)) for name, blob in net.blobs.items()],
               list(wanted['blobs'].items()))
    case.equal('params', {name: [list(blob.shape) for blob in blobs]
                          for name, blobs in net.params.items() if blobs}, wanted['params'])


def check_binary(case, path, name, limits):
    """Models of the ages V0, V1, V2: their arrays, those of a net after loading, its outputs.
    path: of the .h5; name: the stem of NAME.caffemodel, and of NAME_net.prototxt, if any."""
    golden, model = read_golden(path), Path(path).with_name(f'{name}.caffemodel')
    ours = modern(read_weights(model))
    for group in (g for g in (name, f'{name}_loaded') if g in golden):
        for layer, blobs in golden.params(group).items():
            for i, blob in blobs.items():
                found = np.asarray(ours[layer][int(i)]).astype(blob.values.dtype)
                case.exact(f'{group}/{layer}/{i}', found.reshape(blob.shape), blob.values)
    text = Path(path).with_name(f'{name}_net.prototxt')
    if not text.exists():
        return
    net = Net.read(text, proto.TEST)
    net.copy_from(model)
    compare_params(case, 'net', net, golden.params(f'{name}_loaded'), 0.0, lambda blob: blob.data)
    forward = golden.blobs(f'{name}_forward')
    out = net.forward(**{k: v.values for k, v in forward.items() if k in net.graph.inputs})
    for top in case.expect('forward', out, [k for k in forward if k not in net.graph.inputs]):
        case.compare(f'forward/{top}', out[top].detach(), forward[top], limits.activations)


def check_mean(case, path, name, limits):
    """NAME.binaryproto beside the array that was put into it."""
    golden = read_golden(path).group('binaryproto').need(name)
    ours = read_binaryproto(Path(path).with_name(f'{name}.binaryproto'))
    case.exact(name, ours.astype(golden.values.dtype), golden.values)


def check_load(case, folder, name, limits):
    """Does Caffe's copy_from take NAME.caffemodel, and what is in the net then?"""
    net, rule = Net.read(Path(folder, 'net.prototxt'), proto.TEST), read_json(
        Path(folder, 'load_rules.json'))[name]
    try:
        net.copy_from(Path(folder, f'{name}.caffemodel'))
        taken = True
    except FcnError:
        taken = False
    case.equal(f"taken ({rule.get('message') or 'Caffe takes it'})", taken, rule['accepted'])
    if taken and rule['accepted']:
        compare_params(case, 'params', net, read_golden(Path(folder, 'loaded.h5')).params(
            name), 0.0, lambda blob: blob.data)
