"""The permutohedral lattice and what is computed on it: twins, the Gaussian that it stands for, the
adjoint, any number of threads, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops_inputs import views

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.ops import Kernel, Lattice

OP = torch.ops.fcn_repro


def points(n, d, spread=2., seed=0):
    return spread * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def numbers(*shape, dtype=torch.float32, seed=1):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def near(a, b, most=2e-6):
    return (a - b).abs().max() <= most * b.abs().max()


# points, axes, spread
SAMPLES = [(1, 2, 1), (3, 1, 3), (4, 5, 1), (7, 2, 3), (64, 3, .3), (101, 5, 2), (50, 7, 4),
           (200, 2, .05), (33, 6, 100)]


@pytest.mark.parametrize('n, d, spread', SAMPLES)
def test_the_lattice_has_the_twins_numbers(n, d, spread):
    """Vertices and neighbours exactly, weights to the last bit: a point at a face of its simplex
    must fall on the same side."""
    any_points = points(n, d, spread)
    at_faces, in_one = (4 * any_points).round() / 4, torch.zeros(n, d)
    for x in any_points, at_faces, in_one:
        for ours, twins in zip(ops.lattice(x), ops.lattice_ref(x), strict=True):
            assert torch.equal(ours, twins)


@settings(max_examples=40)
@given(n=st.integers(0, 40), d=st.integers(1, 7), grid=st.sampled_from([0, .5, 2]),
       seed=st.integers(0, 99))
def test_any_lattice(n, d, grid, seed):
    x = points(n, d, 3, seed)
    x = (x / grid).round() * grid if grid else x
    found = ops.lattice(x)
    assert all(map(torch.equal, found, ops.lattice_ref(x)))
    assert torch.allclose(found.weights.sum(1), torch.ones(n), atol=1e-5)
    assert (found.weights >= -1e-5).all()
    following, previous = found.neighbours.unbind(2)
    for axis in range(d + 1):                                   # each other's inverse
        has = (following[axis] >= 0).nonzero()[:, 0]
        assert torch.equal(previous[axis][following[axis][has].long()], has.int())


@pytest.mark.parametrize('channels', [1, 3, 8, 21, 32, 33, 70])
@pytest.mark.parametrize('n, d, spread', SAMPLES)
def test_filter_twin(n, d, spread, channels):
    on = ops.lattice(points(n, d, spread))
    for reverse in False, True:
        for dtype, most in (torch.float32, 2e-6), (torch.float64, 1e-14):
            values = numbers(n, channels, dtype=dtype)
            ours = ops.lattice_filter(values, on, reverse)
            assert ours.dtype == dtype
            assert near(ours, ops.lattice_filter_ref(values, on, reverse), most)
            assert torch.equal(ours, ops.lattice_filter(values, on, reverse))
            for view in views(values).values():
                assert torch.equal(ours, ops.lattice_filter(view, on, reverse))


def test_the_filter_is_nearly_a_gaussian():
    """Normalised, within a few per cent of the direct sum over all pairs of points."""
    side = torch.arange(24.) / 4
    x = torch.cartesian_prod(side, side)
    values = numbers(len(x), 4).abs()
    direct = (-torch.cdist(x, x) ** 2 / 2).exp()
    wanted = direct @ values / direct.sum(1, keepdim=True)
    on = ops.lattice(x)
    ours = ops.lattice_filter(values, on) / ops.lattice_filter(torch.ones(len(x), 1), on)
    assert (ours - wanted).abs().mean() < 0.03 * wanted.mean()


@pytest.mark.parametrize('n, d, spread', SAMPLES)
def test_the_reverse_is_the_adjoint(n, d, spread):
    on = ops.lattice(points(n, d, spread))
    x, y = (numbers(n, 5, dtype=torch.float64, seed=seed) for seed in (2, 3))
    forth, back = ops.lattice_filter(x, on), ops.lattice_filter(y, on, True)
    assert math.isclose((forth * y).sum(), (x * back).sum(), rel_tol=1e-10, abs_tol=1e-12)


def test_gradients():
    on = ops.lattice(points(9, 3))
    x = numbers(9, 2, dtype=torch.float64).requires_grad_()
    for reverse in False, True:
        def filtered(x, reverse=reverse):
            return ops.lattice_filter(x, on, reverse)
        assert torch.autograd.gradcheck(filtered, x)
        assert torch.autograd.gradgradcheck(filtered, x)


def test_the_ops_follow_torchs_rules():
    x = points(9, 3)
    on = ops.lattice(x)
    torch.library.opcheck(OP.lattice, (x,))
    torch.library.opcheck(OP.lattice_filter, (numbers(9, 2).requires_grad_(), *on, False))
    torch.library.opcheck(OP.mean_field, (numbers(9, 2), *([each] for each in on),
                                          [torch.rand(9)], 2))


@pytest.fixture
def threads():
    """Sets a number of threads, and the one from before at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def picture(height, width, classes):
    """Scores (n, C) and the kernels of a picture."""
    y, x = torch.meshgrid(torch.arange(height) / 3., torch.arange(width) / 3., indexing='ij')
    place = torch.stack([x, y], 2).reshape(-1, 2)
    colour = 3 * numbers(height * width, 3, seed=5)
    kernels = []
    for each in place, torch.cat([place / 5, colour], 1):
        on = ops.lattice(each)
        kernels.append(Kernel(on, 3 / ops.lattice_filter(torch.ones(len(each), 1), on)[:, 0]))
    return 2 * numbers(height * width, classes), kernels


