"""The reference release's other nets and solvers, and BVLC's classifiers: equal messages, rows of
facts (tests/release_nets.json), over those of VGG16's trunk in tests/voc_nets.json."""

import json
from pathlib import Path

import pytest
from google.protobuf import text_format

from fcn_repro.proto import LayerParameter
from fcn_repro.proto.prototxt import parse_solver, read_net, read_solver
from fcn_repro.recipe.models import googlenet
from fcn_repro.recipe.stages import STAGES

ROOT = Path(__file__).parents[2]
FACTS = json.loads((ROOT / 'tests/release_nets.json').read_text())
TRUNK = [row for row in json.loads((ROOT / 'tests/voc_nets.json').read_text())['trunk']
         if row[0] != 'score_fr']
SPLITS = {'voc': ('train', 'val'), 'pascalcontext': ('train', 'val'),
          'nyud': ('trainval', 'test'), 'siftflow': ('trainval', 'test')}
# name: base_lr, and what the family's solvers share. The release's SIFT Flow keeps no snapshots:
# ours do, and their comment says so.
SOLVERS = {
    'voc-fcn-alexnet': ('1e-4', 'test_iter: 736 momentum: 0.9 iter_size: 20 max_iter: 100000 '
                        'snapshot: 4000'),
    **{f'nyud-fcn32s-{name}': (rate, 'test_iter: 654 momentum: 0.99 iter_size: 1 '
                               'max_iter: 300000 snapshot: 2000') for name, rate in
       (('color', '1e-10'), ('hha', '1e-10'), ('color-d', '1e-10'), ('color-hha', '1e-12'))},
    **{f'siftflow-fcn{stride}s': (rate, 'test_iter: 200 momentum: 0.99 iter_size: 1 '
                                  'max_iter: 300000 snapshot: 2000') for stride, rate in
       ((32, '1e-10'), (16, '1e-12'), (8, '1e-12'))},
    **{f'pascalcontext-fcn{stride}s': (rate, 'test_iter: 5105 momentum: 0.99 iter_size: 1 '
                                       'max_iter: 300000 snapshot: 4000') for stride, rate in
       ((32, '1e-10'), (16, '1e-12'), (8, '1e-14'))},
}


def layer_of(name, type, bottoms, tops, params, settings):
    layer = LayerParameter(name=name, type=type, bottom=bottoms.split(), top=tops.split())
    for param in params.split():
        lr, _, decay = param.partition('/')
        layer.param.add(lr_mult=float(lr), **({'decay_mult': float(decay)} if decay else {}))
    return text_format.Merge(settings, layer)


def trunk(suffix='', image='data', first='conv1_1'):
    """VGG16's rows with a suffix on all names, on another image, and conv1_1 under another name."""
    names = {'data': image, 'conv1_1': first + suffix}
    for name, type, bottoms, tops, *rest in TRUNK:
        yield (names.get(name, name + suffix), type, names.get(bottoms, bottoms + suffix),
               names.get(tops, tops + suffix), *rest)


def rows_of(name):
    """All rows of a net of the release behind its data layer."""
    own = FACTS['nets'][name]
    if name == 'voc-fcn-alexnet':
        return own
    if name == 'nyud-fcn32s-color-d':
        _, *rest = trunk(first='conv1_1_bgrd')
        return [*own[:2], *rest, *own[2:]]
    if name == 'nyud-fcn32s-color-hha':
        return [*trunk('color', 'color'), own[0], *trunk('hha', 'hha'), *own[1:]]
    return [*trunk(), *own]


@pytest.mark.parametrize('name', FACTS['nets'])
def test_nets_are_the_releases(name):
    for split in SPLITS[name.partition('-')[0]]:
        net = read_net(ROOT / f'prototxt/{name}/{split}.prototxt').message
        rows = [FACTS['data'][f'{name}/{split}'], *rows_of(name)]
        assert list(net.layer) == [layer_of(*row) for row in rows]
    deploy = read_net(ROOT / f'prototxt/{name}/deploy.prototxt').message
    rows = [row for row in rows_of(name) if row[1] not in ('Dropout', 'SoftmaxWithLoss')]
    assert list(deploy.layer)[1:] == [layer_of(*row) for row in rows]


@pytest.mark.parametrize('name', FACTS['nets'])
def test_solvers_are_the_releases(name):
    train, test = SPLITS[name.partition('-')[0]]
    base_lr, shared = SOLVERS[name]
    expected = parse_solver(f'''
        train_net: "{train}.prototxt" test_net: "{test}.prototxt" test_interval: 999999999
        display: 20 average_loss: 20 lr_policy: "fixed" base_lr: {base_lr} {shared}
        weight_decay: 0.0005 snapshot_prefix: "snapshot/train"
        test_initialization: false''').message
    assert read_solver(ROOT / f'prototxt/{name}/solver.prototxt').message == expected


def test_all_of_the_release_are_here():
    voc = {'voc-fcn32s', 'voc-fcn16s', 'voc-fcn8s', 'voc-fcn8s-atonce'}
    assert len(voc | FACTS['nets'].keys()) == 15 and voc | FACTS['nets'].keys() <= STAGES.keys()


