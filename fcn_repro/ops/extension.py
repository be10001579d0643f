"""Finding and loading the compiled ops."""

from collections.abc import Sequence
from functools import wraps
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

from ..errors import FcnError

Pair = Sequence[int]        # (y, x)

OPS = ('upcrop', 'upcrop_backward', 'upcrop_add', 'upcrop_argmax', 'upcrop_softmax_loss', 'phases',
       'phases_input', 'phases_filters', 'fused_update', 'conv3x3', 'conv3x3_input',
       'conv3x3_weight', 'winograd_filters', 'winograd', 'conv_gemm', 'conv_gemm_input',
       'conv_gemm_weight', 'constants', 'has_avx512_bf16')


def load_extension(folder):
    """Register the C++ ops from `folder`/_C*.so; there is no slow stand-in when it is missing."""
    paths = [Path(folder, f'_C{suffix}') for suffix in EXTENSION_SUFFIXES]
    found = [path for path in paths if path.exists()]
    if not found:
        raise FcnError(f'the compiled ops fcn_repro._C are missing in {folder}',
                       do='Run `make build`.')
    try:
        torch.ops.load_library(found[0])
    except OSError as error:
        raise FcnError(f'{found[0]} does not load with torch {torch.__version__}: {error}',
                       do='Run `make build` with the torch that you use.') from error
    check_ops(found[0], OPS)


def check_ops(library, names):
    """FcnError where a library that was built from older sources lacks one of the ops."""
    missing = [name for name in names if not hasattr(torch.ops.fcn_repro, name)]
    if missing:
        raise FcnError(f'the compiled ops in {library} are older than the sources: '
                       f'{", ".join(missing)} not found', do='Run `make build`.')


load_extension(Path(__file__).parents[1])

CONSTANTS = torch.ops.fcn_repro.constants()         # {name: int}, see csrc/cpu/constants.cpp
AVX512_BF16 = torch.ops.fcn_repro.has_avx512_bf16()


def has_avx512_bf16() -> bool:
    """Whether the CPU kernels can multiply bfloat16: the processor has AVX512-BF16, and the build
    uses it. Without it only torch's own, slower kernels serve that type."""
    return AVX512_BF16


def checked(function):
    """`function` with the C++ side's ValueError as FcnError."""
    @wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise FcnError(str(error)) from None
    return call


def refuse_devices(op, x, /, **others):
    """ValueError where a tensor is not on x's device: with one of them on meta, torch asks the
    fake kernel alone."""
    for name, other in others.items():
        if other is not None and other.device != x.device:
            raise ValueError(f'{op}: {name} is on {other.device}, the tensor on {x.device}. Move '
                             'it there.')


def refuse_gradients(taps_y, taps_x):
    """ValueError where taps are to be learned: they are constants."""
    for name, taps in ('taps_y', taps_y), ('taps_x', taps_x):
        if taps.requires_grad:
            raise ValueError(f'upcrop: {name} requires a gradient, but the taps are constants. '
                             'Detach them, or use a Deconvolution and a Crop to learn the kernel.')
