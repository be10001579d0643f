"""The four metrics: the release's values, the paper's definitions, and algebra."""

from collections import Counter
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from fcn_repro.errors import FcnError
from fcn_repro.predict.metrics import Confusion, coarse, metrics, upper_bound, upper_bounds

GOLDENS = Path(__file__).parents[1] / 'data/metrics/cases.h5'
with h5py.File(GOLDENS) as golden_file:
    CASES = sorted(golden_file)
maps = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)),
              elements=st.sampled_from([0, 1, 2, 3, 255]))


@pytest.mark.parametrize('case', CASES)
def test_release_golden(case):
    with h5py.File(GOLDENS) as file:
        golden = file[case]
        confusion = Confusion(int(golden.attrs['n_cl']))
        for i in golden['gt']:
            confusion.add(golden['gt'][i][()], golden['pred'][i][()])
        m = confusion.metrics('release')
        np.testing.assert_array_equal(confusion.hist, golden['hist'])
        np.testing.assert_allclose(m.class_accuracy, golden['class_acc'], rtol=1e-15)
        np.testing.assert_allclose(m.class_iu, golden['class_iu'], rtol=1e-15)
        names = 'overall_accuracy', 'mean_accuracy', 'mean_iu', 'fwavacc'
        for ours, name in zip(m[:4], names, strict=True):
            assert ours == pytest.approx(golden.attrs[name], rel=1e-14), name


def test_paper_leaves_out_classes_without_ground_truth():
    confusion = Confusion(4)
    confusion.add(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]]))   # 2 predicted, never true
    paper, release = confusion.metrics(), confusion.metrics('release')
    assert paper.mean_iu == 0.75 and release.mean_iu == 0.5
    assert paper.mean_accuracy == release.mean_accuracy == 0.75
    assert paper.pixel_accuracy == 0.75 and paper.fw_iu == release.fw_iu == 0.75
    np.testing.assert_array_equal(paper.class_iu, [0.5, 1, np.nan, np.nan])
    np.testing.assert_array_equal(release.class_iu, [0.5, 1, 0, np.nan])


@given(maps, st.randoms(use_true_random=False))
def test_definitions_by_loops(label, rng):
    prediction = np.array([rng.randrange(4) for _ in range(label.size)]).reshape(label.shape)
    confusion = Confusion(4)
    confusion.add(label, prediction)
    counted = [(t, p) for t, p in zip(label.flat, prediction.flat, strict=True) if t < 4]
    assert confusion.hist.sum() == len(counted) and confusion.hist.dtype == np.int64
    if not counted:
        return
    classes = sorted({t for t, _ in counted})
    iu, accuracy, weight = {}, {}, {}
    for c in classes:
        both = sum(t == c and p == c for t, p in counted)
        weight[c] = sum(t == c for t, _ in counted)
        accuracy[c] = both / weight[c]
        iu[c] = both / sum(c in (t, p) for t, p in counted)
    m = confusion.metrics()
    assert m.pixel_accuracy == pytest.approx(sum(t == p for t, p in counted) / len(counted))
    assert m.mean_accuracy == pytest.approx(sum(accuracy.values()) / len(classes))
    assert m.mean_iu == pytest.approx(sum(iu.values()) / len(classes))
    assert m.fw_iu == pytest.approx(sum(weight[c] * iu[c] for c in classes) / len(counted))


@given(maps)
def test_streaming_is_the_sum_and_perfect_is_one(label):
    prediction = np.where(label == 255, 0, label)
    whole, parts = Confusion(4), Confusion(4)
    whole.add(label, prediction)
    for row, predicted in zip(label, prediction, strict=True):
        parts.add(row[None], predicted[None])
    np.testing.assert_array_equal(whole.hist, parts.hist)
    if whole.hist.any():
        assert whole.metrics()[:4] == pytest.approx((1, 1, 1, 1))


def test_blobs_tensors_and_dtypes_count_alike():
    label = np.array([[0, 1, 255], [2, 2, 1]], np.uint8)
    prediction = np.array([[0, 1, 1], [2, 0, 1]])
    expected = Confusion(3)
    expected.add(label, prediction)
    for t, p in ((label.astype(np.float32)[None, None], prediction.astype(np.float32)[None]),
                 (torch.from_numpy(label), torch.from_numpy(prediction)),
                 (np.where(label == 255, -1, label.astype(int)), prediction.astype(np.uint8))):
        confusion = Confusion(3)
        confusion.add(t, p)
        np.testing.assert_array_equal(confusion.hist, expected.hist)
    many = Confusion(400)               # more pairs than any small index type holds
    many.add(np.array([[399]]), np.array([[398]]))
    assert many.hist[399, 398] == 1


def test_errors():
    confusion = Confusion(3)
    with pytest.raises(FcnError, match=r'\(2, 3\).*\(3, 2\)'):
        confusion.add(np.zeros((2, 3)), np.zeros((3, 2)))
    for wrong in (3, -1):
        with pytest.raises(FcnError, match=f'class {wrong}, there are 3'):
            confusion.add(np.zeros((1, 1), int), np.full((1, 1), wrong))
    confusion.add(np.full((1, 1), 255), np.full((1, 1), 255))       # void counts nowhere
    with pytest.raises(FcnError, match='not integers'):
        confusion.add(np.zeros((1, 1)), np.full((1, 1), 0.5))
    with pytest.raises(FcnError, match='all void'):
        confusion.metrics()
    with pytest.raises(FcnError, match="'ours'"):
        metrics(np.eye(3), 'ours')
    with pytest.raises(FcnError, match=r'\b0\b'):
        Confusion(0)


