"""The update in one pass equals the rules to the bit; its errors; solvers run both ways."""

from types import SimpleNamespace

import pytest
import torch
from goldens import solver_cases

from fcn_repro.errors import FcnError
from fcn_repro.proto.prototxt import parse_solver
from fcn_repro.solver import Solver
from fcn_repro.solver.rules import RULES
from fcn_repro.solver.update import fused_update, update_ref

DEVICES = ['cpu'] + ['cuda'] * torch.cuda.is_available()
SHAPES = (7,), (3, 5, 3, 3), (64, 33, 3, 3), (17000,), (1,), (0, 4), (5, 1, 3, 1), (16384,)
LR_MULTS = 1, 2, 0.5, 0, 1, 1, 0, 1
DECAY_MULTS = 1, 0, 1, 1, 0, 1, 1, 2


def solver(kind, regularization='L2', weight_decay=0.0005):
    p = parse_solver(f'type: "{kind}" regularization_type: "{regularization}" '
                     f'weight_decay: {weight_decay}').message
    if RULES[kind].momentum:
        p.momentum = 0.9
    return p


def start(kind, dtype, device='cpu'):
    """Blobs of all sorts, one of them channels_last, and their histories."""
    draw = torch.Generator().manual_seed(0)
    blobs = [SimpleNamespace(parameter=torch.nn.Parameter(
        torch.randn(shape, generator=draw).to(device, dtype)), lr_mult=rate, decay_mult=decay)
        for shape, rate, decay in zip(SHAPES, LR_MULTS, DECAY_MULTS, strict=True)]
    blobs[2].parameter.data = blobs[2].parameter.data.contiguous(memory_format=torch.channels_last)
    return blobs, [torch.zeros_like(blob.parameter) for _ in range(RULES[kind].histories)
                   for blob in blobs]


def give_gradients(blobs, t):
    """The same for each t; one in another memory order, one missing at first."""
    draw = torch.Generator().manual_seed(t)
    for i, blob in enumerate(blobs):
        grad = torch.randn(blob.parameter.shape, generator=draw).to(blob.parameter)
        if i == 1:
            grad = grad.transpose(0, 1).contiguous().transpose(0, 1)
        blob.parameter.grad = None if i == 4 and t < 3 else grad


def assert_same(ours, wanted):
    for (blobs, history), (others, theirs) in [(ours, wanted)]:
        for blob, other in zip(blobs, others, strict=True):
            assert torch.equal(blob.parameter, other.parameter)
            for a, b in [(blob.parameter.grad, other.parameter.grad)]:
                assert (a is None and b is None) or torch.equal(a, b)
        assert all(map(torch.equal, history, theirs))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('clip', [1.0, 0.3])
