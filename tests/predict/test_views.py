"""Sliding windows, scales, mirrored images and reflected margins, against the steps of PSPNet's
evaluation and of Dilation's predict script, written as loops here."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from small_picture import infer
from small_runs import assert_error, call, small_voc
from texts import conv, layer
from tiny_nets import INPUT, SEGMENT, noise, save, write_net

import fcn_repro
from fcn_repro.data.image import to_blob
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.predict.outputs import find_output
from fcn_repro.predict.resizing import resized, taps
from fcn_repro.predict.segmenter import Segmenter
from fcn_repro.predict.views import Views
from fcn_repro.predict.windows import Mirrored, Sliding, mirror
from fcn_repro.proto import TEST

MEAN = 103.939, 116.779, 123.68


def small(name, bottom, num_output, field):
    """A Convolution whose outputs stay near those of pixels."""
    return conv(name, bottom, num_output=num_output, kernel=3, field=field).replace(
        'std: 1 ', 'std: 0.02 ', 1)


# As PSPNet's: a pooling for one size of the input, scores upsampled with aligned corners
FIXED = (INPUT % (17, 25) + small('c', 'data', 4, 'stride: 2 pad: 1')
         + layer('Pooling', 'p', 'c', 'p', 'pooling_param { pool: AVE kernel_h: 9 kernel_w: 13 }')
         + layer('Interp', 'wide', 'p', 'wide', 'interp_param { height: 9 width: 13 }')
         + layer('Concat', 'both', 'c wide', 'both')
         + conv('s', 'both', num_output=5).replace('std: 1 ', 'std: 0.2 ', 1)
         + layer('Interp', 'score', 's', 'score', 'interp_param { zoom_factor: 2 }'))
# As Dilation's: unpadded, cells of two pixels, a margin of three
VALID = (INPUT % (30, 38) + small('c', 'data', 4, '')
         + layer('Pooling', 'p', 'c', 'p', 'pooling_param { kernel_size: 2 stride: 2 }')
         + small('s', 'p', 3, '') + layer('Softmax', 'prob', 's', 'prob'))


@pytest.fixture
def made(tmp_path):
    """make(text): the net of a text, with its weights."""
    def make(text, name='net'):
        file, weights = write_net(tmp_path, text, name)
        net = Net.read(file, TEST)
        net.copy_from(weights)
        return net
    return make


def run(net, blob, name):
    return net.forward(name, data=np.ascontiguousarray(blob)[None])[name][0].detach().numpy()


def softmax(scores):
    e = np.exp(scores - scores.max(0))
    return e / e.sum(0)


# ---- resizing ------------------------------------------------------------------------------------

def triangle(x):
    return max(0., 1 - abs(x))


def line(values, size):
    """One row in another size, in float64, by the definition."""
    scale, out = size / len(values), []
    narrow = min(scale, 1)
    for i in range(size):
        centre = (i + .5) / scale - .5
        cells = range(math.floor(centre - 1 / narrow) - 1, math.ceil(centre + 1 / narrow) + 2)
        weights = [triangle(narrow * (centre - c)) for c in cells]
        inside = [(c if c < len(values) else 2 * len(values) - 1 - c) for c in
                  (c % (2 * len(values)) for c in cells)]
        whole, value = 0., 0.           # not sum(): from Python 3.12 on it rounds otherwise
        for w in weights:
            whole += w
        for w, c in zip(weights, inside, strict=True):
            value += w / whole * values[c]
        out.append(value)
    return out


def by_lines(image, size):
    """(C, H, W) float in another size; of integers by rounding after each axis."""
    integers = image.dtype == np.uint8
    for axis in sorted((1, 2), key=lambda axis: size[axis - 1] / image.shape[axis]):
        image = np.apply_along_axis(line, axis, image.astype(float), size[axis - 1])
        image = np.floor(image + .5) if integers else image
    return image


def test_a_row_by_hand():
    assert resized(np.float32([[1, 2, 3, 4]]), (1, 2)).tolist() == [[1.625, 3.375]]
    assert resized(np.float32([[0, 4]]), (1, 4)).tolist() == [[0, 1, 3, 4]]
    assert resized(np.uint8([[0, 1]]), (1, 4)).tolist() == [[0, 0, 1, 1]]
    assert resized(np.uint8([[0, 2]]), (1, 4)).tolist() == [[0, 1, 2, 2]]      # halves upwards


@pytest.mark.parametrize('size', [(7, 9), (3, 20), (14, 4), (1, 1), (7, 40), (2, 3), (23, 31)])
def test_resizing_by_its_definition(size):
    image = np.random.default_rng(0).random((2, 7, 9), np.float32)
    assert np.abs(resized(image, size) - by_lines(image, size)).max() < 1e-6
    bytes_ = (255 * image).astype(np.uint8)
    found = resized(bytes_, size)
    assert found.dtype == np.uint8 and (found == by_lines(bytes_, size)).all()
    assert (resized(np.full((1, 5, 6), 7, np.uint8), size) == 7).all()


@pytest.mark.parametrize('size', [(20, 11), (70, 90)])
def test_resizing_is_that_of_pillow_away_from_the_edges(size):
    """Pillow cuts the triangle off at an edge, where MATLAB mirrors the image."""
    image = np.random.default_rng(0).random((40, 44), np.float32)
    other = np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    inner = slice(2, -2), slice(2, -2)
    assert np.abs(resized(image, size) - other)[inner].max() < 1e-6


def test_taps_are_few():
    assert [len(taps(*each)[0]) for each in ((60, 473), (10, 20), (20, 10))] == [2, 2, 4]


# ---- PSPNet's sliding windows --------------------------------------------------------------------

def of_window(net, pixels, mean, flip):
    """Probabilities of a window's pixels, maybe smaller than the net's input."""
    height, width = net.shapes[net.graph.first('data')][2:]
    blob = np.zeros((3, height, width), np.float32)
    rgb = (pixels.astype(np.float32) - mean[::-1]).transpose(2, 0, 1)
    blob[:, :pixels.shape[0], :pixels.shape[1]] = rgb[::-1]
    scores = run(net, blob, 'score').astype(float)
    if flip:
        scores += run(net, blob[:, :, ::-1], 'score')[:, :, ::-1]
    return softmax(scores)


def evaluated(net, image, mean, flip, scales=(1,), base=None):
    """The probabilities of an image as evaluation/scale_process.m and eval_sub.m find them."""
    mean = np.array(mean)
    crop = net.shapes[net.graph.first('data')][2:]
    own = image.shape[:2]
    total = 0
    for scale in scales:
        size = [math.floor(scale * side + .5) for side in own]
        if base is not None:
            longest = base * scale + 1
            size = [math.floor(longest / max(own) * side + .5) for side in own]
        shown = by_lines(image.transpose(2, 0, 1), size).transpose(1, 2, 0)
        if all(n <= c for n, c in zip(size, crop, strict=True)):
            found = of_window(net, shown, mean, flip)[:, :size[0], :size[1]]
        else:
            padded = [max(n, c) for n, c in zip(size, crop, strict=True)]
            wide = np.empty((*padded, 3))
            wide[:] = np.round(mean[::-1])              # of 8-bit pixels
            wide[:size[0], :size[1]] = shown
            found, count = np.zeros((5, *padded)), np.zeros(padded)
            steps = [math.ceil(c * 2 / 3) for c in crop]
            grid = [math.ceil((n - c) / s) + 1
                    for n, c, s in zip(padded, crop, steps, strict=True)]
            for gy in range(grid[0]):
                for gx in range(grid[1]):
                    y, x = (min(g * s + c, n) - c for g, s, c, n in zip(
                        (gy, gx), steps, crop, padded, strict=True))
                    part = wide[y:y + crop[0], x:x + crop[1]]
                    found[:, y:y + crop[0], x:x + crop[1]] += of_window(net, part, mean, flip)
                    count[y:y + crop[0], x:x + crop[1]] += 1
            found = (found / count)[:, :size[0], :size[1]]
        found = by_lines(found, own)
        total = total + found / found.sum(0)
    return total / len(scales)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('size', [(17, 25), (12, 9), (12, 40), (60, 20), (30, 51), (17, 26)])
def test_sliding_windows(made, size, flip):
    net, image = made(FIXED), noise(*size)
    one = Segmenter(net, MEAN, views=Views(sliding=True, flip=flip))
    assert one.windows == Sliding((17, 25))
    one.check(*size)
    found, = one.predict(image)
    expected = evaluated(net, image, MEAN, flip)
    assert np.abs(found.probabilities(one.outputs[0]) - expected).max() < 1e-6
    assert len(np.unique(found.labels)) > 1
    assert (found.labels == expected.argmax(0)).mean() > .999       # ties of rounding alone


@pytest.mark.parametrize('scales, base', [((.5, 1, 1.5), None), ((.75,), None), ((1,), 40),
                                          ((.5, 1.25), 32)])
def test_scales_of_sliding_windows(made, scales, base):
    net, image = made(FIXED), noise(30, 41)
    one = Segmenter(net, MEAN, views=Views(True, scales, True, base))
    found, = one.predict(image)
    expected = evaluated(net, image, MEAN, True, scales, base)
    assert np.abs(found.scores - expected).max() < 2e-6


def test_windows_are_two_thirds_apart():
    windows = Sliding((473, 713))
    assert windows.places(0, 473) == windows.places(0, 100) == [0]
    assert windows.places(0, 474) == [0, 1] and windows.places(0, 513) == [0, 40]
    assert windows.places(1, 2049) == [0, 476, 952, 1336]


def test_whole_images_in_scales_and_mirrored(made):
    """Probabilities of each scale, resized; the scores of both images added up."""
    net, image = made(INPUT % (24, 24) + SEGMENT), noise(22, 31)
    one = Segmenter(net, MEAN, views=Views(scales=(.5, 1, 2), flip=True))
    one.check(22, 31)
    total = 0
    for size in (11, 16), (22, 31), (44, 62):           # 15.5 rounds upwards
        blob = to_blob(by_lines(image.transpose(2, 0, 1), size).astype(np.uint8).transpose(1, 2, 0),
                       MEAN)
        found = softmax(run(net, blob, 'score') + run(net, blob[:, :, ::-1], 'score')[:, :, ::-1])
        found = by_lines(found, (22, 31))
        total = total + found / found.sum(0) / 3
    found, = one.predict(image)
    assert np.abs(found.scores - total).max() < 1e-6
    tiles = Segmenter(net, MEAN, tile=8, views=Views(scales=(.5, 1, 2), flip=True))
    assert (tiles.predict(image)[0].scores == found.scores).all()


def test_one_view_of_a_mirrored_image_is_symmetric(made):
    net, image = made(FIXED), noise(17, 25)
    one = Segmenter(net, MEAN, views=Views(sliding=True, flip=True))
    there, back = (one.predict(np.ascontiguousarray(each))[0].scores
                   for each in (image, image[:, ::-1]))
    assert np.abs(there - back[:, :, ::-1]).max() < 1e-6


@pytest.mark.parametrize('end, threshold, probability', [
    (layer('Sigmoid', 'end', 'map', 'end'), None, lambda x: 1 / (1 + np.exp(-x))),
    (layer('Sigmoid', 'end', 'map', 'end'), .3, lambda x: 1 / (1 + np.exp(-x)))])
def test_masks(made, end, threshold, probability):
    net = made(INPUT % (24, 24) + SEGMENT.replace('21', '1').replace('"score"', '"map"').replace(
        '0.05', '0.003') + end)
    output = find_output(net, 'end', threshold)
    one = Segmenter(net, MEAN, [output], views=Views(scales=(1,), flip=True))
    image = noise(20, 30)
    found, = one.predict(image)
    blob = to_blob(image, MEAN)
    logits = run(net, blob, 'map') + run(net, blob[:, :, ::-1], 'map')[:, :, ::-1]
    expected = probability(logits.astype(float))[0]
    assert np.abs(found.heat - expected).max() < 1e-6
    assert (found.labels == (found.heat > output.threshold)).all()
    assert found.probabilities(output).shape == (2, 20, 30)


# ---- Dilation's margin ---------------------------------------------------------------------------

def predicted(net, image, mean, margin=3, zoom=2):
    """The probabilities of an image as Dilation's predict.py finds them; behind the last cell,
    where that reads beyond its array, nothing changes."""
    size = net.shapes[net.graph.first('data')][2:]
    labelled = [n - 2 * margin for n in size]
    pad = [(0, 0), (margin, margin), (margin, margin)]
    wide = np.pad(to_blob(image, mean), pad, mode='reflect')
    rows = []
    for y in range(-(-image.shape[0] // labelled[0])):
        row = []
        for x in range(-(-image.shape[1] // labelled[1])):
            tile = wide[:, y * labelled[0]:, x * labelled[1]:][:, :size[0], :size[1]]
            missing = [(0, n - m) for n, m in zip(size, tile.shape[1:], strict=True)]
            row.append(run(net, np.pad(tile, [(0, 0), *missing], mode='reflect'), 'prob'))
        rows.append(np.concatenate(row, 2))
    prob = np.concatenate(rows, 1).astype(float)
    out = np.empty((len(prob), *image.shape[:2]))
    for h in range(image.shape[0]):
        for w in range(image.shape[1]):
            (r, rt), (c, ct) = divmod(h, zoom), divmod(w, zoom)
            r1, c1 = min(r + 1, prob.shape[1] - 1), min(c + 1, prob.shape[2] - 1)
            rt, ct = rt / zoom, ct / zoom
            left, right = (rt * prob[:, r1, k] + (1 - rt) * prob[:, r, k] for k in (c, c1))
            out[:, h, w] = (1 - ct) * left + ct * right
    return out


@pytest.mark.parametrize('size', [(24, 32), (5, 7), (20, 50), (60, 33), (2, 3), (48, 64)])
def test_a_reflected_margin_and_zoom(made, size):
    """Without any option: the net says it. Other sizes of the net before change nothing."""
    net, image = made(VALID), noise(*size)
    net.reshape({net.graph.first('data'): (1, 3, 50, 50)})
    one = Segmenter(net, MEAN)
    net.reshape({net.graph.first('data'): (1, 3, 30, 38)})
    assert one.windows == Mirrored((30, 38), (3, 3), 2)
    one.check(*size)
    found, = one.predict(image)
    expected = predicted(net, image, MEAN)
    assert np.abs(found.probabilities(one.outputs[0]) - expected).max() < 1e-6
    assert (found.labels == expected.argmax(0)).mean() > .99


def test_a_margin_without_zoom_and_nets_without_a_margin(made):
    up = layer('Deconvolution', 'up', 's', 'up', 'convolution_param { num_output: 3 kernel_size: 4 '
               'stride: 2 pad: 1 group: 3 bias_term: false weight_filler { type: "bilinear" } }')
    net = made(VALID.replace('bottom: "s" top: "prob"', 'bottom: "up" top: "prob"').replace(
        'layer { name: "prob"', f'{up}layer {{ name: "prob"'))
    one, image = Segmenter(net, MEAN), noise(24, 32)
    assert one.windows == Mirrored((30, 38), (3, 3), 1)
    blob = np.pad(to_blob(image, MEAN), [(0, 0), (3, 3), (3, 3)], mode='reflect')
    assert np.abs(one.predict(image)[0].scores - run(net, blob, 'prob')).max() < 1e-6
    for text in (INPUT % (24, 24) + SEGMENT, FIXED, VALID.replace('dim: 38', 'dim: 41'),
                 VALID.replace('kernel_size: 3', 'kernel_size: 3 pad: 1')):
        net = made(text)
        assert Segmenter(net, MEAN).windows is None or 'dim: 41' in text


def test_a_part_of_a_cell_at_the_end(made):
    """KITTI's net: 1268 pixels are labelled by 159 cells of 8."""
    net = made(VALID.replace('dim: 38', 'dim: 37'))
    one = Segmenter(net, MEAN)
    assert one.windows == Mirrored((30, 37), (3, 3), 2)
    assert net.shapes[one.outputs[0].value] == (1, 3, 12, 16)
    assert one.windows.places(1, 31) == [0, 30] and one.windows.places(1, 30) == [0]
    image = noise(24, 30)
    assert np.abs(one.predict(image)[0].scores - predicted(net, image, MEAN)).max() < 1e-6
    assert one.predict(noise(24, 90))[0].labels.shape == (24, 90)


