"""FCN's successors: nets equal their authors' files layer for layer, parameters and multiply-adds
are those counted from these files, and each miniature has every block of its net and learns."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from original_nets import digests, first_difference, texts_of

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.paper.zoo import facts_of_stage
from fcn_repro.proto.netspec import L, NetSpec, net_text
from fcn_repro.proto.prototxt import parse_net, read_net, read_solver, read_text
from fcn_repro.recipe.models import FAMILIES, MODELS, ZOO, dilation, icnet, pspnet
from fcn_repro.recipe.models.mini import SCENE
from fcn_repro.recipe.stages import STAGES, shipped
from fcn_repro.recipe.starting import adapted, prepare
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source

ROOT = Path(__file__).parents[2]
ORIGINALS = json.loads((ROOT / 'tests/original_nets.json').read_text())
# Of nets that score, ours alone: score, and what the authors' test nets measure by themselves. Of
# DeepLab's basic net also the cut of its scores, a Padding there and score here.
OURS = {'train': (), 'deploy': ('score',)}

# {net: (parameters, GMAC, shape of what it says)} of the authors' files at their own input
COUNTS = {
    'dilation8-voc': (141149720, 826.4, (21, 66, 66)),
    'dilation8-camvid': (134313443, 1053.5, (11, 66, 91)),
    'dilation7-kitti': (134312343, 1622.0, (11, 60, 159)),
    'dilation10-cityscapes': (134373043, 2647.4, (19, 1024, 1024)),
    'pspnet50-ade20k': (46841174, 161.5, (150, 473, 473)),
    'pspnet101-voc': (65819349, 229.8, (21, 473, 473)),
    'pspnet101-cityscapes': (65818323, 517.2, (19, 713, 713)),
    'icnet-cityscapes': (6728534, 29.81, (19, 1025, 2049)),
    'icnet-cityscapes-merged': (6685718, 29.81, (19, 1025, 2049)),
    'crfrnn-voc': (134491103, 181.5, (21, 500, 500)),
    'deeplab-v1': (65140565, 333.6, (21, 514, 514)),
    'deeplab-v1-largefov': (20505429, 128.6, (21, 513, 513)),
    'deeplab-v1-msc': (66346686, 335.9, (21, 513, 513)),
    'deeplab-v1-msc-largefov': (21711550, 147.3, (21, 513, 513)),
    'deeplab-v2-resnet101': (44153980, 344.9, (21, 513, 513)),
    'deeplab-v2-resnet101-single': (44153980, 188.9, (21, 513, 513)),
}
# {net: GMAC of its train net, for one crop}
TRAINED = {'deeplab-v1': (306, 114.7), 'deeplab-v1-largefov': (321, 50.9),
           'deeplab-v1-msc': (321, 128.0), 'deeplab-v1-msc-largefov': (321, 53.0)}
MINIS = [name for name in MODELS if name.endswith('-mini') and name in STAGES]
SIZES = {'deeplab-v1-basic-mini': (66, 98), 'pspnet-mini': (105, 121), 'dilation': (40, 48),
         'icnet': (161, 193)}
MARGINS = {'dilation': 372}


@pytest.mark.parametrize('key', ORIGINALS)
def test_nets_are_their_authors(key):
    name, _, file = key.partition('/')
    net = read_net(shipped(name) / f'{file}.prototxt').message
    texts, wanted = texts_of(net, OURS[file]), ORIGINALS[key]
    assert first_difference(texts, wanted) is None
    assert digests(texts) == {name: wanted[name] for name in ('layers', 'sha256', 'marks')}


@pytest.mark.parametrize('name', MODELS)
def test_no_layer_has_a_made_up_name(name):
    """NetSpec makes one up for a layer whose own has been given to another."""
    net = read_net(shipped(name) / 'deploy.prototxt').message
    assert not [layer.name for layer in net.layer if re.fullmatch(r'[A-Z][A-Za-z]+\d+', layer.name)]


def test_skips_of_further_poolings():
    """FCN-4s and FCN-2s are FCN-8s with one and two skips more, and upsample by what is left."""
    for stride, pools in ((8, '43'), (4, '432'), (2, '4321')):
        net = read_net(shipped(f'voc-fcn{stride}s') / 'deploy.prototxt').message
        fused = [layer.name for layer in net.layer if layer.type == 'Eltwise']
        assert fused == [f'fuse_pool{pool}' for pool in pools]
        ups = [(layer.convolution_param.stride[0], layer.convolution_param.kernel_size[0])
               for layer in net.layer if layer.type == 'Deconvolution']
        assert ups == [(2, 4)] * len(pools) + [(stride, 2 * stride)]


def test_a_wrong_layer_is_seen():
    key = 'deeplab-v1-largefov/train'
    net = read_net(shipped('deeplab-v1-largefov') / 'train.prototxt').message
    fc6 = next(layer for layer in net.layer if layer.name == 'fc6')
    fc6.convolution_param.dilation[0] = 11
    assert '"fc6"' in first_difference(texts_of(net), ORIGINALS[key])
    assert digests(texts_of(net))['sha256'] != ORIGINALS[key]['sha256']


@pytest.mark.parametrize('name', COUNTS)
def test_parameters_and_multiply_adds(name):
    parameters, giga, shape = COUNTS[name]
    path = shipped(name) / 'deploy.prototxt'
    drawn = describe(parse_source(read_text(path), str(path)), 'TEST')
    assert drawn.params == parameters
    assert drawn.macs / 1e9 == pytest.approx(giga, rel=1e-3)
    if not drawn.unknown:
        said, = (drawn.blobs[drawn.graph.last(blob)].shape for blob in drawn.graph.outputs)
        assert tuple(said[1:]) == shape


@pytest.mark.parametrize('name', TRAINED)
def test_multiply_adds_of_a_crop(name):
    side, giga = TRAINED[name]
    path = shipped(name) / 'train.prototxt'
    drawn = describe(parse_source(read_text(path), str(path)), 'TRAIN', size=(side, side))
    batch = drawn.blobs[drawn.graph.first('data')].shape[0]
    assert drawn.macs / batch / 1e9 == pytest.approx(giga, rel=1e-3)


@pytest.mark.parametrize('name, expected', [
    ('deeplab-v1', (1e-3, 'step', 2000, 6000, 1)),
    ('deeplab-v1-largefov', (1e-3, 'step', 1000, 6000, 1)),
    ('deeplab-v1-msc', (1e-3, 'step', 2000, 6000, 1)),
    ('deeplab-v1-msc-largefov', (1e-3, 'step', 2000, 6000, 1)),
    ('deeplab-v2-resnet101', (2.5e-4, 'poly', 0, 20000, 10)),
    ('dilation-front-voc', (1e-4, 'step', 100000, 400000, 14)),
])
def test_solvers_are_their_authors(name, expected):
    solver = read_solver(shipped(name) / 'solver.prototxt').message
    assert (solver.base_lr, solver.lr_policy, solver.stepsize, solver.max_iter,
            solver.iter_size) == pytest.approx(expected)
    assert (solver.momentum, solver.weight_decay) == pytest.approx((0.9, 0.0005))
    assert solver.gamma == pytest.approx(0.1 if expected[1] == 'step' else 0)
    assert solver.power == pytest.approx(0.9 if expected[1] == 'poly' else 0)


# ---- nets that learn -----------------------------------------------------------------------------

def test_pspnets_auxiliary_loss():
    for name in ('pspnet50-ade20k', 'pspnet101-voc', 'pspnet101-cityscapes', 'pspnet-mini'):
        layers = {layer.name: layer for layer in read_net(shipped(name) / 'train.prototxt')
                  .message.layer}
        assert list(layers['loss_aux'].loss_weight) == pytest.approx([0.4])
        blocks = [key for key in layers if key.startswith('conv4_') and key.count('_') == 1
                  and '/' not in key]
        assert layers['conv_aux'].bottom[0] == blocks[-1]       # conv4's last block
        assert not any(layer.bn_param.frozen for layer in layers.values() if layer.type == 'BN')
        scoring = read_net(shipped(name) / 'val.prototxt').message.layer
        assert not any('aux' in layer.name for layer in scoring)


def test_icnets_losses_are_at_the_places_of_their_scores():
    """A sixteenth, an eighth and a quarter: labels are every n-th of each axis."""
    text = fed((shipped('icnet-mini') / 'train.prototxt').read_text(), 257, 321)
    net = Net.of(parse_net(text, '<net>'), 'TRAIN')
    losses = {layer.name: layer for layer in net.graph.nodes if layer.type == 'SoftmaxWithLoss'}
    assert {name: list(node.param.loss_weight) for name, node in losses.items()} == {
        'loss_sub4': pytest.approx([0.16]), 'loss_sub24': pytest.approx([0.4]), 'loss': [1]}
    for node, stride in zip(losses.values(), (16, 8, 4), strict=True):
        scores, label = (net.shapes[blob][2:] for blob in node.bottoms)
        assert scores == label == (256 // stride + 1, 320 // stride + 1)
    label = torch.randint(0, 11, (2, 1, 257, 321), generator=torch.Generator().manual_seed(0))
    values = net([f'label_s{stride}' for stride in (16, 8, 4)], data=torch.zeros(2, 3, 257, 321),
                 label=label.float())
    for stride in 16, 8, 4:
        assert torch.equal(values[f'label_s{stride}'], label.float()[..., ::stride, ::stride])


def test_icnet_with_bn_merged_says_the_same():
    """The authors' two files, at small widths: a convolution's bias stands for its BN."""
    settings = {**MODELS['icnet-mini'].settings, 'shape': (1, 3, 161, 193), 'frozen': True}
    whole, merged = (Net.of(parse_net(net_text(icnet.net(**settings, merged=each)), '<net>'),
                            'TEST') for each in (False, True))
    generator = torch.Generator().manual_seed(0)
    for name, blobs in whole.params.items():
        if name.endswith('/bn'):
            slope, bias, mean, variance = (blob.data.uniform_(0.5, 1.5, generator=generator)
                                           .flatten() for blob in blobs)
            scale = slope / (variance + 1e-5) ** 0.5
            conv = name.removesuffix('/bn')
            weight, shift = merged.params[conv]
            weight.data.copy_(whole.params[conv][0].data * scale[:, None, None, None])
            shift.data.copy_(bias - mean * scale)
        elif len(merged.params[name]) == len(blobs):
            for blob, other in zip(blobs, merged.params[name], strict=True):
                other.data.copy_(blob.data)
    data = 50 * torch.randn(1, 3, 161, 193, generator=generator)
    found, wanted = (net.forward(data=data)['conv6_interp'] for net in (merged, whole))
    assert wanted.std() > 0.01
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_context_modules_begin_as_the_identity():
    """Without the noise of its fillers a module gives back scores above 0, which pass its ReLUs."""
    for large in (False, True):
        n = NetSpec('dilation')
        n.data = L.Input(shape={'dim': [1, 3, 9, 9]})
        dilation.context(n, n.data, 3, 8, factors=dilation.LARGE if large else (), training=True)
        net = n.to_proto()
        for layer in net.layer:
            if layer.type == 'Convolution':
                layer.convolution_param.weight_filler.ClearField('std')
        made = Net.of(parse_net(net_text(net), '<net>'), 'TEST')
        data = torch.rand(1, 3, 9, 9)
        said = made.forward(data=data)['ctx_final']
        assert torch.allclose(said, data, atol=1e-5)


@pytest.mark.parametrize('mini, full', [
    ('deeplab-v1-basic-mini', 'deeplab-v1'), ('deeplab-v1-mini', 'deeplab-v1-largefov'),
    ('deeplab-v1-msc-mini', 'deeplab-v1-msc-largefov'),
    ('deeplab-v2-vgg-mini', 'deeplab-v2-vgg16'), ('deeplab-v2-mini', 'deeplab-v2-resnet101'),
    ('deeplab-v2-single-mini', 'deeplab-v2-resnet101-single'), ('pspnet-mini', 'pspnet101-voc'),
    ('icnet-mini', 'icnet-cityscapes'), ('dilation-front-mini', 'dilation-front-voc'),
    ('dilation-mini', 'dilation8-camvid'), ('dilation-large-mini', 'dilation8-voc')])
def test_a_miniature_has_every_block(mini, full):
    """All layers of the full net but repetitions of ResNets' blocks, and a Power in front."""
    names, wanted = ({layer.name for layer in read_net(shipped(name) / 'train.prototxt')
                      .message.layer} for name in (mini, full))
    assert unnumbered(names) - {'scaled'} == unnumbered(wanted)


