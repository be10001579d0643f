"""What runs on a GPU, without one: the goldens, every layer and the tests of GPUs on the emulated
one of tests/support/emulated_gpu.py."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import emulated_gpu
import pytest
import torch
from goldens import DATA, ROOT, SHARED, needs

pytestmark = pytest.mark.skipif(torch.version.cuda is not None or torch.version.hip is not None,
                                reason='this torch has CUDA itself')
FORKS = SHARED.with_name('goldens-forks')
FOLDERS = [DATA / name for name in ('forks', 'layers', 'nets', 'solvers')]
# torch's convolutions on the CPU, which stand for the GPU's, round by position: maxima of a border
# whose values are equal as Caffe sums them, and 20 iterations from which rounding drifts (2.7e-4;
# 7e-5 on the CPU; the limit is 1e-4).
ROUNDING = {'hed/layers/crop_to_intermediate', 'pspnet/solvers/pspnet-train-poly'}


@pytest.fixture(scope='module')
def emulated(tmp_path_factory):
    """(module, *arguments) -> status, output, replays of a Python whose torch sees a GPU."""
    library = emulated_gpu.library(tmp_path_factory.mktemp('emulated'))

    def run(*words, cwd=ROOT):
        done = subprocess.run([sys.executable, emulated_gpu.__file__, library, *map(str, words)],
                              cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, 'OMP_NUM_THREADS': '1'})
        replays = re.search(r'(\d+) replays of CUDA graphs', done.stdout)
        return SimpleNamespace(status=done.returncode, output=done.stdout,
                               replays=int(replays[1]) if replays else None)
    return run


FAULTS = '''
import torch
import fcn_repro.ops

def fails(do):
    try:
        do()
    except RuntimeError as error:       # NotImplementedError is one
        print(type(error).__name__, error)

x, graph = torch.ones(3, device='cuda'), torch.cuda.CUDAGraph()
fails(lambda: x + torch.ones(3))
one = torch.ones(1, 1, 1, 1, device='cuda')
fails(lambda: torch.ops.fcn_repro.conv1x1(one, one, None))
x[torch.tensor([0, 2])] = torch.tensor(5.)
with torch.cuda.graph(graph):
    doubled = (2 * x).add_(1)
    fails(lambda: doubled.sum().item())
x.fill_(4)
graph.replay()
print(doubled.tolist(), x.is_cuda, (x.cpu() + torch.ones(3)).is_cuda)
torch.cuda.set_sync_debug_mode('error')
fails(lambda: x.cpu())
fails(lambda: x.nonzero())
torch.cuda.set_sync_debug_mode('default')
y = torch.tensor([3.], device='cuda', requires_grad=True)
(y * y).sum().backward()
print(y.grad.tolist(), y.grad.device)
'''


def test_what_the_emulation_finds(emulated, tmp_path):
    (tmp_path / 'faults.py').write_text(FAULTS)
    done = emulated('faults', cwd=tmp_path)
    lines = [line.split(':')[0] for line in done.output.splitlines()]
    waits = 'RuntimeError called a synchronizing CUDA operation'
    assert done.status == 0 and lines == [
        'RuntimeError aten.add.Tensor',
        'NotImplementedError fcn_repro.conv1x1.default has no CUDA kernel', waits,
        '[9.0, 9.0, 9.0] True False', waits, waits, '[6.0] cuda', '1 replays of CUDA graphs'], \
        done.output


def test_goldens(emulated):
    done = emulated('fcn_repro', 'check-goldens', '--device', 'cuda', '--bad', *FOLDERS)
    assert done.status == 0 and ' 0 depart, 0 not supported' in done.output, done.output
    assert done.replays > 1000


def test_layers(emulated):
    """Those of this project's own that no golden has, too."""
    done = emulated('pytest', '-q', '-p', 'no:cacheprovider', 'tests/layers/test_layers_on_gpu.py')
    assert done.status == 0 and 'skipped' not in done.output, done.output


@pytest.mark.slow
def test_goldens_by_the_kernels_of_cuda(emulated, tmp_path):
    """With csrc/cuda's kernels, on the host."""
    done = emulated('on_cuda_kernels', tmp_path, 'check-goldens', '--device', 'cuda', '--bad',
                    *FOLDERS)
    assert done.status == 0 and ' 0 depart, 0 not supported' in done.output, done.output
    assert int(re.search(r'(\d+) launches', done.output)[1]) > 5000


@pytest.mark.slow
@needs(SHARED)
def test_all_goldens(emulated):
    done = emulated('fcn_repro', 'check-goldens', '--device', 'cuda', '--bad', SHARED)
    assert done.status == 0 and done.replays > 5000, done.output


@pytest.mark.slow
@needs(FORKS)
def test_all_goldens_of_forks(emulated):
    def departures(device):
        done = emulated('fcn_repro', 'check-goldens', '--device', device, '--bad', FORKS)
        found = set(re.findall(r'^(.*?) .* DEPARTS: ', done.output, re.M))
        assert f' {len(found)} depart, ' in done.output, done.output
        return found
    assert departures('cuda') == departures('cpu') | ROUNDING


@pytest.mark.slow
def test_the_tests_of_gpus(emulated):
    """All but those of the rules' square roots, which torch rounds in another way on the CPU."""
    folders = ('layers', 'net', 'parity', 'passes', 'predict', 'pycaffe', 'recipe', 'solver')
    done = emulated('pytest', '-q', '-p', 'no:cacheprovider', '-m', 'not slow', '-k',
                    '(cuda or gpu or graphs or device) and not emulated and not as_the_rules',
                    *(f'tests/{name}' for name in folders))
    assert done.status == 0 and done.replays > 500, done.output
