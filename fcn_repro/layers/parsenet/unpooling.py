"""UnPooling: each value spread over a window of the top (ParseNet's unpooling_layer)."""

import numpy as np
import torch

from ...sizes import dims
from ..common.base import Layer


class UnPooling(Layer):
    """(N, C, h, w) -> (N, C, H, W), H = (h - 1) out_stride - 2 out_pad + out_kernel_size. FIXED: a
    value goes to the middle of its window, the rest is 0; REP: into all of its window, DIV: an
    equal part of it there, and where windows overlap the mean of what they give.

    With a second bottom its height and width take the place of the fields: kernel and stride are
    their ratio to the first's, rounded up (stride 1 for a bottom of one cell), and what is beyond
    is cut off as padding.
    """

    type = 'UnPooling'
    bottoms = (1, 2)
    content_bottoms = 1
    linear = makes_tops = True
    fields = 'unpooling_param'
    dialect_fields = tuple(f'unpooling_param.{name}' for name in (
        'unpool', 'out_kernel_size', 'out_kernel_h', 'out_kernel_w', 'out_stride', 'out_stride_h',
        'out_stride_w', 'out_pad', 'out_pad_h', 'out_pad_w'))

    def setup(self):
        p = self.param
        methods = p.DESCRIPTOR.enum_types_by_name['UnPoolMethod'].values_by_number
        self.method = methods[p.unpool].name
        if len(self.node.bottoms) == 1 and not (
                p.HasField('out_kernel_size') or p.HasField('out_kernel_h')):
            raise self.error('no out_kernel_size', 'Give it, or out_kernel_h and out_kernel_w, or '
                             'a second bottom of the size wanted.')
        self.kernel, self.stride, self.pad = map(self.pair, ('kernel_size', 'stride', 'pad'))
        if len(self.node.bottoms) == 1 and min(*self.kernel, *self.stride) < 1:
            raise self.error(f'out_kernel {dims(self.kernel)}, out_stride {dims(self.stride)}',
                             'Both must be positive.')

    def pair(self, name):
        """(y, x) of out_NAME, or of out_NAME_h and out_NAME_w."""
        p, side = self.param, f'out_{name.removesuffix("_size")}'
        h, w = p.HasField(f'{side}_h'), p.HasField(f'{side}_w')
        if h != w or (h and p.HasField(f'out_{name}')):
            raise self.error(f'give out_{name}, or both {side}_h and {side}_w',
                             'Fix the fields of unpooling_param.')
        return (getattr(p, f'{side}_h'), getattr(p, f'{side}_w')) if h else \
            (getattr(p, f'out_{name}'),) * 2

    def windows(self, bottoms):
        """(kernel, stride, pad) of each axis for these bottom shapes."""
        if len(bottoms) == 1:
            return list(zip(self.kernel, self.stride, self.pad, strict=True))
        found = []
        for of, to in zip(bottoms[0][2:], bottoms[1][2:], strict=True):
            kernel = -(-to // of)
            stride = 1 if kernel == to else kernel
            found.append((kernel, stride, ((of - 1) * stride + kernel - to) // 2))
        return found

    def shape(self, bottoms):
        for bottom in bottoms:
            if len(bottom) != 4 or not all(bottom[2:]):
                raise self.error(f'a bottom of shape {dims(bottom)}', 'UnPooling takes (N, C, H, '
                                 'W).')
        windows = self.windows(bottoms)
        size = tuple((of - 1) * stride - 2 * pad + kernel
                     for of, (kernel, stride, pad) in zip(bottoms[0][2:], windows, strict=True))
        if min(size) < 1 or any(pad and not 0 <= pad < kernel for kernel, _, pad in windows):
            raise self.error(f'windows (kernel, stride, pad) {windows} make {dims(size)} of '
                             f'{dims(bottoms[0][2:])}', 'Lower out_pad.')
        return [(*bottoms[0][:2], *size)]

    def matrices(self, bottoms):
        """For each axis a float32 array (length of the top, of the bottom): what a cell of the top
        takes of each of the bottom's."""
        sizes = zip(bottoms[0][2:], self.shape(bottoms)[0][2:], self.windows(bottoms), strict=True)
        return [axis_matrix(self.method, *each) for each in sizes]

    def forward(self, bottoms, params):
        x = bottoms[0]
        rows, columns = (torch.from_numpy(matrix).to(x.device, x.dtype)
                         for matrix in self.matrices([b.shape for b in bottoms]))
        return [rows @ x @ columns.T]

    # ---- export --------------------------------------------------------------------------------

    def torch_code(self, code):
        rows, columns = self.exported(code)
        module = code.module(f'{code.helper(Spread)}({rows.shape}, {columns.shape})', rows=rows,
                             columns=columns)
        return f'{module}({code.bottoms[0]})'

    def onnx_nodes(self, nodes):
        rows, columns = self.exported(nodes)
        top = nodes.op('MatMul', nodes.floats(rows), nodes.bottoms[0])
        return [nodes.op('MatMul', top, nodes.floats(columns.T))]

    def exported(self, given):
        """The matrices at the size that is exported, a TorchCode or OnnxNodes; FcnError for any."""
        if any(None in dims[2:] for dims in given.dims):
            raise self.error('it can be exported for one size of the input alone',
                             'Give the size.')
        return self.matrices(given.shapes)


def axis_matrix(method, of, to, window):
    """The matrix (to, of) of one axis; see UnPooling.matrices. window: (kernel, stride, pad)."""
    kernel, stride, pad = window
    matrix = np.zeros((to, of), np.float32)
    for cell in range(of):
        start = cell * stride - pad
        if method == 'FIXED':
            middle = min(max(int((2 * start + kernel - 1) / 2), 0), to - 1)
            matrix[middle] = 0
            matrix[middle, cell] = 1
        else:
            size = min(start + kernel, to + pad) - start
            matrix[max(start, 0):start + kernel, cell] = 1 / size if method == 'DIV' else 1
    if method == 'FIXED':
        return matrix
    return matrix / np.maximum(np.count_nonzero(matrix, axis=1), 1)[:, None].astype(np.float32)


class Spread(torch.nn.Module):
    """Cells spread over windows, by a matrix for each axis (ParseNet's UnPooling)."""

    def __init__(self, rows, columns):
        super().__init__()
        self.register_buffer('rows', torch.zeros(rows))
        self.register_buffer('columns', torch.zeros(columns))

    def forward(self, x):
        return self.rows @ x @ self.columns.T
