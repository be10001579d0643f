"""Fields of this project's own message on layers of Caffe and its forks: against torch's own
functions, forward and backward, exported, and refused."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from exported import package, run_onnx, run_python
from layer_case import distinct, make_layer
from texts import FILE, image, inputs, layer

from fcn_repro.errors import FcnError
from fcn_repro.export import export
from fcn_repro.layers import layer_class
from fcn_repro.layers.common.state import RunState
from fcn_repro.net import Net
from fcn_repro.net.graph import Node
from fcn_repro.proto import TEST, TRAIN, find_dialect
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source


def interp(size, *, own='', param='', shape=(2, 3, 6, 5)):
    """The text of an Interp of x to the size (h, w) of a second bottom, or as `param` says."""
    names = 'x s' if size else 'x'
    text = inputs(x=shape) + (inputs(s=(1, 2, *size)) if size else '')
    more = (f' interp_param {{ {param} }}' if param else '') + \
        (f' fcn_repro_param {{ {own} }}' if own else '')
    return text + layer('Interp', 'i', names, 'y', more)


def make(text, phase='TEST'):
    return Net.of(parse_net(text, FILE), phase)


def refused(text):
    with pytest.raises(FcnError) as caught:
        make(text)
    return caught.value


# ---- Interp --------------------------------------------------------------------------------------

WAYS = [('', {'mode': 'bilinear', 'align_corners': True}),
        ('align_corners: true', {'mode': 'bilinear', 'align_corners': True}),
        ('align_corners: false', {'mode': 'bilinear', 'align_corners': False}),
        ('resize: BILINEAR', {'mode': 'bilinear', 'align_corners': True}),
        ('resize: NEAREST', {'mode': 'nearest'})]
SIZES = [(6, 5), (13, 9), (3, 2), (1, 1), (24, 1), (7, 11)]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('own, how', WAYS)
def test_interp_by_a_second_bottom_is_torch_s(own, how, size):
    net = make(interp(size, own=own), 'TRAIN')
    x, like = image(2, 3, 6, 5), torch.full((1, 2, *size), torch.nan)
    for tensor in x, like:
        tensor.requires_grad_()
    layer_ = net.layer(net.graph.nodes[-1])
    y, = layer_.forward([x, like], [])
    wanted = F.interpolate(x, size, **how)
    assert torch.equal(y, wanted)
    grad = distinct(wanted.shape, 3).float()
    mine, none = torch.autograd.grad(y, [x, like], grad, allow_unused=True)
    assert none is None and torch.equal(mine, torch.autograd.grad(wanted, x, grad)[0])


@pytest.mark.parametrize('own, how', WAYS[2:])
@pytest.mark.parametrize('param, cut', [('height: 9 width: 4', slice(None)),
                                        ('height: 9 width: 4 pad_beg: -1 pad_end: -2',
                                         slice(1, -2))])
def test_interp_by_size(own, how, param, cut):
    x = image(2, 3, 6, 5)
    assert torch.equal(make(interp(None, own=own, param=param)).forward(x=x)['y'],
                       F.interpolate(x[:, :, cut, cut], (9, 4), **how))


def test_interp_follows_its_second_bottom():
    net = make(interp((4, 4)))
    assert net.forward(x=image(1, 3, 6, 5), s=image(1, 2, 9, 7))['y'].shape == (1, 3, 9, 7)
    assert net.forward(x=torch.zeros(0, 3, 6, 5), s=image(1, 2, 9, 7))['y'].shape == (0, 3, 9, 7)


@pytest.mark.parametrize('own', [own for own, _ in WAYS])
def test_gradients_of_interp(own):
    layer_ = make(interp((7, 9), own=own), 'TRAIN').graph.nodes[-1]
    run = make(interp((7, 9), own=own), 'TRAIN').layer(layer_)
    x, like = distinct((1, 2, 4, 3)).requires_grad_(), torch.zeros(1, 1, 7, 9)
    assert torch.autograd.gradcheck(lambda x: run.forward([x, like], [])[0], x)


@pytest.mark.parametrize('own, facts', [
    ('align_corners: false', (9, 4, 'half')), ('resize: NEAREST', (9, 4, 'start')),
    ('', (9, 4, 'corner'))])
def test_where_cells_lie(own, facts):
    """The map takes the first cell's place to the one that the way of resizing says."""
    height, width, kind = facts
    net = make(interp(None, own=own, param=f'height: {height} width: {width}'))
    _, scale, shift = net.layer(net.graph.nodes[-1]).cell_map((2, 3, 6, 5))
    if kind == 'corner':
        assert [*scale, *shift] == [Fraction(height - 1, 5), Fraction(width - 1, 4), 0, 0]
    else:
        assert [*scale] == [Fraction(height, 6), Fraction(width, 5)]
        assert [*shift] == [(s - 1) / 2 if kind == 'half' else 0 for s in scale]
    like = make(interp((9, 4), own=own))
    assert like.layer(like.graph.nodes[-1]).cell_map((2, 3, 6, 5)) is None


