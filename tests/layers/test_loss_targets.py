"""SoftmaxWithLoss of the hardest positions, of probabilities and of sets of classes: against
torch, loops over positions, and differences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layer_case import distinct, make_layer
from texts import assert_facts, conv, image, inputs, layer, message
from texts import net as build_net

from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST, TRAIN

WEIGHTS = [0.5, 2, 0.25, 1.25]
MODES = pytest.mark.parametrize('mode', ['FULL', 'VALID', 'BATCH_SIZE', 'NONE'])
SIZE = 2, 4, 3, 5


def make(phase=TRAIN, mode='VALID', ignore=255, **own):
    loss = {'normalization': mode} | ({} if ignore is None else {'ignore_label': ignore})
    return make_layer('SoftmaxWithLoss', 2, 1, {'loss_param': loss, 'fcn_repro_param': own}, phase)


def scores():
    return distinct(SIZE).mul_(5).requires_grad_()


def labels():
    out = torch.arange(30).reshape(2, 1, 3, 5) * 7 % 4
    out[0, 0, 0] = 255
    return out


def divided(total, count, mode):
    return total / {'FULL': 30, 'VALID': count, 'BATCH_SIZE': 2, 'NONE': 1}[mode]


def same(ours, wanted, x):
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (ours, wanted)),
                               rtol=1e-11, atol=1e-14)


# ---- the hardest positions -----------------------------------------------------------------------

def mined(x, label, thresh, share):
    """BiSeNet's rule by sorting: the void labels that the others become."""
    p, least = x.detach().softmax(1), max(1, int(share * label.numel()))
    of = {(n, i, j): float(p[n, label[n, 0, i, j], i, j])
          for n, _, i, j in np.ndindex(*label.shape) if label[n, 0, i, j] != 255}
    limit = max(thresh, sorted(of.values())[least - 1]) if least <= len(of) else 1
    out = torch.full_like(label, 255)
    for (n, i, j), value in of.items():
        if value <= limit:
            out[n, 0, i, j] = label[n, 0, i, j]
    return out


@MODES
@pytest.mark.parametrize('thresh, least', [(0.7, 1), (0.05, 9), (0.001, 1), (0.3, 12), (1, 5),
                                           (0.05, 25), (0.05, 26), (0.05, 29)])
def test_the_hardest_take_part(thresh, least, mode):
    x, label = scores(), labels()
    share = (least + 0.5) / label.numel()
    left = mined(x, label, thresh, share)[:, 0]
    loss, = make(mode=mode, ohem_thresh=thresh, ohem_min_ratio=share).forward([x, label], [])
    count = int((left != 255).sum())
    assert count >= min(least, 25)
    total = F.cross_entropy(x, left, ignore_index=255, reduction='sum')
    same(loss, divided(total, count, mode), x)


@pytest.mark.parametrize('share, count', [(1, 25), (1e-6, 1), (0.5, 15)])
def test_the_share_that_is_kept_at_least(share, count):
    """Of 30 positions, 5 of them void; no probability is as low as the threshold."""
    x, label = scores(), labels()
    loss, = make(mode='NONE', ohem_thresh=1e-9, ohem_min_ratio=share).forward([x, label], [])
    terms = F.cross_entropy(x, label[:, 0], ignore_index=255, reduction='none').flatten()
    assert loss.item() == pytest.approx(terms.sort(descending=True).values[:count].sum().item())


def test_all_take_part_when_testing():
    x, label = scores(), labels()
    plain, mining = (make(TEST, **own).forward([x, label], [])[0]
                     for own in ({}, {'ohem_thresh': 0.01, 'ohem_min_ratio': 0.04}))
    assert torch.equal(plain, mining)


def test_a_sample_is_mined_and_weighed():
    x, label = scores(), labels()
    own = {'keep_ratio': 0.5, 'class_weight': WEIGHTS}
    kept = make(**own).kept((2, 3, 5), 1, x.device).unsqueeze(1)
    left = mined(x, label.masked_fill(~kept, 255), 0.1, 0.14)[:, 0]
    loss, = make(**own, ohem_thresh=0.1, ohem_min_ratio=0.14).forward([x, label], [])
    total = F.cross_entropy(x, left, torch.tensor(WEIGHTS).double(), ignore_index=255,
                            reduction='sum')
    same(loss, total / (left != 255).sum(), x)


def test_scores_that_are_no_numbers_are_not_hidden():
    x = scores().detach()
    x[1, 2, 2, 2] = torch.nan
    loss, = make(ohem_thresh=0.1, ohem_min_ratio=0.07).forward([x, labels()], [])
    assert loss.isnan()


def test_what_is_recorded_on_a_gpu():
    assert make().replayable and make(ignore=None, targets='SETS').replayable
    assert not make(relax=3).replayable
    assert not make(ohem_thresh=0.1, ohem_min_ratio=0.07).replayable


def test_nothing_to_mine():
    void = torch.full((2, 1, 3, 5), 255)
    loss, = make(ohem_thresh=0.1, ohem_min_ratio=0.07).forward([scores(), void], [])
    assert loss == 0
    empty = torch.zeros(2, 4, 0, 5, requires_grad=True)
    assert make(ohem_thresh=0.1, ohem_min_ratio=0.07).forward([empty, void[:, :, :0]], [])[0] == 0


