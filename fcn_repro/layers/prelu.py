"""PReLU: a ReLU with a learned slope below 0 (Caffe's prelu_layer)."""

from ..ops import prelu
from ..sizes import dims
from .common.base import constant
from .common.neuron import NeuronLayer


class PReLU(NeuronLayer):
    """(N, C, …) -> the same shape. Parameter: the slope of each channel (C,), or with
    channel_shared one for all (); filler default 0.25. At 0 the slope is that below 0."""

    type = 'PReLU'
    fields = 'prelu_param'

    @classmethod
    def learns(cls, param):
        return 1

    def parameters(self, bottoms):
        p, shape = self.param, bottoms[0]
        if len(shape) < 2:
            raise self.error(f'a bottom of shape {dims(shape)} has {len(shape)} axes, not 2 or '
                             'more', 'Reshape it: the channels are its axis 1.')
        slopes = () if p.channel_shared else (shape[1],)
        return [(slopes, p.filler if p.HasField('filler') else constant(0.25))]

    def forward(self, bottoms, params):
        return [prelu(bottoms[0], params[0])]

    def torch_code(self, code):
        slopes = 1 if self.param.channel_shared else code.shapes[0][1]
        module = code.module(f'nn.PReLU({slopes})', 'weight', shape=(slopes,))
        return f'{module}({code.bottoms[0]})'

    def onnx_nodes(self, nodes):
        slopes = nodes.blobs[0].reshape(-1, *[1] * (len(nodes.dims[0]) - 2))
        return [nodes.op('PRelu', nodes.bottoms[0], nodes.floats(slopes))]
