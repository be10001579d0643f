"""The loss layers, normalisation, Embed, Im2col, Parameter, DummyData, SPP: what they refuse, and
what no golden of one layer shows."""

import pytest
import torch
import torch.nn.functional as F
from layer_case import distinct, make_layer
from layer_evidence import reference_for
from texts import assert_facts, conv, image, inputs, layer, message
from texts import net as build_net

from fcn_repro.proto import TRAIN, BlobProto
from fcn_repro.solver import Solver

INPUTS = inputs(x=(2, 3, 6, 5), l=(2, 1, 6, 5), r=(2, 3), n=(2,), m=(3,), v=(2, 3, 2, 2, 2), s=())
BN, DUMMY = 'batch_norm_param', 'dummy_data_param'
REFUSED = [
    ('SigmoidCrossEntropyLoss', 'x l', 'y', '',
     ('60 targets', '2x1x6x5', '180 scores', '2x3x6x5')),
    ('SigmoidCrossEntropyLoss', 'r m', 'y', '', ('2x3', '3')),
    ('HingeLoss', 'r m', 'y', '', ('2x3', '3')),
    ('SoftmaxWithLoss', 'r m', 'y', '', ('2x3', '3')),
    ('EuclideanLoss', 's r', 'y', '', ('scalar', '2x3')),
    ('MultinomialLogisticLoss', 'r r', 'y', '', ('2x3',)),
    ('InfogainLoss', 'r n', 'y', '', ('infogain_loss_param.source',)),
    ('InfogainLoss', 'r n m', 'y', '', ('3 classes', '3x3')),
    ('InfogainLoss', 'r n m', 'y', 'loss_param { normalize: true }', ('loss_param.normalize',)),
    ('InfogainLoss', 'x n m', 'y', '', ('2 labels', '60 positions', '2x3x6x5', 'axis 1')),
    ('ContrastiveLoss', 'r r', 'y', '', ('2 bottoms', '3')),
    ('ContrastiveLoss', 'x x n', 'y', '', ('2x3x6x5',)),
    ('ContrastiveLoss', 'r r m', 'y', '', ('3 marks', '2 pairs')),
    ('BatchNorm', 'n', 'y', '', ('shape 2', 'BatchNorm')),
    ('BatchNorm', 'x', 'y', 'param { } param { lr_mult: 0 }', ('lr_mult 1', 'parameter 0')),
    ('BatchNorm', 'x', 'y', 'param { lr_mult: 0 } ' * 4, ('4 param', '3 parameters')),
    ('MVN', 'v', 'y', '', ('5 axes', 'MVN')),
    ('Embed', 'n', 'y', 'embed_param { input_dim: 2 }', ('embed_param.num_output',)),
    ('Embed', 'n', 'y', 'embed_param { num_output: 2 }', ('embed_param.input_dim',)),
    ('Im2col', 'x', 'y', '', ('convolution_param.kernel_size',)),
    ('Im2col', 'x', 'y', 'convolution_param { kernel_size: 3 axis: 3 }',
     ('spatial axis', '2x3x6x5')),
    ('Im2col', 'x', 'y', 'convolution_param { kernel_size: 7 }',
     ('2x3x6x5', '0x-1', '7x7', '0x0')),
    ('Parameter', '', 'y', '', ('parameter_param.shape',)),
    ('DummyData', '', 'y', '', ('0 shape', '1 tops')),
    ('DummyData', '', 'y z w', f'{DUMMY} {{ shape {{ dim: 1 }} shape {{ dim: 2 }} }}',
     ('2 shape', '3 tops')),
    ('DummyData', '', 'y', f'{DUMMY} {{ shape {{ dim: 1 }} num: 2 }}', ('shape', 'num')),
    ('DummyData', '', 'y', f'{DUMMY} {{ num: 2 channels: 1 height: 1 }}', ('0 width', '1 tops')),
    ('DummyData', '', 'y z w', f'{DUMMY} {{ shape {{ dim: 1 }} data_filler {{ }} data_filler {{ }} '
     '}', ('2 data_filler', '3 tops')),
    ('DummyData', '', 'y', f'{DUMMY} {{ shape {{ dim: 1 }} data_filler {{ type: "nope" }} }}',
     ("'nope'", 'positive_unitball')),
    ('MemoryData', '', 'y z', 'memory_data_param { batch_size: 2 channels: 3 height: 4 }',
     ('batch_size', 'memory_data_param', '2x3x4x0')),
    ('SPP', 'x', 'y', '', ('spp_param.pyramid_height',)),
    ('SPP', 'x', 'y', 'spp_param { pyramid_height: 2 pool: STOCHASTIC }',
     ('STOCHASTIC', 'MAX', 'AVE')),
    ('SPP', 'r', 'y', 'spp_param { pyramid_height: 1 }', ('2x3', 'SPP')),
    ('SPP', 'x', 'y', 'spp_param { pyramid_height: 3 }',
     ('4x4', '2x3x6x5', '1x2', '2x2', 'pyramid_height')),
]


