"""Random cases of the loss layers, of normalisation, Embed, Im2col, Parameter and SPP."""

import torch
from hypothesis import strategies as st
from layer_case import Case, blob, distinct, ints

MODES = st.sampled_from(['FULL', 'VALID', 'BATCH_SIZE', 'NONE'])


@st.composite
def sigmoid_cross_entropy(draw):
    x = blob(draw)
    targets = distinct(x.shape, 1).abs()
    targets.view(-1)[0] = 255
    return Case('SigmoidCrossEntropyLoss', [x, targets], {'loss_param': {
        'ignore_label': 255, 'normalization': draw(MODES)}})


def rows_and_labels(draw, axes=3):
    """Values (N, …) and a label for each row, of shape (N,) or (N, 1, 1)."""
    x = blob(draw, 1, axes)
    labels = torch.arange(len(x)).double() * 7 % x[0].numel()
    return x, labels.reshape(-1, *[1] * draw(st.sampled_from([0, 2])))


@st.composite
def hinge(draw):
    """Perhaps with more labels, which are not read."""
    x, labels = rows_and_labels(draw)
    if draw(st.booleans()):
        labels = torch.cat([labels.reshape(-1), torch.full((len(x),), 99.)]).view(len(x), 2)
    return Case('HingeLoss', [2.7183 * x, labels],
                {'hinge_loss_param': {'norm': draw(st.sampled_from(['L1', 'L2']))}})


@st.composite
def multinomial(draw):
    x, labels = rows_and_labels(draw)
    return Case('MultinomialLogisticLoss', [x.abs() + 0.1, labels])


@st.composite
def infogain(draw):
    x = distinct([ints(draw, 1, 3) for _ in range(ints(draw, 2, 4))])
    axis = ints(draw, 1, x.dim() - 1)
    classes, inner = x.shape[axis], x.select(axis, 0).shape
    labels = torch.arange(inner.numel()).reshape(inner) * 7 % classes
    labels.view(-1)[0] = 255
    tops = ints(draw, 1, 2)
    return Case('InfogainLoss', [x, labels.double(), distinct((1, 1, classes, classes), 1)], {
        'infogain_loss_param': {'axis': axis - draw(st.sampled_from([0, x.dim()]))},
        'loss_weight': [1, 0][:tops],
        'loss_param': {'ignore_label': 255, 'normalization': draw(MODES)}}, tops)


@st.composite
def contrastive(draw):
    """Pairs at least 2 apart: nearer the 1e-4 in Caffe's gradient could be seen."""
    n, c = ints(draw, 1, 4), ints(draw, 1, 4)
    marks = torch.arange(n).double() % 2
    ones = [1] * ints(draw, 0, 2)
    shape = (n,) if c == 1 and draw(st.booleans()) else (n, c, *ones)
    return Case('ContrastiveLoss', [distinct(shape) + 4, distinct((n, c), 1), marks], {
        'contrastive_loss_param': {'margin': draw(st.sampled_from([1, 5, 50])),
                                   'legacy_version': draw(st.booleans())}}, learn=(0, 1))


@st.composite
def batch_norm(draw):
    x = blob(draw, 2)
    channels = (x.shape[1],)
    sums = [distinct(channels), distinct(channels, 1).abs() + 0.5, torch.tensor([0.7]).double()]
    return Case('BatchNorm', [x], {'batch_norm_param': {
        'use_global_stats': draw(st.booleans()), 'eps': 0.01}}, params=sums)


@st.composite
def mvn(draw):
    return Case('MVN', [blob(draw, 0, 4)], {'mvn_param': {
        'normalize_variance': draw(st.booleans()), 'across_channels': draw(st.booleans())}})


@st.composite
def embed(draw):
    shape = [ints(draw, 1, 3) for _ in range(ints(draw, 0, 3))]
    count = ints(draw, 1, 4)
    x = torch.arange(torch.Size(shape).numel()).reshape(shape) * 7 % count + 0.25
    return Case('Embed', [x.double()], {'embed_param': {
        'num_output': ints(draw, 1, 3), 'input_dim': count,
        'bias_term': draw(st.booleans())}}, learn=())


@st.composite
def im2col(draw):
    lead = [ints(draw, 1, 2) for _ in range(ints(draw, 1, 3))]      # batch axes and channels
    count = ints(draw, 1, 3)
    kernel, stride, pad, dilation = (
        [ints(draw, least, most) for _ in range(count)]
        for least, most in ((1, 3), (1, 3), (0, 2), (1, 2)))
    size = [max(1, d * (k - 1) + 1 - 2 * p) + ints(draw, 0, 2)
            for k, p, d in zip(kernel, pad, dilation, strict=True)]
    return Case('Im2col', [distinct(lead + size)], {'convolution_param': {
        'axis': len(lead) - 1, 'kernel_size': kernel, 'stride': stride, 'pad': pad,
        'dilation': dilation}})


@st.composite
def parameter(draw):
    shape = list(blob(draw, 0).shape)
    return Case('Parameter', [], {'parameter_param': {'shape': {'dim': shape}}}, learn=())


@st.composite
def spp(draw):
    """Sides for which no level needs as much padding as its kernel has places."""
    height = ints(draw, 1, 3)
    good = [n for n in range(1, 13) if all(
        (-(-n // b) * b - n + 1) // 2 < -(-n // b) for b in (1, 2, 4)[:height])]
    sides = [draw(st.sampled_from(good)), draw(st.sampled_from(good))]
    return Case('SPP', [distinct([ints(draw, 1, 2), ints(draw, 1, 3), *sides])], {'spp_param': {
        'pyramid_height': height, 'pool': draw(st.sampled_from(['MAX', 'AVE']))}})


CASES = {
    'BatchNorm': batch_norm(),
    'ContrastiveLoss': contrastive(),
    'Embed': embed(),
    'HingeLoss': hinge(),
    'Im2col': im2col(),
    'InfogainLoss': infogain(),
    'MVN': mvn(),
    'MultinomialLogisticLoss': multinomial(),
    'Parameter': parameter(),
    'SPP': spp(),
    'SigmoidCrossEntropyLoss': sigmoid_cross_entropy(),
}
