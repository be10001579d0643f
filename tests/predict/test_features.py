"""extract_features: what is stored, read by lmdb and the tests' own reader."""

import logging

import numpy as np
import pytest
import torch
from digit_files import fields, records

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.predict.features import extract_features

NET = '''
layer { name: "d" type: "DummyData" top: "data" dummy_data_param {
  shape { dim: 3 dim: 2 dim: 4 dim: 5 } data_filler { type: "gaussian" } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "r" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "i" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param {
  num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "l" type: "Reduction" bottom: "fc" top: "sum" }
'''


@pytest.fixture
def net(tmp_path):
    (tmp_path / 'net.prototxt').write_text(NET)
    return Net.read(tmp_path / 'net.prototxt', 'TEST')


def test_records_of_several_blobs(net, tmp_path, caplog):
    caplog.set_level(logging.INFO, 'fcn_repro')
    counts = extract_features(net, ['conv', 'fc', 'sum'], [tmp_path / n for n in 'abc'], 2)
    assert counts == [6, 6, 2]
    net.seek(0)
    passes = [net.forward(['conv', 'fc', 'sum']) for _ in range(2)]
    for name, database, dims in ('conv', 'a', (2, 2, 3)), ('fc', 'b', (6, 1, 1)), \
            ('sum', 'c', (1, 1, 1)):
        stored = records(tmp_path / database)
        assert [key for key, _ in stored] == [b'%010d' % i for i in range(len(stored))]
        expected = torch.cat([p[name].reshape(-1, *dims) for p in passes]).detach().numpy()
        for (_, value), array in zip(stored, expected, strict=True):
            datum = fields(value)
            assert tuple(datum[i][0] for i in (1, 2, 3)) == dims and not datum.keys() & {4, 5, 7}
            assert np.array_equal(np.array(datum[6], 'f4'), array.ravel())
    assert passes[0]['conv'].min() == 0         # after the ReLU in place
    assert caplog.messages[-1] == 'Successfully extracted the features!'
    assert 'Extracted features of 6 query images for feature blob conv' in caplog.messages


@pytest.mark.parametrize('blobs, names, batches, message', [
    (['fc7'], ['a'], 1, "no blob 'fc7'"),
    (['fc', 'conv'], ['a'], 1, '2 blobs but 1 databases'),
    (['fc', 'conv'], ['a', 'a'], 1, 'one name'),
    (['fc'], ['a'], 0, 'number of batches is 0'),
    (['fc', 'conv'], ['a', 'there'], 1, 'exists already'),
])
def test_faults_leave_nothing(net, tmp_path, blobs, names, batches, message):
    (tmp_path / 'there').mkdir()
    with pytest.raises(FcnError, match=message):
        extract_features(net, blobs, [tmp_path / name for name in names], batches)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.prototxt', 'there']
