"""Unknown layer types: a misspelling is told, another operation never."""

import pytest
from texts import inputs, layer, message
from texts import net as build_net

from fcn_repro.errors import nearest
from fcn_repro.layers import TYPES
from fcn_repro.layers.common.foreign import FORKS, REWRITE

X = inputs(x=(1, 4, 6, 6))


def refused(type):
    return message(build_net, X + layer(type, 'a', 'x', 'y'))


@pytest.mark.parametrize('written, meant', [
    ('convolution', 'Convolution'), ('Convoltion', 'Convolution'), ('Relu', 'ReLU'),
    ('Softmaxwithloss', 'SoftmaxWithLoss'), ('INNER_PRODUCT', 'InnerProduct'),
    ('SOFTMAX_LOSS', 'SoftmaxWithLoss'), ('Polling', 'Pooling'), ('BatchNrom', 'BatchNorm'),
    ('RELU', 'ReLU'), ('Batch_Norm', 'BatchNorm')])
def test_misspellings(written, meant):
    assert f"unknown layer type '{written}'. Did you mean '{meant}'?" in refused(written)


@pytest.mark.parametrize('type', [*REWRITE, *FORKS, 'depthwiseconvolution', 'roipooling'])
def test_layers_of_forks_are_explained(type):
    assert type not in TYPES and 'Did you mean' not in refused(type)
    assert 'Known types' not in refused(type)


@pytest.mark.parametrize('type', ['Conv', 'Norms', 'TReLU', 'Loss', 'NormalizedConvolution',
                                  'Reconvolution', 'DeformableConvolution'])
def test_others_get_no_hint(type):
    assert 'Did you mean' not in refused(type) and 'Known types: ' in refused(type)


def test_depthwise_is_a_convolution_with_groups():
    assert 'Convolution with group: C' in refused('DepthwiseConvolution')
    text = layer('Convolution', 'a', 'x', 'y', 'convolution_param { num_output: 4 group: 4 '
                 'kernel_size: 3 }')
    assert build_net(X + text).params['a'][0].shape == (4, 1, 3, 3)


def test_rewritten_layers_compute():
    """The remedies for ReLU6, Axpy and batch normalisation are nets that run."""
    for text in (layer('ReLU', 'r', 'x', 'x') + layer('Clip', 'c', 'x', 'y',
                                                      'clip_param { min: 0 max: 6 }'),
                 inputs(a=(1, 4), z=(1, 4, 6, 6)) + layer('Scale', 's', 'x a', 's', 'scale_param '
                                                          '{ axis: 0 }')
                 + layer('Eltwise', 'e', 's z', 'e'),
                 layer('BatchNorm', 'b', 'x', 'b') + layer('Scale', 's', 'b', 's', 'scale_param { '
                                                           'bias_term: true }')):
        assert build_net(X + text).forward()


@pytest.mark.parametrize('name, known, hint', [
    ('conv1', ['conv2', 'pool1'], 'conv2'), ('trian', ['train', 'staged'], 'train'),
    ('train', ['staged'], ''), ('a', ['b'], ''), ('', ['a'], ''), ('num_outptu', ['num_output'],
                                                                    'num_output'),
    ('momentun', ['momentum', 'momentum2'], 'momentum'), ('numoutput', ['num_output'],
                                                          'num_output'),
    ('x' * 10 ** 6, ['x'], ''), ('fc6', ['fc7'], '')])
def test_nearest(name, known, hint):
    assert nearest(name, known) == (f"Did you mean '{hint}'?" if hint else '')
