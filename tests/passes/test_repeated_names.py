"""Layers that share a name: Caffe allows it, so nothing may be looked up by name."""

import pytest
import torch
import torch.nn.functional as F
from texts import conv, graph, image, inputs, layer, message, net

from fcn_repro.layers import ExecutionOptions
from fcn_repro.net.executor import ALL
from fcn_repro.passes import DEFAULT, fuse_skip, fuse_upcrop

BILINEAR = 'weight_filler { type: "bilinear" }'


def up(name, bottom, top, kernel, more=BILINEAR, channels=1):
    """A Deconvolution that upsamples by kernel / 2."""
    return layer('Deconvolution', name, bottom, top, 'convolution_param { bias_term: false '
                 f'num_output: {channels} kernel_size: {kernel} stride: {kernel // 2} {more} }}')


def crop(bottoms, top, offset=0):
    return layer('Crop', 'crop', bottoms, top, f'crop_param {{ axis: 2 offset: {offset} }}')


POOL = layer('Pooling', 'pool', 'c1', 'p', 'pooling_param { kernel_size: 2 stride: 2 }')
IN_TURN = inputs(data=(1, 1, 9, 7)) + up('up1', 'data', 'u1', 4) + crop('u1 data', 'c1', 2) \
    + POOL + up('up2', 'p', 'u2', 8) + crop('u2 data', 'c2', 3)
SIDE_BY_SIDE = inputs(data=(1, 1, 9, 7)) + up('up1', 'data', 'u1', 4) + up('up2', 'data', 'u2', 8) \
    + crop('u1 data', 'c1', 2) + crop('u2 data', 'c2', 3)
ONE_LEFT = inputs(data=(1, 1, 9, 7)) + up('up1', 'data', 'u1', 4) + crop('u1 data', 'c1', 2) \
    + crop('data c1', 'c2')


