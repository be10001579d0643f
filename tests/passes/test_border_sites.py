"""collapse_border: what it finds in each net, and where it steps aside."""

import re
from itertools import combinations
from pathlib import Path

import pytest
from goldens import NETS, error, params
from layer_case import make_layer
from layer_evidence import refusal_of
from test_border import BACKBONE, LRN, MODULE, SMALL, pair, repeats_of
from texts import assert_facts, conv, graph, inputs, layer, message, net

from fcn_repro.net.graph import build
from fcn_repro.passes import collapse_border
from fcn_repro.passes.intervals import trace
from fcn_repro.proto.prototxt import read_net

PROTOTXT = Path(__file__).parents[2] / 'prototxt'
SHIPPED = sorted(path for path in PROTOTXT.glob('*/*.prototxt') if 'solver' not in path.name)


def found(graph, keep=frozenset()):
    """{name: (start, end, count)} of the RepeatBorders, rows and columns alike, and the pads of
    the convolutions that are not those of the text."""
    before = {node.name: node.param for node in graph.nodes}
    repeats, pads = {}, {}
    for node in collapse_border(graph, keep).nodes:
        if node.type == 'RepeatBorder':
            rows, columns = node.setting
            assert rows == columns
            repeats[node.name.removesuffix('_border')] = rows
        elif node.param != before[node.name]:
            pads[node.name] = list(node.param.convolution_param.pad)
    return repeats, {name: pad for name, pad in pads.items() if pad}


# What it finds

WIDE_8S = {'pool1': (1, 1, 6), 'pool2': (2, 2, 4), 'relu3_2': (4, 4, 4), 'pool3': (3, 3, 6)}
WIDE = WIDE_8S | {'pool3': (3, 3, 2), 'relu4_1': (4, 4, 2), 'relu4_2': (5, 5, 2)}
POOLS = {'pool1': (1, 1, 6), 'pool2': (2, 2, 8), 'pool3': (3, 3, 6)}


POOL_3 = WIDE_8S | {'score_pool3': (3, 3, 6)}           # nothing but its scores is above it
DEEP = WIDE | {'relu4_3': (6, 6, 2)}                    # of a pad of 116
NORMED = {'norm1': (0, 1, 4), 'relu2': (2, 3, 4)}


def expected(model):
    """(repeats, pads) of a shipped FCN's trunk."""
    if model.startswith('mini') and 'alexnet' in model:
        return {'norm1': (0, 1, 8)}, {'conv1': [36, 36]}
    if 'alexnet' in model:              # 100 = 36 + 8 * 8: the first stride is 4, pool1's 8
        return NORMED, {'conv1': [36, 36]}
    if 'googlenet' in model:            # it has the classifier's pad
        return {}, {}
    if model.endswith(('fcn4s', 'fcn2s')):      # the skip from pool2, or pool1, needs all of it
        repeats = {'pool1': (1, 1, 6), 'pool2': (2, 2, 20)} if model.endswith('4s') else {
            'pool1': (1, 1, 46)}
        return repeats, {'conv1_1': [8, 8]}
    wide = WIDE_8S if '8s' in model or model == 'crfrnn-voc' else WIDE
    other = {'voc-fcn-pool3': {name: POOL_3[name] for name in POOL_3 if name != 'pool3'},
             'voc-fcn16s-fc6-14x14': DEEP}.get(model, wide)
    return POOLS if 'mini' in model else other, {'conv1_1': [8, 8]}


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_widths_in_each_shipped_prototxt(path):
    """Pad 8 instead of 100 in every FCN of VGG16, in each stream of it. Those that tap pool3 have
    all back there; the others have a band up to conv4_2. The 92 rows come back as so many cells of
    2, 4 and 8 rows."""
    model, graph = path.parent.name, build(read_net(path), 'TEST')
    repeats, pads = found(graph, frozenset(graph.outputs))
    if not ('-fcn' in model or 'crfrnn' in model) or model.startswith('own'):
        assert (repeats, pads) == ({}, {})
        return
    streams = 2 if 'color-hha' in model else 1
    assert (len(repeats), len(pads)) == tuple(streams * len(each) for each in expected(model))
    assert tuple({re.sub('color|hha|_bgrd', '', name): each for name, each in found_.items()}
                 for found_ in (repeats, pads)) == expected(model)
    if pads and 'alexnet' not in model:
        stride = {'pool1': 2, 'pool2': 4, 'relu3_2': 4}
        rows = sum(count * stride.get(name, 8)
                   for name, (_, _, count) in expected(model)[0].items())
        assert rows == (108 if '14x14' in model else 92)


