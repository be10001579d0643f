"""The host runtime of the CUDA kernels: it finds faults that a GPU would leave undefined.

A tiny kernel has each of them, and none when it is told so.
"""

import ctypes
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from host_kernels import ROOT, SANITIZED, SHIM, compile_kernels, load
from small_runs import tool

TINY = {SHIM / 'tiny_kernels.cu': ['-Werror']}
(NONE, NO_BARRIER, PART_OF_BLOCK, RETURNED, BEYOND_INPUT, BEYOND_SHARED, SHUFFLE,
 SAME_ELEMENT) = range(8)
COUNT = 256


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    library = tmp_path_factory.mktemp('tiny') / 'tiny.so'
    compile_kernels(TINY, library)
    library = load(library)
    library.what.restype = ctypes.c_char_p
    yield library
    library.cuda_shim_reverse(False)


def run(kernel, fault, count=COUNT):
    """(status, input, output) of one of the kernels."""
    data, result = np.arange(1, count + 1, dtype=np.float32), np.zeros(count, np.float32)
    return kernel(data.ctypes, result.ctypes, count, fault), data, result


@pytest.mark.parametrize('reverse', [False, True])
def test_barrier(reverse, tiny):
    tiny.cuda_shim_reverse(reverse)
    status, data, result = run(tiny.rotate, NONE)
    assert status == 0 and np.array_equal(result, np.roll(data, -1))
    status, data, result = run(tiny.rotate, NO_BARRIER)
    assert status == 0 and np.isnan(result).sum() >= 1


@pytest.mark.parametrize('reverse', [False, True])
def test_shuffle(reverse, tiny):
    tiny.cuda_shim_reverse(reverse)
    status, data, result = run(tiny.sum, NONE)
    assert status == 0 and np.array_equal(result[:COUNT // 32], data.reshape(-1, 32).sum(1))


@pytest.mark.parametrize('kernel, fault, message', [
    ('rotate', PART_OF_BLOCK, rb':17 for its block, but thread \(128, 0, 0\) .* waits at .*:18'),
    ('rotate', RETURNED, rb' for its block, but thread \(255, 0, 0\) .* has returned'),
    ('sum', SHUFFLE, rb' for lanes of its warp, but thread \(5, 0, 0\) .* has returned')])
def test_barriers_that_some_do_not_reach(kernel, fault, message, tiny):
    """They are errors, not hangs, and the next launch is sound."""
    kernel = getattr(tiny, kernel)
    status, *_ = run(kernel, fault)
    assert status == 719 and re.search(message, tiny.what(status)), tiny.what(status)
    assert run(kernel, NONE)[0] == 0


def test_a_warp_with_too_few_lanes(tiny):
    status, *_ = run(tiny.sum, NONE, 40)
    assert status == 719 and b'which has fewer lanes' in tiny.what(status)


@pytest.mark.parametrize('blocks, rows, threads, shared', [
    (0, 1, 32, 0), (1, 65536, 32, 0), (1, 1, 0, 0), (1, 1, 1025, 0), (1, 1, 32, 48 * 1024 + 1),
    (2 ** 31, 1, 32, 0)])
def test_launches_that_cuda_refuses(blocks, rows, threads, shared, tiny):
    assert tiny.refused(blocks, rows, threads, ctypes.c_size_t(shared)) == 9


# ---- under sanitizers ----------------------------------------------------------------------------
def environment(sanitizer, reports):
    """The environment of a child process in which libraries with a sanitizer run; its reports go
    into a folder."""
    sanitize = tool('sanitize')
    runtime = {'address': 'libasan.so', 'thread': 'libtsan.so'}[sanitizer]
    options = {name: value.format(reports) for name, value in sanitize.OPTIONS.items()}
    return {**os.environ, **options,
            'TSAN_OPTIONS': f'ignore_noninstrumented_modules=1:exitcode=0:log_path={reports}/tsan',
            'LD_PRELOAD': f'{sanitize.runtime(runtime)} {sanitize.runtime("libstdc++.so")}',
            'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]),
            SANITIZED: sanitizer}


def reports_in(folder):
    reports = ''.join(path.read_text() for path in folder.glob('?san.*'))
    if 'unexpected memory mapping' in reports:      # the kernel places memory where it has its own
        pytest.skip("this compiler's ThreadSanitizer cannot run here (vm.mmap_rnd_bits over 28)")
    return reports


CHILD = """
import ctypes, sys
library, kernel, fault = ctypes.CDLL(sys.argv[1]), sys.argv[2], int(sys.argv[3])
data, result = (ctypes.c_float * 256)(*range(256)), (ctypes.c_float * 256)()
assert getattr(library, kernel)(data, result, 256, fault) == 0
if fault == 0:
    whole = {'rotate': 256, 'rotate_warp': 32, 'rotate_halves': 128}[kernel]
    assert list(result) == [i // whole * whole + (i + 1) % whole for i in range(256)]
"""


@pytest.fixture(scope='module')
def sanitised(tmp_path_factory):
    """sanitizer -> the path of the tiny kernels with it."""
    @cache
    def library(sanitizer):
        path = tmp_path_factory.mktemp(sanitizer) / 'tiny.so'
        compile_kernels(TINY, path, sanitizer)
        return path
    return library


def reported(sanitizer, library, kernel, fault, folder):
    """What a sanitizer reports of a tiny kernel."""
    done = subprocess.run([sys.executable, '-c', CHILD, library, kernel, str(fault)], text=True,
                          capture_output=True, env=environment(sanitizer, folder))
    reports = reports_in(folder)
    assert (done.returncode == 0) == (not reports or sanitizer == 'thread'), done.stderr
    return reports


@pytest.mark.parametrize('fault, found', [
    (NONE, None), (BEYOND_INPUT, 'READ of size 4'), (BEYOND_SHARED, 'WRITE of size 4')])
def test_out_of_bounds_by_one(fault, found, sanitised, tmp_path):
    """AddressSanitizer knows the fibers' stacks and the exact size of the shared memory."""
    reports = reported('address', sanitised('address'), 'rotate', fault, tmp_path)
    assert reports == '' if fault == NONE else found in reports and 'rotate_kernel' in reports


@pytest.mark.parametrize('kernel, fault', [
    ('rotate', NONE), ('rotate', NO_BARRIER), ('rotate_warp', NONE), ('rotate_warp', NO_BARRIER),
    ('rotate_warp', SHUFFLE), ('rotate_halves', NONE),
    ('rotate_halves', SAME_ELEMENT)])
def test_races(kernel, fault, sanitised, tmp_path):
    """ThreadSanitizer takes a block's threads for threads, which only barriers order, and blocks
    for unordered; a race is one whatever the values are."""
    reports = reported('thread', sanitised('thread'), kernel, fault, tmp_path)
    assert reports == '' if fault == NONE else \
        'data race' in reports and f'{kernel}_kernel' in reports


@pytest.mark.slow
@pytest.mark.parametrize('sanitizer', ['address', 'thread'])
def test_kernels_under_sanitizers(sanitizer, tmp_path):
    """The tests of the ops, whose kernels are compiled with AddressSanitizer and UBSan, or with
    ThreadSanitizer, and run in few blocks."""
    tests = [Path(__file__).with_name(f'test_cuda_{name}.py') for name in ('kernels', 'winograd')]
    done = subprocess.run([sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', '-s', *tests],
                          cwd=ROOT, text=True, capture_output=True,
                          env=environment(sanitizer, tmp_path))
    reports = reports_in(tmp_path)
    assert done.returncode == 0 and not reports, done.stdout + done.stderr + reports
