"""Nets written in Python, and the shipped nets: the VOC ones are the reference release's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format

from fcn_repro.errors import FcnError
from fcn_repro.formats.atomic import write_text
from fcn_repro.proto import LayerParameter
from fcn_repro.proto.netspec import L, NetSpec, P, net_text, to_proto
from fcn_repro.proto.prototxt import parse_net, parse_solver, read_net, read_solver
from fcn_repro.recipe.models import MODELS, classifier, fcn, python_data, summed_rate

ROOT = Path(__file__).parents[2]
FACTS = json.loads((ROOT / 'tests/voc_nets.json').read_text())
VOC = ('voc-fcn32s', 'voc-fcn16s', 'voc-fcn8s', 'voc-fcn8s-atonce')


def data():
    n = NetSpec()
    n.data = L.Input(shape={'dim': [1, 3, 8, 8]})
    return n


def test_net_in_the_order_of_assignment():
    n = data()
    n.conv = L.Convolution(n.data, num_output=4, kernel_size=3, param=[{'lr_mult': 1}, {}],
                           weight_filler={'type': 'msra'})
    n.relu = L.ReLU(n.conv, in_place=True)
    n.pool = L.Pooling(L.TanH(n.relu), pool=P.Pooling.AVE, kernel_size=2, loss_weight=0.5)
    n['a'], n['b'] = L.Slice(n.pool, ntop=2, slice_point=(1,))
    n.silence = L.Silence(n.a, n['b'], ntop=0)
    expected = parse_net('''
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 8, 8] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "TanH1" type: "TanH" bottom: "conv" top: "TanH1" }
layer { name: "pool" type: "Pooling" bottom: "TanH1" top: "pool" loss_weight: 0.5
  pooling_param { pool: AVE kernel_size: 2 } }
layer { name: "a" type: "Slice" bottom: "pool" top: "a" top: "b" slice_param { slice_point: 1 } }
layer { name: "silence" type: "Silence" bottom: "a" bottom: "b" }''').message
    assert n.to_proto() == expected
    assert parse_net(net_text(n.to_proto(), 'a\ncomment')).message == expected


def test_names_made_up():
    a = L.Input(shape={'dim': [1]})
    net = to_proto(L.ReLU(a), L.ReLU(a))
    assert [layer.name for layer in net.layer] == ['Input1', 'ReLU1', 'ReLU2']
    assert net == to_proto(*[L.ReLU(a), L.ReLU(a)])
    assert [layer.name for layer in a.to_proto().layer] == ['Input1']


@pytest.mark.parametrize('make, what', [
    (lambda n: L.Convolution(n.data, kernel_siz=3), "layer 'x' .*'kernel_siz'.*'kernel_size'"),
    (lambda n: L.Convolution(n.data, num_output=-1), 'num_output cannot be -1'),
    (lambda n: L.Convolution(n.data, kernel_size=2.5), r'kernel_size cannot be 2\.5'),
    (lambda n: L.Pooling(n.data, pool='MEX'), "pool cannot be 'MEX'"),
    (lambda n: L.Pooling(n.data, pool=9), 'pool cannot be 9'),
    (lambda n: L.ReLU(n.data, relu_param=3), 'relu_param cannot be 3'),
    (lambda n: L.ReLU(n.data, relu_parm={}), "ReLUParameter has no field 'relu_parm'"),
    (lambda n: L.Deconvolution(n.data, num_output=3), "'num_output' cannot be placed"),
    (lambda n: L.ReLU(3), 'bottom 0 is a int')])
def test_mistakes(make, what):
    n = data()
    with pytest.raises(FcnError, match=what):
        n.x = make(n)
        n.to_proto()


def test_unknown_top_and_enum():
    with pytest.raises(AttributeError, match='nothing'):
        _ = NetSpec().nothing
    with pytest.raises(AttributeError, match='Poling'):
        _ = P.Poling


def row(name, type, bottoms, tops, params, settings):
    layer = LayerParameter(name=name, type=type, bottom=bottoms.split(), top=tops.split())
    for param in params.split():
        lr, _, decay = param.partition('/')
        layer.param.add(lr_mult=float(lr), **({'decay_mult': float(decay)} if decay else {}))
    return text_format.Merge(settings, layer)


def head(model):
    """The rows above the trunk; at once there is a fixed factor in front of each skip's scores."""
    plain = model.removesuffix('-atonce')
    for name, type, bottoms, *rest in FACTS['heads'][plain]:
        if model != plain and bottoms in ('pool4', 'pool3'):
            scale = 0.01 if bottoms == 'pool4' else 0.0001
            yield (f'scale_{bottoms}', 'Scale', bottoms, f'scale_{bottoms}', '0',
                   f'scale_param {{ filler {{ type: "constant" value: {scale} }} }}')
            bottoms = f'scale_{bottoms}'
        yield name, type, bottoms, *rest


