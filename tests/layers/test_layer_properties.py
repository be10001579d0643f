"""What holds for every layer type: the shape that it says, the gradient that it has; and Caffe's
algebra, which no single golden shows."""

import math

import h5py
import numpy as np
import pytest
import torch
from data_folders import make_voc
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layer_case import Case, distinct, make_layer
from layer_cases import CASES, REFERENCES, pooling, softmax_with_loss
from layer_cases_fused import upcrop
from layer_evidence import reference_for

from fcn_repro.errors import FcnError
from fcn_repro.proto import TEST, TRAIN
from fcn_repro.search import SearchPath

quick = settings(max_examples=25)
some = settings(max_examples=12)


@pytest.mark.parametrize('type', CASES)
@quick
@given(st.data())
def test_forward_has_the_shape_that_shape_says(type, data):
    case = data.draw(CASES[type])
    layer = case.layer()
    shapes = layer.shape(case.shapes())
    assert len(shapes) == case.tops
    if type == 'Input':         # the net holds its data
        return
    tops = layer.forward(case.bottoms, case.weights(layer))
    assert [tuple(top.shape) for top in tops] == [tuple(shape) for shape in shapes]
    assert type in LABELS or not case.bottoms or all(top.dtype == torch.float64 for top in tops)


@pytest.mark.parametrize('type', CASES)
@quick
@given(st.data())
def test_tops_have_the_memory_that_is_claimed(type, data):
    """net/cost.py refuses nets by these claims: they must not be above what is taken."""
    case = data.draw(CASES[type])
    layer = case.layer()
    assert layer.scratch(case.shapes()) >= 0
    if layer.makes_tops:
        used = {x.untyped_storage().data_ptr() for x in case.bottoms}
        for top in layer.forward(case.bottoms, case.weights(layer)):
            assert top.untyped_storage().nbytes() >= top.numel() * top.element_size()
            assert not top.numel() or top.untyped_storage().data_ptr() not in used


@pytest.mark.parametrize('type', REFERENCES or [pytest.param('', marks=pytest.mark.skip(
    reason='every type has goldens or a test of its own, none a reference beside its cases'))])
@quick
@given(st.data())
def test_forward_equals_the_reference_beside_the_cases(type, data):
    case = data.draw(CASES[type])
    layer = case.layer()
    weights = case.weights(layer)
    wanted = REFERENCES[type](case.settings, case.bottoms, weights)
    for top, other in zip(layer.forward(case.bottoms, weights), wanted, strict=True):
        torch.testing.assert_close(top, other)


LABELS = {'InterpLabels', 'LabelMap', 'UpCropLabels'}           # whose tops are integers
# no gradient at all
FLAT = {'Accuracy', 'ArgMax', 'DummyData', 'Input', 'Silence', 'Threshold', *LABELS}
# parameters not learned
GIVEN = {'BatchNorm', 'FoldedConvolution', 'Norm', 'UpCrop', 'UpCropAdd', 'UpCropLoss'}


@pytest.mark.parametrize('type', sorted(set(CASES) - FLAT))
@some
@given(st.data(), st.sampled_from([TEST, TRAIN]))
def test_gradients_are_those_of_the_forward_pass(type, data, phase):
    case = data.draw(CASES[type])
    layer = case.layer(phase)
    weights = [w.clone().requires_grad_(type not in GIVEN) for w in case.weights(layer)]
    bottoms = [x.clone().requires_grad_(i in case.learn) for i, x in enumerate(case.bottoms)]
    count = len(bottoms)

    def run(*tensors):
        tops = layer.forward(list(tensors[:count]), list(tensors[count:]))
        return tuple(top for top in tops if top.requires_grad)

    if not case.learn and not weights:
        assert not run(*bottoms)
        return
    assert run(*bottoms, *weights)
    assert torch.autograd.gradcheck(run, (*bottoms, *weights), fast_mode=True)


@pytest.mark.parametrize('type', sorted(set(CASES) - {'Input'}))
@some
@given(st.data())
def test_bottoms_that_have_no_gradient(type, data):
    """Labels, indices, selectors, sizes, states that are given; and all of ArgMax and the like."""
    case = data.draw(CASES[type])
    layer = case.layer()
    bottoms = [x.clone().requires_grad_(i not in case.learn) for i, x in enumerate(case.bottoms)]
    tops = layer.forward(bottoms, case.weights(layer))
    assert not any(top.requires_grad for top in tops)


@pytest.mark.parametrize('shift, power, value', [(0, -1, math.inf), (-1, 0.5, math.nan),
                                                 (2, 3, 8), (5, 0, 1)])
