"""load(): a run, or a prototxt and weights, as an object that labels images."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from texts import layer
from tiny_nets import INPUT, SEGMENT, noise, save, write_net

import fcn_repro
from fcn_repro import FcnError
from fcn_repro.data.image import MEAN, to_blob
from fcn_repro.data.palette import VOC_CLASSES, palette
from fcn_repro.export import Exported, export
from fcn_repro.net import Net
from fcn_repro.proto import TEST

SIZE = INPUT % (24, 24)


@pytest.fixture
def files(tmp_path):
    return write_net(tmp_path, SIZE + SEGMENT)


def scores(files, image, mean=MEAN):
    net = Net.read(files[0], TEST)
    net.copy_from(files[1])
    return net.forward(data=to_blob(image, mean)[None])['score'][0].detach().numpy()


def test_a_prototxt_and_weights(files, tmp_path):
    model = fcn_repro.load(*files)
    assert model.classes == VOC_CLASSES and model.mean == MEAN
    assert (model.palette == palette(21)).all() and model.palette.dtype == np.uint8
    assert model.deploy == files[0] and model.weights == files[1] and isinstance(model.net, Net)
    image = noise(20, 31)
    expected = scores(files, image)
    save(tmp_path / 'x.png', image)
    for each in image, tmp_path / 'x.png', str(tmp_path / 'x.png'), Image.fromarray(image):
        labels = model.segment(each)
        assert labels.dtype == np.uint8 and (labels == expected.argmax(0)).all()
    found = model.scores(image)
    assert found.shape == (21, 20, 31) and np.allclose(found, expected, atol=1e-4)
    probabilities = model.probabilities(image)
    assert np.allclose(probabilities.sum(0), 1, atol=1e-5)
    assert (probabilities.argmax(0) == found.argmax(0)).all()
    assert model.palette[labels].shape == (20, 31, 3)


def test_several_images(files):
    model = fcn_repro.load(*files)
    images = [noise(20, 31), noise(24, 10, 1)]
    for found, image in zip(model.segment(images), images, strict=True):
        assert (found == model.segment(image)).all()
    batch = np.stack([images[0], images[0][::-1]])
    labels, values = model.segment(batch), model.scores(batch)
    assert labels.shape == (2, 20, 31) and values.shape == (2, 21, 20, 31)
    assert (labels[1] == model.segment(batch[1])).all()
    assert model.segment([]) == []
    with pytest.raises(FcnError, match='the batch has no images'):
        model.segment(batch[:0])
    for wrong in 5, noise(4, 4)[0], noise(4, 4).astype(float), None:
        with pytest.raises(FcnError):
            model.segment(wrong)


def test_the_net_is_made_and_planned_once(files, monkeypatch):
    """Images of one size reshape nothing and make no new plan."""
    model = fcn_repro.load(*files)
    model.segment(noise(20, 31))
    shapes, plans = model.net.shapes, dict(model.net.executor.plans)
    model.segment(noise(20, 31, 1))
    assert model.net.shapes is shapes and model.net.executor.plans == plans


def test_a_run(tmp_path, monkeypatch):
    net = tmp_path / 'runs/mine/net'
    net.mkdir(parents=True)
    files = write_net(net, SIZE + SEGMENT.replace('21', '3'), 'deploy')
    shutil.move(files[1], tmp_path / 'runs/mine/train_iter_9.caffemodel.h5')
    (tmp_path / 'runs/mine/classes.txt').write_text('sky\nroad\ntree\n')
    files = files[0], tmp_path / 'runs/mine/train_iter_9.caffemodel.h5'
    (net / 'val.prototxt').write_text(
        'layer { name: "data" type: "Python" top: "data" python_param { module: "voc_layers" '
        'layer: "VOCSegDataLayer" param_str: "{\'voc_dir\': \'gone\', \'mean\': (1, 2, 3)}" } }')
    monkeypatch.chdir(tmp_path)
    for source in 'runs/mine', 'mine', tmp_path / 'runs/mine':
        model = fcn_repro.load(source)
        assert model.classes == ('sky', 'road', 'tree') and model.mean == (1, 2, 3)
        assert model.weights.name == 'train_iter_9.caffemodel.h5'
        image = noise(20, 31)
        assert (model.segment(image) == scores(files, image, (1, 2, 3)).argmax(0)).all()
    assert fcn_repro.load('mine', classes=['a', 'b', 'c'], mean=MEAN).classes == ('a', 'b', 'c')
    assert fcn_repro.load(files[0], files[1]).classes == ('sky', 'road', 'tree')
    with pytest.raises(FcnError, match="Did you mean 'mine'"):
        fcn_repro.load('mime')


def test_settings_and_what_does_not_fit(files, tmp_path):
    with pytest.raises(FcnError, match='no weights are given for this net'):
        fcn_repro.load(files[0])
    with pytest.raises(FcnError, match=r'none\.prototxt'):
        fcn_repro.load(tmp_path / 'none.prototxt', files[1])
    with pytest.raises(FcnError, match='precision'):
        fcn_repro.load(*files, precision='fp8')
    one = write_net(tmp_path, SIZE + SEGMENT.replace('21', '1').replace('"score"', '"map"')
                    + layer('Sigmoid', 'p', 'map', 'p'), 'one')
    mask = fcn_repro.load(*one, threshold=.7)
    assert mask.classes == ('background', 'object')
    image = noise(24, 24)
    assert (mask.segment(image) == (mask.probabilities(image)[1] > .7)).all()
    tiled, whole = fcn_repro.load(*files, tile=8), fcn_repro.load(*files, tile=0)
    assert (tiled.segment(noise(50, 41)) == whole.segment(noise(50, 41))).all()


def test_views_and_a_crf(files, tmp_path):
    """As `infer --flip --crf` has them."""
    image, plain, crf = noise(30, 41), fcn_repro.load(*files), fcn_repro.Crf(iterations=2)
    expected = crf.refine(plain.probabilities(image), image)
    model = fcn_repro.load(*files, crf=crf)
    assert np.allclose(model.probabilities(image), expected, atol=1e-5)
    assert (model.segment(image) == model.probabilities(image).argmax(0)).all()
    assert np.allclose(model.scores(image), expected, atol=1e-5)

    twice = plain.scores(image) + plain.scores(image[:, ::-1].copy())[..., ::-1]
    flipped = fcn_repro.load(*files, views=fcn_repro.Views(flip=True)).probabilities(image)
    assert np.allclose(flipped, softmax(twice, 0), atol=1e-5)

    maps = write_net(tmp_path, SIZE + SEGMENT + layer('ArgMax', 'a', 'score', 'a',
                                                      'argmax_param { axis: 1 }'), 'maps')
    with pytest.raises(FcnError, match='probabilities'):
        fcn_repro.load(*maps, output='a', crf=crf)


def test_export_is_that_of_the_package(files, monkeypatch, tmp_path):
    """The net, its class names and its mean go to fcn_repro.export.export."""
    given = {}

    def export(net, kind, path, **more):
        given.update(more, net=net, kind=kind, path=path)
        return [path]
    monkeypatch.setattr('fcn_repro.model.export', export)
    model = fcn_repro.load(*files)
    assert model.export('onnx', 'net.onnx') == ['net.onnx']
    assert (given.pop('palette') == palette(21)).all()
    assert given == {'net': model.net, 'kind': 'onnx', 'path': 'net.onnx', 'classes': VOC_CLASSES,
                     'mean': MEAN}
    monkeypatch.chdir(tmp_path)
    assert model.export('onnx') == [Path('net.onnx')]
    with pytest.raises(FcnError, match=r"unknown form 'onx'.*Did you mean 'onnx'.*Use onnx, torch"):
        model.export('onx')


def test_an_exported_caffemodel_is_loaded_with_what_it_says(files, tmp_path):
    """Class names, mean pixel and colours; and a damaged text is an error."""
    names, colours = [f'n{i}' for i in range(21)], 255 - palette(21)
    net = fcn_repro.load(*files).net
    export(net, 'caffemodel', tmp_path / 'e.caffemodel', classes=names, mean=(1, 2, 3),
           palette=colours)
    model = fcn_repro.load(tmp_path / 'e.prototxt', tmp_path / 'e.caffemodel')
    assert model.classes == tuple(names) and model.mean == (1, 2, 3)
    assert (model.palette == colours).all()
    for key, text in ('classes', '{}'), ('palette', '[[0, 0]]'), ('classes', '["a\\u0007"]'), (
            'mean', '[1]'):
        net.save(tmp_path / 'bad.caffemodel', {f'export_{key}': text})
        with pytest.raises(FcnError, match=r'bad\.caffemodel'):
            Exported.of(tmp_path / 'bad.caffemodel')


def test_layers_that_the_weights_lack_are_named(files, tmp_path):
    more = write_net(tmp_path, SIZE + SEGMENT + SEGMENT.replace('"score"', '"late"'), 'more')
    with pytest.warns(UserWarning, match='late'):
        fcn_repro.load(more[0], files[1])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fcn_repro.load(*files)
