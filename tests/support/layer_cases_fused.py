"""Random layers of the types that passes make."""

import math
from dataclasses import replace

import torch
from hypothesis import strategies as st
from layer_case import Case, distinct, ints, make_node, weighted_and_sampled

from fcn_repro.net.surgery import upsample_filt
from fcn_repro.proto import LossParameter
from fcn_repro.proto.dialects import find_dialect


def upsampling(draw):
    """(a bilinear Deconvolution node, its weight, channels, size of its bottom and its top)."""
    factor, channels = ints(draw, 1, 4), ints(draw, 1, 3)
    size = [ints(draw, 1, 3), ints(draw, 1, 3)]
    pad, kernel = ints(draw, 0, factor // 2), 2 * factor
    whole = [factor * (n - 1) + kernel - 2 * pad for n in size]
    weight = torch.zeros(channels, channels, kernel, kernel, dtype=torch.float64)
    weight[range(channels), range(channels)] = torch.as_tensor(upsample_filt(kernel)).double()
    up = make_node('Deconvolution', 1, 1, {'convolution_param': {
        'num_output': channels, 'kernel_size': [kernel], 'stride': [factor], 'pad': [pad],
        'bias_term': False}})
    return up, weight, channels, size, whole


def cropped(draw, type, labels=None):
    """UpCrop, and what is made of it; labels: makes the layer that reads labels as well."""
    up, weight, channels, size, whole = upsampling(draw)
    offset = [ints(draw, 0, n - 1) for n in whole]
    cut = [ints(draw, 1, n - o) for n, o in zip(whole, offset, strict=True)]
    end = make_node('Crop', 2, 1, {'crop_param': {'axis': 2, 'offset': offset}})
    count = ints(draw, 1, 2)
    bottoms = [distinct([count, channels, *size]), distinct([1, 1, *cut], 1)]
    parts = up, end
    if labels:
        place = torch.arange(count * cut[0] * cut[1], dtype=torch.float64)
        bottoms.append((place % (channels + 1)).reshape(count, 1, *cut))
        parts += (labels(channels),)
    return Case(type, bottoms, params=[weight], parts=parts)


@st.composite
def upcrop(draw, type='UpCrop'):
    return cropped(draw, type)


@st.composite
def upcrop_loss(draw):
    mode = draw(st.sampled_from(LossParameter.NormalizationMode.keys()))
    return cropped(draw, 'UpCropLoss', lambda channels: make_node('SoftmaxWithLoss', 2, 1, {
        'loss_param': {'ignore_label': channels, 'normalization': mode},
        'fcn_repro_param': weighted_and_sampled(draw, channels)}))


@st.composite
def upcrop_add(draw):
    up, weight, channels, size, whole = upsampling(draw)
    offset = [ints(draw, 0, 2) for _ in whole]
    fine = [n + o + ints(draw, 0, 2) for n, o in zip(whole, offset, strict=True)]
    cut = make_node('Crop', 2, 1, {'crop_param': {'axis': 2, 'offset': offset}})
    count = ints(draw, 1, 2)
    return Case('UpCropAdd', [distinct([count, channels, *size]),
                              distinct([count, channels, *fine], 1)],
                params=[weight], parts=(up, cut, make_node('Eltwise', 2, 1, {})), learn=(0, 1))


@st.composite
def interp(draw, type='InterpLabels'):
    """An Interp by size, its own or a second bottom's, and its labels or the loss of them."""
    count, channels, *size = (ints(draw, 1, 3) for _ in 'nchw')
    top = ints(draw, 1, 7), ints(draw, 1, 7)
    like = draw(st.booleans())
    node = make_node('Interp', 1 + like, 1, {})
    param = find_dialect('deeplab-v2')['LayerParameter']()
    param.ParseFromString(node.param.SerializeToString())
    if not like:
        param.interp_param.height, param.interp_param.width = top
    parts = [replace(node, param=param)]
    bottoms = [distinct([count, channels, *size])]
    if type == 'InterpLoss':
        mode = draw(st.sampled_from(LossParameter.NormalizationMode.keys()))
        place = torch.arange(count * top[0] * top[1], dtype=torch.float64)
        bottoms.append((place % (channels + 1)).reshape(count, 1, *top))
        parts.append(make_node('SoftmaxWithLoss', 2, 1, {
            'loss_param': {'ignore_label': channels, 'normalization': mode},
            'fcn_repro_param': weighted_and_sampled(draw, channels)}))
    bottoms += [distinct([1, 1, *top])] * like
    return Case(type, bottoms, parts=tuple(parts))


@st.composite
def norm(draw):
    shape = [ints(draw, 1, 3) for _ in range(ints(draw, 2, 5))]
    params = [distinct([shape[1]], seed) for seed in range(4)]
    params = [params[0], 1 + params[1].abs(), torch.ones(1).double(), *params[2:]]
    parts = (make_node('BatchNorm', 1, 1, {'batch_norm_param': {'eps': draw(
        st.sampled_from([1e-5, 0.1]))}}), make_node('Scale', 1, 1, {'scale_param': {
            'bias_term': True}}))
    return Case('Norm', [distinct(shape, 9)], params=params, parts=parts)


@st.composite
def convolution_relu(draw):
    kernel, size = ([ints(draw, 1, 3) for _ in 'yx'] for _ in 'ks')
    pad, channels, outputs = ints(draw, 0, 2), ints(draw, 1, 3), ints(draw, 1, 3)
    part = make_node('Convolution', 1, 1, {'convolution_param': {
        'num_output': outputs, 'kernel_h': kernel[0], 'kernel_w': kernel[1], 'pad': [pad]}})
    x = distinct([ints(draw, 1, 2), channels, *(k + n for k, n in zip(kernel, size, strict=True))])
    bias = distinct([outputs], 2) / math.pi     # no sum of the others' fractions takes it to a kink
    return Case('ConvolutionReLU', [x],
                params=[distinct([outputs, channels, *kernel], 1), bias],
                parts=(part, make_node('ReLU', 1, 1, {})))


@st.composite
def folded_convolution(draw):
    kernel, size = ([ints(draw, 1, 3) for _ in 'yx'] for _ in 'ks')
    channels, outputs, bias = ints(draw, 1, 3), ints(draw, 1, 3), draw(st.booleans())
    parts = [make_node('Convolution', 1, 1, {'convolution_param': {
        'num_output': outputs, 'kernel_h': kernel[0], 'kernel_w': kernel[1], 'bias_term': bias}}),
        make_node('BatchNorm', 1, 1, {}), make_node('Scale', 1, 1, {'scale_param': {
            'bias_term': True}})]
    batch = ints(draw, 1, 2)
    bottoms = [distinct([batch, channels, *(k + n for k, n in zip(kernel, size, strict=True))])]
    params = [distinct([outputs, channels, *kernel], 1), *[distinct([outputs], 2)] * bias,
              distinct([outputs], 3), 1 + distinct([outputs], 4).abs(), torch.ones(1).double(),
              distinct([outputs], 5), distinct([outputs], 6)]
    if draw(st.booleans()):
        parts.append(make_node('Eltwise', 2, 1, {}))
        bottoms.append(distinct([batch, outputs, *(n + 1 for n in size)], 7))
    if draw(st.booleans()):
        parts.append(make_node('PReLU', 1, 1, {}))
        params.append(distinct([outputs], 8))
    return Case('FoldedConvolution', bottoms, params=params, parts=tuple(parts),
                learn=tuple(range(len(bottoms))))


@st.composite
def spread_pooling(draw):
    kernel, by = ([ints(draw, 1, 3), ints(draw, 1, 3)] for _ in 'kb')
    pad = [ints(draw, 0, k - 1) for k in kernel]
    size = [max(1, (k - 1 - 2 * p) * b + 1) + ints(draw, 0, 3)
            for k, p, b in zip(kernel, pad, by, strict=True)]
    part = make_node('Pooling', 1, 1, {'pooling_param': {
        'pool': draw(st.sampled_from(['MAX', 'AVE'])), 'kernel_h': kernel[0], 'kernel_w': kernel[1],
        'pad_h': pad[0], 'pad_w': pad[1]}})
    return Case('SpreadPooling', [distinct([ints(draw, 1, 2), ints(draw, 1, 2), *size])],
                parts=(part,), setting=tuple(by))


@st.composite
def label_map(draw):
    return Case('LabelMap', [distinct([ints(draw, 1, 3) for _ in 'nchw'])], setting=('lowest',))


@st.composite
def repeat_border(draw):
    axes = [[ints(draw, 0, 2) for _ in range(3)] for _ in 'yx']
    size = [start + end + 2 + ints(draw, 0, 2) for start, end, _ in axes]
    x = distinct([ints(draw, 1, 2), ints(draw, 1, 3), *size])
    if draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    return Case('RepeatBorder', [x], setting=tuple(map(tuple, axes)))


CASES = {
    'ConvolutionReLU': convolution_relu(),
    'FoldedConvolution': folded_convolution(),
    'InterpLabels': interp(),
    'InterpLoss': interp('InterpLoss'),
    'LabelMap': label_map(),
    'Norm': norm(),
    'RepeatBorder': repeat_border(),
    'SpreadPooling': spread_pooling(),
    'UpCrop': upcrop(),
    'UpCropAdd': upcrop_add(),
    'UpCropLabels': upcrop('UpCropLabels'),
    'UpCropLoss': upcrop_loss(),
}
