"""pointwise: equal to a 1x1 convolution and what follows it, for any shape, layout and threads."""

import pytest
import torch
import torch.nn.functional as F
from conv_ops import LAST, check_refused, draws
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops_inputs import views

from fcn_repro.layers import ExecutionOptions, RunState
from fcn_repro.ops import conv as module
from fcn_repro.ops import pointwise, pointwise_filters, pointwise_ref
from fcn_repro.ops.conv import Conv2d
from fcn_repro.proto import TEST

RUN = torch.ops.fcn_repro


def near(y, expected, tolerance=4e-6):
    assert y.shape == expected.shape
    assert (y - expected).abs().max() <= tolerance * expected.abs().max()


def example(shape, outputs):
    n, channels, *size = shape
    return {'x': draws(*shape).contiguous(memory_format=LAST),
            'weight': draws(outputs, channels, 1, 1, seed=1, scale=(2 / channels) ** 0.5),
            'bias': draws(outputs, seed=2), 'other': draws(n, outputs, *size, seed=3),
            'slope': draws(outputs, seed=4)}


def run(x, weight, **more):
    return pointwise(x, pointwise_filters(weight), len(weight), **more)


@settings(max_examples=80, deadline=None)
@given(batch=st.integers(1, 2), channels=st.sampled_from([1, 3, 16, 37, 300, 513]),
       outputs=st.sampled_from([1, 5, 16, 21, 32, 40, 530]),
       size=st.tuples(*[st.integers(1, 17)] * 2), bias=st.booleans(), other=st.booleans(),
       after=st.sampled_from(['', 'relu', 'slope']))
def test_equals_its_twin(batch, channels, outputs, size, bias, other, after):
    tensors = example((batch, channels, *size), outputs)
    more = {'relu': after == 'relu'}
    for name, wanted in ('bias', bias), ('other', other), ('slope', after == 'slope'):
        more[name] = tensors[name] if wanted else None
    x, weight = tensors['x'], tensors['weight']
    y = run(x, weight, **more)
    near(y, pointwise_ref(x.double(), weight.double(), *(
        more[name] if more[name] is None else more[name].double()
        for name in ('bias', 'other', 'slope')), more['relu']).float())
    assert y.is_contiguous(memory_format=LAST)


def test_not_a_number_and_infinities_pass():
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, -2, 3]).view(1, 1, 1, 5)
    one = torch.ones(1, 1, 1, 1)
    for more in {'relu': True}, {'slope': torch.tensor([0.5])}:
        y = run(x, one, **more)
        assert torch.equal(y.isnan(), x.isnan())
        after = F.relu(x) if 'relu' in more else F.prelu(x, more['slope'])
        assert torch.equal(y[..., 1:], after[..., 1:])


def test_rows_have_the_bits_that_they_have_alone():
    """A sum depends neither on how many rows there are nor on the threads."""
    tensors, before = example((1, 64, 31, 23), 48), torch.get_num_threads()
    x, weight = tensors['x'], tensors['weight']
    whole = run(x, weight)
    assert torch.equal(run(x[:, :, 7:9, 5:], weight), whole[:, :, 7:9, 5:])
    try:
        torch.set_num_threads(3)
        assert torch.equal(run(x, weight), whole)
    finally:
        torch.set_num_threads(before)


def test_views():
    tensors = example((2, 5, 4, 3), 7)
    wanted = run(**tensors)
    for name in 'x', 'weight', 'other':
        for view in views(tensors[name]).values():
            assert torch.equal(run(**{**tensors, name: view}), wanted)
    for name in 'bias', 'slope':
        stepped = tensors[name].repeat_interleave(2)[::2]
        assert torch.equal(run(**{**tensors, name: stepped}), wanted)


@pytest.mark.parametrize('shape', [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)])
def test_empty(shape):
    assert run(torch.ones(shape), torch.ones(6, 3, 1, 1)).shape == (shape[0], 6, *shape[2:])


def test_opcheck():
    tensors = example((2, 5, 4, 3), 7)
    filters = pointwise_filters(tensors['weight'])
    torch.library.opcheck(RUN.pointwise_filters, (tensors['weight'],))
    torch.library.opcheck(RUN.pointwise, (tensors['x'], filters, 7, tensors['bias'],
                                          tensors['other'], tensors['slope'], False))
    torch.library.opcheck(RUN.pointwise, (tensors['x'], filters, 7, None, None, None, True))


