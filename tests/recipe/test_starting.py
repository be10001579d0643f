"""The weights that a stage starts from: several streams, expanded, rarefied, dropped and renamed
layers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from original_layouts import make_all
from PIL import Image
from small_runs import label_path, small_voc

from fcn_repro.cli.main import main
from fcn_repro.data.label_blocks import components, second_moment
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.net.graph import build
from fcn_repro.proto import TEST, TRAIN
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.recipe.models import dupsampling, googlenet, vgg
from fcn_repro.recipe.models.parts import python_data
from fcn_repro.recipe.provenance import parentage
from fcn_repro.recipe.stage import Stage
from fcn_repro.recipe.stages import STAGES
from fcn_repro.recipe.starting import adapted, given, prepare

TINY = {'classes': 4, 'widths': (2, 3, 3, 4, 4), 'fc': 6, 'weight_filler': {'type': 'msra'},
        'shape': (1, 3, 70, 90)}
LATE, EARLY, DEEP = (STAGES[name] for name in (
    'nyud-fcn32s-color-hha', 'nyud-fcn32s-color-d', 'voc-fcn16s-fc6-14x14'))


def net_of(stride=32, **settings):
    text = net_text(vgg.fcn(stride, **{**TINY, **settings}))
    return Net(build(parse_net(text, 'net.prototxt'), TEST))


def saved(net, path):
    """The net's weights in a file, none of them zero."""
    generator = torch.Generator().manual_seed(len(str(path)))
    for blobs in net.params.values():
        for blob in blobs:
            blob.data.add_(0.1 * torch.randn(blob.shape, generator=generator))
    net.save(path, {'stage': path.stem, 'commit': 'c'})
    return path


def blob(net, layer, i=0):
    return net.params[layer][i].data


def test_dropped_and_renamed_layers(tmp_path):
    """A dropped layer of another shape begins at its filler, one of the same shape does not;
    renamed ones have their new names."""
    source, net = net_of(), net_of(fc6_kernel=3)
    file = saved(source, tmp_path / 'source.caffemodel')
    stage = Stage(dropped=('fc6', 'fc7'), renamed=(('score_fr', 'other'), ('conv1_2', 'conv1_1')),
                  surgeries=('transplant',))
    with pytest.raises(FcnError, match='fc6'):
        prepare(net, stage.surgeries, file)
    made = adapted(stage, file, net)
    assert 'fc6' not in made and 'fc7' in made and 'conv1_1' not in made and 'conv1_2' in made
    plain = replace(stage, renamed=())
    report = prepare(net, plain.surgeries, adapted(plain, file, net), every=True)
    assert 'fc6' in report and torch.equal(blob(net, 'fc7'), blob(source, 'fc7'))


def test_streams_start_from_a_net_each(tmp_path):
    """Late fusion: the scores of the first step are the mean of the two nets' scores."""
    nets = [net_of(), net_of()]
    files = tuple(saved(net, tmp_path / f'{name}.caffemodel')
                  for name, net in zip(('color', 'hha-net'), nets, strict=True))
    late = net_of(inputs={'color': 3, 'hha': 3}, fusion='late')
    report = prepare(late, LATE.surgeries, adapted(LATE, files, late))
    assert '0 left at filler' in report or 'upscore made bilinear' in report
    for suffix, net in zip(('color', 'hha'), nets, strict=True):
        for layer, blobs in net.params.items():
            if layer != 'upscore':
                assert all(torch.equal(a.data, b.data) for a, b in zip(
                    blobs, late.params[layer + suffix], strict=True))
    images = torch.randn(2, 1, 3, 70, 90)
    with torch.no_grad():
        both = late.forward(color=images[0], hha=images[1], blobs=['score_fused'])['score_fused']
        one, other = (net.forward(data=image, blobs=['score_fr'])['score_fr']
                      for net, image in zip(nets, images, strict=True))
    torch.testing.assert_close(both, (one + other) / 2, rtol=1e-5, atol=1e-6)
    record = parentage(files)
    assert record['parent_stage'] == 'color + hha-net'
    assert record['parent_sha256'].count(' + ') == 1


def test_files_of_streams_as_a_user_names_them(tmp_path):
    assert given('a,b', LATE) == ('a', 'b')
    assert given('one.caffemodel', LATE) == 'one.caffemodel'        # of the net itself
    assert given('a,b', EARLY) == 'a,b'                             # a file's name may have one
    with pytest.raises(FcnError, match='3 files of weights for 2 streams') as error:
        given('a,b,c', LATE)
    assert error.value.code == 'weights-of-streams'
    late = net_of(inputs={'color': 3, 'hha': 3}, fusion='late')
    own = saved(late, tmp_path / 'late.caffemodel')
    assert adapted(LATE, own, late) == own


