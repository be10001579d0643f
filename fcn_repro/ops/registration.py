"""Registration of fake kernels and gradients of the compiled ops."""

from collections.abc import Callable
from functools import wraps
from inspect import signature

import torch

from .extension import refuse_devices  # whose module registers the ops themselves


def fake_kernel(op: str) -> Callable:
    """Decorate the fake kernel of `op`, which then also checks that all tensors are on the first
    one's device: with one of them on meta, torch calls no other kernel."""
    def register(kernel):
        names = list(signature(kernel).parameters)

        @wraps(kernel)
        def checked(*args):
            tensors = {name: arg for name, arg in zip(names, args, strict=True)
                       if isinstance(arg, torch.Tensor)}
            refuse_devices(op, tensors.pop(next(iter(tensors))), **tensors)
            return kernel(*args)

        torch.library.register_fake(f'fcn_repro::{op}')(checked)
        return checked
    return register


def register_bilinear(ops: tuple[str, str, str], product: Callable, to_input: Callable,
                      to_weight: Callable, remember: Callable = lambda *_: None) -> None:
    """Register gradients of any order of a convolution-like op and of the two ops that are its
    gradients: `ops` = (op(x, weight, bias, …), op(grad, weight, …), op(grad, x, …)).

    The first is bilinear in x and weight, with a bias for each channel (axis 1) added. All three
    are sums of the same products of three tensors, so each is in the others' gradients.

    product(x, weight, how), without a bias, to_input(grad, weight, how) and to_weight(grad, x, how)
    call them. how: what remember(grad, x, weight, further) returned in the forward pass of an op;
    further: its arguments after the tensors. Of grad, x and weight one is the op's output there.
    """
    def backward(ctx, grad):
        (x, weight), (of_x, of_weight, of_bias, *more) = ctx.saved_tensors, ctx.needs_input_grad
        return (to_input(grad, weight, ctx.how) if of_x else None,
                to_weight(grad, x, ctx.how) if of_weight else None,
                grad.sum((0, 2, 3), dtype=weight.dtype) if of_bias else None, *[None] * len(more))

    def input_backward(ctx, x):
        (grad, weight), (of_grad, of_weight, *more) = ctx.saved_tensors, ctx.needs_input_grad
        return (product(x, weight, ctx.how) if of_grad else None,
                to_weight(grad, x, ctx.how) if of_weight else None, *[None] * len(more))

    def weight_backward(ctx, weight):
        (grad, x), (of_grad, of_x, *more) = ctx.saved_tensors, ctx.needs_input_grad
        return (product(x, weight, ctx.how) if of_grad else None,
                to_input(grad, weight, ctx.how) if of_x else None, *[None] * len(more))

    def setup(ctx, inputs, output):
        (x, weight, _, *further), grad = inputs, output
        ctx.how = remember(grad, x, weight, further)
        ctx.save_for_backward(x, weight)

    def input_setup(ctx, inputs, output):
        (grad, weight, *further), x = inputs, output
        ctx.how = remember(grad, x, weight, further)
        ctx.save_for_backward(grad, weight)

    def weight_setup(ctx, inputs, output):
        (grad, x, *further), weight = inputs, output
        ctx.how = remember(grad, x, weight, further)
        ctx.save_for_backward(grad, x)

    for op, gradient, context in zip(ops, (backward, input_backward, weight_backward),
                                     (setup, input_setup, weight_setup), strict=True):
        torch.library.register_autograd(f'fcn_repro::{op}', gradient, setup_context=context)
