"""Tiles: each part of an image that a net is given yields, where it counts, what the whole does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from texts import conv, layer
from tiny_nets import INPUT, noise

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.net.placement import place
from fcn_repro.net.surgery import interp
from fcn_repro.net.tiles import Span, Tiling
from fcn_repro.passes import DEFAULT
from fcn_repro.predict.segmenter import Segmenter
from fcn_repro.proto import TEST

ROOT = Path(__file__).parents[2]
# the FCN of fcn.berkeleyvision.org in miniature: padding that only the image's edge may have, a
# skip, crops; a window whose padding the next layers see
BODY = INPUT % (40, 48) + conv('c1', 'data', num_output=16, kernel=3, field='pad: 20') \
    + layer('ReLU', 'r1', 'c1', 'c1') + conv('c2', 'c1', num_output=16, kernel=3, field='pad: 1') \
    + layer('Pooling', 'p1', 'c2', 'p1', 'pooling_param { kernel_size: 2 stride: 2 }') \
    + conv('c3', 'p1', num_output=32, kernel=3, field='pad: 1') \
    + layer('Pooling', 'p2', 'c3', 'p2', 'pooling_param { pool: AVE kernel_size: 3 stride: 2 }') \
    + layer('BatchNorm', 'bn', 'p2', 'bn') + layer('Scale', 'sc', 'bn', 'bn') \
    + layer('LRN', 'lrn', 'bn', 'lrn', 'lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }') \
    + conv('s2', 'lrn', num_output=4, kernel=1) + conv('s1', 'p1', num_output=4, kernel=1)


def up(name, bottom, kernel, stride):
    return layer('Deconvolution', name, bottom, name, f'convolution_param {{ num_output: 4 '
                 f'kernel_size: {kernel} stride: {stride} bias_term: false group: 4 '
                 'weight_filler { type: "bilinear" } }')


SKIPS = BODY + up('u2', 's2', 4, 2) \
    + layer('Crop', 'u2c', 'u2 s1', 'u2c', 'crop_param { axis: 2 offset: 0 }') \
    + layer('Eltwise', 'sum', 'u2c s1', 'sum') + up('u1', 'sum', 4, 2) \
    + layer('Crop', 'score', 'u1 data', 'score', 'crop_param { axis: 2 offset: 19 }')


def net_of(path_or_text, tmp_path=None, winograd=True):
    """A placed net with random weights."""
    path = path_or_text
    if not isinstance(path, Path):
        path = tmp_path / 'net.prototxt'
        path.write_text(path_or_text)
    net = Net.read(path, TEST, passes=DEFAULT)
    draw = torch.Generator().manual_seed(0)
    ups = [name for name, blobs in net.params.items() if name.startswith('up')]
    for name, blobs in net.params.items():
        if blobs[0].data.dim() == 4 and name not in ups:
            blobs[0].data.normal_(0, (2 / blobs[0].data[0].numel()) ** .5, generator=draw)
        if name == 'bn':
            for blob in blobs:
                blob.data.uniform_(.5, 1, generator=draw)
        if name.startswith('score'):    # its inputs are positive: one class would win everywhere
            blobs[0].data.sub_(blobs[0].data.mean(1, keepdim=True))
    interp({name: [blob.data for blob in net.params[name]] for name in ups}, ups)
    return place(net, winograd=winograd)


def equal(net, height, width, side):
    """Labels and scores of the whole and of tiles: equal; the most that scores differ."""
    image = noise(height, width, 3)
    whole, tiles = (Segmenter(net, tile=tile).predict(image, scores)[0] for tile, scores in
                    ((0, True), (side, True)))
    assert tiles.scores.shape == whole.scores.shape
    difference = np.abs(tiles.scores - whole.scores)
    assert difference.max() <= 2e-6 * np.abs(whole.scores).max()
    fused = Segmenter(net, tile=side).predict(image)[0].labels
    two = np.sort(whole.scores, 0)[-2:]
    decided = two[1] - two[0] > 1e-5 * np.abs(whole.scores).max()
    for labels in tiles.labels, fused:
        assert (labels == whole.labels)[decided].all() and decided.mean() > .99
    assert len(np.unique(whole.labels)) > 1
    return difference.max()


@pytest.mark.parametrize('size, side', [((83, 101), 40), ((64, 64), 40), ((49, 33), 16)])
@pytest.mark.parametrize('winograd', [False, True])
def test_tiles_give_what_the_whole_gives(tmp_path, size, side, winograd):
    equal(net_of(SKIPS, tmp_path, winograd), *size, side)


def test_tiles_of_fcn8s():
    """FCN's padding of 100 exists at the image's own edge alone."""
    equal(net_of(ROOT / 'prototxt/mini-fcn8s/deploy.prototxt'), 130, 430, 320)


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['mini-fcn32s', 'mini-fcn16s', 'mini-fcn8s', 'mini-fcn8s-atonce',
                                   'voc-fcn32s', 'voc-fcn8s'])
def test_tiles_of_the_stages(stage):
    equal(net_of(ROOT / f'prototxt/{stage}/deploy.prototxt'), 500, 750, 384)


def test_parts_begin_at_strides_and_end_where_nothing_reads(tmp_path):
    net = net_of(SKIPS, tmp_path, winograd=False)
    tiling = Tiling(net, net.graph.first('data'), [net.graph.last('score')])
    assert tiling.stride == (4, 4)
    tiles = list(tiling.tiles(200, 300, 50))
    covered = np.zeros((200, 300), int)
    for (y, x), (part_y, part_x) in tiles:
        covered[y.first:y.end, x.first:x.end] += 1
        for cells, part, size in (y, part_y, 200), (x, part_x, 300):
            assert part.first % 4 == 0 and part.first <= cells.first and part.end >= cells.end
            assert part.end - part.first < 50 + 2 * 40 and part.end <= size
    assert (covered == 1).all()
    assert tiles[0][1][0].first == 0 and tiles[-1][1] == (Span(176, 200), Span(272, 300))


def test_winograd_tiles_are_whole(tmp_path):
    """With Winograd's algorithm parts begin at its tiles of 4 at each stride."""
    tilings = []
    for winograd in False, True:
        net = net_of(SKIPS, tmp_path, winograd=winograd)
        tilings.append(Tiling(net, net.graph.first('data'), [net.graph.last('score')]))
    plain, rounded = tilings
    assert plain.stride == (4, 4) and rounded.stride == (8, 8)
    inner = [tiling.part(0, Span(160, 200), tiling.shapes(400, 400)) for tiling in tilings]
    assert inner[1].first < inner[0].first and inner[1].end > inner[0].end


