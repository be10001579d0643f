"""Goldens of what is no net: metrics, crop offsets, fillers, net surgery."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import torch

from fcn_repro.errors import FcnError
from fcn_repro.fillers import fill
from fcn_repro.net.coord_map import crop
from fcn_repro.net.net import Net
from fcn_repro.net.surgery import expand_input, expand_score, interp, transplant
from fcn_repro.predict.metrics import Confusion
from fcn_repro.proto import TEST
from fcn_repro.proto.netspec import L

from .golden import Entry, read_golden

METRICS = 'overall_accuracy', 'mean_accuracy', 'mean_iu', 'fwavacc'
NORMS = {None: 0, 'FAN_IN': 0, 'FAN_OUT': 1, 'AVERAGE': 2}


def check_metrics(case, path, name, limits):
    """Ground truth and predictions: the histogram exactly, the metrics in float64."""
    golden = read_golden(path).group(name)
    confusion = Confusion(int(golden.attr('n_cl')))
    for i, label in golden.blobs('gt').items():
        confusion.add(label.values, golden.group('pred').need(i).values)
    found = confusion.metrics('release')
    case.exact('hist', confusion.hist, golden.need('hist').values)
    case.near('class_acc', found.class_accuracy, golden.need('class_acc').values, 1e-14)
    case.near('class_iu', found.class_iu, golden.need('class_iu').values, 1e-14)
    for ours, metric in zip(found, METRICS):
        case.number(metric, ours, golden.attr(metric), 1e-14)


def check_crop(case, entry, limits):
    """A net as a list of layers, and what pycaffe's coord_map.crop gave, or that it raised."""
    tops = Entry({}, entry.file)
    for layer in entry['layers']:
        made = getattr(L, layer['type'])(*(tops[b] for b in layer['bottoms']),
                                         ntop=len(layer['tops']), **layer['params'])
        tops.update(zip(layer['tops'], made if isinstance(made, tuple) else (made,)))
    try:
        made = crop(tops[entry['crop_from']], tops[entry['crop_to']])
        ours = made.fn.params['crop_param']
    except FcnError as error:
        ours = f'refused: {error}'
    if 'result' in entry:
        case.equal('crop_param', ours, entry['result'])
    else:
        case.equal(f"refused, as pycaffe: {entry['error']['message']}",
                   isinstance(ours, str), True)


def check_fillers(case, path, limits):
    """bilinear/, constant/ and default/: the same to the last bit."""
    golden = read_golden(path)
    for kind, blobs in ((kind, golden.blobs(kind)) for kind in golden):
        for name, blob in blobs.items():
            fields = {'type': 'bilinear'} if kind == 'bilinear' else {}
            if kind == 'constant':
                fields = {'value': float(blob.values.ravel()[0])}
            case.exact(f'{kind}/{name}', draw(blob.shape, **fields), blob.values)


def draw(shape, **fields):
    """A large draw of a filler; fields that are not given have the defaults of caffe.proto."""
    given = {'type': 'constant', 'value': 0., 'min': 0., 'max': 1., 'mean': 0., 'std': 1.,
             'sparse': -1, 'variance_norm': 0, **fields}
    return fill(tuple(shape), SimpleNamespace(**given), torch.Generator().manual_seed(1))


def check_filler_statistics(case, stat, limits):
    """A draw of ours beside the statistics of one of Caffe's: two draws, 5.6 sigma each."""
    if ':' in stat['filler']:
        words = stat['filler'].replace(':', '').split()
        fields = {k: json.loads(v) for k, v in zip(words[::2], words[1::2])}
    else:
        fields = {'type': stat['filler'], 'variance_norm': NORMS[stat.get('variance_norm')]}
    ours = draw(stat['shape'], **fields).double()
    spread, width = stat['std'] / math.sqrt(ours.numel()), stat['max'] - stat['min']
    bounded = fields.get('type') in ('xavier', 'uniform')
    case.spread('mean', ours.mean(), stat['mean'], 8 * spread)
    case.spread('std', ours.std(), stat['std'], 0.03 * stat['std'])
    for name, value in ('min', ours.min()), ('max', ours.max()):
        case.spread(name, value, stat[name], (0.01 if bounded else 0.15) * width)
    if 'zero_fraction' in stat:
        case.spread('zeros', (ours == 0).double().mean(), stat['zero_fraction'], 0.005)
    if 'row_sums_min' in stat:
        case.spread('sums of rows', (ours.sum(1) - 1).abs().max(), 0, 1e-6)


def check_interp_expand(case, path, limits):
    """The release's surgery: bilinear kernels, a score layer and an input layer grown."""
    golden = read_golden(path)
    kernels = golden.group('interp')
    for name in (name for name in kernels if name.startswith('before')):
        params = {name: [tensor(kernels.need(name))]}
        interp(params, [name])
        after = kernels.need(name.replace('before', 'after'))
        case.exact(f'interp/{after.path}', params[name][0], after.values)
    score = golden.need('expand_score', 'group')
    old = [tensor(score.need(f'old_{kind}')) for kind in ('weight', 'bias')]
    new = [tensor(score.need(f'new_{kind}_before')) for kind in ('weight', 'bias')]
    expand_score({'new': new}, 'new', {'old': old}, 'old')
    for kind, blob in zip(('weight', 'bias'), new):
        case.exact(f'expand_score/{kind}', blob, score.need(f'new_{kind}_after').values)
    four = golden.need('four_channel', 'group')
    small, wanted = tensor(four.need('conv1_1')), four.need('conv1_1_bgrd')
    new = {'new': [torch.zeros(wanted.shape), torch.zeros(wanted.shape[0])]}
    expand_input(new, 'new', {'old': [small, torch.zeros(len(small))]}, 'old')
    case.near('four_channel', new['new'][0], wanted.values, 1e-6)


def check_cast(case, path, limits):
    """An InnerProduct net cast into Convolutions: the same numbers, and what both nets give."""
    golden, folder = read_golden(path), Path(path).parent
    data = {'data': golden.need('data').values}
    nets = {name: Net.read(folder / f'{name}.prototxt', TEST) for name in ('fc', 'fullconv')}
    fc, cast = nets['fc'], nets['fullconv']
    fc.copy_from(folder / 'fc.caffemodel')
    parts = {name: {layer: [blob.data for blob in blobs] for layer, blobs in net.params.items()}
             for name, net in nets.items()}
    with torch.no_grad():
        transplant(parts['fullconv'], parts['fc'], suffix='-conv')
        transplant(parts['fullconv'], parts['fc'])
    for name, net in nets.items():
        group = golden.group(name)
        for layer, blobs in group.params('params').items():
            for i, blob in blobs.items():
                case.exact(f'{name}/params/{layer}/{i}', net.params[layer][int(i)].data,
                           blob.values)
    for net, inputs, blob in (
            (fc, data, golden.group('fc').need('fc7')),
            (cast, data, golden.group('fullconv').need('fc7-conv')),
            (cast, {'data': golden.need('data_large').values},
             golden.group('fullconv').need('fc7-conv_large'))):
        top = blob.path.split('/')[-1].removesuffix('_large')
        case.compare(blob.path, net.forward(blobs=top, **inputs)[top].detach(), blob,
                     limits.activations)


def tensor(array):
    return torch.from_numpy(array.values.copy())
