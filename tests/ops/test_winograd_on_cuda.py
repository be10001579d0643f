"""Winograd's convolution with a GPU's own products; the kernels run on the host in
test_cuda_winograd.py."""

import pytest
import torch
from conv_ops import LAST, agree, exact, example, gradients, top_of
from test_winograd import RUN, SAMPLES, TOLERANCE, by_winograd

from fcn_repro.net.precision import tf32
from fcn_repro.ops import conv3x3, conv3x3_ref


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('shape, outputs, pad', [
    *SAMPLES, ((1, 64, 134, 131), 128, (1, 1)), ((1, 16, 1000, 1003), 32, (1, 1))])
def test_on_a_gpu(shape, outputs, pad):
    """With the products of cuBLAS and the direct sums of cuDNN, one result in every run."""
    tensors = example(shape, outputs)
    wanted = gradients(conv3x3_ref, exact(tensors), pad)
    on_gpu = [t.detach().cuda().requires_grad_() for t in tensors]
    with tf32(False):
        y, *rest = gradients(conv3x3, on_gpu, pad)
        runs = [[by_winograd(*on_gpu, pad), RUN.conv3x3_input(top_of(y), on_gpu[1].detach(), pad)]
                for _ in range(2)]
    agree([t.cpu() for t in (y, *rest, runs[0][0])], [*wanted, wanted[0]], 2 * TOLERANCE)
    assert torch.equal(runs[0][1], rest[0]) and all(map(torch.equal, *runs))
    assert all(t.is_contiguous(memory_format=LAST) for t in (y, *rest[:2], *runs[0]))