def test_coarse_reads_the_centre_of_its_cell():
    label = np.arange(30, dtype=np.uint8).reshape(5, 6)
    expected = [[7, 7, 9, 9, 11, 11]] * 2 + [[19, 19, 21, 21, 23, 23]] * 2 + [
        [25, 25, 27, 27, 29, 29]]       # the last row of cells is cut: it reads the last row
    np.testing.assert_array_equal(coarse(label, 2), expected)
    np.testing.assert_array_equal(coarse(label, 1), label)
    assert (coarse(label, 100) == 29).all()


def test_coarse_looks_past_void():
    label = np.array([[1, 1, 255, 255], [1, 255, 255, 2]], np.uint8)
    np.testing.assert_array_equal(coarse(label, 4)[0, 0], 2)        # centre (1, 2): void, next is 2
    assert (coarse(np.full((3, 3), 255, np.uint8), 2) == 255).all()


def exactly(pairs):
    """The paper's four metrics of {(truth, prediction): pixels}, in rational numbers, from their
    definitions in section 5; none of the code under test."""
    truth, taken = Counter(), Counter()
    for (t, p), count in pairs.items():
        truth[t] += count
        taken[p] += count
    right = {t: Fraction(pairs.get((t, t), 0)) for t in truth}
    iu = {t: right[t] / (truth[t] + taken[t] - right[t]) for t in truth}
    total = sum(truth.values())
    return (sum(right.values()) / total, sum(right[t] / truth[t] for t in truth) / len(truth),
            sum(iu.values()) / len(truth), sum(truth[t] * iu[t] for t in truth) / total)


def sampled(label, factor):
    """Appendix A's label map pixel by pixel: the centre of the cell, or what is labelled nearest
    to it."""
    height, width = label.shape
    labelled = [(y, x) for x in range(width) for y in range(height) if label[y, x] != 255]
    out = {}
    for y in range(height):
        for x in range(width):
            cy = min(y - y % factor + factor // 2, height - 1)
            cx = min(x - x % factor + factor // 2, width - 1)
            near = min(labelled, key=lambda p: (p[0] - cy) ** 2 + (p[1] - cx) ** 2)
            out[y, x] = label[near]
    return out


@pytest.mark.parametrize('classes', [1, 2, 21, 59, 254])
def test_metrics_agree_with_rational_arithmetic(classes):
    rng = np.random.default_rng(classes)
    confusion, pairs = Confusion(classes), Counter()
    for _ in range(5):
        label = rng.choice([*range(0, classes, 1 + classes // 40), 255], (37, 53)).astype(np.uint8)
        prediction = np.where(rng.random(label.shape) < 0.6, label % classes,
                              rng.integers(0, classes, label.shape)).astype(np.uint8)
        confusion.add(label, prediction)
        pairs += Counter((t, p) for t, p in zip(label.flat, prediction.flat, strict=True)
                         if t != 255)
    for ours, exact in zip(confusion.metrics()[:4], exactly(pairs), strict=True):
        assert ours == pytest.approx(float(exact), rel=1e-12, abs=0)


def test_upper_bounds_agree_with_rational_arithmetic():
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 7, (9, 6), np.uint8).repeat(3, 0).repeat(4, 1) for _ in range(3)]
    for label in labels:
        label[rng.random(label.shape) < 0.3] = 255
        label[:5, :9] = 255
    found = upper_bounds(iter(labels), (32, 8, 4, 3))
    assert list(found) == [32, 8, 4, 3]
    for factor, ours in found.items():
        pairs = Counter()
        for label in labels:
            pairs += Counter((int(label[at]), int(p)) for at, p in sampled(label, factor).items()
                             if label[at] != 255)
        for one, exact in zip(ours[:4], exactly(pairs), strict=True):
            assert one == pytest.approx(float(exact), rel=1e-12, abs=0)
        assert len(ours.class_iu) == 7
        assert upper_bound(labels, factor, 9)[:4] == pytest.approx(ours[:4], rel=1e-12)
    with pytest.raises(FcnError, match='all void'):
        upper_bounds([np.full((4, 4), 255, np.uint8)], (2,))


def test_coarse_is_scipys_distance_transform():
    rng = np.random.default_rng(1)
    for part in 0, 0.1, 0.5, 0.9, 0.99, 0.999:          # void; the last ones reach beyond NEAR
        for _ in range(8):
            label = rng.integers(0, 255, rng.integers(1, 60, 2), np.uint8)
            label[rng.random(label.shape) < part] = 255
            label[0, -1] = 7
            nearest = distance_transform_edt(label == 255, return_distances=False,
                                             return_indices=True)
            factor, filled = int(rng.integers(1, 30)), label[tuple(nearest)]
            y, x = (np.minimum(np.arange(n) // factor * factor + factor // 2, n - 1)
                    for n in label.shape)
            np.testing.assert_array_equal(coarse(label, factor), filled[np.ix_(y, x)])


def test_upper_bound():
    square = np.zeros((64, 64), np.uint8)
    square[16:48, 16:48] = 1
    for factor in (1, 2, 4, 8, 16):             # cells fall on the edges of the square
        assert upper_bound([square], factor, 2).mean_iu == 1
    assert upper_bound([square], 32, 2).mean_iu < 0.9
    y, x = np.mgrid[:200, :200]
    disc = ((y - 93) ** 2 + (x - 104) ** 2 < 60 ** 2).astype(np.uint8)
    disc[:3] = 255
    void = np.full((4, 4), 255, np.uint8)
    bounds = [upper_bound([disc, void], f, 2).mean_iu for f in (1, 4, 8, 16, 32, 64)]
    assert bounds[0] == 1 and bounds == sorted(bounds, reverse=True) and bounds[1] > 0.95
    with pytest.raises(FcnError, match=r'\b0\b'):
        upper_bound([disc], 0, 2)
