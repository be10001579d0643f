"""Caffe's own arithmetic on the CPU: im2col and OpenBLAS, product by product as in BVLC Caffe.

Net(blas=True) computes Convolution, Deconvolution and InnerProduct so. It is slower and needs more
memory than torch's own algorithms, but where Caffe's OpenBLAS chose the same kernels (the variable
OPENBLAS_CORETYPE names them, OPENBLAS_NUM_THREADS > 1 blocks differently from 1), activations equal
Caffe's to the bit. Then ties of maxima and signs of ReLU inputs are decided as in Caffe, too, which
no other rounding can promise. After base_conv_layer.cpp, inner_product_layer.cpp, im2col.cpp.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from ..errors import FcnError


def blas_function(name, *arrays):
    """The BLAS routine of that name for the dtype of the arrays."""
    from scipy.linalg.blas import get_blas_funcs  # slow to import, and rarely needed

    return get_blas_funcs((name,), arrays)[0]


def gemm(a, b, out=None):
    """a @ b of two 2-D arrays, each row-major or the transpose of one, accumulated into `out` if
    given. Row-major as in Caffe's calls: BLAS itself gets the transposes."""
    (a, flip_a), (b, flip_b) = stored(a), stored(b)
    run = blas_function('gemm', a, b)
    more = {} if out is None else {'beta': 1, 'c': out.T, 'overwrite_c': True}
    return run(1, b.T, a.T, trans_a=flip_b, trans_b=flip_a, **more).T


def stored(a):
    """(the row-major array behind a, whether a is its transpose)."""
    return (a, False) if a.flags.c_contiguous else (np.ascontiguousarray(a.T), True)


def row_sums(a, out):
    """out += the sums of a's rows, as a product with ones."""
    run = blas_function('gemv', a)
    return run(1, a.T, np.ones(a.shape[1], a.dtype), beta=1, y=out, trans=1, overwrite_y=True)


def add_bias(out, bias):
    """out (rows, columns) += bias (rows,): Caffe multiplies the bias by a row of ones."""
    return gemm(bias[:, None], np.ones((1, out.shape[1]), out.dtype), out)


class Window:
    """Geometry of a kernel over an image of `size` cells: Caffe's im2col and its transpose."""

    def __init__(self, size, kernel, stride, pad, dilation):
        self.size, self.kernel = size, kernel
        self.geometry = dilation, pad, stride
        self.trivial = (max(kernel), max(stride), max(pad)) == (1, 1, 0)    # Caffe's is_1x1_

    def columns(self, image):
        """im2col: (C, *size) -> (C * kernel cells, output positions)."""
        if not self.trivial:
            image = F.unfold(torch.from_numpy(image)[None], self.kernel, *self.geometry)[0].numpy()
        return image.reshape(-1, image[0].size) if self.trivial else image

    def image(self, columns):
        """The transpose of `columns`: contributions to a cell are summed in Caffe's order."""
        if self.trivial:
            return columns.reshape(-1, *self.size)
        columns = torch.from_numpy(np.ascontiguousarray(columns))[None]
        return F.fold(columns, self.size, self.kernel, *self.geometry)[0].numpy()


def grouped(run, group, *arrays):
    """`run` on each group's rows of the arrays, concatenated."""
    parts = zip(*(np.split(a, group) for a in arrays))
    return np.concatenate([run(*part) for part in parts]) if group > 1 else run(*arrays)


