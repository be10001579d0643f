"""What infer writes: several heads, arrays, masks, probabilities; tiles."""

import numpy as np
import pytest
from PIL import Image
from small_picture import infer, values
from small_runs import assert_error, call, contents
from texts import layer
from tiny_nets import INPUT, SEGMENT, noise, write_net

from fcn_repro.data.image import to_blob
from fcn_repro.net import Net
from fcn_repro.proto import TEST

SIZE = INPUT % (24, 24)
HEADS = SIZE + SEGMENT.replace('score', 'sem/fine') + SEGMENT.replace('score', 'geo').replace(
    '21', '3')
ONE = SIZE + SEGMENT.replace('21', '1').replace('"score"', '"map"')
SIGMOID = layer('Sigmoid', 'p', 'map', 'p')
ALL_FILES = '--npy', '--mask', '--binary', '--probabilities'


def softmax(scores):
    e = np.exp(scores - scores.max(0))
    return e / e.sum(0)


def test_arrays_masks_and_probabilities(tmp_path, capsys, x):
    done = infer(capsys, tmp_path, x, SIZE + SEGMENT, *ALL_FILES)
    assert done.status == 0, done
    assert set(map(str, contents(tmp_path / 'out'))) == {
        'x.png', 'x.overlay.png', 'x.npy', 'x.mask.png', 'x.binary.png', 'x.probabilities.npz'}
    scores = values(tmp_path, 'score')
    labels = scores.argmax(0)
    saved = np.load(tmp_path / 'out/x.npy')
    assert saved.dtype == np.uint8 and (saved == labels).all()
    mask, binary = (Image.open(tmp_path / f'out/x.{kind}.png') for kind in ('mask', 'binary'))
    assert mask.mode == binary.mode == 'L' and (np.array(mask) == labels).all()
    assert (np.array(binary) == np.where(labels, 255, 0)).all()
    file = np.load(tmp_path / 'out/x.probabilities.npz')
    assert file['probabilities'].dtype == np.float16 and file['classes'][15] == 'person'
    assert np.abs(file['probabilities'] - softmax(scores)).max() < 6e-4


def test_probabilities_of_a_softmax_and_a_sigmoid(tmp_path, capsys, x):
    soft = SIZE + SEGMENT.replace('"score"', '"s"') + layer('Softmax', 'prob', 's', 'prob')
    assert infer(capsys, tmp_path, x, soft, '--probabilities').status == 0
    found = np.load(tmp_path / 'out/x.probabilities.npz')['probabilities']
    assert np.abs(found - values(tmp_path, 'prob')).max() < 6e-4        # not a second softmax
    assert infer(capsys, tmp_path, x, ONE + SIGMOID, '--probabilities').status == 0
    file = np.load(tmp_path / 'out/x.probabilities.npz')
    assert list(file['classes']) == ['background', 'object']
    assert np.abs(file['probabilities'][1] - values(tmp_path, 'p')[0]).max() < 6e-4
    assert np.abs(file['probabilities'].astype(float).sum(0) - 1).max() < 2e-3


@pytest.mark.parametrize('text, more, words', [
    (ONE, ['--threshold', 0], "'map' has no probabilities: it holds plain numbers"),
    (SIZE + SEGMENT + layer('ArgMax', 'best', 'score', 'best', 'argmax_param { axis: 1 }'),
     ['--output', 'best'], "'best' has no probabilities: it holds class indices")])
def test_an_output_without_probabilities(tmp_path, capsys, x, text, more, words):
    assert_error(infer(capsys, tmp_path, x, text, '--probabilities', *more), words,
                 'Leave out --probabilities')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('names', [['--output', 'all'],
                                   ['--output', 'geo', '--output', 'sem/fine']])
def test_several_heads_each_have_their_files(tmp_path, capsys, x, names):
    done = infer(capsys, tmp_path, x, HEADS, *names, '--npy')
    assert done.status == 0, done
    assert set(map(str, contents(tmp_path / 'out'))) == {
        f'x.{head}.{kind}' for head in ('geo', 'sem-fine')
        for kind in ('png', 'overlay.png', 'npy')}
    for head, file in ('geo', 'geo'), ('sem/fine', 'sem-fine'):
        assert (np.load(tmp_path / f'out/x.{file}.npy') == values(tmp_path, head).argmax(0)).all()
        assert f"'{head}' is taken as scores" in done.out and f'{head}: ' in done.out


