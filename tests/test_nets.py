"""Whole FCN nets against Caffe: every blob, every gradient, every shape, at several sizes."""

import json

import h5py
import numpy as np
import pytest
from goldens import SHARED, error, sampled

from fcn_repro.net import Net
from fcn_repro.proto import TEST

NETS = sorted(path.parent.name for path in (SHARED / 'nets').glob('*/net.prototxt'))
RUNS = sorted((path.parent.name, path.name) for path in (SHARED / 'nets').glob('*/golden_*.h5'))


def compare(group, ours, limit):
    for name, dataset in group.items():
        if isinstance(dataset, h5py.Group):
            compare(dataset, lambda i, name=name: ours(name)[int(i)].diff, limit)
            continue
        shape, step, values = sampled(dataset)
        blob = np.asarray(ours(name))
        assert blob.shape == shape, name
        assert error(blob.reshape(-1)[::step], values.reshape(-1)) <= limit, name
        total = float(np.abs(blob, dtype=np.float64).sum())
        assert abs(total - dataset.attrs['abs_sum']) <= limit * max(dataset.attrs['abs_sum'], 1e-30)


@pytest.mark.parametrize('name, run', RUNS)
def test_net_equals_caffe(name, run):
    folder = SHARED / 'nets' / name
    net = Net.read(folder / 'net.prototxt', TEST)
    if run.endswith('_force.h5'):
        net = forced(folder / 'net.prototxt')
    net.copy_from(folder / ('weights.caffemodel' if '64x64' in run else 'weights.caffemodel.h5'))
    with h5py.File(folder / run) as golden:
        net.forward(blobs='all', **{k: v[...] for k, v in golden['inputs'].items()})
        net.backward()
        if 'blobs' in golden:
            compare(golden['blobs'], lambda blob: net.blobs[blob].data, 1e-5)
        for top, loss in golden.attrs.items():
            if top.startswith('loss/'):
                assert error(net.blobs[top[5:]].data, loss) <= 1e-5
        assert error(net.total_loss.detach(), golden.attrs['total_loss']) <= 1e-5
        if 'blob_diffs' in golden:
            compare(golden['blob_diffs'], lambda blob: net.blobs[blob].diff, 1e-4)
        compare(golden['param_diffs'], net.params.__getitem__, 1e-4)


def forced(path):
    import dataclasses

    from fcn_repro.graph import build
    from fcn_repro.prototxt import read_net
    return Net(dataclasses.replace(build(read_net(path), TEST), force_backward=True))
