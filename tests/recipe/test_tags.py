"""Learning from image tags: the class maps of the nets, the seeds that are made of them, and the
commands from end to end."""

import shutil

import numpy as np
import pytest
import torch
from commands import call
from data_folders import save_palette_png, write_split
from shape_images import NAMES, make_shapes

from fcn_repro.cli.main import main
from fcn_repro.data.image import MEAN, VOID, read_label
from fcn_repro.data.own import tags_of
from fcn_repro.data.voc import VocFolder
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.passes import DEFAULT
from fcn_repro.predict.localise import Localiser, normalised, seeds, windowed, with_passes
from fcn_repro.predict.val import tag_line
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net, read_net
from fcn_repro.recipe.finished import opened
from fcn_repro.recipe.localising import Seeds, localise
from fcn_repro.recipe.models.tags import DILATIONS, crop_of, tagger
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import shipped

WIDTHS = (4, 4, 6, 6, 8)
HEADS = pytest.mark.parametrize('head', ['dilated', 'fickle'])


def text_of(head, training=False):
    data = {'module': 'own_layers', 'layer': 'OwnDataLayer', 'param_str': '{}'} if training else \
        None
    return parse_net(net_text(tagger(data, classes=4, widths=WIDTHS, head=head,
                                     training=training, shape=(1, 3, 64, 96)), 'test'), 'tags')


def random_net(text, seed=2, passes=(), **options):
    net = Net.of(text, 'TEST', seed=seed, passes=passes, **options)
    torch.manual_seed(0)
    for name, blobs in net.params.items():
        for blob in blobs:
            if name.startswith('bn'):
                blob.data.uniform_(0.5, 1)
            elif name.startswith(('scale', 'maps')):
                blob.data.normal_()
    return net