def test_depth_starts_from_the_mean_of_the_colours(tmp_path):
    net, early = net_of(), net_of(inputs={'color': 3, 'depth': 1}, fusion='early')
    file = saved(net, tmp_path / 'vgg.caffemodel')
    prepare(early, EARLY.surgeries, adapted(EARLY, file, early))
    weight = blob(early, 'conv1_1_bgrd')
    assert torch.equal(weight[:, :3], blob(net, 'conv1_1'))
    torch.testing.assert_close(weight[:, 3], blob(net, 'conv1_1').mean(1))
    assert torch.equal(blob(early, 'conv1_1_bgrd', 1), blob(net, 'conv1_1', 1))
    assert torch.equal(blob(early, 'conv5_3'), blob(net, 'conv5_3'))
    own = saved(early, tmp_path / 'early.caffemodel')       # goes on from its own weights
    again = net_of(inputs={'color': 3, 'depth': 1}, fusion='early')
    again.copy_from(adapted(EARLY, own, again))
    assert torch.equal(blob(again, 'conv1_1_bgrd'), blob(early, 'conv1_1_bgrd'))


@pytest.mark.parametrize('classifier', [False, True])
def test_a_rarefied_fc6_gives_the_scores_between_those_of_stride_32(classifier, tmp_path):
    """pool5 at stride 1 and fc6 of 14x14: every second score of stride 16 is one of stride 32.
    The weights of a classifier, whose fc6 is an InnerProduct, do as well."""
    net = net_of(pad=116)
    file = saved(net, tmp_path / 'vgg.caffemodel')
    if classifier:
        small = {key: TINY[key] for key in ('widths', 'fc', 'weight_filler')}
        message = vgg.classifier(classes=4, **small)
        source = Net(build(parse_net(net_text(message), 'classifier'), TEST))
        file = saved(source, tmp_path / 'classifier.caffemodel')
        net.copy_from(file)
    deep = net_of(16, pool5_stride=1, fc6_kernel=14, pad=116)
    deep.copy_from(adapted(DEEP, file, deep))
    if classifier:
        deep.params['score_fr'][0].data.copy_(net.params['score_fr'][0].data)
        deep.params['score_fr'][1].data.copy_(net.params['score_fr'][1].data)
    weight = blob(deep, 'fc6')
    assert np.count_nonzero(weight.numpy()) == blob(net, 'fc6').numel()
    image = torch.randn(1, 3, 70, 90)
    with torch.no_grad():
        coarse, fine = (each.forward(data=image, blobs=['score_fr'])['score_fr']
                        for each in (net, deep))
    assert coarse.abs().max() > 0
    same = fine[:, :, ::2, ::2]             # pool5 at stride 2 may round up to one more
    torch.testing.assert_close(same, coarse[:, :, :same.shape[2], :same.shape[3]], rtol=1e-5,
                               atol=1e-6)


@pytest.mark.parametrize('net', [
    vgg.fcn(16, pool5_stride=1, fc6_kernel=14, pad=116, classes=2, widths=(1,) * 5, fc=1),
    vgg.pool_fcn('pool4', classes=2, widths=(1,) * 5),
    vgg.pool_fcn('pool3', classes=2, widths=(1,) * 5),
    googlenet.fcn(classes=2, width=0.01)], ids=['fc6-14x14', 'pool4', 'pool3', 'googlenet'])
def test_every_pixel_of_an_image_of_any_size_is_scored(net):
    """Crop refuses a map that does not reach the image's last pixel."""
    net = Net(build(parse_net(net_text(net), 'net.prototxt'), TEST))
    first = 33 if any(node.type == 'Concat' for node in net.graph.nodes) else 1
    for size in range(first, 70):
        net.reshape({net.graph.first('data'): (1, 3, size, 133 - size)})
        assert net.shapes[net.graph.last('score')] == (1, 2, size, 133 - size)