GOLDEN = {'early-fusion': 1, 'fcn-alexnet': 1, 'fcn16s': 1, 'fcn32s': 1, 'fcn8s': 1,
          'fcn8s-atonce': 1, 'late-fusion': 2, 'multitask': 1}


@pytest.mark.parametrize('path', params(NETS, 'net.prototxt', 'nets'))
def test_widths_in_each_golden_net(path):
    """late-fusion has a border in each of its two streams."""
    repeats, pads = found(build(read_net(path), 'TEST'))
    assert len(pads) == GOLDEN[path.parent.name]
    if path.parent.name == 'fcn-alexnet':   # 100 = 36 + 8 * 8: the first stride is 4, pool1's 8
        assert (repeats, pads) == ({'norm1': (0, 1, 8)}, {'conv1': [36, 36]})
    else:
        assert {re.sub('color|hha', '', k): v for k, v in repeats.items()} == POOLS


def chain_of(path):
    graph = build(read_net(path), 'TEST')
    return MODULE._chain(graph, next(n for n in graph.nodes if n.type == 'Convolution'), set())


@pytest.mark.parametrize('model', ['voc-fcn32s', 'mini-fcn8s'])
def test_the_search_is_exact(model):
    """Against all choices of up to three of its stops, and of its own and one more or less."""
    stops = trace(chain_of(PROTOTXT / model / 'deploy.prototxt'))
    work, path = MODULE.cheapest(stops)
    some = [set(c) for n in range(4) for c in combinations(range(len(stops)), n)]
    some += [set(path) ^ {i} for i in range(len(stops))]
    assert work == pytest.approx(work_of(stops, path))
    assert all(work_of(stops, sorted(other)) > work for other in some if other != set(path))


def work_of(stops, path):
    """Layer by layer, without the pass's own sums; infinite where nothing is put back."""
    total = 0
    for i, stop in enumerate(stops):
        left_out = next((stops[j].removable for j in path if j >= i), (0, 0))
        area = [n - 2 * r / s for n, r, s in zip(stop.size, left_out, stop.stride, strict=True)]
        total += stop.work * area[0] * area[1]
        if i in path:
            after = next((stops[j].removable for j in path if j > i), (0, 0))
            if after == left_out:
                return float('inf')
            area = [n - 2 * r / s for n, r, s in zip(stop.size, after, stop.stride, strict=True)]
            total += MODULE.ELEMENT * stop.channels * area[0] * area[1]
    return total


# Where it steps aside

@pytest.mark.parametrize('blob', ['a', 'b', 'p', 'c', 'q', 'data'])
def test_a_blob_that_is_asked_for_is_whole(blob):
    """With its diff; cells are put back before it, and left out only where that still pays."""
    plain, quick = pair(SMALL, blobs=[blob])
    assert quick.blobs[blob].data.shape == plain.blobs[blob].data.shape
    assert error(quick.blobs[blob].data, plain.blobs[blob].data) <= 1e-5
    if blob != 'data':
        assert error(quick.blobs[blob].diff, plain.blobs[blob].diff) <= 1e-5
    assert repeats_of(quick) == {
        'a': [], 'b': [], 'p': ['p_border'], 'c': ['p_border'], 'q': ['p_border', 'q_border'],
        'data': ['p_border', 'out_border']}[blob]
    assert quick.forward().keys() == {'out'} and repeats_of(quick)


def test_stop_after_and_all_blobs():
    plain, quick = pair(SMALL)
    for name in 'a', 'r', 'b', 'p', 'q':
        for blob, top in plain.forward(stop_after=name).items():
            assert error(quick.forward(stop_after=name)[blob].detach(), top.detach()) <= 1e-5
    quick.executor.plans.clear()
    quick.forward(blobs='all')
    assert not repeats_of(quick)


