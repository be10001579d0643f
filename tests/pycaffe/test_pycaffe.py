"""pycaffe's face: Caffe's numbers through it, arrays that are the net's memory, its names."""

import numpy as np
import pytest
from goldens import DATA, error
from texts import assert_facts, conv, inputs, layer, message

import fcn_repro.pycaffe as caffe
from fcn_repro.net import Net
from fcn_repro.parity import Comparison, Limits
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.golden import read_golden
from fcn_repro.parity.layers import fed_arrays
from fcn_repro.pycaffe import layerwise

NETS = DATA / 'nets'
FORCE = 'force_backward: true\n'
SMALL = inputs(data=(2, 2, 6, 6), label=(2, 1, 6, 6)) + conv('a', 'data') \
    + layer('Sigmoid', 's', 'a', 'a') + conv('b', 'a') + conv('c', 'a') \
    + layer('Eltwise', 'sum', 'b c', 'sum') \
    + layer('SoftmaxWithLoss', 'loss', 'sum label', 'loss')
DEPLOY = FORCE + inputs(data=(4, 2, 3, 3)) + conv('a', 'data') + layer('ReLU', 'r', 'a', 'a')


@pytest.fixture
def made(tmp_path):
    """A function that makes a pycaffe net of a text."""
    def make(text, phase=caffe.TEST, **options):
        path = tmp_path / 'net.prototxt'
        path.write_text(text)
        return caffe.Net(str(path), phase, **options)
    return make


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Caffe's numbers

@pytest.mark.parametrize('name', ['fcn32s', 'fcn16s', 'fcn8s'])
def test_a_net_equals_caffe(name):
    net = caffe.Net(str(NETS / name / 'net.prototxt'), caffe.TEST,
                    weights=str(NETS / name / 'weights.caffemodel'))
    golden, comparison = read_golden(NETS / name / 'golden_1x3x64x64.h5'), Comparison(name)
    for blob, data in fed_arrays(golden, 'inputs').items():
        net.blobs[blob].reshape(*data.shape)
        net.blobs[blob].data[...] = data
    net.forward()
    for blob, array in golden.blobs('blobs').items():
        assert net.blobs[blob].shape == array.shape
        comparison.compare(blob, net.blobs[blob].data, array, Limits().activations)
    net.backward()
    assert_param_diffs(comparison, net, golden)


def assert_param_diffs(comparison, net, golden):
    """Every array compared so far, and the gradients of the params, are within their limits."""
    for name, blobs in golden.params('param_diffs').items():
        for i, array in blobs.items():
            comparison.compare(f'{name}/{i}', net.params[name][int(i)].diff, array,
                               Limits().gradients)
    assert comparison.verdict == OK, comparison.departing


def test_every_blob_has_the_diff_that_the_engine_gives(made):
    """Which equals Caffe's; splits, in-place layers and inputs included."""
    text = FORCE + (NETS / 'fcn32s' / 'net.prototxt').read_text()
    net, weights = made(text), NETS / 'fcn32s' / 'weights.caffemodel'
    net.copy_from(str(weights))
    engine = Net.read(net._net.graph.file, caffe.TEST)
    engine.copy_from(weights)
    golden = read_golden(NETS / 'fcn32s' / 'golden_1x3x64x64_force.h5')
    fed = fed_arrays(golden, 'inputs')
    engine.forward(blobs='all', **fed)
    engine.backward()
    for name, data in fed.items():
        net.blobs[name].reshape(*data.shape)
    net.forward(**fed)
    net.backward()
    assert_param_diffs(Comparison('fcn32s'), net, golden)
    assert list(net.blobs) == list(engine.blobs)
    for name, blob in net.blobs.items():
        assert error(blob.data, engine.blobs[name].data) <= 1e-6, name
        assert error(blob.diff, engine.blobs[name].diff) <= 1e-6, name
    assert np.abs(net.blobs['data'].diff).max() > 0


# Arrays are the net's memory

def test_arrays_are_the_nets_memory(made):
    net = made(SMALL)
    data, loss = net.blobs['data'].data, net.blobs['loss'].data
    data[...] = noise(2, 2, 6, 6)
    assert loss.shape == () and loss == 0 and data.flags.c_contiguous
    assert data.dtype == np.float32
    net.forward()
    first = float(loss)
    assert first > 0                                    # an array held is written by the pass
    net.params['a'][0].data[0, 0] += 1                  # through a view
    assert net.forward()['loss'] == loss != first
    net.params['a'][0].data.flat = np.zeros(6)
    net.params['a'][1].data[...] = 0
    net.forward()
    assert (net.blobs['a'].data == 0.5).all()
    net.blobs['a'].data[...] = noise(2, 3, 6, 6)        # both copies of a Split are this blob
    net.forward(start='b')
    a = net.blobs['a'].data
    for name in 'b', 'c':
        weight, bias = (p.data for p in net.params[name])
        wanted = np.einsum('nchw,oc->nohw', a, weight[:, :, 0, 0]) + bias[:, None, None]
        np.testing.assert_allclose(net.blobs[name].data, wanted, rtol=1e-4, atol=1e-5)


