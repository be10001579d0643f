"""Counting pairs of labels and bands of distance from a boundary, against their twins."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro import ops
from fcn_repro.errors import FcnError

EMPTY = torch.zeros(0, 3, dtype=torch.uint8)


@st.composite
def maps(draw):
    """Three label maps (H, W), of blocks of 1 to 20 pixels, so that flat and mixed runs occur, as
    they are and as views."""
    height, width = draw(st.integers(0, 40)), draw(st.integers(0, 150))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    found = []
    for _ in range(3):
        block = draw(st.integers(1, 20))
        small = torch.randint(draw(st.integers(1, 256)), (height // block + 1, width // block + 1),
                              generator=random).byte()
        whole = small.repeat_interleave(block, 0).repeat_interleave(block, 1)
        found.append(whole[:height, :width].contiguous() if draw(st.booleans()) else
                     whole[:height, :width])
    return found


@settings(max_examples=150)
@given(maps(), st.integers(1, 256), st.integers(1, 256), st.booleans())
def test_pair_counts(given_maps, classes, number, grouped):
    labels, predictions, groups = given_maps
    groups = (groups.int() % number).byte() if grouped else None
    found = ops.pair_counts(labels, predictions, classes, groups, number)
    assert found.sum() == labels.numel()
    assert torch.equal(found, ops.pair_counts_ref(labels, predictions, classes, groups, number))


@settings(max_examples=150)
@given(maps(), st.lists(st.integers(1, 70), min_size=1, max_size=9).map(sorted))
def test_boundary_bands(given_maps, ends):
    for labels in given_maps[:2]:
        assert torch.equal(ops.boundary_bands(labels, ends), ops.boundary_bands_ref(labels, ends))


@pytest.mark.parametrize('width', [1, 7, 8, 63, 64, 65, 128, 129, 200])
def test_bands_across_words(width):
    """A boundary at each column of a row is seen as far as the bands go, on both sides of it."""
    for column in range(1, width):
        labels = torch.zeros(1, width, dtype=torch.uint8)
        labels[:, column:] = 1
        wanted = [int((x - column + 1 if x >= column else column - x) > 9)
                  for x in range(width)]
        found = ops.boundary_bands(labels, [9])[0].tolist()
        assert found == wanted


@pytest.mark.parametrize('ends', [[1], [1, 1], [2**40], [1, 2**62]])
def test_bands_without_a_boundary_or_a_pixel(ends):
    flat = torch.full((3, 70), 4, dtype=torch.uint8)
    assert (ops.boundary_bands(flat, ends) == len(ends)).all()
    assert ops.boundary_bands(EMPTY, ends).shape == EMPTY.shape
    assert ops.pair_counts(EMPTY, EMPTY, 3).sum() == 0


@pytest.mark.parametrize('call, words', [
    (lambda x: ops.pair_counts(x.long(), x, 3), 'labels is Long of shape .*expected Byte'),
    (lambda x: ops.pair_counts(x, x[:1], 3), r'predictions is Byte of shape \[1, 4\]'),
    (lambda x: ops.pair_counts(x, x, 0), '0 classes, expected 1 to 256'),
    (lambda x: ops.pair_counts(x, x, 257), '257 classes'),
    (lambda x: ops.pair_counts(x, x, 3, x, 0), '0 groups'),
    (lambda x: ops.pair_counts(x, x, 3, x, 1), 'groups holds 1, there are 1'),
    (lambda x: ops.pair_counts(x, x, 3, x[0], 2), r'groups is Byte of shape \[4\]'),
    (lambda x: ops.boundary_bands(x[0], [1]), r'labels is Byte of shape \[4\].*2 axes'),
    (lambda x: ops.boundary_bands(x.float(), [1]), 'labels is Float'),
    (lambda x: ops.boundary_bands(x, []), r'ends is \[\], expected 1 to 255'),
    (lambda x: ops.boundary_bands(x, [0, 1]), r'ends is \[0, 1\]'),
    (lambda x: ops.boundary_bands(x, [2, 1]), 'that rise'),
])
def test_bad_arguments(call, words):
    with pytest.raises(FcnError, match=words):
        call(torch.ones(3, 4, dtype=torch.uint8))