@pytest.mark.parametrize('classes', [1, 2, 8, 16, 21, 40])
def test_mean_field_twin(classes):
    scores, kernels = picture(13, 17, classes)
    for iterations in 0, 1, 5:
        for some in kernels[:1], kernels, []:
            ours = ops.mean_field(scores, some, iterations)
            assert (ours - ops.mean_field_ref(scores, some, iterations)).abs().max() < 3e-6
            assert torch.allclose(ours.sum(1), torch.ones(len(ours)), atol=1e-6)


def test_improbable_classes_are_out():
    found = ops.mean_field(torch.tensor([[0., -19.9, -20.1, -1000]]), [], 0)
    assert found[0, 1] > 0 and found[0, 2] == found[0, 3] == 0


def test_results_do_not_depend_on_the_threads(threads):
    found = []
    for count in 1, 2, 3, 7:
        threads(count)
        scores, kernels = picture(60, 70, 21)
        on = kernels[1].lattice
        found.append([*on, ops.lattice_filter(scores, on), ops.lattice_filter(scores, on, True),
                      ops.mean_field(scores, kernels, 3)])
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


def test_what_nothing_is_left_of():
    on = ops.lattice(torch.zeros(0, 2))
    assert on.neighbours.shape == (3, 0, 2)
    assert ops.lattice_filter(torch.zeros(0, 4), on).shape == (0, 4)
    assert ops.mean_field(torch.zeros(0, 4), [Kernel(on, torch.zeros(0))], 2).shape == (0, 4)
    assert ops.lattice_filter(torch.zeros(5, 0), ops.lattice(points(5, 2))).shape == (5, 0)


def test_values_that_are_not_finite_stay_where_they_can_reach():
    """NaN comes out where the lattice leads it, and nowhere beyond."""
    x = torch.tensor([[0.], [0.1], [1000.]])
    on = ops.lattice(x)
    out = ops.lattice_filter(torch.tensor([[torch.nan], [1.], [1.]]), on)[:, 0]
    assert out[:2].isnan().all() and out[2].isfinite()


GOOD = ops.lattice(points(6, 2))


@pytest.mark.parametrize('call, parts', [
    (lambda: ops.lattice(torch.zeros(3)), 'points is Float of shape \\[3\\]'),
    (lambda: ops.lattice(torch.zeros(3, 2).double()), 'points is Double'),
    (lambda: ops.lattice(torch.zeros(3, 0)), '0 axes, expected 1 to 7'),
    (lambda: ops.lattice(torch.zeros(3, 8)), '8 axes, expected 1 to 7'),
    (lambda: ops.lattice(torch.tensor([[0., torch.nan]])), 'not finite, or farther than about'),
    (lambda: ops.lattice(torch.tensor([[torch.inf]])), 'not finite, or farther than about'),
    (lambda: ops.lattice(torch.tensor([[3e4, -3e4]])), 'not finite, or farther than about'),
    (lambda: ops.lattice_filter(torch.zeros(6), GOOD), 'values is Float of shape \\[6\\]'),
    (lambda: ops.lattice_filter(torch.zeros(6, 1).half(), GOOD), 'values is Half'),
    (lambda: ops.lattice_filter(torch.zeros(5, 1), GOOD), 'are no lattice of 5 points'),
    (lambda: ops.lattice_filter(torch.zeros(6, 1), GOOD._replace(
        vertices=GOOD.vertices.long())), 'vertices is Long'),
    (lambda: ops.lattice_filter(torch.zeros(6, 1), GOOD._replace(
        neighbours=GOOD.neighbours + 99)), 'neighbours has .* numbers outside -1'),
    (lambda: ops.lattice_filter(torch.zeros(6, 1), GOOD._replace(
        vertices=GOOD.vertices + 99)), 'vertices of corner'),
    (lambda: ops.lattice_filter(torch.zeros(6, 1), GOOD._replace(
        vertices=GOOD.vertices - 99)), 'vertices of corner 0'),
    (lambda: ops.lattice_filter(torch.zeros(6, 1), GOOD._replace(
        vertices=GOOD.vertices.flip(1).contiguous())), 'of the corner before'),
    (lambda: ops.mean_field(torch.zeros(6, 0), [], 1), 'expected at least 1 class'),
    (lambda: ops.mean_field(torch.zeros(6, 2), [], -1), 'iterations is -1'),
    (lambda: ops.mean_field(torch.zeros(6, 2), [], 2**31 - 1), 'expected 0 to 100000'),
    (lambda: ops.mean_field(torch.zeros(6, 2).double(), [], 1), 'scores is Double'),
    (lambda: ops.mean_field(torch.zeros(6, 2), [Kernel(GOOD, torch.ones(5))], 1),
     'scales has shape \\[5\\]'),
    (lambda: ops.mean_field(torch.zeros(6, 2), [Kernel(GOOD, torch.ones(6, 1))], 1), 'scales is'),
])
def test_bad_arguments(call, parts):
    with pytest.raises(FcnError, match=parts):
        call()


def test_lists_of_other_lengths():
    with pytest.raises(ValueError, match='1 vertices, 1 weights, 1 neighbours and 0 scales'):
        OP.mean_field(torch.zeros(6, 2), *([each] for each in GOOD), [], 1)


def test_other_devices():
    with pytest.raises(ValueError, match='is on meta'):
        OP.lattice_filter(torch.zeros(6, 1), *Lattice(*(t.to('meta') for t in GOOD)), False)
