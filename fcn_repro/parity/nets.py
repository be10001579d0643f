"""Goldens of whole nets: net.prototxt, weights, and golden_*.h5 for several input sizes, whose
large arrays are stored in part; shapes.json with every blob's shape."""

from pathlib import Path

import numpy as np

from fcn_repro.formats.weights import modern, read_solverstate, read_weights
from fcn_repro.net.net import Net
from fcn_repro.proto import TEST

from .golden import read_golden, read_json
from .layers import compare_params, existing, loss_of, read_net, whole
from .ties import WatchedNet, freedom


def check_net(case, path, weights, limits):
    """path: of the .h5. Entries of blob diffs may differ by what a choice among tied maxima can
    change on top of the limit; that choice leaves their sum."""
    golden = read_golden(path)
    net = read_net(Path(path).with_name('net.prototxt'), golden, WatchedNet)
    net.copy_from(weights)
    net.forward(blobs='all', **whole(golden, 'inputs'))
    if 'blobs' in golden:
        compared = {name for name in net.blobs if name not in golden.group('inputs')}
        stored = golden.blobs('blobs')
        for name in case.expect('blobs', compared, stored):
            case.compare(f'blobs/{name}', net.blobs[name].data, stored[name], limits.activations)
    for name in (name for name in golden.attrs if name.startswith('loss/')):
        case.equal(f'{name} is a blob', name[5:] in net.blobs, True)
        if name[5:] in net.blobs:
            case.number(name, float(net.blobs[name[5:]].data), golden.attrs[name], limits.losses)
    case.number('loss', loss_of(net), golden.attr('total_loss'), limits.losses)
    if any(name.endswith('_diffs') for name in golden):
        net.backward()
        compare_params(case, 'param_diffs', net, golden.params('param_diffs'), limits.gradients,
                       lambda blob: blob.diff, whole='blobs' in golden)
        compare_blob_diffs(case, net, golden, limits.gradients)


def compare_blob_diffs(case, net, golden, limit):
    free = freedom(net)
    for group in 'blob_diffs', 'input_diffs':
        for name, array in existing(case, group, net.blobs, golden):
            value = net.graph.first(name)
            case.compare(f'{group}/{name}', net.blobs[name].diff, array, limit,
                         np.asarray(free[value]) if value in free else 0,
                         sums=('sum',) if value in free else ('sum', 'abs_sum'))


def check_weights(case, first, second, limits):
    """Two files of one net's weights hold the same numbers. A shared blob stands under all its
    layers in a binary file, but only under the first one in Caffe's HDF5."""
    one, two = ({f'{layer}/{i}': blob for layer, blobs in modern(read_weights(path)).items()
                 for i, blob in enumerate(blobs) if blob is not None} for path in (first, second))
    shared = {name for name in one.keys() - two.keys() if str(second).endswith('.h5')
              and any(np.array_equal(one[name], blob) for blob in two.values())}
    for name in case.expect('weights', one.keys() - shared, two):
        case.exact(name, one[name], two[name])


def check_states(case, first, second, limits):
    """Two files of one solver's state say the same."""
    one, two = read_solverstate(first), read_solverstate(second)
    case.equal('iter', one.iter, two.iter)
    case.equal('current_step', one.current_step, two.current_step)
    case.equal('length of history', len(one.history), len(two.history))
    for i, (ours, golden) in enumerate(zip(one.history, two.history)):
        case.exact(f'history/{i}', np.reshape(ours, golden.shape), golden)


def check_shapes(case, path, name, limits):
    """The shapes of all blobs of net `name`, which lies in a folder of that name."""
    net = Net.read(Path(path).parent / name / 'net.prototxt', TEST)
    for size in read_json(path)['nets'][name]:
        blobs = size['blobs']
        shapes, _ = net.infer_shapes({net.graph.first(blob): tuple(blobs[blob])
                               for blob in net.graph.inputs})
        ours = {net.graph.values[v]: list(shape) for v, shape in shapes.items()
                if '_split_' not in net.graph.values[v]}
        for blob in case.expect(f'{size["input"]}', ours, blobs):
            case.equal(f'{size["input"]}/{blob}', ours[blob], blobs[blob])

