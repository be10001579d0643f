"""Casts a classifier into a fully convolutional net: each InnerProduct becomes a Convolution."""

from typing import Any

from ..errors import FcnError
from ..layers import auto_tops
from ..proto.prototxt import NetText
from .graph import Graph, build


def cast_classifier(net) -> Graph:
    """The graph of cast_text."""
    return build(cast_text(net), net.graph.phase, auto_tops=auto_tops(net.types))


def cast_text(net) -> NetText:
    """The text of a Net with each InnerProduct as the Convolution that computes the same.

    Its kernel is the spatial size of the InnerProduct's bottom at the net's own input size (1x1
    after another InnerProduct). It keeps the name, so copy_from casts the weights. A Flatten from
    the channel axis on is left out, and a global pooling gets the kernel that it has at this size.
    At that size the outputs are the classifier's, with two trailing axes of 1; on a larger image
    they are a grid (paper, section 3.1). FcnError for an InnerProduct that does not start at the
    channel axis or is transposed, and for one behind a Reshape.
    """
    graph = net.graph
    given = {'name': graph.name, 'force_backward': graph.force_backward,
             'debug_info': graph.debug_info}
    message = graph.dialect['NetParameter'](**{key: value for key, value in given.items() if value})
    names: dict[int, str] = {}          # of the values that a left-out Flatten would make
    lines = []
    for node in graph.nodes:
        if node.type == 'Split':        # its copies are what it reads
            names |= {v: names[node.bottoms[0]] for v in node.tops if node.bottoms[0] in names}
        elif node.type == 'Flatten' and flattens_cells(node, net):
            names[node.tops[0]] = names.get(node.bottoms[0], node.param.bottom[0])
    for node in graph.written:
        if node.type == 'Flatten' and node.tops[0] in names:
            continue
        layer = message.layer.add()
        layer.CopyFrom(recast(net, node))
        del layer.include[:], layer.exclude[:]
        for i, value in enumerate(node.bottoms):
            layer.bottom[i] = names.get(value, layer.bottom[i])
        lines.append(node.line)
    return NetText(message, graph.file, tuple(lines))


def flattens_cells(node, net) -> bool:
    """Whether a Flatten joins the channels and all axes after them."""
    axes = len(net.shapes[node.bottoms[0]])
    p = node.param.flatten_param
    return p.axis % axes == 1 and p.end_axis % axes == axes - 1


def recast(net, node) -> Any:
    """The layer of a node in the fully convolutional net."""
    if node.type == 'InnerProduct':
        return convolution(net, node)
    if node.type == 'Pooling' and node.param.pooling_param.global_pooling:
        param = type(node.param)()
        param.CopyFrom(node.param)
        param.pooling_param.ClearField('global_pooling')
        set_kernel(param.pooling_param, net.shapes[node.bottoms[0]][2:])
        return param
    return node.param


def convolution(net, node) -> Any:
    """An InnerProduct's layer as a Convolution."""
    p = node.param.inner_product_param
    if p.axis != 1 or p.transpose:
        raise FcnError('only an InnerProduct with axis 1 and no transpose is a Convolution',
                       layer=node.name, type=node.type, line=node.line, file=net.graph.file,
                       do='Rewrite the layer.')
    param = type(node.param)(name=node.name, type='Convolution', bottom=node.param.bottom,
                             top=node.param.top, param=node.param.param,
                             loss_weight=node.param.loss_weight,
                             propagate_down=node.param.propagate_down)
    param.convolution_param.num_output = p.num_output
    set_kernel(param.convolution_param, cells(net, node))
    if not p.bias_term:
        param.convolution_param.bias_term = False
    for filler in 'weight_filler', 'bias_filler':
        if p.HasField(filler):
            getattr(param.convolution_param, filler).CopyFrom(getattr(p, filler))
    return param


def cells(net, node) -> tuple[int, ...]:
    """The spatial size of what an InnerProduct multiplies, behind a Flatten too."""
    value = node.bottoms[0]
    while len(net.shapes[value]) == 2:
        before = net.graph.producer(value)
        if before.type == 'Reshape':
            raise FcnError(f"it reads what the Reshape '{before.name}' makes, whose channels and "
                           'cells are one axis', layer=node.name, type=node.type, line=node.line,
                           file=net.graph.file, do='Write a Flatten in place of the Reshape.')
        if before.type == 'InnerProduct' or not before.bottoms:
            return (1, 1)
        value = before.bottoms[0]
    shape = net.shapes[value]
    return shape[2:] if len(shape) == 4 else (1, 1)


def set_kernel(param: Any, size: tuple[int, ...]) -> None:
    """Set the kernel of a Convolution or Pooling: kernel_size if it is square."""
    if size[0] != size[1]:
        param.kernel_h, param.kernel_w = size
    elif hasattr(param.kernel_size, 'append'):
        param.kernel_size.append(size[0])
    else:
        param.kernel_size = size[0]
