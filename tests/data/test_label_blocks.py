"""Principal components of blocks of labels: the moment by its definition, the least error of a
reconstruction, what is no label."""

from functools import partial

import numpy as np
import pytest
import torch

from fcn_repro.data import label_blocks
from fcn_repro.data.image import VOID
from fcn_repro.data.label_blocks import components, second_moment
from fcn_repro.errors import FcnError
from fcn_repro.sizes import check_room

CLASSES, SIDE = 3, 4


def maps():
    """Labels of several sizes, of which rows and columns are left over, with void."""
    rng = np.random.default_rng(0)
    found = []
    for size in (12, 17), (20, 9), (4, 4), (30, 31), (3, 40):
        small = rng.integers(0, CLASSES, [n // 3 + 1 for n in size])
        label = np.kron(small, np.ones((3, 3), int))[:size[0], :size[1]].astype(np.uint8)
        label[1::5, ::2] = VOID
        found.append(label)
    return found


def codes(labels):
    """Each whole block as (classes side side) zeros and ones, one by one."""
    found = []
    for label in labels:
        for y in range(0, label.shape[0] - SIDE + 1, SIDE):
            for x in range(0, label.shape[1] - SIDE + 1, SIDE):
                block = label[y:y + SIDE, x:x + SIDE]
                found.append([block == c for c in range(CLASSES)])
    return np.array(found, float).reshape(len(found), -1)


def test_the_moment_is_the_sum_of_products():
    v = codes(maps())
    assert len(v) == 3 * 4 + 5 * 2 + 1 + 7 * 7
    assert np.array_equal(second_moment(iter(maps()), CLASSES, SIDE), v.T @ v)


@pytest.mark.parametrize('count', [1, 7, 20, CLASSES * SIDE ** 2])
def test_components_reconstruct_with_the_least_error(count):
    """As the singular vectors of all blocks do; orthonormal, so that P is W'."""
    v = codes(maps())
    found, share = components(v.T @ v, count)
    assert found.shape == (count, v.shape[1])
    assert np.abs(found @ found.T - np.eye(count)).max() < 1e-12
    singular = np.linalg.svd(v, compute_uv=False)
    error = ((v - v @ found.T @ found) ** 2).sum()
    least = (singular[count:] ** 2).sum()
    assert abs(error - least) <= 1e-9 * (singular ** 2).sum()
    assert share == pytest.approx(1 - least / (singular ** 2).sum(), abs=1e-9)
    assert (found[np.arange(count), np.abs(found).argmax(1)] > 0).all()


def test_fewer_kinds_of_blocks_than_components():
    """They are orthonormal, and the labels come back whole."""
    label = np.zeros((8, 8), np.uint8)
    label[:4] = 2
    moment = second_moment([label], CLASSES, SIDE)
    found, share = components(moment, 6)
    assert np.abs(found @ found.T - np.eye(6)).max() < 1e-12 and share == pytest.approx(1)
    v = codes([label])
    assert np.abs(v @ found.T @ found - v).max() < 1e-12


def test_the_same_labels_give_the_same_bits():
    first, second = (components(second_moment(maps(), CLASSES, SIDE), 5)[0] for _ in range(2))
    assert np.array_equal(first, second)


def test_a_deconvolution_reconstructs_blocks():
    """W as the weight of a Deconvolution whose kernel is its stride: of the codes W' v of a map's
    blocks it makes W W' v at the places of the blocks."""
    label = maps()[3]
    found, _ = components(second_moment(maps(), CLASSES, SIDE), 9)
    one_hot = np.stack([label == c for c in range(CLASSES)]).astype(float)[None, :, :28, :28]
    weight = torch.from_numpy(found).view(9, CLASSES, SIDE, SIDE)
    code = torch.nn.functional.conv2d(torch.from_numpy(one_hot), weight, stride=SIDE)
    scores = torch.nn.functional.conv_transpose2d(code, weight, stride=SIDE)
    blocks = scores.reshape(CLASSES, 7, SIDE, 7, SIDE).permute(1, 3, 0, 2, 4).reshape(49, -1)
    v = codes([label])
    assert np.abs(blocks.numpy() - v @ found.T @ found).max() < 1e-12


@pytest.mark.parametrize('labels', [[], [np.zeros((3, 90), np.uint8)],
                                    [np.full((8, 8), VOID, np.uint8)]])
def test_no_block(labels):
    with pytest.raises(FcnError, match='no label has 4x4 pixels') as error:
        second_moment(labels, CLASSES, SIDE)
    assert error.value.do == 'Give larger images with labels.'
    assert second_moment([np.zeros((4, 4), np.uint8)], CLASSES, SIDE).any()    # as it says


def test_more_components_than_values():
    moment = second_moment(maps(), CLASSES, SIDE)
    with pytest.raises(FcnError, match='49 components of blocks with 48 values') as error:
        components(moment, 49)
    assert 'at most 48' in error.value.do
    assert len(components(moment, 48)[0]) == 48


def test_more_memory_than_there_is(monkeypatch):
    monkeypatch.setattr(label_blocks, 'check_room', partial(check_room, there=10 ** 9))
    with pytest.raises(FcnError, match=r'150 classes and 16x16 pixels: 11.8 GB at once'):
        second_moment([], 150, 16)
    second_moment([np.zeros((16, 16), np.uint8)], 21, 16)
