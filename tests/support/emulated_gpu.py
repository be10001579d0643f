#!/usr/bin/env python3
"""A GPU where there is none: what runs here runs on tensors that say `cuda`.

    python emulated_gpu.py LIBRARY MODULE [ARGUMENT …]     like python -m MODULE

LIBRARY is emulated_gpu.cpp, compiled (see `library`). The CPU computes, by its own kernels. What is
emulated is what a program can do wrong around them:

- an op of this project that has no CUDA kernel is an error
- an op with tensors of two devices is an error, but for numbers and indices, as CUDA has it
- a CUDA graph repeats the ops that were recorded, on the memory that they had
- waiting for the GPU in a recording, or where synchronisation is an error, is an error

It does not show the kernels of CUDA and cuDNN, the order of streams, or speed.
"""

import ctypes
import os
import runpy
import shlex
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

if __name__ == '__main__':
    ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)        # before torch looks for CUDA's hooks

import torch
from host_kernels import OPS
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

SOURCE = Path(__file__).with_suffix('.cpp')
CUDA = torch.device('cuda', 0)
aten = torch.ops.aten
INDEXED = 'aten::index', 'aten::index_put', 'aten::index_put_', 'aten::_index_put_impl_'
COPIES = aten._to_copy.default, aten.copy_.default
WAITS = (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default,
         aten.masked_select.default)


def library(folder):
    """The path of the compiled library, in a folder."""
    path, home = Path(folder, 'emulated_gpu.so'), Path(torch.__file__).parent
    subprocess.run([*shlex.split(os.environ.get('CXX', 'c++')), '-std=c++20', '-O1', '-shared',
                    '-fPIC', '-isystem', home / 'include', SOURCE, '-o', path, f'-L{home}/lib',
                    '-lc10', '-ltorch_cpu', f'-Wl,-rpath,{home}/lib'], check=True)
    return path


class There(torch.Tensor):
    """A tensor on the emulated GPU; `here` has its values."""

    @staticmethod
    def __new__(cls, here):
        with torch.inference_mode(False):       # torch cannot detach a wrapped inference tensor
            return torch.Tensor._make_wrapper_subclass(
                cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(),
                dtype=here.dtype, device=CUDA)

    def __init__(self, here):
        self.here = here

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func == torch.Tensor.data.__set__:
            args[0].here = args[1].here
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, dict(kwargs or {}))

    def __tensor_flatten__(self):
        return ['here'], None

    @staticmethod
    def __tensor_unflatten__(inner, *_):
        return There(inner['here'])

    def __repr__(self):
        return f'There({self.here})'

    def data_ptr(self):
        return self.here.data_ptr()

    def tolist(self):
        return self.cpu().tolist()


class Emulated(TorchDispatchMode):
    """In this block tensors can be made on the GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, dict(kwargs or {}))


class Recorded:
    """torch.cuda.CUDAGraph."""

    replays = 0                 # of all graphs
    now = None                  # the graph that records

    def __init__(self, *_, **__):
        self.steps = []

    def pool(self):
        return 0, 0

    def reset(self):
        self.steps = []

    def replay(self):
        Recorded.replays += 1
        with torch.no_grad(), _disable_current_modes():
            for func, args, kwargs, result in self.steps:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@contextmanager
def recording(graph, *_, **__):
    """torch.cuda.graph."""
    assert Recorded.now is None
    Recorded.now = graph
    try:
        yield
    finally:
        Recorded.now = None


class Stream:
    """torch.cuda.Stream and Event, on a device that is never late."""

    device = CUDA

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        return lambda *_: Stream()


sync = SimpleNamespace(mode='default')


def run(func, args, kwargs):
    """Run an op, on the CPU."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, There)]
    if there and func not in COPIES and func._schema.name not in INDEXED and any(
            x.dim() for x in tensors if not isinstance(x, There)):
        raise RuntimeError(f'{func}: expected all tensors to be on the same device, but found '
                           'cuda:0 and cpu')
    space, name = func._schema.name.split('::')
    if there and space == 'fcn_repro' and name not in OPS:
        raise NotImplementedError(f'{func} has no CUDA kernel')
    device = kwargs.get('device')
    goes = isinstance(args[0], There) if func is aten.copy_.default else \
        torch.device(device).type == 'cuda' if device is not None else bool(there)
    waits = func in WAITS or (func in COPIES and not goes and not kwargs.get('non_blocking')) \
        or (func._schema.name == 'aten::index' and any(x.dtype == torch.bool for x in tensors[1:]))
    if there and waits and (Recorded.now is not None or sync.mode == 'error'):
        raise RuntimeError(f'called a synchronizing CUDA operation: {func}')
    kwargs.pop('pin_memory', None)
    args, kwargs = tree_map(lambda x: x.here if isinstance(x, There) else torch.device('cpu')
                            if isinstance(x, torch.device) else x, (args, kwargs))
    result = func(*args, **kwargs)
    if Recorded.now is not None and (there or goes):
        Recorded.now.steps.append((func, args, kwargs, result))
    if not goes:
        return result
    known = {id(x.here): x for x in there}          # what an op in place returns
    return tree_map(lambda x: (known[id(x)] if id(x) in known else There(x))
                    if isinstance(x, torch.Tensor) else x, result)


def emulate():
    """Have this process see one GPU: torch.cuda's functions, and all threads to come."""
    torch.cuda._initialized = True
    torch._C._set_only_lift_cpu_tensors(True)       # torch.tensor asks the mode as well
    here = Stream()
    properties = SimpleNamespace(name='emulated', total_memory=80 << 30, major=9, minor=0,
                                 multi_processor_count=132)
    for name, value in {
            'device_count': lambda: 1, 'is_available': lambda: True, 'current_device': lambda: 0,
            'set_device': lambda *_: None, 'get_device_name': lambda *_: properties.name,
            'get_device_properties': lambda *_: properties, 'synchronize': lambda *_: None,
            'empty_cache': lambda: None, 'max_memory_allocated': lambda *_: 0,
            'reset_peak_memory_stats': lambda *_: None, 'device': nullcontext,
            'stream': nullcontext, 'Stream': Stream, 'Event': Stream,
            'current_stream': lambda *_: here, 'default_stream': lambda *_: here,
            'CUDAGraph': Recorded, 'graph': recording, 'get_sync_debug_mode': lambda: sync.mode,
            'set_sync_debug_mode': lambda mode: setattr(sync, 'mode', mode)}.items():
        setattr(torch.cuda, name, value)
    torch.Tensor.pin_memory = lambda self, *_: self
    torch.Tensor.record_stream = lambda self, *_: None

    def in_thread(self, run=threading.Thread.run):
        with Emulated():
            run(self)
    threading.Thread.run = in_thread


def main():
    del sys.argv[:2]
    sys.path.insert(0, os.getcwd())
    emulate()
    try:
        with Emulated():
            runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
    finally:
        print(f'{Recorded.replays} replays of CUDA graphs')


if __name__ == '__main__':
    main()