def test_mirroring_at_edges_is_that_of_numpy():
    for size, before, after in (5, 3, 9), (2, 7, 1), (3, 0, 0), (1, 4, 2):
        cells = np.arange(size)
        expected = np.pad(cells, (before, after), mode='reflect') if size > 1 else \
            np.zeros(before + size + after)
        assert (mirror(-before, before + size + after, size) == expected).all()


def test_a_mirrored_image_of_a_margin(made):
    """The image itself is mirrored, since cells begin at its left edge."""
    net, image = made(VALID), noise(24, 31)
    found = Segmenter(net, MEAN, views=Views(flip=True)).predict(image)[0].scores
    one, other = predicted(net, image, MEAN), predicted(net, image[:, ::-1], MEAN)[:, :, ::-1]
    expected = one * other
    assert np.abs(found - expected / expected.sum(0)).max() < 1e-6


# ---- the commands, and what is wrong -------------------------------------------------------------

def test_a_fixed_size_is_said_and_sliding_helps(tmp_path, capsys, x):
    done = infer(capsys, tmp_path, x, FIXED)
    assert_error(done, 'x.png', 'image of 24x30 does not go through this net',
                 "layer 'both' (Concat)", 'the net is written for 17x25 alone',
                 'Give --sliding, which runs it in windows of 17x25')
    done = infer(capsys, tmp_path, x, FIXED, '--sliding', '--probabilities')
    assert done.status == 0 and 'windows of 17x25, 12 pixels apart; ' not in done.err
    assert 'windows of 17x25, 12 pixels apart' in done.out and 'single-scale' not in done.out
    found = np.load(tmp_path / 'out/x.probabilities.npz')['probabilities'].astype(float)
    assert found.shape == (5, 24, 30) and np.abs(found.sum(0) - 1).max() < 3e-3
    assert infer(capsys, tmp_path, save(tmp_path / 'y.png', noise(17, 25)), FIXED).status == 0