def test_heads_and_options_that_do_not_fit(tmp_path, capsys, x):
    assert_error(infer(capsys, tmp_path, x, HEADS, '--output', 'all', '--threshold', 1),
                 'none of geo, sem/fine', 'Leave out --threshold')
    mixed = HEADS + SEGMENT.replace('21', '1').replace('"score"', '"map"') + SIGMOID
    done = infer(capsys, tmp_path, x, mixed, '--output', 'all', '--threshold', .7)
    assert done.status == 0 and "'p' has one channel (Sigmoid): a mask where it is above 0.7" \
        in done.out
    assert (tmp_path / 'out/x.p.heat.png').exists()
    names = tmp_path / 'names.txt'
    names.write_text('a\nb\nc\n')
    done = infer(capsys, tmp_path, x, mixed, '--output', 'all', '--classes', names)
    assert done.status == 0 and ' geo: ' in f' {done.out}' and 'a ' in done.out
    names.write_text('a\nb\n')
    assert_error(infer(capsys, tmp_path, x, HEADS, '--output', 'all', '--classes', names),
                 'names.txt: 2 class names for the 3 and 21 classes')
    assert_error(infer(capsys, tmp_path, x, SIZE + SEGMENT, '--heatmap', '--npy'),
                 '--npy is for label maps')


def test_tiles_of_the_tool(tmp_path, capsys, x):
    """The same files; a net that reads all of an image is refused, unless it is run whole."""
    assert infer(capsys, tmp_path, x, SIZE + SEGMENT, *ALL_FILES).status == 0
    whole = contents(tmp_path / 'out')
    assert infer(capsys, tmp_path, x, SIZE + SEGMENT, *ALL_FILES, '--tile', 8).status == 0
    assert contents(tmp_path / 'out') == whole
    assert_error(infer(capsys, tmp_path, x, SIZE + SEGMENT, '--tile', -1), 'tile is -1',
                 'Give --tile 0 or more')
    mvn = SIZE + layer('MVN', 'm', 'data', 'm') + SEGMENT.replace('bottom: "data"', 'bottom: "m"')
    assert_error(infer(capsys, tmp_path, x, mvn, '--tile', 8), 'x.png', "layer 'm' (MVN)",
                 'Give --tile 0')
    assert infer(capsys, tmp_path, x, mvn, '--tile', 0).status == 0
    assert infer(capsys, tmp_path, x, mvn).status == 0


def test_a_run_with_its_classes_and_mean(tmp_path, capsys, monkeypatch, x):
    """By its folder, by its name, and where it is the only one; the names are those kept in it."""
    monkeypatch.chdir(tmp_path)
    net = tmp_path / 'runs/mine/net'
    net.mkdir(parents=True)
    deploy, weights = write_net(net, SIZE + SEGMENT.replace('21', '3'), 'deploy')
    weights.rename('runs/mine/train_iter_9.caffemodel.h5')
    (net / 'val.prototxt').write_text(
        'layer { name: "data" type: "Python" top: "data" python_param { module: "voc_layers" '
        'layer: "VOCSegDataLayer" param_str: "{\'voc_dir\': \'gone\', \'mean\': (1, 2, 3)}" } }')
    (tmp_path / 'runs/mine/classes.txt').write_text('sky\nroad\ntree\n')
    ready = Net.read(deploy, TEST)
    ready.copy_from('runs/mine/train_iter_9.caffemodel.h5')
    expected = ready.forward(data=to_blob(noise(24, 30), (1, 2, 3))[None])['score'][0].argmax(0)
    for words in ['--run', 'runs/mine'], ['--run', 'mine'], []:
        done = call(capsys, 'infer', 'x.png', *words, '--npy')
        assert done.status == 0 and 'warning' not in done.out, done
        assert any(name in done.out for name in ('sky', 'road', 'tree')), done
        assert ('runs/mine: the only finished run' in done.out) == (not words)
        assert (np.load('runs/mine/infer/x.npy') == expected.numpy()).all()
    assert_error(call(capsys, 'infer', 'x.png', '--run', 'mime'), "Did you mean 'mine'?")
    assert_error(call(capsys, 'infer', 'x.png', '--run', 'mine', '--stage', 'mini-fcn8s'),
                 '--run and --stage')
