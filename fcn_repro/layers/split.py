"""Split: one blob for several consumers, whose gradients add up (Caffe's split_layer)."""

from .common.base import ANY, Layer


class Split(Layer):
    """bottom of any shape -> tops that are views of it."""

    type = 'Split'
    passes_values = True
    narrow = linear = shares_data = keeps_coordinates = keeps_ranking = local = True
    tops = (1, ANY)

    def shape(self, bottoms):
        return list(bottoms) * len(self.node.tops)

    def forward(self, bottoms, params):
        return [bottoms[0].expand_as(bottoms[0]) for _ in self.node.tops]

    def torch_code(self, code):
        return ', '.join(code.bottoms * len(self.node.tops))

    def onnx_nodes(self, nodes):
        return nodes.bottoms * len(self.node.tops)