def unnumbered(names):
    """Names of layers without the number of a ResNet's block, and as Dilation's nets on other data
    have them."""
    out = {re.sub(r'^(res|bn|scale)(\d)[a-z]\d*', r'\1\2', name) for name in names}
    out = {re.sub(r'^conv([2-5])_\d+', r'conv\1', name) for name in out} \
        if 'conv1_1_3x3_s2' in out else out
    return {re.sub('^(ct_|ctx_|fc-(?=final))', '', name) for name in out}


def fed(text, height, width, margin=0):
    """A train net's text with an Input of two images, and of labels that lack the margin, for its
    data layer."""
    start, end = text.index('layer {'), text.index('layer {', text.index('layer {') + 1)
    return text[:start] + f'''layer {{ name: "data" type: "Input" top: "data" top: "label"
        input_param {{ shape {{ dim: 2 dim: 3 dim: {height + margin} dim: {width + margin} }}
        shape {{ dim: 2 dim: 1 dim: {height} dim: {width} }} }} }}
        ''' + text[end:]


@pytest.mark.parametrize('name', [name for name in MINIS if name != 'crfrnn-mini'])
def test_a_miniature_gets_gradients_everywhere(name, tmp_path):
    """One pass of small random data: every parameter that learns gets a gradient, and the loss is
    about that of guessing."""
    model, family = MODELS[name], name.partition('-')[0]
    height, width = SIZES.get(name) or SIZES.get(family, (65, 97))
    margin = MARGINS.get(family, 0)
    if model.sized is not None:
        model = replace(model, settings={**model.settings, **model.sized((height, width))})
    text = fed(model.files()[f'{model.splits[0]}.prototxt'], height, width, margin)
    (tmp_path / 'net.prototxt').write_text(text)
    net = Net.read(tmp_path / 'net.prototxt', 'TRAIN')
    generator = torch.Generator().manual_seed(0)
    data = 50 * torch.randn(net.shapes[net.graph.first('data')], generator=generator)
    label = torch.randint(0, 11, (2, 1, height, width), generator=generator).float()
    net.forward(data=data, label=label)
    losses = [layer for layer in net.graph.nodes if layer.type == 'SoftmaxWithLoss']
    assert net.total_loss.item() / len(losses) < 20
    net.backward()
    for layer, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            if blob.parameter.requires_grad and blob.owner is None:
                assert blob.diff is not None and torch.isfinite(blob.diff).all(), (layer, i)


