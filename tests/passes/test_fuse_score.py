"""fuse_skip and fuse_score: how many sites each finds, equal results, and where it steps aside."""

import re
from pathlib import Path

import pytest
import torch
from goldens import NETS, error, params
from layer_case import make_layer
from layer_evidence import reference_for
from texts import conv, graph, inputs, layer, message, net

from fcn_repro.net import Net
from fcn_repro.net.graph import LABELS, build
from fcn_repro.net.surgery import interp
from fcn_repro.passes import DEFAULT, fuse_score, fuse_skip, fuse_upcrop
from fcn_repro.proto.prototxt import read_net

PROTOTXT = Path(__file__).parents[2] / 'prototxt'
SHIPPED = sorted(path for path in PROTOTXT.glob('*/*.prototxt') if 'solver' not in path.name)
SKIPS = {'multitask': 4, 'late-fusion': 0, 'early-fusion': 0, 'fcn-alexnet': 0, 'fcn8s-atonce': 2,
         'fcn8s': 2, 'fcn16s': 1, 'fcn32s': 0}
FUSE = fuse_upcrop, fuse_skip, fuse_score
INTERP = {'InterpLoss': 1, 'InterpLabels': 1}
DEPLOYED = {'deploy': {'InterpLabels': 1}}
# {pattern of nets that are no FCNs: {file: what is fused}}; all others: nothing. Interps with a
# Crop after them (DeepLab's and DANet's val nets) stay as they are.
OTHERS = {
    'refinenet.*|deeplab-v3.*|lednet.*|dfanet.*': {'train': INTERP, 'val': INTERP, **DEPLOYED},
    # with an auxiliary loss, or two
    'fastfcn.*': {'train': {'InterpLoss': 2, 'InterpLabels': 2}, 'val': INTERP, **DEPLOYED},
    'danet.*': {'train': {'InterpLoss': 3, 'InterpLabels': 3}, **DEPLOYED},
    'bisenet.*-mini': {'train': {'InterpLoss': 3, 'InterpLabels': 3}, 'val': INTERP, **DEPLOYED},
    # losses of the hardest pixels read the scores
    'bisenet-(r18|x39)': {'train': {'InterpLabels': 3}, 'val': INTERP, **DEPLOYED},
    # of two skips one learns a bias; the mean field reads the scores
    'crfrnn.*': {file: {'UpCropAdd': 1} for file in ('train', 'val', 'deploy')},
    'dilation.*': {file: {'UpCropLoss': 1, 'UpCropLabels': 1} for file in ('train', 'val')},
    # the auxiliary loss, too
    'pspnet.*': {'train': {'InterpLoss': 2, 'InterpLabels': 2}, **DEPLOYED},
    'icnet.*': DEPLOYED,
    # of its losses' scores those of scale 0.75 are resized; the fusion reads them, too
    'deeplab-v2-(mini|resnet101)': {'train': {'InterpLabels': 1}},
    # W makes the scores
    'dupsampling.*': {**{file: {'UpCropLoss': 1, 'UpCropLabels': 1} for file in ('train', 'val')},
                      'deploy': {'UpCropLabels': 1}},
    # the last transposed convolution of the decoder makes the scores
    'acnet-nyud|mini-acnet': {**{file: {'UpCropLoss': 1, 'UpCropLabels': 1}
                                 for file in ('trainval', 'test')}, 'deploy': {'UpCropLabels': 1}},
}

UP = ('convolution_param {{ num_output: {0} kernel_size: {1} stride: {2} bias_term: {3} {4} '
      'weight_filler {{ type: "bilinear" }} }}')
CUT = 'crop_param { axis: 2 offset: 1 }'
SKIP = (inputs(coarse=(2, 3, 4, 5), fine=(2, 3, 12, 14))
        + layer('Deconvolution', 'up', 'coarse', 'up', 'param { lr_mult: 0 } '
                + UP.format(3, 4, 2, 'false', 'group: 3'))
        + layer('Crop', 'cut', 'fine up', 'cut', CUT))
SUM = layer('Eltwise', 'sum', 'up cut', 'sum')
SCORE = (inputs(data=(2, 4, 5, 6), size=(1, 1, 12, 14), label=(2, 1, 12, 14)) + conv(
    'fr', 'data') + layer('Deconvolution', 'up', 'fr', 'up', 'param { lr_mult: 0 } '
                          + UP.format(3, 8, 4, 'false', 'group: 3'))
         + layer('Crop', 'score', 'up size', 'score', CUT))
LOSS = layer('SoftmaxWithLoss', 'loss', 'score label', 'loss',
             'loss_param { ignore_label: 255 %s }')


