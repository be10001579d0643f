"""How the fused op is built and loaded: missing, foreign, portable; its header; the GPU check."""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import error
from test_ops import SAMPLES, example

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.ops import extension

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=['checkout', 'installed'])
def package(request, tmp_path):
    """(a folder for the library, the remedy that fits there)"""
    folder = tmp_path / 'fcn_repro'
    folder.mkdir()
    if request.param == 'installed':
        return folder, 'pip install --no-build-isolation'
    (tmp_path / 'csrc').mkdir()
    return folder, 'Run `make build`'


def test_missing_extension(package):
    folder, remedy = package
    with pytest.raises(FcnError, match=f'are missing in {folder}.*{remedy}'):
        ops.load_extension(folder)
    (folder / '_C.abi3.so').write_bytes(b'not a library')
    with pytest.raises(FcnError, match=f'does not load with torch .*{remedy}'):
        ops.load_extension(folder)


def test_extension_of_another_torch(package):
    """It is refused by its record, before it is opened: the library itself is sound."""
    folder, remedy = package
    (folder / '_C.abi3.so').symlink_to(next((ROOT / 'fcn_repro').glob('_C*.so')))
    (folder / '_built.json').write_text('{"torch": "1.0.0+cpu"}')
    with pytest.raises(FcnError, match=rf'built for torch 1\.0\.0\+cpu, this is torch '
                                       rf'{re.escape(torch.__version__)}\. .*{remedy}'):
        ops.load_extension(folder)
    (folder / '_built.json').write_text(f'{{"torch": "{torch.__version__}"}}')
    ops.load_extension(folder)


def test_older_extension():
    """A library without one of the ops is named together with the op."""
    with pytest.raises(FcnError, match=r'in some.so are older than the sources: upcropped not '
                                       r'found. '):
        extension.check_ops('some.so', [*extension.OPS, 'upcropped'])


def test_every_op_is_listed():
    defined = {name for path in (ROOT / 'csrc').rglob('*.cpp')
               for name in re.findall(r'm\.def\(\s*"(\w+)\(', path.read_text())}
    assert defined == set(extension.OPS)


@pytest.mark.parametrize('clang, gnu, name', [
    ('__clang_major__', '11', 'g++ 11'), ('15', '4', 'clang++ 15'),
    ('__clang_major__', '__GNUC__', 'g++ __GNUC__')])
def test_old_compiler(clang, gnu, name, tmp_path):
    """A compiler that is too old, or neither of the two, ends the build before it compiles."""
    compiler = tmp_path / 'compiler'
    compiler.write_text(f'#!/bin/sh\necho {clang} {gnu}\n')
    compiler.chmod(0o755)
    assert f'error: {compiler} is {name}, but' in refused_build(compiler, tmp_path).splitlines()[-1]


def test_no_compiler(tmp_path):
    said = refused_build(tmp_path / 'absent', tmp_path).splitlines()[-1]
    assert said.startswith('error: no C++ compiler: ') and 'absent' in said and 'CXX' in said


def refused_build(compiler, folder):
    """What setup.py says when it does not build with this compiler."""
    done = subprocess.run([sys.executable, 'setup.py', '--quiet', 'build_ext', '--build-temp',
                           folder / 'temp', '--build-lib', folder / 'lib'], cwd=ROOT, text=True,
                          capture_output=True, env={**os.environ, 'CXX': str(compiler)})
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert not (folder / 'temp').exists() and not (folder / 'lib').exists()
    return done.stderr