# ---- sizes ---------------------------------------------------------------------------------------

def test_an_error_names_the_size_that_a_net_is_made_for():
    net = Net.read(shipped('pspnet-mini') / 'deploy.prototxt', 'TEST')
    with pytest.raises(FcnError, match=r'may differ only in axis 1.*made for images of 257x321'):
        net.forward(data=torch.zeros(1, 3, 513, 641))
    scales = Net.read(shipped('deeplab-v2-mini') / 'deploy.prototxt', 'TEST')
    with pytest.raises(FcnError, match=r"'fc_fusion'.*made for images of 257x321"):
        scales.forward(data=torch.zeros(1, 3, 256, 320))


@pytest.mark.parametrize('size', [(472, 473), (8, 9)])
def test_pspnet_for_other_sides_is_refused(size):
    with pytest.raises(FcnError, match='multiple of 8, and 1'):
        pspnet.net(classes=3, shape=(1, 3, *size))


@pytest.mark.parametrize('size', [(1024, 2049), (33, 1)])
def test_icnet_for_other_sides_is_refused(size):
    with pytest.raises(FcnError, match='multiple of 32, and 1'):
        icnet.net(classes=3, shape=(1, 3, *size))


def test_icnet_for_too_small_an_image_is_refused():
    with pytest.raises(FcnError, match='6 bins a side of a map of 5x6'):
        icnet.net(classes=3, shape=(1, 3, 129, 161))


