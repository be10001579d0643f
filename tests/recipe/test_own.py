"""The own nets: their geometry, what a run writes for a data set, and training end to end."""

import json
import shutil

import numpy as np
import pytest
import torch
from data_folders import save_palette_png, write_split
from double_sum import gated_crf
from PIL import Image
from shape_images import NAMES, make_shapes

from fcn_repro.cli.main import main
from fcn_repro.data.image import read_label
from fcn_repro.data.scribbles import scribble_folder
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import FILLER, read_binaryproto, read_extra
from fcn_repro.net import Net
from fcn_repro.passes import DEFAULT
from fcn_repro.predict.heads import trained_blobs
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import read_net, read_solver
from fcn_repro.recipe.models.own import classifier, fcn
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.training import train

SMALL = {'widths': (4, 6, 6, 8, 8), 'last': 4}


class Reference(torch.nn.Module):
    """The same net in torch alone, with padding 1 and output padding 1 where Caffe's crops."""

    def __init__(self, params, widths, last):
        super().__init__()
        self.params, self.widths, self.last = params, widths, last

    def norm(self, x, name):
        mean, variance, factor = self.params[f'bn{name}']
        scale, bias = self.params[f'scale{name}']
        return torch.nn.functional.batch_norm(x, mean / factor, variance / factor, scale, bias)

    def forward(self, x):
        f, maps = torch.nn.functional, []
        for group, count in enumerate((2, 2, 3, 3, 3), 1):
            for i in range(1, count + 1):
                x = f.conv2d(x, *self.params[f'conv{group}_{i}'], padding=1)
                x = self.norm(x, f'{group}_{i}').relu()
            x = f.max_pool2d(x, 2)
            maps.append(x)
        for stride, skip in (16, maps[3]), (8, maps[2]), (4, maps[1]), (2, maps[0]), (1, None):
            x = f.conv_transpose2d(x, *self.params[f'up{stride}'], stride=2, padding=1,
                                   output_padding=1).relu()
            x = self.norm(x if skip is None else x + skip, f'_up{stride}')
        return f.conv2d(x, *self.params['score'])


def deploy(tmp_path, size, **options):
    path = tmp_path / 'deploy.prototxt'
    path.write_text(net_text(fcn(None, classes=3, shape=(2, 3, *size), **SMALL), 'test'))
    net = Net.read(path, 'TEST', seed=2, **options)
    torch.manual_seed(0)
    for name, blobs in net.params.items():
        if name.startswith('bn'):
            for blob, low in zip(blobs, (-1, 0.5, 1), strict=True):
                blob.data.uniform_(low, low + 1)
        elif name.startswith('scale'):
            for blob in blobs:
                blob.data.normal_()
    return net


@pytest.mark.parametrize('passes', [(), DEFAULT], ids=['plain', 'passes'])
def test_the_net_is_the_one_of_torch(tmp_path, passes):
    net = deploy(tmp_path, (64, 96), passes=passes)
    params = {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}
    x = 40 * torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        want, got = Reference(params, **SMALL)(x), net(data=x)['score']
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()


@pytest.mark.parametrize('size', [(1, 1), (33, 50), (100, 7), (63, 65), (95, 96)])
def test_images_of_any_size(tmp_path, size):
    net = deploy(tmp_path, (32, 32), passes=DEFAULT)
    with torch.no_grad():
        assert net(data=torch.randn(1, 3, *size))['score'].shape == (1, 3, *size)


@pytest.fixture(scope='module')
def voc(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp('shapes'), counts={'train': 3, 'val': 2})


