"""Fillers: Caffe's arrays, the statistics of Caffe's draws, properties, bad input."""

import json
import math
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from goldens import DATA
from hypothesis import given
from hypothesis import strategies as st

from fcn_repro.errors import FcnError
from fcn_repro.fillers import FILLERS, fill
from fcn_repro.net.surgery import upsample_filt
from fcn_repro.proto.dialects import find_dialect

FILES = DATA / 'fillers'
NORMS = {None: 0, 'FAN_IN': 0, 'FAN_OUT': 1, 'AVERAGE': 2}


def parameter(type='constant', **values):
    """A FillerParameter with the defaults of caffe.proto."""
    return SimpleNamespace(**{'type': type, 'value': 0., 'min': 0., 'max': 1., 'mean': 0.,
                              'std': 1., 'sparse': -1, 'variance_norm': 0} | values)


def draw(shape, filler, seed=1):
    return fill(shape, filler, torch.Generator().manual_seed(seed))


def test_deterministic_fillers():
    with h5py.File(FILES / 'deterministic.h5') as golden:
        for blob in golden['bilinear'].values():
            np.testing.assert_array_equal(draw(blob.shape, parameter('bilinear')), blob[()])
        for blob in golden['default'].values():
            np.testing.assert_array_equal(draw(blob.shape, parameter()), blob[()])
        for blob in golden['constant'].values():
            value = float(blob[()].ravel()[0])
            np.testing.assert_array_equal(draw(blob.shape, parameter(value=value)), blob[()])


def as_parameter(stat):
    """The filler of one entry: a bare type, or fields in text format."""
    if ':' not in stat['filler']:
        return parameter(stat['filler'], variance_norm=NORMS[stat.get('variance_norm')])
    words = stat['filler'].replace(':', '').split()
    return parameter(**{k: json.loads(v) for k, v in zip(words[::2], words[1::2], strict=True)})


@pytest.mark.parametrize('stat', json.loads((FILES / 'random_stats.json').read_text())['stats'],
                         ids=lambda s: f"{s['filler']}-{s.get('variance_norm')}-{s['layer']}")
def test_random_fillers_are_distributed_as_caffes(stat):
    ours = draw(stat['shape'], as_parameter(stat)).double()
    spread = stat['std'] / math.sqrt(ours.numel())
    assert ours.mean() == pytest.approx(stat['mean'], abs=8 * spread)    # two draws, 5.6 sigma each
    assert ours.std() == pytest.approx(stat['std'], rel=0.03)
    width = stat['max'] - stat['min']
    loose = 0.01 if stat['filler'].startswith(('xavier', 'type: "uniform')) else 0.15
    assert ours.min() == pytest.approx(stat['min'], abs=loose * width)
    assert ours.max() == pytest.approx(stat['max'], abs=loose * width)
    if 'zero_fraction' in stat:
        assert (ours == 0).double().mean() == pytest.approx(stat['zero_fraction'], abs=0.005)
    if 'row_sums_min' in stat:
        assert (ours.sum(1) - 1).abs().max() < 1e-6 and ours.min() >= 0


@given(size=st.integers(1, 70))
def test_bilinear_is_surgerys_kernel(size):
    ours = draw((2, 3, size, size), parameter('bilinear'))
    assert np.abs(ours.numpy() - upsample_filt(size)).max() < 1e-6


@given(size=st.integers(1, 70))
def test_bilinear_kernels_are_those_of_their_sources_to_the_bit(size):
    """filler.hpp in float32, surgery.py in float64: the same formula, rounded elsewhere."""
    half, i = math.ceil(size / 2), np.arange(size)
    center = np.float32((size - 1) / (2 * half))
    single = 1 - np.abs(i.astype(np.float32) / np.float32(half) - center)
    assert single.dtype == np.float32
    ours = draw((1, 2, size, size), parameter('bilinear')).numpy()
    assert np.array_equal(ours, np.broadcast_to(single[:, None] * single, ours.shape))
    double = 1 - abs(i - (half - 1 if size % 2 else half - 0.5)) / half
    assert np.array_equal(upsample_filt(size), double[:, None] * double)


@given(type=st.sampled_from(sorted(FILLERS)), seed=st.integers(0, 2**31),
       shape=st.sampled_from([(3, 2, 4, 4), (1, 1, 1, 1), (5, 1, 2, 2)]))
