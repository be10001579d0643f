"""The permutohedral lattice: Gaussian filtering of values at any points, and mean field inference
on it; gradients, fake kernels, the reference twins.

Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice (2010);
Kraehenbuehl and Koltun, Efficient Inference in Fully Connected CRFs (2011).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .extension import CONSTANTS, checked
from .registration import fake_kernel

BLOCK = CONSTANTS['lattice_points']     # points are filled up to a multiple of it
NEGLIGIBLE = -20.0                      # exponent below which a probability is 0


class Lattice(NamedTuple):
    """The lattice of n points of d axes, with m vertices.

    vertices (n, d + 1) int32, weights (n, d + 1) float32: of the simplex that encloses each point.
    neighbours: (d + 1, m, 2) int32, the next and the previous vertex along each direction, -1 where
    the lattice has none.
    """
    vertices: Tensor
    weights: Tensor
    neighbours: Tensor


class Kernel(NamedTuple):
    """A kernel of a mean field: what it adds to the scores of a point is scale (n,) float32 times
    what the lattice filters."""
    lattice: Lattice
    scale: Tensor


@checked
def lattice(points: Tensor) -> Lattice:
    """The lattice of points (n, d) float32 on the CPU, in standard deviations; d from 1 to 7.

    Vertices are numbered by their remainders (section 3.1), then by their coordinates. As in the
    SSE form of Kraehenbuehl's code, zero points fill the points up to a multiple of 4; no value is
    at their vertices, but a blur passes through them. FcnError for points that are not finite or
    too far away.
    """
    return Lattice(*torch.ops.fcn_repro.lattice(points.detach()))


@checked
def lattice_filter(values: Tensor, on: Lattice, reverse: bool = False) -> Tensor:
    """The sums of values (n, C), float32 or float64 on the CPU, at all points, weighed by a
    Gaussian of the distance with standard deviation 1, nearly: splat, blur along each direction in
    turn, slice. Points without a normalisation (of ones it gives the sum of the weights).

    reverse: the directions from the last to the first, which is the adjoint. Each sum has one
    order for any number of threads. Has gradients of any order, with respect to the values.
    FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.lattice_filter(values, *on, reverse)


@checked
def mean_field(scores: Tensor, kernels: Sequence[Kernel], iterations: int) -> Tensor:
    """Probabilities (n, C) of a fully connected CRF after some iterations of mean field, from
    scores (n, C) float32 on the CPU, which are log probabilities but for a constant for each point.

    q = softmax(scores), then each iteration q = softmax(scores + sum of scale lattice_filter(q)):
    Potts compatibility, labels of equal probability attract. A probability of less than exp(-20)
    times the largest is 0, as in Kraehenbuehl's code. No gradient. FcnError on bad arguments.
    """
    on = [kernel.lattice for kernel in kernels]
    return torch.ops.fcn_repro.mean_field(
        scores.detach(), *([getattr(each, name) for each in on] for name in Lattice._fields),
        [kernel.scale for kernel in kernels], iterations)


# ---- reference twins -------------------------------------------------------------------------

def lattice_ref(points):
    """The twin of lattice that defines it, float32 operation by operation; the same numbers."""
    count, d = points.shape
    simplex, rank, weights = _enclose(points)
    filled, ranks = simplex, rank
    if count % BLOCK:
        origin = _enclose(points.new_zeros(1, d))
        filled, ranks = torch.cat([simplex, origin[0]]), torch.cat([rank, origin[1]])
    step = torch.arange(d + 1)[:, None]                         # remainders
    canonical = torch.where(torch.arange(d + 1) <= d - step, step, step - (d + 1))
    coordinates = filled[:, None, :d] + canonical[step.T, ranks[:, :d, None]].mT
    keys = torch.cat([step.expand(len(filled), -1, -1), coordinates], 2)
    unique, number = torch.unique(keys.flatten(0, 1), dim=0, return_inverse=True)
    table = {tuple(key): i for i, key in enumerate(unique[:, 1:].tolist())}
    neighbours = torch.full((d + 1, len(table), 2), -1, dtype=torch.int32)
    for key, i in table.items():
        for axis in range(d + 1):
            for side, sign in enumerate((1, -1)):
                other = tuple(k + sign * (d if at == axis else -1) for at, k in enumerate(key))
                neighbours[axis, i, side] = table.get(other, -1)
    vertices = number.reshape(-1, d + 1)[:count]
    return Lattice(vertices.int(), weights, neighbours)


