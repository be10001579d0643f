"""Choosing how a net computes: device, memory format, precision, reading threads."""

import logging

import torch

from ..data.prefetch import check_workers
from ..errors import FcnError, nearest
from ..layers import PRECISIONS, ExecutionOptions
from ..ops import has_avx512_bf16
from ..processor import processor_name
from .net import Net

__all__ = ['PRECISIONS', 'check_precision', 'hardware', 'pick_device', 'place']

log = logging.getLogger(__name__)


def pick_device(name: str | None = None) -> torch.device:
    """The torch device `name`, or the GPU where there is one. FcnError (code 'no-such-device') for
    an unknown or missing one."""
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
    except RuntimeError:
        raise FcnError(f"device '{name}' is unknown", do='Use cpu, cuda or cuda:1.') from None
    count = torch.cuda.device_count()
    if device.type == 'cuda' and not (device.index or 0) < count:
        raise FcnError(f"device '{name}' is not available: this torch sees {count} GPUs",
                       code='no-such-device', facts={'device': name, 'count': count},
                       do="Use the device 'cpu', another GPU, or a torch built for CUDA.")
    return device


def hardware(device: torch.device) -> str:
    """A device in words: a GPU by its model, else the processor and the threads that are used."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f'{processor_name()}, {count} thread{"s" * (count > 1)}'


def check_precision(name: str, device: torch.device, train: bool = False) -> None:
    """FcnError for a precision that is unknown, or that this device or training cannot have (codes
    'gpu-precision', 'fp16-training')."""
    if name not in PRECISIONS:
        raise FcnError(f"precision '{name}' is unknown", do=f'{nearest(name, PRECISIONS)} '
                       f'Use {", ".join(PRECISIONS)}.'.lstrip())
    if device.type == 'cpu' and name in ('tf32', 'fp16'):
        raise FcnError(f'precision {name} is for GPUs, and this net runs on the CPU',
                       code='gpu-precision', facts={'precision': name},
                       do="Use fp32 or bf16, or the device 'cuda'.")
    if train and name == 'fp16':
        raise FcnError('fp16 does not train: most gradients are below its smallest number',
                       code='fp16-training', do='Use tf32, or bf16 with the range of float32.')


def place(net: Net, device: str | torch.device = 'cpu', channels_last: bool = True,
          workers: int | None = None, precision: str = 'fp32', winograd: bool = True,
          gemm: bool = True, prepack: bool = True, graphs: bool = True) -> Net:
    """Move a net to a device, its filters to channels-last, and choose how it computes there.

    workers: threads that read ahead for each of its data layers (None: as before; at first a few,
    by the number of cores). precision: fp32; tf32 (GPU): factors of float32 products rounded to 10
    bits; bf16, fp16 (GPU): convolutions and inner products in 16 bits, except for the last ones,
    which make the scores, and all other layers (plan.py). Parameters, their gradients and delivered
    blobs are float32 in any case. winograd, gemm: on the CPU convolve by these algorithms where
    they are faster (ops/conv.py); prepack: cache the filters laid out for them while autograd is
    off. graphs: on a GPU replay CUDA graphs while autograd is off (cuda_graphs.py).
    Other nets of the process, and torch's own settings, stay as they are. Returns the net.

    FcnError as check_precision says, for a net with blas=True in 16 bits or on a GPU, and for
    workers below 0 or too many.
    """
    device = torch.device(device)
    check_precision(precision, device)
    blas = net.options.blas
    options = ExecutionOptions(device, channels_last, precision, winograd, gemm, prepack, graphs,
                               net.options.workers if workers is None else check_workers(workers),
                               blas)
    if blas and (options.dtype is not None or options.gpu):
        raise FcnError(f'blas=True computes in float32 on the CPU, {precision} on {device} was '
                       'asked for', file=net.graph.file, do='Leave one of them out.')
    if device.type == 'cpu' and options.dtype is not None:
        if not has_avx512_bf16():
            log.warning('bf16 on a CPU without AVX512-BF16 is slower than fp32')
        elif 'Intel' in processor_name():
            log.warning('bf16 was slower than fp32, 0.77 times as fast, on the Xeon with '
                        'AVX512-BF16 that it was measured on')
    return net.place(options)
