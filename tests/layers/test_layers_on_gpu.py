"""Every layer type on a GPU, forward and backward: what it computes on the CPU, and nothing left
there. tests/parity/test_emulated_gpu.py runs this where there is no GPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import CASES

from fcn_repro.proto import TEST, TRAIN

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='torch sees no GPU')
# they draw random numbers, others on each device
DRAWN = {'Dropout', 'InterpLoss', 'SoftmaxWithLoss', 'UpCropLoss'}
# nothing to compute: the caller's data, and constants that the net places
PLACED = {'DummyData', 'Input'}


def passes(case, phase, device):
    """The tops of a case, and the gradients of their sums for bottoms and weights, on a device."""
    layer = case.layer(phase)
    bottoms = [x.to(device).requires_grad_(i in case.learn) for i, x in enumerate(case.bottoms)]
    weights = [x.to(device).requires_grad_() for x in case.weights(layer)]
    tops = layer.forward(bottoms, weights)
    learned = [top.sum() for top in tops if top.requires_grad]
    if learned:
        torch.autograd.backward(learned)
    return tops, [x.grad for x in bottoms + weights]


@pytest.mark.parametrize('type', sorted(set(CASES) - PLACED))
@settings(max_examples=8)
@given(st.data(), st.sampled_from([TRAIN, TEST]))
def test_a_layer_on_a_gpu(type, data, phase):
    case = data.draw(CASES[type])
    case.bottoms = [x.detach() for x in case.bottoms]
    tops, grads = passes(case, phase, 'cuda')
    assert all(x.device.type == 'cuda' for x in [*tops, *grads] if x is not None)
    others, slopes = passes(case, phase, 'cpu')
    for found, wanted in zip([*tops, *grads], [*others, *slopes], strict=True):
        assert (found is None) == (wanted is None)
        if found is not None and type in DRAWN:
            assert found.shape == wanted.shape and found.dtype == wanted.dtype
        elif found is not None:
            torch.testing.assert_close(found.detach().cpu(), wanted.detach(), rtol=1e-9,
                                       atol=1e-9, equal_nan=True)
