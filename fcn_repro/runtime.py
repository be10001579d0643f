"""How a net runs: device and memory format. Nothing here changes what it computes."""

import torch

from .errors import FcnError


def pick_device(name=None):
    """A torch device: `name`, or the GPU where there is one."""
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    device = torch.device(name)
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise FcnError(f"device '{name}' is not there: this torch sees no GPU",
                       do='Use --device cpu, or a torch with CUDA.')
    return device


def place(net, device='cpu', channels_last=True):
    """Move a net to a device, its filters to channels-last; float32 stays float32 (TF32 off)."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    net.to(device)
    if channels_last:
        for parameter in net.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    net.channels_last = channels_last
    return net