@pytest.mark.parametrize('model', VOC)
def test_voc_nets_are_the_releases(model):
    body = [*FACTS['trunk'], *head(model)]
    for split in ('train', 'val'):
        data = FACTS['data'][f'{model.removesuffix("-atonce")}/{split}']
        rows = [data, *body, FACTS['loss']]
        net = read_net(ROOT / f'prototxt/{model}/{split}.prototxt').message
        assert list(net.layer) == [row(*r) for r in rows]
    rows = [FACTS['deploy_input'], *(r for r in body if r[1] != 'Dropout')]
    net = read_net(ROOT / f'prototxt/{model}/deploy.prototxt').message
    assert list(net.layer) == [row(*r) for r in rows]


@pytest.mark.parametrize('model, base_lr', [
    *zip(VOC, ('1e-10', '1e-12', '1e-14', '1e-10'), strict=True)])
def test_voc_solvers_are_the_releases(model, base_lr):
    max_iter = 300000 if model == 'voc-fcn8s-atonce' else 100000
    assert read_solver(ROOT / f'prototxt/{model}/solver.prototxt').message == parse_solver(f'''
        train_net: "train.prototxt" test_net: "val.prototxt" test_iter: 736 test_interval: 999999999
        display: 20 average_loss: 20 lr_policy: "fixed" base_lr: {base_lr} momentum: 0.99
        iter_size: 1 max_iter: {max_iter} weight_decay: 0.0005 snapshot: 4000
        snapshot_prefix: "snapshot/train" test_initialization: false''').message


def test_crop_offsets_of_the_papers_nets():
    offsets = {stride: [layer.crop_param.offset[0] for layer in fcn(stride).layer
                        if layer.type == 'Crop'] for stride in (32, 16, 8)}
    assert offsets == {32: [19], 16: [5, 27], 8: [5, 9, 31]}
    with pytest.raises(FcnError, match='stride 3'):
        fcn(3)


def generate(*args):
    return subprocess.run([sys.executable, 'tools/make_prototxt.py', *args], cwd=ROOT, text=True,
                          capture_output=True, env={'PYTHONPATH': str(ROOT)})


def test_the_folder_is_what_the_generator_writes(tmp_path):
    assert generate('--out', str(tmp_path)).returncode == 0
    written = {p.relative_to(tmp_path): p.read_text() for p in tmp_path.rglob('*.*')}
    shipped = ROOT / 'prototxt'
    assert written == {p.relative_to(shipped): p.read_text() for p in shipped.rglob('*.*')}
    assert {p.parts[0] for p in written} == set(MODELS)


def test_generate_for_another_data_set(tmp_path):
    out = str(tmp_path / 'mine')
    args = ('--model', 'voc-fcn32s', '--classes', '11', '--voc-dir', 'data/mine', '--val-images',
            '50', '--size', '125x375', '--out', out)
    assert generate(*args).returncode == 0
    net = read_net(f'{out}/train.prototxt').message
    assert net.layer[0].python_param.layer == 'VOCSegDataLayer'
    assert "'voc_dir': 'data/mine'" in net.layer[0].python_param.param_str
    classes = {layer.name: layer.convolution_param.num_output for layer in net.layer}
    assert (classes['score_fr'], classes['upscore']) == (11, 11)
    solver = read_solver(f'{out}/solver.prototxt').message
    assert solver.test_iter[:] == [50]
    assert solver.base_lr == pytest.approx(4e-10)               # a quarter of 375x500 pixels

    args = ('--model', 'icnet-cityscapes', '--voc-dir', 'data/mine', '--size', '200x450',
            '--out', out)
    assert generate(*args).returncode == 0
    params = read_net(f'{out}/train.prototxt').message.layer[0].python_param.param_str
    assert "'crop': (225, 481)" in params
    assert "'padded': (225, 481)" in Path(f'{out}/val.prototxt').read_text().replace('\\', '')

    refused = generate('--classes', '11', '--out', out)
    assert refused.returncode == 1
    assert refused.stderr.startswith('error: settings for your own data need --model')
    refused = generate('--model', 'mini-classifier', '--voc-dir', 'x', '--out', out)
    assert refused.returncode == 1 and 'DigitDataLayer' in refused.stderr
    refused = generate('--model', 'mini-fcn32s', '--classes', '0', '--out', out)
    assert refused.returncode == 1 and refused.stderr.startswith('error: 0 classes. ')


def test_heavy_recipe_keeps_the_step():
    assert summed_rate(1e-2, 0.9, 1, summed_momentum=0.9) == pytest.approx(1e-2)
    for stride in (32, 16, 8):
        folder = ROOT / f'prototxt/mini-fcn{stride}s'
        mean = read_solver(folder / 'solver.prototxt').message
        heavy = read_solver(folder / 'solver_heavy.prototxt').message
        step = mean.base_lr / (1 - mean.momentum)
        assert heavy.base_lr * 256 * 320 / (1 - heavy.momentum) == pytest.approx(step, rel=5e-3)
        assert read_net(folder / 'train.prototxt').message.layer[-1].loss_param.normalize
        heavy_net = read_net(folder / heavy.train_net).message
        assert not heavy_net.layer[-1].loss_param.normalize