def test_pyramids_of_any_map():
    """Kernel and stride give exactly as many bins a side, and cover the map."""
    for height in range(6, 40):
        for bins, of in ((1, 1), (2, 1), (3, 1), (6, 1), (3, 2)):
            found = pspnet.window((height, height + 3), bins, of)
            kernels = [found.get('kernel_size') or found[f'kernel_{axis}'] for axis in 'hw']
            strides = [found.get('stride') or found[f'stride_{axis}'] for axis in 'hw']
            for side, kernel, stride in zip((height, height + 3), kernels, strides, strict=True):
                assert -(-(side - kernel) // stride) + 1 == bins
                assert (bins - 1) * stride + kernel == side
    with pytest.raises(FcnError, match='6 bins a side of a map of 5x9'):
        pspnet.window((5, 9), 6)


def test_a_pspnet_for_data_of_ones_own_has_its_size():
    model = MODELS['pspnet-mini'].on_data(3, 'mine', size=(100, 130), val_images=2)
    assert model.settings['shape'] == (1, 3, 105, 137)
    assert "crop\\': (105, 137)" in model.files()['train.prototxt']
    assert "padded\\': (105, 137)" in model.files()['val.prototxt']


@pytest.mark.parametrize('size, crop', [((100, 130), (100, 130)), ((375, 500), SCENE)])
def test_crops_of_data_of_ones_own(size, crop):
    """As large as its images, at most as a scene."""
    model = MODELS['refinenet-mini'].on_data(3, 'mine', size=size, val_images=2)
    assert ast.literal_eval(model.train['param_str'])['crop'] == crop


@pytest.mark.parametrize('name', [entry.stage for entry in ZOO
                                  if STAGES[entry.stage].parent is None])
def test_a_miniature_without_a_parent_sees_whole_digits(name):
    """Its scenes are neither cut smaller nor mirrored, as their digits would be."""
    (reader,) = (layer for layer in read_net(shipped(name) / 'train.prototxt').message.layer
                 if layer.top[:] == ['data', 'label'])
    params = ast.literal_eval(reader.python_param.param_str)
    crop = params.get('crop', SCENE)
    assert crop[0] >= SCENE[0] and crop[1] >= SCENE[1] and not params.get('mirror')
    assert params['batch_size'] > 1         # images whose statistics batch normalisation takes


# ---- the registry --------------------------------------------------------------------------------

def test_every_entry_of_the_zoo_is_a_stage():
    assert len({entry.label for entry in ZOO}) == len({entry.stage for entry in ZOO}) == len(ZOO)
    for entry in ZOO:
        assert STAGES[entry.stage].scenes and entry.stage in MODELS
    assert {'deeplabs', 'pspnet', 'dilation', 'crfrnn', 'icnet'} <= set(FAMILIES)


def test_crfrnn_starts_from_fcn8s(tmp_path):
    """Its layers have other names, and score2 a bias, which FCN-8s's has not: zeros."""
    stage, net = STAGES['crfrnn-mini'], shipped('crfrnn-mini') / 'deploy.prototxt'
    source = Net.read(shipped(stage.parent) / 'deploy.prototxt', 'TEST')
    source.save(tmp_path / 'fcn8s.caffemodel')
    net = Net.read(net, 'TEST')
    net.params['score2'][1].data.fill_(7)
    said = prepare(net, stage.surgeries, adapted(stage, tmp_path / 'fcn8s.caffemodel', net),
                   stage.score_layers, stage.up_layers)
    assert '21 copied, 0 cast, 1 left at filler, 0 ignored' in said     # the CRF's own
    assert not net.params['score2'][1].data.any()
    for new, old in stage.renamed:
        if new != stage.up_layers:
            assert torch.equal(net.params[new][0].data.flatten(),
                               source.params[old][0].data.flatten())


# ---- the document --------------------------------------------------------------------------------

def test_the_tables_of_the_document():
    """docs/successors.md: what it states of the nets, and of the miniatures."""
    page = (ROOT / 'docs/successors.md').read_text()
    full = re.findall(r'^\| `([\w-]+)` \| ([\d,]+) \| ([\d.]+) G \|', page, re.M)
    stated = {name: (int(count.replace(',', '')), float(giga)) for name, count, giga in full}
    assert {name: row for name, row in stated.items() if name in COUNTS} == {
        name: row[:2] for name, row in COUNTS.items()}
    minis = re.findall(r'^\| ([^|`]+) \| `([\w-]+)` \| ([\d,]+) \| ([\d.]+) G \| ([\d,]+) '
                       r'\| [\d.]+ \| [\d.]+ ±[\d.]+ \| [\d.]+ ±[\d.]+ \|$', page, re.M)
    assert [(label, stage) for label, stage, *_ in minis] == [
        (entry.label, entry.stage) for entry in ZOO]
    for _, stage, *numbers in minis:
        facts = facts_of_stage(stage)
        solver = read_solver(shipped(stage) / 'solver.prototxt').message
        assert numbers == [f'{facts.parameters:,}', f'{facts.macs / 1e9:.2f}',
                           f'{solver.max_iter:,}']
