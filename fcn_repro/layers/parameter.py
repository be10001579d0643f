"""Parameter: a learned blob as a top (Caffe's parameter_layer)."""

from .common.base import Layer, constant


class Parameter(Layer):
    """No bottom; the top is the parameter, of parameter_param.shape, at first zero."""

    type = 'Parameter'
    bottoms = 0
    fields = 'parameter_param'

    def setup(self):
        if not self.param.HasField('shape') or min(self.param.shape.dim, default=1) < 1:
            raise self.error('parameter_param.shape is missing or empty',
                             'Give it a positive dim for each axis, none for a scalar.')

    def parameters(self, bottoms):
        return [(tuple(self.param.shape.dim), constant())]

    def shape(self, bottoms):
        return [tuple(self.param.shape.dim)]

    def forward(self, bottoms, params):
        return params

    def torch_code(self, code):
        return code.parameter()

    def onnx_nodes(self, nodes):
        return nodes.params
