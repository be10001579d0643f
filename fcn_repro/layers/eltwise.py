"""Eltwise: SUM with coefficients, PROD, MAX (Caffe's eltwise_layer)."""

import torch

from ..proto import EltwiseParameter
from ..sizes import dims
from .common.base import ANY, Layer
from .common.exporting import number


class Eltwise(Layer):
    """bottoms of one shape -> a top of that shape.

    MAX: a tie of inputs 0 and 1 goes to input 1; a later input wins only if strictly greater.
    PROD with stable_prod_grad false: Caffe divides the product by the input.
    """

    type = 'Eltwise'
    keeps_coordinates = local = True
    bottoms = (2, ANY)
    fields = 'eltwise_param'

    @property
    def linear(self):
        return self.param.operation == EltwiseParameter.SUM

    def setup(self):
        count = len(self.param.coeff)
        if count and count != len(self.node.bottoms):
            raise self.error(f'{count} coeff for {len(self.node.bottoms)} bottoms',
                             'Give one for each bottom, or none.')
        if count and self.param.operation == EltwiseParameter.PROD:
            raise self.error('coeff with operation PROD', 'Caffe takes coeff only with SUM.')

    def shape(self, bottoms):
        for i, bottom in enumerate(bottoms):
            if tuple(bottom) != tuple(bottoms[0]):
                raise self.error(f'bottom {i} is {dims(bottom)}, bottom 0 is {dims(bottoms[0])}',
                                 'Crop them to one shape first.')
        return [bottoms[0]]

    def forward(self, bottoms, params):
        if self.param.operation == EltwiseParameter.PROD:
            stable = self.param.stable_prod_grad
            return [_product(bottoms) if stable else UnstableProduct.apply(*bottoms)]
        if self.param.operation == EltwiseParameter.MAX:
            return [_maximum(bottoms)]
        top = None
        for x, c in zip(bottoms, list(self.param.coeff) or [1] * len(bottoms), strict=True):
            term = x if c == 1 else x * c
            top = term if top is None else top + term
        return [top]

    def torch_code(self, code):
        if self.param.operation == EltwiseParameter.PROD:
            return ' * '.join(code.bottoms)
        if self.param.operation == EltwiseParameter.MAX:
            top, *others = code.bottoms
            for i, x in enumerate(others):      # which zero wins, 0 or -0, as in _maximum
                top = f'torch.where({x} > {top}, {x}, {top})' if i else \
                    f'torch.where({top} > {x}, {top}, {x})'
            return top
        terms = zip(code.bottoms, list(self.param.coeff) or [1] * len(code.bottoms), strict=True)
        return ' + '.join(x if c == 1 else f'{x} * {number(c)}' for x, c in terms)

    def onnx_nodes(self, nodes):
        if self.param.operation == EltwiseParameter.MAX:
            return [nodes.op('Max', *nodes.bottoms)]
        terms = [x if c == 1 else nodes.op('Mul', x, nodes.floats(c)) for x, c in
                 zip(nodes.bottoms, list(self.param.coeff) or [1] * len(nodes.bottoms),
                     strict=True)]
        top, *others = terms
        for x in others:
            top = nodes.op('Mul' if self.param.operation == EltwiseParameter.PROD else 'Add',
                           top, x)
        return [top]


def _product(bottoms):
    top = bottoms[0]
    for x in bottoms[1:]:
        top = top * x
    return top


def _maximum(bottoms):
    top = torch.where(bottoms[0] > bottoms[1], bottoms[0], bottoms[1])
    for x in bottoms[2:]:
        top = torch.where(x > top, x, top)
    return top


class UnstableProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *bottoms):
        top = _product(bottoms)
        ctx.save_for_backward(top, *bottoms)
        return top

    @staticmethod
    def backward(ctx, grad):
        top, *bottoms = ctx.saved_tensors
        return tuple(top / x * grad for x in bottoms)
