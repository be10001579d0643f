"""Whole FCN nets against Caffe: every blob, every gradient, every shape, at several sizes."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from goldens import DATA, SHARED, error, sampled

from fcn_repro.net import Net
from fcn_repro.parity.ties import WatchedNet, freedom
from fcn_repro.proto import TEST

# The folder of each net: the copies of three of them, and all eight where they are.
FOLDERS = {path.parent.name: path.parent for root in (SHARED, DATA)
           for path in sorted((root / 'nets').glob('*/net.prototxt'))}
RUNS = sorted({(path.parent.name, path.name): path for root in (SHARED, DATA)
               for path in (root / 'nets').glob('*/golden_*.h5')}.items())
SHAPES = {name: cases for root in (SHARED, DATA) for path in root.glob('nets/shapes.json')
          for name, cases in json.loads(path.read_text())['nets'].items()}
ACTIVATIONS, GRADIENTS = 1e-5, 1e-4


def read(name, force=False):
    net = WatchedNet.read(FOLDERS[name] / 'net.prototxt', TEST)
    if force:
        net = WatchedNet(replace(net.graph, force_backward=True))
    net.copy_from(FOLDERS[name] / 'weights.caffemodel')
    return net


@pytest.mark.parametrize('path', [path for _, path in RUNS],
                         ids=[f'{name}-{run[7:-3]}' for (name, run), _ in RUNS])
def test_net_equals_caffe(path):
    net = read(path.parent.name, force='force' in path.stem)
    with h5py.File(path) as golden:
        net.forward(blobs='all', **{k: v[...] for k, v in golden['inputs'].items()})
        net.backward()
        for top, loss in golden.attrs.items():
            if top.startswith('loss/'):
                assert error(net.blobs[top[5:]].data, loss) <= ACTIVATIONS
        assert error(net.total_loss.detach(), golden.attrs['total_loss']) <= ACTIVATIONS
        check_activations(net, golden)
        check_param_diffs(net, golden['param_diffs'])
        check_blob_diffs(net, golden)


def check_activations(net, golden):
    if 'blobs' not in golden:
        return
    assert set(golden['blobs']) | set(golden['inputs']) == set(net.blobs)
    for name, dataset in golden['blobs'].items():
        shape, step, values = sampled(dataset)
        blob = np.asarray(net.blobs[name].data)
        assert blob.shape == shape, name
        assert error(blob.reshape(-1)[::step], values.reshape(-1)) <= ACTIVATIONS, name
        assert_sums(name, blob, dataset, ('sum', 'abs_sum'), ACTIVATIONS)


def check_param_diffs(net, golden):
    for layer, blobs in golden.items():
        assert len(blobs) == len(net.params[layer])
        for i, dataset in blobs.items():
            shape, step, values = sampled(dataset)
            diff = np.asarray(net.params[layer][int(i)].diff)
            assert diff.shape == shape, layer
            assert error(diff.reshape(-1)[::step], values.reshape(-1)) <= GRADIENTS, layer
            assert_sums(layer, diff, dataset, ('sum', 'abs_sum'), GRADIENTS)


def check_blob_diffs(net, golden):
    """Every entry: within the limit, and within what a choice among tied maxima can change. That
    choice moves a gradient along the band and leaves its sum, which must agree everywhere."""
    free, compared, exact = freedom(net), 0, 0
    for name, dataset in [*golden.get('blob_diffs', {}).items(),
                          *golden.get('input_diffs', {}).items()]:
        part = 'step' in dataset.attrs
        shape, step, values = sampled(dataset) if part else (dataset.shape, 1, dataset[...])
        diff, values = np.asarray(net.blobs[name].diff), values.reshape(-1)
        assert diff.shape == shape, name
        room = np.asarray(free.get(net.graph.first(name), torch.zeros(shape))).reshape(-1)[::step]
        limit = GRADIENTS * np.abs(values).max(initial=0)
        assert (np.abs(diff.reshape(-1)[::step] - values) <= limit + room).all(), name
        if part:
            determined = net.graph.first(name) not in free
            sums = ('sum', 'abs_sum') if determined else ('sum',)
            assert_sums(name, diff, dataset, sums, GRADIENTS)
        print(f'{name}: {(room <= limit).sum()} of {room.size} entries are determined')
        compared, exact = compared + room.size, exact + (room <= limit).sum()
    if 'blob_diffs' in golden:
        assert exact >= 0.5 * compared, f'{exact} of {compared} entries are determined'
    check_above_the_last_pooling(net, free)


def check_above_the_last_pooling(net, free):
    """No tie reaches these gradients; a ReLU's input may still be 0 up to rounding."""
    last = max(i for i, node in enumerate(net.graph.nodes) if node.type == 'Pooling')
    for v in (v for node in net.graph.nodes[last + 1:] for v in node.tops if v in free):
        assert (free[v] > 0).sum() <= 1e-2 * free[v].numel(), net.graph.values[v]


def assert_sums(name, ours, dataset, sums, limit):
    """The sums over a whole array that is stored in part."""
    for attr in sums:
        values = np.abs(ours) if attr == 'abs_sum' else ours
        gap = abs(float(values.sum(dtype=np.float64)) - dataset.attrs[attr])
        assert gap <= limit * dataset.attrs['abs_sum'] + 1e-30, f'{attr} of {name}'


@pytest.mark.parametrize('name', FOLDERS)
def test_shapes_equal_caffes(name):
    net = Net.read(FOLDERS[name] / 'net.prototxt', TEST)
    for case in SHAPES[name]:
        shapes, _ = net.infer_shapes({net.graph.first(blob): tuple(case['blobs'][blob])
                               for blob in net.graph.inputs})
        for blob, shape in case['blobs'].items():
            assert shapes[net.graph.first(blob)] == tuple(shape), (case['input'], blob)
            assert shapes[net.graph.last(blob)] == tuple(shape), (case['input'], blob)
        assert {blob for blob in net.blobs if '_split_' not in blob} == set(case['blobs'])


@pytest.mark.parametrize('name', [name for name in FOLDERS
                                  if (FOLDERS[name] / 'weights.caffemodel.h5').exists()])
def test_both_weight_files_hold_the_same(name):
    binary = read(name)
    hdf5 = Net.read(FOLDERS[name] / 'net.prototxt', TEST)
    hdf5.copy_from(FOLDERS[name] / 'weights.caffemodel.h5')
    for layer, blobs in binary.params.items():
        for ours, its in zip(blobs, hdf5.params[layer], strict=True):
            assert torch.equal(ours.data, its.data), layer


def test_a_wrong_gradient_is_seen():
    """The comparison of blob diffs has teeth: it fails when a gradient outside ties is wrong."""
    net = read('fcn32s')
    with h5py.File(FOLDERS['fcn32s'] / 'golden_1x3x64x64.h5') as golden:
        net.forward(blobs='all', **{k: v[...] for k, v in golden['inputs'].items()})
        net.backward()
        check_blob_diffs(net, golden)
        net.blobs['conv5_3'].diff[...] *= 1.001
        with pytest.raises(AssertionError, match='conv5_3'):
            check_blob_diffs(net, golden)