@pytest.mark.skipif(not Path('/proc/cpuinfo').exists(), reason='the kernel lists no CPU flags')
def test_probe_of_bf16():
    """has_avx512_bf16 agrees with the flags that Linux lists; none of them on other processors."""
    flags = re.search(r'^flags\s*:(.*)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
    assert ops.has_avx512_bf16() == (flags is not None and 'avx512_bf16' in flags[1].split())


class Axis(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ('cells_in', 'out', 'k', 'stride', 'shift')]


@pytest.fixture(scope='module')
def host(tmp_path_factory):
    """csrc/upcrop_math.h compiled by itself, without torch on the include path."""
    library = tmp_path_factory.mktemp('host') / 'upcrop_math.so'
    subprocess.run(['c++', '-std=c++17', '-O1', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC',
                    Path(__file__).parent / 'upcrop_math_host.cpp', '-o', library], check=True)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize('sample', [s for s in SAMPLES if s[0][0]])
def test_header_alone(sample, host):
    """The sums that each GPU thread does, run on the host."""
    x, taps_y, taps_x, stride, pad, offset, size = args = example(sample)
    axes = [Axis(x.shape[2 + a], size[a], len((taps_y, taps_x)[a]), stride[a], pad[a] + offset[a])
            for a in range(2)]

    def call(function, plane, shape):
        out = np.empty(shape)
        pointers = [ctypes.c_void_p(a.ctypes.data)
                    for a in (plane, taps_y.numpy(), taps_x.numpy(), out)]
        function(*pointers[:3], *map(ctypes.byref, axes), pointers[3])
        return out

    plane = np.ascontiguousarray(x.detach()[0, 0])
    wanted = ops.upcrop_ref(*args).detach()[0, 0]
    assert error(call(host.output_plane, plane, size), wanted) < 1e-13
    one = x.detach()[:1, :1].requires_grad_()
    top, grad = np.ascontiguousarray(wanted), torch.autograd.grad(
        ops.upcrop_ref(one, *args[1:]), one, wanted[None, None])[0]
    assert error(call(host.gradient_plane, top, x.shape[2:]), grad[0, 0]) < 1e-13


@pytest.mark.slow
def test_portable_build(tmp_path):
    """A build without this machine's instructions passes the same tests."""
    for name in 'csrc', 'fcn_repro', 'tests':
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns('*.so'))
    for name in 'setup.py', 'pyproject.toml':
        shutil.copy(ROOT / name, tmp_path)
    env = {**os.environ, 'FCN_REPRO_PORTABLE': '1', 'PYTHONPATH': str(tmp_path)}
    run = {'check': True, 'cwd': tmp_path, 'env': env}
    (tmp_path / 'README.md').touch()
    subprocess.run([sys.executable, 'setup.py', '-q', 'build_ext', '--inplace'], **run)
    names = ('ops', 'ops_reduced', 'ops_inputs', 'deconv', 'winograd', 'winograd_inputs', 'gemm',
             'conv')
    subprocess.run([sys.executable, '-m', 'pytest', 'tests/solver/test_update.py',
                    *(f'tests/ops/test_{name}.py' for name in names)], **run)


REPORT = """ptxas info    : Compiling entry function '_Zkernel' for 'sm_90'
    {} bytes stack frame, {} bytes spill stores, {} bytes spill loads
ptxas info    : Used 32 registers"""


def script(name):
    """tools/`name`.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cuda_check():
    """What tools/cuda_check.py accepts and refuses in nvcc's report, and in its absence."""
    check = script('cuda_check')
    assert check.check_frames(REPORT.format(0, 0, 0), 'a.cu', 'sm_90') == 1
    with pytest.raises(FcnError, match='_Zkernel for sm_90 has 8 bytes of stack, 4 of spill'):
        check.check_frames(REPORT.format(8, 4, 0), 'a.cu', 'sm_90')
    with pytest.raises(FcnError, match='0 kernels but 0 frame lines'):
        check.check_frames('', 'a.cu', 'sm_90')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PATH', '')
        patch.setenv('CUDA_HOME', '')
        with pytest.raises(FcnError, match='nvcc is neither on PATH'):
            check.find_nvcc()


@pytest.mark.parametrize(('code', 'found'), [
    ('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)', 'ended with SIGSEGV'),
    ('raise SystemExit("the message lacks its numbers")', 'status 1: the message lacks its'),
    ('raise SystemExit(3)', 'ended with status 3')])
def test_check_build(code, found):
    with pytest.raises(FcnError, match=found):
        script('check_build').check_errors([sys.executable, '-c', code])


def test_errors_of_this_build_reach_python():
    check = script('check_build')
    check.check_errors([sys.executable, '-c', check.PROBE])
