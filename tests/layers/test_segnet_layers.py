"""Layer types of SegNet's, ENet's and ParseNet's forks: refusals, what no golden holds, exports."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exported import run_onnx, run_python
from PIL import Image
from texts import FILE, conv, diffs, image, inputs, layer

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.proto.prototxt import parse_net

X = inputs(x=(2, 3, 6, 5))
LEARN = 'bn_param { bn_mode: LEARN scale_filler { value: 2 } shift_filler { value: 1 } }'
FOLDED = LEARN.replace('LEARN', 'INFERENCE')
POOL = layer('Pooling', 'p', 'x', 'p mask', 'pooling_param { kernel_size: 2 stride: 2 }')
SCORES = inputs(x=(2, 3, 4, 4), l=(2, 1, 4, 4))


def upsample(field):
    return layer('Upsample', 'u', 'p mask', 'y', f'upsample_param {{ {field} }}')


def make(text, dialect=None, phase='TEST', **options):
    return Net.of(parse_net(text, FILE, dialect), phase, **options)


def refused(text, dialect=None, phase='TEST', **given):
    with pytest.raises(FcnError) as caught:
        make(text, dialect, phase).forward(**given)
    assert caught.value.line and caught.value.do
    return str(caught.value)


# ---- refusals --------------------------------------------------------------------------------

@pytest.mark.parametrize('text, dialect, parts', [
    (inputs(x=(2, 3)) + layer('BN', 'b', 'x', 'y', LEARN), None, ('shape 2x3',)),
    (X + layer('BN', 'b', 'x', 'y m v', FOLDED), None, ('3 tops', 'INFERENCE')),
    (X + POOL + upsample('upsample_h: 6'), None, ('sizes do not fit',)),
    (X + POOL + upsample('scale: 2 scale_h: 2 scale_w: 2'), None, ('sizes do not fit',)),
    (X + POOL + upsample('scale_h: 2'), None, ('sizes do not fit',)),
    (X + POOL + upsample('upsample_h: 6 upsample_w: 1'), None, ('6x1', 'above 1')),
    (X + POOL + upsample('scale: 1'), None, ('1x1', 'above 1')),
    (X + POOL + upsample('scale: 3 pad_out_h: true'), None, ('3x3', 'scale of 2')),
    (X + POOL + upsample('upsample_h: 5000 upsample_w: 5000'), None, ('5000x5000', 'float32')),
    (X + POOL + layer('Upsample', 'u', 'x mask', 'y', 'upsample_param { scale: 2 }'), None,
     ('2x3x6x5', '2x3x3x3', 'second top')),
    (X + layer('BN', 'b', 'x', 'y', 'bn_param { var_eps: 0 }'), None, ('var_eps 0',)),
    (X + layer('BN', 'b', 'x', 'y', 'bn_param { moving_average: true }'), None,
     ('moving_average in TEST',)),
    (inputs(x=(2, 3)) + layer('BN', 'b', 'x', 'y', 'bn_param { var_eps: 1 }'), None,
     ('shape 2x3',)),
    (inputs(x=(2,)) + layer('Normalize', 'n', 'x', 'y'), None, ('shape 2',)),
    (X + layer('Normalize', 'n', 'x', 'y', 'norm_param { eps: -1 }'), None, ('eps -1',)),
    *((X + layer('UnPooling', 'n', 'x', 'y', f'unpooling_param {{ {field} }}'), None, parts)
      for field, parts in (('out_stride: 1', ('no out_kernel_size',)),
                           ('out_kernel_h: 2', ('out_kernel_h and out_kernel_w',)),
                           ('out_kernel_size: 2 out_kernel_h: 1 out_kernel_w: 1',
                            ('both out_kernel_h',)),
                           ('out_kernel_size: 0', ('out_kernel 0x0',)),
                           ('out_kernel_size: 2 out_pad: 2', ('(2, 1, 2)', 'out_pad')))),
    (inputs(x=(2, 3)) + layer('UnPooling', 'n', 'x', 'y', 'unpooling_param { out_kernel_size: 2 }'),
     None, ('shape 2x3',)),
    *((SCORES + layer('SoftmaxWithLoss', 'l', 'x l', 'y', f'loss_param {{ {field} }} {more}'),
       dialect, parts)
      for field, more, dialect, parts in (
          ('weight_by_label_freqs: true class_weighting: 1', '', None,
           ('1 class_weighting for 3 classes', '2x3x4x4')),
          ('weight_by_label_freqs: true', '', None, ('without class_weighting',)),
          ('weight_by_label_freqs: true class_weighting: [1, 1, inf]', '', None,
           ("'inf'", 'finite')),
          ('weight_by_label_freqs: true class_weighting: [1, 1, 1]',
           'fcn_repro_param { class_weight: [1, 1, 1] }', None, ('Keep one',)),
          ('normalization: FULL', '', 'segnet', ('normalization', 'normalize')))),
    (X + layer('Dropout', 'd', 'x', 'y', 'fcn_repro_param { class_weight: 1 }'), None,
     ("'fcn_repro_param.class_weight'", 'does not read')),
    (SCORES + layer('SoftmaxWithLoss', 'l', 'x l', 'y',
                    'fcn_repro_param { per_channel: true }'), None,
     ("'fcn_repro_param.per_channel'", 'does not read')),
])
def test_what_a_layer_refuses(text, dialect, parts):
    said = refused(text, dialect)
    assert all(part in said for part in parts), said


@pytest.mark.parametrize('param_str', ["{'phase': 'TRAIN', 'p': '1'}", "{'p': 0.1}", 'p', '[1]',
                                       "{'phase': 'TEST', 'p': 'a'}", '(' * 999])
def test_a_spatial_dropout_that_says_nothing(param_str):
    text = X + layer('Python', 'd', 'x', 'y', 'python_param { module: "spatial_dropout" layer: '
                     f'"SpatialDropoutLayer" param_str: "{param_str}" }}')
    with pytest.raises(FcnError) as caught:
        parse_net(text, FILE, 'enet')
    assert (caught.value.line, caught.value.layer) == (2, 'd') and "'0.1'" in caught.value.do


@pytest.mark.parametrize('mask, what', [(-1, '-1'), (30, '30'), (1e9, '1000000000')])
def test_a_mask_of_another_pooling(mask, what):
    text = inputs(p=(2, 3, 3, 3), mask=(2, 3, 3, 3)) + upsample('upsample_h: 6 upsample_w: 5')
    places = torch.zeros(2, 3, 3, 3)
    places[1, 2, 1, 1] = mask
    said = refused(text, p=image(2, 3, 3, 3), mask=places)
    assert '1 places' in said and f'such as {what}' in said and 'pad_out_w' in said


def test_weights_of_another_bn(tmp_path):
    """PSPNet's four blobs for SegNet's two, and the reverse: an error with both numbers."""
    two, four = layer('BN', 'b', 'x', 'y', LEARN), layer('BN', 'b', 'x', 'y')
    make(X + four, 'pspnet').save(tmp_path / 'four.caffemodel')
    make(X + two).save(tmp_path / 'two.caffemodel')
    for text, dialect, file in ((two, 'segnet', 'four'), (four, 'pspnet', 'two')):
        with pytest.raises(FcnError) as caught:
            make(X + text, dialect).copy_from(tmp_path / f'{file}.caffemodel')
        said = str(caught.value)
        assert "'b'" in said and '2' in said and '4' in said and caught.value.do


# ---- values ----------------------------------------------------------------------------------

def test_learned_statistics_are_those_of_a_batch_norm():
    x = image(2, 3, 6, 5)
    for phase in 'TRAIN', 'TEST':
        net = make(X + layer('BN', 'b', 'x', 'y m v', LEARN), phase=phase)
        out = net.forward(x=x)
        torch.testing.assert_close(out['m'].flatten(), x.mean((0, 2, 3)))
        torch.testing.assert_close(out['v'].flatten(), x.var((0, 2, 3), correction=0))
        plain = make(X + layer('BN', 'b', 'x', 'y', LEARN), phase=phase).forward(x=x)['y']
        torch.testing.assert_close(out['y'], plain)
        torch.testing.assert_close(plain, 2 * F.batch_norm(x, None, None, training=True,
                                                           eps=1e-9) + 1)


def test_one_value_a_channel_becomes_the_shift():
    text = inputs(x=(1, 3, 1, 1)) + layer('BN', 'b', 'x', 'y', LEARN)
    assert make(text).forward(x=image(1, 3, 1, 1))['y'].flatten().tolist() == [1, 1, 1]


@pytest.mark.parametrize('across', [True, False])
def test_parsenets_bn(across):
    """Statistics of each channel, or of each value over the images; gradients by differences."""
    text = inputs(x=(3, 2, 2, 2)) + conv('c', 'x', num_output=2) + layer(
        'BN', 'b', 'c', 'y', f'bn_param {{ across_spatial: {str(across).lower()} var_eps: 0.1 '
        'scale_filler { value: 2 } shift_filler { value: 1 } }')
    net = make(f'force_backward: true\n{text}', phase='TRAIN')
    x, grad = image(3, 2, 2, 2), image(3, 2, 2, 2, seed=1)
    assert net.params['b'][0].shape == ((1, 2, 1, 1) if across else (1, 2, 2, 2))
    net.forward(x=x, blobs='all')
    c = net.blobs['c'].data.detach().clone().requires_grad_()
    axes = (0, 2, 3) if across else 0
    mean, variance = c.mean(axes, keepdim=True), c.var(axes, correction=0, keepdim=True)
    wanted = 2 * (c - mean) / (variance + 0.1).sqrt() + 1
    torch.testing.assert_close(net.blobs['y'].data, wanted.detach())
    net.backward(y=grad)
    wanted.backward(grad)
    torch.testing.assert_close(net.blobs['c'].diff, c.grad, rtol=1e-4, atol=1e-5)
    assert net.params['b'][1].diff.shape == net.params['b'][1].shape


def test_unpooling_to_the_size_of_a_bottom():
    text = inputs(x=(1, 2, 1, 1), z=(1, 1, 3, 4)) + layer(
        'UnPooling', 'u', 'x z', 'y', 'unpooling_param { unpool: REP }')
    x = image(1, 2, 1, 1)
    assert torch.equal(make(text).forward(x=x)['y'], x.expand(1, 2, 3, 4))
    text = inputs(x=(1, 1, 3, 2), z=(1, 1, 5, 4)) + layer(
        'UnPooling', 'u', 'x z', 'y', 'unpooling_param { unpool: REP }')
    y = make(text).forward(x=torch.arange(6.).reshape(1, 1, 3, 2))['y'][0, 0]
    assert y.shape == (6, 4) and y[0].tolist() == [0, 0, 1, 1] and y[-1].tolist() == [4, 4, 5, 5]


def test_unpooling_is_the_mean_where_windows_overlap():
    text = inputs(x=(1, 1, 1, 3)) + layer('UnPooling', 'u', 'x', 'y', 'unpooling_param { unpool: '
                                          '%s out_kernel_h: 1 out_kernel_w: 3 out_stride: 2 }')
    x = torch.tensor([1., 3, 6]).reshape(1, 1, 1, 3)
    wanted = {'REP': [1, 1, 2, 3, 4.5, 6, 6], 'FIXED': [0, 1, 0, 3, 0, 6, 0]}
    wanted['DIV'] = [value / 3 for value in wanted['REP']]
    for method, values in wanted.items():
        torch.testing.assert_close(make(text % method).forward(x=x)['y'].flatten(),
                                   torch.tensor(values, dtype=torch.float32))


def test_repeated_places_keep_the_last_value():
    """On a GPU too, where scatter writes in any order: by the way that is taken there."""
    from fcn_repro.layers.segnet.upsample import last_of_each
    values, index = image(2, 3, 50), torch.randint(0, 20, (2, 3, 50), generator=torch.Generator()
                                                   .manual_seed(1))
    wanted = torch.zeros(2, 3, 20)
    for n in range(2):
        for c in range(3):
            for i in range(50):
                wanted[n, c, index[n, c, i]] = values[n, c, i]
    assert torch.equal(last_of_each(values, index, 20), wanted)
    assert torch.equal(torch.zeros(2, 3, 20).scatter(2, index, values), wanted)


# ---- dropout ---------------------------------------------------------------------------------

DROPOUT = 'dropout_param { dropout_ratio: 0.5 %s } %s'


def test_dropout_samples_when_testing():
    text = X + layer('Dropout', 'd', 'x', 'y', DROPOUT % ('sample_weights_test: true', ''))
    net, x = make(text), torch.ones(2, 3, 6, 5)
    first, second = (net.forward(x=x)['y'].clone() for _ in range(2))
    assert set(first.unique().tolist()) == {0, 2} and not torch.equal(first, second)
    again = make(text).forward(x=x)['y']
    assert torch.equal(first, again)                            # by the seed and the position
    off = make(X + layer('Dropout', 'd', 'x', 'y', DROPOUT % ('sample_weights_test: false', '')))
    assert torch.equal(off.forward(x=x)['y'], x)


def test_a_map_is_dropped_as_a_whole():
    text = inputs(x=(40, 5, 3, 2)) + layer('Dropout', 'd', 'x', 'y', DROPOUT % (
        '', 'fcn_repro_param { per_channel: true }'))
    y = make(text, phase='TRAIN').forward(x=torch.ones(40, 5, 3, 2))['y']
    maps = y.flatten(2)
    assert (maps == maps[:, :, :1]).all() and set(maps.unique().tolist()) == {0, 2}
    assert len({tuple(row) for row in maps[:, :, 0].tolist()}) > 10     # each image its own
    x = image(40, 5, 3, 2)
    assert torch.equal(make(text).forward(x=x)['y'], x)


def test_enets_python_layer():
    """TRAIN in its param_str drops maps in each phase; TEST multiplies by what is left."""
    text = X + layer('Python', 'd', 'x', 'y', 'python_param { module: "spatial_dropout" layer: '
                     '''"SpatialDropoutLayer" param_str: "{'phase': '%s', 'p': '0.5'}" }''')
    x = torch.ones(2, 3, 6, 5)
    for phase in 'TRAIN', 'TEST':
        for dialect in 'enet', 'segnet':
            y = make(text % 'TRAIN', dialect, phase).forward(x=x)['y'].flatten(2)
            assert (y == y[:, :, :1]).all() and set(y.unique().tolist()) <= {0, 2}
            assert torch.equal(make(text % 'TEST', dialect, phase).forward(x=x)['y'], 2 * x)
    assert make(text % 'TEST' + layer('BN', 'b', 'y', 'z', FOLDED)).graph.dialect.name == 'segnet'


# ---- the loss and the accuracy ----------------------------------------------------------------

def test_the_loss_is_not_fused_with_the_upsampling():
    """Its divisor is another one: NaN without labels, weights that count pixels."""
    up = inputs(s=(1, 3, 4, 4), z=(1, 1, 8, 8), l=(1, 1, 8, 8)) + layer(
        'Deconvolution', 'up', 's', 'big', 'param { lr_mult: 0 } convolution_param { num_output: 3 '
        'kernel_size: 4 stride: 2 bias_term: false weight_filler { type: "bilinear" } }') + layer(
        'Crop', 'c', 'big z', 'score', 'crop_param { axis: 2 offset: 1 }') + layer(
        'SoftmaxWithLoss', 'l', 'score l', 'loss', 'loss_param { ignore_label: 255 '
        'weight_by_label_freqs: true class_weighting: [1, 2, 4] }')
    net = make(up, phase='TRAIN')
    scores, none = image(1, 3, 4, 4), torch.full((1, 1, 8, 8), 255.)
    assert net.forward(s=scores, l=none)['loss'].isnan()
    labels = torch.randint(0, 3, (1, 1, 8, 8), generator=torch.Generator().manual_seed(2)).float()
    out = net.forward(s=scores, l=labels, blobs=['loss'])
    fused = out['loss'].item()
    score = net.forward(s=scores, l=labels, blobs='all')['score'].detach()
    terms = F.cross_entropy(score, labels[:, 0].long(), torch.tensor([1., 2, 4]), reduction='sum')
    assert fused == pytest.approx(terms.item() / 64, rel=1e-5)


# ---- data ------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    for i in range(3):
        labels = draws.integers(0, 5, (12, 16), dtype=np.uint8)
        Image.fromarray(np.stack([labels + 100] * 3, -1)).save(f'i{i}.png')
        Image.fromarray(labels).save(f'l{i}.png')
    Path('list.txt').write_text(''.join(f'i{i}.png l{i}.png\n' for i in range(3)))
    return tmp_path


def dense(fields, more='', source='list.txt'):
    return layer('DenseImageData', 'd', '', 'x l', f'dense_image_data_param {{ source: "{source}" '
                 f'{fields} }} {more}')


def test_image_and_labels_move_together(folder):
    """Mirrored and cut alike, at random in TEST too; the mean and the scale leave labels alone."""
    text = dense('batch_size: 3 mirror: true crop_height: 7 crop_width: 9 shuffle: true',
                 'transform_param { mean_value: 100 scale: 2 }')
    net = make(text)
    seen = []
    for _ in range(4):
        out = net.forward()
        assert out['x'].shape == (3, 3, 7, 9) and out['l'].shape == (3, 1, 7, 9)
        assert torch.equal(out['x'][:, :1], 2 * out['l'])
        seen.append(out['l'].clone())
    assert not torch.equal(seen[0], seen[1])
    again = make(text)
    assert all(torch.equal(again.forward()['l'], labels) for labels in seen)
    again.seek(2)
    assert torch.equal(again.forward()['l'], seen[2])


def test_labels_of_an_encoder_are_smaller(folder):
    text = dense('batch_size: 2 new_height: 8 new_width: 16 label_divide_factor: 4')
    net = make(text)
    assert net.graph.dialect.name == 'enet'
    out = net.forward()
    assert out['x'].shape == (2, 3, 8, 16) and out['l'].shape == (2, 1, 2, 4)
    assert set(out['l'].unique().tolist()) <= set(range(5))


@pytest.mark.parametrize('fields, more, parts', [
    ('batch_size: 0', '', ('batch_size is 0',)),
    ('batch_size: 1 new_height: 4', '', ('new_height 4 and new_width 0',)),
    ('batch_size: 1 crop_width: 4', '', ('crop_height 0 and crop_width 4',)),
    ('batch_size: 1 crop_width: 17 crop_height: 3', '', ('12x16', '3x17', 'Lower crop_height')),
    ('batch_size: 1 label_divide_factor: 2', '', ('label_divide_factor 2', 'new_height')),
    ('batch_size: 1 label_divide_factor: 0', '', ('label_divide_factor is 0',)),
    ('batch_size: 1 new_height: 4 new_width: 4 label_divide_factor: 8', '', ('nothing of 4x4',)),
    ('batch_size: 1 mean_file: "m"', '', ('mean_file', 'transform_param')),
    ('batch_size: 1', 'transform_param { crop_size: 3 }', ('crop_size', 'not its labels')),
    ('batch_size: 1', 'transform_param { mirror: true }', ('mirror', 'dense_image_data_param')),
    ('batch_size: 1', 'transform_param { mean_value: [1, 2] }', ('2 mean_value for 3 channels',)),
])
def test_what_dense_image_data_refuses(folder, fields, more, parts):
    said = refused(dense(fields, more))
    assert all(part in said for part in parts), said


def test_pictures_that_do_not_fit(folder):
    Image.fromarray(np.zeros((3, 4), np.uint8)).save('small.png')
    Path('a.txt').write_text('i0.png small.png\n')
    assert 'small.png is 3x4, its image i0.png 12x16' in refused(dense('batch_size: 1',
                                                                       source='a.txt'))
    Path('a.txt').write_text('i0.png l0.png\nsmall.png small.png\n')
    assert 'small.png gives 3x3x4, the first of its batch 3x12x16' in refused(
        dense('batch_size: 2', source='a.txt'))
    os.remove('l0.png')
    assert 'l0.png' in refused(dense('batch_size: 1', source='a.txt'))


# ---- export ----------------------------------------------------------------------------------

@pytest.mark.parametrize('more', [
    layer('BN', 'b', 'x', 'y', FOLDED),
    POOL + upsample('upsample_h: 6 upsample_w: 5'),
    POOL + upsample('scale: 2 pad_out_w: true'),
    POOL + upsample('scale_h: 3 scale_w: 2'),
    layer('Normalize', 'n', 'x', 'y'),
    layer('Normalize', 'n', 'x', 'y', 'norm_param { across_spatial: false channel_shared: false '
          'scale_filler { type: "uniform" min: 1 max: 2 } eps: 0.1 }'),
    layer('Python', 'd', 'x', 'y', 'python_param { module: "spatial_dropout" layer: '
          '''"SpatialDropoutLayer" param_str: "{'phase': 'TEST', 'p': '0.1'}" }''')
    + layer('BN', 'b', 'y', 'y', FOLDED),
])
def test_exports_compute_the_same(more, tmp_path):
    net = make(X + more)
    x = {'x': image(2, 3, 6, 5)}
    wanted = {name: blob.clone() for name, blob in net.forward(**x).items()}['y']
    torch.testing.assert_close(run_python(net, x, tmp_path)['y'], wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(run_onnx(net, x, tmp_path)['y'], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('more, said', [
    (layer('BN', 'b', 'x', 'y', LEARN), 'the statistics of its batch'),
    (layer('BN', 'b', 'x', 'y', 'bn_param { var_eps: 1 }'), 'the statistics of its batch'),
    (layer('Dropout', 'd', 'x', 'y', DROPOUT % ('sample_weights_test: true', '')), 'at random'),
    (layer('UnPooling', 'u', 'x', 'y', 'unpooling_param { out_kernel_size: 2 out_stride: 2 }'),
     'one size'),
])
def test_what_cannot_be_exported(more, said, tmp_path):
    for run in run_python, run_onnx:
        with pytest.raises(FcnError, match=said) as caught:
            run(make(X + more), {'x': image(2, 3, 6, 5)}, tmp_path)
        assert caught.value.layer and caught.value.do


def test_a_gradient_passes_through_the_mask():
    net = make('force_backward: true\n' + X + conv('c', 'x') + POOL.replace('"x"', '"c"')
               + upsample('upsample_h: 6 upsample_w: 5'), phase='TRAIN')
    net.forward(x=image(2, 3, 6, 5), blobs='all')
    grad = image(2, 3, 6, 5, seed=3)
    net.backward(y=grad)
    kept = net.blobs['y'].data != 0
    assert torch.equal(net.blobs['c'].diff, torch.where(kept, grad, 0))
    assert all(diff.abs().sum() > 0 for diff in diffs(net).values())