def test_power_of_a_constant(shift, power, value):
    """With scale 0, where C's pow gives infinity or NaN too."""
    layer = make_layer('Power', 1, 1, {'power_param': {'scale': 0, 'shift': shift, 'power': power}})
    top, = layer.forward([torch.ones(2)], [])
    torch.testing.assert_close(top, torch.full((2,), float(value)), equal_nan=True)


@reference_for('Python')
def test_sources_give_the_shapes_that_they_say(tmp_path):
    with h5py.File(tmp_path / 'rows.h5', 'w') as file:
        file['a'], file['b'] = np.arange(30.).reshape(5, 2, 3), np.arange(5.)
    (tmp_path / 'list.txt').write_text('rows.h5\n')
    rows = make_layer('HDF5Data', 0, 2, {'hdf5_data_param': {'source': 'list.txt',
                                                             'batch_size': 3}})
    del rows.node.param.top[:]
    rows.node.param.top.extend(['a', 'b'])
    rows.state.search = SearchPath((tmp_path,))
    params = {'voc_dir': str(make_voc(tmp_path)), 'split': 'val', 'mean': (1, 2, 3)}
    images = make_layer('Python', 0, 2, {'python_param': {
        'module': 'voc_layers', 'layer': 'VOCSegDataLayer', 'param_str': str(params)}})
    for layer in rows, images:
        for layer.state.position in range(3):
            assert [tuple(t.shape) for t in layer.forward([], [])] == layer.shape([])
    rows.state.position = 1
    assert rows.forward([], [])[1].tolist() == [3, 4, 0]      # continues from the start
    rows = make_layer('HDF5Data', 0, 2, {'hdf5_data_param': {'source': 'rows.h5',
                                                             'batch_size': 3}})
    rows.state.search = SearchPath((tmp_path,))
    with pytest.raises(FcnError, match='is an HDF5 file'):
        rows.shape([])


# Algebra

@quick
@given(upcrop())
def test_upcrop_is_the_crop_of_the_deconvolution(case):
    fused = case.layer()
    x, reference = case.bottoms
    plain = fused.cut.forward([fused.up.forward([x], case.params)[0], reference], [])[0]
    torch.testing.assert_close(fused.forward(case.bottoms, case.params)[0], plain)
    learned = [case.params[0].clone().requires_grad_()]       # then deconv_crop runs
    top = fused.forward(case.bottoms, learned)[0]
    torch.testing.assert_close(top, plain)
    assert top.requires_grad


@quick
@given(st.data())
def test_deconvolution_is_the_gradient_of_convolution(data):
    case = data.draw(CASES['Convolution'])
    field = dict(case.settings['convolution_param'], bias_term=False)
    conv = make_layer('Convolution', 1, 1, {'convolution_param': field})
    x = case.bottoms[0].requires_grad_()
    weight = distinct(conv.parameters(case.shapes())[0][0], 3)
    y, = conv.forward([x], [weight])
    grad = distinct(y.shape, 5)
    wanted, = torch.autograd.grad(y, x, grad)
    deconv = make_layer('Deconvolution', 1, 1, {'convolution_param': field | {
        'num_output': x.shape[field['axis']]}})
    channel, *window = deconv.geometry(grad.shape)
    assume(all(deconv.extent(n, *axis) > 0 for n, *axis in
               zip(grad.shape[channel + 1:], *window, strict=True)))
    ours, = deconv.forward([grad], [weight])     # Caffe's weight has the same layout in both
    assert all(n <= m for n, m in zip(ours.shape, wanted.shape, strict=True))
    torch.testing.assert_close(ours, wanted[tuple(slice(0, n) for n in ours.shape)])


@quick
@given(st.data())
def test_concat_then_crop_gives_the_parts_back(data):
    case = data.draw(CASES['Concat'])
    axis = case.settings['concat_param']['axis']
    whole, = case.layer().forward(case.bottoms, [])
    start = 0
    for part in case.bottoms:
        rank = whole.dim()
        offsets = [start if i == axis % rank else 0 for i in range(rank)]
        crop = make_layer('Crop', 2, 1, {'crop_param': {'axis': 0, 'offset': offsets}})
        assert torch.equal(crop.forward([whole, part], [])[0], part)
        start += part.shape[axis]
    assert start == whole.shape[axis]


