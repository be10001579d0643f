"""How far a gradient is undetermined: which of tied maxima a max-pooling window feeds is rounding.

A first pad of 100 puts a band around the image in which activations are constant, so that pooling
windows there hold values that are equal up to rounding. Caffe gives a window's gradient to the
largest, which is arbitrary there. `freedom` walks a net backwards from such windows and bounds, for
every entry of every gradient, what that choice can change; the bound is 0 where none can.
"""

import torch
import torch.nn.functional as F

from ..net.executor import PlannedExecutor
from ..net.net import Net
from ..net.plan import widened
from ..net.precision import tf32

CLOSE = 1e-5        # of a blob's largest value: further apart than float32 rounding


class WatchingExecutor(PlannedExecutor):
    """Keeps each value of a run by its number, before and after in-place layers, and the gradient
    of each."""

    def feed(self, inputs):
        self.seen = super().feed(inputs)
        self.watch(self.seen.values())
        return dict(self.seen)

    def observe(self, tops, values, plan):
        super().observe(tops, values, plan)
        self.seen.update((v, values[v]) for v in tops)
        self.watch(values[v] for v in tops)

    def watch(self, tensors):
        for tensor in tensors:
            if tensor.requires_grad:
                tensor.retain_grad()


class WatchedNet(Net):
    """A net whose executor keeps every value of a run: `seen`, {value number: tensor}."""

    executor_type = WatchingExecutor

    @property
    def seen(self) -> dict[int, torch.Tensor]:
        return self.executor.seen


def freedom(net: WatchedNet) -> dict[int, torch.Tensor]:
    """{value number: tensor of its shape, >= 0} after forward(blobs='all') and backward.

    By how much each entry of a value's gradient may differ, whichever tied maxima are chosen, and
    whichever sign a ReLU's input has that is 0 up to rounding. Values whose gradient is determined
    are left out.
    """
    free = {}
    for node in reversed([node for node in net.graph.nodes if node.bottoms]):
        bottoms = [widened(net.seen[v].detach()) for v in node.bottoms]
        tops = [free.get(v, torch.zeros_like(widened(net.seen[v]))) for v in node.tops]
        rule = RULES.get(node.type, linear if net.layer(node).linear else determined)
        if rule is linear and not any(top.any() for top in tops):
            continue
        with tf32(False):
            found = rule(net, node, bottoms, tops)
        for v, more in zip(node.bottoms, found, strict=True):
            if more is not None and net.seen[v].requires_grad and more.any():
                free[v] = free[v] + more if v in free else more
    return free


def top_gradient(net, node):
    """The magnitude of the gradient of a node's first top."""
    top = net.seen[node.tops[0]]
    return widened(torch.zeros_like(top) if top.grad is None else top.grad.abs())


def pooling(net, node, bottoms, free):
    """Each of several maxima of a window may get all of its gradient, or nothing."""
    x, layer = bottoms[0], net.layer(node)
    if layer.param.global_pooling or not layer.max:
        return determined(net, node, bottoms, free)
    (height, width), (h, w) = x.shape[2:], net.seen[node.tops[0]].shape[2:]
    top, left = layer.pad
    whole = [max((n - 1) * s + k, size + pad) for n, s, k, size, pad in zip(
        (h, w), layer.stride, layer.kernel, x.shape[2:], layer.pad, strict=True)]
    x = F.pad(x, (left, whole[1] - width - left, top, whole[0] - height - top), value=-torch.inf)
    windows = x.flatten(0, 1)[:, None].unfold(2, layer.kernel[0], layer.stride[0]) \
        .unfold(3, layer.kernel[1], layer.stride[1])[:, 0].flatten(3)      # (N C, h, w, k k)
    maxima = windows >= windows.amax(-1, keepdim=True) - close(bottoms[0])
    several = maxima.sum(-1, keepdim=True) > 1
    most = free[0] + top_gradient(net, node) * several.view(free[0].shape)
    most = maxima * most.reshape(-1, h, w, 1)
    out = F.fold(most.flatten(1, 2).transpose(1, 2), whole, layer.kernel, stride=layer.stride)
    return [out[:, 0, top:top + height, left:left + width].reshape(bottoms[0].shape)]


def relu(net, node, bottoms, free):
    """A clearly negative input gets no gradient; one that is 0 up to rounding gets all or none."""
    x, = bottoms
    unclear = x.abs() <= close(x)
    return [torch.where(unclear, top_gradient(net, node) + free[0], free[0] * (x > 0))]


def lrn(net, node, bottoms, free):
    """An upper bound of |J|' free, J = delta s^-beta - 2 alpha beta / n x_i x_j s^-(beta + 1),
    where s >= 1."""
    x, p = bottoms[0].abs(), net.layer(node).param
    if p.k != 1 or p.norm_region != p.ACROSS_CHANNELS:
        return determined(net, node, bottoms, free)
    n = p.local_size
    around = n * F.avg_pool3d((x * free[0])[:, None], (n, 1, 1), 1, (n // 2, 0, 0))[:, 0]
    return [free[0] + 2 * p.alpha * p.beta / n * x * around]


def linear(net, node, bottoms, free):
    """The derivative of the layer, with the magnitudes of its weights."""
    xs = [torch.zeros_like(x, requires_grad=True) for x in bottoms]
    tops = net.layer(node).forward(xs, [p.detach().abs() for p in net.params_of(node)])
    found = torch.autograd.grad(tops, xs, free, allow_unused=True)
    return [None if g is None else g.abs() for g in found]


def determined(net, node, bottoms, free):
    """A type without a rule: no freedom passes below it, where gaps count in full."""
    return [None] * len(bottoms)


def close(x):
    return CLOSE * x.abs().max()


RULES = {'Pooling': pooling, 'ReLU': relu, 'LRN': lrn}
