"""A net's parameters: shared, filled, saved, copied."""

import h5py
import numpy as np
import pytest
import torch
from texts import assert_facts, conv, image, inputs, layer, message, net

from fcn_repro.formats.weights import format_rows
from fcn_repro.proto import NetParameter

DATA_2 = inputs(data=(1, 2, 6, 6))
DROPPED = DATA_2 + conv('a', 'data') + layer('Dropout', 'd', 'a', 'a')
TWO = DATA_2 + conv('a', 'data', kernel=3) + layer('ReLU', 'r', 'a', 'a') + conv('b', 'a')

NAMES = 'param { name: "w" %s } param { name: "c" }'
SHARE = DATA_2 + conv('a', 'data', num_output=2, more=NAMES) \
    + conv('b', 'a', num_output=2, more=NAMES) \
    + layer('Power', 'y', 'b', 'y', 'loss_weight: 1')


def test_shared_params():
    ours = net(SHARE % ('lr_mult: 2', ''))
    owner, shared = ours.params['a'][0], ours.params['b'][0]
    assert shared.owner is owner and owner.owner is None
    assert [blob.name for blob in ours.learnable_params] == ['a/0', 'a/1']
    assert len(list(ours.parameters())) == 2
    shared.data[...] = 5
    assert owner.data.eq(5).all()
    ours.forward(data=image(1, 2, 6, 6))
    ours.backward()
    assert torch.equal(owner.diff, shared.diff) and owner.diff.any()
    alone = net(SHARE.replace(NAMES, ''))
    for layer_name in 'ab':
        for i in range(2):
            alone.params[layer_name][i].data[...] = ours.params['a'][i].data
    alone.forward(data=image(1, 2, 6, 6))
    alone.backward()
    torch.testing.assert_close(owner.diff, alone.params['a'][0].diff + alone.params['b'][0].diff)


def test_shared_multipliers():
    assert net(SHARE % ('lr_mult: 2', 'lr_mult: 2')).params['a'][0].lr_mult == 2
    assert net(SHARE % ('', 'lr_mult: 3 decay_mult: 0')).params['a'][0].lr_mult == 3
    assert net(SHARE % ('', 'decay_mult: 0')).params['a'][0].decay_mult == 0
    assert_facts(message(net, SHARE % ('lr_mult: 2', 'lr_mult: 3')),
                 "net.prototxt:3: layer 'b' (Convolution)", 'parameter 0', "'w'", 'a/0',
                 'lr_mult 3.0', '2.0')
    assert 'decay_mult 0.0 against 1.0' in message(net, SHARE % ('decay_mult: 1', 'decay_mult: 0'))


def test_share_modes():
    text = DATA_2 + conv('a', 'data', num_output=4, more='param { name: "w" }') \
        + conv('b', 'data', num_output=2, kernel=2, more='param { name: "w" %s }')
    wrong = "net.prototxt:3: layer 'b' (Convolution)", 'parameter 0', "'w'", 'a/0'
    assert_facts(message(net, text % ''), *wrong, '2x2x2x2', '4x2x1x1', 'share_mode: PERMISSIVE')
    assert_facts(message(net, text % 'share_mode: PERMISSIVE'), *wrong, '16', '8 values')
    ours = net((text % 'share_mode: PERMISSIVE').replace('num_output: 4', 'num_output: 8'))
    assert ours.params['b'][0].shape == (2, 2, 2, 2) and ours.params['a'][0].shape == (8, 2, 1, 1)
    ours.params['b'][0].data[1, 1, 1, 1] = 9
    assert ours.params['a'][0].data[7, 1, 0, 0] == 9
    ours.forward(data=image(1, 2, 6, 6))
    ours.backward(b=torch.ones(1, 2, 5, 5))
    assert ours.params['a'][0].diff.shape == (8, 2, 1, 1)


# Two layers of one name, each with parameters of its own, and a third of another name

REPEATED = DATA_2 + conv('a', 'data', 'x', num_output=2) + conv('b', 'x') \
    + conv('a', 'b', 'y', num_output=2, more='loss_weight: 1')
RENAMED = DATA_2 + conv('a', 'data', 'x', num_output=2) + conv('b', 'x') \
    + conv('c', 'b', 'y', num_output=2, more='loss_weight: 1')


def all_blobs(ours):
    return [blob for blobs in ours.layer_params.values() for blob in blobs]


def copy_all(ours, other):
    for mine, theirs in zip(all_blobs(ours), all_blobs(other), strict=True):
        mine.data.copy_(theirs.data)