def types(net, *wanted):
    return [step.node.type for plan in net.executor.plans.values() for step in plan.steps
            if step.node.type in wanted]


def fused(run, graph, type, keep=frozenset()):
    return [node for node in run(graph, keep).nodes if node.type == type]


# Sites

@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_sites_in_each_shipped_prototxt(path):
    """In every head a skip for each stride that an FCN adds; a loss wherever there is one, and no
    more. (The own nets learn their upsampling, with a ReLU.) Of other nets: OTHERS."""
    found = build(read_net(path), 'TRAIN' if path.stem.startswith('train') else 'TEST')
    model = path.parent.name
    heads = scores_of(found)
    adds = sum(node.name.startswith('fuse_pool') for node in found.nodes)
    assert bool(heads) == ('-fcn' in model and not model.startswith('own'))
    stride = re.search(r'-fcn(\d+)s(?!-fc6)', model)
    assert not heads or adds == len(heads) * {'16': 1, '8': 2, '4': 3, '2': 4}.get(
        stride and stride[1], 0)
    up = fuse_upcrop(found)
    losses = sum(node.type == 'SoftmaxWithLoss' for node in up.nodes)
    files = next((row for nets, row in OTHERS.items() if re.fullmatch(nets, model)), {})
    wanted = {'UpCropAdd': adds, 'UpCropLoss': losses, 'UpCropLabels': len(heads)} if heads \
        else files.get(path.stem, {})
    maps = [fuse_upcrop(found.labelled(blob)) for blob in said(found)]
    assert len(fused(fuse_skip, found, 'UpCropAdd')) == wanted.get('UpCropAdd', 0)
    for type in 'UpCropLoss', 'InterpLoss':
        assert len(fused(fuse_score, up, type)) == wanted.get(type, 0)
        assert not fused(fuse_score, up, type, said(found))
    for type in 'UpCropLabels', 'InterpLabels':
        assert sum(len(fused(fuse_score, each, type)) for each in maps) == wanted.get(type, 0)


def scores_of(graph):
    """The names of the scores at full size: upsampled, and cropped."""
    return [node.name for node in graph.nodes if node.type == 'Crop'
            and graph.producer(node.bottoms[0]).name.startswith('upscore')
            and node.name.startswith('score')]


def said(graph):
    """The blobs that a loss reads first, or nothing reads."""
    return {node.param.bottom[0] for node in graph.nodes
            if node.type == 'SoftmaxWithLoss'} | set(graph.outputs)


@pytest.mark.parametrize('path', params(NETS, 'net.prototxt', 'nets'))
def test_golden_nets(path):
    """Loss, labels and all gradients, with the passes and without."""
    nets = [Net.read(path, 'TEST', passes=passes) for passes in ((), DEFAULT)]
    for each in nets:
        each.copy_from(path.parent / 'weights.caffemodel')
        generator = torch.Generator().manual_seed(1)
        given = {blob: torch.rand(1, each.blobs[blob].shape[1], 64, 75, generator=generator)
                 for blob in each.graph.inputs}
        given = {blob: (x * 3).floor() if x.shape[1] == 1 else 200 * x - 100
                 for blob, x in given.items()}
        each.forward(**given)
        each.backward()
    plain, quick = nets
    assert len(types(quick, 'UpCropAdd')) == SKIPS[path.parent.name]
    assert len(types(quick, 'UpCropLoss')) == 1 + (path.parent.name == 'multitask')
    assert not types(plain, 'UpCropAdd', 'UpCropLoss')
    torch.testing.assert_close(quick.total_loss, plain.total_loss, rtol=1e-6, atol=0)
    for ours, other in zip(quick.parameters(), plain.parameters(), strict=True):
        if other.grad is not None:
            assert error(ours.grad, other.grad) <= 1e-4
    if 'score' in plain.blobs:
        labels = [each.forward(labels_of='score', **given)[LABELS] for each in nets]
        assert torch.equal(*labels) and labels[0].dtype == torch.uint8
        assert types(quick, 'UpCropLabels') and types(plain, 'LabelMap')


# The skip

def run_both(text, type, fill=None, **blobs):
    """(net, net with passes) after forward and backward of the same data; how often `type` ran."""
    nets = [net(text, 'TRAIN', passes=passes) for passes in ((), FUSE)]
    for each in nets:
        (fill or bilinear)(each)
        generator = torch.Generator().manual_seed(3)
        given = {name: torch.randn(each.blobs[name].shape, generator=generator)
                 for name in each.graph.inputs}
        each.forward(**given | blobs)
        if each.total_loss is not None:
            each.backward()
    return (*nets, len(types(nets[1], type)))


