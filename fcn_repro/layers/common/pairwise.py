"""The Gaussian kernels of a fully connected CRF between the pixels of an image (Kraehenbuehl and
Koltun 2011, equation 3), each normalised at every pixel."""

from typing import NamedTuple

import torch
from torch import Tensor

from ... import ops


class Pairwise(NamedTuple):
    """A kernel of some pixels: their lattice, and one over the sum of the weights at each (n,)."""
    lattice: ops.Lattice
    norm: Tensor

    def weighed(self, weight: float) -> ops.Kernel:
        """The kernel with its weight, for ops.mean_field."""
        return ops.Kernel(self.lattice, weight * self.norm)

    def filter(self, values: Tensor) -> Tensor:
        """What the pixels get of values (n, C)."""
        return self.norm[:, None].to(values) * ops.lattice_filter(values, self.lattice)

    def adjoint(self, grad: Tensor) -> Tensor:
        """The adjoint of filter."""
        return ops.lattice_filter(self.norm[:, None].to(grad) * grad, self.lattice, reverse=True)


def places(height: int, width: int, deviation: float) -> Tensor:
    """(height * width, 2) float32: x and y of each pixel in standard deviations."""
    y, x = torch.meshgrid(torch.arange(height, dtype=torch.float32),
                          torch.arange(width, dtype=torch.float32), indexing='ij')
    return torch.stack([x, y], 2).reshape(-1, 2) / deviation


def by_place(height: int, width: int, deviation: float) -> Pairwise:
    """The kernel that smooths: near pixels, `deviation` in pixels."""
    return normalised(places(height, width, deviation))


def by_colour(image: Tensor, place: float, colour: float) -> Pairwise:
    """The kernel of appearance: near pixels of like colour. image: (3, H, W), in any order of
    channels and with any mean subtracted; place in pixels, colour in its values."""
    values = image.detach().cpu().float().reshape(3, -1).T / colour
    return normalised(torch.cat([places(*image.shape[1:], place), values], 1))


def normalised(points: Tensor) -> Pairwise:
    on = ops.lattice(points)
    return Pairwise(on, 1 / (ops.lattice_filter(torch.ones(len(points), 1), on)[:, 0] + 1e-20))
