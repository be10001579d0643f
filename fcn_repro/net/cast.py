"""Casts a classifier into a fully convolutional net: each InnerProduct becomes a Convolution."""

from dataclasses import replace

from ..errors import FcnError
from .graph import Graph


def cast_classifier(net) -> Graph:
    """The graph of `net` with each InnerProduct as the Convolution that computes the same.

    Its kernel is the spatial size of the InnerProduct's bottom at the net's own input size (1x1
    after another InnerProduct). It keeps the name, so copy_from casts the weights. At that size the
    outputs are the classifier's, with two trailing axes of 1; on a larger image they are a grid
    (paper, section 3.1). FcnError for an InnerProduct that does not start at the channel axis or is
    transposed.
    """
    nodes = tuple(_cast(net, node) if node.type == 'InnerProduct' else node
                  for node in net.graph.nodes)
    return replace(net.graph, nodes=nodes)


def _cast(net, node):
    p = node.param.inner_product_param
    if p.axis != 1 or p.transpose:
        raise FcnError('only an InnerProduct with axis 1 and no transpose is a Convolution',
                       layer=node.name, type=node.type, line=node.line, file=net.graph.file,
                       do='Rewrite the layer.')
    bottom = net.shapes[node.bottoms[0]]
    kernel = bottom[2:] if len(bottom) == 4 else (1, 1)
    param = type(node.param)(name=node.name, type='Convolution', bottom=node.param.bottom,
                             top=node.param.top, param=node.param.param)
    param.convolution_param.num_output = p.num_output
    param.convolution_param.kernel_h, param.convolution_param.kernel_w = kernel
    param.convolution_param.bias_term = p.bias_term
    for filler in 'weight_filler', 'bias_filler':
        if p.HasField(filler):
            getattr(param.convolution_param, filler).CopyFrom(getattr(p, filler))
    return replace(node, type='Convolution', param=param)
