"""AbsVal: |x| (Caffe's absval_layer)."""

from .base import Layer


class AbsVal(Layer):
    """Any shape. At 0 the gradient is 0."""

    type = 'AbsVal'

    def setup(self):
        if self.node.param.bottom[0] == self.node.param.top[0]:
            raise self.error('in-place AbsVal', 'Give the top a name of its own.')

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        return [bottoms[0].abs()]
