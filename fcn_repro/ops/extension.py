"""Finding and loading the compiled ops."""

from functools import wraps
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

from ..errors import FcnError


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


load_extension(Path(__file__).parents[1])


def checked(function):
    """`function` with the C++ side's ValueError as FcnError."""
    @wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise FcnError(str(error)) from None
    return call


def refuse_gradients(taps_y, taps_x):
    """ValueError where taps are to be learned: they are constants."""
    for name, taps in ('taps_y', taps_y), ('taps_x', taps_x):
        if taps.requires_grad:
            raise ValueError(f'upcrop: {name} requires a gradient, but the taps are constants. '
                             'Detach them, or use a Deconvolution and a Crop to learn the kernel.')