def test_layers_of_one_name_have_parameters_of_their_own():
    """They start apart, and compute and learn as layers of two names do."""
    ours, plain = net(REPEATED, 'TRAIN'), net(RENAMED, 'TRAIN', seed=7)
    first, _, second = ours.layer_params.values()
    assert list(ours.params) == ['a', 'b'] and ours.params['a'] is second     # as in pycaffe
    assert first[0].shape == (2, 2, 1, 1) and second[0].shape == (2, 3, 1, 1)
    assert not torch.equal(first[1].data, second[1].data)
    assert torch.equal(first[0].data, net(DATA_2 + conv('a', 'data', num_output=2)).params['a'][
        0].data)                                        # the first as if it were alone
    assert len(ours.learnable_params) == len(list(ours.parameters())) == 6
    copy_all(plain, ours)
    x = image(1, 2, 6, 6)
    assert torch.equal(ours.forward(data=x)['y'], plain.forward(data=x)['y'])
    ours.backward()
    plain.backward()
    for mine, theirs in zip(all_blobs(ours), all_blobs(plain), strict=True):
        assert mine.diff.any() and torch.equal(mine.diff, theirs.diff)


def test_layers_of_one_name_are_saved_each(tmp_path):
    """In the binary format, one after the other. HDF5 has one group a name."""
    ours = net(REPEATED)
    ours.save(tmp_path / 'w.caffemodel')
    written = NetParameter.FromString((tmp_path / 'w.caffemodel').read_bytes())
    saved = [blob for each in written.layer for blob in each.blobs]
    for blob, stored in zip(all_blobs(ours), saved, strict=True):
        assert blob.data.flatten().tolist() == list(stored.data)
    found = message(ours.save_hdf5, tmp_path / 'w.h5')
    assert "layer 'a'" in found and 'BINARYPROTO' in found and not (tmp_path / 'w.h5').exists()


def test_weights_of_layers_of_one_name_are_loaded_as_caffe_does(tmp_path):
    """Each layer of a binary file goes to the first of its name in the net, so that the last one
    counts (CopyTrainedLayersFrom); a group of an HDF5 file to the last (layer_names_index_). The
    rows name what stays."""
    source = net(RENAMED.replace('name: "c"', 'name: "a"').replace('"b" top: "y"', '"x" top: "y"'))
    source.save(tmp_path / 'w.caffemodel')
    _, _, second = (blobs[0].data for blobs in source.layer_params.values())
    text = DATA_2 + conv('a', 'data', 'x', num_output=2) + conv('b', 'x') \
        + conv('a', 'x', 'y', num_output=2, more='loss_weight: 1')
    ours = net(text, seed=5)
    kept = ours.params['a'][0].data.clone()
    rows = ours.copy_from(tmp_path / 'w.caffemodel')
    assert torch.equal(ours.layer_params['a', 0][0].data, second)
    assert torch.equal(ours.layer_params['a', 1][0].data, kept)
    assert [(row.layer, row.action) for row in rows] == [
        ('a', 'copied'), ('b', 'copied'), ('a', 'left at filler')]
    net(DATA_2 + conv('a', 'data', num_output=2), seed=9).save_hdf5(tmp_path / 'w.h5')
    kept = ours.layer_params['a', 0][0].data.clone()
    ours.copy_from(tmp_path / 'w.h5')
    with h5py.File(tmp_path / 'w.h5') as file:
        assert (ours.layer_params['a', 1][0].data.numpy() == file['data/a/0'][...]).all()
    assert torch.equal(ours.layer_params['a', 0][0].data, kept)
    wrong = net(REPEATED)                               # its first layer a is smaller
    assert 'has shape (2, 3, 1, 1)' in message(wrong.copy_from, saved(net(REPEATED), tmp_path))


def saved(ours, folder):
    ours.save(folder / 'saved.caffemodel')
    return folder / 'saved.caffemodel'


def test_a_shared_parameter_of_layers_of_one_name():
    ours = net(DATA_2 + conv('a', 'data', 'x', num_output=2, more=NAMES % '')
               + conv('a', 'x', 'y', num_output=2, more=NAMES % ''))
    assert len(ours.learnable_params) == 2
    assert ours.layer_params['a', 1][0].owner is ours.layer_params['a', 0][0]