# ---- probabilities -------------------------------------------------------------------------------

def probabilities(void=True):
    q = distinct(SIZE, 1).mul(4).softmax(1)
    q[0, :, 0] *= not void
    return q


@MODES
@pytest.mark.parametrize('weights', [None, WEIGHTS])
def test_probabilities_are_torch_s_targets(weights, mode):
    x, q = scores(), probabilities()
    own = {'class_weight': weights} if weights else {}
    loss, = make(mode=mode, ignore=None, targets='PROBABILITIES', **own).forward([x, q], [])
    factors = None if weights is None else torch.tensor(weights).double()
    total = F.cross_entropy(x, q, factors, reduction='sum')
    same(loss, divided(total, 25, mode), x)


def test_certain_targets_are_labels():
    x, label = scores(), labels()[:, 0].clamp(max=3)
    q = F.one_hot(label, 4).movedim(-1, 1).double()
    for way in 'PROBABILITIES', 'SETS':
        ours, = make(ignore=None, targets=way).forward([x, q], [])
        same(ours, make(ignore=None).forward([x, label], [])[0], x)


def test_targets_get_no_gradient():
    x, q = scores(), probabilities().requires_grad_()
    loss, = make(ignore=None, targets='PROBABILITIES').forward([x, q], [])
    assert torch.autograd.grad(loss, q, allow_unused=True) == (None,)


# ---- sets ----------------------------------------------------------------------------------------

def sets():
    given = (distinct(SIZE, 2) > 0).double()
    given[1, :, 2, :2] = 0
    given[0, :, 0, 0] = 1
    return given


def relaxed(x, given, weights):
    """(the sum, the number of positions with a set), by a loop over positions."""
    p, total, count = x.softmax(1), 0, 0
    for n, i, j in np.ndindex(2, 3, 5):
        chosen = given[n, :, i, j] > 0
        if chosen.any():
            weight = torch.tensor(weights)[chosen].double().mean()
            total, count = total - weight * p[n, chosen, i, j].sum().log(), count + 1
    return total, count


@MODES
@pytest.mark.parametrize('weights', [None, WEIGHTS])
def test_sets_by_a_loop(weights, mode):
    x, given = scores(), sets()
    own = {'class_weight': weights} if weights else {}
    loss, = make(mode=mode, ignore=None, targets='SETS', **own).forward([x, given], [])
    total, count = relaxed(x, given, weights or [1.] * 4)
    assert 0 < count < 30
    same(loss, divided(total, count, mode), x)


@pytest.mark.parametrize('own, given', [
    ({'targets': 'PROBABILITIES', 'class_weight': WEIGHTS}, probabilities()),
    ({'targets': 'SETS', 'class_weight': WEIGHTS}, sets()), ({'targets': 'SETS'}, sets()),
    ({'relax': 3}, labels()), ({'ohem_thresh': 0.2, 'ohem_min_ratio': 0.24}, labels())])
def test_gradients_by_differences(own, given):
    one = make(ignore=None if 'targets' in own else 255, **own)
    assert torch.autograd.gradcheck(lambda x: one.forward([x, given], [])[0], scores())


def test_far_scores_stay_numbers():
    """A set whose probability is 0 in float32 has a finite loss and gradient."""
    x = torch.tensor([[300., 0, -300]], requires_grad=True)
    loss, = make(ignore=None, targets='SETS').forward([x, torch.tensor([[0., 1, 1]])], [])
    loss.backward()
    assert loss == 300 and x.grad.tolist() == [[1, -1, 0]]


@pytest.mark.parametrize('side', [3, 5])
def test_labels_around_make_the_set(side):
    """Void ones add no class, and one with a class near it has that."""
    x, label = scores(), labels()
    label[1] = 255
    given = torch.zeros(SIZE).double()
    for n, i, j, y, z in np.ndindex(2, 3, 5, 3, 5):
        if max(abs(y - i), abs(z - j)) <= side // 2 and label[n, 0, y, z] != 255:
            given[n, label[n, 0, y, z], i, j] = 1
    loss, = make(relax=side, class_weight=WEIGHTS).forward([x, label], [])
    wanted, = make(ignore=None, targets='SETS', class_weight=WEIGHTS).forward([x, given], [])
    same(loss, wanted, x)
    sampled, = make(relax=side, keep_ratio=0.5).forward([x, label], [])
    same(sampled, make(ignore=None, targets='SETS', keep_ratio=0.5).forward([x, given], [])[0], x)


# ---- in nets -------------------------------------------------------------------------------------

UP = ('param { lr_mult: 0 } convolution_param { num_output: 4 group: 4 kernel_size: 4 stride: 2 '
      'bias_term: false weight_filler { type: "bilinear" } }')
NET = (inputs(x=(2, 3, 6, 7), y=(2, 1, 12, 14), q=(2, 4, 12, 14)) + conv('c', 'x', num_output=4)
       + layer('Deconvolution', 'up', 'c', 'up', UP)
       + layer('Crop', 'score', 'up y', 'score', 'crop_param { axis: 2 offset: 1 }'))