@pytest.mark.parametrize('regularization', ['L1', 'L2'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('kind', RULES)
def test_same_bits_as_the_rules(kind, dtype, regularization, clip, device):
    """Data, diffs and histories after each of some iterations; also without any decay."""
    for weight_decay in 0.0005, 0:
        p = solver(kind, regularization, weight_decay)
        ours, wanted = start(kind, dtype, device), start(kind, dtype, device)
        before = [blob.parameter.detach().clone() for blob in ours[0]]
        for t in range(1, 5):
            for state, update in (ours, fused_update), (wanted, update_ref):
                give_gradients(state[0], t)
                update(p, *state, 0.01, t, clip)
            assert_same(ours, wanted)
        for blob, was in zip(ours[0], before, strict=True):
            stays = blob.lr_mult == 0 or was.numel() == 0
            assert torch.equal(blob.parameter, was) == stays


def test_same_bits_for_any_number_of_threads():
    states, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            states.append(start('Adam', torch.float32))
            give_gradients(states[-1][0], 3)
            fused_update(solver('Adam'), *states[-1], 0.01, 3, 0.5)
    finally:
        torch.set_num_threads(threads)
    assert_same(states[1], states[0])
    assert_same(states[2], states[0])


def test_numbers_beside_their_places():
    """Arrays at odd addresses and with steps between their numbers."""
    def odd(count):
        return torch.frombuffer(bytearray(4 * count + 1), dtype=torch.float32, offset=1,
                                count=count)

    found = []
    for place in torch.empty, odd, lambda count: torch.empty(2 * count)[::2]:
        arrays = [place(500).copy_(torch.arange(500.) + i) for i in range(4)]
        data = arrays[0] if arrays[0].is_contiguous() else arrays[0].contiguous()
        torch.ops.fcn_repro.fused_update([data], [arrays[1]], arrays[2:], 'Adam', [0.1], [0.1],
                                         [True], False, 0.5, 0.9, 0.999, 1e-8)
        found.append([data, *arrays[1:]])
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


def test_writing_counts_as_a_new_version():
    """Autograd, and what is proven once per weight version, see that the arrays were written."""
    blobs, history = start('SGD', torch.float32)
    give_gradients(blobs, 3)
    watched = [*(blob.parameter for blob in blobs if blob.lr_mult), history[0],
               blobs[0].parameter.grad]
    before = [tensor._version for tensor in watched]
    fused_update(solver('SGD'), blobs, history, 0.01, 1, 1.0)
    assert all(tensor._version > was for tensor, was in zip(watched, before, strict=True))


def arguments(**change):
    """Those of the op for two small parameters."""
    given = {'data': [torch.ones(3), torch.ones(2, 2)], 'diff': [torch.ones(3), torch.ones(2, 2)],
             'history': [torch.ones(3), torch.ones(2, 2)], 'rule': 'SGD', 'rates': [0.1, 0.2],
             'decays': [0.1, 0.0], 'moves': [True, True], 'l1': False, 'clip': 1.0, 'keep': 0.9,
             'keep2': 0.999, 'delta': 1e-8}
    return {**given, **change}


def test_opcheck():
    torch.library.opcheck(torch.ops.fcn_repro.fused_update, (), arguments(),
                          test_utils=('test_schema', 'test_faketensor'))


BAD = [
    ({'rule': 'Sgd'}, "no rule 'Sgd'"),
    ({'rule': 'Adam'}, '2 data, 2 diffs, 2 histories, .* 2 histories a parameter'),
    ({'rates': [0.1]}, '2 histories, 1 rates'),
    ({'diff': [torch.ones(3), torch.ones(4)]}, r'array 1 of parameter 1 is Float of shape \[4\]'),
    ({'diff': [torch.ones(3).double(), torch.ones(2, 2)]}, 'array 1 of parameter 0 is Double'),
    ({'history': [torch.ones(3), torch.ones(2, 3)]}, r'array 2 of parameter 1 is .* \[2, 3\]'),
    ({'data': [torch.ones(3).half(), torch.ones(2, 2)]}, 'data 0 is Half, expected Float or Doub'),
    ({'diff': [torch.ones(1).expand(3), torch.ones(2, 2)]}, r'array 1 .* strides \[0\], expected'),
    ({'history': [torch.ones(3, device='meta'), torch.ones(2, 2)]}, 'array 4 is on meta, the tens'),
    ({'data': [torch.ones(1).expand(3), torch.ones(2, 2)]}, r'data 0 .* strides \[0\], expected a'),
]


@pytest.mark.parametrize('change, message', BAD)
def test_bad_arguments(change, message):
    torch.ops.fcn_repro.fused_update(**arguments())
    with pytest.raises(ValueError, match=f'fused_update: .*{message}'):
        torch.ops.fcn_repro.fused_update(**arguments(**change))


def test_errors_are_the_projects():
    blobs, history = start('SGD', torch.float32)
    with pytest.raises(FcnError, match='fused_update: array 2 of parameter 0'):
        fused_update(solver('SGD'), blobs, history[1:] + history[:1], 0.01, 1, 1.0)


@pytest.mark.parametrize('folder', solver_cases())
def test_solvers_run_to_the_same_bits_both_ways(folder, tmp_path):
    """Of Caffe's own runs (test_solver.py has the comparison with Caffe)."""
    ours = []
    for fused in True, False:
        solver = Solver(folder / 'solver.prototxt', prefix=tmp_path / f'{fused}')
        solver.net.copy_from(folder / 'init.caffemodel')
        solver.fused = fused
        solver.step(4)
        ours.append((solver.net.learnable_params, solver.history))
    assert_same(*ours)