@pytest.mark.parametrize('text, parts', [
    (interp((9, 4), param='height: 3 width: 3'), ('second bottom', 'height', 'Remove one')),
    (interp((9, 4), param='zoom_factor: 2'), ('second bottom', 'zoom_factor')),
    (interp(None, own='align_corners: false', param='zoom_factor: 2'),
     ('zoom_factor', 'not aligned', 'second bottom')),
    (interp(None, own='resize: NEAREST', param='shrink_factor: 2'), ('shrink_factor',)),
    (interp((9, 4), own='resize: NEAREST align_corners: true'), ('align_corners', 'NEAREST')),
    (interp(None), ('no size', 'a second bottom')),
    (interp((9, 4), own='keep_ratio: 0.5'), ("'fcn_repro_param.keep_ratio' is set", 'Remove it')),
    (inputs(x=(2, 3, 6, 5), s=(1, 2)) + layer('Interp', 'i', 'x s', 'y'),
     ('shape 1x2 as the size', '4 axes')),
    (inputs(x=(2, 3, 6, 5), s=(1, 2, 0, 4)) + layer('Interp', 'i', 'x s', 'y'),
     ('1x2x0x4 as the size', 'has cells')),
    (inputs(x=(2, 3, 6, 5)) + layer('Interp', 'i', 'x x x', 'y'), ('3 bottoms', '1 to 2')),
])
def test_what_interp_refuses(text, parts):
    error = refused(text)
    assert error.line and error.do and error.layer == 'i'
    assert all(part in str(error) for part in parts), str(error)


def test_a_mode_that_there_is_not():
    with pytest.raises(FcnError, match='CUBIC'):
        parse_net(interp((9, 4), own='resize: CUBIC'), FILE)


# ---- Pooling -------------------------------------------------------------------------------------

def pooling(own, param='pool: AVE', shape=(2, 3, 7, 10)):
    return inputs(x=shape) + layer('Pooling', 'p', 'x', 'y', f'pooling_param {{ {param} }} '
                                   f'fcn_repro_param {{ {own} }}')


@pytest.mark.parametrize('size', [[1], [3], [2, 5], [7, 10], [9, 12]])
def test_pooling_to_a_size_is_torch_s(size):
    net = make(pooling(f'output_size: {size}'), 'TRAIN')
    x = image(2, 3, 7, 10).requires_grad_()
    y, = net.layer(net.graph.nodes[-1]).forward([x], [])
    wanted = F.adaptive_avg_pool2d(x, tuple((size * 2)[:2]))
    grad = distinct(wanted.shape, 3).float()
    assert torch.equal(y, wanted)
    assert torch.equal(*(torch.autograd.grad(top, x, grad)[0] for top in (y, wanted)))


def test_one_mean_is_the_global_pooling():
    x = image(2, 3, 7, 10)
    torch.testing.assert_close(
        make(pooling('output_size: 1')).forward(x=x)['y'],
        make(pooling('', 'pool: AVE global_pooling: true').replace('fcn_repro_param {  }', '')
             ).forward(x=x)['y'])


@pytest.mark.parametrize('text, parts', [
    (pooling('output_size: 0'), ('output_size 0', 'positive')),
    (pooling('output_size: [1, 2, 3]'), ('output_size 1x2x3', 'one or two')),
    (pooling('output_size: 2', 'pool: MAX'), ('pool: MAX', 'AVE')),
    (pooling('output_size: 2', 'pool: AVE kernel_size: 2'), ('output_size with kernel_size',)),
    (pooling('output_size: 2', 'pool: AVE global_pooling: true'), ('global_pooling',)),
    (pooling('output_size: 2', 'pool: AVE round_mode: FLOOR'), ('round_mode',)),
    (pooling('output_size: 2', shape=(2, 3, 0, 4)), ('2x3x0x4 has no cells',)),
    (pooling('per_channel: true', 'kernel_size: 2'), ("'fcn_repro_param.per_channel' is set",)),
])
def test_what_pooling_refuses(text, parts):
    error = refused(text)
    assert error.line and error.do and all(part in str(error) for part in parts), str(error)