def pooled(x, p, h, w):
    """Caffe's pooling_layer.cpp as four loops: (values, mask) of one map (H, W)."""
    height, width = x.shape
    kernel = (height, width) if p.global_pooling else (p.kernel_h, p.kernel_w)
    stride, pad = (max(1, p.stride_h), max(1, p.stride_w)), (p.pad_h, p.pad_w)
    values, mask = np.zeros((h, w)), np.zeros((h, w))
    for i in range(h):
        for j in range(w):
            y, z = i * stride[0] - pad[0], j * stride[1] - pad[1]
            bottom, right = min(y + kernel[0], height + pad[0]), min(z + kernel[1], width + pad[1])
            area = (bottom - y) * (right - z)
            cells = [(x[r, c].item(), r * width + c) for r in range(max(y, 0), min(bottom, height))
                     for c in range(max(z, 0), min(right, width))]
            if p.pool == p.MAX:
                values[i, j], mask[i, j] = max(cells, key=lambda cell: cell[0])   # the first
            else:
                values[i, j] = sum(value for value, _ in cells) / area
    return values, mask


@quick
@given(pooling(), st.booleans())
def test_pooling_is_caffes_loops(case, ties):
    x = case.bottoms[0].mul(2).round() if ties else case.bottoms[0]
    layer, p = case.layer(), case.layer().param
    tops = layer.forward([x], [])
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            wanted = pooled(x[n, c], p, *tops[0].shape[2:])
            assert 1 <= len(tops) <= len(wanted) == 2        # the mask is optional
            for top, values in zip(tops, wanted[:len(tops)], strict=True):
                np.testing.assert_allclose(top[n, c], values, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3),
       st.sampled_from(['CEIL', 'FLOOR']))
def test_pooling_covers_its_input(size, kernel, stride, pad, mode):
    """The last window starts inside the input and its front padding; with ceil nothing at the
    end is left out, but for padding, where windows touch (stride <= kernel)."""
    pad, size = min(pad, kernel - 1), max(size, kernel)
    layer = make_layer('Pooling', 1, 1, {'pooling_param': {
        'kernel_size': kernel, 'stride': stride, 'pad': pad, 'round_mode': mode}})
    out = layer.shape([(1, 1, size, size)])[0][2]
    if pad:
        assert (out - 1) * stride < size + pad
    if mode == 'CEIL' and stride <= kernel:
        assert (out - 1) * stride - pad + kernel >= size
    assert out == layer.shape([(1, 1, size, size)])[0][3]


@quick
@given(st.floats(0, 0.75), st.integers(0, 3), st.integers(0, 3))
def test_dropout(ratio, seed, position):
    """The mean stays, what is kept is scaled, the mask is a function of seed, name, position."""
    def mask(seed, position, name='it', phase=TRAIN):
        layer = Case('Dropout', [torch.ones(4000)],
                     {'dropout_param': {'dropout_ratio': ratio}}).layer(phase)
        layer.node.param.name = name
        layer.state.seed, layer.state.position = seed, position
        object.__setattr__(layer.node, 'name', name)
        return layer.forward([torch.ones(4000)], [])[0]

    ours = mask(seed, position)
    assert torch.equal(ours, mask(seed, position))
    assert torch.equal(mask(seed, position, phase=TEST), torch.ones(4000))
    scale = 1 / (1 - np.float32(ratio))
    assert ((ours == 0) | ((ours - scale).abs() < 1e-5 * scale)).all()
    spread = math.sqrt(ratio / (1 - ratio) / 4000)
    assert abs(ours.mean() - 1) <= 6 * spread + 1e-5
    if ratio > 0.1:
        others = mask(seed + 1, position), mask(seed, position + 1), mask(seed, position, 'at')
        assert not any(torch.equal(ours, other) for other in others)


@quick
@given(st.data())
def test_split_adds_gradients_up(data):
    case = data.draw(CASES['Split'])
    x = case.bottoms[0].requires_grad_()
    tops = case.layer().forward([x], [])
    torch.autograd.backward(tops, [torch.full_like(x, i + 1.) for i in range(case.tops)])
    assert (x.grad == case.tops * (case.tops + 1) / 2).all()


@quick
@given(st.data())
def test_softmax_loss_gradient_sums_to_zero_and_skips_ignored(data):
    """prob - onehot: no net push over classes; nothing at all where the label is ignored."""
    case = data.draw(softmax_with_loss())
    x, labels = case.bottoms[0].requires_grad_(), case.bottoms[1]
    case.layer().forward([x, labels], [])[0].backward()
    axis = case.settings['softmax_param']['axis']
    assert x.grad.sum(axis).abs().max() < 1e-12
    assert not x.grad.movedim(axis, -1)[labels == 255].any()
