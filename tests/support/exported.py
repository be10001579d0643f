"""Nets to export, and exports that are run."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from texts import FILE

from fcn_repro.export import export
from fcn_repro.net import Net
from fcn_repro.net.graph import build
from fcn_repro.net.surgery import interp
from fcn_repro.proto import TEST, NetParameter
from fcn_repro.proto.prototxt import NetText

MISSING = 'is not installed, which the exported ONNX models are run with (pip install {})'


def package(name):
    """A package that tests need; without it they are skipped."""
    return pytest.importorskip(name, reason=f'{name} {MISSING.format(name)}')


def net_of(case):
    """(Net, {input: tensor}) of one layer with its bottoms as inputs, in float32."""
    message = NetParameter(name='one')
    shapes = case.shapes() or [(1,)]
    for i, shape in enumerate(shapes):
        blob = message.layer.add(name=f'b{i}', type='Input', top=[f'b{i}'])
        blob.input_param.shape.add(dim=shape)
    if not case.bottoms:
        message.layer.add(name='unread', type='Silence', bottom=['b0'])
    message.layer.add(name='it', type=case.type, bottom=[f'b{i}' for i in range(len(case.bottoms))],
                      top=[f't{i}' for i in range(case.tops)], **case.settings)
    if not case.tops:
        message.layer.add(name='also', type='AbsVal', bottom=['b0'], top=['t0'])
    net = Net(build(NetText(message, FILE, (None,) * len(message.layer)), TEST))
    for blob, weight in zip(net.params.get('it', ()), case.weights(net.layer(
            next(node for node in net.graph.nodes if node.name == 'it'))), strict=True):
        blob.data.copy_(weight)
    inputs = {f'b{i}': x.float() for i, x in enumerate(case.bottoms)} or {'b0': torch.ones(1)}
    return net, inputs


def narrow(text, most=21):
    """The text of a net with a 16th of the channels in each layer of more than `most`, in whole
    groups; depthwise convolutions, a group a channel, have as many as their bottom. A net that cuts
    its maps into equal parts (Slice) as it is."""
    if any(layer.type == 'Slice' for layer in text.message.layer):
        return text
    message = type(text.message)()
    message.CopyFrom(text.message)
    convolutions = [layer.convolution_param for layer in message.layer]
    depthwise = [1 < param.group == param.num_output for param in convolutions]
    group = max(1 if deep else param.group
                for param, deep in zip(convolutions, depthwise, strict=True))
    channels = {}
    for layer, deep in zip(message.layer, depthwise, strict=True):
        read = [channels.get(blob, 0) for blob in layer.bottom]
        for param in layer.convolution_param, layer.inner_product_param:
            if deep and param is layer.convolution_param:
                param.group = param.num_output = read[0]
            elif param.num_output > most:
                narrowed = max(2, param.num_output // 16)
                param.num_output = narrowed + -narrowed % group
        made = sum(read if layer.type == 'Concat' else read[:1])
        channels.update(dict.fromkeys(layer.top, layer.convolution_param.num_output or made))
    return replace(text, message=message)


def folded(text):
    """The text of a net with BNs that take no statistics of their batch, as those of SegNet and
    ENet are after `fcn-repro bn-statistics`; other nets as they are."""
    message = type(text.message)()
    message.CopyFrom(text.message)
    for layer in message.layer:
        if layer.type == 'BN' and (mode := layer.bn_param.DESCRIPTOR.fields_by_name.get('bn_mode')):
            layer.bn_param.bn_mode = mode.enum_type.values_by_name['INFERENCE'].number
    return replace(text, message=message)


def filled(text, seed=0):
    """The Net of a NetText with weights of which none is zero, as large in every layer: normal, in
    upsampling layers bilinear."""
    net = Net.of(text, TEST)
    generator = torch.Generator().manual_seed(seed)
    for node in net.graph.nodes:
        for i, blob in enumerate(net.layer_params.get(node.key, ())):
            fan = max(1, blob.data[0].numel()) if blob.data.dim() > 1 else 1
            blob.data.normal_(0, (2 / fan) ** 0.5 if i == 0 else 0.01, generator=generator)
            if node.type == 'BatchNorm' or (node.type == 'BN' and i == 3):  # variances
                blob.data.abs_().add_(0.5)
            if node.type == 'Scale' and i == 0:     # near 1 or -1, lest deep nets add up rounding
                blob.data.add_(blob.data.sign()).div_(2)
        shape = net.layer_params[node.key][0].shape if node.type == 'Deconvolution' else ()
        if shape and shape[2] > 3 and shape[1] in (1, shape[0]):     # else it is no interpolation
            interp({node.name: [blob.data.zero_() for blob in net.layer_params[node.key]]},
                   [node.name])
    return net


def as_placed(module):
    """A module with its filters in channels-last as those of a placed net are. Module.to gives
    those of 1x1 other strides, too, by which torch then picks the format of the tops."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def image(height, width, seed=0):
    """Pixels minus a mean, (1, 3, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, height, width, generator=generator) * 255 - 110


def assert_scores(given, wanted):
    """Scores within 1e-4 of the largest, and labels equal where no two scores are as near."""
    near = 1e-4 * wanted.abs().max()
    assert given.shape == wanted.shape and (given - wanted).abs().max() <= near
    if wanted.shape[1] > 1:
        best = wanted.topk(2, 1).values
        clear = best[:, 0] - best[:, 1] > 2 * near
        assert torch.equal(given.argmax(1)[clear], wanted.argmax(1)[clear])


def run_net(net, inputs):
    """{blob: tensor} of the outputs of a net without passes that was not placed."""
    with torch.no_grad():
        return net.forward(**inputs)


def run_python(net, inputs, folder, **options):
    """{blob: tensor} of the outputs of an export to Python."""
    path, _ = export(net, 'python', folder / 'net.py', replace=True, **options)
    with torch.no_grad():
        tops = imported(path).load()(*inputs.values())
    return tops if isinstance(tops, dict) else {net.graph.outputs[0]: tops}


def imported(path):
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_onnx(net, inputs, folder, **options):
    """{blob: tensor} of the outputs of an export to ONNX, in onnxruntime."""
    path, = export(net, 'onnx', folder / 'net.onnx', replace=True, **options)
    return run_session(session(path), inputs)


def session(path):
    """An onnxruntime session of a file, in one thread."""
    runtime = package('onnxruntime')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def run_session(made, inputs):
    """{output: tensor} of a session for {input: tensor}; those that it has."""
    wanted = {value.name for value in made.get_inputs()}
    tops = made.run(None, {name: np.asarray(x, order='C') for name, x in inputs.items()
                           if name in wanted})
    return {value.name: torch.from_numpy(top) for value, top in
            zip(made.get_outputs(), tops, strict=True)}
