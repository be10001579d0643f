"""winograd_blocks: equal to a convolution with a kernel of any size, and where it is taken."""

import pytest
import torch
import torch.nn.functional as F
from conv_ops import LAST, check_refused, check_threads, draws
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops_inputs import views

from fcn_repro.layers import ExecutionOptions, RunState
from fcn_repro.ops import block_filters, has_avx512_bf16, winograd_blocks
from fcn_repro.ops import conv as module
from fcn_repro.ops.conv import Conv2d, by_blocks
from fcn_repro.proto import TEST

RUN = torch.ops.fcn_repro


def example(shape, outputs, kernel):
    fan = shape[1] * kernel[0] * kernel[1]
    return (draws(*shape).contiguous(memory_format=LAST),
            draws(outputs, shape[1], *kernel, seed=1, scale=(2 / fan) ** 0.5),
            draws(outputs, seed=2))


def run(x, weight, bias, pad):
    return winograd_blocks(x, block_filters(weight), len(weight), bias, weight.shape[2:], pad)


def near(y, expected, tolerance=2e-5):
    assert y.shape == expected.shape
    assert (y - expected).abs().max() <= tolerance * expected.abs().max()


@settings(max_examples=50, deadline=None)
@given(data=st.data(), batch=st.integers(1, 2), channels=st.sampled_from([16, 48]),
       outputs=st.sampled_from([16, 32]), kernel=st.tuples(*[st.integers(1, 8)] * 2),
       size=st.tuples(*[st.integers(1, 14)] * 2), bias=st.booleans())
def test_equals_conv2d(data, batch, channels, outputs, kernel, size, bias):
    pad = tuple(data.draw(st.integers(max(0, -((n - k) // 2)) if n < k else 0, k - 1))
                for n, k in zip(size, kernel, strict=True))
    x, weight, more = example((batch, channels, *size), outputs, kernel)
    more = more if bias else None
    y = run(x, weight, more, pad)
    wide = F.conv2d(x.double(), weight.double(), None if more is None else more.double(), 1, pad)
    near(y, wide.float())
    assert y.is_contiguous(memory_format=LAST)


def test_one_block_is_winograds_own():
    x, weight, bias = example((1, 16, 21, 18), 32, (3, 3))
    own = RUN.winograd(x, RUN.winograd_filters(weight.permute(2, 3, 1, 0)), 32, bias, (1, 1))
    assert torch.equal(run(x, weight, bias, (1, 1)), own)


def test_layouts_and_threads():
    x, weight, bias = example((1, 16, 50, 40), 16, (7, 5))
    wanted = run(x, weight, bias, (3, 2))
    for a, b in zip(views(x).values(), views(weight).values(), strict=True):
        assert torch.equal(run(a, b, bias, (3, 2)), wanted)
    check_threads(lambda: [run(x, weight, bias, (3, 2))])


@pytest.mark.skipif(not has_avx512_bf16(), reason='the processor has no AVX512-BF16')
def test_in_16_bits():
    x, weight, bias = (t.bfloat16() for t in example((1, 32, 20, 20), 32, (5, 5)))
    y = run(x, weight, bias, (2, 2))
    near(y.float(), F.conv2d(x.float(), weight.float(), bias.float(), 1, 2), 3e-2)


def test_empty_and_opcheck():
    x, weight, bias = example((0, 16, 9, 9), 16, (5, 5))
    assert run(x, weight, bias, (2, 2)).shape == (0, 16, 9, 9)
    x, weight, bias = example((1, 16, 9, 8), 16, (5, 4))
    torch.library.opcheck(RUN.winograd_blocks, (x, block_filters(weight), 16, bias, (5, 4), (2, 1)))


GOOD = {'x': torch.ones(1, 16, 9, 8), 'filters': block_filters(torch.ones(16, 16, 5, 4)),
        'outputs': 16, 'bias': torch.ones(16), 'kernel': (5, 4), 'pad': (2, 1)}


@pytest.mark.parametrize('change, message', [
    ({'x': torch.ones(16, 9, 8)}, 'x is Float of shape'),
    ({'x': GOOD['x'].double()}, 'x is Double'),
    ({'x': torch.ones(1, 8, 9, 8)}, '8 channels, expected a multiple of 16'),
    ({'outputs': 8}, '8 channels, expected a multiple of 16'),
    ({'bias': torch.ones(8)}, '8 biases for 16 channels'),
    ({'kernel': (7, 4)}, 'filters of shape'), ({'kernel': (0, 4)}, r'kernel \[0, 4\]'),
    ({'kernel': (256, 4)}, r'kernel \[256, 4\], expected two numbers \(y, x\) of 1 to 255'),
    ({'pad': (5, 1)}, r'pad \[5, 1\], expected two numbers .* under the kernel'),
    ({'pad': (-1, 1)}, r'pad \[-1, 1\]'), ({'x': torch.ones(1, 16, 1, 1), 'pad': (0, 0)},
                                          'leave no output')])
def test_bad_arguments(change, message):
    check_refused(winograd_blocks, GOOD, change, f'winograd_blocks: .*{message}')


# ---- where a convolution takes it ----------------------------------------------------------------

def test_taken_without_autograd(monkeypatch):
    calls = []
    monkeypatch.setattr(module, 'winograd_blocks',
                        lambda *args: calls.append(1) or winograd_blocks(*args))
    x, weight, bias = example((1, 32, 36, 34), 32, (7, 7))
    weight, how = weight.contiguous(memory_format=LAST), ((1, 1), (3, 3), (1, 1), 1)
    expected = F.conv2d(x, weight, bias, *how)

    def conv(**off):
        return Conv2d(RunState(TEST, options=ExecutionOptions(**{
            'winograd': True, 'gemm': True, 'prepack': True, **off})))
    with torch.no_grad():
        for each in conv(), conv(prepack=False):
            near(each(x, weight, bias, *how), expected)
        assert len(calls) == 2
        near(conv(winograd=False)(x, weight, bias, *how), expected)
    near(conv()(x, weight, bias, *how), expected)
    assert len(calls) == 2


@pytest.mark.parametrize('shape, outputs, kernel, pad, taken', [
    ((1, 64, 64, 64), 64, (7, 7), (3, 3), True), ((1, 64, 64, 64), 64, (5, 5), (2, 2), True),
    ((1, 64, 64, 64), 64, (3, 3), (1, 1), False),       # winograd itself
    ((1, 64, 64, 64), 64, (1, 7), (0, 3), False), ((1, 16, 64, 64), 64, (7, 7), (3, 3), False),
    ((1, 64, 64, 64), 40, (7, 7), (3, 3), False), ((1, 64, 20, 20), 64, (7, 7), (3, 3), False),
    ((1, 64, 64, 64), 64, (7, 7), (7, 0), False),
    ((1, 512, 64, 64), 512, (7, 7), (3, 3), False)])    # of a classifier: too many filters
def test_where_it_pays(shape, outputs, kernel, pad, taken):
    x = torch.empty(shape, memory_format=LAST)
    weight = torch.empty(outputs, shape[1], *kernel, memory_format=LAST)
    with torch.no_grad():
        assert by_blocks(x, weight, pad, shape) == taken
    assert not by_blocks(x, weight, pad, shape)