def _enclose(points):
    """(vertex 0 of each point's simplex, the ranks of its axes, the weights of its vertices)."""
    d = points.shape[1]
    deviation = torch.tensor((2 / 3) ** 0.5 * (d + 1), dtype=torch.float32).double().item()
    factors = torch.tensor([1 / ((i + 2.) * (i + 1.)) ** 0.5 * deviation for i in range(d)],
                           dtype=torch.float32)
    elevated, total = points.new_zeros(len(points), d + 1), points.new_zeros(len(points))
    for i in range(d, 0, -1):
        scaled = points[:, i - 1] * factors[i - 1]
        elevated[:, i] = total - i * scaled
        total = total + scaled
    elevated[:, 0] = total
    part = torch.tensor(1 / (d + 1), dtype=torch.float32)
    multiple = (part * elevated).round()                    # halves to the even one
    nearest = multiple * (d + 1)
    left = elevated - nearest
    rank = torch.zeros_like(left, dtype=torch.long)
    for i in range(d):
        for j in range(i + 1, d + 1):
            below = left[:, i] < left[:, j]
            rank[:, i] += below
            rank[:, j] += ~below
    rank += multiple.sum(1, keepdim=True).long()
    back = (d + 1) * ((rank < 0).long() - (rank > d).long())
    rank, nearest = rank + back, nearest + back
    inside, steps = (elevated - nearest) * part, points.new_zeros(len(points), d + 2)
    for i in range(d + 1):
        at = d - rank[:, i:i + 1]
        steps.scatter_add_(1, at, inside[:, i:i + 1])
        steps.scatter_add_(1, at + 1, -inside[:, i:i + 1])
    steps[:, 0] += 1 + steps[:, d + 1]
    return nearest.long(), rank, steps[:, :d + 1].contiguous()


def lattice_filter_ref(values, on, reverse=False):
    """The twin of lattice_filter that defines it."""
    vertices, weights, neighbours = on
    corners, count = neighbours.shape[:2]
    weighed = weights.to(values)[..., None] * values[:, None]
    table = values.new_zeros(count + 1, values.shape[1])        # the last row stays zero
    table = table.index_add(0, vertices.flatten().long(), weighed.flatten(0, 1))
    for axis in reversed(range(corners)) if reverse else range(corners):
        side = neighbours[axis].long() % (count + 1)            # -1 is the last row
        blurred = table[:-1] + 0.5 * (table[side[:, 0]] + table[side[:, 1]])
        table = torch.cat([blurred, table[-1:]])
    gain = torch.tensor(1 / (1 + 2.0 ** (1 - corners)), dtype=torch.float32).item()
    scaled = weights.to(values) * gain
    return (scaled[..., None] * table[vertices.long()]).sum(1)


def mean_field_ref(scores, kernels, iterations):
    """The twin of mean_field that defines it."""
    def normalised(total):
        left = total - total.amax(1, keepdim=True)
        exponential = torch.where(left < NEGLIGIBLE, 0, left.exp())
        return exponential / exponential.sum(1, keepdim=True)

    found = normalised(scores)
    for _ in range(iterations):
        found = normalised(scores + sum(kernel.scale[:, None] *
                                        lattice_filter_ref(found, kernel.lattice)
                                        for kernel in kernels))
    return found


# ---- fake kernels and gradients ----------------------------------------------------------------

@fake_kernel('lattice')
def _(points):
    count, d = points.shape
    vertices = torch.library.get_ctx().new_dynamic_size()
    return (points.new_empty(count, d + 1, dtype=torch.int32), points.new_empty(count, d + 1),
            points.new_empty(d + 1, vertices, 2, dtype=torch.int32))


@fake_kernel('lattice_filter')
def _(values, vertices, weights, neighbours, reverse):
    return values.new_empty(values.shape)


@fake_kernel('mean_field')
def _(scores, vertices, weights, neighbours, scales, iterations):
    return scores.new_empty(scores.shape)


def _keep(ctx, inputs, output):
    _, vertices, weights, neighbours, ctx.reverse = inputs
    ctx.save_for_backward(vertices, weights, neighbours)


def _gradient(ctx, grad):
    back = torch.ops.fcn_repro.lattice_filter(grad, *ctx.saved_tensors, not ctx.reverse)
    return back, None, None, None, None


torch.library.register_autograd('fcn_repro::lattice_filter', _gradient, setup_context=_keep)