@pytest.mark.parametrize('type, bottoms, tops, more, wanted', REFUSED)
def test_refused_with_file_line_layer_and_remedy(type, bottoms, tops, more, wanted):
    assert_facts(message(build_net, INPUTS + layer(type, 'it', bottoms, tops, more)),
                 f"net.prototxt:8: layer 'it' ({type})", *wanted)


@pytest.mark.parametrize('type, bottoms, more, what, field', [
    ('HingeLoss', 'r n', '', 'labels', 'num_output'),
    ('MultinomialLogisticLoss', 'r n', '', 'labels', 'num_output'),
    ('Embed', 'n', 'embed_param { input_dim: 3 num_output: 2 }', 'indices',
     'embed_param.input_dim')])
def test_an_index_beyond_its_rows(type, bottoms, more, what, field):
    net = build_net(INPUTS + layer(type, 'it', bottoms, 'y', more))
    for bad in 3, -1:
        assert_facts(message(net.forward, n=torch.tensor([0., bad])),
                     f"net.prototxt:8: layer 'it' ({type})", f'1 {what}', '0 … 2', bad, field)


def test_the_infogain_matrix_of_a_file(tmp_path):
    matrix = distinct((3, 3)).float()
    (tmp_path / 'h.binaryproto').write_bytes(BlobProto(
        num=1, channels=1, height=3, width=3, data=matrix.flatten().tolist()).SerializeToString())
    text = inputs(x=(2, 3), l=(2,), h=(3, 3)) + layer('InfogainLoss', 'a', 'x l h', 'a') + layer(
        'InfogainLoss', 'b', 'x l', 'b', 'infogain_loss_param { source: "h.binaryproto" }')
    out = build_net(text, search=tmp_path).forward(x=image(2, 3), l=torch.tensor([2, 0]), h=matrix)
    assert torch.equal(out['a'], out['b']) and out['a'] != 0
    assert_facts(message(build_net, text, search=tmp_path / 'no'),
                 "net.prototxt:5: layer 'b' (InfogainLoss)", 'infogain_loss_param.source',
                 f'{tmp_path}/no/h.binaryproto', 'no matrix')


def test_infogain_with_the_unit_matrix_is_the_softmax_loss():
    x, labels = distinct((2, 3, 4)).requires_grad_(), torch.arange(8).view(2, 4) % 3
    both = []
    for type, more in ('InfogainLoss', [torch.eye(3).double()]), ('SoftmaxWithLoss', []):
        loss, = make_layer(type, 2 + len(more), 1, {}).forward([x, labels.double(), *more], [])
        both.append((loss, *torch.autograd.grad(loss, x)))
    torch.testing.assert_close(*both)


# BatchNorm

NORM = inputs(x=(4, 3, 2, 2)) + layer('BatchNorm', 'bn', 'x', 'y')


def test_running_statistics_converge_to_those_of_the_batch():
    """Both phases on one set of parameters: only TRAIN writes, and TEST divides by the factor."""
    train, test = build_net(NORM, 'TRAIN'), build_net(NORM)
    test.share_with(train)
    x = 3 * image(4, 3, 2, 2) + 5
    wanted = F.batch_norm(x, None, None, training=True, eps=1e-5)
    torch.testing.assert_close(train.forward(x=x)['y'], wanted)
    sums = [blob.data.clone() for blob in train.params['bn']]
    unbiased = F.batch_norm(x, x.mean((0, 2, 3)), x.var((0, 2, 3)), eps=1e-5)
    torch.testing.assert_close(test.forward(x=x)['y'], unbiased)
    assert all(torch.equal(a, b.data) for a, b in zip(sums, train.params['bn'], strict=True))
    train.forward(x=x)
    for before, after in zip(sums, train.params['bn'], strict=True):
        torch.testing.assert_close(after.data, 1.999 * before)
    assert [blob.lr_mult for blob in train.learnable_params] == [0, 0, 0]


