"""Times of nets at full width with random weights, which take as long as trained ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike
from statistics import mean

import torch

from ..net.net import Net
from ..net.placement import hardware, pick_device, place
from ..passes import DEFAULT
from ..proto import TEST
from ..recipe.provenance import commit
from .experiment import SHORT

SIZE = 500, 500         # of the paper's image
TRIALS = {'cuda': 20, 'cpu': 5}         # the paper's number on a GPU


def random_net(path: str | PathLike, device: torch.device, **shape: tuple[int, ...]) -> Net:
    """A net of a prototxt file with small random weights, on a device."""
    net = Net.read(path, TEST, passes=DEFAULT)
    generator = torch.Generator().manual_seed(0)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data.normal_(0, 0.01, generator=generator)
    return place(net, device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call: the mean of several, after one that does not count."""
    def timed() -> float:
        start = time.perf_counter()
        work()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        return time.perf_counter() - start
    timed()
    return mean(timed() for _ in range(TRIALS.get(device.type, 5)))


def forward_seconds(path: str | PathLike, device: torch.device,
                    size: tuple[int, int] = SIZE) -> float:
    """Seconds of a forward pass of a deploy net from one image of this size to its scores."""
    net = random_net(path, device)
    image = torch.zeros(1, 3, *size).normal_(0, 50, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        image = image.to(device)
        return seconds_of(lambda: net(data=image)['score'], device)


def facts(device: torch.device) -> tuple[tuple[str, str], ...]:
    """What a time was measured on."""
    return (('weights', 'random'), ('commit', commit()[:SHORT]), ('hardware', hardware(device)),
            ('trials', str(TRIALS.get(device.type, 5))))


def devices(name: str | None) -> list[torch.device]:
    """The device that is asked for; None: the CPU, and the GPU where there is one."""
    if name is not None:
        return [pick_device(name)]
    return [torch.device('cpu')] + [torch.device('cuda')] * torch.cuda.is_available()