@pytest.mark.parametrize('name', FACTS['classifiers'])
def test_classifiers_are_bvlcs(name):
    net = read_net(ROOT / f'prototxt/{name}/deploy.prototxt').message
    assert list(net.layer) == [layer_of(*row) for row in FACTS['classifiers'][name]]


def convolution(prefix, name, bottom, count, kernel, std):
    pad = f'pad: {kernel // 2} ' if kernel > 1 else ''
    top = f'inception_{prefix}/{name}'
    yield (top, 'Convolution', bottom, top, '1/1 2/0', f'convolution_param {{ num_output: {count} '
           f'{pad}kernel_size: {kernel} weight_filler {{ type: "xavier" std: {std} }} '
           'bias_filler { type: "constant" value: 0.2 } }')
    yield f'inception_{prefix}/relu_{name}', 'ReLU', top, top, '', ''


def inception(name, bottom, one, reduce3, three, reduce5, five, pool):
    here = f'inception_{name}'
    yield from convolution(name, '1x1', bottom, one, 1, 0.03)
    yield from convolution(name, '3x3_reduce', bottom, reduce3, 1, 0.09)
    yield from convolution(name, '3x3', f'{here}/3x3_reduce', three, 3, 0.03)
    yield from convolution(name, '5x5_reduce', bottom, reduce5, 1, 0.2)
    yield from convolution(name, '5x5', f'{here}/5x5_reduce', five, 5, 0.03)
    yield (f'{here}/pool', 'Pooling', bottom, f'{here}/pool', '',
           'pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 }')
    yield from convolution(name, 'pool_proj', f'{here}/pool', pool, 1, 0.1)
    yield (f'{here}/output', 'Concat', f'{here}/1x1 {here}/3x3 {here}/5x5 {here}/pool_proj',
           f'{here}/output', '', '')


def test_googlenet_is_bvlcs():
    rows = {row[0]: row for row in FACTS['googlenet']}
    for name, facts in FACTS['inceptions'].items():
        rows |= {row[0]: row for row in inception(name, *facts)}
    layers = list(read_net(ROOT / 'prototxt/googlenet/deploy.prototxt').message.layer)
    assert layers == [layer_of(*rows[layer.name]) for layer in layers]
    assert len(layers) == len(rows) == 143
    fcn = list(read_net(ROOT / 'prototxt/voc-fcn-googlenet/deploy.prototxt').message.layer)
    assert [layer.name for layer in fcn[-3:]] == ['score_fr', 'upscore', 'score']
    body = [layer for layer in layers if not layer.name.startswith(('pool5', 'loss3', 'prob'))]
    assert fcn[1:-3] == body[1:]


def test_googlenet_learns_by_two_more_classifiers():
    """As in BVLC's train net: of modules 4a and 4d, at 0.3 of the loss; the body is the deploy
    net's."""
    data = {'module': 'digit_layers', 'layer': 'DigitDataLayer', 'param_str': ''}
    layers = {layer.name: layer for layer in googlenet.classifier(data).layer}
    for name, module in ('loss1', '4a'), ('loss2', '4d'):
        pool, conv, fc, drop, scores, loss = (layers[f'{name}/{each}'] for each in (
            'ave_pool', 'conv', 'fc', 'drop_fc', 'classifier', 'loss'))
        assert list(pool.bottom) == [f'inception_{module}/output']
        assert (pool.pooling_param.pool, pool.pooling_param.kernel_size,
                pool.pooling_param.stride) == (pool.pooling_param.AVE, 5, 3)
        assert conv.convolution_param.num_output == 128
        assert [each.inner_product_param.num_output for each in (fc, scores)] == [1024, 1000]
        assert drop.dropout_param.dropout_ratio == pytest.approx(0.7)
        assert list(loss.loss_weight) == pytest.approx([0.3])
    further = {name for name in layers if name.startswith(('loss1', 'loss2'))}
    assert set(layers) - further == {layer.name for layer in googlenet.classifier().layer} - \
        {'prob'} | {'loss', 'accuracy'}


def test_vgg16_is_its_authors():
    """As VGG_ILSVRC_16_layers_deploy says: no multipliers, 3x3 with pad 1, 2x2 maxima."""
    layers = read_net(ROOT / 'prototxt/vgg16/deploy.prototxt').message.layer
    rows = [['data', 'Input', '', 'data', '', 'input_param { shape { dim: 10 dim: 3 dim: 224 '
             'dim: 224 } }']]
    for name, type, bottoms, tops, _, settings in TRUNK:
        if type == 'Convolution' and not name.startswith('fc'):
            count = settings.split('num_output: ')[1].split()[0]
            settings = f'convolution_param {{ num_output: {count} pad: 1 kernel_size: 3 }}'
        elif name.startswith('fc'):
            type, settings = 'InnerProduct', 'inner_product_param { num_output: 4096 }'
        rows.append([name, type, bottoms, tops, '', settings])
    rows += [['fc8', 'InnerProduct', 'fc7', 'fc8', '', 'inner_product_param { num_output: 1000 }'],
             ['prob', 'Softmax', 'fc8', 'prob', '', '']]
    assert list(layers) == [layer_of(*row) for row in rows]