def test_a_tap_is_read_whole():
    """Two readers of one blob: all is back before the Split."""
    text = SMALL + conv('skip', 'p') + layer('Crop', 'cut', 'skip out', 'cut',
                                             'crop_param { axis: 2 offset: 3 }')
    assert repeats_of(pair(text)[1]) == ['p_border']


AVERAGE = 'pooling_param { pool: AVE %s }'
BREAKS = {
    'Dropout': layer('Dropout', 'n', 'p', 'n'), 'MVN': layer('MVN', 'n', 'p', 'n'),
    'BatchNorm': layer('BatchNorm', 'n', 'p', 'n'), 'LRN within': LRN % 'WITHIN_CHANNEL',
    'global pooling': layer('Pooling', 'n', 'p', 'n', AVERAGE % 'global_pooling: true'),
    'mask': layer('Pooling', 'n', 'p', 'n m', 'pooling_param { kernel_size: 2 }'),
    'Scale': layer('Scale', 'n', 'p', 'n'),
    'loss weight': layer('ReLU', 'n', 'p', 'n', 'loss_weight: 1'),
    'skipped cells': conv('n', 'p', kernel=1, field='stride: 2'),
    'Deconvolution': conv('n', 'p', kernel=2).replace('"Convolution"', '"Deconvolution"'),
}


@pytest.mark.parametrize('name', BREAKS)
def test_all_is_back_before_what_breaks_it(name):
    """Then p is the last that can be left narrow, and nothing is where it stands before."""
    after = conv('out', 'n', num_output=64, kernel=1 if name == 'global pooling' else 3)
    after = '' if name == 'loss weight' else after      # another reader would be a Split
    assert found(graph(BACKBONE + BREAKS[name] + after)) == ({'p': (1, 1, 26)}, {'a': [8, 8]})
    early = BREAKS[name].replace('"p"', '"a"').replace('"n"', '"b0"')
    moved = BACKBONE.replace('name: "b" type: "Convolution" bottom: "a"',
                             'name: "b" type: "Convolution" bottom: "b0"')
    assert found(graph(moved.replace('layer { name: "b"', early + 'layer { name: "b"'))) \
        == ({}, {})


def test_what_has_no_border():
    assert found(graph(SMALL.replace('pad: 60', 'pad: 1'))) == ({}, {})
    assert found(graph(SMALL.replace('pad: 60', 'pad: 60 axis: 2'))) == ({}, {})
    several = SMALL.replace('bottom: "data" top: "a"', 'bottom: "data" bottom: "data" top: "a" '
                            'top: "a2"')
    assert found(graph(several)) == ({}, {})
    only = inputs(data=(1, 3, 9)) + conv('a', 'data', kernel=3, field='pad: 60') + ''.join(
        conv(f'c{i}', f'c{i - 1}' if i else 'a', kernel=3) for i in range(8))
    assert found(graph(only)) == ({}, {})           # one spatial axis, perhaps
    repeats, _ = found(graph(only.replace('dim: 9', 'dim: 9 dim: 9').replace(
        'kernel_size: 3 pad', 'kernel_h: 3 kernel_w: 3 pad')))
    assert repeats


def test_each_axis_has_its_own_pad():
    text = SMALL.replace('pad: 60', 'pad_h: 60 pad_w: 1').replace('dim: 9 dim: 9', 'dim: 9 dim: 40')
    nodes = collapse_border(graph(text)).nodes
    settings = [node.setting for node in nodes if node.type == 'RepeatBorder']
    assert settings and all(rows[2] > 0 == columns[2] for rows, columns in settings)
    pair(text, size=(5, 38))


@refusal_of('RepeatBorder')
def test_refused_as_a_layer():
    source = inputs(x=(1, 1, 4, 4)) + layer('RepeatBorder', 'y', 'x', 'y')
    assert_facts(message(net, source), "net.prototxt:2: layer 'y' (RepeatBorder)", 'by a pass')
    made = make_layer('RepeatBorder', 1, 1, {}, setting=((1, 2, 3), (0, 0, 1)))
    assert made.shape([(1, 2, 5, 2)]) == [(1, 2, 11, 4)]
    assert 'takes 4 axes' in message(made.shape, [(5, 5, 5)])
    assert '4 cells, but cell 1 and the one 2 before the last are repeated' in message(
        made.shape, [(1, 1, 4, 4)])