def test_a_run_writes_nets_for_the_classes_that_the_folder_names(voc, tmp_path):
    run = Run('own', Options(voc=str(voc), out=str(tmp_path / 'run'), class_weights='balanced',
                             recolour=0.25, rotate=30.))
    assert run.name == 'own-fcn16s' and run.stage.family == 'own'
    folder = run.write_prototxt()
    net = read_net(folder / 'train.prototxt').message
    layers = {layer.name: layer for layer in net.layer}
    assert layers['score'].convolution_param.num_output == len(NAMES)
    params = layers['data'].python_param.param_str
    assert "'crop': (112, 160)" in params and "'recolour': 0.25" in params
    assert "'rotate': 30.0" in params and run.recipe.endswith('recolour 0.25, rotate 30')
    assert layers['loss'].type == 'InfogainLoss'
    matrix = read_binaryproto(folder / 'class_weights.binaryproto').reshape(4, 4)
    assert np.count_nonzero(matrix) == 4 and matrix[0, 0] < 1 < matrix[1:].max(axis=1).min()
    assert read_net(folder / 'val.prototxt').message.layer[-1].type == 'SoftmaxWithLoss'
    assert read_solver(folder / 'solver.prototxt').message.lr_policy == 'poly'


def test_other_class_weights_are_another_run(voc, tmp_path):
    """By the name of the folder, and where it is given by the recipe that snapshots record."""
    plain, weighted = (Run('own', Options(voc=str(voc), class_weights=weights))
                       for weights in (None, '1,2,2,2'))
    assert plain.folder != weighted.folder and plain.recipe != weighted.recipe


def test_class_weights_for_another_number_of_classes(voc, tmp_path):
    run = Run('own', Options(voc=str(voc), out=str(tmp_path / 'run'), class_weights='1,2'))
    with pytest.raises(FcnError, match='2 class weights for 4 classes') as caught:
        run.write_prototxt()
    assert caught.value.code == 'bad-class-weights'


def test_classes_without_names_are_counted(tmp_path):
    for part in 'JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation':
        (tmp_path / part).mkdir(parents=True)
    for i, top in enumerate((3, 5)):
        label = np.full((40, 40), 255, np.uint8)
        label[:9] = top
        save_palette_png(label, tmp_path / f'SegmentationClass/{i}.png')
        Image.new('RGB', (40, 40)).save(tmp_path / f'JPEGImages/{i}.jpg')
        write_split(tmp_path, ('train', 'val')[i], [str(i)])
    run = Run('own', Options(voc=str(tmp_path)))
    assert run.model.settings['classes'] == 6
    assert Run('own', Options(voc=str(tmp_path), classes=9)).model.settings['classes'] == 9
    assert Run('mini-fcn32s', Options(voc=str(tmp_path))).model.settings['classes'] == 11


def test_training_end_to_end(voc, tmp_path, monkeypatch, capsys):
    """A few iterations of the shipped recipe; the rate has fallen to almost 0 at the end of the
    iterations that were asked for. A second call finds the run."""
    monkeypatch.chdir(tmp_path)
    words = ['train', 'own', '--voc', str(voc), '--iterations', '3', '--class-weights', 'balanced',
             '--pictures', '1', '--workers', '1']
    main(words)
    out = capsys.readouterr().out
    assert 'mean IU' in out and 'triangle' in out
    folder = tmp_path / 'runs/own-fcn16s-weighted'
    [weights] = folder.glob('*.caffemodel.h5')
    assert 'class weights balanced' in str(read_extra(weights)['recipe'])
    assert (folder / 'eval').is_dir()
    main(words)
    assert 'trained already' in capsys.readouterr().out


def test_a_resumed_run_equals_an_uninterrupted_one(voc, tmp_path):
    """Crops, running statistics and Adam's histories continue with the same bits."""
    from fcn_repro.solver import Solver
    folder = Run('own', Options(voc=str(voc), out=str(tmp_path / 'run'))).write_prototxt()
    text = (folder / 'train.prototxt').read_text().replace("'crop': (112, 160)", "'crop': (40, 48)")
    (folder / 'train.prototxt').write_text(text)

    def solver(name):
        return Solver(folder / 'solver.prototxt', prefix=tmp_path / name, max_iter=2, workers=1,
                      passes=DEFAULT)
    whole = solver('whole')
    for _ in whole.run():
        pass
    first = solver('first')
    for _ in first.run(1):
        pass
    first.snapshot()
    second = solver('second')
    [state] = tmp_path.glob('first*solverstate*')
    second.restore(state)
    for _ in second.run():
        pass
    for name, blobs in whole.net.params.items():
        for one, other in zip(blobs, second.net.params[name], strict=True):
            assert torch.equal(one.data, other.data), name


