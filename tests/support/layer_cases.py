"""Random layers of every type: settings and bottoms, drawn by hypothesis.

CASES maps a type's name to a strategy of Cases. Sources (Data, Python) read files, HDF5Output
writes one: their tests stand apart. Modules beside this one named layer_cases_*.py add their own
CASES, and where they have them, for types without a golden or a table of refusals elsewhere:

REFERENCES  {type: function (settings, bottoms, params) -> tops}, written without the layer
REFUSED     [(type, bottoms, tops, further fields, facts of the error)], on the blobs
            of test_layers.INPUTS
"""

import importlib
from pathlib import Path

import torch
from hypothesis import strategies as st
from layer_case import Case, blob, distinct, ints, unary, weighted_and_sampled


@st.composite
def convolution(draw):
    kernel, stride, pad, dilation = axes(draw)
    size = [max(1, d * (k - 1) + 1 - 2 * p) + ints(draw, 0, 3)
            for k, p, d in zip(kernel, pad, dilation, strict=True)]
    group = ints(draw, 1, 2)
    return windows(draw, 'Convolution', size, group, kernel, stride, pad, dilation)


@st.composite
def deconvolution(draw):
    kernel, stride, pad, dilation = axes(draw)
    size = [ints(draw, 1, 3) for _ in kernel]
    pad = [min(p, (s * (n - 1) + d * (k - 1)) // 2)
           for n, k, s, p, d in zip(size, kernel, stride, pad, dilation, strict=True)]
    group = ints(draw, 1, 2)
    return windows(draw, 'Deconvolution', size, group, kernel, stride, pad, dilation)


def axes(draw):
    count = ints(draw, 0, 3)
    return tuple([ints(draw, least, most) for _ in range(count)]
                 for least, most in ((1, 3), (1, 3), (0, 2), (1, 2)))


def windows(draw, type, size, group, kernel, stride, pad, dilation):
    """One or two bottoms, with none to two axes before the channels."""
    lead = [ints(draw, 1, 2) for _ in range(ints(draw, 0, 2))]
    shape = [*lead, group * ints(draw, 1, 2), *size]
    bottoms = [distinct(shape, i) for i in range(ints(draw, 1, 2))]
    return Case(type, bottoms, {'convolution_param': {
        'num_output': group * ints(draw, 1, 2), 'group': group, 'kernel_size': kernel,
        'stride': stride, 'pad': pad, 'dilation': dilation, 'bias_term': draw(st.booleans()),
        'axis': len(lead) - draw(st.sampled_from([0, len(shape)]))}},
        len(bottoms), tuple(range(len(bottoms))))


@st.composite
def pooling(draw, most_stride=3):
    """Windows without an empty one (stride up to the kernel): those give -FLT_MAX or NaN."""
    shape = [ints(draw, 1, 2), ints(draw, 1, 2)]
    maximum = draw(st.booleans())
    settings = {'pool': 'MAX' if maximum else 'AVE'}
    if ints(draw, 0, 5) == 0:
        settings['global_pooling'] = True
        shape += [ints(draw, 1, 5), ints(draw, 1, 5)]
    else:
        for side in 'hw':
            kernel = ints(draw, 1, 4)
            pad = ints(draw, 0, kernel - 1)
            settings[f'kernel_{side}'], settings[f'pad_{side}'] = kernel, pad
            settings[f'stride_{side}'] = ints(draw, 1, min(kernel, most_stride))
            shape.append(max(1, kernel - 2 * pad) + ints(draw, 0, 5))
        settings['round_mode'] = draw(st.sampled_from(['CEIL', 'FLOOR']))
    tops = ints(draw, 1, 2) if maximum else 1
    return Case('Pooling', [distinct(shape)], {'pooling_param': settings}, tops)


@st.composite
def adaptive(draw):
    """Pooling to a size of its own, smaller or larger than the bottom's."""
    size = [ints(draw, 1, 4) for _ in range(ints(draw, 1, 2))]
    shape = [ints(draw, 1, 2), ints(draw, 1, 2), ints(draw, 1, 7), ints(draw, 1, 7)]
    return Case('Pooling', [distinct(shape)], {
        'pooling_param': {'pool': 'AVE'}, 'fcn_repro_param': {'output_size': size}})


@st.composite
def dropout_of_channels(draw):
    return Case('Dropout', [blob(draw, 2)], {'fcn_repro_param': {'per_channel': True}})


@st.composite
def dropout_of_windows(draw):
    window = draw(st.sampled_from([[3], [1, 3], [3, 5], [5]]))
    places = window[0] ** 2 if len(window) == 1 else window[0] * window[1]
    x = distinct([ints(draw, 1, 2), places * ints(draw, 1, 2), ints(draw, 1, 3), ints(draw, 1, 3)])
    return Case('Dropout', [x], {'fcn_repro_param': {'window': window}})


@st.composite
def crop(draw):
    rank = ints(draw, 1, 5)
    axis = ints(draw, -rank, rank - 1)
    size = [ints(draw, 1, 3) for _ in range(rank)]
    cut = rank - axis % rank
    one = draw(st.booleans())
    offsets = [ints(draw, 0, 2) for _ in range(1 if one else cut)]
    whole = [n + (offsets * cut if one else offsets)[i - axis % rank] + ints(draw, 0, 2)
             if i >= axis % rank else ints(draw, 1, 3) for i, n in enumerate(size)]
    more = [1] * ints(draw, 0, 1)           # axes beyond the first bottom's do not count
    return Case('Crop', [distinct(whole), distinct(size + more, 1)],
                {'crop_param': {'axis': axis, 'offset': offsets}})


@st.composite
def inner_product(draw):
    x = blob(draw)
    axis = ints(draw, -x.dim(), x.dim() - 1)
    return Case('InnerProduct', [x], {'inner_product_param': {
        'num_output': ints(draw, 1, 3), 'axis': axis, 'transpose': draw(st.booleans()),
        'bias_term': draw(st.booleans())}})


@st.composite
def lrn(draw):
    x = distinct([ints(draw, 1, 2), ints(draw, 1, 5), ints(draw, 1, 4), ints(draw, 1, 4)])
    return Case('LRN', [x], {'lrn_param': {
        'local_size': draw(st.sampled_from([1, 3, 5])), 'alpha': 0.5, 'beta': 0.75,
        'norm_region': draw(st.sampled_from(['ACROSS_CHANNELS', 'WITHIN_CHANNEL']))}})


@st.composite
def broadcast(draw, type, param):
    x = blob(draw, 0)
    if x.dim() == 0:                # with a scalar operand the axis does not count
        return Case(type, [x, distinct(())], {}, learn=(0, 1))
    axis = ints(draw, 0, x.dim() - 1)
    count = ints(draw, 0, x.dim() - axis)
    settings = {'axis': axis - draw(st.sampled_from([0, x.dim()]))}
    if type == 'Scale':
        settings['bias_term'] = draw(st.booleans())
    if draw(st.booleans()):
        return Case(type, [x, distinct(x.shape[axis:axis + count], 1)], {param: settings},
                    learn=(0, 1))
    return Case(type, [x], {param: settings | {'num_axes': draw(st.sampled_from([count, -1]))}})


@st.composite
def several(draw, type, tops=1, **settings):
    """Two to four bottoms of one shape."""
    x = blob(draw, 0)
    count = ints(draw, 2, 4)
    bottoms = [distinct(x.shape, i) + i / 1000 for i in range(count)]
    return Case(type, bottoms, {k: draw(v) for k, v in settings.items()}, tops,
                tuple(range(count)))


@st.composite
def concat(draw):
    x = blob(draw)
    axis = ints(draw, -x.dim(), x.dim() - 1)
    bottoms = []
    for i in range(ints(draw, 1, 3)):
        shape = list(x.shape)
        shape[axis] = ints(draw, 1, 3)
        bottoms.append(distinct(shape, i))
    return Case('Concat', bottoms, {'concat_param': {'axis': axis}},
                learn=tuple(range(len(bottoms))))


@st.composite
def softmax(draw):
    x = blob(draw)
    return Case('Softmax', [x],
                {'softmax_param': {'axis': ints(draw, -x.dim(), x.dim() - 1)}})


def scores_and_labels(draw):
    """Scores, labels with one that is ignored, and the class axis."""
    shape = [ints(draw, 1, 3) for _ in range(ints(draw, 1, 5))]
    axis = ints(draw, -len(shape), len(shape) - 1)
    if axis % len(shape) == 0:      # the labels' first axis is the scores', here of the classes
        shape[:2] = [1] if len(shape) == 1 else [shape[0]] * 2
    x = distinct(shape)
    inner = [n for i, n in enumerate(x.shape) if i != axis % x.dim()]
    labels = torch.arange(torch.Size(inner).numel()).reshape(inner) * 7 % x.shape[axis]
    labels.view(-1)[:1] = 255
    return x, labels.double().reshape(inner or [1]), axis


@st.composite
def softmax_with_loss(draw):
    x, labels, axis = scores_and_labels(draw)
    tops = ints(draw, 1, 2)
    return Case('SoftmaxWithLoss', [x, labels], {
        'softmax_param': {'axis': axis}, 'loss_weight': [1, 0][:tops], 'loss_param': {
            'ignore_label': 255,
            'normalization': draw(st.sampled_from(['FULL', 'VALID', 'BATCH_SIZE', 'NONE']))},
        'fcn_repro_param': weighted_and_sampled(draw, x.shape[axis])}, tops)


@st.composite
def softmax_with_targets(draw):
    """Probabilities or sets of classes, one position void; or labels that those around relax."""
    shape = [ints(draw, 1, 3) for _ in range(4)]
    x, tops = distinct(shape), ints(draw, 1, 2)
    own = {'class_weight': [1.5 * c for c in range(shape[1])]} if draw(st.booleans()) else {}
    given = distinct(shape, 1)
    way = draw(st.sampled_from(['PROBABILITIES', 'SETS', 'relax']))
    if way == 'relax':
        given = (torch.arange(x[:, :1].numel()) * 7 % shape[1]).view(x[:, :1].shape).double()
        own['relax'] = draw(st.sampled_from([3, 5]))
    else:
        given = given.mul(3).softmax(1) if way == 'PROBABILITIES' else (given > 0).double()
        given[0, :, 0, 0] = 0
        own['targets'] = way
    return Case('SoftmaxWithLoss', [x, given], {
        'loss_weight': [1, 0][:tops], 'loss_param': {
            'normalization': draw(st.sampled_from(['FULL', 'VALID', 'BATCH_SIZE', 'NONE']))},
        'fcn_repro_param': own}, tops)


@st.composite
def accuracy(draw):
    x, labels, axis = scores_and_labels(draw)
    return Case('Accuracy', [x, labels], {'accuracy_param': {
        'axis': axis, 'ignore_label': 255, 'top_k': ints(draw, 1, x.shape[axis])}},
        tops=ints(draw, 1, 2), learn=())


@st.composite
def euclidean(draw):
    x = blob(draw)
    return Case('EuclideanLoss', [x, distinct(x.shape, 1).reshape(x.shape[0], -1)], learn=(0, 1))


@st.composite
def split(draw):
    return Case('Split', [blob(draw, 0)], tops=ints(draw, 1, 3))


@st.composite
def inputs(draw):
    shapes = [list(blob(draw, 0).shape) for _ in range(ints(draw, 1, 3))]
    return Case('Input', [], {'input_param': {'shape': [{'dim': s} for s in shapes]}},
                tops=len(shapes), learn=())


@st.composite
def dummy_data(draw):
    tops = ints(draw, 1, 3)
    shapes = [{'dim': list(blob(draw, 0).shape)} for _ in range(draw(st.sampled_from([1, tops])))]
    fillers = [{'type': 'gaussian'}] * draw(st.sampled_from([0, 1, tops]))
    return Case('DummyData', [], {'dummy_data_param': {'shape': shapes, 'data_filler': fillers}},
                tops, learn=())


def power(*powers):
    return st.fixed_dictionaries({'power': st.sampled_from(powers),
                                  'scale': st.sampled_from([1, 0, -0.5, 0.25]),
                                  'shift': st.sampled_from([0, 1.5, 2])})


CASES = {
    'Accuracy': accuracy(),
    'Bias': broadcast('Bias', 'bias_param'),
    'Concat': concat(),
    'Convolution': convolution(),
    'Crop': crop(),
    'Deconvolution': deconvolution(),
    'Dropout': st.one_of(unary('Dropout'), dropout_of_channels(), dropout_of_windows()),
    'DummyData': dummy_data(),
    'Eltwise': several('Eltwise', eltwise_param=st.fixed_dictionaries({
        'operation': st.sampled_from(['SUM', 'PROD', 'MAX']), 'stable_prod_grad': st.booleans()})),
    'EuclideanLoss': euclidean(),
    'InnerProduct': inner_product(),
    'Input': inputs(),
    'LRN': lrn(),
    'Pooling': st.one_of(pooling(), adaptive()),
    'Power': unary('Power', power_param=power(0, 1, 2, 3)),
    'ReLU': unary('ReLU', relu_param=st.fixed_dictionaries(
        {'negative_slope': st.sampled_from([0, 0.1, 1])})),
    'Scale': broadcast('Scale', 'scale_param'),
    'Silence': several('Silence', tops=0),
    'Softmax': softmax(),
    'SoftmaxWithLoss': st.one_of(softmax_with_loss(), softmax_with_targets()),
    'Split': split(),
}
REFERENCES, REFUSED = {}, []
for path in sorted(Path(__file__).parent.glob('layer_cases_*.py')):
    more = importlib.import_module(path.stem)
    CASES |= more.CASES
    REFERENCES |= getattr(more, 'REFERENCES', {})
    REFUSED += getattr(more, 'REFUSED', [])
SOURCES = {'Data', 'HDF5Data', 'HDF5Output', 'ImageData', 'MemoryData', 'Python'}