def image(height=64, width=96, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# ---- the nets ------------------------------------------------------------------------------------

@HEADS
def test_the_score_is_that_of_pooling_before_the_weights_of_the_classes(head):
    """A class activation map: global average pooling, then an InnerProduct, has the mean of the
    maps as its score."""
    net = random_net(text_of(head))
    with torch.no_grad():
        outputs = net.forward('all', data=torch.randn(2, 3, 40, 72))
    assert list(net.graph.outputs) == ['score'] and outputs['score'].shape == (2, 3)
    marks = [f'_d{d}' for d in DILATIONS] if head == 'dilated' else ['']
    scores = []
    for mark in marks:
        weight, bias = (blob.data for blob in net.params[f'maps{mark}'])
        pooled = outputs[f'conv6{mark}'].mean((2, 3))
        scores.append(pooled @ weight[:, :, 0, 0].T + bias)
    want = scores[0] + sum(scores[1:]) / max(1, len(scores) - 1)
    torch.testing.assert_close(outputs['score'], want, rtol=1e-4, atol=1e-5)


def test_the_maps_are_the_plain_branch_and_the_mean_of_the_dilated_ones():
    net = random_net(text_of('dilated'))
    with torch.no_grad():
        found = {name: top.numpy() for name, top in net.forward(
            'all', data=torch.randn(1, 3, 40, 72)).items()}
    first, *others = (found[f'maps_d{d}'] for d in (1, 3, 6, 9))
    np.testing.assert_allclose(found['maps'], first + np.mean(others, 0), rtol=1e-5, atol=1e-5)
    assert found['maps'].shape == (1, 3, 5, 9)


@pytest.mark.parametrize('dilation', DILATIONS)
def test_a_branch_is_a_dilated_convolution_of_the_body(dilation):
    net = random_net(text_of('dilated'))
    layer = next(node for node in net.graph.nodes if node.name == f'conv6_d{dilation}').param
    param = layer.convolution_param
    assert (list(param.kernel_size), list(param.pad), list(param.dilation) or [1]) == (
        [3], [dilation], [dilation]) and list(layer.bottom) == ['conv5_3']


def test_the_body_sees_as_far_as_with_its_poolings():
    """Behind the poolings that are left out conv5 is dilated, and the weights are those of other
    own nets."""
    layers = {layer.name: layer for layer in text_of('fickle').message.layer}
    assert 'pool3' in layers and not {'pool4', 'pool5'} & set(layers)
    assert [list(layers[name].convolution_param.dilation) for name in ('conv4_3', 'conv5_1')] == [
        [], [2]]
    other, mine = (Net.read(shipped(name) / 'deploy.prototxt', 'TEST').params
                   for name in ('own-fcn16s', 'own-tags'))
    shapes = {name: [tuple(blob.data.shape) for blob in blobs]
              for name, blobs in other.items() if name.startswith('conv')}
    assert all([tuple(blob.data.shape) for blob in mine[name]] == each
               for name, each in shapes.items()) and len(shapes) == 13


@HEADS
def test_the_losses_of_the_net_that_learns(head):
    """One of each branch, against the same tags."""
    layers = list(text_of(head, training=True).message.layer)
    losses = [layer for layer in layers if layer.type == 'SigmoidCrossEntropyLoss']
    assert len(losses) == (4 if head == 'dilated' else 1)
    assert all(list(layer.bottom) == [layer.name.replace('loss', 'score'), 'tags']
               for layer in losses)
    assert not any('maps' in layer.top and layer.type == 'Eltwise' for layer in layers)


# ---- random passes -------------------------------------------------------------------------------

def passes_of(count, seed=2, k=0, passes=DEFAULT):
    net = random_net(with_passes(text_of('fickle'), count), seed, passes)
    return Localiser(net, 'maps', MEAN, (64, 96)).maps(image(), k)


def test_passes_are_those_of_seed_and_image():
    """The draws are a function of seed and number of the image, not of what was run before."""
    one = passes_of(3)
    assert torch.equal(one, passes_of(3))
    assert not torch.equal(one, passes_of(3, seed=3)) and not torch.equal(one, passes_of(3, k=1))
    net = random_net(with_passes(text_of('fickle'), 3), 2, DEFAULT)
    localiser = Localiser(net, 'maps', MEAN, (64, 96))
    localiser.maps(image(seed=9), 5)
    assert torch.equal(localiser.maps(image(), 0), one)


def test_a_pixel_is_of_a_class_where_the_map_of_any_pass_is_high():
    """The highest of all passes is above a threshold where that of any pass is."""
    net = random_net(with_passes(text_of('fickle'), 6))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found = normalised(net.forward('maps', data=x)['maps'])
    assert found.shape == (6, 3, 8, 12) and len({tuple(each.flatten().tolist())
                                                 for each in found}) == 6
    for threshold in 0.2, 0.5, 0.9:
        any_pass = np.zeros((3, 8, 12), bool)
        for each in found.numpy():
            any_pass |= each >= threshold
        assert np.array_equal(found.amax(0).numpy() >= threshold, any_pass)


def test_a_pass_is_fickle_dropout_and_the_middle_is_kept():
    """Against the maps computed from the patches that the pass let through."""
    net = random_net(with_passes(text_of('fickle'), 4))
    with torch.no_grad():
        outputs = net.forward('all', data=torch.randn(1, 3, 64, 96))
    patches, drop = outputs['patches'], outputs['drop']
    assert patches.shape[0] == 1 and drop.shape[0] == 4
    kept = (drop != 0) | (patches == 0)
    places = kept.unflatten(1, (-1, 9))
    assert places[:, :, 4].all() and not places.all()
    torch.testing.assert_close(drop[:, 4::9], patches[:, 4::9].expand(4, -1, -1, -1))
    assert torch.equal(drop[(drop != 0)],
                       (patches.expand_as(drop) * scale_of_places(drop))[drop != 0])


def scale_of_places(drop):
    """2 for what may be dropped, by a ratio of 0.5, 1 for the middle."""
    scale = torch.full_like(drop, 2)
    scale[:, 4::9] = 1
    return scale


@pytest.mark.parametrize('head, passes, words', [
    ('dilated', 3, 'the net has 0'), ('fickle', 0, 'passes is 0')])
def test_passes_that_make_no_sense(head, passes, words):
    with pytest.raises(FcnError, match=words) as caught:
        with_passes(text_of(head), passes)
    assert caught.value.do
    assert windowed(text_of('fickle')) and not windowed(text_of('dilated'))


# ---- maps and seeds ------------------------------------------------------------------------------

def test_maps_have_the_size_of_the_image_and_its_places():
    """Bilinear between the middles of cells, eight pixels each; a larger image is made smaller, as
    those that the net learned from."""
    net = random_net(text_of('dilated'))
    small = Localiser(net, 'maps', MEAN, (64, 96))
    assert small.stride == 8 and small.classes == 3
    found = small.maps(image(61, 90), 0)
    assert found.shape == (3, 61, 90) and found.min() >= 0 and found.max() <= 1
    with torch.no_grad():
        data = torch.from_numpy(np.array(blob_of(image(64, 96))))
        cells = normalised(net.forward('maps', data=data)['maps'])[0]
    found = small.maps(image(64, 96), 0)
    y, x = 8 * 3 + 3, 8 * 5 + 3             # the four pixels in the middle of a cell
    torch.testing.assert_close(found[:, y:y + 2, x:x + 2].mean((1, 2)), around(cells, 3, 5),
                               rtol=1e-4, atol=1e-5)
    assert small.maps(image(128, 192), 0).shape == (3, 128, 192)


def around(cells, i, j):
    """Bilinear at a sixteenth of a cell each way of cell (i, j), the mean of the four."""
    near = cells[:, i - 1:i + 2, j - 1:j + 2]
    weights = torch.tensor([1 / 32, 15 / 16, 1 / 32])
    return (near * weights[:, None] * weights).sum((1, 2))


def blob_of(picture):
    return (picture[None, :, :, ::-1].astype(np.float64) - MEAN).transpose(0, 3, 1, 2).astype(
        np.float32)


def test_normalised_maps():
    maps = torch.tensor([[[[-1., 2.], [4., 0.]], [[-3., -2.], [-1., -5.]]]])
    assert normalised(maps)[0, 0].tolist() == [[0, 0.5], [1, 0]]
    assert (normalised(maps)[0, 1] == 0).all()


def test_seeds_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    maps, tags = torch.from_numpy(rng.random((4, 9, 11), np.float32)), np.array([1, 0, 1, 1], bool)
    found = seeds(maps, tags, 0.8, 0.5)
    for y in range(9):
        for x in range(11):
            values = {c: maps[c, y, x].item() for c in (0, 2, 3)}
            best = max(values, key=values.get)
            want = best + 1 if values[best] >= 0.8 else 0 if values[best] <= 0.5 else VOID
            assert found[y, x] == want
    assert {0, 1, 3, 4, VOID} >= set(np.unique(found)) >= {0, VOID} and 2 not in found


def test_an_image_without_a_class_is_background():
    assert (seeds(torch.rand(3, 5, 5), np.zeros(3, bool), 0.5, 0.1) == 0).all()


def test_tags_of_a_mask():
    label = np.array([[0, 3], [255, 1]], np.uint8)
    assert tags_of(label, 4).tolist() == [True, False, True, False]
    assert not tags_of(np.zeros((2, 2), np.uint8), 4).any()
    with pytest.raises(FcnError, match='no tags') as caught:
        tags_of(np.full((2, 2), VOID, np.uint8), 4)
    assert 'background' in caught.value.do


# ---- from end to end -----------------------------------------------------------------------------

@pytest.fixture(scope='module')
def voc(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp('shapes'), counts={'train': 4, 'val': 2})


@pytest.fixture(scope='module')
def runs(voc, tmp_path_factory):
    """Runs of both stages, and of a segmentation net, of an iteration each."""
    folder = tmp_path_factory.mktemp('runs')
    for stage in 'own-tags', 'own-fickle', 'own-distilled':
        more = ['--pixel-wise', '0', '--pair-wise', '0'] if stage == 'own-distilled' else []
        main(['train', stage, '--voc', str(voc), '--iterations', '1', '--runs', str(folder),
              '--workers', '1', '--pictures', '0', *more])
    return folder


def labels(folder, split='train'):
    reader = VocFolder(folder, split)
    return {id_: reader.label(i) for i, id_ in enumerate(reader.ids)}


def test_a_run_writes_nets_for_the_classes_of_the_folder(voc, tmp_path):
    run = Run('own-tags', Options(voc=str(voc), out=str(tmp_path / 'run'), recolour=0.25))
    folder = run.write_prototxt()
    train, val = (read_net(folder / f'{name}.prototxt').message.layer[0] for name in (
        'train', 'val'))
    assert list(train.top) == list(val.top) == ['data', 'tags']
    assert "'tags': 3" in train.python_param.param_str and "'recolour': 0.25" in \
        train.python_param.param_str
    assert "'tags': 3" in val.python_param.param_str
    net = Net.read(folder / 'train.prototxt', 'TRAIN', seed=1)
    assert net.blobs['tags'].shape[1] == len(NAMES) - 1 == net.blobs['score_d1'].shape[1]
    net.forward()
    net.backward()
    assert net.params['conv1_1'][0].diff.abs().sum() > 0


def test_the_tags_that_are_told_are_counted(voc, runs):
    """Against a loop over the val images, each once, of a net whose scores are its biases."""
    net = Net.read(runs / 'own-tags/net/val.prototxt', 'TEST')
    for name, blobs in net.params.items():
        if name.startswith('maps'):
            blobs[0].data.zero_()
            blobs[1].data.copy_(torch.tensor([1., -1., 1.]))
    present = [set(np.unique(label)) - {0, VOID} for label in labels(voc, 'val').values()]
    right = sum(len({1, 3} & each) for each in present)
    wrong = sum(len({1, 3} - each) for each in present)
    every = sum(map(len, present))
    share = 1 - (every - right + wrong) / (3 * len(present))
    for _ in range(2):
        assert tag_line(net) == (f'tags of held-out images: {100 * share:.1f} % right; {right} of '
                                 f'{every} classes found, {wrong} that are not there')


def test_crops_of_tags_have_the_shape_of_the_images():
    assert crop_of((40, 56)) == (48, 64) or crop_of((40, 56)) == (32, 64)
    height, width = crop_of((1500, 2000))
    assert height / width == pytest.approx(0.75, abs=0.06)


def ids_of(folder):
    """The classes that have a seed in some image."""
    return {*np.concatenate([np.unique(label) for label in labels(folder).values()])} - {VOID}


def test_a_class_without_a_seed_is_said(voc, runs, tmp_path, capsys):
    """With a threshold that the maximum of a map alone reaches, some class may have none."""
    for i, threshold in enumerate((0.2, 0.5, 0.8, 1.0)):
        out = tmp_path / str(i)
        words = f'--foreground {threshold} --background {min(threshold, 0.1)}'
        text = call(f'data localise {voc} --run own-tags --runs {runs} --out {out} {words}',
                    capsys)[1]
        missing = [f'{c} {NAMES[c]}' for c in range(4) if c not in ids_of(out)]
        assert all(name in text for name in missing)
        assert ('warning: there is no seed of' in text) == bool(missing)


def test_the_commands(voc, runs, tmp_path, monkeypatch, capsys):
    """Trained, localised, and learned from."""
    monkeypatch.chdir(tmp_path)
    for name, options in ('own-tags', ''), ('own-tags', '--maps maps_d1'), ('own-fickle', ''), (
            'own-fickle', '--passes 0'):
        status, out, err = call(f'data localise {voc} --run {name} --runs {runs} --out s '
                                f'{options}', capsys)
        assert status == 0 and not err and 'mean IU of the seeds' in out
        assert '4 train images with seeds on' in out and '2 val images with whole masks' in out
        assert 'next: fcn-repro train own-scribbles --voc s' in out
        shutil.move('s', f's{len(list(tmp_path.iterdir()))}')
    folders = sorted(tmp_path.iterdir())
    whole, texts = labels(voc), set()
    for folder in folders:
        found = labels(folder)
        texts.add(b''.join(label.tobytes() for label in found.values()))
        for id_, label in found.items():
            assert set(np.unique(label)) <= {*np.unique(whole[id_]), 0, VOID}
        assert all(np.array_equal(label, labels(voc, 'val')[id_])
                   for id_, label in labels(folder, 'val').items())
        assert (folder / 'classes.txt').read_text() == (voc / 'classes.txt').read_text()
    assert len(texts) == 4                      # each of its own
    capsys.readouterr()
    learned = next(folder for folder in folders if len(ids_of(folder)) == 4)
    main(['train', 'own-scribbles', '--voc', str(learned), '--iterations', '1', '--pictures', '0',
          '--workers', '1'])
    assert 'mean IU' in capsys.readouterr().out


def test_a_run_is_resumed_examined_and_has_the_names_of_its_classes(voc, runs, tmp_path, capsys):
    folder = tmp_path / 'own-tags'
    shutil.copytree(runs / 'own-tags', folder)
    assert opened(folder).classes == tuple(NAMES)
    capsys.readouterr()
    main(['train', 'own-tags', '--voc', str(voc), '--iterations', '2', '--restore', '--force',
          '--out', str(folder), '--workers', '1'])
    assert 'tags of held-out images: ' in capsys.readouterr().out
    main(['doctor', str(folder), '--iterations', '1'])
    assert 'no faults' in capsys.readouterr().out


def test_seeds_are_those_of_the_seed(voc, runs, tmp_path):
    """Images are localised in threads, in no order."""
    made = {}
    for name, options in (('one', {'seed': 4}), ('same', {'seed': 4}), ('other', {'seed': 5}),
                          ('more', {'seed': 4, 'passes': 40})):
        localise(opened(runs / 'own-fickle'), voc, tmp_path / name, **options)
        made[name] = np.stack(list(labels(tmp_path / name).values()))
    assert np.array_equal(made['one'], made['same'])
    assert not np.array_equal(made['one'], made['other'])
    assert not np.array_equal(made['one'], made['more'])


def test_a_mask_may_stand_for_tags(voc, runs, tmp_path, monkeypatch):
    """One pixel of each class, wherever it is, and void: the seeds are those of the whole mask."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(voc, 'tagged')
    for id_, label in labels(voc).items():
        stand = np.full_like(label, VOID)
        present = np.setdiff1d(np.unique(label), VOID)
        stand[0, :len(present)] = present
        save_palette_png(stand, tmp_path / f'tagged/SegmentationClass/{id_}.png')
    for name, folder in ('whole', voc), ('standing', tmp_path / 'tagged'):
        localise(opened(runs / 'own-tags'), folder, tmp_path / name)
    found = labels(tmp_path / 'standing')
    assert all(np.array_equal(label, found[id_])
               for id_, label in labels(tmp_path / 'whole').items())
    main(['train', 'own-tags', '--voc', 'tagged', '--iterations', '1', '--workers', '1'])


def test_what_is_said_of_the_seeds():
    """Rows are the mask, columns the seeds and, last, none."""
    made = Seeds(None, np.array([[6, 2, 2], [1, 3, 0]]))
    np.testing.assert_allclose(made.precision, [6 / 7, 3 / 5])
    np.testing.assert_allclose(made.recall, [6 / 10, 3 / 4])
    assert made.mean_iu == pytest.approx((6 / 11 + 3 / 6) / 2) and made.without == []
    empty = Seeds(None, np.array([[6, 0, 2], [4, 0, 0]]))
    assert np.isnan(empty.precision[1]) and empty.recall[1] == 0 and empty.without == [1]


def refused(run, voc, out, **options):
    with pytest.raises(FcnError) as caught:
        localise(opened(run), voc, out, **options)
    assert caught.value.do and not out.exists()
    return caught.value


@pytest.mark.parametrize('options', [
    {'foreground': 0.2, 'background': 0.3}, {'foreground': 1.1}, {'background': -0.1},
    {'foreground': 0., 'background': 0.}, {'foreground': float('nan')}])
def test_thresholds_out_of_range(voc, runs, tmp_path, options):
    error = refused(runs / 'own-tags', voc, tmp_path / 'out', **options)
    assert error.code == 'bad-thresholds' and 'from 0 to 1' in error.do
    localise(opened(runs / 'own-tags'), voc, tmp_path / 'out', foreground=0.3, background=0.3)
    assert not any((label == VOID).any() for label in labels(tmp_path / 'out').values())


def test_what_is_refused_and_its_remedy(voc, runs, tmp_path):
    out = tmp_path / 'out'
    tags, other = runs / 'own-tags', runs / 'own-distilled-alone'
    error = refused(other, voc, out)
    assert error.code == 'not-of-tags' and 'own-distilled' in error.what
    assert refused(tags, voc, out, passes=3).code == 'option-not-taken'
    assert refused(runs / 'own-fickle', voc, out, passes=-1).code == 'negative'
    assert refused(runs / 'own-fickle', voc, out, seed=-1).code == 'negative'
    error = refused(tags, voc, out, maps='cams')
    assert 'maps_d1' in error.do
    assert refused(tags, voc, voc / 'inside').code == 'output-inside'
    localise(opened(tags), voc, out, maps='maps_d1')            # 'Its class maps are …'


def test_a_folder_of_other_classes(voc, runs, tmp_path):
    """By their names, or without names by an id that the run has no map for."""
    other, out = tmp_path / 'other', tmp_path / 'out'
    shutil.copytree(voc, other)
    (other / 'classes.txt').write_text('\n'.join(['background', *'abc']) + '\n')
    error = refused(runs / 'own-tags', other, out)
    assert error.code == 'other-classes' and 'a, b, c' in error.what
    (other / 'classes.txt').unlink()
    path = other / 'SegmentationClass/train001.png'
    label = read_label(path)
    save_palette_png(np.where(label == 3, 7, label), path)
    assert refused(runs / 'own-tags', other, out).file == path
    save_palette_png(label, path)
    localise(opened(runs / 'own-tags'), other, out)             # the classes of the run again


def test_an_image_without_tags(voc, runs, tmp_path):
    """A mask that is void everywhere has none, one of background alone has: none of the classes."""
    other, out = tmp_path / 'other', tmp_path / 'out'
    shutil.copytree(voc, other)
    path = other / 'SegmentationClass/train001.png'
    save_palette_png(np.full_like(read_label(path), VOID), path)
    error = refused(runs / 'own-tags', other, out)
    assert error.file == path and 'it has no tags' in error.what
    write_split(other, 'train', ['train000', 'train002', 'train003'])   # 'remove its id'
    localise(opened(runs / 'own-tags'), other, out)
    shutil.rmtree(out)
    write_split(other, 'train', ['train000', 'train001', 'train002', 'train003'])
    save_palette_png(np.zeros_like(read_label(path)), path)             # 'background where …'
    localise(opened(runs / 'own-tags'), other, out)
    assert (labels(out)['train001'] == 0).all()


def test_a_run_of_tags_labels_no_pixels(voc, runs, tmp_path, monkeypatch, capsys):
    """Named, it is refused with what to do; not named, it is not meant."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs, 'runs')
    picture = voc / 'JPEGImages/val000.jpg'
    for words in (f'infer {picture} --run own-tags', f'infer {picture} --run own-fickle --heatmap',
                  'eval --run own-tags'):
        status, _, err = call(words, capsys)
        assert status == 1 and '`fcn-repro data localise --run --out`' in err, err
    status, out, err = call(f'infer {picture}', capsys)
    assert status == 0 and 'runs/own-distilled-alone: the only finished run' in out, (out, err)
    shutil.rmtree('runs/own-distilled-alone')
    status, _, err = call(f'infer {picture} --heatmap', capsys)
    assert status == 1 and 'no finished run of a classifier' in err


def test_the_remedies_of_the_command(voc, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    start = f'data localise {voc} --runs {runs} --out s'
    for words, remedy in (
            ('--run own-tags --foreground 2', 'Give --foreground and --background from 0 to 1'),
            ('--run own-tags --passes 2', 'Leave out --passes.'),
            ('--run own-distilled-alone', '`fcn-repro train own-tags`'),
            ('--run own-tag', "Did you mean 'own-tags'?")):
        status, _, err = call(f'{start} {words}', capsys)
        assert status == 1 and remedy in err, err
    shutil.copytree(voc, 'other')
    (tmp_path / 'other/classes.txt').write_text('background\na\nb\nc\n')
    status, _, err = call(f'data localise other --runs {runs} --out s --run own-tags', capsys)
    assert status == 1 and '`fcn-repro train own-tags --voc other`' in err