def test_statistics_that_are_stored_may_be_empty_or_of_one_value():
    fresh = build_net(NORM).forward(x=image(4, 3, 2, 2))['y']
    torch.testing.assert_close(fresh, image(4, 3, 2, 2) / 1e-5 ** 0.5)       # mean 0, variance 0
    norm = make_layer('BatchNorm', 1, 1, {}, TRAIN)
    params = [torch.zeros(2), torch.zeros(2), torch.zeros(1)]
    y, = norm.forward([torch.tensor([[3., 4.]])], params)
    assert y.tolist() == [[0, 0]]
    assert [p.tolist() for p in params] == [[3, 4], [0, 0], [1]]


def test_running_statistics_and_dummy_data_after_a_restore(tmp_path):
    """Two passes an iteration, weight decay, a test net: the sums are those of the passes alone."""
    (tmp_path / 'net.prototxt').write_text(layer(
        'DummyData', 'd', '', 'x l', f'{DUMMY} {{ shape {{ dim: 4 dim: 3 dim: 5 dim: 5 }} shape {{ '
        'dim: 4 dim: 5 dim: 5 } data_filler { type: "gaussian" } data_filler { value: 1 } }')
        + conv('c', 'x') + layer('BatchNorm', 'bn', 'c', 'c')
        + layer('Scale', 's', 'c', 'c') + layer('SoftmaxWithLoss', 'loss', 'c l', 'loss'))
    (tmp_path / 'solver.prototxt').write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 '
        f'weight_decay: 0.1 max_iter: 4 snapshot: 2 snapshot_prefix: "{tmp_path}/it" iter_size: 2 '
        'snapshot_format: HDF5 test_iter: 1 test_interval: 2 random_seed: 3')
    whole, again = (Solver(tmp_path / 'solver.prototxt', prefix=tmp_path / 'it') for _ in range(2))
    losses = [whole.loss for _ in whole.run()]
    again.restore(tmp_path / 'it_iter_2.solverstate.h5')
    assert [again.loss for _ in again.run()] == losses[2:]
    for ours, wanted in zip(again.net.learnable_params, whole.net.learnable_params, strict=True):
        assert torch.equal(ours.data, wanted.data), ours.name
    assert whole.net.params['bn'][2].data.item() == pytest.approx(sum(0.999 ** i for i in range(8)))


def test_mvn_of_fewer_axes_has_four():
    net = build_net(inputs(x=(2, 3)) + layer('MVN', 'm', 'x', 'y', 'mvn_param { across_channels: '
                                             'true normalize_variance: false }'))
    y = net.forward(x=torch.tensor([[1., 2, 6], [0, 0, 3]]))['y']
    assert y.shape == (2, 3, 1, 1) and y.flatten().tolist() == [-2, -1, 3, -1, -1, 2]


# Sources

def test_a_parameter_is_learned_from_its_consumers():
    net = build_net(inputs(x=(2, 3)) + layer('Parameter', 'w', '', 'w', 'parameter_param { shape { '
                    'dim: 2 dim: 3 } }') + layer('EuclideanLoss', 'l', 'w x', 'l'), 'TRAIN')
    x = image(2, 3)
    for _ in range(2):                      # diffs add up, in the parameter and in the blob
        net.forward(blobs=['w'], x=x)
        net.backward()
    torch.testing.assert_close(net.params['w'][0].diff, -x)
    assert torch.equal(net.blobs['w'].diff, net.params['w'][0].diff)
    assert net.blobs['w'].data.tolist() == [[0, 0, 0], [0, 0, 0]]


