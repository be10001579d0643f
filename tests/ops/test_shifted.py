"""Convolutions to few outputs by the shifted maps of their taps."""

import pytest
import torch
from conv_ops import LAST, draws
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import conv, inputs

from fcn_repro.net import Net
from fcn_repro.net.placement import place
from fcn_repro.ops.shifted import conv_shifted, conv_shifted_ref, pays, shifted_filters

PAIR = st.tuples(st.integers(0, 5), st.integers(0, 5))


def example(size=(9, 11), channels=256, outputs=21, kernel=(3, 3), count=1):
    x = draws(count, channels, *size).contiguous(memory_format=LAST)
    return x, draws(outputs, channels, *kernel, seed=1, scale=0.05), draws(outputs, seed=2)


@settings(max_examples=80, deadline=None)
@given(count=st.integers(1, 2), channels=st.sampled_from([1, 16, 37, 300]),
       outputs=st.sampled_from([1, 5, 21, 40]), size=st.tuples(*[st.integers(1, 17)] * 2),
       kernel=st.tuples(*[st.integers(1, 4)] * 2), pad=PAIR,
       dilation=st.tuples(*[st.integers(1, 7)] * 2), biased=st.booleans())
def test_equals_its_twin(count, channels, outputs, size, kernel, pad, dilation, biased):
    """Of tops that have a pixel, wherever the taps lie: inside, in part, and beside the image."""
    pad = [max(p, -(-((k - 1) * d + 1 - side) // 2))
           for p, k, d, side in zip(pad, kernel, dilation, size, strict=True)]
    x, weight, bias = example(size, channels, outputs, kernel, count)
    bias = bias if biased else None
    y = conv_shifted(x, shifted_filters(weight), outputs, bias, kernel, pad, dilation)
    wanted = conv_shifted_ref(x.double(), weight.double(), bias if bias is None else bias.double(),
                              pad, dilation).float()
    assert y.shape == wanted.shape and y.is_contiguous(memory_format=LAST)
    assert (y - wanted).abs().max() <= 4e-6 * wanted.abs().max()


@torch.no_grad()
def test_where_it_pays():
    def asks(stride=(1, 1), pad=(1, 1), dilation=(1, 1), group=1, to=None, **shape):
        x, weight, _ = example(**shape)
        return pays(*(tensor.to(to) for tensor in (x, weight)) if to else (x, weight), stride, pad,
                    dilation, group)
    assert asks() and asks(pad=(6, 6), dilation=(6, 6)) and asks(outputs=1) and asks(outputs=24)
    assert not asks(outputs=16) and not asks(outputs=27)        # torch's registers are full
    assert asks(channels=1024, outputs=16) and asks(channels=1024, outputs=31)
    assert not asks(channels=1024, outputs=32)
    assert not asks(channels=128, outputs=11) and not asks(kernel=(5, 5))
    assert not asks(kernel=(1, 1)) and not asks(stride=(1, 2)) and not asks(group=2)
    assert not asks(to=torch.float64) and not asks(to=torch.bfloat16)
    assert not asks(dilation=(6, 6))                            # no top
    x, weight, _ = example()
    assert not pays(x.contiguous(), weight, (1, 1), (1, 1), (1, 1), 1)
    with torch.enable_grad():
        assert not asks()


@pytest.mark.parametrize('relu', ['', 'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }'])
def test_in_a_net(tmp_path, monkeypatch, relu):
    """A layer's filters are packed anew where another algorithm had them, and for a part of the
    image the algorithm is that of the whole."""
    path = tmp_path / 'net.prototxt'
    path.write_text(inputs(data=(1, 1024, 30, 33)) + conv(
        'c', 'data', num_output=16, kernel=3, field='pad: 1') + relu)
    net, calls = Net.read(path, 'TEST', seed=1), []
    monkeypatch.setattr('fcn_repro.ops.conv.conv_shifted',
                        lambda *args: (calls.append(1), conv_shifted(*args))[1])
    got = {}
    for gemm in False, True:
        place(net, 'cpu', gemm=gemm)
        for size in (30, 33), (9, 10), (30, 33):        # of the larger Winograd's
            x = draws(1, 1024, *size)
            with torch.no_grad():
                got[gemm, size] = net(data=x)['c']
        assert len(calls) == gemm
    for size in (30, 33), (9, 10):
        assert (got[True, size] - got[False, size]).abs().max() \
            < 5e-6 * got[False, size].abs().max()
    net(data=x[:, :, :9, :9])                           # with gradients direct sums
    assert len(calls) == 1