@pytest.mark.parametrize('words, parts', [
    (['train', 'nyud-fcn32s-color-hha', '--weights', 'a,b,c'],
     ['3 files of weights for 2 streams', '--weights A,B', 'nyud-fcn32s-color, nyud-fcn32s-hha']),
    (['train', 'nyud-fcn32s-color-hha'], ['nyud-fcn32s-color, which has not been trained',
                                          'fcn-repro train nyud-fcn32s-color']),
    (['train', 'siftflow-fcn32s'], ['ImageNet weights', '--weights VGG_ILSVRC_16_layers']),
    (['train', 'nyud-fcn32s-hha', '--weights', 'none'], ['start from 0', '--weights VGG_ILSVRC']),
    (['make-prototxt', '--model', 'caffenet', '--classes', '3', '--out', 'x'],
     ['a deploy net without data', '--model', '--classes'])])
def test_bad_input_ends_in_one_message(words, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_all('.')
    folder = {'nyud': ['--nyud', 'data/nyud'], 'sift': ['--siftflow', 'data/sift-flow']}
    words = words + folder.get(words[1][:4], [])
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.count('\n') == 1 and said.startswith('error: ')
    assert all(part in said for part in parts), said
    assert not (tmp_path / 'runs').exists() or not any((tmp_path / 'runs').rglob('*.caffemodel'))


def test_the_remedies_work(tmp_path, monkeypatch, capsys):
    """A deploy net alone is written without settings; one of another stage with them."""
    monkeypatch.chdir(tmp_path)
    main(['make-prototxt', '--model', 'caffenet', '--out', 'a'])
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['deploy.prototxt']
    main(['make-prototxt', '--model', 'voc-fcn-alexnet', '--classes', '3', '--out', 'b'])
    assert 'num_output: 3\n' in (tmp_path / 'b/deploy.prototxt').read_text()


# ---- principal components of labels --------------------------------------------------------------

CODED = STAGES['dupsampling-mini']
NARROW = {'width': 6, 'low': 3, 'body_settings': {'blocks': (1, 1, 1, 1), 'stem': 4,
                                                  'widths': (2, 3, 4, 5)}}


def coded(voc, classes=3, codes=5):
    data = python_data('voc_layers', 'VOCSegDataLayer', voc_dir=str(voc), split='train',
                       mean=(0, 0, 0))
    text = net_text(dupsampling.net(data, classes=classes, codes=codes, **NARROW))
    return Net.of(parse_net(text, 'train.prototxt'), TRAIN)


def test_a_net_starts_from_the_blocks_of_its_labels(tmp_path):
    """Of the maps that its data layer reads, whole; other layers keep their fillers."""
    voc = small_voc(tmp_path / 'voc')
    net, plain = coded(voc), coded(voc)
    report = prepare(net, CODED.surgeries, None, up_layers=CODED.up_layers)
    assert "up made of 5 principal components of the labels' 16x16 blocks" in report
    labels = [np.asarray(Image.open(label_path(voc, f'im{i}'))) for i in (2, 3, 4)]
    wanted, share = components(second_moment(labels, 3, 16), 5)
    assert f'hold {100 * share:.1f} %' in report
    assert np.array_equal(blob(net, 'up').numpy(), wanted.reshape(5, 3, 16, 16).astype(np.float32))
    assert all(torch.equal(a.data, b.data) for name in net.params if name != 'up'
               for a, b in zip(net.params[name], plain.params[name], strict=True))


def test_weights_that_have_them_are_kept(tmp_path):
    net = coded(small_voc(tmp_path / 'voc'))
    file = saved(net, tmp_path / 'all.caffemodel')
    again = coded(tmp_path / 'voc')
    report = prepare(again, CODED.surgeries, file, up_layers=CODED.up_layers)
    assert 'principal' not in report and torch.equal(blob(again, 'up'), blob(net, 'up'))


def test_a_label_beyond_the_classes(tmp_path):
    voc = small_voc(tmp_path / 'voc')
    with pytest.raises(FcnError, match=r'holds id 2 .* the net has 2 classes, 0 to 1') as error:
        prepare(coded(voc, classes=2), CODED.surgeries, None, up_layers=CODED.up_layers)
    assert error.value.file == label_path(voc, 'im2')
    assert 'use a net with 3 classes' in error.value.do
    prepare(coded(voc, classes=3), CODED.surgeries, None, up_layers=CODED.up_layers)


def test_a_net_without_labels_of_pixels():
    net = Net.of(parse_net(net_text(dupsampling.net(**NARROW)), 'deploy'), TEST)
    with pytest.raises(FcnError, match='no Python data layer'):
        prepare(net, CODED.surgeries, None, up_layers=CODED.up_layers)
