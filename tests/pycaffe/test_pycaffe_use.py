"""What scripts do with pycaffe beyond a pass: callbacks between layers, levels and stages, two nets
at once, solvers by hand, Classifier, and the names under an underscore."""

import gc

import numpy as np
import pytest
from PIL import Image
from texts import assert_facts, conv, inputs, layer, message

import fcn_repro.pycaffe as caffe
from fcn_repro.errors import FcnError
from fcn_repro.pycaffe.proto import caffe_pb2

SMALL = inputs(data=(2, 2, 6, 6), label=(2, 1, 6, 6)) + conv('a', 'data') \
    + layer('Sigmoid', 's', 'a', 'a') + conv('b', 'a') + conv('c', 'a') \
    + layer('Eltwise', 'sum', 'b c', 'sum') + layer('SoftmaxWithLoss', 'loss', 'sum label', 'loss')
ROWS = layer('DummyData', 'd', '', 'data', 'dummy_data_param { shape { dim: 2 dim: 5 } }')
SOLVER = 'net: "net.prototxt" base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: "inv" ' \
    'gamma: 0.0001 power: 0.75 test_iter: 2 test_interval: 10 max_iter: 20 ' \
    'snapshot_after_train: false snapshot_prefix: "model"'


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that makes a pycaffe net of a text, in a folder where we then are."""
    monkeypatch.chdir(tmp_path)

    def make(text, phase=caffe.TRAIN, **options):
        (tmp_path / 'net.prototxt').write_text(text)
        return caffe.Net('net.prototxt', phase, **options)
    return make


@pytest.fixture
def solver(made, tmp_path):
    made(SMALL)
    (tmp_path / 'solver.prototxt').write_text(SOLVER)
    solver = caffe.SGDSolver('solver.prototxt')
    for net in (solver.net, *solver.test_nets):
        net.blobs['data'].data[...] = noise(2, 2, 6, 6)
        net.blobs['label'].data[...] = np.arange(36).reshape(6, 6) % 3
    return solver


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Passes

def test_callbacks_come_around_each_layer(made):
    net, seen = made(SMALL), []
    for place in 'before_forward', 'after_forward', 'before_backward', 'after_backward':
        getattr(net, place)(lambda i, place=place: seen.append((place, i)))
    net.forward(start='b', end='c')
    assert seen == [(f'{when}_forward', i) for i in (5, 6) for when in ('before', 'after')]
    seen.clear()
    net.backward()
    assert seen == [(f'{when}_backward', i) for i in range(8, -1, -1)
                    for when in ('before', 'after')]
    assert net._layer_names[5] == 'b'


def test_callbacks_see_and_change_blobs(made):
    net, plain = made(SMALL), made(SMALL)
    image = net.blobs['data'].data[...] = plain.blobs['data'].data[...] = noise(2, 2, 6, 6)

    def halve(i):
        if net._layer_names[i] == 's':
            net.blobs['a'].data[...] *= 0.5
    net.before_forward(halve)
    net.forward()
    plain.forward(end='a')
    plain.blobs['a'].data[...] *= 0.5
    plain.forward(start='s')
    assert net.blobs['loss'].data == plain.blobs['loss'].data and image is not None
    net.before_forward(lambda i: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        net.forward()


def test_a_solvers_passes_are_called_too(solver):
    seen = []
    solver.net.before_forward(seen.append)
    solver.net.after_backward(lambda i: seen.append(-i))
    solver.step(2)
    assert seen == [*range(9), *range(-8, 1)] * 2


def test_backward_reads_what_the_blobs_hold(made):
    net = made('force_backward: true\n' + inputs(data=(1, 3)) + layer('ReLU', 'r', 'data', 'out'),
               caffe.TEST)
    for data in (1, -1, 2), (-1, 1, 0):             # backward without forward, as in Caffe
        net.blobs['data'].data[...] = data
        diff = net.backward(out=np.array([[3, 4, 5]]))['data']
        assert (diff == np.where(np.array(data) > 0, (3, 4, 5), 0)).all()


def test_a_loss_without_a_top_has_a_blob_all_the_same(made):
    net = made(SMALL.replace(' top: "loss"', ''))
    net.forward()
    assert list(net.blobs)[-1] == '(automatic)' and net.outputs == []
    assert net.blob_loss_weights['(automatic)'] == 1
    assert net.blobs['(automatic)'].data > 0
    assert net.forward(end='loss')['(automatic)'] == net.blobs['(automatic)'].data


def test_numbers_in_place_of_names(made):
    net = made(SMALL)
    assert net._blob_names == list(net.blobs) and net._blobs[1].shape == net.blobs['label'].shape
    assert [net._blob_names[i] for i in net._inputs] == ['data', 'label']
    assert [net._blob_names[i] for i in net._outputs] == ['loss']
    assert net._top_ids(0) == [0] and net._bottom_ids(8) == [net._blob_names.index('sum'), 1]
    assert net._blob_loss_weights[-1] == 1
    net._forward(0, 8)
    net._backward(8, 0)
    assert net.params['a'][1].diff.any()


# Which layers a net has

@pytest.mark.parametrize('level, wanted', [(0, ['all', 'zero', 'from0']),
                                           (1, ['all', 'one', 'from0', 'from1'])])
def test_levels(level, wanted, made):
    rules = {'all': '', 'zero': 'min_level: 0 max_level: 0', 'one': 'min_level: 1 max_level: 1',
             'from0': 'min_level: 0', 'from1': 'min_level: 1'}
    net = made(ROWS + chosen(rules), caffe.TEST, level=level)
    assert list(net.params) == wanted


@pytest.mark.parametrize('stages, wanted', [('A', ['a', 'either']), ('B', ['b', 'either']),
                                            ('AB', ['a', 'b', 'either', 'both'])])
def test_stages(stages, wanted, made):
    rules = {'a': 'stage: "A"', 'b': 'stage: "B"', 'either': 'stage: "A" } include { stage: "B"',
             'both': 'stage: "A" stage: "B"'}
    assert list(made(ROWS + chosen(rules), caffe.TEST, stages=list(stages)).params) == wanted


def chosen(rules):
    return ''.join(layer('InnerProduct', name, 'data', name, 'inner_product_param { num_output: 1 '
                         '} ' + (f'include {{ {rule} }}' if rule else ''))
                   for name, rule in rules.items())


# Memory and parameters

def test_arrays_outlive_their_net(solver):
    nets = [solver.net, *solver.test_nets]
    blobs = [blob for net in nets for some in (net.blobs.values(), *net.params.values())
             for blob in some]
    arrays = [blob.data for blob in blobs]
    solver._solver = solver.net = solver.test_nets = nets = None
    gc.collect()
    assert all(np.isfinite(blob.data.sum() + blob.diff.sum()) for blob in blobs)
    assert all((array == blob.data).all() for array, blob in zip(arrays, blobs, strict=True))


def test_two_nets_at_once_do_not_meet(made):
    one, two = made(SMALL), made(SMALL)
    for net, value in (one, 1), (two, 2):
        net.blobs['data'].data[...] = value
        net.params['a'][0].data[...] = value
    one.forward()
    first = {name: blob.data.copy() for name, blob in one.blobs.items()}
    two.forward()
    two.backward()
    assert all((one.blobs[name].data == data).all() for name, data in first.items())
    assert not one.params['a'][0].diff.any() and two.params['a'][0].diff.any()


def test_nets_that_share_have_their_own_diffs(solver):
    net, (test,) = solver.net, solver.test_nets
    test.share_with(net)
    test.forward()
    test.backward()
    assert test.params['a'][0].diff.any() and not net.params['a'][0].diff.any()
    solver.step(3)
    for name in net.params:
        for mine, its in zip(net.params[name], test.params[name], strict=True):
            assert (mine.data == its.data).all()
    test.params['a'][0].data[...] = 5
    assert (net.params['a'][0].data == 5).all()


# Solvers

def test_a_solver_solves_and_is_stepped_by_hand(solver):
    assert solver.iter == 0
    solver.solve()
    assert solver.iter == 20
    net = solver.net
    net.clear_param_diffs()
    net.forward()
    net.backward()
    rate, before = solver.param.base_lr, net.params['b'][1].data.copy()
    solver.param.base_lr = 0
    solver.apply_update()                       # history alone: momentum times what it was
    moved = before - net.params['b'][1].data
    solver.param.base_lr = rate
    assert solver.iter == 21 and np.abs(moved).max() > 0


def test_the_first_update_is_the_rate_times_the_diff(solver):
    weight = solver.net.layer_dict['b'].blobs[0]
    weight.data[...] = 0
    weight.diff[...] = 1
    solver.apply_update()
    np.testing.assert_allclose(weight.data, -0.01, rtol=1e-6)


# The rest of the module

def test_messages_as_notebooks_use_them():
    solver = caffe_pb2.SolverParameter(type='Adam', test_iter=[3])
    solver.solver_mode = caffe_pb2.SolverParameter.GPU
    assert 'solver_mode: GPU' in str(solver) and caffe_pb2.Phase.Name(caffe.TEST) == 'TEST'
    assert caffe_pb2.PoolingParameter.PoolMethod.Name(caffe.params.Pooling.AVE) == 'AVE'
    assert caffe_pb2.V1LayerParameter.CONVOLUTION == 4
    n = caffe.NetSpec()
    n.data, n.label = caffe.layers.Data(batch_size=3, backend=caffe.params.Data.LMDB, source='x',
                                        transform_param={'scale': 0.5}, ntop=2)
    n.quiet = caffe.layers.Silence(n.data, n.label, ntop=0)
    assert [row.type for row in n.to_proto().layer] == ['Data', 'Silence']
    with pytest.raises(TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'"):
        caffe.layers.Silence((n.data, n.label), ntop=0)


def test_one_process_and_one_device():
    assert caffe.solver_count() == 1 and caffe.solver_rank() == 0 and not caffe.has_nccl()
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    caffe.set_multiprocess(True)
    for call in caffe.NCCL.new_uid, lambda: caffe.NCCL(None, b''), \
            lambda: caffe.set_solver_count(2), lambda: caffe.set_solver_rank(1):
        assert_facts(message(call), '', 'GPUs')
    timer = caffe.Timer()
    timer.start()
    sum(range(1000))
    timer.stop()
    assert timer.ms > 0 and caffe.__version__ == '1.0.0'


def test_classifier(made, tmp_path):
    text = inputs(data=(4, 3, 6, 8)) + layer(
        'InnerProduct', 'ip', 'data', 'ip', 'inner_product_param { num_output: 5 weight_filler { '
        'type: "gaussian" std: 0.01 } }') + layer('Softmax', 'prob', 'ip', 'prob')
    net = made(text, caffe.TEST)
    net.save('w.caffemodel')
    classifier = caffe.Classifier('net.prototxt', 'w.caffemodel', image_dims=(8, 12), raw_scale=255,
                                  mean=np.array([104., 117, 123]), channel_swap=(2, 1, 0))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'x.png')
    images = [caffe.io.load_image('x.png')] * 3
    fed = pixels[1:7, 2:10, ::-1].transpose(2, 0, 1) - np.array([104., 117, 123])[:, None, None]
    middle = net.forward(data=np.array([fed] * 4))['prob'][0].copy()
    np.testing.assert_allclose(classifier.predict(images, oversample=False), [middle] * 3, 1e-4)
    fed = caffe.io.oversample([pixels[:, :, ::-1] - np.array([104., 117, 123])], (6, 8))
    each = net.forward_all(data=fed.transpose(0, 3, 1, 2))['prob']
    np.testing.assert_allclose(classifier.predict(images), [each.mean(0)] * 3, 1e-4)
    whole = caffe.Classifier('net.prototxt', 'w.caffemodel')
    assert list(whole.image_dims) == [6, 8] and whole.predict(images, False).shape == (3, 5)
    assert 'to predict, a list of them' in message(whole.predict, images[0])
    small = caffe.Classifier('net.prototxt', 'w.caffemodel', image_dims=(4, 8))
    for oversample in True, False:
        assert 'crops of 6x8 do not fit into images of 4x8' in message(
            small.predict, images, oversample)


# Partial passes

ENDS_IN_FC = inputs(data=(1, 2, 8, 8)) + conv('c1', 'data', kernel=3) + conv('c2', 'c1', kernel=3) \
    + layer('ReLU', 'r', 'c2', 'c2') + layer(
        'InnerProduct', 'fc', 'c2', 'fc', 'inner_product_param { num_output: 2 weight_filler { '
        'type: "gaussian" std: 1 } }')


def test_octaves_of_a_net_that_ends_in_an_inner_product(tmp_path):
    """Google's deepdream: other sizes up to a layer, on a net whose end takes one size alone."""
    (tmp_path / 'net.prototxt').write_text(ENDS_IN_FC)
    net = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
    conv_only = ENDS_IN_FC.partition('layer { name: "fc"')[0]
    (tmp_path / 'conv.prototxt').write_text(conv_only)
    other = caffe.Net(str(tmp_path / 'conv.prototxt'), caffe.TEST)
    other.share_with(net)
    whole = net.forward()['fc'].copy()
    for side in 5, 8, 13:
        image = np.random.default_rng(side).standard_normal((1, 2, side, side)).astype('f4')
        for each in net, other:
            each.blobs['data'].reshape(*image.shape)
            each.blobs['data'].data[...] = image
        top = net.forward(end='r')['c2']
        assert (top == other.forward()['c2']).all() and net.blobs['fc'].shape == whole.shape
        for each in net, other:
            each.blobs['c2'].diff[...] = each.blobs['c2'].data
        down = net.backward(start='r', end='c1')['data']
        assert (down == other.backward()['data']).all() and down.shape == image.shape
    assert "layer 'fc': parameter 0 is 2x48, but this input needs 2x243" in \
        message(net.forward)
    with pytest.raises(FcnError, match='2x48'):
        net.reshape()
    net.blobs['data'].reshape(1, 2, 8, 8)
    net.blobs['data'].data[...] = 0
    assert (net.forward()['fc'] == whole).all()


def test_from_a_blob_that_was_reshaped_by_hand(tmp_path):
    (tmp_path / 'net.prototxt').write_text(ENDS_IN_FC.partition('layer { name: "fc"')[0])
    net = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
    net.blobs['c1'].reshape(1, 3, 4, 7)
    net.blobs['c1'].data[...] = 1
    assert net.forward(start='c2')['c2'].shape == (1, 3, 2, 5)
    assert net.blobs['data'].shape == (1, 2, 8, 8)
    net.reshape()
    assert net.blobs['c1'].shape == (1, 3, 6, 6) and net.blobs['c2'].shape == (1, 3, 4, 4)


def test_backward_through_a_layer_that_has_not_run_at_this_size(tmp_path):
    (tmp_path / 'net.prototxt').write_text('force_backward: true ' + ENDS_IN_FC)
    net = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
    net.forward()
    net.blobs['data'].reshape(1, 2, 9, 9)
    net.forward(end='c1')
    assert "blob 'c2' is 1x3x4x4, and its bottoms now make it 1x3x5x5" in message(net.backward)