def test_sharing_with_layers_of_one_name(caplog):
    """As Net::ShareTrainedLayersWith: the first of the name here has the data of the last there."""
    text = DATA_2 + conv('a', 'data', 'x', num_output=2) + conv('a', 'x', 'y', num_output=2)
    train, test = net(text, seed=1), net(text, seed=2)
    test.share_with(train)
    mine, theirs = ([blobs[0].data.data_ptr() for blobs in ours.layer_params.values()]
                    for ours in (test, train))
    assert mine[0] == theirs[1] and mine[1] not in theirs
    assert "several layers are named 'a'" in caplog.text


def test_fillers_are_a_function_of_seed_and_name():
    ours, again, other = net(TWO, seed=1), net(TWO, seed=1), net(TWO, seed=2)
    longer = net(TWO + conv('c', 'data'), seed=1)
    for blob, same, changed in zip(ours.learnable_params, again.learnable_params,
                                   other.learnable_params, strict=True):
        assert torch.equal(blob.data, same.data) and not torch.equal(blob.data, changed.data)
    assert torch.equal(longer.params['b'][0].data, ours.params['b'][0].data)
    assert_facts(message(net, DATA_2 + conv('a', 'data').replace('gaussian', 'gausian')),
                 "net.prototxt:2: layer 'a' (Convolution)", "'gausian'")


def test_save_and_copy_round_trip(tmp_path):
    ours = net(SHARE % ('', ''), seed=1)
    ours.save_hdf5(tmp_path / 'w.h5', {'note': np.arange(3)})
    with h5py.File(tmp_path / 'w.h5') as file:
        assert list(file['data/a']) == ['0', '1'] and not len(file['data/b'])   # under the owner
    other = net(SHARE % ('', ''), seed=2)
    rows = other.copy_from(tmp_path / 'w.h5')
    assert 'copied' in format_rows(rows)
    for blob, copy in zip(ours.learnable_params, other.learnable_params, strict=True):
        assert torch.equal(blob.data, copy.data)
    x = image(1, 2, 6, 6)
    assert torch.equal(ours.forward(data=x)['y'], other.forward(data=x)['y'])


def test_share_with():
    train, test = net(DROPPED, 'TRAIN', seed=1), net(DROPPED, 'TEST', seed=2)
    test.share_with(train)
    mine, its = (ours.params['a'][0] for ours in (test, train))
    version = mine.parameter._version
    its.data.zero_()
    assert not mine.data.any() and mine.parameter._version > version
    assert [p.data_ptr() for p in test.parameters()] == [p.data_ptr() for p in train.parameters()]
    its.parameter.grad = torch.ones(its.shape)          # Caffe's ShareData: diffs are not shared
    assert not mine.diff.any() and its.diff.all()
    other = net(DATA_2 + conv('a', 'data', num_output=7) + conv('z', 'a'))
    assert_facts(message(other.share_with, train), "net.prototxt:2: layer 'a' (Convolution)",
                 'parameter 0',
                 '7x2x1x1', '3x2x1x1')


@pytest.mark.parametrize('here, there', [(1, 2), (2, 1), (0, 2)])
def test_share_with_another_number_of_parameters(here, there):
    """As in Caffe, an error with both numbers; nothing is shared then."""
    def a_layer(count):
        if count == 0:
            return layer('ReLU', 'a', 'b', 'a')
        return conv('a', 'b', field='' if count == 2 else 'bias_term: false')
    mine, other = (net(DATA_2 + conv('b', 'data') + a_layer(count).replace(
        'bias_filler { type: "gaussian" std: 1 }', ''), seed=count) for count in (here, there))
    found = message(mine.share_with, other)
    assert "layer 'a'" in found and f'{there} parameters there' in found and f'{here} here' in found
    assert not torch.equal(mine.params['b'][0].data, other.params['b'][0].data)


@pytest.mark.parametrize('names', [(True, True), (True, False), (False, True)])
def test_share_with_parameters_that_are_shared_by_name(names):
    """Each layer has the data of the other net's layer of its name, whoever shares within."""
    texts = [DATA_2 + conv('a', 'data', num_output=2, more=more) +
             conv('b', 'a', num_output=2, more=more)
             for more in ('param { name: "w" }' * named for named in names)]
    test, train = (net(text, seed=i) for i, text in enumerate(texts))
    test.share_with(train)
    for name in 'ab':
        assert test.params[name][0].data.data_ptr() == train.params[name][0].data.data_ptr()
    a, b = (test.params[name][0].parameter for name in 'ab')
    assert (a is b) == (names == (True, True))
