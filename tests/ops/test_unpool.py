"""unpool and block_maximum: the values of torch's scatter and max pooling, to the bit."""

import pytest
import torch
from conv_ops import LAST, check_refused, check_threads, draws
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops_inputs import views

from fcn_repro.ops import (
    block_maximum,
    block_maximum_ref,
    suits_block_maximum,
    unpool,
    unpool_ref,
)
from fcn_repro.ops import pooling as module

RUN = torch.ops.fcn_repro


def places(shape, size, seed=5):
    return torch.randint(size[0] * size[1], shape, generator=torch.Generator().manual_seed(seed)
                         ).float()


def pooled(shape, kernel=2, stride=2):
    """Values and mask of a pooling of a blob of this shape."""
    y, index = torch.nn.functional.max_pool2d(draws(*shape), kernel, stride, return_indices=True)
    return y, index.float()


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(1, 2), channels=st.sampled_from([1, 3, 16, 17]),
       size=st.tuples(*[st.integers(1, 9)] * 2), top=st.tuples(*[st.integers(1, 12)] * 2),
       last=st.booleans())
def test_any_places(batch, channels, size, top, last):
    """Of several values for one place the last stays."""
    x = draws(batch, channels, *size)
    mask = places(x.shape, top)
    form = LAST if last else torch.contiguous_format
    given = x.contiguous(memory_format=form)
    y = unpool(given, mask.contiguous(memory_format=form), top)
    assert torch.equal(y, unpool_ref(x, mask, top))
    one = given.is_contiguous() and last        # in both formats, such as one cell
    assert y.is_contiguous(memory_format=torch.contiguous_format if one else form)


@pytest.mark.parametrize('kernel, stride', [(2, 2), (3, 2), (3, 1)])
@pytest.mark.parametrize('last', [False, True])
def test_bands_of_rows(kernel, stride, last):
    """Of windows side by side, where bands run at once, and of windows that overlap."""
    shape = (2, 24, 90, 70)
    y, mask = pooled(shape, kernel, stride)
    if last:
        y, mask = (t.contiguous(memory_format=LAST) for t in (y, mask))
    wanted = unpool_ref(y, mask, shape[2:])
    check_threads(lambda: [unpool(y, mask, shape[2:])])
    assert torch.equal(unpool(y, mask, shape[2:]), wanted)


def test_views():
    y, mask = pooled((2, 3, 8, 6))
    wanted = unpool(y, mask, (8, 6))
    for a, b in zip(views(y).values(), views(mask).values(), strict=True):
        assert torch.equal(unpool(a, mask, (8, 6)), wanted)
        assert torch.equal(unpool(y, b, (8, 6)), wanted)


@pytest.mark.parametrize('shape', [(0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (1, 1, 4, 0)])
def test_empty(shape):
    y = unpool(torch.ones(shape), torch.ones(shape), (5, 6))
    assert y.shape == (*shape[:2], 5, 6) and not y.any()


def test_opcheck():
    y, mask = pooled((2, 3, 8, 6))
    torch.library.opcheck(RUN.unpool, (y, mask, (8, 6)))


GOOD = {'x': torch.ones(1, 2, 3, 4), 'mask': torch.ones(1, 2, 3, 4), 'size': (6, 8)}


@pytest.mark.parametrize('change, message', [
    ({'x': torch.ones(2, 3, 4)}, 'x is Float of shape'), ({'x': GOOD['x'].double()}, 'x is Double'),
    ({'mask': GOOD['mask'].long()}, 'mask is Long'),
    ({'mask': torch.ones(1, 2, 3, 1)}, r'mask of \[1, 2, 3, 1\], expected one shape'),
    ({'size': (0, 8)}, r'size \[0, 8\]'), ({'size': (2 ** 13, 2 ** 13)}, 'size .* of up to'),
    *(({'mask': torch.full((1, 2, 3, 4), place)}, 'outside the 48 of the result')
      for place in (-1.0, 48.0, torch.nan, torch.inf))])
def test_bad_arguments(change, message):
    check_refused(unpool, GOOD, change, f'unpool: .*{message}')


# ---- block_maximum -------------------------------------------------------------------------------

@pytest.mark.parametrize('kernel', [(2, 2), (1, 3), (3, 1), (2, 4)])
@pytest.mark.parametrize('channels', [1, 3, 5])
def test_maxima_of_blocks(kernel, channels):
    x = draws(2, channels, 5 * kernel[0], 7 * kernel[1]).contiguous(memory_format=LAST)
    x[0, 0, 1, 2] = torch.nan
    with torch.no_grad():
        assert suits_block_maximum(x, kernel, kernel, (0, 0))
        y = block_maximum(x, kernel)
    torch.testing.assert_close(y, block_maximum_ref(x, kernel), rtol=0, atol=0, equal_nan=True)
    assert y.is_contiguous(memory_format=LAST) and y.data_ptr() != x.data_ptr()


def test_where_blocks_are_not_taken():
    x = draws(1, 3, 8, 6).contiguous(memory_format=LAST)
    with torch.no_grad():
        for args in (x, (2, 2), (1, 1), (0, 0)), (x, (3, 3), (3, 3), (0, 0)), \
                (x, (2, 2), (2, 2), (1, 1)), (x, (1, 1), (1, 1), (0, 0)), \
                (x.contiguous(), (2, 2), (2, 2), (0, 0)), \
                (draws(1, module.FEW, 8, 6).contiguous(memory_format=LAST), *[(2, 2)] * 2, (0, 0)):
            assert not suits_block_maximum(*args)
    assert not suits_block_maximum(x, (2, 2), (2, 2), (0, 0))       # with autograd
