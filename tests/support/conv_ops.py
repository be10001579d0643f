"""What the tests of our own convolutions share: arguments, derivatives, and how near they are."""

import pytest
import torch
from goldens import error
from test_ops_inputs import views

from fcn_repro.errors import FcnError

LAST = torch.channels_last


def draws(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def example(shape, outputs, kernel=(3, 3), dtype=torch.float32):
    """x, weight (as He et al. scale it), bias, all with gradients to come."""
    fan = shape[1] * kernel[0] * kernel[1]
    tensors = (draws(*shape), draws(outputs, shape[1], *kernel, seed=1, scale=(2 / fan) ** 0.5),
               draws(outputs, seed=2))
    return [t.to(dtype).requires_grad_() for t in tensors]


def exact(tensors):
    """The same numbers in float64."""
    return [None if t is None else t.detach().double().requires_grad_() for t in tensors]


def given(tensors):
    return [t for t in tensors if t is not None]


def top_of(y):
    """A gradient of y: the same numbers in every type, in y's memory order."""
    return draws(*y.shape, seed=3).to(y)


def gradients(conv, tensors, pad):
    """[y, its gradients for x, weight and, where it is there, bias]."""
    y = conv(*tensors, pad)
    return [y.detach(), *torch.autograd.grad(y, given(tensors), top_of(y))]


def second(conv, tensors, pad):
    """The gradients for x, weight and the top's gradient of what first gradients add up to, each
    value with a factor of its own."""
    x, weight, _ = tensors
    y = conv(x, weight, None, pad)
    top = top_of(y).detach().requires_grad_()
    first = torch.autograd.grad(y, (x, weight), top, create_graph=True)
    factors = [draws(*t.shape, seed=4 + i).to(t) for i, t in enumerate(first)]
    return torch.autograd.grad(first, (x, weight, top), factors, materialize_grads=True)


def agree(ours, wanted, tolerance):
    for a, b in zip(ours, wanted, strict=True):
        assert a.dtype == torch.float32
        gap = error(a, b)
        assert gap <= tolerance, f'{gap} is above {tolerance}'


def assert_same(ours, wanted):
    """Equal to the bit; but for a bias's gradient, which torch sums in the order of memory."""
    for a, b in zip(ours, wanted, strict=True):
        if a.dim() == 1:
            agree([a], [b], 1e-6)
        else:
            assert torch.equal(a, b)


def check_layouts(conv, tensors, pad):
    """The same bits wherever x, weight, bias and the top's gradient stand in memory."""
    wanted = gradients(conv, tensors, pad)
    top, biases = top_of(wanted[0]), views(tensors[2].detach()[None])
    for name, view in views(tensors[0]).items():
        bias = biases.get(name, biases['stepped'])[0]
        placed = [t.detach().requires_grad_() for t in (view, views(tensors[1])[name], bias)]
        y = conv(*placed, pad)
        assert y.stride() == wanted[0].stride()
        assert_same([y.detach(), *torch.autograd.grad(y, placed, views(top)[name])], wanted)
    wide = top[:, :1, :1, :1].expand(top.shape)
    for grad in wide, wide.contiguous():        # as sum() gives
        wanted = torch.autograd.grad(conv(*tensors, pad), tensors, grad.contiguous())
        assert_same(torch.autograd.grad(conv(*tensors, pad), tensors, grad), wanted)


def check_threads(run):
    """run() gives the same bits for any number of threads."""
    first, threads = run(), torch.get_num_threads()
    try:
        for count in 1, 2, 3, 5:
            torch.set_num_threads(count)
            assert_same(run(), first)
    finally:
        torch.set_num_threads(threads)


def check_batch(conv, tensors, pad):
    """A batch is its images, to the bit; filters' and biases' gradients are sums over them."""
    x, *rest = tensors
    y, dx, *sums = gradients(conv, tensors, pad)
    top, parts = top_of(y), []
    for i in range(len(x)):
        one = x.detach()[i:i + 1].requires_grad_()
        part = conv(one, *rest, pad)
        parts.append([part, *torch.autograd.grad(part, [one, *rest], top[i:i + 1])])
    ys, dxs, *others = zip(*parts, strict=True)
    assert_same([torch.cat(ys).detach(), torch.cat(dxs)], [y, dx])
    agree([sum(other) for other in others], sums, 1e-5)


def check_compiled(conv, tensors, pad):
    """By torch.compile and by torch.export, the bits of the call itself."""
    wanted = gradients(conv, tensors, pad)
    compiled = torch.compile(conv, backend='aot_eager', fullgraph=True)
    assert_same(gradients(compiled, tensors, pad), wanted)

    class Module(torch.nn.Module):
        def forward(self, x, weight, bias):
            return conv(x, weight, bias, pad).relu()
    program = torch.export.export(Module(), tuple(tensors))
    assert torch.equal(program.module()(*tensors), wanted[0].relu())


def check_refused(call, args, change, message):
    """FcnError, or of an op itself ValueError, with this text."""
    call(*args.values())
    with pytest.raises((FcnError, ValueError), match=message):
        call(*{**args, **change}.values())


def check_devices(call, name, args):
    """A meta tensor among others is an error, and not memory that nobody wrote."""
    tensors = [i for i, arg in enumerate(args) if torch.is_tensor(arg)]
    for i in tensors if len(tensors) > 1 else ():
        with pytest.raises((FcnError, ValueError), match=f'{name}: .* is on .*Move it there'):
            call(*args[:i], args[i].to('meta'), *args[i + 1:])
    real, fake = call(*args), call(*[arg.to('meta') if torch.is_tensor(arg) else arg
                                     for arg in args])
    assert fake.is_meta and (fake.shape, fake.stride()) == (real.shape, real.stride())
