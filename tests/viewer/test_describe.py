"""What is said of a net: equal to what the net itself says, as far as there is one, and told apart
from what is assumed or unknown."""

import math
from pathlib import Path

import pytest
import torch
from texts import inputs, layer

from fcn_repro import viewer
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.viewer import fusions
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source

ROOT = Path(__file__).parents[2]
FCN8S = ROOT / 'prototxt/voc-fcn8s/deploy.prototxt'
X = inputs(x=(1, 3, 8, 8))


def conv(name, bottom, more=''):
    return layer('Convolution', name, bottom, name, f'convolution_param {{ num_output: 2 '
                 f'kernel_size: 3 {more} }}')


def of(text, **options):
    return describe(parse_source(text, 'net.prototxt'), **options)


def shapes(drawn):
    """{blob: last shape, after ~ where something was assumed}."""
    return {blob.name: ('' if blob.sure else '~') + ('?' if blob.shape is None else
                                                     'x'.join(map(str, blob.shape)))
            for blob in drawn.blobs.values()}


def said(drawn):
    return [(note.line, note.layer, note.what) for note in drawn.notes]


NETS = [path for family in ('mini-fcn8s', 'mini-classifier', 'm2nist*')
        for path in sorted(ROOT.glob(f'prototxt/{family}/*.prototxt'))
        if not path.name.startswith('solver')]


