"""ConvolutionReLU: a Convolution and the ReLU after it as one layer, made by passes.fuse_relu."""

from ..common.internal import InternalLayer
from ..convolution import Convolution


class ConvolutionReLU(InternalLayer):
    """(N, C, …) -> (N, num_output, …), the ReLU computed in the Convolution's memory, or on GPUs by
    the kernel that convolves (ops/conv.py). Owns the Convolution's parameters."""

    type = 'ConvolutionReLU'
    product = makes_tops = True
    instead = 'Write a Convolution and a ReLU.'

    def setup(self):
        super().setup()
        convolution, _ = self.node.parts
        self.convolution = Convolution(convolution, self.state)
        self.convolution.rectified = True

    def parameters(self, bottoms):
        return self.convolution.parameters(bottoms)

    def shape(self, bottoms):
        return self.convolution.shape(bottoms)

    def scratch(self, bottoms):
        return self.convolution.scratch(bottoms)

    def forward(self, bottoms, params):
        return self.convolution.forward(bottoms, params)
