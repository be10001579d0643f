"""Finds and loads the compiled ops."""

import json
from collections.abc import Sequence
from functools import wraps
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

from ..errors import FcnError
from ..processor import check_processor

Pair = Sequence[int]        # (y, x)

OPS = ('upcrop', 'upcrop_backward', 'upcrop_add', 'upcrop_argmax', 'upcrop_softmax_loss', 'phases',
       'phases_input', 'phases_filters', 'fused_update', 'conv3x3', 'conv3x3_input',
       'conv3x3_weight', 'winograd_filters', 'winograd', 'conv_gemm', 'conv_gemm_input',
       'conv_gemm_weight', 'repeat_border', 'repeat_border_backward', 'max_pool',
       'max_pool_backward', 'patches', 'patches_input', 'relu_backward', 'image_conv_relu',
       'lattice', 'lattice_filter', 'mean_field', 'interp_argmax', 'interp_softmax_loss',
       'window_filter', 'pointwise_filters', 'pointwise', 'conv1x1', 'conv1x1_input',
       'conv1x1_weight', 'prelu_backward', 'winograd_blocks', 'unpool', 'pair_counts',
       'boundary_bands', 'constants', 'has_avx512_bf16')

BUILT = '_built.json'             # written by setup.py beside the library


def load_extension(folder):
    """Register the C++ ops from `folder`/_C*.so; there is no slow fallback when it is missing.

    FcnError where it is missing, was built for another torch or processor or from older sources.
    """
    paths = [Path(folder, f'_C{suffix}') for suffix in EXTENSION_SUFFIXES]
    found = [path for path in paths if path.exists()]
    if not found:
        raise FcnError(f'the compiled ops fcn_repro._C are missing in {folder}',
                       do=rebuild(folder))
    check_built(folder)
    try:
        torch.ops.load_library(found[0])
    except OSError as error:
        raise FcnError(f'{found[0]} does not load with torch {torch.__version__}: {error}',
                       do=rebuild(folder)) from error
    check_ops(found[0], OPS)


def check_built(folder):
    """FcnError where the library in `folder` was built for another torch or processor, as the build
    recorded. Loading it might end the process: torch's C++ interface differs between versions, and
    a processor stops at instructions that it does not know.
    """
    record = Path(folder, BUILT)
    if not record.exists():
        return
    try:
        built = json.loads(record.read_text())
        wanted = built['torch']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FcnError(f'the record of the compiled ops cannot be read: {error!r}', file=record,
                       do=rebuild(folder)) from error
    if wanted != torch.__version__:
        raise FcnError(f'the compiled ops in {folder} were built for torch {wanted}, this is torch '
                       f'{torch.__version__}', do=rebuild(folder))
    check_processor(built, folder, rebuild(folder, 'on this machine'))


def rebuild(folder, where='with this torch'):
    """The command that builds the ops again: in a checkout, and for an installed package."""
    if Path(folder).parent.joinpath('csrc').is_dir():
        return f'Run `make build` {where}.'
    return ('Run `pip install --no-build-isolation --no-deps --force-reinstall FOLDER` '
            f'{where}; FOLDER has the sources of fcn_repro.')


def check_ops(library, names):
    """FcnError if a library, built from older sources, lacks one of the ops."""
    missing = [name for name in names if not hasattr(torch.ops.fcn_repro, name)]
    if missing:
        raise FcnError(f'the compiled ops in {library} are older than the sources: '
                       f'{", ".join(missing)} not found', do=rebuild(Path(library).parent))


load_extension(Path(__file__).parents[1])

CONSTANTS = torch.ops.fcn_repro.constants()         # {name: int}, see csrc/cpu/constants.cpp
AVX512_BF16 = torch.ops.fcn_repro.has_avx512_bf16()


def has_avx512_bf16() -> bool:
    """Whether the CPU kernels can multiply bfloat16: the processor has AVX512-BF16, and the build
    uses it. Without it only torch's own, slower kernels serve that type."""
    return AVX512_BF16


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