@pytest.mark.parametrize('path', NETS, ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_every_shipped_net_is_known(path):
    """No note but those on data, all shapes, and the parameters that the deploy net has."""
    phase = 'TRAIN' if path.name.startswith('train') else 'TEST'
    drawn = viewer.drawn(path, phase, size=(96, 128))
    assert drawn.whole and not drawn.unknown
    assert all('assumed without its data' in note.what for note in drawn.notes)
    assert all(cut.fits for cut in drawn.cuts.values()) and drawn.training > drawn.inference > 0
    if path.name == 'deploy.prototxt':
        net = Net.read(path, TEST)
        own = viewer.drawn(path)
        assert own.params == sum(blob.parameter.numel() for blob in net.learnable_params)
        for name, blob in net.blobs.items():
            if 'split' not in name:
                assert blob.shape == next(b.shape for b in own.blobs.values() if b.name == name)


def test_fcn8s_of_the_release():
    """Known numbers: 134M parameters, fc7's field of 404 pixels at stride 32, the offsets."""
    drawn = viewer.drawn(FCN8S)
    items = {item.name: item for item in drawn.items}
    assert drawn.params == 134_489_759 and not drawn.notes
    fc7 = drawn.blobs[items['fc7'].tops[0]]
    assert (fc7.shape, fc7.field[0].size, fc7.field[0].stride) == ((1, 4096, 16, 16), 404, 32)
    assert items['fc6'].macs == 512 * 4096 * 49 * 16 * 16
    assert items['upscore8'].macs == 21 * 21 * 16 * 16 * 70 * 70
    score = drawn.blobs[items['score'].tops[0]]
    assert score.shape == (1, 21, 500, 500) and score.field[0].start == 0
    assert {drawn.items[i].name: cut.derived for i, cut in drawn.cuts.items()} == {
        'score_pool4c': (5, 5), 'score_pool3c': (9, 9), 'score': (31, 31)}


def test_another_size():
    drawn = viewer.drawn(FCN8S, size=(384, 512))
    assert next(iter(drawn.blobs.values())).shape == (1, 3, 384, 512)
    assert shapes(drawn)['score'] == '1x21x384x512'


def test_macs_are_counted_by_gradients():
    """Products: the sum over the tops of how often each weight is used, with inputs of one."""
    text = inputs(x=(2, 4, 7, 6)) + layer(
        'Convolution', 'a', 'x', 'a', 'convolution_param { num_output: 6 kernel_size: 3 stride: 2 '
        'group: 2 bias_term: false }') + layer(
        'Deconvolution', 'b', 'a', 'b', 'convolution_param { num_output: 5 kernel_size: 4 '
        'stride: 2 bias_term: false }') + layer(
        'InnerProduct', 'c', 'b', 'c', 'inner_product_param { num_output: 3 bias_term: false }')
    drawn, net = of(text), Net.of(parse_net(text), TEST)
    for item, node in zip(drawn.items, net.graph.nodes, strict=True):
        if item.macs:
            params = [torch.ones_like(p).requires_grad_() for p in net.params_of(node)]
            bottoms = [torch.ones(net.shapes[v]) for v in node.bottoms]
            top, = net.layer(node).forward(bottoms, params)
            grad, = torch.autograd.grad(top.sum(), params)
            assert item.macs == int(grad.sum()), item.name


def test_recurrent_products():
    text = inputs(x=(3, 2, 4), cont=(3, 2)) + layer(
        'LSTM', 'l', 'x cont', 'l', 'recurrent_param { num_output: 5 }')
    assert of(text).items[-1].macs == 3 * 2 * (4 * 5 * 4 + 4 * 5 * 5)


def test_a_type_that_nobody_knows():
    """Its tops and all that follows are unknown; what it overwrites is assumed to stay."""
    text = X + conv('a', 'x') + layer('SyncBN', 'bn', 'a', 'a') + conv('b', 'a') \
        + layer('ROIPooling', 'i', 'b', 'i') + conv('c', 'i')
    drawn = of(text)
    assert shapes(drawn) == {'x': '1x3x8x8', 'a': '~1x2x6x6', 'b': '~1x2x4x4', 'i': '?', 'c': '?'}
    assert [item.kind for item in drawn.items] == ['source', 'weights', 'unknown', 'weights',
                                                   'unknown', 'weights']
    assert drawn.unknown == 2 and not drawn.whole and drawn.inference is None
    assert any(line == 3 and "unknown layer type 'SyncBN'" in what for line, _, what in said(drawn))
    given = of(text, shapes={'i': (1, 2, 12, 12)})
    assert shapes(given)['c'] == '1x2x10x10'


def test_faults_are_notes_on_their_layer():
    """A layer that cannot run is drawn, with the error that the net would raise."""
    drawn = of(X + conv('a', 'x') + layer('Pooling', 'p', 'a', 'p', 'pooling_param { kernel_size: '
                                          '9 }') + conv('p', 'p').replace('top: "p"', 'top: "q"'))
    assert shapes(drawn) == {'x': '1x3x8x8', 'a': '1x2x6x6', 'p': '?', 'q': '?'}
    (line, name, what), = said(drawn)
    assert (line, name) == (3, 'p') and '1x2x6x6' in what and '9x9' in what
    assert [item.name for item in drawn.items][-2:] == ['p', 'p#2']


def test_a_field_that_nobody_knows():
    """The layer is computed without it, and what follows is marked."""
    drawn = of(X + conv('a', 'x', 'tied: 2') + conv('b', 'x'))
    assert shapes(drawn) == {'x': '1x3x8x8', 'a': '~1x2x6x6', 'b': '1x2x6x6'}


def test_data_are_not_opened():
    """Data layers have what their text tells, and the size that is given."""
    text = layer('Data', 'd', '', 'data label', 'data_param { batch_size: 4 source: "/none" } '
                 'transform_param { mean_file: "/none" %s }')
    assert shapes(of(text % 'crop_size: 7')) == {'data': '~4x3x7x7', 'label': '~4'}
    assert shapes(of(text % '')) == {'data': '?', 'label': '?'}
    assert shapes(of(text % 'force_gray: true', size=(5, 6))) == {'data': '~4x1x5x6',
                                                                  'label': '~4'}
    python = layer('Python', 'd', '', 'data label', 'python_param { module: "%s" layer: "%s" '
                   'param_str: "{\'split\': \'train\', \'batch_size\': 2}" }')
    known = python % ('voc_layers', 'VOCSegDataLayer')
    assert shapes(of(known, size=(5, 6))) == {'data': '~2x3x5x6', 'label': '~2x1x5x6'}
    drawn = of(python % ('mine', 'Mine'), size=(5, 6), shapes={'data': (1, 3, 9, 9)})
    assert shapes(drawn) == {'data': '1x3x9x9', 'label': '?'} and drawn.unknown == 1


def test_inputs_without_a_shape():
    text = layer('Input', 'd', '', 'data') + conv('a', 'data')
    assert shapes(of(text)) == {'data': '?', 'a': '?'}
    assert shapes(of(text, size=(8, 9)))['a'] == '1x2x6x7'
    assert shapes(of(text, shapes={'data': (2, 1, 4, 4)}))['a'] == '2x2x2x2'


def test_only_images_of_the_first_size_are_resized():
    drawn = of(inputs(data=(1, 3, 8, 8), mask=(1, 1, 8, 8), info=(1, 3), small=(1, 3, 4, 4)),
               size=(6, 7))
    assert shapes(drawn) == {'data': '1x3x6x7', 'mask': '1x1x6x7', 'info': '1x3',
                             'small': '1x3x4x4'}


@pytest.mark.parametrize('given, what', [
    ({'y': (1,)}, "no blob 'y'"), ({'a': (1, 2, 3, 4)}, "blob 'a' is computed: 1x2x6x6")])
def test_shapes_that_are_not_to_be_given(given, what):
    with pytest.raises(FcnError, match=what):
        of(X + conv('a', 'x'), shapes=given)


@pytest.mark.parametrize('text, line, what', [
    (X + conv('a', 'nowhere'), 2, "unknown bottom 'nowhere'"),
    (X + conv('a', 'b') + conv('b', 'a'), 2, "unknown bottom 'b'"),
    (X + conv('a', 'x') + conv('a', 'x'), 3, "top 'a' is made by another layer already"),
    (X + layer('ReLU', 'a', 'x', 'y', 'include { } exclude { }'), 2, 'exclude')])
def test_what_is_no_graph(text, line, what):
    """A bottom from nowhere, a cycle, and a blob made twice are errors with file and line."""
    with pytest.raises(FcnError, match=what) as error:
        of(text)
    assert (error.value.file, error.value.line) == ('net.prototxt', line)


def test_no_layers_of_a_phase():
    with pytest.raises(FcnError, match='no layer takes part in phase TEST'):
        of(layer('Input', 'd', '', 'data', 'include { phase: TRAIN }'))


def test_shared_parameters_count_once():
    shared = 'param { name: "w" } param { name: "b" lr_mult: 0 }'
    text = X + ''.join(layer('Convolution', name, 'x', name, shared + ' convolution_param { '
                             'num_output: 2 kernel_size: 3 }') for name in 'ab')
    drawn = of(text)
    assert drawn.params == 2 * 3 * 9 + 2
    assert [(p.owner, p.learned) for p in drawn.items[-1].params] == [('a', True), ('a', False)]


def test_memory():
    """Blobs in memory of their own; the peak is that of the executor's plan."""
    text = X + conv('a', 'x') + layer('ReLU', 'r', 'a', 'a') + conv('b', 'a')
    drawn, net = of(text), Net.of(parse_net(text), TEST, passes=DEFAULT)
    assert drawn.activations == 4 * (3 * 64 + 2 * 36 + 2 * 16)
    params = sum(p.numel() for p in net.parameters())
    assert drawn.inference == 4 * (3 * 64 + 2 * 36 + params)
    assert drawn.training == 4 * (3 * 64 + 2 * 36 + 2 * 16 + 2 * params)
    assert math.prod(net.blobs['a'].shape) == 72


def test_offsets_that_do_not_fit():
    """Another offset than the maps' is said with its size; no common blob is said, too. What is
    cut later is explained by the maps that the text has, the wrong one among them."""
    text = FCN8S.read_text().replace('offset: 5', 'offset: 4')
    drawn = of(text)
    cut = next(iter(drawn.cuts.values()))
    assert cut.given == (4, 4) and cut.derived == (5, 5)
    assert 'The text says 4: 1 cells off, 16 pixels of the input.' in cut.words
    assert any('lie up to 16 pixels apart' in what for _, _, what in said(drawn))
    apart = of(inputs(x=(1, 1, 9, 9), y=(1, 1, 4, 4)) + layer(
        'Crop', 'c', 'x y', 'c', 'crop_param { offset: 2 }'))
    assert apart.cuts[2].derived is None and 'No offset follows' in apart.cuts[2].words


def test_what_passes_fuse():
    """FCN-8s: the border, two sums with skips, the last upsampling, and the label map."""
    drawn = viewer.drawn(FCN8S)
    fused = [(fusion.of, [name for name, _ in fusion.layers]) for fusion in drawn.fusions]
    assert fused[0] == ('collapse_border', ['conv1_1'])
    assert fused[-4:] == [
        ('fuse_upcrop', ['upscore8', 'score']),
        ('fuse_skip', ['upscore2', 'score_pool4c', 'fuse_pool4']),
        ('fuse_skip', ['upscore_pool4', 'score_pool3c', 'fuse_pool3']),
        ('fuse_score', ['upscore8', 'score', '(labels)'])]
    assert 'pad 100 becomes 8' in drawn.fusions[0].what
    assert 'become one UpCropAdd' in drawn.fusions[-2].what


def test_many_fusions_of_a_kind_are_one_line():
    """VOC-FCN8s' ReLUs: fifteen lines would hide the rest."""
    drawn = viewer.drawn(FCN8S)
    many = [line for line in viewer.text_of(drawn).splitlines()
            if 'times Convolution + ReLU become one ConvolutionReLU' in line]
    fused = [name for name, _ in (fusion.layers[0] for fusion in drawn.fusions
                                  if fusion.kind.endswith('one ConvolutionReLU'))]
    assert len(many) == 1 and f'{len(fused)} times' in many[0] and len(fused) == 15
    assert many[0].endswith(', '.join(fused))
    groups = fusions.alike(drawn.fusions)
    assert sorted(k for group in groups for k in group) == list(range(len(drawn.fusions)))
    assert [len(group) for group in groups if len(group) > 1] == [15]


def test_passes_in_training():
    drawn = viewer.drawn(ROOT / 'prototxt/voc-fcn32s/train.prototxt', 'TRAIN', size=(500, 500))
    assert [fusion.of for fusion in drawn.fusions][-1] == 'fuse_score'
    assert all(fusion.request == 'outputs' for fusion in drawn.fusions)


def test_a_crop_that_fails_is_not_explained():
    crop = layer('Crop', 'c', 'x x', 'c', 'crop_param { offset: 9 }')
    assert not of(X + crop).cuts
    assert 'No offset' in of(X + crop, shapes={'c': (1, 3, 4, 4)}).cuts[1].words
    assert not of(X + layer('Crop', 'c', 'x x')).cuts