def upsample(x, kernel):
    """What `up` computes, from its definition."""
    taps = torch.tensor([1 - abs(i - (kernel - 1) / 2) / (kernel / 2) for i in range(kernel)])
    return F.conv_transpose2d(x, torch.outer(taps, taps)[None, None], stride=kernel // 2)


@pytest.mark.parametrize('text, sites', [(IN_TURN, 2), (SIDE_BY_SIDE, 2), (ONE_LEFT, 1)],
                         ids=['in-turn', 'side-by-side', 'one-left'])
def test_each_crop_gets_the_deconvolution_that_feeds_it(text, sites):
    """Two Crops of one name, as in HED's deploy net, against torch and against no passes."""
    fused = [node for node in fuse_upcrop(graph(text)).nodes if node.type == 'UpCrop']
    assert [node.parts[0].name for node in fused] == ['up1', 'up2'][:sites]
    assert all(node.parts[0].tops[0] == node.parts[1].bottoms[0] for node in fused)
    x = image(1, 1, 9, 7)
    plain, quick = (net(text, passes=passes).forward(blobs=['c1', 'c2'], data=x)
                    for passes in ((), DEFAULT))
    c1 = upsample(x, 4)[:, :, 2:11, 2:9]
    c2 = {IN_TURN: lambda: upsample(F.max_pool2d(c1, 2, ceil_mode=True), 8)[:, :, 3:12, 3:10],
          SIDE_BY_SIDE: lambda: upsample(x, 8)[:, :, 3:12, 3:10],
          ONE_LEFT: lambda: x[:, :, :9, :7]}[text]()
    for found in plain, quick:
        torch.testing.assert_close(found['c1'], c1)
        torch.testing.assert_close(found['c2'], c2)


def test_skips_of_one_name():
    """Every layer of the second skip has the name of its like in the first."""
    def skip(bottom, fine, kernel, out):
        return up('up', bottom, f'{out}_up', kernel) + crop(f'{fine} {out}_up', f'{out}_crop') \
            + layer('Eltwise', 'sum', f'{out}_up {out}_crop', out)
    text = inputs(data=(1, 1, 4, 5), fine=(1, 1, 12, 14), finest=(1, 1, 60, 64)) \
        + skip('data', 'fine', 4, 'a') + skip('a', 'finest', 8, 'b')
    text = text.replace('name: "up"', 'name: "up1"', 1)     # weights of one name are another matter
    found = [node for node in fuse_skip(graph(text)).nodes if node.type == 'UpCropAdd']
    assert [(node.name, node.parts[0].name) for node in found] == [('sum', 'up1'), ('sum', 'up')]
    blobs = {'data': image(1, 1, 4, 5), 'fine': image(1, 1, 12, 14, seed=1),
             'finest': image(1, 1, 60, 64, seed=2)}
    plain, quick = (net(text, passes=passes).forward(**blobs) for passes in ((), DEFAULT))
    a = upsample(blobs['data'], 4)
    a = a + blobs['fine'][:, :, :a.shape[2], :a.shape[3]]
    b = upsample(a, 8)
    b = b + blobs['finest'][:, :, :b.shape[2], :b.shape[3]]
    for tops in plain, quick:
        torch.testing.assert_close(tops['b'], b)


def test_a_label_map_ends_at_the_layer_that_makes_the_scores():
    """Not at the first layer of its name."""
    text = inputs(data=(1, 3, 6, 6)) + conv('score', 'data', 'a') \
        + layer('ReLU', 'relu', 'a', 'a') + conv('last', 'a', 'b').replace('"last"', '"relu"')
    found = graph(text).labelled('b')
    assert [node.type for node in found.nodes] == [
        'Input', 'Convolution', 'ReLU', 'Convolution', 'LabelMap']
    ours = net(text)
    x = image(1, 3, 6, 6)
    scores = ours.forward(data=x)['b']
    labels, = ours.forward(labels_of='b', data=x).values()
    assert torch.equal(labels, scores.argmax(1).to(torch.uint8))


def test_each_product_has_a_type_of_its_own():
    """In 16 bits all products but the last compute so, whatever their names."""
    text = inputs(data=(1, 3, 6, 6)) + conv('a', 'data') + layer('ReLU', 'b', 'a', 'r') \
        + conv('b', 'r', 'b')
    ours = net(text)
    ours.place(ExecutionOptions(precision='bf16'))
    steps = {step.node.key: step.dtype for step in ours.executor.plan(frozenset()).steps}
    assert steps == {('a', 0): torch.bfloat16, ('b', 0): None, ('b', 1): torch.float32}


def test_dropouts_of_one_name_draw_masks_of_their_own():
    """The first draws what a lone one draws."""
    def dropouts(*names):
        return inputs(data=(1, 2, 8, 8)) + ''.join(
            layer('Dropout', name, 'data', f'top{i}') for i, name in enumerate(names))
    x = torch.ones(1, 2, 8, 8)
    tops = net(dropouts('drop', 'drop', 'drop'), 'TRAIN', seed=3).forward(data=x)
    lone = net(dropouts('drop'), 'TRAIN', seed=3).forward(data=x)
    assert torch.equal(tops['top0'], lone['top0'])
    assert len({tuple(top.flatten().tolist()) for top in tops.values()}) == 3


def test_dummy_data_of_one_name_differ():
    text = ''.join(layer('DummyData', 'noise', '', top, 'dummy_data_param { shape { dim: 4 } '
                         'data_filler { type: "gaussian" } }') for top in 'ab')
    tops = net(text).forward()
    assert not torch.equal(tops['a'], tops['b'])


def test_layers_are_counted_by_name():
    nodes = graph(SIDE_BY_SIDE).nodes
    assert [node.unique_name for node in nodes if node.type == 'Crop'] == ['crop', 'crop#2']
    assert len({node.key for node in nodes}) == len(nodes)


def test_copies_of_a_blob_may_not_share_a_name():
    """As in Caffe: two in-place layers of one name over one blob, and each top read twice."""
    def read_twice(i):
        return layer('Silence', f's{i}', 'data') + layer('Silence', f't{i}', 'data')
    relu = layer('ReLU', 'relu', 'data', 'data')
    text = inputs(data=(1, 2)) + relu + read_twice(0) + relu + read_twice(1)
    found = message(graph, text)
    assert "layer 'relu' (ReLU)" in found and 'net.prototxt:5' in found and 'data_relu_0' in found


def test_every_value_is_delivered():
    x = image(1, 1, 9, 7)
    ours = net(SIDE_BY_SIDE, passes=DEFAULT)
    found = ours.forward(blobs=ALL, data=x)
    torch.testing.assert_close(found['c2'], upsample(x, 8)[:, :, 3:12, 3:10])