def test_the_classifier_gives_its_body(tmp_path):
    """All layers down to pool5 are taken, the rest start anew."""
    path, weights = tmp_path / 'net.prototxt', tmp_path / 'weights.caffemodel'
    path.write_text(net_text(classifier(None, classes=10, widths=SMALL['widths']), 'test'))
    Net.read(path, 'TEST', seed=7).save(weights)
    path.write_text(net_text(fcn(None, classes=3, **SMALL), 'test'))
    rows = Net.read(path, 'TEST').copy_from(weights)
    copied = {row.layer for row in rows if row.action == 'copied'}
    assert {name for name in copied if name.startswith('conv')} == {
        f'conv{g}_{i}' for g, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)}
    assert {'bn5_3', 'scale5_3'} <= copied


def test_the_net_that_learns_through_a_convcrf(voc, tmp_path):
    """Its score is that of the CRF in all phases; the layers are own-fcn16s's, whose weights fit,
    and what it adds is a weight of the messages for each class, which learns."""
    run = Run('own-convcrf', Options(voc=str(voc), out=str(tmp_path / 'run')))
    folder = run.write_prototxt()
    plain = Run('own', Options(voc=str(voc), out=str(tmp_path / 'own'))).write_prototxt()
    for name in 'train', 'val', 'deploy':
        layers = list(read_net(folder / f'{name}.prototxt').message.layer)
        [crf] = [layer for layer in layers if layer.type == 'LocalMeanField']
        assert list(crf.bottom) == ['unary', 'data'] and list(crf.top) == ['score']
        others = {layer.name: layer.type for layer in layers if layer is not crf}
        assert others == {layer.name: layer.type for layer in read_net(
            plain / f'{name}.prototxt').message.layer}
    weights = tmp_path / 'scribbles.caffemodel'         # of own-scribbles they fit, too
    learned = Run('own-scribbles', Options(voc=str(voc), out=str(tmp_path / 's'))).write_prototxt()
    Net.read(learned / 'train.prototxt', 'TRAIN', seed=3).save(weights)
    net = Net.read(folder / 'train.prototxt', 'TRAIN', seed=1)
    assert [row.layer for row in net.copy_from(weights) if row.action == FILLER] == ['convcrf']
    net.forward()
    net.backward()
    [weight] = net.params['convcrf']
    assert weight.data.tolist() == pytest.approx([0.2] * 4) and weight.diff.abs().min() > 0


# ---- scribbles -----------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def strokes(voc, tmp_path_factory):
    return scribble_folder(voc, tmp_path_factory.mktemp('scribbles') / 'out').folder


def test_the_nets_of_scribbles(strokes, tmp_path):
    """The net that learns has the Gated CRF loss on all pixels of the image beside the loss of the
    labelled ones; those that score and are used are own-fcn16s's."""
    run = Run('own-scribbles', Options(voc=str(strokes), out=str(tmp_path / 'run'), rotate=20.))
    folder = run.write_prototxt()
    plain = Run('own', Options(voc=str(strokes), out=str(tmp_path / 'own'))).write_prototxt()
    net = read_net(folder / 'train.prototxt').message
    layers = {layer.name: layer for layer in net.layer}
    assert [layer.name for layer in net.layer][-4:] == ['loss', 'coarse', 'prob', 'crf']
    assert list(layers['data'].top) == ['data', 'label', 'mask']
    assert list(layers['crf'].bottom) == ['prob', 'data', 'mask']
    assert list(layers['crf'].loss_weight) == pytest.approx([0.1])
    [kernel] = layers['crf'].fcn_repro_param.kernel
    assert (kernel.weight, kernel.place) == (1, 6) and kernel.colour == pytest.approx(5.8)
    assert layers['loss'].type == 'SoftmaxWithLoss' and list(layers['loss'].bottom) == [
        'score', 'label']
    for name in 'deploy', 'val':
        assert (folder / f'{name}.prototxt').read_text() == (plain / f'{name}.prototxt').read_text()
    assert Run('own-scribbles').folder != Run('own').folder


