"""Concat's top is in channels-last where a bottom is, in training and without gradients."""

import pytest
import torch
from layer_case import make_node

from fcn_repro.layers import ExecutionOptions, RunState
from fcn_repro.layers.concat import Concat
from fcn_repro.proto import TRAIN

LAST = torch.channels_last


@pytest.mark.parametrize('learning', [False, True])
@pytest.mark.parametrize('gemm', [False, True])
def test_format(learning, gemm):
    layer = Concat(make_node('Concat', 2, 1, {}), RunState(TRAIN, options=ExecutionOptions(
        gemm=gemm)))
    draw = torch.Generator().manual_seed(0)
    whole, mixed = (torch.randn(2, 3, 4, 5, generator=draw) for _ in range(2))
    with torch.set_grad_enabled(learning):
        bottoms = [whole.contiguous(memory_format=LAST).requires_grad_(learning), mixed]
        top, = layer.forward(bottoms, [])
        assert torch.equal(top, torch.cat([whole, mixed], 1))
        assert top.is_contiguous(memory_format=LAST) == gemm
        assert layer.forward([whole, mixed], [])[0].is_contiguous()
    if learning:
        found, = torch.autograd.grad(top.square().sum(), bottoms[0])
        assert torch.equal(found, 2 * whole)