def bilinear(net):
    dense = [blobs[0].data for blobs in net.params.values() if blobs[0].shape[1:2] == (3,)
             and blobs[0].shape[0] == 3 and blobs[0].shape[2] > 1]
    interp({str(i): [blob.zero_()] for i, blob in enumerate(dense)}, list(map(str, range(
        len(dense)))))


@reference_for('UpCropAdd')
@pytest.mark.parametrize('bottoms', ['up cut', 'cut up'])
def test_skip(bottoms):
    text = SKIP + layer('Eltwise', 'sum', bottoms, 'sum')
    plain, quick, sites = run_both(text, 'UpCropAdd')
    assert sites == 1
    torch.testing.assert_close(quick.blobs['sum'].data, plain.blobs['sum'].data)


def test_skip_gradients():
    text = 'force_backward: true\n' + SKIP + SUM
    plain, quick, sites = run_both(text, 'UpCropAdd', blobs=['coarse', 'fine'])
    top = torch.randn(plain.blobs['sum'].shape)
    for each in plain, quick:
        each.backward(sum=top)
    assert sites == 1
    for name in 'coarse', 'fine':
        torch.testing.assert_close(quick.blobs[name].diff, plain.blobs[name].diff)


@pytest.mark.parametrize('text', [
    SKIP.replace('bias_term: false', 'bias_term: true') + SUM,
    SKIP.replace('kernel_size: 4', 'kernel_size: 4 dilation: 2') + SUM,
    SKIP + layer('Eltwise', 'sum', 'up cut', 'sum', 'eltwise_param { operation: PROD }'),
    SKIP + layer('Eltwise', 'sum', 'up cut', 'sum', 'eltwise_param { coeff: 1 coeff: -1 }'),
    SKIP + layer('Eltwise', 'sum', 'up cut cut', 'sum'),
    SKIP + layer('Power', 'more', 'cut', 'more') + SUM,
    SKIP + layer('Power', 'more', 'up', 'more') + SUM,
    SKIP.replace('top: "up"', 'top: "up" loss_weight: 1') + SUM,
    SKIP.replace(CUT, 'crop_param { axis: 3 offset: 1 }').replace('12 dim: 14', '10 dim: 14') + SUM,
    SKIP + SUM.replace(' }\n', ' propagate_down: true propagate_down: false }\n')])
def test_what_is_no_skip(text):
    assert not fused(fuse_skip, graph(text), 'UpCropAdd')


@pytest.mark.parametrize('blob', ['up', 'cut', 'up_up_0_split_0'])
def test_a_skip_steps_aside_for_what_is_asked_for(blob):
    plain, quick, sites = run_both(SKIP + SUM, 'UpCropAdd', blobs=[blob])
    assert sites == 0
    assert torch.equal(quick.blobs[blob].data, plain.blobs[blob].data)


@pytest.mark.parametrize('change', ['learned', 'other weights'])
def test_skips_that_are_not_bilinear_run_as_they_stand(change):
    text = SKIP + SUM
    if change == 'learned':
        text = text.replace('lr_mult: 0', 'lr_mult: 1')
    plain, quick, sites = run_both(
        text, 'UpCropAdd',
        lambda net: bilinear(net) if change == 'learned' else net.params['up'][0].data.add_(
            torch.arange(16.).reshape(4, 4)))
    assert sites == 1 and torch.equal(quick.blobs['sum'].data, plain.blobs['sum'].data)


def test_a_skip_of_other_channels_is_an_error():
    up = make_layer('Deconvolution', 1, 1, {'convolution_param': {
        'num_output': 3, 'group': 3, 'kernel_size': [2], 'stride': [2], 'bias_term': False}}).node
    cut = make_layer('Crop', 2, 1, {'crop_param': {'axis': 2, 'offset': [0]}}).node
    made = make_layer('UpCropAdd', 2, 1, {}, parts=(up, cut, make_layer('Eltwise', 2, 1, {}).node))
    bottoms = [torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 4, 4)]
    weight = torch.ones(3, 1, 2, 2)
    assert 'channels must agree' in message(made.forward, bottoms, [weight])


# The loss and the labels

@reference_for('UpCropLoss')
@pytest.mark.parametrize('more', ['', 'normalize: false', 'normalization: FULL',
                                  'normalization: NONE', 'normalization: BATCH_SIZE'])