def test_a_blob_without_channels_is_pooled():
    assert make(pooling('output_size: 2', shape=(2, 0, 3, 4))).forward(
        x=torch.zeros(2, 0, 3, 4))['y'].shape == (2, 0, 2, 2)


# ---- Dropout -------------------------------------------------------------------------------------

def test_channels_are_dropped_whole():
    """Each channel of each image is 0 or 1/(1 - p) times itself, in the share that is asked for;
    the mask is that of the position, forward and backward."""
    one = make_layer('Dropout', 1, 1, {'dropout_param': {'dropout_ratio': 0.25},
                                       'fcn_repro_param': {'per_channel': True}}, TRAIN)
    x = torch.ones(40, 50, 2, 3, requires_grad=True)
    y, = one.forward([x], [])
    flat = y.detach().flatten(2)
    assert torch.equal(flat, flat[:, :, :1].expand_as(flat))
    assert {round(v, 4) for v in flat.unique().tolist()} == {0, 1.3333}
    assert abs((flat[:, :, 0] > 0).float().mean() - 0.75) < 0.03
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y.detach())
    assert torch.equal(one.forward([x], [])[0], y)
    one.state.position += 1
    assert not torch.equal(one.forward([x], [])[0], y)


def test_dropout_of_channels_when_testing():
    one = make_layer('Dropout', 1, 1, {'fcn_repro_param': {'per_channel': True}}, TEST)
    x = distinct((2, 3, 4))
    assert torch.equal(one.forward([x], [])[0], x)


def test_dropout_of_channels_wants_channels():
    error = refused(inputs(x=(5,)) + layer('Dropout', 'd', 'x', 'y',
                                           'fcn_repro_param { per_channel: true }'))
    assert 'shape 5' in str(error) and '(N, C' in error.do


# FickleNet: a 3x3 convolution as Im2col, dropout of each window, and a 1x1 convolution
FICKLE = (inputs(x=(2, 5, 6, 7)) + layer('Im2col', 'i', 'x', 'i', 'convolution_param { '
                                         'kernel_size: 3 pad: 1 }')
          + layer('Dropout', 'd', 'i', 'd', 'dropout_param { dropout_ratio: 0.75 } '
                  'fcn_repro_param { window: 3 }')
          + layer('Convolution', 'y', 'd', 'y', 'convolution_param { num_output: 4 kernel_size: 1 '
                  'weight_filler { type: "gaussian" std: 1 } }'))


def test_the_middle_of_a_window_is_kept():
    """Every other value is dropped, or multiplied by 4; each window draws its own."""
    one = make_layer('Dropout', 1, 1, {'dropout_param': {'dropout_ratio': 0.75},
                                       'fcn_repro_param': {'window': [3]}}, TRAIN)
    x = torch.ones(4, 50 * 9, 6, 7, requires_grad=True)
    y, = one.forward([x], [])
    places = y.detach().view(4, 50, 3, 3, 6, 7)
    assert (places[:, :, 1, 1] == 1).all()
    others = places.flatten(2, 3)[:, :, [0, 1, 2, 3, 5, 6, 7, 8]]
    assert others.unique().tolist() == [0, 4] and abs((others > 0).float().mean() - 0.25) < 0.01
    assert not torch.equal(others[..., 0, 0], others[..., 0, 1])
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y.detach())
    assert torch.equal(one.forward([x], [])[0], y)


