"""Whole FCN nets against Caffe: every blob, every gradient, every shape, at several sizes."""

import pytest
import torch
from goldens import NETS, SIZES, find, params

from fcn_repro.net import Net
from fcn_repro.parity import Comparison, Limits
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.fixtures.shapes import check_shapes
from fcn_repro.parity.golden import read_golden
from fcn_repro.parity.nets import compare_blob_diffs, compare_net, run_net
from fcn_repro.parity.ties import freedom
from fcn_repro.proto import TEST

RUNS = params([f'{name}/golden_{size}.h5' for name in NETS for size in SIZES], folder='nets')


def weights_of(path):
    return path.with_name('weights.caffemodel')


@pytest.mark.parametrize('path', RUNS)
def test_net_equals_caffe(path):
    """Every array of the golden, as check_goldens compares it. Most gradients must be determined:
    at least half of their entries, and nearly all above the last pooling layer."""
    golden, comparison = read_golden(path), Comparison(path.stem)
    net = run_net(path, golden, weights_of(path))
    compare_net(comparison, net, golden, Limits())
    assert comparison.verdict == OK, comparison.departing
    free = freedom(net)
    if 'blob_diffs' in golden:
        assert determined_share(net, golden, free) >= 0.5
    check_above_the_last_pooling(net, free)


def determined_share(net, golden, free):
    """The part of the stored entries of blob diffs whose freedom is within their limit."""
    determined = total = 0
    for name, array in golden.blobs('blob_diffs').items():
        bound = free.get(net.graph.first(name), torch.zeros(array.shape)).numpy()
        limit = Limits().gradients * abs(array.values).max(initial=0)
        determined += (array.sample(bound) <= limit).sum()
        total += array.values.size
    return determined / total


def check_above_the_last_pooling(net, free):
    """No tie reaches these gradients; a ReLU's input may still be 0 up to rounding."""
    last = max(i for i, node in enumerate(net.graph.nodes) if node.type == 'Pooling')
    above = [v for node in net.graph.nodes[last + 1:] for v in node.tops]
    assert above
    for v in (v for v in above if v in free):
        assert (free[v] > 0).sum() <= 1e-2 * free[v].numel(), net.graph.values[v]


@pytest.mark.parametrize('path', params(NETS, 'net.prototxt', 'nets'))
def test_shapes_equal_caffes(path):
    comparison = Comparison(path.parent.name)
    check_shapes(comparison, path.parents[1] / 'shapes.json', path.parent.name, Limits())
    assert comparison.verdict == OK, comparison.departing


@pytest.mark.parametrize('path', params(NETS, 'weights.caffemodel.h5', 'nets'))
def test_both_weight_files_hold_the_same(path):
    binary, hdf5 = (Net.read(path.with_name('net.prototxt'), TEST) for _ in range(2))
    binary.copy_from(weights_of(path))
    hdf5.copy_from(path)
    assert len(list(binary.parameters())) > 10
    for layer, blobs in binary.params.items():
        for ours, other in zip(blobs, hdf5.params[layer], strict=True):
            assert torch.equal(ours.data, other.data), layer


def test_a_wrong_gradient_is_seen():
    """The comparison of blob diffs fails when a gradient outside ties is wrong by 1e-3."""
    path = find('nets/fcn32s/golden_1x3x64x64.h5')
    golden, before, after = read_golden(path), Comparison('before'), Comparison('after')
    net = run_net(path, golden, weights_of(path))
    compare_blob_diffs(before, net, golden, Limits().gradients)
    assert before.verdict == OK, before.departing
    net.blobs['conv5_3'].diff[...] *= 1.001
    compare_blob_diffs(after, net, golden, Limits().gradients)
    assert [gap.what for gap in after.departing] == ['blob_diffs/conv5_3']
