#!/usr/bin/env python3
"""ENet and SegNet-Basic forward: ours, PyTorch's and OpenCV's, as trained and with BNs absorbed.

    python benchmarks/encoders.py [--size 352x480] [--nets enet segnet-basic] [--bn] [--runs 5]
                                  [--threads 2] [--json FILE]

All have the same random weights. plain PyTorch: the module that `fcn-repro export --python` writes,
which unpools by scatter, and the same with torch's max_unpool2d, contiguous and channels-last.
OpenCV (4.x, if it is installed, and the package onnx): our ONNX file, its masks as MaxUnpool, which
OpenCV has. --bn: with the BNs as scales and shifts, before absorption.
"""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import torch
from timing import OURS, arguments, measure, parse_size, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.export import export
from fcn_repro.formats.weights import Weights
from fcn_repro.net import Net
from fcn_repro.net.bn_statistics import absorb
from fcn_repro.net.placement import place
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.recipe.models import enet, segnet

BUILDERS = {'enet': enet.enet, 'segnet-basic': segnet.basic}
CLASSES = 11
TOLERANCE = 1e-3


def made(name, size, bn):
    """(NetText, {layer: blobs}) of a deploy net with random weights."""
    text = parse_net(net_text(BUILDERS[name](
        None, classes=CLASSES, folded=True, shape=(1, 3, *size))), name)
    net, draw = Net.of(text, TEST), torch.Generator().manual_seed(0)
    for node in net.graph.nodes:
        for i, blob in enumerate(net.params.get(node.name, ())):
            scale = 0.1 if node.type == 'BN' or i else 1 / blob.data[0].numel() ** 0.5
            blob.data.add_(torch.randn(blob.shape, generator=draw), alpha=scale)
    if not bn:
        found = absorb(text, net)
        return found.text, {layer: [np.float32(blob) for blob in blobs]
                            for layer, blobs in found.blobs.items() if blobs}
    return text, {layer: [blob.data.detach().numpy() for blob in blobs]
                  for layer, blobs in net.params.items()}


def ours(text, weights):
    """Our net, placed with all that makes it fast."""
    net = Net.of(text, TEST, passes=DEFAULT)
    net.copy_from(Weights(weights))
    return place(net)


def exported(text, weights, size, folder, unpool=None):
    """The plain PyTorch module; unpool: in place of the function of that name in its code."""
    net = Net.of(text, TEST)
    net.copy_from(Weights(weights))
    code, *_ = export(net, 'python', Path(folder, 'net.py'), size=size, replace=True)
    spec = importlib.util.spec_from_file_location('net', code)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if unpool:
        module.unpool = unpool
    return module.load().eval()


def max_unpool(x, mask, size):
    """What a user of PyTorch would write."""
    return torch.ops.aten.max_unpool2d(x, mask.long(), list(size))


def opencv(text, weights, size, folder, threads):
    """OpenCV's net; None, with a word on why, where it is not there."""
    try:
        import cv2
        import onnx
    except ModuleNotFoundError as error:
        print(f"OpenCV is left out: pip install 'opencv-python-headless<5' onnx ({error})")
        return None
    net = Net.of(text, TEST)
    net.copy_from(Weights(weights))
    file, *_ = export(net, 'onnx', Path(folder, 'net.onnx'), size=size, replace=True)
    model = with_max_unpool(onnx.load(str(file)), net)
    onnx.save(model, str(file))
    peer = cv2.dnn.readNetFromONNX(str(file))
    cv2.setNumThreads(threads)

    def run(image):
        peer.setInput(image)
        return peer.forward()
    return run


def with_max_unpool(model, net):
    """The ONNX model with each ScatterElements by a mask as a MaxUnpool by what its MaxPool found,
    without the nodes that nothing reads then."""
    import onnx
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    sizes = [net.shapes[node.tops[0]] for node in net.graph.nodes if node.type == 'Upsample']
    sizes = iter(sizes)
    for node in [node for node in graph.node if node.op_type == 'ScatterElements']:
        index, values = (maker[name] for name in node.input[1:3])
        while index.op_type != 'MaxPool':
            index = maker[index.input[0]]
        top = next(each for each in graph.node if node.output[0] in each.input)
        shape = onnx.numpy_helper.from_array(np.int64(next(sizes)), f'{node.output[0]}_size')
        graph.initializer.append(shape)
        top.CopyFrom(onnx.helper.make_node(
            'MaxUnpool', [values.input[0], index.output[1], shape.name], list(top.output),
            kernel_shape=[2, 2], strides=[2, 2]))
    wanted, kept = {each.name for each in graph.output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    unread = [each for each in graph.initializer if each.name not in wanted]
    for each in unread:
        graph.initializer.remove(each)
    return model


def check(functions):
    """RuntimeError where a way's scores are not ours on average: where rounding decides which of
    two maxima is the larger, a value goes to another place."""
    wanted = functions[OURS]()
    for way, run in functions.items():
        difference = float((run() - wanted).abs().mean() / wanted.abs().mean())
        if not difference < TOLERANCE:
            raise RuntimeError(f'{way} differs from ours by {difference:.1e} of the mean score')


def compare(name, args):
    """Rows of one net."""
    text, weights = made(name, args.size, args.bn)
    image = torch.randn(1, 3, *args.size) * 50
    net = ours(text, weights)
    score, = net.graph.outputs
    functions = {OURS: lambda: net.forward(data=image)[score]}
    with tempfile.TemporaryDirectory() as folder:
        for way, unpool in (('scatter', None), ('max_unpool2d', max_unpool)):
            for form, layout in (('contiguous', torch.contiguous_format),
                                 ('channels-last', torch.channels_last)):
                plain = exported(text, weights, args.size, folder, unpool).to(memory_format=layout)
                given = image.to(memory_format=layout)
                functions[f'PyTorch, {way}, {form}'] = lambda plain=plain, x=given: first(plain(x))
        peer = opencv(text, weights, args.size, folder, args.threads)
    if peer:
        functions['OpenCV'] = lambda: torch.from_numpy(peer(image.numpy()))
    case = {'net': name, 'size': 'x'.join(map(str, args.size)), 'bn': args.bn}
    with torch.inference_mode():
        check(functions)
        return measure('encoder-decoder forward', case, functions, args)


def first(out):
    """The only output of an exported module."""
    return next(iter(out.values())) if isinstance(out, dict) else out


@report_errors()
def main():
    parser = arguments(__doc__, 5)
    parser.add_argument('--size', type=parse_size, default=(352, 480), metavar='HxW',
                        help='sides in multiples of 16: OpenCV doubles them alone')
    parser.add_argument('--nets', nargs='+', choices=BUILDERS, default=list(BUILDERS))
    parser.add_argument('--bn', action='store_true', help='with the BNs, not absorbed')
    args = parser.parse_args()
    machine = prepare(args)
    write(args.json, machine, [row for name in args.nets for row in compare(name, args)])


if __name__ == '__main__':
    main()
