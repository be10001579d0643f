"""Sums over all pairs of pixels, with the whole matrix of kernels, in float64: what ConvCRF and the
Gated CRF loss say, computed without their windows."""

import math

import torch


def kernel_matrix(image, kernels, radius, centre, places=None):
    """(N, H W, H W) float64: k(i, j) of each pair of pixels, 0 outside the windows."""
    count, _, height, width = image.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    cells = torch.stack([y.flatten(), x.flatten()], 1)
    steps = (cells[:, None] - cells[None]).abs()
    inside = (steps.amax(2) <= radius) & (centre | (steps.sum(2) > 0))
    rows, columns = places or (torch.arange(height), torch.arange(width))
    at = torch.stack([rows.double()[cells[:, 0]], columns.double()[cells[:, 1]]], 1)
    colours = image.double().flatten(2).mT
    total = torch.zeros(count, height * width, height * width, dtype=torch.float64)
    for weight, place, colour in kernels:
        exponent = -0.5 * ((at[:, None] - at[None]) / place).square().sum(2)
        if colour < math.inf:
            unlike = (colours[:, :, None] - colours[:, None]) / colour
            exponent = exponent - 0.5 * unlike.square().sum(3)
        total += weight * exponent.exp()
    return total * inside


def filtered(values, matrix):
    """(N, C, H, W) of values (N, C, H, W)."""
    return (values.double().flatten(2) @ matrix.mT).reshape(values.shape)


def block_means(size, blur):
    """(cells, size): the means that blur an axis, the padding shared by both ends."""
    before = (-size % blur + 1) // 2
    cells = -(-size // blur)
    block = (torch.arange(size) + before) // blur
    inside = (block[None] == torch.arange(cells)[:, None]).double()
    return inside / inside.sum(1, keepdim=True)


def widening(size, blur, aligned):
    """(size, cells): bilinear resizing of the means by blur, cut to the axis."""
    before, cells = (-size % blur + 1) // 2, -(-size // blur)
    matrix = torch.zeros(cells * blur, cells, dtype=torch.float64)
    for i in range(cells * blur):
        at = i * (cells - 1) / max(1, cells * blur - 1) if aligned else (i + 0.5) / blur - 0.5
        at = min(max(at, 0), cells - 1)
        low = int(at)
        matrix[i, low] += 1 - (at - low)
        matrix[i, min(low + 1, cells - 1)] += at - low
    return matrix[before:before + size]


def mean_field(scores, image, weight, kernels, radius, blur, iterations, aligned=True):
    """What LocalMeanField computes."""
    sizes = scores.shape[2:]
    down, across = (block_means(size, blur) for size in sizes)
    up = [widening(size, blur, aligned) for size in sizes]
    places = [mean @ torch.arange(size).double()
              for mean, size in zip((down, across), sizes, strict=True)]
    matrix = kernel_matrix(down @ image.double() @ across.mT, kernels, radius, True, places)
    unary = q = scores.double().log_softmax(1)
    w = weight.double()[:, None, None]
    for i in range(iterations):
        message = filtered(down @ (q.softmax(1) if i else q) @ across.mT, matrix)
        q = (1 - w) * unary + w * (up[0] @ message @ up[1].mT)
    return q


def gated_crf(p, image, kernels, radius, mask=None):
    """What GatedCRFLoss computes, for images and masks of p's size."""
    matrix = kernel_matrix(image, kernels, radius, False)
    rows = p.double().flatten(2)
    unlike = 1 - rows.mT @ rows
    mask = torch.ones(len(p), rows.shape[2], dtype=torch.float64) if mask is None \
        else mask.double().flatten(1)
    return (mask[:, None] * matrix * unlike).sum() / mask.sum().clamp(min=1)
