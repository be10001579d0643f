"""The VOC nets at full width against Caffe, on two photographs; weights from a recipe.

One quick run is in the default suite, the rest is slow (forward and backward of VGG16).
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import CAMVID, SHARED, needs

from fcn_repro import passes
from fcn_repro.data.image import read_image, to_blob
from fcn_repro.net import Net
from fcn_repro.net import placement as runtime
from fcn_repro.net.graph import build
from fcn_repro.parity import Comparison, Limits, error
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.fixtures import full_width
from fcn_repro.parity.fixtures.full_width import INPUTS, MEAN, compare_scores
from fcn_repro.parity.golden import read_golden
from fcn_repro.proto.prototxt import parse_net, read_net

FULL = SHARED / 'full'
PHOTOS = CAMVID / 'JPEGImages'
PROTOTXT = Path(__file__).parents[2] / 'prototxt'
SIZE = 360, 480
NETS = 'voc-fcn32s', 'voc-fcn16s'
recipe = cache(full_width.weights)     # of the goldens' parameters
PHOTO, OTHER = '0001TP_006780', '0016E5_01500'
LIMITS = Limits(losses=1e-6)
# Below pool5 some maximum or some sign is always decided by rounding, and that moves a gradient by
# far more than rounding: against a float64 run, Caffe's own gradients are up to 8.6e-4 off, these
# here 4.2e-4. So there the largest gap says little; what is tight is the sum of magnitudes. In
# Caffe's own arithmetic, which decides as Caffe did, they hold at 1e-4: test_blas.py.
DECIDED_BY_ROUNDING, SUMS = 2e-3, 2e-4

pytestmark = [needs(FULL), needs(PHOTOS)]


@cache
def graph(name):
    """The shipped val net with Inputs in place of its data layer."""
    net, inputs = read_net(PROTOTXT / name / 'val.prototxt'), parse_net(INPUTS % (SIZE * 2))
    assert net.message.layer[0].type == 'Python'
    net.message.layer[0].CopyFrom(inputs.message.layer[0])
    return build(net, 'TEST')


def load(name, use=(), channels_last=False):
    net = Net(graph(name), passes=use)
    for layer, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            blob.parameter.data = torch.from_numpy(recipe(layer, i, blob.shape))
    return runtime.place(net, 'cpu', channels_last)


def image(photo):
    """(1, 3, 360, 480), BGR minus mean."""
    return to_blob(read_image(PHOTOS / f'{photo}.jpg'), MEAN)[None]


def run(net, golden, photo, blobs=()):
    return net.forward(blobs=['score', *blobs], data=image(photo),
                       label=golden['label'].values[None, None].astype(np.float32))


def check_scores(net, golden, blobs=()):
    """Scores, argmax, loss, and some blobs."""
    comparison = Comparison(net.graph.file)
    compare_scores(comparison, net, golden, golden['label'].values, LIMITS)
    for name in blobs:
        comparison.compare(name, net.blobs[name].data, golden.blobs('blobs')[name],
                           LIMITS.activations)
    assert comparison.verdict == OK, comparison.departing
    assert (~golden['near_tie'].values).mean() > 0.9


def check_gradients(net, golden, undecided):
    """undecided: the units of fc6 with an input to their ReLU that is 0 up to rounding."""
    stored = golden.params('param_diffs')
    assert len(stored) > 10
    for layer, blobs in stored.items():
        for i, array in blobs.items():
            diff = net.params[layer][int(i)].diff
            assert diff.shape == array.shape
            ours, values = array.sample(diff.numpy()), array.values.reshape(-1)
            if layer == 'fc6':
                unit = np.arange(diff.numel()) // (diff.numel() // len(diff))
                decided = ~np.isin(array.sample(unit), undecided)
                assert decided.mean() > 0.9
                ours = np.where(decided, ours, values)
            gap = error(ours, values)
            total = error(diff.abs().sum(dtype=torch.float64), array.sums['abs_sum'])
            limits = (DECIDED_BY_ROUNDING, SUMS) if 'conv' in layer else (LIMITS.gradients,) * 2
            assert gap <= limits[0] and total <= limits[1], (layer, i, gap, total)


def undecided_units(net):
    units = net.forward(stop_after='fc6')['fc6'].detach()
    return (units.abs() <= 1e-6 * units.abs().max()).any(3).any(2)[0].nonzero()[:, 0].numpy()


def test_full_width_quickly():
    """FCN-16s as a user runs it: fused, channels-last."""
    golden = read_golden(FULL / 'voc-fcn16s.h5')[PHOTO]
    with torch.no_grad():
        net = load('voc-fcn16s', passes.DEFAULT, channels_last=True)
        run(net, golden, PHOTO)
        assert 'UpCrop' in [step.node.type for plan in net.plans.values() for step in plan.steps]
        check_scores(net, golden)


@pytest.mark.slow
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('use', [(), passes.DEFAULT], ids=['plain', 'fused'])
@pytest.mark.parametrize('photo', [PHOTO, OTHER])
@pytest.mark.parametrize('name', NETS)
def test_full_width(name, photo, use, channels_last):
    golden, net = read_golden(FULL / f'{name}.h5')[photo], load(name, use, channels_last)
    blobs = [] if use else list(golden.blobs('blobs'))
    run(net, golden, photo, blobs)
    check_scores(net, golden, blobs)
    if 'param_diffs' in golden:
        net.backward()
        check_gradients(net, golden, undecided_units(net))
