"""Numbers and rules that Caffe's own unit tests state (src/caffe/test) and no golden shows."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_case import distinct, make_layer

quick = settings(max_examples=25)

LOWEST = -torch.finfo(torch.float32).max
ROWS = [[1, 2, 5, 2, 3], [9, 4, 1, 4, 8], [1, 2, 5, 2, 3]]
MAGIC = [[35, 1, 6, 26, 19, 24], [3, 32, 7, 21, 23, 25], [31, 9, 2, 22, 27, 20],
         [8, 28, 33, 17, 10, 15], [30, 5, 34, 12, 14, 16], [4, 36, 29, 13, 18, 11]]
MAXIMA = [
    (ROWS, {'kernel_size': 2}, [[9, 5, 5, 8]] * 2, [[5, 2, 2, 9], [5, 12, 12, 9]]),
    (MAGIC, {'kernel_h': 3, 'kernel_w': 2},
     [[35, 32, 26, 27, 27], [32, 33, 33, 27, 27], [31, 34, 34, 27, 27], [36, 36, 34, 18, 18]],
     [[0, 7, 3, 16, 16], [7, 20, 20, 16, 16], [12, 26, 26, 16, 16], [31, 31, 26, 34, 34]]),
    ([[1, 2, 4], [2, 3, 2], [4, 2, 1]], {'kernel_size': 3, 'stride': 2, 'pad': 2},
     [[1, 4, 4], [4, 4, 4], [4, 4, 1]], [[0, 2, 2], [6, 2, 2], [6, 6, 8]]),
    ([[1, 2], [3, 4]], {'kernel_size': 1, 'stride': 3},         # an empty window has no maximum
     [[1, LOWEST], [LOWEST, LOWEST]], [[0, -1], [-1, -1]]),
]


@pytest.mark.parametrize('map, pooling, wanted, mask', MAXIMA)
def test_max_pooling_and_its_mask(map, pooling, wanted, mask):
    x = torch.tensor(map, dtype=torch.float64).expand(2, 2, -1, -1)
    tops = make_layer('Pooling', 1, 2, {'pooling_param': pooling}).forward([x], [])
    for top, values in zip(tops, (wanted, mask), strict=True):
        assert torch.equal(top, torch.tensor(values).double().expand_as(top))


def test_average_pooling_counts_its_padding():
    top, = make_layer('Pooling', 1, 1, {'pooling_param': {
        'pool': 'AVE', 'kernel_size': 3, 'pad': 1}}).forward([torch.full((1, 1, 3, 3), 2.)], [])
    edge = [8 / 9, 4 / 3, 8 / 9]
    torch.testing.assert_close(top[0, 0], torch.tensor([edge, [4 / 3, 2, 4 / 3], edge]))


def normalised(x, param):
    """lrn_layer.cpp, one value after the other."""
    out, reach = np.empty(x.shape), (param.local_size - 1) // 2
    across = param.norm_region == param.ACROSS_CHANNELS
    for n, c, h, w in np.ndindex(*x.shape):
        if across:
            near = x[n, max(0, c - reach):c + reach + 1, h, w]
            scale = param.k + param.alpha / param.local_size * (near ** 2).sum()
        else:
            near = x[n, c, max(0, h - reach):h + reach + 1, max(0, w - reach):w + reach + 1]
            # the pooling's divisor: up to one row or column of padding more than the image
            sides = [min(i + reach + 1, size + reach) - (i - reach)
                     for i, size in ((h, x.shape[2]), (w, x.shape[3]))]
            scale = 1 + param.alpha * (near ** 2).sum() / math.prod(sides)
        out[n, c, h, w] = x[n, c, h, w] * scale ** -param.beta
    return out


@quick
@given(st.tuples(*[st.integers(1, n) for n in (2, 7, 4, 4)]), st.sampled_from([1, 3, 5, 15]),
       st.sampled_from(['ACROSS_CHANNELS', 'WITHIN_CHANNEL']), st.sampled_from([1, 2.5]))
def test_lrn_by_loops(shape, size, region, k):
    """Regions larger than the blob too; within a channel k does not count."""
    lrn = make_layer('LRN', 1, 1, {'lrn_param': {
        'local_size': size, 'alpha': 2, 'beta': 0.75, 'norm_region': region, 'k': k}})
    x = distinct(shape)
    top, = lrn.forward([x], [])
    np.testing.assert_allclose(top, normalised(x.numpy(), lrn.param), rtol=1e-10)


@quick
@given(st.data())
def test_accuracy_by_loops(data):
    """accuracy_layer.cpp: ties, an ignored label, top_k, and each class by itself."""
    outer, classes, inner = (data.draw(st.integers(1, n)) for n in (3, 4, 3))
    some = st.lists(st.integers(0, 2), min_size=outer * classes * inner,
                    max_size=outer * classes * inner)
    scores = np.array(data.draw(some), float).reshape(outer, classes, inner)
    labels = np.array([[data.draw(st.integers(0, classes - 1)) for _ in range(inner)]
                       for _ in range(outer)])
    ignored, top_k = data.draw(st.integers(-1, classes - 1)), data.draw(st.integers(1, classes))
    hits, counts = np.zeros(classes), np.zeros(classes)
    for i, j in np.ndindex(outer, inner):
        label = labels[i, j]
        if label != ignored:
            counts[label] += 1
            hits[label] += sum(scores[i, :, j] >= scores[i, label, j]) - 1 < top_k
    tops = make_layer('Accuracy', 2, 2, {'accuracy_param': {
        'ignore_label': ignored, 'top_k': top_k}}).forward(
            [torch.from_numpy(scores), torch.from_numpy(labels).double()], [])
    assert tops[0].item() == pytest.approx(hits.sum() / max(1, counts.sum()))
    np.testing.assert_allclose(tops[1], hits / np.maximum(1, counts))


@pytest.mark.parametrize('type', ['Convolution', 'Deconvolution'])
@pytest.mark.parametrize('axis', [1, 3, -1])
def test_without_spatial_axes_a_convolution_is_a_product(type, axis):
    x = distinct((2, 6, 4, 4) if axis != 1 else (5, 4))
    layer = make_layer(type, 1, 1, {'convolution_param': {'num_output': 3, 'axis': axis}})
    (shape, _), (bias, _) = layer.parameters([x.shape])
    assert shape == ((3, 4) if type == 'Convolution' else (4, 3)) and bias == (3,)
    params = [distinct(shape, 1), distinct(bias, 2)]
    top, = layer.forward([x], params)
    assert layer.shape([x.shape]) == [top.shape] == [(*x.shape[:-1], 3)]
    weight = params[0] if type == 'Deconvolution' else params[0].t()
    torch.testing.assert_close(top, x @ weight + params[1])


def test_sobel_is_two_convolutions():
    def convolved(x, weight, **settings):
        layer = make_layer('Convolution', 1, 1, {'convolution_param': {
            'num_output': 1, 'bias_term': False, **settings}})
        return layer.forward([x], [torch.tensor(weight).double().expand(1, x.shape[1], -1, -1)])[0]

    x = distinct((2, 3, 6, 5))
    whole = convolved(x, [[-1., 0, 1], [-2, 0, 2], [-1, 0, 1]], kernel_size=[3], stride=[2])
    rows = convolved(x, [[1.], [2], [1]], kernel_h=3, kernel_w=1, stride_h=2, stride_w=1)
    parts = convolved(rows, [[-1., 0, 1]], kernel_h=1, kernel_w=3, stride_h=1, stride_w=2)
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize('shape, height, values', [
    ((2, 3, 9, 8), 3, 63), ((4, 3, 1024, 765), 5, 1023), ((10, 3, 7, 7), 3, 63)])
def test_spp_makes_as_many_values_of_every_size(shape, height, values):
    layer = make_layer('SPP', 1, 1, {'spp_param': {'pyramid_height': height}})
    assert layer.shape([shape]) == [(shape[0], values)]


@pytest.mark.parametrize('axis, wanted', [
    (0, (1, 1, 1, 2, 3, 6, 5)), (2, (2, 3, 1, 1, 1, 6, 5)), (-1, (2, 3, 6, 5, 1, 1, 1))])
def test_reshape_puts_axes_in(axis, wanted):
    layer = make_layer('Reshape', 1, 1, {'reshape_param': {
        'axis': axis, 'num_axes': 0, 'shape': {'dim': [1, 1, 1]}}})
    assert layer.shape([(2, 3, 6, 5)]) == [wanted]


@pytest.mark.parametrize('type, labels', [
    ('HingeLoss', (2, 3)), ('HingeLoss', (2,)), ('MultinomialLogisticLoss', (2, 1, 1))])
def test_the_first_labels_count(type, labels):
    """As many as there are rows; labels that are not read may be anything."""
    x = distinct((2, 4)).abs() + 0.1
    own = torch.tensor([3., 1.])
    blob = torch.cat([own, torch.full((4,), 77.)])[:math.prod(labels)].double().view(labels)
    layer = make_layer(type, 2, 1, {})
    assert layer.shape([x.shape, labels]) == [()]
    assert layer.forward([x, blob], [])[0] == layer.forward([x, own.double()], [])[0]


def test_contrastive_loss_takes_single_numbers():
    """a, b of N values are N pairs of one channel."""
    a, b, marks = torch.tensor([1., 2, 5]), torch.tensor([3., 2, 5.5]), torch.tensor([1., 0, 0])
    top, = make_layer('ContrastiveLoss', 3, 1, {}).forward([a, b, marks], [])
    assert top.item() == pytest.approx((4 + 1 + 0.25) / 6)