@pytest.mark.parametrize('weight', ['', 'loss_weight: 2.5'])
def test_loss(more, weight):
    text = SCORE + LOSS.replace('loss_param', f'{weight} loss_param') % more
    label = torch.randint(0, 3, (2, 1, 12, 14)).float()
    label[0, 0, :2] = 255
    plain, quick, sites = run_both(text, 'UpCropLoss', label=label)
    assert sites == 1
    torch.testing.assert_close(quick.blobs['loss'].data, plain.blobs['loss'].data)
    torch.testing.assert_close(quick.total_loss, plain.total_loss)
    for ours, other in zip(quick.params['fr'], plain.params['fr'], strict=True):
        assert error(ours.diff, other.diff) <= 1e-5


@pytest.mark.parametrize('text', [
    SCORE + layer('SoftmaxWithLoss', 'loss', 'score label', 'loss prob'),
    SCORE + LOSS % '' + layer('Softmax', 'prob', 'score', 'prob'),
    SCORE + layer('SoftmaxWithLoss', 'loss', 'score label', 'loss', 'softmax_param { axis: 3 }'),
    SCORE + LOSS.replace('loss_param', 'propagate_down: true propagate_down: false loss_param')
    % '',
    SCORE.replace('top: "score"', 'top: "score" loss_weight: 1') + LOSS % ''])
def test_what_is_no_fused_loss(text):
    assert not fused(fuse_score, fuse_upcrop(graph(text)), 'UpCropLoss')


def test_a_loss_steps_aside_for_scores():
    label = torch.zeros(2, 1, 12, 14)
    plain, quick, sites = run_both(SCORE + LOSS % '', 'UpCropLoss', blobs=['score'], label=label)
    assert sites == 0
    torch.testing.assert_close(quick.blobs['score'].diff, plain.blobs['score'].diff)


def test_a_learned_upsampling_has_its_gradient_under_the_loss():
    text = SCORE.replace('lr_mult: 0', 'lr_mult: 1') + LOSS % ''
    plain, quick, sites = run_both(text, 'UpCropLoss', label=torch.ones(2, 1, 12, 14))
    assert sites == 1
    assert error(quick.params['up'][0].diff, plain.params['up'][0].diff) <= 1e-5
    assert quick.params['up'][0].diff.abs().max() > 0


def test_a_wrong_label_is_an_error_of_the_loss_layer():
    quick = net(SCORE + LOSS % '', passes=FUSE)
    text = message(quick.forward, label=torch.full((2, 1, 12, 14), 3.))
    assert "layer 'loss' (SoftmaxWithLoss)" in text and '3' in text and 'net.prototxt:7' in text


def test_labels_of_ties_and_of_many_classes():
    label_map = make_layer('LabelMap', 1, 1, {}, setting=('lowest',))
    scores = torch.tensor([[1., 3.], [1., 3.], [0., 3.]]).reshape(1, 3, 1, 2)
    labels, = label_map.forward([scores], [])
    assert labels.tolist() == [[[0, 0]]] and labels.dtype == torch.uint8
    many, = label_map.forward([torch.eye(300)[:, 299].reshape(1, 300, 1, 1)], [])
    assert many.item() == 299 and many.dtype == torch.int64


@reference_for('LabelMap', 'UpCropLabels')
def test_labels_are_the_largest_scores_with_and_without_the_pass():
    plain, quick = (net(SCORE, passes=passes) for passes in ((), FUSE))
    bilinear(plain)
    bilinear(quick)
    blobs = {name: torch.randn(plain.blobs[name].shape) for name in plain.graph.inputs}
    labels = [each.forward(labels_of='score', **blobs)[LABELS] for each in (plain, quick)]
    scores = plain.forward(blobs=['score'], **blobs)['score']
    assert types(quick, 'UpCropLabels') and not types(plain, 'UpCropLabels')
    assert all(torch.equal(found.long(), scores.argmax(1)) for found in labels)


def test_labels_need_scores():
    text = SCORE + LOSS % ''
    assert "blob 'scores'" in message(net(text).forward, labels_of='scores')
    assert 'N x C x H x W' in message(net(text).forward, labels_of='loss')
    plain = net(text)
    assert plain.forward(labels_of='score').keys() == {LABELS}
    assert plain.forward(labels_of='score', blobs=['fr']).keys() == {LABELS, 'fr'}


REFUSED = [('UpCropAdd', 'data fr'), ('UpCropLabels', 'data size'),
           ('UpCropLoss', 'data size label'), ('LabelMap', 'fr')]


@pytest.mark.parametrize('type, bottoms', REFUSED)
def test_types_of_passes_are_refused_in_a_text(type, bottoms):
    text = message(net, SCORE + layer(type, 'y', bottoms, 'y'))
    assert f"layer 'y' ({type}): this type" in text and 'net.prototxt:7' in text
