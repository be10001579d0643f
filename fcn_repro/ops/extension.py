"""Finds and loads the compiled ops."""

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
       'conv_gemm_weight')


def load_extension(folder):
    """Register the C++ ops from `folder`/_C*.so; FcnError without it, as there is no fallback."""
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
    """FcnError if a library, built from older sources, lacks one of the ops."""
    missing = [name for name in names if not hasattr(torch.ops.fcn_repro, name)]
    if missing:
        raise FcnError(f'the compiled ops in {library} are older than the sources: '
                       f'{", ".join(missing)} not found', do='Run `make build`.')


load_extension(Path(__file__).parents[1])


def checked(function):
    """Decorate a function: the ValueErrors of the C++ side become FcnErrors."""
    @wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise FcnError(str(error)) from None
    return call


def refuse_devices(op, x, /, **others):
    """ValueError for a tensor that is not on x's device; None is skipped."""
    for name, other in others.items():
        if other is not None and other.device != x.device:
            raise ValueError(f'{op}: {name} is on {other.device}, the tensor on {x.device}. Move '
                             'it there.')


def refuse_gradients(taps_y, taps_x):
    """ValueError for taps that require a gradient: they are constants."""
    for name, taps in ('taps_y', taps_y), ('taps_x', taps_x):
        if taps.requires_grad:
            raise ValueError(f'upcrop: {name} requires a gradient, but the taps are constants. '
                             'Detach them, or use a Deconvolution and a Crop to learn the kernel.')