def test_a_draw_is_a_function_of_its_seed(type, seed, shape):
    a, b = (draw(shape, parameter(type), seed) for _ in range(2))
    assert torch.equal(a, b) and a.dtype == torch.float32 and a.shape == shape


def test_fan_out_of_a_single_axis_is_its_count():
    values = draw((10000,), parameter('xavier', variance_norm=1))
    assert 0.99 < values.abs().max() / math.sqrt(3 / 10000) <= 1


@pytest.mark.parametrize('shape, filler, text', [
    ((2, 2), parameter('xaver'), "unknown filler 'xaver'. Use one of constant, uniform"),
    ((2, 0), parameter(), r'shape \(2, 0\) is empty'),
    ((2, 2), parameter('xavier', sparse=3), 'sparse is 3, but only gaussian'),
    ((2, 2), parameter('gaussian', sparse=3), 'sparse is 3, it must be in 0 to 2'),
    ((), parameter('gaussian', sparse=0), 'sparse is 0, and the parameter has no axes'),
    ((2, 2), parameter('gaussian', sparse=-2), 'sparse is -2'),
    ((2, 2), parameter('gaussian', std=0.), 'std is 0.0'),
    ((2, 2), parameter('uniform', min=2.), 'min 2.0 is above max 1.0'),
    ((2, 2), parameter('bilinear'), r'the shape \(2, 2\)'),
    ((2, 2, 3, 4), parameter('bilinear'), r'the shape \(2, 2, 3, 4\)'),
    ((), parameter('msra'), 'has no axes'),
])
def test_what_is_rejected(shape, filler, text):
    with pytest.raises(FcnError, match=text):
        draw(shape, filler)


# ---- the filler of Dilation's fork ---------------------------------------------------------------

def identity_of(shape, groups=None, std=None, value=None):
    """A FillerParameter of the dialect."""
    fields = {'num_groups': groups, 'std': std, 'value': value}
    return find_dialect('dilation')['FillerParameter'](
        type='identity', **{name: each for name, each in fields.items() if each is not None})


@pytest.mark.parametrize('shape, groups', [((6, 3, 3, 3), 3), ((12, 6, 3, 3), 3), ((3, 3, 1, 1), 3),
                                           ((4, 4, 5, 3), None), ((3, 12, 3, 3), 3)])
def test_identity_is_the_mean_of_each_group(shape, groups):
    """In the middle of the kernel, between an output and an input of the same group; by loops."""
    out = draw(shape, identity_of(shape, groups))
    count = groups or shape[1]
    for i in range(shape[0]):
        for j in range(shape[1]):
            expected = torch.zeros(shape[2:])
            if i // (shape[0] // count) == j // (shape[1] // count):
                expected[shape[2] // 2, shape[3] // 2] = count / shape[0]
            assert torch.equal(out[i, j], expected), (i, j)


def test_identity_with_noise_and_a_factor():
    shape = 6, 3, 3, 3
    plain, noisy = draw(shape, identity_of(shape, 3)), draw(shape, identity_of(shape, 3, 0.01))
    kept = plain != 0
    assert torch.equal(noisy[kept], plain[kept])
    assert 0.008 < noisy[~kept].std() < 0.012
    assert torch.equal(draw(shape, identity_of(shape, 3, value=4)), 4 * plain)


@pytest.mark.parametrize('shape, groups, words', [
    ((6, 3), 3, 'is not'), ((6, 3, 3, 3), 4, '4 groups of 6 outputs'),
    ((2, 3, 3, 3), 3, '3 groups of 2'), ((2, 3, 3, 3), 0, '0 groups')])
def test_bad_identities(shape, groups, words):
    with pytest.raises(FcnError, match=words):
        draw(shape, identity_of(shape, groups))


def test_identity_is_dilations_alone():
    with pytest.raises(FcnError, match=r"unknown filler 'identity'.*msra, bilinear\.$"):
        draw((3, 3, 1, 1), parameter('identity'))
    wrong = find_dialect('dilation')['FillerParameter'](type='xavier', num_groups=3)
    with pytest.raises(FcnError, match='num_groups is for identity alone'):
        draw((3, 3, 1, 1), wrong)
