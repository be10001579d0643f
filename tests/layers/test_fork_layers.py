"""Layer types of forks of Caffe against what the forks computed, their refusals and exports."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import run_onnx, run_python
from goldens import DATA, ROOT
from texts import FILE, conv, image, inputs, layer

from fcn_repro.data.opencv import resize_linear, resize_nearest
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.parity import KINDS, Limits, check_folder
from fcn_repro.parity.comparison import KNOWN, OK
from fcn_repro.parity.folder import find_cases, read_known
from fcn_repro.proto import dialects
from fcn_repro.proto.prototxt import parse_net

FORKS = DATA / 'forks'
ALL = ROOT.parent / 'shared/goldens-forks'
CASES = {case.name: case for case in find_cases(FORKS)}


def make(text, dialect=None, phase='TEST', **options):
    return Net.of(parse_net(text, FILE, dialect), phase, **options)


def refused(text, dialect=None, phase='TEST', **inputs):
    with pytest.raises(FcnError) as caught:
        make(text, dialect, phase).forward(**inputs)
    return caught.value


# ---- goldens ---------------------------------------------------------------------------------

@pytest.mark.parametrize('name', CASES)
def test_a_layer_equals_its_fork(name):
    comparison = CASES[name].run(Limits())
    assert comparison.verdict == OK, comparison.refusal or comparison.departing


def test_every_type_has_a_golden():
    texts = ''.join(path.read_text() for path in FORKS.rglob('*.prototxt'))
    types = {name for dialect in dialects.dialects().values() for name in dialect.types
             if dialect.detected}
    assert {name for name in types if f'"{name}"' not in texts} == {
        'Padding', 'ArgMax', 'Dropout'}     # below, in test_detect.py and in test_segnet_layers.py


@pytest.mark.slow
@pytest.mark.skipif(not ALL.exists(), reason='the goldens of the forks are not beside the project')
@pytest.mark.parametrize('fork', ['bvlc-dilation', 'crfasrnn-crfrnn', 'crfasrnn-master',
                                  'deeplab-v2', 'enet', 'hed', 'parsenet', 'pspnet', 'segnet'])
def test_all_goldens_of_a_fork(fork):
    known = {name.partition('/')[2]: case for name, case in
             read_known(ROOT / 'tests/forks_known.json').items() if name.startswith(f'{fork}/')}
    assert [row.name for row in check_folder(ALL / fork, Limits(), KINDS, known)
            if row.verdict not in (OK, KNOWN)] == []


def test_a_golden_of_several_passes_can_depart(tmp_path):
    """Each pass is compared, and a wrong offset of a crop is found."""
    import h5py
    for name in 'segacc_reset_false_3forwards.h5', 'segacc_reset_false_3forwards.prototxt':
        (tmp_path / name).write_bytes((FORKS / 'deeplab-v2/layers' / name).read_bytes())
    with h5py.File(tmp_path / 'segacc_reset_false_3forwards.h5', 'r+') as file:
        file['outputs_1/y'][...] += 1
    found, = check_folder(tmp_path, Limits())
    assert [gap.what for gap in found.departing] == ['outputs_1/y']


def test_a_wrong_offset_departs(tmp_path):
    name = 'crop_pool1_deconv_k4s2'
    for file in f'{name}.h5', f'{name}.prototxt':
        (tmp_path / file).write_bytes((FORKS / 'hed/layers' / file).read_bytes())
    offsets = json.loads((FORKS / 'hed/layers/crop_offsets.json').read_text())
    offsets[name]['offset'][1] += 1
    (tmp_path / 'crop_offsets.json').write_text(json.dumps(offsets))
    found = {case.name: case for case in check_folder(tmp_path, Limits())}
    assert [gap.what for gap in found['crop_offsets.json'].departing] == [f'{name}/offset']


# ---- refusals --------------------------------------------------------------------------------

X = inputs(x=(2, 3, 6, 5))
LABELS = X + inputs(l=(2, 1, 6, 5))
BN = "bn_param { frozen: true }"


@pytest.mark.parametrize('text, parts', [
    (X + layer('Interp', 'i', 'x', 'y', 'interp_param { height: 3 }'), ('no size', 'zoom_factor')),
    (X + layer('Interp', 'i', 'x', 'y', 'interp_param { zoom_factor: 2 pad_beg: 1 }'),
     ('pad_beg 1',)),
    (X + layer('Interp', 'i', 'x', 'y', 'interp_param { zoom_factor: 0 }'), ('zoom_factor 0',)),
    (X + layer('Interp', 'i', 'x', 'y', 'interp_param { height: 0 width: 2 }'), ('height 0',)),
    (X + layer('Interp', 'i', 'x', 'y', 'interp_param { zoom_factor: 2 pad_end: -5 }'),
     ('leave nothing of 6x5',)),
    (inputs(x=(2, 3)) + layer('Interp', 'i', 'x', 'y', 'interp_param { zoom_factor: 2 }'),
     ('shape 2x3',)),
    (X + layer('SegAccuracy', 's', 'x x', 'y', 'seg_accuracy_param { }'),
     ('labels of 2x3x6x5', '2x1x6x5')),
    (inputs(x=(2, 3), l=(2, 1)) + layer('SegAccuracy', 's', 'x l', 'y'), ('shape 2x3',)),
    (X + layer('SpatialProduct', 's', 'x x', 'y'), ('2x3x6x5', '(N, 1, H, W)')),
    (X + layer('UniqueLabel', 'u', 'x', 'y', 'unique_label_param { max_labels: 2 }'),
     ('shape 2x3x6x5',)),
    (LABELS + layer('UniqueLabel', 'u', 'l', 'y',
                    'unique_label_param { max_labels: 1 force_label: 0 }'), ('max_labels 1',)),
    (LABELS + layer('BiasChannel', 'b', 'x l', 'y'), ('scores of 2x3x6x5', 'labels of 2x1x6x5')),
    (LABELS + layer('BiasChannel', 'b', 'x l', 'y', 'bias_channel_param { fg_bias: -1 }'),
     ('fg_bias -1',)),
    (LABELS + layer('AdaptiveBiasChannel', 'b', 'x l', 'y'), ('labels of 2x1x6x5',)),
    (LABELS + layer('AdaptiveBiasChannel', 'b', 'l l', 'y'), ('scores of shape 2x1x6x5',)),
    *((LABELS + layer('AdaptiveBiasChannel', 'b', 'x l', 'y',
                      f'adaptive_bias_channel_param {{ {field} }}'), (what,))
      for field, what in (('num_iter: 0', 'num_iter 0'), ('bg_portion: 1', 'bg_portion 1'),
                          ('margin_others: -1', 'margin_others -1'))),
    (LABELS + layer('DomainTransform', 'd', 'x x l', 'y'), ('2x3x6x5', '(N, 1, 1, 2)')),
    *((LABELS + layer('DomainTransform', 'd', 'x l l', 'y',
                      f'domain_transform_param {{ {field} }}'), (what,))
      for field, what in (('num_iter: 0', 'num_iter 0'), ('range_sigma: 0', 'range_sigma 0'),
                          ('min_weight: -1', 'min_weight -1'))),
    (inputs(x=(2, 3)) + layer('BN', 'b', 'x', 'y', BN), ('shape 2x3',)),
])
def test_what_a_layer_refuses(text, parts):
    error = refused(text)
    assert error.line and error.do and all(part in str(error) for part in parts)


@pytest.mark.parametrize('param, parts', [
    ('batch_size: 0', ('batch_size is 0',)),
    ('batch_size: 1 new_height: 3', ('new_height 3 and new_width 0',)),
    ('batch_size: 1 ignore_label: 256', ('ignore_label 256',)),
    ('batch_size: 1 } transform_param { scale_factors: 0', ('scale_factors',)),
    ('batch_size: 1 } transform_param { crop_size: 3 crop_height: 3', ('crop_height',)),
    ('batch_size: 1 } transform_param { mean_file: "m"', ('mean_file',)),
    ('batch_size: 1 } transform_param { force_color: true', ('force_color',)),
    ('batch_size: 1 } transform_param { mean_value: 1 mean_value: 2', ('2 mean_value',)),
    ('batch_size: 1 label_type: IMAGE', ("'images/lab0.png' is not a label",)),
    ('batch_size: 1 } transform_param { crop_size: 900', ('margin', 'mean_value')),
    ('batch_size: 5 ', ('the first of its batch',)),
    ('batch_size: 1 } transform_param { scale_factors: 0.001', ('a scale of 0.001',)),
])
def test_what_image_seg_data_refuses(param, parts, monkeypatch):
    monkeypatch.chdir(FORKS / 'deeplab-v2/data')
    kind = '' if 'label_type' in param else 'label_type: PIXEL'
    error = refused(layer('ImageSegData', 'd', '', 'data label dim', 'image_data_param { '
                          f'source: "pixel.txt" {kind} {param} }}'))
    assert error.line == 1 and error.do and all(part in str(error) for part in parts)


@pytest.mark.parametrize('tops', ['data', 'data label', 'data label dim'])
def test_tops_of_image_seg_data_may_be_left_out(tops, monkeypatch):
    """Its AutoTopBlobs in Caffe: DeepLab's own files have one, two or three."""
    monkeypatch.chdir(FORKS / 'deeplab-v2/data')
    text = layer('ImageSegData', 'd', '', tops, 'image_data_param { source: "pixel.txt" batch_size:'
                 ' 1 label_type: PIXEL }') + layer('Power', 'p', 'data', 'y')
    net = Net.of(parse_net(text, FILE), 'TEST')
    out = net.forward()
    left = sorted({*tops.split()[1:], 'y'})
    assert list(net.graph.outputs) == left == sorted(out) and out['y'].shape[:2] == (1, 3)