@reference_for('DummyData')
def test_dummy_data_is_a_function_of_seed_name_and_position():
    text = layer('DummyData', 'd', '', 'a b c', f'{DUMMY} {{ num: 4 channels: 1 height: 2 width: 3 '
                 'data_filler { value: 7 } data_filler { type: "uniform" min: 2 max: 3 } '
                 'data_filler { type: "gaussian" std: 0.1 } }')
    first, second = (build_net(text) for _ in range(2))
    out = first.forward()
    assert all(top.shape == (4, 1, 2, 3) for top in out.values())
    assert (out['a'] == 7).all() and ((out['b'] >= 2) & (out['b'] < 3)).all()
    again = second.forward()
    assert all(torch.equal(out[name], again[name]) for name in out)
    for other in first.forward(), build_net(text, seed=1).forward():
        assert torch.equal(other['a'], out['a'])
        assert not torch.equal(other['b'], out['b']) and not torch.equal(other['c'], out['c'])
    plain = build_net(layer('DummyData', 'd', '', 'a b', f'{DUMMY} {{ shape {{ dim: 2 }} shape {{ '
                            'dim: 3 dim: 1 } }')).forward()
    assert plain['a'].tolist() == [0, 0] and plain['b'].tolist() == [[0], [0], [0]]


MEMORY = layer('MemoryData', 'd', '', 'data label', 'memory_data_param { batch_size: 2 channels: 3 '
               'height: 1 width: 2 }')


@reference_for('MemoryData')
def test_memory_data_gives_batch_by_batch():
    net = build_net(MEMORY)
    assert net.blobs['data'].shape == (2, 3, 1, 2) and net.blobs['label'].shape == (2, 1, 1, 1)
    where = "net.prototxt:1: layer 'd' (MemoryData)"
    assert_facts(message(net.forward), where, 'net.set_input_arrays')
    data, labels = image(6, 3, 1, 2), torch.arange(6)
    net.set_input_arrays(data.numpy(), labels.numpy())
    for first in 0, 2, 4, 0, 2:                     # and from the start again
        out = net.forward()
        assert torch.equal(out['data'], data[first:first + 2])
        assert out['label'].flatten().tolist() == [first, first + 1]
    net.set_input_arrays(data[:2], labels[:2])      # new arrays start at their first row
    assert net.forward()['label'].flatten().tolist() == [0, 1]
    assert_facts(message(net.set_input_arrays, data[:3], labels[:3]), where, '3 rows',
                 'batch_size 2')
    for bad in (data, labels[:5]), (data[:, :2], labels):
        assert_facts(message(net.set_input_arrays, *bad), where,
                     'x'.join(map(str, bad[0].shape)), len(bad[1]), 'nx3x1x2')
    assert_facts(message(build_net(NORM).set_input_arrays, data, labels),
                 "net.prototxt: layer 'x' (Input)", 'MemoryData')


def test_memory_data_does_not_transform_and_says_so(caplog):
    net = build_net(MEMORY.replace('memory_data_param', 'transform_param { scale: 9 } '
                                   'memory_data_param'))
    data = image(2, 3, 1, 2)
    net.set_input_arrays(data, torch.arange(2))
    assert caplog.messages == ['MemoryData does not transform array data on Reset()']
    assert torch.equal(net.forward()['data'], data)


# Algebra

@pytest.mark.parametrize('group', [{}, {'dilation': [2], 'stride': [2], 'pad': [1]}])
def test_convolution_is_a_product_with_im2col(group):
    x, field = distinct((2, 3, 7, 8)), {'kernel_size': [3], 'bias_term': False, **group}
    conv = make_layer('Convolution', 1, 1, {'convolution_param': field | {'num_output': 4}})
    weight = distinct((4, 3, 3, 3), 1)
    columns, = make_layer('Im2col', 1, 1, {'convolution_param': field}).forward([x], [])
    product = torch.einsum('ok,nkhw->nohw', weight.flatten(1), columns)
    torch.testing.assert_close(product, conv.forward([x], [weight])[0])


@pytest.mark.parametrize('pool', ['MAX', 'AVE'])
def test_spp_of_a_size_that_its_bins_divide_has_no_padding(pool):
    x = distinct((2, 3, 8, 4))
    adaptive = F.adaptive_max_pool2d if pool == 'MAX' else F.adaptive_avg_pool2d
    top, = make_layer('SPP', 1, 1, {'spp_param': {'pyramid_height': 3, 'pool': pool}}).forward(
        [x], [])
    wanted = torch.cat([adaptive(x, bins).flatten(1) for bins in (1, 2, 4)], 1)
    torch.testing.assert_close(top, wanted)
