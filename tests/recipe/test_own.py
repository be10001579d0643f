"""The own nets: their geometry, what a run writes for a data set, and training end to end."""

import json

import numpy as np
import pytest
import torch
from data_folders import save_palette_png, write_split
from PIL import Image
from shape_images import NAMES, make_shapes

from fcn_repro.cli.main import main
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_binaryproto, read_extra
from fcn_repro.net import Net
from fcn_repro.passes import DEFAULT
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
