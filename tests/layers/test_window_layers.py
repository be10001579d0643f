"""LocalMeanField and GatedCRFLoss in nets: the double sum in float64, gradients, training, exports,
and what they refuse."""

import math

import numpy as np
import pytest
import torch
from double_sum import gated_crf, kernel_matrix, mean_field
from exported import run_python
from layer_case import make_layer
from texts import FILE, image, inputs, layer

from fcn_repro.errors import FcnError
from fcn_repro.export import export
from fcn_repro.net import Net
from fcn_repro.proto import TRAIN
from fcn_repro.proto.prototxt import parse_net

DEFAULT = [(3, 3, math.inf), (10, math.inf, 13)]
KERNEL = 'kernel { place: 6 colour: 5.8 }'
TYPES = [(torch.float32, 1e-5), (torch.float64, 1e-12)]     # and the slack beside the largest value


def photo(*shape, seed=1):
    """Two halves of other colours, with noise, in grey levels."""
    colours = 20 * image(*shape, seed=seed)
    colours[..., shape[-1] // 2:] += 90
    return colours


def near(found, wanted, slack):
    for one, other in zip(found, wanted, strict=True):
        scale = other.detach().abs().amax()
        torch.testing.assert_close(one.double() / scale, other.double() / scale, rtol=0, atol=slack)


def own(text):
    return f'fcn_repro_param {{ {text} }}'


def one_layer(type, text, sizes, phase='TEST'):
    names = ' '.join(sizes)
    net = inputs(**sizes) + layer(type, 'it', names, 'y', own(text))
    return Net.of(parse_net(net, FILE), phase)


def refused(type, text, sizes):
    with pytest.raises(FcnError) as caught:
        one_layer(type, text, sizes)
    error = caught.value
    assert error.line and error.do and error.layer == 'it' and error.type == type
    return str(error)


# ---- LocalMeanField ------------------------------------------------------------------------------

@pytest.mark.parametrize('size', [(12, 16), (9, 14), (5, 3), (1, 1), (1, 7)])
@pytest.mark.parametrize('text, how', [
    ('', {}), ('blur: 1', {'blur': 1}), ('align_corners: false', {'aligned': False}),
    ('blur: 3 radius: 2 iterations: 3', {'blur': 3, 'radius': 2, 'iterations': 3}),
    ('blur: 1 radius: 40 iterations: 1', {'blur': 1, 'radius': 40, 'iterations': 1})])
def test_conv_crf_is_the_double_sum(text, how, size):
    """With the authors' kernels, in float32: to 1e-5 of the largest score."""
    net = one_layer('LocalMeanField', text, {'x': (2, 4, *size), 'i': (2, 3, *size)})
    x, pixels = image(2, 4, *size), photo(2, 3, *size)
    found = net.forward(x=x, i=pixels)['y']
    wanted = mean_field(x, pixels, torch.full((4,), 0.2), DEFAULT, how.get('radius', 5),
                        how.get('blur', 4), how.get('iterations', 5), how.get('aligned', True))
    assert found.dtype == torch.float32
    scale = wanted.abs().amax()
    torch.testing.assert_close(found.double() / scale, wanted / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize('dtype, slack', TYPES)
def test_gradients_of_conv_crf_are_those_of_the_double_sum(dtype, slack):
    run = make_layer('LocalMeanField', 2, 1, {'fcn_repro_param': {
        'blur': 2, 'radius': 2, 'iterations': 3, 'kernel': [{'weight': 0.25, 'place': 3},
                                                            {'weight': 1, 'colour': 60}]}}, TRAIN)
    x, pixels = image(2, 3, 5, 6).to(dtype).requires_grad_(), photo(2, 3, 5, 6).to(dtype)
    weight = torch.tensor([0.2, 0.5, -0.1], dtype=dtype, requires_grad=True)
    y, = run.forward([x, pixels.requires_grad_()], [weight])
    kernels = [(0.25, 3, math.inf), (1, math.inf, 60)]
    wanted = mean_field(x, pixels.detach(), weight, kernels, 2, 2, 3)
    grad = image(*y.shape, seed=3).to(dtype)
    mine = torch.autograd.grad(y, [x, weight, pixels], grad, allow_unused=True)
    assert mine[2] is None                                       # of the image: none
    near([y, *mine[:2]], [wanted, *torch.autograd.grad(wanted, [x, weight], grad.double())], slack)
    assert dtype == torch.float32 or torch.autograd.gradcheck(
        lambda x, w: run.forward([x, pixels.detach()], [w])[0], (x, weight))


def test_conv_crf_moves_labels_to_the_edge():
    """Noisy scores of a photograph of two halves become those of the halves."""
    size, truth = (24, 24), torch.arange(24) >= 12
    net = one_layer('LocalMeanField', 'blur: 1', {'x': (1, 2, *size), 'i': (1, 3, *size)})
    halves = torch.stack([~truth, truth]).float()[None, :, None].expand(1, 2, 24, 24)
    noisy = halves + image(1, 2, *size)
    pixels = 60 * halves[:, 1:].expand(1, 3, 24, 24)
    wrong = (noisy.argmax(1) != truth).sum(), (
        net.forward(x=noisy, i=pixels)['y'].argmax(1) != truth).sum()
    assert wrong[0] > 100 and wrong[1] < 6


def test_weights_of_messages():
    """One a class, first message_weight; with 0 nothing passes."""
    sizes = {'x': (1, 3, 6, 5), 'i': (1, 1, 6, 5)}
    net = one_layer('LocalMeanField', 'message_weight: 0', sizes)
    weight, = net.params['it']
    assert weight.data.shape == (3,) and not weight.data.any()
    x = image(1, 3, 6, 5)
    torch.testing.assert_close(net.forward(x=x, i=photo(1, 1, 6, 5))['y'], x.log_softmax(1))
    assert one_layer('LocalMeanField', '', sizes).params['it'][0].data.tolist() == pytest.approx(
        [0.2] * 3)


def test_what_a_pixel_of_conv_crf_reads():
    """Without blur radius times iterations pixels, to the pixel; with it, nothing is claimed."""
    size = (1, 1, 1, 41)
    text = 'blur: 1 radius: 3 iterations: 2 kernel { place: 3 }'
    net = one_layer('LocalMeanField', text, {'x': (1, 2, 1, 41), 'i': size})
    run = net.layer(net.graph.nodes[-1])
    assert run.reads((1, 2, 1, 41)) == ((13, 1, 6, 1),) * 2
    x, pixels = image(1, 2, 1, 41), torch.zeros(size)
    other = x.clone()
    other[:, 0, :, 20] += 3
    changed = (net.forward(x=x, i=pixels)['y'] != net.forward(x=other, i=pixels)['y'])[0, 0, 0]
    assert changed.nonzero()[[0, -1], 0].tolist() == [14, 26]
    net = one_layer('LocalMeanField', '', {'x': (1, 2, 8, 8), 'i': (1, 3, 8, 8)})
    run = net.layer(net.graph.nodes[-1])
    assert run.reads((1, 2, 8, 8)) is None and run.reach((1, 2, 8, 8)) is None


def test_nan_of_conv_crf_stays_in_reach():
    net = one_layer('LocalMeanField', 'blur: 1 radius: 2 iterations: 2', {'x': (1, 2, 12, 12),
                                                                         'i': (1, 3, 12, 12)})
    x, pixels = image(1, 2, 12, 12), photo(1, 3, 12, 12)
    x[0, 1, 6, 6] = torch.nan
    bad = net.forward(x=x, i=pixels)['y'].isnan()
    assert bad[:, :, 2:11, 2:11].all() and bad.sum() == 2 * 9 * 9


@pytest.mark.parametrize('sizes, parts', [
    ({'x': (1, 2, 6, 5), 'i': (1, 3, 12, 10)}, ('1x2x6x5', '1x3x12x10', 'Interp')),
    ({'x': (2, 2, 6, 5), 'i': (1, 3, 6, 5)}, ('as many images',)),
    ({'x': (1, 2, 6), 'i': (1, 3, 6)}, ('1x2x6', '(N, C, H, W)')),
    ({'x': (1, 2, 0, 5), 'i': (1, 3, 0, 5)}, ('with channels and pixels',)),
    ({'x': (1, 2, 6, 5), 'i': (1, 0, 6, 5)}, ('with channels and pixels',))])
def test_bottoms_that_conv_crf_refuses(sizes, parts):
    text = refused('LocalMeanField', '', sizes)
    assert all(part in text for part in parts), text


# ---- GatedCRFLoss --------------------------------------------------------------------------------

@pytest.mark.parametrize('size', [(9, 13), (1, 6), (4, 1)])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('text, kernels, radius', [
    (KERNEL, [(1, 6, 5.8)], 5), ('radius: 2 ' + KERNEL, [(1, 6, 5.8)], 2),
    ('radius: 50 kernel { weight: 0.9 place: 6 colour: 30 } kernel { weight: 0.1 place: 6 }',
     [(0.9, 6, 30), (0.1, 6, math.inf)], 50)])
def test_gated_crf_is_the_double_sum(text, kernels, radius, masked, size):
    sizes = {'p': (2, 4, *size), 'i': (2, 3, *size)} | ({'m': (2, 1, *size)} if masked else {})
    net = one_layer('GatedCRFLoss', text, sizes, 'TRAIN')
    p, pixels = (3 * image(2, 4, *size)).softmax(1), photo(2, 3, *size)
    mask = (image(2, 1, *size, seed=5) > -0.5).float()
    found = net.forward(p=p, i=pixels, **{'m': mask} if masked else {})['y']
    wanted = gated_crf(p, pixels, kernels, radius, mask if masked else None)
    assert found.shape == () and found.dtype == torch.float32
    assert float(found) == pytest.approx(float(wanted), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize('dtype, slack', TYPES)
@pytest.mark.parametrize('masked', [False, True])
def test_gradients_of_gated_crf_are_those_of_the_double_sum(masked, dtype, slack):
    run = make_layer('GatedCRFLoss', 2 + masked, 1, {'fcn_repro_param': {
        'radius': 2, 'kernel': [{'place': 6, 'colour': 40}]}}, TRAIN)
    p = image(2, 3, 4, 5).to(dtype).softmax(1).requires_grad_()
    pixels = photo(2, 3, 4, 5).to(dtype)
    masks = [(image(2, 1, 4, 5, seed=5) > -0.5).to(dtype)] * masked
    loss, = run.forward([p, pixels, *masks], [])
    wanted = gated_crf(p, pixels, [(1, 6, 40)], 2, *masks)
    near([loss, *torch.autograd.grad(loss, p)], [wanted, *torch.autograd.grad(wanted, p)], slack)
    assert dtype == torch.float32 or torch.autograd.gradcheck(
        lambda p: run.forward([p, pixels, *masks], [])[0], p)


def test_larger_images_and_masks_are_averaged():
    """By area; a pixel takes part where its whole block does, and NaN is no part."""
    p, pixels = image(1, 3, 4, 5).softmax(1), photo(1, 3, 8, 10)
    mask = torch.ones(1, 1, 8, 10)
    mask[..., 3, 4], mask[..., 7, 9] = 0, torch.nan
    net = one_layer('GatedCRFLoss', KERNEL, {'p': (1, 3, 4, 5), 'i': (1, 3, 8, 10),
                                             'm': (1, 1, 8, 10)})
    found = net.forward(p=p, i=pixels, m=mask)['y']
    small = pixels.reshape(1, 3, 4, 2, 5, 2).mean((3, 5))
    part = torch.ones(1, 1, 4, 5)
    part[..., 1, 2] = part[..., 3, 4] = 0
    assert float(found) == pytest.approx(float(gated_crf(p, small, [(1, 6, 5.8)], 5, part)),
                                         rel=1e-5)


def test_a_mask_of_nothing():
    net = one_layer('GatedCRFLoss', KERNEL, {'p': (1, 3, 4, 5), 'i': (1, 3, 4, 5),
                                             'm': (1, 1, 4, 5)})
    found = net.forward(p=image(1, 3, 4, 5).softmax(1), i=photo(1, 3, 4, 5),
                        m=torch.full((1, 1, 4, 5), 0.9))['y']
    assert found == 0


def test_equal_labels_cost_nothing_and_others_all():
    """Two probabilities of one hot each: the sum of the kernels between unlike pixels."""
    net = one_layer('GatedCRFLoss', 'radius: 1 ' + KERNEL, {'p': (1, 2, 1, 6), 'i': (1, 3, 1, 6)})
    same, pixels = torch.zeros(1, 2, 1, 6), torch.zeros(1, 3, 1, 6)
    same[:, 0] = 1
    assert float(net.forward(p=same, i=pixels)['y']) == pytest.approx(0, abs=1e-6)
    halves = torch.zeros(1, 2, 1, 6)
    halves[:, 0, :, :3] = halves[:, 1, :, 3:] = 1
    assert float(net.forward(p=halves, i=pixels)['y']) == pytest.approx(
        2 * np.exp(-0.5 / 36) / 6, rel=1e-5)
    pixels[..., 3:] = 100                                        # an edge in the image there
    assert float(net.forward(p=halves, i=pixels)['y']) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('sizes, parts', [
    ({'p': (1, 2, 6, 5), 'i': (1, 3, 3, 5)}, ('images of 1x3x3x5', 'as large or larger')),
    ({'p': (1, 2, 6, 5), 'i': (1, 3, 6, 5), 'm': (1, 1, 6, 4)}, ('a mask of 1x1x6x4',)),
    ({'p': (1, 2, 1, 1), 'i': (1, 3, 1, 1)}, ('one pixel', 'no pairs')),
    ({'p': (2, 2, 6, 5), 'i': (1, 3, 6, 5)}, ('as many images',)),
    ({'p': (2, 2), 'i': (2, 3)}, ('(N, C, H, W)',))])
def test_bottoms_that_gated_crf_refuses(sizes, parts):
    text = refused('GatedCRFLoss', KERNEL, sizes)
    assert all(part in text for part in parts), text


# ---- both ----------------------------------------------------------------------------------------

TRAINED = inputs(data=(1, 3, 10, 12), label=(1, 1, 10, 12)) + f'''
layer {{ name: "score" type: "Convolution" bottom: "data" top: "score" convolution_param {{
  num_output: 2 kernel_size: 1 weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "crf" type: "LocalMeanField" bottom: "score" bottom: "data" top: "crf"
  fcn_repro_param {{ blur: 2 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "crf" bottom: "label" top: "loss"
  loss_param {{ ignore_label: 255 }} }}
layer {{ name: "prob" type: "Softmax" bottom: "score" top: "prob" }}
layer {{ name: "gated" type: "GatedCRFLoss" bottom: "prob" bottom: "data" top: "gated"
  loss_weight: 0.1 fcn_repro_param {{ {KERNEL} }} }}
'''


def test_a_net_learns_through_both_from_a_few_labels():
    """Steps downhill lower both losses, and the weight of the messages gets a gradient too."""
    net = Net.of(parse_net(TRAINED, FILE), 'TRAIN')
    pixels = photo(1, 3, 10, 12)
    label = torch.full((1, 1, 10, 12), 255.)
    label[..., 5, 1], label[..., 5, 10] = 0, 1                    # scribbles
    losses = []
    for _ in range(30):
        for blob in net.learnable_params:
            blob.diff.zero_()
        tops = net.forward(data=pixels, label=label)
        losses.append([float(tops[name].detach()) for name in ('loss', 'gated')])
        net.backward()
        assert net.params['crf'][0].diff.any()
        for blob in net.learnable_params:
            blob.data.sub_(1e-3 * blob.diff)
    assert all(last < first / 2 for first, last in zip(losses[0], losses[-1], strict=True))


def test_exports(tmp_path):
    """LocalMeanField as PyTorch code, at another size too; in ONNX an error names the layer;
    a file for Caffe keeps the fields."""
    text = parse_net(inputs(x=(1, 3, 9, 10), i=(1, 3, 9, 10)) + layer(
        'LocalMeanField', 'it', 'x i', 'y', own(f'iterations: 2 {KERNEL}')), FILE)
    for size in (9, 10), (14, 7):
        given = {'x': image(1, 3, *size), 'i': photo(1, 3, *size)}
        torch.testing.assert_close(run_python(Net.of(text, 'TEST'), given, tmp_path)['y'],
                                   Net.of(text, 'TEST').forward(**given)['y'], rtol=1e-5, atol=1e-5)
    with pytest.raises(FcnError, match='cannot be exported as ONNX') as caught:
        export(Net.of(text, 'TEST'), 'onnx', tmp_path / 'n.onnx')
    assert caught.value.layer == 'it' and caught.value.type == 'LocalMeanField'
    _, written = export(Net.of(text, 'TEST'), 'caffemodel', tmp_path / 'n.caffemodel')
    kept = parse_net(written.read_text(), FILE).message.layer[-1].fcn_repro_param
    assert kept.iterations == 2 and kept.kernel[0].place == 6
    loss = one_layer('GatedCRFLoss', KERNEL, {'p': (1, 2, 4, 4), 'i': (1, 3, 4, 4)})
    with pytest.raises(FcnError, match='GatedCRFLoss') as caught:
        export(loss, 'python', tmp_path / 'l.py')
    assert 'deploy net' in caught.value.do


def test_the_double_sum_itself():
    """Its matrix by loops over pixels, for one small image."""
    pixels = photo(1, 2, 2, 3).double()
    matrix = kernel_matrix(pixels, [(2, 1.5, 30)], 1, False)
    for i in range(6):
        for j in range(6):
            (y, x), (v, u) = divmod(i, 3), divmod(j, 3)
            near = max(abs(y - v), abs(x - u)) == 1
            unlike = sum((pixels[0, c, y, x] - pixels[0, c, v, u]) ** 2 for c in range(2))
            wanted = near * 2 * math.exp(-((y - v) ** 2 + (x - u) ** 2) / 4.5 - unlike / 1800)
            assert matrix[0, i, j] == pytest.approx(wanted)