def test_scores_of_one_size(tmp_path, capsys, x):
    """A net that takes any image, and gives scores for one."""
    text = FIXED.replace('zoom_factor: 2', 'height: 17 width: 25').replace(
        'kernel_h: 9 kernel_w: 13', 'global_pooling: true').replace(
        'interp_param { height: 9 width: 13 }', 'interp_param { height: 12 width: 15 }')
    text = text.replace('height: 12 width: 15', 'height: 9 width: 13')
    assert_error(infer(capsys, tmp_path, x, text), 'the net is written for 17x25 alone',
                 'Give --sliding')
    assert infer(capsys, tmp_path, x, text, '--sliding').status == 0


def test_views_of_the_command(tmp_path, capsys, x):
    done = infer(capsys, tmp_path, x, FIXED, '--sliding', '--scales', '0.5,1', '--flip',
                 '--base-size', 40)
    assert done.status == 0 and 'sliding windows; longer side 40 x scale + 1; scales 0.5, 1; ' \
        'mirrored too (not the single-scale number)' in done.out
    done = infer(capsys, tmp_path, x, VALID)
    assert done.status == 0 and 'the net labels its input of 30x38 but for a margin of 3x3' \
        in done.out and 'its 2x2 cells are interpolated' in done.out


@pytest.mark.parametrize('text, words, parts', [
    (FIXED, ['--sliding', '--tile', 8], ['tile is 8', 'windows of 17x25', 'Leave out --tile']),
    (VALID, ['--sliding'], ['margin of 3x3', 'Leave out --sliding']),
    (FIXED, ['--sliding', '--scales', '0.5,0'], ['a scale is 0', 'Give --scales above 0, up to 8']),
    (FIXED, ['--scales', '-1'], ['a scale is -1', 'Give --scales above 0']),
    (FIXED, ['--scales', '9'], ['a scale is 9', 'Give --scales above 0']),
    (FIXED, ['--scales', '1,nan'], ['no finite number']),
    (FIXED, ['--scales', ''], ['no finite number']),
    (FIXED, ['--base-size', 0], ['base is 0', 'Give --base-size 1 or more']),
    (FIXED, ['--sliding', '--scales', 8, '--base-size', 100000],
     ['at scale 8', 'Give smaller --scales, or a smaller --base-size']),
    (INPUT % (24, 24) + SEGMENT, ['--heatmap', '--flip'], ['--flip is for label maps']),
    (INPUT % (24, 24) + SEGMENT, ['--heatmap', '--base-size', 5],
     ['--base-size is for label maps']),
    (INPUT % (24, 24) + SEGMENT.replace('pad: 1', 'stride: 2'), ['--sliding'],
     ["'score' is 11x11", 'Crop it to the data']),
    (INPUT % (24, 24) + SEGMENT.replace('21', '1'), ['--threshold', 0, '--flip'],
     ["'score' has no probabilities", 'scores that it is made from'])])
