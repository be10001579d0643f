"""Nets whose output is no score per class: recognised, or refused with what to do."""

import numpy as np
import pytest
from PIL import Image
from small_picture import infer, values
from small_runs import assert_error, call
from texts import assert_facts, conv, inputs, layer, message
from tiny_nets import CLASSIFIER, INPUT, SEGMENT, noise, save, write_net

from fcn_repro.data.image import MEAN, to_blob
from fcn_repro.net import Net
from fcn_repro.predict.labels import read_deploy
from fcn_repro.predict.outputs import coarser, find_output
from fcn_repro.predict.segment import segment
from fcn_repro.proto import TEST

SIZE = INPUT % (24, 24)
ONE = SIZE + SEGMENT.replace('21', '1').replace('"score"', '"map"')
ARGMAX = layer('ArgMax', 'best', 'score', 'best', 'argmax_param { %s }')
SIGMOID = layer('Sigmoid', 'p', 'map', 'p')


def label_png(tmp_path):
    return np.array(Image.open(tmp_path / 'out/x.png'))


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / 'out').iterdir())


@pytest.mark.parametrize('more', ['axis: 1', 'axis: -3', 'axis: 1 top_k: 3'])
def test_argmax_gives_its_own_labels(tmp_path, capsys, x, more):
    text = SIZE + SEGMENT.replace('top: "score"', 'top: "s"') + ARGMAX.replace(
        '"score"', '"s"') % more
    done = infer(capsys, tmp_path, x, text)
    assert done.status == 0 and "'best' is taken as class indices (ArgMax of 21 chan" in done.out
    assert ('the first of top_k 3' in done.out) == ('top_k' in more)
    assert len(np.unique(label_png(tmp_path))) > 1
    assert (label_png(tmp_path) == values(tmp_path, 'best')[0]).all()
    assert (segment(x, tmp_path / 'net.prototxt', tmp_path / 'net.h5') == label_png(tmp_path)).all()
    assert files(tmp_path) == ['x.overlay.png', 'x.png']


@pytest.mark.parametrize('more, words', [
    ('axis: 1 out_max_val: true', 'out_max_val'), ('', 'no class per pixel'),
    ('axis: 2', 'no class per pixel')])
def test_an_argmax_without_a_class_per_pixel(tmp_path, capsys, x, more, words):
    text = SIZE + SEGMENT.replace('top: "score"', 'top: "s"') + ARGMAX.replace(
        '"score"', '"s"') % more
    assert_error(infer(capsys, tmp_path, x, text), "layer 'best' (ArgMax)", words, '--output s')
    done = infer(capsys, tmp_path, x, text, '--output', 's')
    assert done.status == 0 and "'s' is taken as scores of 21 classes" in done.out


@pytest.mark.parametrize('text', [ONE + SIGMOID, (ONE + SIGMOID).replace('"map"', '"score"')])
def test_a_sigmoid_is_a_mask_with_a_heat_picture(tmp_path, capsys, x, text):
    done = infer(capsys, tmp_path, x, text)
    assert done.status == 0 and 'a mask where it is above 0.5, and a heat picture' in done.out
    found = values(tmp_path, 'p')[0]
    assert (label_png(tmp_path) == (found > .5)).all() and 0 < label_png(tmp_path).mean() < 1
    assert files(tmp_path) == ['x.heat.png', 'x.overlay.png', 'x.png']
    assert 'object' in done.out and 'background' in done.out
    done = infer(capsys, tmp_path, x, text, '--threshold', .9)
    assert done.status == 0 and (label_png(tmp_path) == (found > .9)).all()
    two = segment(x, tmp_path / 'net.prototxt', tmp_path / 'net.h5', threshold=.9)
    assert (two == label_png(tmp_path)).all()


def test_one_channel_of_unknown_meaning(tmp_path, capsys, x):
    assert_error(infer(capsys, tmp_path, x, ONE), "'map' is 1x1x24x24", 'one channel', 'depth',
                 '--threshold T')
    done = infer(capsys, tmp_path, x, ONE, '--threshold', 0)
    assert done.status == 0 and files(tmp_path) == ['x.overlay.png', 'x.png']
    assert (label_png(tmp_path) == (values(tmp_path, 'map')[0] > 0)).all()
    assert_error(infer(capsys, tmp_path, x, SIZE + SEGMENT, '--threshold', 0), '21 channels',
                 'Leave out --threshold')
    for wrong in 1, -.5:
        assert_error(infer(capsys, tmp_path, x, ONE + SIGMOID, '--threshold', wrong),
                     'below 1', 'Sigmoid')
    best = SIZE + SEGMENT + ARGMAX % 'axis: 1'
    assert_error(infer(capsys, tmp_path, x, best, '--output', 'best', '--threshold', 0),
                 "'best' has class indices", 'Leave out --threshold')


def test_an_input_is_no_prediction(tmp_path, capsys, x):
    assert_error(infer(capsys, tmp_path, x, SIZE + SEGMENT, '--output', 'data'),
                 "'data' is an input of the net")


def test_logits_of_a_sigmoid_loss(tmp_path, capsys, x):
    text = ONE + layer('DummyData', 't', '', 't', 'dummy_data_param { shape { dim: 1 dim: 1 '
                       'dim: 24 dim: 24 } }') + layer('SigmoidCrossEntropyLoss', 'l', 'map t', 'l')
    save(x, noise(24, 24))
    done = infer(capsys, tmp_path, x, text, '--output', 'map')
    assert done.status == 0 and 'above 0, and a heat picture' in done.out, done


