"""Bilinear taps by Caffe's two rules, and the proof that a weight is made of 1-D taps."""

from pathlib import Path

import h5py
import pytest
import torch
from goldens import DATA

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.passes import DEFAULT

DENSE = ['deconv_crop_k4s2_off1_2', 'deconv_crop_k32s16_off27', 'deconv_crop_k64s32_off19_dense',
         'deconv_crop_pad', 'deconv_crop_grouped_bias', 'deconv_k16s8_dense', 'deconv_group2']


def test_taps_of_caffe():
    """The filler's own output, and the release's rule where both agree and where they do not."""
    with h5py.File(DATA / 'fillers' / 'deterministic.h5') as file:
        kernels = {name: torch.from_numpy(array[0, 0]) for name, array in file['bilinear'].items()}
    assert len(kernels) > 3
    for kernel in kernels.values():
        filler, surgery = (ops.bilinear_taps(len(kernel), rule) for rule in ('filler', 'surgery'))
        assert torch.equal(torch.outer(filler, filler).float(), kernel)
        assert torch.allclose(filler, surgery, atol=1e-7)
    same = {k for k in range(1, 65) if torch.equal(ops.bilinear_taps(k), ops.bilinear_taps(
        k, 'filler'))}
    assert same == {1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64}
    assert ops.bilinear_taps(4).tolist() == [0.25, 0.75, 0.75, 0.25]
    assert ops.bilinear_taps(3).tolist() == [0.5, 1, 0.5]
    for k, rule in (0, 'surgery'), (4, 'cubic'):
        with pytest.raises(FcnError, match=rf"\b{k}\b|'{rule}'"):
            ops.bilinear_taps(k, rule)


def diagonal(kernel, channels=3):
    weight = torch.zeros(channels, channels, *kernel.shape, dtype=kernel.dtype)
    weight[range(channels), range(channels)] = kernel
    return weight


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize('rule', ['surgery', 'filler'])
def test_recognise(rule, dtype):
    """Both idioms, every size up to 64, rectangles, and the taps give the kernel back."""
    for k_y, k_x in [(k, k) for k in range(1, 65)] + [(3, 5), (6, 4), (1, 64)]:
        taps = [ops.bilinear_taps(k, rule) for k in (k_y, k_x)]
        kernel = torch.outer(*taps).to(dtype)
        for weight, group in (diagonal(kernel), 1), (kernel.expand(3, 1, -1, -1), 3):
            found = ops.recognise_bilinear(weight, group)
            assert torch.equal(torch.outer(*found).to(dtype), kernel)
            assert found[0].dtype == torch.float64


def test_recognise_rejects():
    kernel = torch.outer(ops.bilinear_taps(4), ops.bilinear_taps(4)).float()
    assert ops.recognise_bilinear(diagonal(kernel)) is not None
    assert ops.recognise_bilinear(diagonal(torch.ones(2, 3) / 4)) is not None     # nearest
    bent = kernel.clone()
    bent[2, 1] = bent[2, 1].nextafter(torch.tensor(1.0))
    off, other, odd = (diagonal(kernel) for _ in range(3))
    off[0, 1, 0, 0], other[2, 2] = 1e-30, bent
    odd[1, 1, 0, 0] = torch.nan
    for weight, group in [(diagonal(bent), 1), (off, 1), (other, 1), (odd, 1),
                          (diagonal(kernel), 3), (diagonal(kernel)[:2], 1), (torch.ones(4, 4), 1),
                          (diagonal(kernel * 0), 1), (diagonal(kernel * torch.inf), 1),
                          (kernel.expand(4, 1, -1, -1), 2), (torch.zeros(0, 0, 4, 4), 1)]:
        assert ops.recognise_bilinear(weight, group) is None


@pytest.mark.parametrize('name', DENSE)
def test_recognise_leaves_learned_kernels(name):
    with h5py.File(DATA / 'layers' / f'{name}.h5') as file:
        weight = torch.from_numpy(next(iter(file['params'].values()))['0'][...])
    for group in (1, 2, weight.shape[0]):
        assert ops.recognise_bilinear(weight, group) is None


def test_a_net_made_in_inference_mode():
    """torch counts no versions of such weights: they are proven anew each time."""
    path = Path(__file__).parents[2] / 'prototxt/mini-fcn32s/deploy.prototxt'
    with torch.inference_mode():
        nets = [Net.read(path, 'TEST', passes=passes) for passes in (DEFAULT, ())]
        for value in 1, 2:
            for net in nets:
                net.params['score_fr'][1].data.fill_(1)
                net.params['upscore'][0].data.fill_(value)
            one, other = (net.forward(data=torch.zeros(1, 3, 40, 32))['score'] for net in nets)
            torch.testing.assert_close(one, other)
            assert one.any()