class Convolve(torch.autograd.Function):
    """Convolution of (N, C, H, W) float32 or float64 arrays on the CPU, or with `transposed`
    Deconvolution; weight as in Caffe. Gradients of first order."""

    @staticmethod
    def forward(ctx, x, weight, bias, window, group, out_size, transposed):
        ctx.save_for_backward(x, weight)
        ctx.window, ctx.group, ctx.transposed = window, group, transposed
        ctx.biased = bias is not None
        flat, images = matrix(weight), []
        for image in x.detach().contiguous().numpy():
            if transposed:
                out = window.image(grouped(lambda w, x: gemm(w.T, x), group, flat, rows(image)))
            else:
                out = grouped(gemm, group, flat, window.columns(image))
            out = np.ascontiguousarray(rows(out))
            images.append(add_bias(out, bias.detach().numpy()) if ctx.biased else out)
        return torch.from_numpy(np.stack(images)).reshape(len(images), -1, *out_size)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        window, group, (of_x, of_weight, of_bias) = ctx.window, ctx.group, ctx.needs_input_grad[:3]
        flat, images = matrix(weight), []
        d_weight = np.zeros_like(flat)
        d_bias = np.zeros(grad.shape[1], flat.dtype)
        for image, top in zip(x.detach().contiguous().numpy(), grad.contiguous().numpy()):
            if of_bias:
                d_bias = row_sums(rows(top), d_bias)
            if ctx.transposed:
                image, top = top, image         # the one that is unrolled, the one that is not
            if of_weight or ctx.transposed:
                columns = window.columns(image)
            if of_weight:
                d_weight = grouped(lambda t, c, d: gemm(t, c.T, d), group, rows(top), columns,
                                   d_weight)
            if of_x and ctx.transposed:
                images.append(grouped(gemm, group, flat, columns).reshape(x.shape[1:]))
            elif of_x:
                down = grouped(lambda w, t: gemm(w.T, t), group, flat, rows(top))
                images.append(window.image(down))
        return (torch.from_numpy(np.stack(images)) if of_x else None,
                torch.from_numpy(d_weight).reshape(weight.shape) if of_weight else None,
                torch.from_numpy(d_bias) if of_bias else None, *[None] * 4)


def rows(image):
    return image.reshape(len(image), -1)


def matrix(weight):
    """A weight as a NumPy matrix with one row per index of its first axis."""
    weight = weight.detach().contiguous().numpy()
    return weight.reshape(len(weight), -1)


def check(*tensors):
    for tensor in tensors:
        if tensor is not None and (tensor.is_cuda or tensor.dtype not in
                                   (torch.float32, torch.float64)):
            raise FcnError(f'OpenBLAS does not compute with {tensor.dtype} on {tensor.device}',
                           do='Leave out blas, or use float32 on the CPU.')


def conv2d(x, weight, bias, stride, pad, dilation, group):
    """F.conv2d in Caffe's arithmetic."""
    check(x, weight, bias)
    kernel = tuple(weight.shape[2:])
    size = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in
                 zip(x.shape[2:], kernel, stride, pad, dilation))
    window = Window(tuple(x.shape[2:]), kernel, tuple(stride), tuple(pad), tuple(dilation))
    return Convolve.apply(x, weight, bias, window, group, size, False)


def conv_transpose2d(x, weight, bias, stride, pad, _, group, dilation):
    """F.conv_transpose2d in Caffe's arithmetic."""
    check(x, weight, bias)
    kernel = tuple(weight.shape[2:])
    size = tuple(s * (n - 1) + d * (k - 1) + 1 - 2 * p for n, k, s, p, d in
                 zip(x.shape[2:], kernel, stride, pad, dilation))
    window = Window(size, kernel, tuple(stride), tuple(pad), tuple(dilation))
    return Convolve.apply(x, weight, bias, window, group, size, True)


def refuse(*_):
    raise FcnError('blas is for 2-D convolutions', do='Leave out blas for this net.')


CONV = refuse, conv2d, refuse
CONV_TRANSPOSE = refuse, conv_transpose2d, refuse


class Linear(torch.autograd.Function):
    """x (M, K) with weight (N, K) and bias (N,): (M, N)."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        out = gemm(x.detach().contiguous().numpy(), weight.detach().numpy().T)
        if bias is not None:
            out = gemm(np.ones((len(out), 1), out.dtype), bias.detach().numpy()[None],
                       np.ascontiguousarray(out))
        return torch.from_numpy(np.ascontiguousarray(out))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = (saved.detach().numpy() for saved in ctx.saved_tensors)
        grad = grad.contiguous().numpy()
        of_x, of_weight, of_bias = ctx.needs_input_grad
        found = (gemm(grad, weight) if of_x else None,
                 gemm(grad.T, x) if of_weight else None,
                 row_sums(np.ascontiguousarray(grad.T), np.zeros(grad.shape[1], grad.dtype))
                 if of_bias else None)
        return tuple(None if d is None else torch.from_numpy(d) for d in found)


def linear(x, weight, bias):
    """F.linear in Caffe's arithmetic."""
    check(x, weight, bias)
    return Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias).reshape(*x.shape[:-1], -1)