def test_the_two_losses_of_scribbles(strokes, tmp_path):
    """The sum of both is what is trained, and each has the value of its definition."""
    folder = Run('own-scribbles', Options(voc=str(strokes), out=str(tmp_path),
                                          rotate=45.)).write_prototxt()
    net = Net.read(folder / 'train.prototxt', 'TRAIN', seed=1)
    outputs = net.forward(blobs='all')
    score, label, mask = (net.blobs[name].data for name in ('score', 'label', 'mask'))
    wanted = torch.nn.functional.cross_entropy(score, label[:, 0].long(), ignore_index=255)
    torch.testing.assert_close(outputs['loss'], wanted)
    assert trained_blobs(net) == {'score': ''}
    prob = torch.nn.functional.avg_pool2d(score, 4).softmax(1)
    image, inside = (torch.nn.functional.avg_pool2d(x, 4) for x in (net.blobs['data'].data, mask))
    assert 0 < (label != 255).float().mean() < 0.1 and inside.min() < 1
    torch.testing.assert_close(outputs['crf'].double(), gated_crf(
        prob, image, [(1, 6, 5.8)], 5, (inside >= 1).float()), rtol=1e-4, atol=0)


def test_scribbles_end_to_end(strokes, tmp_path, monkeypatch, capsys):
    """Trained, stopped and resumed, scored, used, examined: as a net that learned from masks."""
    monkeypatch.chdir(tmp_path)
    words = ['train', 'own-scribbles', '--voc', str(strokes), '--pictures', '1', '--workers', '1']
    main([*words, '--iterations', '1'])
    out = capsys.readouterr().out
    assert 'mean IU' in out and 'mostly void' not in out
    folder = tmp_path / 'runs/own-scribbles'
    assert 'crf = ' in (folder / 'train.log').read_text()
    main([*words, '--iterations', '2', '--restore', '--force'])
    assert (folder / 'train_iter_2.caffemodel.h5').is_file()
    capsys.readouterr()
    main(['eval', '--run', str(folder), '--report'])
    assert 'mean IU' in capsys.readouterr().out and list(folder.rglob('report.html'))
    main(['infer', str(strokes / 'JPEGImages/val000.jpg'), '--run', str(folder), '--out', 'maps'])
    assert list((tmp_path / 'maps').iterdir())
    capsys.readouterr()
    main(['doctor', str(folder), '--iterations', '1'])
    assert 'no faults, no doubts' in capsys.readouterr().out


def test_masks_and_missing_strokes_are_said_before_training(voc, strokes, tmp_path, monkeypatch,
                                                           capsys):
    monkeypatch.chdir(tmp_path)
    words = ['train', 'own-scribbles', '--iterations', '1', '--pictures', '0', '--voc']
    main([*words, str(voc), '--out', 'whole'])
    assert '`fcn-repro train own` learns from masks.' in capsys.readouterr().out
    shutil.copytree(strokes, tmp_path / 'strokes')
    path = tmp_path / 'strokes/SegmentationClass/train001.png'
    label = read_label(path)
    save_palette_png(np.full_like(label, 255), path)
    with pytest.raises(SystemExit):
        main([*words, 'strokes'])
    err = capsys.readouterr().err
    assert 'images without a scribble' in err and '--scribbles` lists every file' in err
    assert not (tmp_path / 'runs').exists() or not list((tmp_path / 'runs').rglob('*.h5'))
    save_palette_png(label, path)
    main([*words, 'strokes'])
    assert 'mean IU' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('random_colours, least', [(False, 93), (True, 80)])
def test_thirty_shapes(tmp_path, random_colours, least, seed):
    """24 images to train on, 6 for val, scored on 100 others: by their colours, or by their shapes
    alone. docs/own-nets.md has the times."""
    folder = make_shapes(tmp_path / 'shapes', random_colours,
                         counts={'train': 24, 'val': 6, 'fresh': 100})
    run = Run('own', Options(voc=str(folder), out=str(tmp_path / 'run'), seed=seed, pictures=0))
    weights = train(run)
    main(['eval', '--net', str(run.folder / 'net/val.prototxt'), '--weights', str(weights),
          '--split', 'fresh', '--out', str(tmp_path / 'fresh')])
    assert 100 * json.loads((tmp_path / 'fresh/metrics.json').read_text())['mean_iu'] >= least