def test_what_is_wrong(tmp_path, capsys, x, text, words, parts):
    done = infer(capsys, tmp_path, x, text, *words)
    if parts == ['no finite number']:
        assert done.status == 2 and parts[0] in done.err
    else:
        assert_error(done, *parts)
    assert not (tmp_path / 'out').exists()


def test_remedies_help(tmp_path, capsys, x):
    for words in ['--sliding'], ['--sliding', '--scales', '0.5,2'], ['--scales', '1', '--sliding',
                                                                   '--base-size', 100]:
        assert infer(capsys, tmp_path, x, FIXED, *words).status == 0


def test_a_model_of_a_net_with_a_margin(tmp_path):
    files = write_net(tmp_path, VALID)
    model = fcn_repro.load(*files, mean=MEAN)
    image = noise(24, 32)
    expected = predicted(model.net, image, MEAN)
    assert np.abs(model.probabilities(image) - expected).max() < 1e-6
    assert (model.segment(image) == expected.argmax(0)).mean() > .99
    with pytest.raises(FcnError, match='tile is 8'):
        fcn_repro.load(*files, tile=8)


# ---- scores --------------------------------------------------------------------------------------

@pytest.fixture
def deploy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_voc(tmp_path / 'voc')
    write_net(tmp_path, FIXED.replace('num_output: 5', 'num_output: 3'))
    return ('eval_voc', '--net', 'net.prototxt', '--weights', 'net.h5', '--voc', 'voc', '--mean',
            *MEAN)


