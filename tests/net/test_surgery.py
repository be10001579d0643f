"""Net surgery: the values that the release's functions gave, then what must fail."""

import h5py
import numpy as np
import pytest
import torch
from goldens import DATA

from fcn_repro.errors import FcnError
from fcn_repro.net.surgery import (
    expand_input,
    expand_score,
    interp,
    rarefy,
    transplant,
    upsample_filt,
)

FILES = DATA / 'surgery'


def tensor(dataset):
    return torch.from_numpy(dataset[()])


def params_of(group):
    return {name: [tensor(layer[i]) for i in sorted(layer)] for name, layer in group.items()}


def zeros_like(params):
    return {name: [torch.zeros_like(b) for b in blobs] for name, blobs in params.items()}


def test_interp_as_the_release():
    with h5py.File(FILES / 'golden_interp_expand.h5') as file:
        cases = [name.removeprefix('before') for name in file['interp'] if 'before' in name]
        params = {case: [tensor(file['interp']['before' + case])] for case in cases}
        interp(params, cases)
        for case in cases:
            np.testing.assert_array_equal(params[case][0], file['interp']['after' + case][()])


def test_expand_score_as_the_release_meant():
    with h5py.File(FILES / 'golden_interp_expand.h5') as file:
        golden = file['expand_score']
        old = {'score': [tensor(golden['old_weight']), tensor(golden['old_bias'])]}
        new = {'score59': [tensor(golden['new_weight_before']), tensor(golden['new_bias_before'])]}
        expand_score(new, 'score59', old, 'score')
        np.testing.assert_array_equal(new['score59'][0], golden['new_weight_after'][()])
        np.testing.assert_array_equal(new['score59'][1], golden['new_bias_after'][()])


def test_a_fourth_input_channel():
    with h5py.File(FILES / 'golden_interp_expand.h5') as file:
        golden = file['four_channel']
        old = {'conv1_1': [tensor(golden['conv1_1']), torch.arange(6.)]}
        new = {'conv1_1_bgrd': [torch.zeros(6, 4, 3, 3), torch.zeros(6)]}
        expand_input(new, 'conv1_1_bgrd', old, 'conv1_1')
        ours = new['conv1_1_bgrd'][0]
        np.testing.assert_allclose(ours, golden['conv1_1_bgrd'][()], rtol=1e-6, atol=1e-7)
        assert torch.equal(new['conv1_1_bgrd'][1], old['conv1_1'][1])


def test_fully_connected_to_convolution():
    with h5py.File(FILES / 'golden_fc_to_conv.h5') as file:
        old, golden = params_of(file['fc/params']), params_of(file['fullconv/params'])
    new = zeros_like(golden)
    rows = transplant(new, old, suffix='-conv')
    assert [(r.layer, r.action) for r in rows] == [
        ('fc6-conv', 'cast'), ('fc7-conv', 'cast'), ('conv1-conv', 'ignored')]
    rows = transplant(new, old)
    assert [(r.layer, r.action) for r in rows] == [
        ('conv1', 'copied'), ('fc6-conv', 'left at filler'), ('fc7-conv', 'left at filler'),
        ('fc6', 'ignored'), ('fc7', 'ignored')]
    for name in golden:
        assert all(torch.equal(a, b) for a, b in zip(new[name], golden[name], strict=True))


@pytest.mark.parametrize('shape', [(4, 17), (18, 4), (2, 36), (4, 18, 1, 1), (4, 2, 9)])
def test_transplant_does_not_coerce(shape):
    new = {'a': [torch.zeros(2)], 'fc': [torch.zeros(4, 2, 3, 3)]}
    with pytest.raises(FcnError, match='has shape') as error:
        transplant(new, {'a': [torch.ones(2)], 'fc': [torch.ones(shape)]})
    assert str(shape) in error.value.what and '(4, 2, 3, 3)' in error.value.what
    assert not new['a'][0].any()


def test_transplant_needs_all_blobs_and_a_match():
    new = {'a': [torch.zeros(2), torch.zeros(1)]}
    with pytest.raises(FcnError, match=r'1 blobs .* 2 in the net'):
        transplant(new, {'a': [torch.ones(2)]})
    with pytest.raises(FcnError, match='no layer matches'):
        transplant(new, {'b': [torch.ones(2)]})


@pytest.mark.parametrize('size', range(1, 20))
def test_upsample_filt_adds_up(size):
    """Laid out at its stride, an even kernel weighs every output pixel by 1 in all."""
    kernel = upsample_filt(size)
    assert kernel.shape == (size, size) and (kernel > 0).all()
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1].T)
    factor = (size + 1) // 2
    if size % 2 == 0:
        np.testing.assert_allclose(kernel.reshape(2, factor, 2, factor).sum((0, 2)), 1)


@pytest.mark.parametrize('shape', [(3, 2, 4, 4), (3, 3, 4, 5), (3, 3), (1, 3, 4, 4)])
def test_interp_rejects(shape):
    params = {'up': [torch.zeros(3, 3, 4, 4)], 'bad': [torch.zeros(shape)]}
    with pytest.raises(FcnError, match='needs') as error:
        interp(params, ['up', 'bad'])
    assert error.value.layer == 'bad' and str(shape) in error.value.what
    assert not params['up'][0].any()
    with pytest.raises(FcnError, match=r'no such layer.*Use one of up, bad'):
        interp(params, ['upscore'])


def test_expanding_rejects():
    old = {'s': [torch.ones(4, 6, 1, 1), torch.ones(4)]}
    for weight, bias, text in [((3, 6, 1, 1), (3,), r'shape \(3, 6, 1, 1\)'),
                               ((5, 7, 1, 1), (5,), r"'s' has \(4, 6, 1, 1\)"),
                               ((5, 6, 1, 1), (3,), r'shape \(3,\)')]:
        new = {'n': [torch.zeros(weight), torch.zeros(bias)]}
        with pytest.raises(FcnError, match=text):
            expand_score(new, 'n', old, 's')
        assert not new['n'][0].any()
    with pytest.raises(FcnError, match='has 1 blobs'):
        expand_score({'n': [torch.zeros(5, 6, 1, 1)]}, 'n', old, 's')
    for weight, bias in [((4, 6, 1, 1), (4,)), ((5, 7, 1, 1), (5,)), ((4, 7, 1, 1), (5,))]:
        with pytest.raises(FcnError, match='needs more inputs'):
            expand_input({'n': [torch.zeros(weight), torch.zeros(bias)]}, 'n', old, 's')


def test_rarefy_needs_twice_the_kernel():
    old = {'fc6': [torch.ones(4, 2, 3, 3), torch.arange(4.)]}
    for side in 5, 6:
        new = {'fc6': [torch.full((4, 2, side, side), 7.), torch.zeros(4)]}
        rarefy(new, 'fc6', old, 'fc6')
        assert new['fc6'][0].sum() == 4 * 2 * 9 and torch.equal(new['fc6'][1], old['fc6'][1])
        assert new['fc6'][0][:, :, 1::2].abs().sum() == 0
    for shape in (4, 2, 7, 7), (4, 3, 6, 6), (5, 2, 6, 6):
        new = {'fc6': [torch.zeros(shape), torch.zeros(shape[0])]}
        with pytest.raises(FcnError, match='2k or 2k - 1'):
            rarefy(new, 'fc6', old, 'fc6')
