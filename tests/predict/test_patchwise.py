"""A classifier on the patches of an image and on the whole: one grid of scores."""

import pytest
import torch
from small_classifier import CLASSIFIER
from texts import image, inputs, layer, message
from texts import net as build_net

from fcn_repro.net.placement import place
from fcn_repro.predict.patchwise import Patchwise


@pytest.mark.parametrize('size, grid', [((20, 25), (5, 8)), ((12, 13), (1, 2))])
@pytest.mark.parametrize('batch', [1, 3])
def test_both_ways_give_the_same_grid(size, grid, batch):
    """Without padding in the net, for the patches inside the image; the last column of an odd
    width goes beyond it, where a pooling is cut off."""
    ways = Patchwise(place(build_net(CLASSIFIER)), size, batch)
    assert (ways.grid, ways.stride, ways.patch, ways.scores) == (grid, (2, 2), (12, 12), 's')
    x = image(3, *size)
    assert ways.patches(x).shape == (grid[0] * grid[1], 3, 12, 12)
    whole, naive = ways.whole(x), ways.naive(x)
    assert whole.shape == naive.shape == (6, *grid)
    inside = (size[1] - 12) // 2 + 1
    torch.testing.assert_close(whole[..., :inside], naive[..., :inside], rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter():
    ways = Patchwise(place(build_net(CLASSIFIER, phase='TRAIN')), (20, 20))
    runs = ways.ways(image(3, 20, 20))
    for way, net in ('whole', ways.net), ('batch', ways.classifier):
        runs[way]()
        ways.backward(way)
        assert all(blob.diff.abs().max() > 0 for blob in net.learnable_params)


def test_what_is_refused():
    net = build_net(CLASSIFIER)
    assert '11x20' in message(Patchwise, net, (11, 20)) and '12x12' in message(
        Patchwise, net, (11, 20))
    for text in (inputs(data=(1, 3, 12, 12)) + layer('ReLU', 'r', 'data', 'r'),):
        assert 'classifier' in message(Patchwise, build_net(text), (20, 20))
