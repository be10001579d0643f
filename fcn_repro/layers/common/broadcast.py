"""Base class of Bias and Scale: an operand whose axes match the bottom's from `axis` on."""

from ...sizes import dims
from .base import Layer


class BroadcastLayer(Layer):
    """Combines a bottom with an operand of some of its axes: the second bottom, or a parameter."""

    bottoms = (1, 2)
    in_place = keeps_coordinates = True

    @property
    def local(self):
        """With an operand for each channel, or one for all."""
        return len(self.node.bottoms) == 1 and self.param.axis in (1, -3) \
            and self.param.num_axes in (0, 1)

    def operand_shape(self, bottoms):
        """Shape of the second bottom, or of the parameter: num_axes axes from `axis` on."""
        if len(bottoms) == 2:
            return tuple(bottoms[1])
        start, count = self.axis(self.param.axis, bottoms[0]), self.param.num_axes
        if count < -1:
            raise self.error(f'num_axes {count}', 'Give 0 or more, or -1 for all from axis on.')
        if start + count > len(bottoms[0]):
            raise self.error(f'axis {start} + num_axes {count} is more than the '
                             f'{len(bottoms[0])} axes of the bottom', 'Fix num_axes.')
        return tuple(bottoms[0][start:] if count == -1 else bottoms[0][start:start + count])

    def shape(self, bottoms):
        shape = self.operand_shape(bottoms)
        start = self.axis(self.param.axis, bottoms[0]) if shape else 0
        if tuple(bottoms[0][start:start + len(shape)]) != shape:
            raise self.error(f'an operand of {dims(shape)} does not fit {dims(bottoms[0])} from '
                             f'axis {start} on', 'Fix axis, or the second bottom.')
        return [bottoms[0]]

    def broadcast(self, operand, x):
        """The operand with axes of 1 appended, so that torch broadcasts it over x."""
        if operand.dim() == 0:
            return operand
        start = self.axis(self.param.axis, x.shape)
        return operand.reshape(*operand.shape, *[1] * (x.dim() - start - operand.dim()))

    def operand_code(self, code):
        """The second bottom, as code that broadcasts it over the first."""
        start = self.axis(self.param.axis, code.dims[0]) if code.dims[1] else 0
        after = len(code.dims[0]) - start - len(code.dims[1]) if code.dims[1] else 0
        return f'{code.bottoms[1]}[(..., *[None] * {after})]' if after else code.bottoms[1]

    def operand_node(self, nodes):
        """The same in ONNX."""
        rank = len(nodes.dims[1])
        start = self.axis(self.param.axis, nodes.dims[0]) if rank else 0
        after = len(nodes.dims[0]) - start - rank if rank else 0
        return nodes.op('Unsqueeze', nodes.bottoms[1], nodes.ints(range(rank, rank + after))) \
            if after else nodes.bottoms[1]

    def blob_shape(self, blob, dims):
        """The shape in which a parameter broadcasts over a bottom."""
        start = self.axis(self.param.axis, dims) if blob.ndim else 0
        return (*blob.shape, *[1] * (len(dims) - start - blob.ndim if blob.ndim else 0))