def test_eval_marks_other_views(deploy, capsys, tmp_path):
    """In the table, in metrics.json and in the report; the folder of the net's own score stays."""
    assert_error(call(capsys, *deploy), 'the net is written for 17x25 alone', 'Give --sliding')
    done = call(capsys, *deploy, '--sliding')
    assert done.status == 0 and 'of windows of 17x25' in done.out
    out = tmp_path / 'runs/eval/net-views'
    saved = json.loads((out / 'metrics.json').read_text())
    assert saved['views'] == {
        'sliding': True, 'scales': [1], 'flip': False, 'base': None, 'single_scale': True,
        'words': ['windows of 17x25, 12 pixels apart', 'sliding windows']}
    net = Net.read('net.prototxt', TEST)
    net.copy_from('net.h5')
    done = call(capsys, *deploy, '--sliding', '--scales', '0.75,1', '--flip', '--report')
    assert done.status == 0
    assert 'scales 0.75, 1; mirrored too (not the single-scale number)' in done.out
    several = json.loads((out / 'metrics.json').read_text())
    assert several['views']['single_scale'] is False and several['confusion'] != saved['confusion']
    assert 'not the single-scale number' in (out / 'report.html').read_text()
    hist = np.zeros((3, 3), int)
    for id_ in 'im0', 'im1':
        image = np.array(Image.open(f'voc/JPEGImages/{id_}.jpg'))
        truth = np.array(Image.open(f'voc/SegmentationClass/{id_}.png'))
        one = Segmenter(net, MEAN, views=Views(True, (.75, 1), True))
        counted = truth != 255
        np.add.at(hist, (truth[counted], one.predict(image)[0].labels[counted]), 1)
    assert several['confusion'] == hist.tolist()


