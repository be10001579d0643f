"""Dilated convolutions by Winograd's algorithm on every d-th row and column."""

import pytest
import torch
import torch.nn.functional as F
from texts import conv, inputs

from fcn_repro.net import Net
from fcn_repro.net.placement import place
from fcn_repro.ops import dilated
from fcn_repro.ops.dilated import conv_split, conv_split_ref, splits

LAST = torch.channels_last


def example(size=(41, 50), channels=16, outputs=32, count=1):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(count, channels, *size, generator=draw).contiguous(memory_format=LAST)
    weight = torch.randn(outputs, channels, 3, 3, generator=draw).contiguous(memory_format=LAST)
    return x, weight, torch.randn(outputs, generator=draw)


@pytest.mark.parametrize('pad, dilation', [
    ((2, 2), (2, 2)), ((4, 4), (4, 4)), ((0, 0), (2, 2)), ((6, 6), (6, 6)), ((1, 5), (2, 3)),
    ((7, 0), (3, 1)), ((30, 30), (5, 5)), ((12, 12), (12, 12))])
@pytest.mark.parametrize('count', [1, 3])
def test_split_twin(pad, dilation, count):
    x, weight, bias = example(count=count)
    whole = conv_split(lambda parts: F.conv2d(parts, weight, bias), x, pad, dilation)
    expected = conv_split_ref(x, weight, bias, pad, dilation)
    assert whole.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-4)


def test_parts_are_every_d_th_row_and_column():
    x = torch.arange(35.).view(1, 1, 5, 7)
    seen = []

    def run(parts):
        seen.append(parts)
        return parts[:, :, 1:-1, 1:-1]          # the middle of each window
    assert torch.equal(conv_split(run, x, (2, 3), (2, 3)), x)
    assert seen[0].shape == (6, 1, 5, 5)        # 9 -> 10 rows, 13 -> 15 columns
    assert torch.equal(seen[0][1, 0, 1:3, 1], torch.tensor([1., 15.]))


@torch.no_grad()
def test_where_it_pays():
    x, weight, _ = example((60, 60))

    def asks(x=x, weight=weight, stride=(1, 1), pad=(2, 2), dilation=(2, 2), group=1):
        return splits(x, weight, stride, pad, dilation, group, x.shape)
    assert asks() and asks(pad=(4, 4), dilation=(4, 4)) and asks(dilation=(1, 2))
    assert asks(pad=(6, 6), dilation=(6, 6))
    assert not asks(pad=(12, 12), dilation=(12, 12))            # 5 of a part's 8 cells a side
    assert not asks(dilation=(1, 1)) and not asks(stride=(2, 1)) and not asks(group=2)
    assert not asks(x.contiguous()) and not asks(x.double(), weight.double())
    assert not asks(weight=weight[:, :, :1]) and not asks(weight=weight[:24])
    assert not asks(x[:, :, :8, :8].contiguous(memory_format=LAST))             # too few tiles
    assert not asks(x[:, :, :2, :2].contiguous(memory_format=LAST), pad=(1, 1))    # none
    with torch.enable_grad():
        assert not asks()


def net_of(tmp_path, dilation, relu=''):
    path = tmp_path / 'net.prototxt'
    path.write_text(inputs(data=(1, 16, 60, 57)) + conv(
        'c', 'data', num_output=32, kernel=3, field=f'pad: {dilation} dilation: {dilation}'))
    return Net.read(path, 'TEST', seed=1)


@pytest.mark.parametrize('dilation', [2, 3, 6])
def test_in_a_net(tmp_path, monkeypatch, dilation):
    net, calls, original = net_of(tmp_path, dilation), [], dilated.conv_split
    monkeypatch.setattr('fcn_repro.layers.convolution.conv_split',
                        lambda *args: (calls.append(1), original(*args))[1])
    x = torch.randn(1, 16, 60, 57)
    got = []
    for winograd in False, True:
        place(net, 'cpu', winograd=winograd)
        with torch.no_grad():
            got.append(net(data=x)['c'])
        assert len(calls) == winograd
    assert (got[1] - got[0]).abs().max() < 5e-6 * got[0].abs().max()
    net(data=x)                         # with gradients direct sums, as for other convolutions
    assert len(calls) == 1