@pytest.mark.parametrize('model', [name for name, model in MODELS.items() if any(
    recipe.suffix == '_online' for recipe in model.recipes)])
def test_solver_variants(model):
    """The papers' three: heavy and online take equal steps on one summed loss; accumulated makes
    one update from 20 images, of as many images in all."""
    def solver(name):
        return read_solver(ROOT / f'prototxt/{model}/solver{name}.prototxt').message
    heavy = solver('_heavy' if model.startswith(('mini', 'scratch')) else '')
    online, accumulated = solver('_online'), solver('_accumulated')
    assert (heavy.momentum, online.momentum, accumulated.momentum) == pytest.approx((.99, .9, .9))
    assert (heavy.iter_size, online.iter_size, accumulated.iter_size) == (1, 1, 20)
    assert online.train_net == heavy.train_net and online.max_iter == heavy.max_iter
    assert online.base_lr / (1 - online.momentum) == pytest.approx(
        heavy.base_lr / (1 - heavy.momentum), rel=5e-3)
    assert accumulated.max_iter * 20 == heavy.max_iter
    mean = read_net(ROOT / f'prototxt/{model}/{accumulated.train_net}').message.layer[-1]
    assert mean.loss_param.normalize
    if model == 'voc-fcn32s':
        assert accumulated.base_lr == pytest.approx(1e-4)       # CVPR 2015, section 4.3, VGG16


@pytest.mark.parametrize('model, suffix, base_lr', [
    ('voc-fcn-alexnet', '_accumulated', 1e-3), ('voc-fcn-googlenet', '', 5e-5),
    ('voc-fcn32s', '_accumulated', 1e-4), ('nyud-fcn32s-color', '_accumulated', 1e-4),
    ('siftflow-fcn32s', '_accumulated', 1e-4), ('pascalcontext-fcn32s', '_accumulated', 1e-4)])
def test_solvers_of_the_first_paper(model, suffix, base_lr):
    """CVPR 2015, section 4.3: 20 images, momentum 0.9, a mean loss, a fixed rate for each net."""
    solver = read_solver(ROOT / f'prototxt/{model}/solver{suffix}.prototxt').message
    assert (solver.base_lr, solver.momentum) == pytest.approx((base_lr, 0.9))
    assert (solver.iter_size, solver.lr_policy) == (20, 'fixed')
    net = read_net(ROOT / f'prototxt/{model}/{solver.train_net}').message
    assert all(layer.loss_param.normalize for layer in net.layer
               if layer.type == 'SoftmaxWithLoss')


def test_at_once_scales_the_skips():
    for model, scales in (('voc-fcn8s-atonce', (0.01, 0.0001)), ('mini-fcn8s-atonce', (1, 1))):
        layers = {layer.name: layer for layer in
                  read_net(ROOT / f'prototxt/{model}/train.prototxt').message.layer}
        for pool, scale in zip(('pool4', 'pool3'), scales, strict=True):
            layer = layers[f'scale_{pool}']
            assert layer.scale_param.filler.value == pytest.approx(scale)
            assert [p.lr_mult for p in layer.param] == [0]
            assert layers[f'score_{pool}'].bottom[:] == [f'scale_{pool}']


def test_fixed_learns_the_score_alone():
    for model in ('voc-fcn32s-fixed', 'mini-fcn32s-fixed'):
        net = read_net(ROOT / f'prototxt/{model}/train.prototxt').message
        assert [layer.name for layer in net.layer if any(p.lr_mult for p in layer.param)] == [
            'score_fr']


def test_classifier_and_fcn_share_layers():
    """Same names; a fc6 of the classifier has as many weights as the FCN's 7x7 convolution."""
    source = python_data('digit_layers', 'DigitDataLayer', split='train')
    net = classifier(source, classes=11, widths=(1, 2, 3, 4, 5), fc=6, size=224)
    names = {layer.name: layer for layer in net.layer}
    assert names['data'].python_param.param_str == "{'split': 'train'}"
    trunk = [r[0] for r in FACTS['trunk'] if r[0] != 'score_fr']
    assert [layer.name for layer in net.layer] == ['data', *trunk, 'score_cls', 'loss', 'accuracy']
    assert names['fc6'].inner_product_param.num_output == 6
    assert all(list(names[f'conv{g}_1'].convolution_param.pad) == [1] for g in range(1, 6))
    deploy = classifier(classes=11, size=64)
    assert list(deploy.layer[0].input_param.shape[0].dim) == [1, 3, 64, 64]
    assert deploy.layer[-1].name == 'score_cls'


def test_write_text_whole_or_not_at_all(tmp_path):
    write_text('a', tmp_path / 'x')
    assert [p.name for p in tmp_path.iterdir()] == ['x']
    with pytest.raises(FcnError, match='cannot write'):
        write_text('a', tmp_path / 'none' / 'x')
