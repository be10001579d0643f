"""Convolution, bias and ReLU at once on GPUs, and the gradients of all three."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import Pair, checked
from .registration import fake_kernel
from .unrolled import conv_relu_unrolled

aten = torch.ops.aten


@checked
def relu_backward(grad: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of a ReLU's bottom, and its sums for each channel, in one pass.

    grad, top: (N, C, H, W) of one type (float32, float64, float16 or bfloat16) on one device,
    copied unless they are in channels_last. Returns grad where top is not at most 0, else 0, in
    channels_last, and (C,) in float32, or float64 for float64. Has gradients of any order for grad;
    to top it is constant. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.relu_backward(grad, top)


def relu_backward_ref(grad, top):
    """The twin of relu_backward that defines it."""
    masked = aten.threshold_backward(grad, top, 0)
    wide = torch.float64 if grad.dtype == torch.float64 else torch.float32
    return masked, masked.sum((0, 2, 3), dtype=wide)


@fake_kernel('relu_backward')
def _(grad, top):
    wide = torch.float64 if grad.dtype == torch.float64 else torch.float32
    return (torch.empty_like(grad, memory_format=torch.channels_last),
            grad.new_empty(grad.shape[1], dtype=wide))


def _setup(ctx, inputs, output):
    ctx.save_for_backward(inputs[1])


def _backward(ctx, grad, sums):
    top, = ctx.saved_tensors
    whole = grad + sums.to(grad.dtype).view(-1, 1, 1)
    return aten.threshold_backward(whole, top, 0), None


torch.library.register_autograd('fcn_repro::relu_backward', _backward, setup_context=_setup)


@checked
def image_conv_relu(x: Tensor, weight: Tensor, bias: Tensor | None, pad: Pair) -> Tensor:
    """The ReLU of a 3x3 convolution with stride 1 of an image, of few channels.

    x: (N, C, H, W) with C at most 4, weight (O, C, 3, 3) with O a multiple of 4 and bias (O,) or
    None, of one type (float32, float64, float16 or bfloat16) on one device; x and weight are copied
    unless they are in channels_last. pad: a pair (y, x). Returns (N, O, H + 2 pad_y - 2,
    W + 2 pad_x - 2) in channels_last, summed in float32, or float64 for float64. Has gradients.
    FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.image_conv_relu(x, weight, bias, pad)


def image_conv_relu_ref(x, weight, bias, pad):
    """The twin of image_conv_relu that defines it."""
    return F.relu(F.conv2d(x, weight, bias, padding=tuple(pad)))


@fake_kernel('image_conv_relu')
def _(x, weight, bias, pad):
    return torch.empty(x.shape[0], len(weight), x.shape[2] + 2 * pad[0] - 2,
                       x.shape[3] + 2 * pad[1] - 2, dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2], output)
    ctx.pad = inputs[3]


def _image_backward(ctx, grad):
    x, weight, top = ctx.saved_tensors
    masked = aten.threshold_backward(grad, top, 0)
    return *aten.convolution_backward(masked, x, weight, [len(weight)], (1, 1), ctx.pad, (1, 1),
                                      False, (0, 0), 1, ctx.needs_input_grad[:3]), None


torch.library.register_autograd('fcn_repro::image_conv_relu', _image_backward, setup_context=_keep)


def by_image(x, weight, bias, stride, pad, dilation, group):
    """conv_relu's forward pass for an image."""
    return image_conv_relu(x, weight, bias, pad)


def by_products(x, weight, bias, stride, pad, dilation, group):
    """conv_relu's forward pass as products of unrolled windows, at stride 1."""
    return conv_relu_unrolled(x, weight, bias, pad)


def by_cudnn(x, *rest):
    """conv_relu's forward pass as one of cuDNN's kernels."""
    if x.is_cuda:
        return torch.cudnn_convolution_relu(x, *rest)
    return conv_relu_ref(x, *rest)      # for the tests


def conv_relu(x, weight, bias, stride, pad, dilation, group, forward=by_cudnn, winograd=False):
    """The ReLU of a convolution; arguments as F.conv2d's. Gradients of any order. forward: by_cudnn
    or another of these. winograd: the gradient of x by Winograd's algorithm, of what conv3x3
    takes."""
    if torch.is_grad_enabled():
        return ConvRelu.apply(x, weight, bias, (stride, pad, dilation, group), forward, winograd)
    return forward(x, weight, bias, stride, pad, dilation, group)


def conv_relu_ref(x, weight, bias, stride, pad, dilation, group):
    """The twin of conv_relu that defines it."""
    return F.relu(F.conv2d(x, weight, bias, stride, pad, dilation, group))


class ConvRelu(torch.autograd.Function):
    """conv_relu, whose backward pass needs no more than its top."""

    @staticmethod
    def forward(ctx, x, weight, bias, how, forward, winograd):
        top = forward(x, weight, bias, *how)
        ctx.how, ctx.winograd = how, winograd
        ctx.save_for_backward(x, weight, top)
        return top

    @staticmethod
    def backward(ctx, grad):
        x, weight, top = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        if of_bias:
            grad, d_bias = relu_backward(grad, top)
            d_bias = d_bias.to(weight.dtype)
        else:
            grad, d_bias = aten.threshold_backward(grad, top, 0), None
        d_x = d_weight = None
        stride, pad, dilation, group = ctx.how
        if of_x and ctx.winograd:
            d_x, of_x = torch.ops.fcn_repro.conv3x3_input(grad, weight, pad), False
        if of_x or of_weight:
            other, d_weight, _ = aten.convolution_backward(
                grad, x, weight, None, stride, pad, dilation, False, (0, 0), group,
                (of_x, of_weight, False))
            d_x = other if of_x else d_x
        return d_x, d_weight, d_bias, None, None, None
