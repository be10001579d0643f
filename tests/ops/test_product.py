"""csrc/cpu/gemm/micro_kernel.h against loops, on integers: sums are exact in any order.

Compiled by itself, for this machine and as a portable build does it.
"""

import ctypes
import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest

NATIVE = '-march=native' if platform.machine() == 'x86_64' else '-mcpu=native'
TYPES = {'float': np.float32, 'double': np.float64}
NUMBERS = ('rows cols segments steps', 'a_row a_segment a_step', 'b_panel b_segment b_step')


class Product(ctypes.Structure):
    _fields_ = [(name, kind) for names, kind in (
        (NUMBERS[0], ctypes.c_int64), ('a', ctypes.c_void_p), (NUMBERS[1], ctypes.c_int64),
        ('b', ctypes.c_void_p), (NUMBERS[2], ctypes.c_int64), ('c', ctypes.c_void_p),
        ('c_row', ctypes.c_int64), ('add', ctypes.c_bool)) for name in names.split()]


@pytest.fixture(scope='module', params=[NATIVE, '-DFCN_PORTABLE'])
def host(request, tmp_path_factory):
    library = tmp_path_factory.mktemp('host') / 'product.so'
    subprocess.run(['c++', '-std=c++20', '-O1', '-Wall', '-Wextra', '-Werror', '-fopenmp-simd',
                    request.param, '-shared', '-fPIC', Path(__file__).parent / 'product_host.cpp',
                    '-o', library],
                   check=True)
    return ctypes.CDLL(str(library))


def draw(rng, vector, along, panels, overlap):
    """Sizes and steps of a random product, no two numbers of a factor in one place."""
    rows, segments, steps = (int(rng.integers(1, most)) for most in (40, 4, 20))
    cols = vector * int(rng.integers(1, 7))
    a_row, a_step = (steps + 3, 1) if along else (1, rows + 2)
    a_segment = rows * a_row if along else steps * a_step
    b_step = 2 * vector if panels else cols + 5
    b_panel = segments * steps * b_step if panels else 2 * vector
    c_row = cols - int(rng.integers(1, vector)) if overlap else cols + 1
    return {'rows': rows, 'cols': cols, 'segments': segments, 'steps': steps,
            'a_row': a_row, 'a_step': a_step, 'a_segment': a_segment,
            'b_panel': b_panel, 'b_step': b_step, 'b_segment': steps * b_step, 'c_row': c_row,
            'add': not overlap and bool(rng.integers(2))}


def places(n, vector):
    """Where the numbers of both factors stand: (rows, segments, steps), (segments, steps, cols)."""
    i, s, k, j = (np.arange(n[name]) for name in ('rows', 'segments', 'steps', 'cols'))
    column = j // (2 * vector) * n['b_panel'] + j % (2 * vector)
    return (i[:, None, None] * n['a_row'] + s[:, None] * n['a_segment'] + k * n['a_step'],
            s[:, None, None] * n['b_segment'] + k[:, None] * n['b_step'] + column)


@pytest.mark.parametrize('overlap', [False, True], ids=['', 'overlap'])
@pytest.mark.parametrize('panels', [False, True], ids=['', 'panels'])
@pytest.mark.parametrize('along', [False, True], ids=['', 'along'])
@pytest.mark.parametrize('name', TYPES)
def test_products(name, along, panels, overlap, host):
    rng, dtype = np.random.default_rng(0), TYPES[name]
    vector = 64 // np.dtype(dtype).itemsize
    for _ in range(50):
        n = draw(rng, vector, along, panels, overlap)
        at_a, at_b = places(n, vector)
        last = (n['rows'] - 1) * n['c_row'] + n['cols']
        a, b, c = (rng.integers(-4, 5, size).astype(dtype)
                   for size in (at_a.max() + 1, at_b.max() + 1, last + 3))
        wanted, sums = c.copy(), np.einsum('isk,skj->ij', a[at_a], b[at_b])
        for i in range(n['rows']):              # later rows over what lies beyond earlier ones
            row = wanted[i * n['c_row']:][:n['cols']]
            row[:] = row * n['add'] + sums[i]
        pointers = {key: t.ctypes.data for key, t in (('a', a), ('b', b), ('c', c))}
        getattr(host, f'multiply_{name}')(ctypes.byref(Product(**n, **pointers)))
        assert np.array_equal(c, wanted), n
