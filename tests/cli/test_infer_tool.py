"""tools/infer.py as a user runs it: label maps of photographs, and bad input."""

import numpy as np
import pytest
from PIL import Image
from small_runs import ROOT, assert_error, call, contents, start, wait
from tiny_nets import CLASSIFIER, CONV, INPUT, MEAN, SEGMENT, bad, noise, own, save, write_net

from fcn_repro.data.image import to_blob
from fcn_repro.data.palette import VOC_CLASSES, palette
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.predict.labels import class_names, predict
from fcn_repro.proto import TEST
from fcn_repro.report import overlay, shares


def test_labels_of_files_and_a_folder(tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    images = {'a': noise(30, 41), 'b': noise(24, 24, 1)}
    save(tmp_path / 'a.png', images['a'])
    save(tmp_path / 'in/b.bmp', images['b'])
    settings = own(tmp_path)
    done = call(capsys, 'infer', tmp_path / 'a.png', tmp_path / 'in', *settings, '--out',
                tmp_path / 'out')
    assert done.status == 0 and 'warning' not in done.out, done
    assert set(map(str, contents(tmp_path / 'out'))) == {
        'a.png', 'a.overlay.png', 'b.png', 'b.overlay.png'}
    net = Net.read(settings[1], TEST)
    net.copy_from(settings[3])
    for name, image in images.items():
        labels = Image.open(tmp_path / f'out/{name}.png')
        expected = predict(net, data=to_blob(image, MEAN)[None])
        assert labels.mode == 'P' and (np.array(labels) == expected).all()
        assert labels.getpalette() == palette(256).reshape(-1).tolist()
        assert (np.asarray(Image.open(tmp_path / f'out/{name}.overlay.png'))
                == overlay(image, expected, VOC_CLASSES)).all()
        first = shares(expected, VOC_CLASSES)[0]
        line = next(line for line in done.out.splitlines() if f'/{name}.' in line)
        assert f'{first[1]} {100 * first[2]:.1f} %' in line and line.endswith(' ms')
        assert f'{image.shape[0]}x{image.shape[1]}' in line


def test_overlay_leaves_the_background_and_names_what_is_there():
    image, labels = noise(60, 80), np.zeros((60, 80), np.uint8)
    labels[20:40, 20:40] = 15
    picture = overlay(image, labels, VOC_CLASSES)
    blend = picture[:60, :80]
    assert (blend[labels == 0] == image[labels == 0]).all()
    assert (blend[labels == 15] != image[labels == 15]).any()
    assert picture.shape[1] > 80 and (picture[0, 80:] == 255).all()     # the legend, on white
    assert (picture[:, 80:] == palette()[15]).all(2).any()
    assert not (picture[:, 80:] == palette()[1]).all(2).any()
    road = overlay(image, labels, ('road', *VOC_CLASSES[1:]))           # class 0 is no background
    assert (road[:60, :80][labels == 0] != image[labels == 0]).any()


def test_only_a_stopped_run(tmp_path, capsys, monkeypatch):
    """The remedies are about that run, and the second one works."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'x.png', noise(40, 50))
    (tmp_path / 'runs/mini-fcn16s').mkdir(parents=True)
    Net.read(ROOT / 'prototxt/mini-fcn16s/deploy.prototxt', TEST).save_hdf5(
        tmp_path / 'runs/mini-fcn16s/train_iter_1.caffemodel.h5')
    assert_error(call(capsys, 'infer', 'x.png'), 'no finished run',
                 'fcn-repro train mini-fcn16s --restore', '--run runs/mini-fcn16s')
    assert call(capsys, 'infer', 'x.png', '--run', 'runs/mini-fcn16s')[0] == 0


def test_the_finest_finished_stage(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'x.png', noise(40, 50))
    assert_error(call(capsys, 'infer', 'x.png'), 'no finished run', 'fcn-repro train mini-fcn32s')
    for stage, last in ('mini-fcn32s', 100000), ('mini-fcn16s', 1):
        (tmp_path / 'runs' / stage).mkdir(parents=True)
        net = Net.read(ROOT / f'prototxt/{stage}/deploy.prototxt', TEST)
        net.save_hdf5(tmp_path / f'runs/{stage}/train_iter_{last}.caffemodel.h5')
    done = call(capsys, 'infer', 'x.png')
    assert done.status == 0 and 'mini-fcn32s/train_iter_100000' in done.out, done
    assert 'background 100.0 %' in done.out         # the score layer starts at zero: all ties
    assert (tmp_path / 'runs/mini-fcn32s/infer/x.overlay.png').exists()
    done = call(capsys, 'infer', 'x.png', '--stage', 'mini-fcn16s')
    assert done.status == 0 and 'mini-fcn16s/train_iter_1.' in done.out, done
    assert_error(call(capsys, 'infer', 'x.png', '--stage', 'mini-fcn8s'), 'no weights',
                 'mini-fcn16s (iteration 1), mini-fcn32s (iteration 100000)',
                 'fcn-repro train mini-fcn8s')
    assert_error(call(capsys, 'infer', 'x.png', '--stage', 'mini-fcn23s'), "Did you mean 'mini-")


def test_a_layer_left_at_its_filler_is_said(tmp_path, capsys):
    save(tmp_path / 'x.png', noise(24, 24))
    _, weights = write_net(tmp_path, INPUT % (24, 24) + SEGMENT, 'less')
    more = SEGMENT.replace('"score"', '"first"').replace('21', '3') + SEGMENT.replace(
        'bottom: "data"', 'bottom: "first"').replace('name: "score"', 'name: "late"')
    net, _ = write_net(tmp_path, INPUT % (24, 24) + more, 'more')
    assert_error(call(capsys, 'infer', tmp_path / 'x.png', '--net', net, '--weights', weights,
                      '--out', tmp_path / 'out'), 'less.h5')
    weights = write_net(tmp_path, INPUT % (24, 24) + SEGMENT.replace('"score"', '"first"').replace(
        '21', '3'), 'part')[1]
    done = call(capsys, 'infer', tmp_path / 'x.png', '--net', net, '--weights', weights, '--out',
                tmp_path / 'out')
    assert done.status == 0 and 'left at filler' in done.out, done
    assert 'warning:' in done.out and 'late' in done.out


def test_class_names(tmp_path):
    net = tmp_path / 'deploy.prototxt'
    assert class_names(net, 21) == VOC_CLASSES and class_names(net, 3) == ('0', '1', '2')
    shipped = ROOT / 'prototxt'
    assert class_names(shipped / 'mini-classifier/deploy.prototxt', 10)[::9] == ('zero', 'nine')
    assert class_names(shipped / 'mini-fcn8s/deploy.prototxt', 11)[:2] == ('background', 'zero')
    assert class_names(shipped / 'voc-fcn8s/deploy.prototxt', 11) == tuple(map(str, range(11)))
    (tmp_path / 'val.prototxt').write_text(
        'layer { name: "data" type: "Python" top: "data" python_param { module: "voc_layers" '
        f'layer: "VOCSegDataLayer" param_str: "{{\'voc_dir\': \'{tmp_path}\'}}" }} }}')
    (tmp_path / 'classes.txt').write_text('sky\nroad\ntree\n\nof a data set\n')
    assert class_names(net, 3) == ('sky', 'road', 'tree')
    assert class_names(net, 2) == ('0', '1')
    with pytest.raises(FcnError, match=r'classes.txt: 3 class names for the 4 classes'):
        class_names(net, 4, tmp_path / 'classes.txt')
    with pytest.raises(FcnError, match=r'is a folder where a text file'):
        class_names(net, 4, tmp_path)


def test_bad_images(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    bad(capsys, tmp_path, tmp_path / 'empty', parts=['empty: the folder has no images'])
    good, text = save(tmp_path / 'good.png', noise(24, 24)), tmp_path / 'text.jpg'
    text.write_text('no image')
    bad(capsys, tmp_path, text, parts=['text.jpg: the image cannot be read'])
    half = save(tmp_path / 'half.png', noise(60, 60))
    half.write_bytes(half.read_bytes()[:3000])
    bad(capsys, tmp_path, half, parts=['half.png: the image cannot be read'])
    done = call(capsys, 'infer', text, good, half, *own(tmp_path), '--out', tmp_path / 'out')
    assert done.status == 1, done
    first, second = done.err.splitlines()
    assert 'error: ' in first and 'text.jpg: ' in first and 'half.png: ' in second
    assert done.out.endswith(f"1 of 3 images are written to {tmp_path / 'out'}; 2 have errors\n")
    assert set(map(str, contents(tmp_path / 'out'))) == {'good.png', 'good.overlay.png'}


def test_bad_nets(tmp_path, capsys):
    x = save(tmp_path / 'x.png', noise(24, 24))
    bad(capsys, tmp_path, x, net=CLASSIFIER, parts=["'cls' is 1x5", 'not a score per pixel'])
    bad(capsys, tmp_path, x, net=INPUT % (24, 24) + CONV, parts=[
        'x.png', '24x24 does not go through', "'pool' is 6x6"])
    bad(capsys, tmp_path, x, net=(INPUT % (24, 24) + SEGMENT).replace('data', 'image'),
        parts=["one input, 'data'; it has image"])
    two = INPUT % (24, 24) + INPUT.replace('data', 'mask').replace('in"', 'in2"') % (24, 24)
    bad(capsys, tmp_path, x, net=two + SEGMENT, parts=['it has data, mask'])
    bad(capsys, tmp_path, x, net=(INPUT % (24, 24) + SEGMENT).replace('dim: 3', 'dim: 1'),
        parts=["'data' is 1x1x24x24", 'colour'])
    two_outputs = SEGMENT.replace('score', 'a') + SEGMENT.replace('score', 'b')
    bad(capsys, tmp_path, x, net=INPUT % (24, 24) + two_outputs, parts=['outputs are a, b'])
    valid = INPUT % (24, 24) + SEGMENT.replace('pad: 1', 'stride: 2').replace('score', 's') + (
        'layer { name: "score" type: "Deconvolution" bottom: "s" top: "score" convolution_param { '
        'num_output: 21 kernel_size: 4 stride: 2 } }')
    small = save(tmp_path / 'small.png', noise(2, 2))
    bad(capsys, tmp_path, small, net=valid, parts=[
        'small.png', '2x2 does not go through', 'larger'])


def test_bad_choices(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, settings = save(tmp_path / 'x.png', noise(24, 24)), own(tmp_path)
    assert_error(call(capsys, 'infer', x, *settings[:2]), '--net without --weights')
    assert_error(call(capsys, 'infer', x, *settings[2:]), '--weights without --net')
    assert_error(call(capsys, 'infer', x, '--heatmap'), 'no finished run of a classifier',
                 'fcn-repro train mini-class')
    assert_error(call(capsys, 'infer', x, *settings, '--device', 'gpu'), "'gpu' is unknown")
    assert_error(call(capsys, 'infer', x, *settings, '--out', x), 'x.png: cannot make this folder')
    done = call(capsys, 'infer', x, *settings, '--mean', 1, 2, 'nan')
    assert done.status == 2 and "'nan' is no finite number" in done.err
    assert_error(call(capsys, 'infer', x, *settings, '--out', tmp_path), 'overwrite this image')


def test_the_tool_as_a_process(tmp_path):
    save(tmp_path / 'x.png', noise(24, 24))
    done = wait(start('infer', 'x.png', *own(tmp_path), cwd=tmp_path))
    assert done.status == 0 and done.err == '', done
    assert set(map(str, contents(tmp_path / 'runs/infer/net'))) == {'x.png', 'x.overlay.png'}