FIELDS = [('y', 'ohem_thresh: 0.2 ohem_min_ratio: 0.06'), ('y', 'relax: 3'),
          ('q', 'targets: PROBABILITIES'), ('q', 'targets: SETS')]


@pytest.mark.parametrize('target, field', [*FIELDS, ('y', 'relax: 1 targets: LABELS')])
def test_no_pass_forgets_a_field(target, field):
    """What the fused op does not compute stays apart, with the loss of a net without passes."""
    text = NET + layer('SoftmaxWithLoss', 'loss', f'score {target}', 'loss',
                       f'fcn_repro_param {{ {field} }}')
    given = {'x': image(2, 3, 6, 7), 'y': torch.arange(336.).view(2, 1, 12, 14) * 7 % 4,
             'q': image(2, 4, 12, 14, seed=1).softmax(1)}
    if 'SETS' in field:
        given['q'] = (given['q'] > 0.25).float()
    plain, quick = build_net(text, 'TRAIN'), build_net(text, 'TRAIN', passes=DEFAULT)
    for ours, other in zip(plain.params['c'], quick.params['c'], strict=True):
        other.data.copy_(ours.data)
    losses = [net.forward(**given)['loss'] for net in (plain, quick)]
    torch.testing.assert_close(*losses)
    types = {step.node.type for plan in quick.executor.plans.values() for step in plan.steps}
    assert ('UpCropLoss' in types) == ('LABELS' in field)


@pytest.mark.parametrize('own, bottom, facts', [
    ('ohem_thresh: 0.7', 'n', ('one of ohem_thresh and ohem_min_ratio', 'both')),
    ('ohem_min_ratio: 0.1', 'n', ('one of ohem_thresh and ohem_min_ratio',)),
    ('ohem_thresh: 0 ohem_min_ratio: 0.1', 'n', ('ohem_thresh 0',)),
    ('ohem_thresh: 1.5 ohem_min_ratio: 0.1', 'n', ('ohem_thresh 1.5',)),
    ('ohem_thresh: nan ohem_min_ratio: 0.1', 'n', ('ohem_thresh nan',)),
    ('ohem_thresh: 0.7 ohem_min_ratio: 0', 'n', ('ohem_min_ratio 0',)),
    ('ohem_thresh: 0.7 ohem_min_ratio: 1.5', 'n', ('ohem_min_ratio 1.5',)),
    ('ohem_thresh: 0.7 ohem_min_ratio: nan', 'n', ('ohem_min_ratio nan',)),
    ('ohem_thresh: 0.7 ohem_min_ratio: 0.1 relax: 3', 'n', ('relax with ohem_thresh',)),
    ('ohem_thresh: 0.7 ohem_min_ratio: 0.1 targets: SETS', 'x', (
        'ohem_thresh with targets: SETS',)),
    ('relax: 3 targets: PROBABILITIES', 'x', ('relax with targets: PROBABILITIES',)),
    ('relax: 0', 'n', ('relax 0',)), ('relax: 2', 'n', ('relax 2', 'odd')),
    ('relax: 3', 'n', ('relax', '2x3', '(N, C, H, W)')),
    ('targets: SETS', 'n', ('targets: SETS', 'shape 2', '2x3')),
])
def test_what_is_refused(own, bottom, facts):
    text = inputs(x=(2, 3), n=(2,)) + layer('SoftmaxWithLoss', 'it', f'x {bottom}', 'y',
                                            f'fcn_repro_param {{ {own} }}')
    assert_facts(message(build_net, text), "net.prototxt:3: layer 'it' (SoftmaxWithLoss)", *facts)


def test_void_is_a_position_of_zeros():
    text = inputs(x=(2, 3)) + layer('SoftmaxWithLoss', 'it', 'x x', 'y', 'loss_param { '
                                    'ignore_label: 255 } fcn_repro_param { targets: SETS }')
    assert_facts(message(build_net, text), "net.prototxt:2: layer 'it' (SoftmaxWithLoss)",
                 'loss_param.ignore_label with targets: SETS', 'all 0')


@pytest.mark.parametrize('way, bad', [
    ('PROBABILITIES', [0.5, 0.4, 0]), ('PROBABILITIES', [1.5, -0.5, 0]),
    ('PROBABILITIES', [torch.nan, 1, 0]), ('PROBABILITIES', [torch.inf, 0, 0]),
    ('SETS', [0.5, 0, 1]), ('SETS', [2, 0, 0]), ('SETS', [torch.nan, 1, 0])])
def test_targets_that_are_none(way, bad):
    """A teacher's scores in place of its probabilities are such; where values are not looked at
    before (CUDA graphs) the loss is NaN."""
    one = make(ignore=None, targets=way)
    given = [torch.zeros(2, 3), torch.tensor([[1., 0, 0], bad])]
    assert_facts(message(one.forward, given, []), "layer 'it' (SoftmaxWithLoss)",
                 '1 of 2 positions', f'targets: {way}', 'Give')
    one.state.unchecked = True
    assert math.isnan(one.forward(given, [])[0])
