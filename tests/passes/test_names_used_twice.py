"""Layers of one name, which Caffe allows: nets found by users, with the passes and without."""

import pytest
import torch
from goldens import DATA

from fcn_repro.net import Net
from fcn_repro.passes import PASSES


@pytest.mark.parametrize('name', ['dup_silent', 'dup_crash'])
def test_passes_change_nothing(name):
    path = DATA.parent / f'corpus/net-run/{name}.prototxt'
    data = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = Net.read(path, 'TEST').forward('all', data=data)
    fast = Net.read(path, 'TEST', passes=PASSES.values())
    for asked in (), 'c1', 'all':
        found = fast.forward(asked, data=data)
        assert set(found) >= {'c2'} and found['c2'].abs().sum() > 0
        for blob, value in found.items():
            torch.testing.assert_close(value, plain[blob])
