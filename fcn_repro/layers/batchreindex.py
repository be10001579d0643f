"""BatchReindex: items of the batch selected by index (Caffe's batch_reindex_layer)."""

import torch

from ..sizes import dims
from .common.base import Layer
from .common.exporting import INT64


class BatchReindex(Layer):
    """bottoms: x (N, …) and indices (M,) -> (M, …). An item selected twice gets both gradients; one
    not selected gets 0, and so do the indices. Indices are truncated."""

    type = 'BatchReindex'
    makes_tops = True
    bottoms = 2

    def shape(self, bottoms):
        items, indices = bottoms
        if len(indices) != 1 or not items:
            raise self.error(f'bottoms of shape {dims(items)} and {dims(indices)}',
                             'The first needs a batch axis, the second, the indices, one axis.')
        return [(indices[0], *items[1:])]

    def forward(self, bottoms, params):
        x, indices = bottoms[0], bottoms[1].detach()
        wrong = indices[~((indices >= 0) & (indices < x.shape[0]))]
        if wrong.numel():
            raise self.error(f'{wrong.numel()} indices outside 0 … {x.shape[0] - 1}, such as '
                             f'{wrong[0].item():g}', 'Fix the second bottom.')
        return [x.index_select(0, indices.to(torch.int64))]

    def torch_code(self, code):
        x, indices = code.bottoms
        return f'{x}[{indices}.long()]'

    def onnx_nodes(self, nodes):
        x, indices = nodes.bottoms
        return [nodes.op('Gather', x, nodes.op('Cast', indices, to=INT64), axis=0)]
