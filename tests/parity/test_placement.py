"""Goldens whose nets compute in another precision or on another device than the CPU in float32."""

import shutil

import pytest
import torch
from goldens import DATA
from small_runs import call

from fcn_repro.net.placement import place
from fcn_repro.parity import KINDS, LIMITS, Placement, cases, check_folder
from fcn_repro.parity.fixtures import KINDS as FIXTURES
from fcn_repro.solver import solver

BF16 = Placement('cpu', 'bf16')
NET = DATA / 'nets/fcn32s'


@pytest.fixture
def placed(monkeypatch):
    """(device, precision) of each net that is placed, also by a Solver."""
    found = []

    def record(net, device, **options):
        found.append((str(device), options.get('precision', 'fp32')))
        return place(net, device, **options)
    monkeypatch.setattr(cases, 'place', record)
    monkeypatch.setattr(solver, 'place', record)
    return found


def check(folder, where):
    return list(check_folder(folder, LIMITS[where.precision], (*KINDS, *FIXTURES), {}, where))


def part(tmp_path, folder, *patterns):
    for pattern in patterns:
        for path in (DATA / folder).glob(pattern):
            shutil.copy(path, tmp_path)
    return tmp_path


def test_a_layer_in_bf16(tmp_path, placed):
    found, = check(part(tmp_path, 'layers', 'conv_1x1.*'), BF16)
    assert found.verdict == 'ok' and placed == [('cpu', 'bf16')]


def test_a_net_in_bf16_rounds_more(tmp_path, placed):
    part(tmp_path, 'nets/fcn32s', 'net.prototxt', 'weights.caffemodel', 'golden_1x3x64x64.h5')
    found, = check(tmp_path, BF16)
    worst = max(gap.error for gap in found.gaps if gap.what.startswith('blobs/'))
    assert placed == [('cpu', 'bf16')] and 1e-5 < worst <= LIMITS['bf16'].activations
    exact, = check_folder(tmp_path, where=BF16)         # with the limits of float32
    assert exact.verdict == 'DEPARTS'


def test_solvers_and_stages(placed):
    for folder in 'lr_fixed', 'staged_32s_16s_8s':
        placed.clear()
        found = check(DATA / 'solvers' / folder, BF16)
        assert {each.refusal for each in found} == {None} and set(placed) == {('cpu', 'bf16')}


def test_what_runs_no_net_is_as_before(placed):
    found = check(DATA / 'surgery', BF16)
    assert {each.verdict for each in found} == {'ok'}
    assert len(placed) == 2, 'a classifier and its cast'
    placed.clear()
    for folder in 'metrics', 'coord_map', 'fillers':
        assert {each.verdict for each in check(DATA / folder, BF16)} == {'ok'}
    assert not placed


def test_nets_on_the_cpu_in_float32_stay_as_they_are_made(tmp_path, placed):
    found, = check(part(tmp_path, 'layers', 'relu.*'), Placement())
    assert found.verdict == 'ok' and not placed


@pytest.mark.parametrize('tool, words', [
    ('check_goldens', [str(DATA / 'metrics')]),
    ('check_parity', [str(NET / 'net.prototxt'), str(NET / 'weights.caffemodel'),
                      str(NET / 'golden_1x3x64x64.h5')])])
def test_on_the_command_line(tool, words, capsys, monkeypatch):
    done = call(capsys, tool, *words, '--precision', 'fp8')
    assert done.status == 1 and "precision 'fp8' is unknown" in done.err
    done = call(capsys, tool, *words, '--precision', 'tf32')
    assert done.status == 1 and 'tf32 is for GPUs' in done.err
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    done = call(capsys, tool, *words, '--device', 'cuda')
    assert done.status == 1 and "device 'cuda' is not available" in done.err


def test_parity_in_bf16(capsys):
    words = [str(NET / name) for name in ('net.prototxt', 'weights.caffemodel',
                                          'golden_1x3x64x64.h5')]
    done = call(capsys, 'check_parity', *words, '--precision', 'bf16', '--gradients', '1')
    assert not done.status and 'within their limits' in done.out
    done = call(capsys, 'check_parity', *words, '--precision', 'bf16', '--limit', '1e-5')
    assert done.status == 1 and 'depart; the first is the data of' in done.out


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('folder', ['nets/fcn32s', 'solvers/lr_fixed', 'surgery'])
def test_on_a_gpu(folder):
    found = check(DATA / folder, Placement('cuda'))
    assert [each.name for each in found if each.verdict != 'ok'] == []