def test_from_a_layer_to_a_layer(made):
    net = made(SMALL, caffe.TRAIN)
    net.blobs['data'].data[...] = noise(2, 2, 6, 6)
    assert net.forward(end='a').keys() == {'a'}
    before = net.blobs['a'].data.copy()
    assert not net.blobs['b'].data.any()
    assert net.forward(start='s', end='s', blobs=['data']).keys() == {'a', 'data'}
    np.testing.assert_allclose(net.blobs['a'].data, 1 / (1 + np.exp(-before)), rtol=1e-5)
    loss = net.forward(start='a_s_0_split')['loss']
    assert loss == net.forward()['loss'] == pytest.approx(net._forward(0, len(net.layers) - 1))
    net.blobs['sum'].diff[...] = top = noise(2, 3, 6, 6)
    assert net.backward(start='sum', end='c').keys() == {'a_s_0_split_1'}
    assert (net.blobs['b'].diff == top).all() and (net.blobs['c'].diff == top).all()
    np.testing.assert_allclose(net.params['c'][1].diff, top.sum((0, 2, 3)), rtol=1e-4)
    assert not net.params['b'][1].diff.any() and not net.params['a'][1].diff.any()
    held = net.params['c'][1].diff
    net.backward(start='sum', end='c')                  # diffs of params add up
    np.testing.assert_allclose(held, 2 * top.sum((0, 2, 3)), rtol=1e-4)
    net.clear_param_diffs()
    assert not held.any()
    sigmoid = net.blobs['a'].data
    net.blobs['a'].diff[...] = 1
    net.backward(start='s', end='s')
    np.testing.assert_allclose(net.blobs['a'].diff, sigmoid * (1 - sigmoid), rtol=1e-4, atol=1e-7)


def test_reshape_and_shapes(made):
    net = made(DEPLOY)
    blob = net.blobs['data']
    assert blob.shape == (4, 2, 3, 3) and blob.count == 72
    assert (blob.num, blob.channels, blob.height, blob.width) == (4, 2, 3, 3)
    assert (net.params['a'][1].num, net.params['a'][1].channels) == (3, 1)
    blob.reshape(1, 2, 5, 7)
    assert net.blobs['a'].shape == (4, 3, 3, 3)
    net.reshape()
    assert net.blobs['a'].shape == net.blobs['a'].diff.shape == (1, 3, 5, 7)
    blob.data[...] = image = noise(1, 2, 5, 7)
    out = net.forward()['a']
    diff = net.backward(a=np.ones((1, 3, 5, 7)))['data']
    weight = net.params['a'][0].data[:, :, 0, 0]
    np.testing.assert_allclose(
        diff, np.einsum('nohw,oc->nchw', out > 0, weight), rtol=1e-4, atol=1e-5)
    assert (net.blobs['data'].data == image).all()
    net.blobs['data'].reshape(1, 3, 5, 7)
    assert 'this input needs 3x3x1x1' in message(net.forward)


def test_backward_without_a_loss_and_without_a_forward_pass(made):
    net = made(DEPLOY.removeprefix(FORCE).replace('ReLU', 'TanH'))
    net.blobs['data'].data[...] = noise(4, 2, 3, 3)
    net.blobs['a'].diff[...] = top = noise(4, 3, 3, 3, seed=1)
    assert not net.backward(start='a')['data'].any()            # no force_backward
    np.testing.assert_allclose(net.params['a'][1].diff, top.sum((0, 2, 3)), rtol=1e-4)


def test_a_recurrent_layer_keeps_its_state_in_backward(made):
    text = FORCE + inputs(x=(3, 2, 4), cont=(3, 2)) + layer(
        'LSTM', 'h', 'x cont', 'h', 'recurrent_param { num_output: 3 weight_filler { '
        'type: "gaussian" std: 1 } }')
    net, plain = made(text), made(text)
    given = {'x': noise(3, 2, 4), 'cont': np.ones((3, 2))}
    for _ in range(2):
        net.forward(**given)
        plain.forward(**given)
        net.backward(h=np.ones((3, 2, 3)))
        assert (net.blobs['h'].data == plain.blobs['h'].data).all()
    assert net.blobs['x'].diff.any()


def test_all_rows_batch_by_batch(made):
    net, rows = made(DEPLOY), noise(10, 2, 3, 3)
    out = net.forward_all(blobs=['data'], data=rows)
    assert out['a'].shape == (10, 3, 3, 3) and (out['data'] == rows).all()
    one_by_one = [net.forward(data=np.resize(row, (4, 2, 3, 3)))['a'][0].copy() for row in rows]
    np.testing.assert_allclose(out['a'], one_by_one, rtol=1e-5, atol=1e-6)
    outs, diffs = net.forward_backward_all(data=rows, a=np.ones((10, 3, 3, 3)))
    assert (outs['a'] == out['a']).all() and diffs['data'].shape == rows.shape


# Names, files, settings

