"""Every layer type against Caffe: forward and backward of each golden case, and its algebra."""

import re
from pathlib import Path

import h5py
import pytest
import torch
from goldens import DATA, error

from fcn_repro.layers import TYPES
from fcn_repro.net import Net
from fcn_repro.proto import TEST, TRAIN

CASES = sorted(path.stem for path in (DATA / 'layers').glob('*.prototxt'))
LIMIT = 1e-5
PHASES = {'TRAIN': TRAIN, 'TEST': TEST}


def read(case):
    golden = h5py.File(DATA / 'layers' / f'{case}.h5')
    net = Net.read(DATA / 'layers' / f'{case}.prototxt', PHASES[golden.attrs['phase']])
    for name, blobs in golden.get('params', {}).items():
        assert len(blobs) == len(net.params[name])
        for i, blob in blobs.items():
            net.params[name][int(i)].data[...] = torch.from_numpy(blob[...])
    return golden, net


def check(golden, group, ours):
    for name, blob in golden.get(group, {}).items():
        assert error(ours(name), blob[...]) <= LIMIT, f'{group}/{name}'


@pytest.mark.parametrize('case', CASES)
def test_layer_equals_caffe(case):
    golden, net = read(case)
    inputs = {name: blob[...] for name, blob in golden.get('inputs', {}).items()}
    for _ in range(int(golden.attrs['nforward'])):
        net.forward(blobs='all', **inputs)
    shapes = {name: blob.shape for name, blob in net.blobs.items()}
    for group in 'outputs', 'blobs':
        check(golden, group, lambda name: net.blobs[name].data)
    assert all(tuple(blob.data.shape) == shapes[name] for name, blob in net.blobs.items())
    if net.total_loss is not None:
        assert error(net.total_loss.detach(), golden.attrs['loss']) <= LIMIT
    if 'output_diffs' not in golden:
        return
    net.backward(**{name: blob[...] for name, blob in golden['output_diffs'].items()})
    for group in 'input_diffs', 'blob_diffs':
        check(golden, group, lambda name: net.blobs[name].diff)
    for name, blobs in golden.get('param_diffs', {}).items():
        check(golden['param_diffs'], name, lambda i, name=name: net.params[name][int(i)].diff)
        assert len(blobs) == len(net.params[name])


def test_every_registered_type_has_a_case():
    """A type that nothing is compared with is not faithful, only hopeful."""
    covered = set()
    for path in (DATA / 'layers').glob('*.prototxt'):
        covered |= set(re.findall(r'type: "(\w+)"', path.read_text()))
    elsewhere = {'UpCrop', 'HDF5Data', 'Python', 'Split'}     # passes, solvers, data; made by graph
    assert set(TYPES) - elsewhere <= covered


def test_every_type_is_a_file_of_its_name():
    for name, cls in TYPES.items():
        assert Path(cls.__module__.split('.')[-1]).stem == name.lower()