@pytest.mark.parametrize('label, more, what', [
    (7, layer('SegAccuracy', 's', 'x l', 'y'), '60 labels outside 0 … 2, such as 7'),
    (7, layer('BiasChannel', 'b', 'x l', 'y', 'bias_channel_param { label_type: PIXEL }'),
     '60 labels outside 0 … 2, such as 7'),
    (7, layer('UniqueLabel', 'u', 'l', 'y', 'unique_label_param { max_labels: 2 force_label: 1 '
              'force_label: 1 }'), None),
])
def test_labels_that_a_layer_refuses(label, more, what):
    labels = torch.full((2, 1, 6, 5), float(label))
    if what is None:
        out = make(LABELS + more).forward(x=image(2, 3, 6, 5), l=labels)
        assert out['y'].flatten().tolist() == [1, 7, 1, 7]
        labels[0, 0, 0, 0] = 2
        what = '3 labels in an image, max_labels 2'
    assert what in str(refused(LABELS + more, x=image(2, 3, 6, 5), l=labels))


def test_an_image_larger_than_its_blob():
    text = LABELS + inputs(s=(2, 1, 1, 2)) + layer('DomainTransform', 'd', 'x l s', 'y')
    assert '9x5 in a blob of 2x3x6x5' in str(refused(
        text, x=image(2, 3, 6, 5), l=torch.rand(2, 1, 6, 5),
        s=torch.tensor([9., 5, 6, 5]).reshape(2, 1, 1, 2)))