def test_names(made):
    net = made(SMALL)
    names = ['data', 'label', 'a', 's', 'a_s_0_split', 'b', 'c', 'sum', 'loss']
    assert list(net._layer_names) == list(net.layer_dict) == names
    assert net.layer_dict['b'].type == net.layers[5].type == 'Convolution'
    assert net.layers[5].blobs is net.params['b'] and net.layers[3].blobs == []
    assert net.inputs == ['data', 'label'] and net.outputs == ['loss']
    assert list(net.params) == ['a', 'b', 'c']
    assert net.bottom_names['b'] == ['a_s_0_split_0'] and net.top_names['s'] == ['a']
    assert net.blob_loss_weights['loss'] == 1 and net.blobs['loss'].diff == 1
    assert 'Convolution' in caffe.layer_type_list() and 'UpCrop' not in caffe.layer_type_list()
    assert (caffe.TRAIN, caffe.TEST) == (0, 1)


def test_saved_and_read(made, tmp_path):
    net = made(SMALL)
    net.save(str(tmp_path / 'w.caffemodel'))
    net.save_hdf5(str(tmp_path / 'w.h5'))
    assert caffe.proto.caffe_pb2.NetParameter.FromString(
        (tmp_path / 'w.caffemodel').read_bytes()).layer[5].blobs[0].shape.dim == [3, 3, 1, 1]
    caffe.set_random_seed(3)
    others = [made(SMALL) for _ in range(3)]
    caffe.set_random_seed(0)
    assert (others[0].params['a'][0].data != net.params['a'][0].data).any()
    others[0].copy_from(str(tmp_path / 'w.caffemodel'))
    others[1].load_hdf5(str(tmp_path / 'w.h5'))
    others[2].share_with(net)
    with pytest.warns(DeprecationWarning):
        old = caffe.Net(str(tmp_path / 'net.prototxt'), str(tmp_path / 'w.caffemodel'), caffe.TEST)
    for other in (*others, old):
        for name in net.params:
            for mine, its in zip(net.params[name], other.params[name], strict=True):
                assert (mine.data == its.data).all()
    net.params['a'][0].data[...] = 7
    assert (others[2].params['a'][0].data == 7).all() and (others[0].params['a'][0].data != 7).all()


def test_what_a_constant_filler_gave_may_be_written(made):
    net = made(layer('DummyData', 'd', '', 'data label', 'dummy_data_param { shape { dim: 2 dim: 3 '
                     '} shape { dim: 2 } data_filler { type: "gaussian" } data_filler { value: 1 } '
                     '}') + layer('SoftmaxWithLoss', 'loss', 'data label', 'loss'))
    assert (net.blobs['label'].data == 1).all()
    net.blobs['label'].data[...] = 2
    before = net.blobs['data'].data.copy()
    net.forward()
    assert (net.blobs['label'].data == 2).all() and (net.blobs['data'].data != before).all()


def test_gpu_mode_without_a_gpu(made, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    caffe.set_device(0)
    with pytest.warns(RuntimeWarning, match='no GPU'):
        caffe.set_mode_gpu()
    assert made(DEPLOY).forward()['a'].shape == (4, 3, 3, 3)
    caffe.set_mode_cpu()


def test_what_is_wrong(made):
    net = made(DEPLOY)
    with pytest.raises(ValueError, match="the net has no layer 'dat'"):
        net.forward(start='dat')
    assert_facts(message(net.forward, dat=noise(4, 2, 3, 3)), '', 'dat', 'data')
    assert_facts(message(net.forward, data=noise(3, 2, 3, 3)), '', "'data'", '3x2x3x3', '4x2x3x3',
                 'forward_all')
    assert_facts(message(net.forward, blobs=['b']), '', "'b'")
    assert 'cannot have the shape (4, -2)' in message(net.blobs['data'].reshape, 4, -2)
    assert "parameter 'a/1' is 3, not 4" in message(net.params['a'][1].reshape, 4)
    with pytest.raises(ValueError, match='broadcast'):
        net.blobs['data'].data[...] = noise(4, 2, 3, 5)
    assert 'cannot be read' in message(caffe.Net, 'none.prototxt', caffe.TEST)
    with pytest.raises(TypeError, match='ReLU input 0 is not a Top'):
        caffe.layers.ReLU(1)
    n = caffe.NetSpec()
    n.a, n.b = caffe.layers.Input(), caffe.layers.Input()
    with pytest.raises(RuntimeError, match='not made from a common blob'):
        caffe.coord_map.crop(n.a, n.b)
    with pytest.raises(AssertionError, match='negative'):
        caffe.coord_map.crop(caffe.layers.Convolution(n.a, kernel_size=3), n.a)


def test_memory_is_shared_where_caffe_shares_it(made):
    net = made(SMALL)
    split = net.blobs['a_s_0_split_0'], net.blobs['a_s_0_split_1']
    assert all(np.shares_memory(blob.data, net.blobs['a'].data) for blob in split)
    assert not np.shares_memory(split[0].diff, split[1].diff)
    assert isinstance(net._net.executor, layerwise.LayerwiseExecutor)
