"""The release's own data layers on the same files: blobs and the order of samples to the bit."""

import os
import random
import sys
import types
from importlib import import_module
from pathlib import Path

import numpy as np
import original_layouts as layouts
import pytest
from release_tree import WHY

from fcn_repro.data import python_layers

MEAN = (104.00699, 116.66877, 122.67892)
CASES = [*(('nyud_layers', 'NYUDSegDataLayer', {'nyud_dir': 'nyud', 'split': split, 'tops': tops})
           for split in ('trainval', 'test') for tops in (
               ['color', 'label'], ['hha', 'label'], ['color', 'depth', 'label'],
               ['color', 'hha', 'label'])),
         *(('siftflow_layers', 'SIFTFlowSegDataLayer', {
             'siftflow_dir': 'sift-flow', 'split': split}) for split in ('trainval', 'test')),
         *(('pascalcontext_layers', 'PASCALContextSegDataLayer', {
             'voc_dir': 'pascal', 'context_dir': 'pascal-context', 'split': split})
           for split in ('train', 'val')),
         ('voc_layers', 'SBDDSegDataLayer', {'sbdd_dir': 'sbdd/dataset', 'split': 'train',
                                             'mean': MEAN}),
         ('voc_layers', 'VOCSegDataLayer', {'voc_dir': 'pascal/VOC2011', 'split': 'seg11valid',
                                            'mean': MEAN})]


class Blob:
    """A top, as far as the layers use it."""

    def reshape(self, *shape):
        self.data = np.zeros(shape, np.float32)


@pytest.fixture
def release(monkeypatch):
    """The release's modules, with as much of Caffe as their layers need, and Python 2's randint."""
    if not os.environ.get('FCN_RELEASE'):
        pytest.skip(WHY)
    monkeypatch.syspath_prepend(Path(os.environ['FCN_RELEASE']))
    caffe = types.ModuleType('caffe')
    caffe.Layer = object
    monkeypatch.setitem(sys.modules, 'caffe', caffe)
    monkeypatch.setattr(random, 'randint', lambda a, b: a + int(random.random() * (b - a + 1)))
    read = np.genfromtxt
    monkeypatch.setattr(np, 'genfromtxt', lambda *args, **words: read(
        *args, **words, encoding='utf-8'))


def blobs(module, name, params):
    """The tops of the release's layer, one forward pass after the other."""
    layer = getattr(import_module(module), name)()
    layer.param_str = str(params)
    tops = [Blob() for _ in range(python_layers[module, name](params).tops)]
    layer.setup([], tops)
    while True:
        layer.reshape([], tops)
        layer.forward([], tops)
        yield [top.data.copy() for top in tops]


def test_layers_of_the_release(release, tmp_path, monkeypatch):
    monkeypatch.chdir(layouts.make_all(tmp_path, 7))
    for module, name, params in CASES:
        params = {**params, 'seed': 1337}
        ours = python_layers[module, name](params)
        for k, expected in zip(range(30), blobs(module, name, params), strict=False):
            for one, other in zip(ours.batch(k), expected, strict=True):
                np.testing.assert_array_equal(one, other, f'{name} {params} {k}')