def test_window_dropout_is_a_convolution_when_testing():
    """And in training, without anything dropped."""
    for phase, text in ('TEST', FICKLE), ('TRAIN', FICKLE.replace('0.75', '0')):
        net, x = make(text, phase), image(2, 5, 6, 7)
        weight, bias = (blob.data for blob in net.params['y'])
        torch.testing.assert_close(net.forward(x=x)['y'], F.conv2d(
            x, weight.view(4, 5, 3, 3), bias, padding=1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('own, shape, parts', [
    ('window: 1', (2, 9, 4, 4), ('one place', 'larger')),
    ('window: 2', (2, 9, 4, 4), ('window 2', 'odd')),
    ('window: [3, 3, 3]', (2, 27, 4, 4), ('window 3x3x3', 'one or two')),
    ('window: 3 per_channel: true', (2, 9, 4, 4), ('window with per_channel',)),
    ('window: 3', (2, 10, 4, 4), ('2x10x4x4', 'C * 9', 'Im2col')),
    ('window: [3, 5]', (2, 9, 4, 4), ('2x9x4x4', 'C * 15')),
    ('window: 3', (2, 9), ('shape 2x9', 'Im2col'))])
def test_what_window_dropout_refuses(own, shape, parts):
    error = refused(inputs(x=shape)
                    + layer('Dropout', 'd', 'x', 'y', f'fcn_repro_param {{ {own} }}'))
    assert error.line == 2 and error.do and all(part in str(error) for part in parts), str(error)


# ---- all of them ---------------------------------------------------------------------------------

EXPORTED = [*(interp((9, 4), own=own) for own, _ in WAYS),
            interp(None, own='align_corners: false', param='height: 3 width: 11'),
            interp(None, own='resize: NEAREST', param='height: 3 width: 11 pad_beg: -1'),
            *(pooling(f'output_size: {size}') for size in ([1], [3], [2, 5], [9, 12])),
            inputs(x=(2, 3, 6, 5)) + layer('Dropout', 'd', 'x', 'y',
                                           'fcn_repro_param { per_channel: true }'),
            inputs(x=(2, 18, 6, 5)) + layer('Dropout', 'd', 'x', 'y',
                                            'fcn_repro_param { window: 3 }')]


@pytest.mark.parametrize('text', EXPORTED)
def test_exports_compute_the_same(text, tmp_path):
    package('onnx')
    net = make(text)
    given = {name: image(*net.shapes[net.graph.last(name)], seed=i)
             for i, name in enumerate(net.graph.inputs)}
    wanted = net.forward(**given)['y']
    assert torch.equal(run_python(net, given, tmp_path)['y'], wanted)
    torch.testing.assert_close(run_onnx(net, given, tmp_path)['y'], wanted, rtol=1e-5, atol=1e-6)


BESIDE = inputs(x=(1, 3, 12, 10)) + layer('Pooling', 'h', 'x', 'half', 'pooling_param { '
                                          'kernel_size: 2 stride: 2 }')


@pytest.mark.parametrize('more', [
    layer('Interp', 'i', 'half x', 'y'),
    layer('Interp', 'i', 'half x', 'y', 'fcn_repro_param { align_corners: false }'),
    layer('Interp', 'i', 'half x', 'y', 'fcn_repro_param { resize: NEAREST }'),
    layer('Pooling', 'p', 'half', 'y', 'pooling_param { pool: AVE } fcn_repro_param { '
          'output_size: [3, 4] }'),
])
def test_exports_at_any_size(more, tmp_path):
    package('onnx')
    net = make(BESIDE + more)
    for size in (12, 10), (7, 21):
        x = {'x': image(1, 3, *size)}
        wanted = net.forward(**x)['y']
        for run in run_python, run_onnx:
            torch.testing.assert_close(run(make(BESIDE + more), x, tmp_path)['y'], wanted,
                                       rtol=1e-5, atol=1e-6)


def test_a_file_for_caffe_keeps_them(tmp_path):
    net = make(interp((9, 4), own='align_corners: false'))
    path, text = export(net, 'caffemodel', tmp_path / 'n.caffemodel')
    again = parse_net(text.read_text(), FILE).message.layer[-1]
    assert not again.fcn_repro_param.align_corners and path.exists()


def test_the_fields_in_every_dialect():
    for name in 'bvlc', 'deeplab-v2', 'pspnet', 'deeplab-v1', 'hed':
        own = find_dialect(name)['LayerParameter']().fcn_repro_param
        assert (own.align_corners, own.resize, own.output_size[:], own.per_channel,
                own.synchronised) == (True, 0, [], False, False)


def test_pictures_and_fields_of_vision():
    """Drawn with their shapes; what reads the whole of a blob sees the whole input."""
    source = parse_source(BESIDE + layer('Interp', 'i', 'half x', 'y')
                          + layer('Pooling', 'p', 'half', 'z', 'pooling_param { pool: AVE } '
                                  'fcn_repro_param { output_size: 2 }'), FILE)
    blobs = {blob.name: blob for blob in describe(source, 'TEST').blobs.values()}
    assert blobs['y'].shape == (1, 3, 12, 10) and blobs['z'].shape == (1, 3, 2, 2)
    assert blobs['y'].whole and blobs['z'].whole and blobs['half'].field[0].size == 2


def test_interp_of_a_fork_is_as_ever():
    """A node made without the parser: the class alone decides."""
    cls = layer_class('Interp', find_dialect('pspnet'))
    param = find_dialect('pspnet')['LayerParameter'](
        name='i', type='Interp', bottom=['a'], top=['b'], interp_param={'zoom_factor': 2})
    made = cls(Node('i', 'Interp', param, (0,), (1,), 1), RunState(TEST))
    assert made.shape([(1, 2, 5, 4)]) == [(1, 2, 9, 7)]
