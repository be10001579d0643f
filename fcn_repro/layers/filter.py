"""Filter: the items of a batch whose selector is not zero (Caffe's filter_layer)."""

from ..sizes import dims
from .common.base import ANY, Layer
from .common.exporting import BOOL


class Filter(Layer):
    """bottoms: blobs (N, …) and last the selector (N,) or (N, 1, …) -> each blob but the selector
    with the selected items only. Any other item gets the gradient 0, and so does the selector.

    The number of selected items is known only when the net runs: `shape` gives N, as Caffe's setup.
    """

    type = 'Filter'
    bottoms = (2, ANY)
    tops = (1, ANY)

    def setup(self):
        tops, wanted = len(self.node.tops), len(self.node.bottoms) - 1
        if tops != wanted:
            raise self.error(f'{tops} tops for {wanted} bottoms and a selector',
                             'Give one top for each bottom but the last.')

    def shape(self, bottoms):
        *items, selector = bottoms
        if not selector or any(n != 1 for n in selector[1:]):
            raise self.error(f'a selector of shape {dims(selector)}',
                             'Only its first axis may be other than 1.')
        for i, bottom in enumerate(items):
            if not bottom or bottom[0] != selector[0]:
                raise self.error(f'bottom {i} is {dims(bottom)}, the selector '
                                 f'{dims(selector)}', 'Their first axes must agree.')
        return items

    def forward(self, bottoms, params):
        *items, selector = bottoms
        chosen = selector.detach().reshape(-1) != 0
        return [x[chosen] for x in items]

    def torch_code(self, code):
        *items, selector = code.bottoms
        return ', '.join(f'{x}[{selector}.flatten() != 0]' for x in items)

    def onnx_nodes(self, nodes):
        *items, selector = nodes.bottoms
        flat = nodes.op('Reshape', selector, nodes.ints([-1]))
        chosen = nodes.op('Cast', flat, to=BOOL)
        return [nodes.op('Compress', x, chosen, axis=0) for x in items]
