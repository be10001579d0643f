"""How a net runs: device, memory format, precision, threads that read. Only the precision changes
what it computes, and that in rounding alone."""

import logging
import math
import time

import torch

from ..data.prefetch import check_workers
from ..errors import FcnError, nearest
from ..ops import has_avx512_bf16
from .cuda_graphs import Replay

log = logging.getLogger(__name__)

# {name: the type of the products, where that has 16 bits}
PRECISIONS = {'fp32': None, 'tf32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def pick_device(name=None):
    """A torch device: `name`, or the GPU where there is one."""
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
    except RuntimeError:
        raise FcnError(f"device '{name}' is unknown", do='Use cpu, cuda or cuda:1.') from None
    if device.type == 'cuda' and not (device.index or 0) < torch.cuda.device_count():
        raise FcnError(f"device '{name}' is not there: this torch sees "
                       f'{torch.cuda.device_count()} GPUs', do='Use --device cpu, another GPU, or '
                       'a torch built for CUDA.')
    return device


def check_precision(name, device, train=False):
    """FcnError for a precision that is unknown, or that this device or training cannot have."""
    if name not in PRECISIONS:
        raise FcnError(f"precision '{name}' is unknown", do=f'{nearest(name, PRECISIONS)} '
                       f'Use {", ".join(PRECISIONS)}.'.lstrip())
    if device.type == 'cpu' and name in ('tf32', 'fp16'):
        raise FcnError(f'precision {name} is for GPUs, and this net runs on the CPU',
                       do='Use fp32 or bf16, or --device cuda.')
    if train and name == 'fp16':
        raise FcnError('fp16 does not train: most gradients are under its smallest number',
                       do='Use bf16, whose range is that of float32, or tf32.')


def allow_tf32(allowed):
    """How GPUs multiply float32 from now on, in the whole process. By torch's older switches: where
    the newer fp32_precision was set, torch.export refuses to run."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def place(net, device='cpu', channels_last=True, workers=None, precision='fp32', winograd=True,
          gemm=True, prepack=True, graphs=True):
    """Move a net to a device, its filters to channels-last, and say how it computes there.

    workers: threads that read the data of each of its data layers ahead (None: a few, as there are
    cores). precision: fp32; tf32 (GPU): products of float32 rounded to 10 bits, for all nets of the
    process; bf16, fp16 (GPU): convolutions and inner products in 16 bits, but for the last ones,
    which make the scores, and all other layers (plan.py). Parameters, their gradients and what a
    blob delivers are float32 in any case. winograd, gemm: on the CPU convolve in these ways where
    that is faster (ops/conv.py); prepack: keep filters laid out for it, as far as nobody goes
    backward. graphs: on a GPU replay CUDA graphs there (cuda_graphs.py).
    FcnError as check_precision says, for a net with blas=True in 16 bits, and for workers under 0
    or too many.
    """
    device = torch.device(device)
    check_precision(precision, device)
    net.dtype = PRECISIONS[precision]
    if net.state.blas and net.dtype is not None:
        raise FcnError(f"blas=True computes in float32, {precision} was asked for",
                       file=net.graph.file, do='Leave one of them out.')
    if device.type == 'cpu' and net.dtype is not None and not has_avx512_bf16():
        log.warning('bf16 on a CPU without AVX512-BF16 is slower than fp32')
    allow_tf32(precision == 'tf32')
    net.to(device)
    if channels_last:
        for parameter in net.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    net.channels_last = channels_last
    net.state.winograd, net.state.gemm, net.state.prepack = winograd, gemm, prepack
    net.replay = Replay(net) if graphs and device.type == 'cuda' else None
    net.state.gpu = device if device.type == 'cuda' else None
    if workers is not None:
        net.state.workers = check_workers(workers)
    return net


def macs(net):
    """Multiply-adds of one forward pass at the current shapes, of the layers that are products
    (Convolution and InnerProduct; the others are negligible)."""
    total = 0
    for node in net.graph.nodes:
        if net.layer(node).product:
            weight = net.params[node.name][0].shape
            total += sum(math.prod(net.shapes[v]) for v in node.tops) * math.prod(weight[1:])
    return total


def training_seconds(net, device):
    """An estimate of one forward and backward pass: its multiply-adds at the rate of a 3x3
    convolution of 64 channels, which is measured here, forward and backward."""
    x = torch.randn(1, 64, 192, 192, device=device).to(memory_format=torch.channels_last)
    w = torch.randn(64, 64, 3, 3, device=device).to(memory_format=torch.channels_last)
    x.requires_grad_(), w.requires_grad_()
    best = math.inf
    for _ in range(4):
        start = time.perf_counter()
        torch.nn.functional.conv2d(x, w, padding=1).sum().backward()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best * macs(net) / (64 * 64 * 9 * 192 * 192)
