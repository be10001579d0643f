"""Dense output without skips: shift-and-stitch and filter rarefaction give the same."""

import pytest
import torch
from layer_case import distinct, make_layer, make_node
from layer_evidence import reference_for, refusal_of
from texts import assert_facts, conv, image, inputs, layer, message
from texts import net as build_net

from fcn_repro.net import Net
from fcn_repro.net.dense import (
    filter_rarefaction,
    multiply_adds,
    rarefied,
    shift_and_stitch,
    stitching_sizes,
    windows_of,
)
from fcn_repro.net.placement import place
from fcn_repro.passes import DEFAULT

POOL = 'pooling_param {{ kernel_size: {} stride: {} {} }}'


def pool(name, bottom, kernel=2, stride=2, more=''):
    return layer('Pooling', name, bottom, name, POOL.format(kernel, stride, more))


# stride 8, windows of convolutions and poolings of both kinds, a branch, and what treats all alike
UNPADDED = (
    inputs(data=(1, 2, 40, 41)) + conv('c1', 'data', num_output=4, kernel=3)
    + layer('ReLU', 'r1', 'c1', 'c1') + pool('p1', 'c1', 3)
    + layer('LRN', 'n1', 'p1', 'n1') + conv('c2', 'n1', num_output=5, kernel=2)
    + pool('p2', 'c2', more='pool: AVE')
    + conv('a', 'p2', num_output=2, kernel=2) + conv('b', 'p2', num_output=3, kernel=2)
    + layer('Concat', 'ab', 'a b', 'ab') + layer('Dropout', 'd', 'ab', 'ab')
    + conv('c3', 'ab', num_output=4, kernel=3, field='stride: 2 dilation: 2')
    + conv('score', 'c3', num_output=3, kernel=2))
PADDED = (inputs(data=(1, 2, 40, 40)) + conv('c1', 'data', num_output=4, kernel=3, field='pad: 5')
          + pool('p1', 'c1') + conv('c2', 'p1', num_output=4, kernel=3, field='pad: 1')
          + pool('p2', 'c2', 3, 2, 'pad: 1') + conv('score', 'p2', num_output=3, kernel=3,
                                                    field='pad: 1'))


def double(text, **options):
    made = build_net(text, **options)
    made.double()
    for blob in made.learnable_params:
        blob.data.copy_(distinct(blob.shape, len(blob.shape)) / blob.data[0].numel() ** 0.5)
    return made