@pytest.mark.parametrize('extra, words', [
    (layer('Pooling', 'g', 'data', 'g', 'pooling_param { global_pooling: true }')
     + layer('Deconvolution', 'score', 'g', 'score', 'convolution_param { num_output: 2 '
             'kernel_size: 8 }'), "layer 'g'"),
    (layer('MVN', 'm', 'data', 'm') + conv('score', 'm', num_output=2, kernel=1), "layer 'm'"),
    (conv('a', 'data', num_output=2, kernel=1) + conv(
        'b', 'data', num_output=2, kernel=2, field='stride: 2') + layer(
        'Concat', 'c', 'a a', 'c') + layer('Softmax', 's', 'c', 'score', 'softmax_param { axis: 2 }'
                                           ), "layer 's'"),
])
def test_layers_that_read_all_are_named(tmp_path, extra, words):
    net = net_of(INPUT % (24, 24) + extra, tmp_path)
    with pytest.raises(FcnError, match=f'{words}.*read the whole of its bottom'):
        Tiling(net, net.graph.first('data'), [net.graph.last('score')])


def test_a_blob_of_two_strides_is_refused(tmp_path):
    """What a Concat joins has to lie on one grid."""
    text = conv('a', 'data', num_output=2, kernel=1, field='stride: 2') \
        + layer('Crop', 'k', 'data a', 'k', 'crop_param { axis: 2 }') \
        + layer('Concat', 'score', 'a k', 'score')
    net = net_of(INPUT % (24, 24) + text, tmp_path)
    with pytest.raises(FcnError, match=r"layer 'score'.*different strides"):
        Tiling(net, net.graph.first('data'), [net.graph.last('score')])


