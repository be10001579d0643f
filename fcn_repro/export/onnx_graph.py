"""A net as an ONNX model of standard operators, opset 13.

Nodes are called as the layers are, values as the blobs; where an in-place layer writes over a blob,
the earlier value is BLOB/LAYER. The layers say what their operators are (Layer.onnx_nodes).

Opset 13 is the oldest in which Softmax normalises along one axis, as Caffe's does; the newer ones
have nothing that these nets need, and fewer runtimes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import FcnError, located
from ..formats.atomic import replacing
from ..net.graph import Node
from .source import Source

OPSET, IR_VERSION = 13, 8
AXES = 'batch', 'channels', 'height', 'width'
LARGEST = 2 ** 31 - 1 - 2 ** 20     # bytes of a model: protobuf's limit, less the graph itself


def onnx_package() -> ModuleType:
    """The package onnx, which writes and checks the model; FcnError where it is not installed."""
    try:
        import onnx
        import onnx.checker
        import onnx.numpy_helper
    except ImportError:
        raise FcnError("the package 'onnx' is not installed",
                       do='Install it: pip install onnx.') from None
    return onnx


@dataclass
class OnnxGraph:
    """A graph that is being written. nodes: (type, inputs, outputs, attributes); initializers:
    {name: array}; params: {identity and shape of a parameter: its name}; layers: {name of a layer's
    result: the layer's}; final: {name that a layer gave: that of a blob}."""
    source: Source
    nodes: list[tuple[str, list[str], list[str], dict]] = field(default_factory=list)
    initializers: dict[str, np.ndarray] = field(default_factory=dict)
    params: dict[tuple, str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    final: dict[str, str] = field(default_factory=dict)


@dataclass
class LayerNodes:
    """The OnnxNodes (layers/common/exporting.py) of one layer."""
    graph: OnnxGraph
    node: Node
    bottoms: list[str]
    params: list[str]
    shapes: list[tuple[int, ...]]
    dims: list[tuple[int | None, ...]]
    blobs: list[np.ndarray]
    count: int = 0

    def op(self, type: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(1, type, *inputs, **attributes)[0]

    def ops(self, count: int, type: str, *inputs: str, **attributes: Any) -> list[str]:
        outputs = [self.name(type) for _ in range(count)]
        self.graph.nodes.append((type, list(inputs), outputs, attributes))
        return outputs

    def name(self, what: str) -> str:
        self.count += 1
        return f'{self.node.unique_name}/{what}_{self.count}'

    def floats(self, values: Any) -> str:
        return self.constant(np.asarray(values, np.float32))

    def ints(self, values: Sequence[int]) -> str:
        return self.constant(np.array(list(values), np.int64))

    def constant(self, array: np.ndarray) -> str:
        name = self.name('constant')
        self.graph.initializers[name] = array
        return name

    def extents(self, index: int, start: int, end: int) -> str:
        dims = self.dims[index][start:end]
        if None not in dims:
            return self.ints([size for size in dims if size is not None])
        shape = self.op('Shape', self.bottoms[index])
        if (start, end) == (0, len(self.dims[index])):
            return shape
        return self.op('Slice', shape, self.ints([start]), self.ints([end]))


def onnx_model(source: Source) -> Any:
    """The ModelProto of a net, checked. FcnError, with layer and type, for a layer that has no
    ONNX form."""
    onnx = onnx_package()
    helper, graph, net = onnx.helper, OnnxGraph(source), source.net.graph
    held = {v: net.values[v] for v in source.inputs}
    for node in net.nodes:
        with located(net.file, node):
            add_layer(graph, node, held)
    name_blobs(graph, held)
    rename = graph.final.get
    nodes = []
    for type, inputs, outputs, attributes in graph.nodes:
        nodes.append(helper.make_node(
            type, [rename(name, name) for name in inputs], [rename(name, name) for name in outputs],
            name=graph.layers.get(outputs[0], outputs[0]), **plain(attributes)))
    values = {v: value_info(onnx, source, v) for v in (*source.inputs, *source.outputs)}
    made = helper.make_graph(
        nodes, source.name or 'net', [values[v] for v in source.inputs],
        [values[v] for v in source.outputs],
        [onnx.numpy_helper.from_array(array, rename(name, name))
         for name, array in graph.initializers.items()])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid('', OPSET)],
                              ir_version=IR_VERSION, producer_name='fcn_repro',
                              producer_version=source.metadata()['writer'].split()[-1])
    helper.set_model_props(model, source.metadata())
    return model


def add_layer(graph: OnnxGraph, node: Node, held: dict[int, str]) -> None:
    """Add the nodes of a layer. held: {value: its name so far}."""
    if node.type == 'Input':
        return
    source, layer = graph.source, graph.source.net.layer(node)
    nodes = LayerNodes(graph, node, [held[v] for v in node.bottoms], parameter_names(graph, node),
                       [source.shapes[v] for v in node.bottoms],
                       [source.dims[v] for v in node.bottoms], source.blobs(node))
    tops = layer.onnx_nodes(nodes)
    held.update(zip(node.tops, tops, strict=True))
    own = [name for name in tops if name.startswith(f'{node.unique_name}/')]
    for i, name in enumerate(own):
        graph.layers.setdefault(name, f'{node.unique_name}/{i}' if i else node.unique_name)


def parameter_names(graph: OnnxGraph, node: Node) -> list[str]:
    """The initializers of a layer's parameters: LAYER.weight and LAYER.bias, or LAYER.0 and so on
    beyond two; one that an earlier layer has in this shape is that one."""
    names, blobs = [], graph.source.net.layer_params.get(node.key, [])
    for i, (blob, array) in enumerate(zip(blobs, graph.source.blobs(node), strict=True)):
        own = f'{node.unique_name}.{("weight", "bias")[i] if len(blobs) < 3 else i}'
        name = graph.params.setdefault((id(blob.parameter), array.shape), own)
        graph.initializers.setdefault(name, array)
        names.append(name)
    return names


def name_blobs(graph: OnnxGraph, held: dict[int, str]) -> None:
    """Give the values the names of their blobs: the last one of a blob its name, earlier ones
    BLOB/LAYER. An output that is an input or a constant gets an Identity."""
    net = graph.source.net.graph
    made = {name for _, _, outputs, _ in graph.nodes for name in outputs}
    used = set(net.inputs)
    for v in graph.source.outputs:
        if held[v] not in made or held[v] in graph.final:
            name = f'{net.values[v]}/Identity'
            graph.nodes.append(('Identity', [held[v]], [name], {}))
            held[v] = name
            made.add(name)
        graph.final[held[v]] = net.values[v]
        used.add(net.values[v])
    for v in reversed(range(len(net.values))):
        name, blob = held.get(v, ''), net.values[v]
        copied = graph.source.net.layer(net.producer(v)).shares_data        # a Split's
        if name in made and name not in graph.final and not copied:
            if blob in used:
                blob = f'{blob}/{net.producer(v).unique_name}'
            if blob not in used:
                graph.final[name] = blob
                used.add(blob)
    keep_used(graph)


def keep_used(graph: OnnxGraph) -> None:
    """Drop the initializers that no node reads, as the sums of a BatchNorm."""
    read = {name for _, inputs, _, _ in graph.nodes for name in inputs}
    for name in graph.initializers.keys() - read:
        del graph.initializers[name]


def plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes as onnx takes them: tuples as lists."""
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in attributes.items()}


def value_info(onnx: ModuleType, source: Source, value: int) -> Any:
    """Name, type and shape of an input or output."""
    return onnx.helper.make_tensor_value_info(
        source.net.graph.values[value], onnx.TensorProto.FLOAT,
        [axis_name(source, value, i) if size is None else size
         for i, size in enumerate(source.dims[value])])


def axis_name(source: Source, value: int, axis: int) -> str:
    """What a free axis is called: 'batch', 'height', 'width' where it is as long as the input's,
    else BLOB_AXIS."""
    names, mine, given = AXES, source.shapes[value], source.shapes[source.inputs[0]]
    alike = axis == 0 or len(mine) == len(given)
    same = alike and axis < len(given) and mine[axis] == given[axis]
    return names[axis] if same else f'{source.net.graph.values[value]}_{axis}'


def write_onnx(source: Source, path: Path) -> list[Path]:
    """Write the checked model. FcnError for one beyond protobuf's 2 GB."""
    onnx = onnx_package()
    model = onnx_model(source)
    size = sum(array.nbytes for node in source.net.graph.nodes for array in source.blobs(node))
    if size > LARGEST:
        raise FcnError(f'the weights have {size / 1e9:.2f} GB, and a file of ONNX holds 2.14',
                       file=source.net.graph.file, do='Export the net as torch-export.')
    onnx.checker.check_model(model, full_check=True)
    with replacing(path, durable=False) as file:
        file.write(model.SerializeToString())
    return [path]