def crops(net, blob, x, stride):
    """The definition: cell (0, 0) of the net over an image without its first rows and columns."""
    window, = set(windows_of(net, blob, stride)[net.graph.last(blob)])
    rows, columns = ((n - window.high - 1) // stride + 1 for n in x.shape[2:])
    return torch.stack([torch.stack([
        net.forward(data=x[:, :, i * stride:, j * stride:], blobs=blob)[blob][:, :, 0, 0]
        for j in range(columns)], -1) for i in range(rows)], -2)


@pytest.mark.parametrize('stride', [1, 2, 4, 8])
@pytest.mark.parametrize('size', [(61, 66), (64, 59)])
def test_both_are_the_dense_output_of_a_net_without_padding(stride, size):
    net, x = double(UNPADDED), image(2, 2, *size).double()
    stitched = shift_and_stitch(net, 'score', x, stride)
    rarer = filter_rarefaction(net, 'score', x, stride)
    assert stitched.shape == rarer.shape and min(stitched.shape[2:]) > 1
    torch.testing.assert_close(stitched, rarer, rtol=1e-12, atol=1e-14)
    if stride > 1:
        torch.testing.assert_close(stitched, crops(net, 'score', x, stride), rtol=1e-12, atol=1e-14)
    assert stitched.std() > 1e-3


@pytest.mark.parametrize('blob, stride', [('ab', 1), ('ab', 2), ('n1', 1), ('p1', 2)])
def test_a_blob_on_the_way(blob, stride):
    net, x = double(UNPADDED), image(1, 2, 40, 41).double()
    torch.testing.assert_close(shift_and_stitch(net, blob, x, stride),
                               filter_rarefaction(net, blob, x, stride), rtol=1e-12, atol=1e-14)


def test_it_is_the_net_itself_at_its_own_stride():
    net, x = double(UNPADDED), image(1, 2, 61, 61).double()
    plain = net.forward(data=x)['score']
    assert torch.equal(shift_and_stitch(net, 'score', x, 8), plain)
    assert torch.equal(rarefied(net, 'score', 8).forward(data=x)['score'], plain)
    dense = shift_and_stitch(net, 'score', x, 2)
    assert torch.equal(dense[:, :, ::4, ::4], plain)


def test_the_rarefied_net_has_the_same_parameters(caplog):
    net = build_net(UNPADDED)
    dense = rarefied(net, 'score', 2)
    assert not caplog.records           # no field without effect
    net.params['score'][0].data.zero_()
    assert not dense.params['score'][0].data.any()
    assert [node.type for node in dense.graph.nodes].count('SpreadPooling') == 1
    spread = {node.name: node.param.convolution_param.dilation[:] for node in dense.graph.nodes
              if node.type == 'Convolution'}
    assert spread == {'c1': [], 'c2': [], 'a': [2, 2], 'b': [2, 2], 'c3': [4, 4],
                      'score': [4, 4]}


def test_a_padded_net_has_the_same_output_where_no_padding_is_read():
    net, x = double(PADDED), image(1, 2, 60, 60).double()
    stitched, rarer = (way(net, 'score', x) for way in (shift_and_stitch, filter_rarefaction))
    window = windows_of(net, 'score', 1)[net.graph.last('score')][0]
    first, last = -window.low, 60 - 1 - window.high
    # a shifted image is padded up to 3 pixels further in
    assert stitched.shape == rarer.shape == (1, 3, last + 1 + first, last + 1 + first)
    inside = slice(first + 3, last - 3)
    torch.testing.assert_close(stitched[:, :, inside, inside], rarer[:, :, inside, inside],
                               rtol=1e-12, atol=1e-14)
    assert not torch.allclose(stitched, rarer)


@pytest.mark.parametrize('passes', [(), DEFAULT])
def test_a_placed_net(passes):
    net = place(build_net(UNPADDED, passes=passes))
    x = image(1, 2, 61, 61)
    torch.testing.assert_close(shift_and_stitch(net, 'score', x, 4),
                               filter_rarefaction(net, 'score', x, 4), rtol=1e-4, atol=1e-5)


def test_multiply_adds():
    """By hand, and of both ways: spread windows save the cells that shifted images share."""
    text = inputs(data=(1, 2, 9, 9)) + conv('a', 'data', num_output=4, kernel=2) \
        + pool('p', 'a') + conv('b', 'p', num_output=3, kernel=3)
    net = build_net(text)
    assert multiply_adds(net, 'b', 9, 9) == 4 * 2 * 4 * 8 * 8 + 3 * 4 * 9 * 2 * 2
    dense = rarefied(net, 'b')
    assert multiply_adds(dense, 'b', 9, 9) == 4 * 2 * 4 * 8 * 8 + 3 * 4 * 9 * 3 * 3
    sizes = list(stitching_sizes(net, 'b', 9, 9))
    assert sizes == [(9, 9), (9, 8), (8, 9), (8, 8)]
    assert sum(multiply_adds(net, 'b', *size) for size in sizes) > \
        multiply_adds(dense, 'b', 9, 9)


@pytest.mark.parametrize('change, blob, stride, place, facts', [
    (lambda t: t, 'score', 3, '', ('stride 8', '3')),
    (lambda t: t, 'score', 16, '', ('stride 8', '16')),
    (lambda t: t, 'score', 0, '', ('stride 8', '0')),
    (lambda t: t.replace('stride: 2 dilation', 'stride: 3 dilation'), 'score', 6, '', ('12', '6')),
    (lambda t: t + layer('InnerProduct', 'ip', 'score', 'ip',
                         'inner_product_param { num_output: 2 }'), 'ip', 1,
     "net.prototxt:14: layer 'ip' (InnerProduct)", ('fixed windows', 'cast')),
    (lambda t: t + layer('Deconvolution', 'up', 'score', 'up', 'convolution_param { num_output: 3 '
                         'kernel_size: 4 stride: 2 }'), 'up', 1,
     "net.prototxt:14: layer 'up' (Deconvolution)", ('fixed windows',)),
    (lambda t: t + layer('Pooling', 'm', 'score', 'm n', POOL.format(1, 2, '')), 'm', 1,
     "net.prototxt:14: layer 'm' (Pooling)", ('cannot be spread',)),
    (lambda t: t + conv('e', 'p2', num_output=3, kernel=4, field='pad: 1')
     + layer('Concat', 'cat', 'ab e', 'cat'),
     'cat', 1, "net.prototxt:15: layer 'cat' (Concat)", ('bottoms', 'different windows')),
])
def test_what_has_no_dense_form(change, blob, stride, place, facts):
    text = change(UNPADDED)
    for way in shift_and_stitch, filter_rarefaction:
        if place.endswith('(Pooling)') and way is shift_and_stitch:
            continue                            # which runs the net as it is
        net = build_net(text)
        assert_facts(message(way, net, blob, image(1, 2, 80, 80), stride), place or 'net.prototxt',
                     *facts)


def test_an_image_under_the_receptive_field():
    net = build_net(UNPADDED)
    text = message(shift_and_stitch, net, 'score', image(1, 2, 36, 41))
    assert_facts(text, 'net.prototxt', '1x2x36x41')
    assert message(filter_rarefaction, net, 'score', image(1, 2, 36, 41)) == text
    for way in shift_and_stitch, filter_rarefaction:
        two = Net(build_net(inputs(e=(1, 1)) + UNPADDED).graph)
        assert_facts(message(way, two, 'score', image(1, 2, 61, 61)), 'net.prototxt', '2 inputs')


@reference_for('SpreadPooling')
@pytest.mark.parametrize('kind', ['MAX', 'AVE'])
@pytest.mark.parametrize('pad', [0, 1])
def test_spread_pooling_is_pooling_on_each_of_the_interleaved_grids(kind, pad):
    settings = {'pooling_param': {'pool': kind, 'kernel_size': 3, 'stride': 1, 'pad': pad}}
    spread = make_layer('SpreadPooling', 1, 1, {}, parts=(make_node('Pooling', 1, 1, settings),),
                        setting=(2, 3))
    x = distinct((2, 3, 12, 15))
    top, = spread.forward([x], [])
    assert tuple(top.shape) == spread.shape([x.shape])[0]
    plain = make_layer('Pooling', 1, 1, settings)
    for i in range(2):
        for j in range(3):
            wanted, = plain.forward([x[:, :, i::2, j::3]], [])
            if pad and kind == 'AVE':
                wanted = wanted[:, :, 1:-1, 1:-1]       # Caffe's divisor is that of whole windows
                torch.testing.assert_close(top[:, :, i::2, j::3][:, :, 1:-1, 1:-1], wanted)
            else:
                torch.testing.assert_close(top[:, :, i::2, j::3], wanted)


@refusal_of('SpreadPooling')
def test_spread_pooling_refuses_a_text_and_a_small_bottom():
    assert_facts(message(build_net, inputs(x=(1, 1, 4, 4)) + layer('SpreadPooling', 'y', 'x', 'y')),
                 "net.prototxt:2: layer 'y' (SpreadPooling)", 'made by a pass')
    part = make_node('Pooling', 1, 1, {'pooling_param': {'kernel_size': 3}})
    spread = make_layer('SpreadPooling', 1, 1, {}, parts=(part,), setting=(2, 2))
    assert '5x5' in message(spread.shape, [(1, 1, 4, 9)])