def test_memory_decides_where_nothing_is_asked(tmp_path, monkeypatch):
    """The whole where it fits, else the largest tiles that do; to the same bits."""
    net, image = net_of(SKIPS, tmp_path), noise(300, 400)
    whole = Segmenter(net).predict(image)[0].labels
    assert Segmenter(net).side(300, 400) == 0
    monkeypatch.setattr('fcn_repro.predict.segmenter.available', lambda gpu: 4_000_000)
    one = Segmenter(net)
    assert 64 <= one.side(300, 400) < 300
    one.check(300, 400)
    assert (one.predict(image)[0].labels == whole).all()
    monkeypatch.setattr('fcn_repro.predict.segmenter.available', lambda gpu: 0)
    assert Segmenter(net).side(300, 400) == 64
    assert Segmenter(net, tile=0).side(300, 400) == 0


def test_an_image_beyond_any_blob_is_run_in_tiles(tmp_path):
    """Of the whole, one layer's top would be more than Caffe's int counts."""
    net = net_of(SKIPS, tmp_path)
    one = Segmenter(net, tile=256)
    one.check(12000, 12000)
    with pytest.raises(FcnError, match='would hold'):
        Segmenter(net, tile=0).check(12000, 12000)


@pytest.mark.parametrize('text', [
    conv('t', 'data', num_output=2, kernel=3, field='stride: 2 pad: 3 dilation: 2'),
    layer('Pooling', 't', 'data', 't', 'pooling_param { kernel_size: 3 stride: 2 pad: 1 }'),
    layer('Deconvolution', 't', 'data', 't', 'convolution_param { num_output: 2 kernel_size: 5 '
          'stride: 3 pad: 1 weight_filler { type: "gaussian" std: 1 } }'),
    layer('Crop', 't', 'data size', 't', 'crop_param { axis: 2 offset: 3 offset: 1 }'),
    layer('LRN', 't', 'data', 't', 'lrn_param { norm_region: WITHIN_CHANNEL local_size: 5 }')])
def test_reach_covers_what_a_cell_reads(tmp_path, text):
    """No cell of the top changes with a cell of the bottom that its reach leaves out."""
    size = (INPUT % (5, 7)).replace('data', 'size').replace('"in"', '"in2"') if 'size"' in text \
        else ''
    net = net_of(INPUT % (12, 12) + size + text, tmp_path)
    node = net.graph.producer(net.graph.last('t'))
    reach = net.layer(node).reach(net.shapes[node.bottoms[0]])
    data = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)) + 1
    with torch.no_grad():
        before = net.forward('t', data=data)['t'].clone()
        for y, x in (0, 0), (5, 6), (11, 3):
            other = data.clone()
            other[:, :, y, x] += 5
            changed = (net.forward('t', data=other)['t'] != before).any(1)[0].nonzero()
            for cell in changed.tolist():
                for axis, (at, place) in enumerate(zip(cell, (y, x), strict=True)):
                    first, last = reach[axis].cells(at, at)
                    assert first <= place <= last


def test_dilated_convolutions_in_tiles(tmp_path):
    """Parts begin at tiles of every d-th row and column: the scores have the bits of the whole."""
    text = INPUT % (64, 80) + conv('c1', 'data', num_output=16, kernel=3, field='pad: 1') \
        + conv('c2', 'c1', num_output=32, kernel=3, field='pad: 2 dilation: 2') \
        + conv('c3', 'c2', num_output=16, kernel=3, field='pad: 3 dilation: 3') \
        + conv('score', 'c3', num_output=4, kernel=1)
    net = net_of(text, tmp_path)
    one = Segmenter(net, tile=0)
    assert one.tiling.stride == (24, 24)
    image = noise(100, 130)
    whole, = one.predict(image, scores=True)
    one.tile = 48
    part, = one.predict(image, scores=True)
    assert np.array_equal(whole.labels, part.labels) and np.array_equal(whole.scores, part.scores)