def test_an_interrupted_evaluation_of_other_views_starts_anew(deploy, capsys, tmp_path):
    """Scores of one view are not taken for those of another."""
    from fcn_repro.predict.evaluation import Pass
    call(capsys, *deploy, '--sliding', '--out', 'out')
    first = (tmp_path / 'out/metrics.json').read_text()
    keys = []
    original = Pass.key

    def key(self):
        keys.append(original(self))
        return keys[-1]
    Pass.key = key
    try:
        call(capsys, *deploy, '--sliding', '--flip', '--out', 'out')
        call(capsys, *deploy, '--sliding', '--out', 'out')
    finally:
        Pass.key = original
    assert keys[0] != keys[1] and keys[0]['views'] != keys[1]['views']
    assert json.loads((tmp_path / 'out/metrics.json').read_text())['confusion'] == json.loads(
        first)['confusion']


def test_a_net_with_a_margin_is_scored_without_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_voc(tmp_path / 'voc')
    write_net(tmp_path, VALID)
    done = call(capsys, 'eval_voc', '--net', 'net.prototxt', '--weights', 'net.h5', '--voc', 'voc')
    assert done.status == 0 and 'margin of 3x3' in done.out
    saved = json.loads((tmp_path / 'runs/eval/net/metrics.json').read_text())
    assert saved['views']['single_scale'] and not saved['views']['sliding']


def test_a_val_net_has_no_other_views(tmp_path, monkeypatch, capsys):
    from small_runs import DATA
    monkeypatch.chdir(tmp_path)
    small_voc(tmp_path / 'voc')
    write_net(tmp_path, INPUT % (24, 24) + SEGMENT.replace('21', '3'))
    (tmp_path / 'val.prototxt').write_text(DATA % ('voc', 'val') + SEGMENT.replace('21', '3'))
    words = 'eval_voc', '--net', 'val.prototxt', '--weights', 'net.h5'
    assert_error(call(capsys, *words, '--flip'), 'Give a deploy net with --net')
    assert call(capsys, 'eval_voc', '--net', 'net.prototxt', '--weights', 'net.h5', '--voc', 'voc',
                '--flip').status == 0
