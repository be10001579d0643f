"""A net's parameters: shared, filled, saved, copied."""

import h5py
import numpy as np
import pytest
import torch
from texts import assert_facts, conv, image, inputs, layer, message, net

from fcn_repro.formats.weights import format_rows

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


def test_two_layers_of_one_name():
    assert_facts(message(net, DATA_2 + conv('a', 'data') + conv('a', 'a', 'b')),
                 "net.prototxt:3: layer 'a' (Convolution)", 'another layer', 'parameters')


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
    assert_facts(message(other.share_with, train), "net.prototxt: layer 'a'", 'parameter 0',
                 '7x2x1x1', '3x2x1x1')


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