def test_several_heads_are_listed_and_one_is_named(tmp_path, capsys, x):
    heads = SIZE + SEGMENT.replace('score', 'sem') + SEGMENT.replace('score', 'geo').replace(
        '21', '3')
    assert_error(infer(capsys, tmp_path, x, heads), 'geo (1x3x24x24), sem (1x21x24x24)',
                 '--output BLOB')
    done = infer(capsys, tmp_path, x, heads, '--output', 'geo')
    assert done.status == 0 and "'geo' is taken as scores of 3 classes" in done.out
    assert (label_png(tmp_path) == values(tmp_path, 'geo').argmax(0)).all()
    assert_error(infer(capsys, tmp_path, x, heads, '--output', 'gео'), "no blob 'gео'")
    assert_error(infer(capsys, tmp_path, x, heads, '--output', 'GEO'), "Did you mean 'geo'?")


def test_six_sigmoids_of_an_edge_net(tmp_path, capsys, x):
    text = ONE + ''.join(layer('Sigmoid', f'out{k}', 'map', f'out{k}') for k in range(6))
    assert_error(infer(capsys, tmp_path, x, text), 'out0, out1, out2, out3, out4, out5')
    assert infer(capsys, tmp_path, x, text, '--output', 'out5').status == 0
    assert 'x.heat.png' in files(tmp_path)


def test_softmax_and_labels_without_a_channel_axis(tmp_path, capsys, x):
    soft = SIZE + SEGMENT.replace('"score"', '"s"') + layer('Softmax', 'prob', 's', 'prob')
    done = infer(capsys, tmp_path, x, soft)
    assert done.status == 0 and "'prob' is taken as scores of 21" in done.out
    assert_error(infer(capsys, tmp_path, x, ONE + layer('Softmax', 'p', 'map', 'p')),
                 'Softmax of one channel', 'Sigmoid')


def test_what_no_label_map_can_come_of(tmp_path, capsys, x):
    assert_error(infer(capsys, tmp_path, x, CLASSIFIER), "'cls' is 1x5", 'Give --heatmap')
    assert_error(infer(capsys, tmp_path, x, CLASSIFIER, '--output', 'cls'), "'cls' is 1x5")
    loss = SIZE + conv('c', 'data') + layer('Reduction', 'a', 'c', 'a') + layer(
        'Reduction', 'b', 'c', 'b')
    assert_error(infer(capsys, tmp_path, x, loss), 'no output of the net has a value per pixel')
    assert_error(call(capsys, 'infer', x, '--heatmap', '--output', 'a'), '--output is for label')


def test_a_net_that_reads_its_own_data(tmp_path):
    text = layer('ImageData', 'd', '', 'data label',
                 'image_data_param { source: "none" }') + SEGMENT
    (tmp_path / 'train.prototxt').write_text(text)
    assert_facts(message(read_deploy, tmp_path / 'train.prototxt'),
                 f"{tmp_path}/train.prototxt: layer 'd' (ImageData)", 'no input', 'deploy prototxt')


def test_the_old_input_fields_are_an_input(tmp_path):
    text = 'input: "data" input_shape { dim: 1 dim: 3 dim: 24 dim: 24 }' + SEGMENT
    assert read_deploy(write_net(tmp_path, text)[0]).graph.inputs == ('data',)


def test_a_users_python_layer_in_infer(tmp_path, capsys, x, monkeypatch):
    """Its module is found in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'halving_layers.py').write_text('''import fcn_repro.pycaffe as caffe
class Minus(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top): top[0].data[...] = -bottom[0].data
    def backward(self, top, propagate_down, bottom): pass
''')
    text = SIZE + SEGMENT.replace('"score"', '"s"') + layer(
        'Python', 'm', 's', 'score', 'python_param { module: "halving_layers" layer: "Minus" }')
    net_file, _ = write_net(tmp_path, SIZE + SEGMENT.replace('"score"', '"s"'))
    net_file.write_text(text)
    done = call(capsys, 'infer', x, '--net', 'net.prototxt', '--weights', 'net.h5', '--out', 'out')
    assert done.status == 0, done
    net = Net.read(write_net(tmp_path, SIZE + SEGMENT.replace('"score"', '"s"'))[0], TEST)
    net.copy_from(tmp_path / 'net.h5')
    scores = net.forward(data=to_blob(noise(24, 30), MEAN)[None])['s'][0].detach().numpy()
    assert (label_png(tmp_path) == (-scores).argmax(0)).all()


BY_4 = 'convolution_param { num_output: 5 kernel_size: 4 stride: 4 }'
COARSE = layer('Convolution', 'fr', 'data', 'score', BY_4) + layer('Deconvolution', 'up', 'score',
                                                                   'pred', BY_4)
LOSS = inputs(label=(1, 1, 24, 24)) + layer('SoftmaxWithLoss', 'loss', 'pred label', 'loss')


def test_a_coarser_score_gives_way_to_what_is_made_from_it(tmp_path):
    """CRF-RNN calls scores at a 32nd of the size so; its prediction is the output, or what the loss
    trains."""
    write_net(tmp_path, SIZE + COARSE)
    assert find_output(Net.read(tmp_path / 'net.prototxt', TEST)).blob == 'pred'
    write_net(tmp_path, SIZE + COARSE + LOSS)
    net = Net.read(tmp_path / 'net.prototxt', TEST)
    assert coarser(net, ['pred']) and not coarser(net, ['score', 'loss'])