def test_adaptive_labels_that_no_channel_has():
    text = X + inputs(l=(2, 2, 1, 1)) + layer('AdaptiveBiasChannel', 'b', 'x l', 'y')
    assert 'such as 3' in str(refused(text, x=image(2, 3, 6, 5), l=torch.full((2, 2, 1, 1), 3.)))
    x = image(2, 3, 6, 5)
    out = make(text).forward(x=x, l=torch.full((2, 2, 1, 1), -1.))
    assert torch.equal(out['y'], x)


def test_settings_that_the_balanced_loss_lacks():
    text = X + inputs(t=(2, 3, 6, 5)) + layer('SigmoidCrossEntropyLoss', 'l', 'x t', 'y', '%s')
    error = refused(text % 'loss_param { ignore_label: 2 }', 'hed')
    assert 'loss_param.ignore_label is not supported' in str(error)
    assert 'Give one target for each score' in str(refused(
        (text % '').replace('dim: 5 } } }\nlayer { name: "l"', 'dim: 4 } } }\nlayer { name: "l"'),
        'hed'))


# ---- values ----------------------------------------------------------------------------------

def test_padding_pads_and_cuts():
    text = 'input: "x" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 5\nlayers { name: "p" ' \
           'type: PADDING bottom: "x" top: "y" padding_param { pad_beg: %d pad_end: %d } }'
    x = image(1, 2, 4, 5)
    out = make(text % (2, -1)).forward(x=x)['y']
    assert out.shape == (1, 2, 5, 6)
    assert torch.equal(out[:, :, 2:, 2:], x[:, :, :3, :4]) and not out[:, :, :2].any()
    assert 'leave nothing of 4x5' in str(refused(text % (-3, -2)))


