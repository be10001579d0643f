"""How a net runs: device, memory format, threads that read. Nothing here changes what it computes.
"""

import math
import time

import torch

from .data.prefetch import check_workers
from .errors import FcnError


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


def place(net, device='cpu', channels_last=True, workers=None):
    """Move a net to a device, its filters to channels-last; float32 stays float32 (TF32 off).

    workers: threads that read the data of each of its data layers ahead (None: a few, as there are
    cores). FcnError for less than 0 or too many."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    net.to(device)
    if channels_last:
        for parameter in net.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    net.channels_last = channels_last
    device = torch.device(device)
    net.state.gpu = device if device.type == 'cuda' else None
    if workers is not None:
        net.state.workers = check_workers(workers)
    return net


def macs(net):
    """Multiply-adds of one forward pass at the current shapes, of Convolution and InnerProduct
    (what else there is does not count beside them)."""
    total = 0
    for node in net.graph.nodes:
        if node.type in ('Convolution', 'InnerProduct'):
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
