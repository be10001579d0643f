"""The CUDA backend compiled for the host: csrc/cuda's kernels and glue on tests/ops/cuda_shim."""

import contextlib
import ctypes
import fcntl
import os
import shlex
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch.library import _scoped_library

import fcn_repro.ops  # noqa: F401

ROOT = Path(__file__).parents[2]
SHIM = ROOT / 'tests/ops/cuda_shim'
CUDA = ROOT / 'csrc/cuda'
# As nvcc compiles the kernels for torch, but without contraction: the update's bits are exact.
FLAGS = ['-std=c++20', '-O1', '-g1', '-ffp-contract=off', '-fPIC', '-Wall', '-Wextra',
         '-Wno-unknown-pragmas', f'-I{SHIM}']
SANITIZE = {'address': ['-fsanitize=address,undefined', '-fno-sanitize=vptr',
                        '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer'],
            'thread': ['-fsanitize=thread', '-fno-omit-frame-pointer']}
FEW_BLOCKS = '-DFCN_MOST_BLOCKS=3'          # which take several turns of a kernel's loops
# of the scheduler, which decides what is a race and must not be looked at itself
SCHEDULER = {'thread': ['-fno-sanitize=thread', '-DCUDA_SHIM_RACES']}
SANITIZED = 'FCN_REPRO_TEST_SANITIZE'       # environment variable of the test's child process
OPS = ('upcrop', 'upcrop_backward', 'upcrop_add', 'upcrop_argmax', 'upcrop_softmax_loss',
       'fused_update', 'repeat_border', 'repeat_border_backward', 'max_pool', 'max_pool_backward',
       'winograd_filters', 'winograd', 'conv3x3', 'conv3x3_input', 'conv3x3_weight', 'patches',
       'patches_input', 'relu_backward', 'image_conv_relu', 'interp_argmax',
       'interp_softmax_loss', 'window_filter')
# The glue is registered for a device that does not exist: real CUDA kernels stay where they are.
REGISTER = """#include <torch/library.h>
#undef TORCH_LIBRARY_IMPL
#define TORCH_LIBRARY_IMPL(ns, key, m) _TORCH_LIBRARY_IMPL(ns, PrivateUse3, m, C10_UID)
"""
CUDA_KERNELS = torch._C.DispatchKeySet(torch._C.DispatchKey.PrivateUse3)


def compile_kernels(sources, library, sanitizer=None, link=()):
    """Compile CUDA sources, and the shim, to a shared library; several at a time.

    sources: {path: further flags}; sanitizer: of SANITIZE. Raises CalledProcessError where one does
    not compile.
    """
    compiler = shlex.split(os.environ.get('CXX', 'c++'))
    flags = [*FLAGS, *([*SANITIZE[sanitizer], FEW_BLOCKS] if sanitizer else [])]
    sources = {**sources, SHIM / 'scheduler.cpp': SCHEDULER.get(sanitizer, ())}

    def compile_one(item):
        source, more = item
        done = library.with_name(f'{library.stem}.{source.name}.o')
        subprocess.run([*compiler, *flags, *more, '-x', 'c++', '-c', source, '-o', done],
                       check=True)
        return done
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources.items()))
    subprocess.run([*compiler, *flags, '-shared', '-Wl,-Bsymbolic', *objects, *link, '-o', library],
                   check=True)


def compile_backend(folder):
    """Compile all of csrc/cuda to folder/kernels.so, once for all processes of a test run."""
    library = folder / 'kernels.so'
    with open(folder / 'kernels.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            torch_folder = Path(torch.__file__).parent
            include = torch_folder / 'include'
            glue = folder / 'glue.cpp'       # in one piece: torch's headers take seconds each time
            glue.write_text(REGISTER + ''.join(f'#include "{path}"\n'
                                               for path in sorted(CUDA.glob('*.cpp'))))
            sources = {glue: ['-O0', '-g0', '-isystem', include, '-isystem',
                              include / 'torch/csrc/api/include', '-Wno-unused-function']}
            sources |= {path: ['-Werror'] for path in sorted(CUDA.glob('*.cu'))}
            ops, = (path for path in map(Path, torch.ops.loaded_libraries)
                    if path.name.startswith('_C.'))         # which has the checks of arguments
            building = folder / 'building.so'
            compile_kernels(sources, building, os.environ.get(SANITIZED),
                            [ops, f'-L{torch_folder}/lib', '-lc10', '-ltorch_cpu'])
            building.rename(library)
    return library


def load(library):
    """Load a library of compile_kernels; its glue, if any, registers the ops."""
    torch.ops.load_library(library)
    library = ctypes.CDLL(str(library))
    library.cuda_shim_launches.restype = ctypes.c_int64
    return library


@contextlib.contextmanager
def instead_of_cpu_kernels():
    """Run the CUDA kernels of the loaded backend wherever an op of OPS is called on the CPU."""
    with _scoped_library('fcn_repro', 'IMPL') as overrides:
        for name in OPS:
            op = getattr(torch.ops.fcn_repro, name).default
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', 'Warning only once')      # of the override
                overrides.impl(name, partial(op.redispatch, CUDA_KERNELS), 'CPU',
                               allow_override=True)
        yield