def test_bn_counts_and_learns():
    net = make(X + layer('BN', 'b', 'x', 'y', 'bn_param { slope_filler { value: 1 } }'),
               phase='TRAIN')
    assert [tuple(blob.shape) for blob in net.params['b']] == [(1, 3, 1, 1)] * 4
    assert [spec.lr_mult for spec in net.graph.nodes[1].param.param] == [1, 1, 0, 0]
    frozen = make(X + layer('BN', 'b', 'x', 'y', BN), phase='TRAIN')
    assert not any(frozen.learns(node) for node in frozen.graph.nodes)
    assert frozen.params['b'][3].data.flatten().tolist() == [1, 1, 1]


def test_resizing_like_opencv():
    """Halves are means of four; edges keep their values; nothing changes at the same size."""
    x = np.arange(48, dtype=np.uint8).reshape(1, 6, 8)
    assert resize_linear(x, (6, 8)) is x
    assert resize_linear(x, (3, 4))[0, 0].tolist() == [5, 7, 9, 11]      # 4.5, rounded up
    assert resize_linear(x, (6, 16))[0, 0, [0, -1]].tolist() == [0, 7]
    assert resize_nearest(x, (3, 4))[0].tolist() == x[0, ::2, ::2].tolist()


def test_lists_of_pairs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = layer('ImageSegData', 'd', '', 'a b c', 'image_data_param { source: "l.txt" }')
    for content, what in (('', 'lists no image'), ('a.png', "'a.png' is not an image and a label"),
                          ('a.png 1\n\nb.png 2', "'' is not an image and a label")):
        Path('l.txt').write_text(content)
        assert what in str(refused(text))


# ---- export ----------------------------------------------------------------------------------

@pytest.mark.parametrize('more', [
    layer('Interp', 'i', 'x', 'y', 'interp_param { height: 9 width: 4 }'),
    layer('Interp', 'i', 'x', 'y', 'interp_param { zoom_factor: 3 pad_beg: -1 pad_end: -2 }'),
    layer('Interp', 'i', 'x', 'y', 'interp_param { shrink_factor: 2 }'),
    layer('BN', 'b', 'x', 'y', BN.replace('frozen', 'slope_filler { value: 2 } frozen')),
    layer('BN', 'b', 'x', 'y', 'bn_param { slope_filler { type: "uniform" } eps: 0.1 }'),
    conv('w', 'x', num_output=1)
    + layer('Interp', 'i', 'x', 'j', 'interp_param { zoom_factor: 1 }')
    + layer('SpatialProduct', 's', 'j w', 'y'),
])
def test_exports_compute_the_same(more, tmp_path):
    net = make(X + more)
    x = {'x': image(2, 3, 6, 5)}
    wanted = net.forward(**x)['y']
    torch.testing.assert_close(run_python(net, x, tmp_path)['y'], wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(run_onnx(net, x, tmp_path)['y'], wanted, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_exported(tmp_path):
    for text in (LABELS + layer('BiasChannel', 'b', 'x l', 'y', 'bias_channel_param { label_type: '
                                'PIXEL }'),
                 LABELS + layer('UniqueLabel', 'u', 'l', 'y', 'unique_label_param { max_labels: 9 '
                                '}')):
        with pytest.raises(FcnError, match='cannot be exported as PyTorch code'):
            run_python(make(text), {}, tmp_path)