GOOD = {'x': torch.ones(2, 5, 4, 3), 'filters': pointwise_filters(torch.ones(7, 5, 1, 1)),
        'outputs': 7, 'bias': torch.ones(7), 'other': torch.ones(2, 7, 4, 3),
        'slope': torch.ones(7), 'relu': False}


@pytest.mark.parametrize('change, message', [
    ({'x': torch.ones(5, 4, 3)}, 'x is Float of shape'), ({'x': GOOD['x'].double()}, 'x is Double'),
    ({'x': torch.ones(2, 6, 4, 3)}, r'filters of shape \[1, 5, 32\], expected \[1, 6, 32\]'),
    ({'outputs': 33}, r'filters of shape \[1, 5, 32\], expected \[2, 5, 32\]'),
    ({'outputs': 0}, '5 channels to 0, expected at least one'),
    ({'filters': torch.ones(5, 32)}, 'filters is Float of shape'),
    ({'bias': torch.ones(6)}, 'bias has 6 numbers for 7 channels'),
    ({'slope': torch.ones(1)}, 'slope has 1 numbers for 7 channels'),
    ({'slope': torch.ones(7).half()}, 'slope is Half'),
    ({'other': torch.ones(2, 7, 4, 1)}, r'other is of shape \[2, 7, 4, 1\], expected'),
    ({'other': torch.ones(7)}, 'other is Float of shape')])
def test_bad_arguments(change, message):
    check_refused(pointwise, GOOD, change, f'pointwise: .*{message}')


@pytest.mark.parametrize('weight', [torch.ones(7, 5, 1, 2), torch.ones(0, 5, 1, 1),
                                    torch.ones(7, 5), torch.ones(7, 5, 1, 1).double()])
def test_bad_filters(weight):
    check_refused(pointwise_filters, {'weight': torch.ones(7, 5, 1, 1)}, {'weight': weight},
                  'pointwise_filters: weight')


# ---- where a convolution takes it ----------------------------------------------------------------

def conv2d(**off):
    return Conv2d(RunState(TEST, options=ExecutionOptions(**{
        'winograd': True, 'gemm': True, 'prepack': True, **off})))


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(module, 'pointwise', lambda *args: found.append(1) or pointwise(*args))
    return found


@pytest.mark.parametrize('stride', [(1, 1), (2, 1), (2, 3)])
def test_taken_without_autograd(calls, stride):
    tensors = example((1, 24, 40, 30), 21)
    x, weight, how = tensors['x'], tensors['weight'].contiguous(memory_format=LAST), (
        stride, (0, 0), (1, 1), 1)
    expected = F.conv2d(x, weight, tensors['bias'], *how)
    for conv in conv2d(), conv2d(prepack=False):
        with torch.no_grad():
            near(conv(x, weight, tensors['bias'], *how), expected)
    assert len(calls) == 2
    near(conv2d()(x, weight, tensors['bias'], *how), expected)      # with autograd
    with torch.no_grad():
        for other in conv2d(gemm=False)(x, weight, tensors['bias'], *how), \
                conv2d()(x.contiguous(), weight, tensors['bias'], *how):
            near(other, expected)
        near(conv2d()(x, weight, None, stride, (1, 0), (1, 1), 1),
             F.conv2d(x, weight, None, stride, (1, 0)))
        near(conv2d()(x, weight[:, :8].contiguous(memory_format=LAST), None, stride, (0, 0), (1, 1),
                      3), F.conv2d(x, weight[:, :8], None, stride, 0, 1, 3))
    assert len(calls) == 2


def test_a_changed_filter_is_packed_anew(calls):
    tensors, conv = example((1, 24, 40, 30), 21), conv2d()
    weight = tensors['weight'].contiguous(memory_format=LAST)
    with torch.no_grad():
        for _ in range(2):
            y = conv(tensors['x'], weight, None, (1, 1), (0, 0), (1, 1), 1)
            near(y, F.conv2d(tensors['x'], weight))
            weight.mul_(-2)
    assert len(calls) == 2
