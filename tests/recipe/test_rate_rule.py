"""The rate rule: its algebra, and that a solver by it takes the steps of the recipe's own."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from data_folders import save_jpeg, save_palette_png, write_split
from hypothesis import given
from hypothesis import strategies as st
from small_runs import DATA, NET, SOLVER, run, write_stage

from fcn_repro.errors import FcnError
from fcn_repro.proto.prototxt import parse_net, parse_solver, read_solver
from fcn_repro.recipe.rate_rule import (
    Batches,
    changes,
    divided,
    doubts,
    per,
    rescaled,
    sums_the_batch,
)
from fcn_repro.solver import Solver
from fcn_repro.solver.rates import current_step, learning_rate

TEXT = '''train_net: "train.prototxt" base_lr: 0.005 lr_policy: "%s" momentum: 0.9 gamma: 0.5
weight_decay: 0.0005 iter_size: %d max_iter: 2000 snapshot: 500 test_interval: 999999999
average_loss: 20 display: 20 stepsize: 400 power: 0.9 stepvalue: 600 stepvalue: 1200
clip_gradients: 10 type: "%s"'''


def solver(policy='fixed', iter_size=1, kind='SGD'):
    return parse_solver(TEXT % (policy, iter_size, kind)).message


# Batches

def test_passes_and_samples():
    own = Batches(1, 20)
    assert divided(own) == own and own.passes == 20
    assert divided(own, batch=4) == Batches(4, 80)
    assert divided(own, batch=4, samples=20) == Batches(4, 20)
    assert divided(own, samples=40) == Batches(1, 40)
    assert divided(own, batch=2, processes=3) == Batches(2, 120)
    assert divided(own, batch=2, samples=20, processes=3) == Batches(2, 20)
    assert divided(Batches(16, 16), samples=32).passes == 2
    with pytest.raises(FcnError, match=r'6 samples an iteration .* passes of 4 images') as error:
        divided(own, batch=4, samples=6)
    assert error.value.code == 'samples-not-multiple' and error.value.facts == {'batch': 4}


def test_more_samples_than_a_solver_counts():
    for sizes in ({'batch': 1 << 31}, {'samples': 1 << 31}, {'batch': 1 << 30, 'processes': 2}):
        with pytest.raises(FcnError) as error:
            divided(Batches(1, 1), **sizes)
        assert error.value.code == 'too-many-samples'
    assert rescaled(solver(), Batches(1, 1), Batches(1, (1 << 31) - 1)).max_iter == 1


# Algebra

@given(batch=st.integers(1, 64), passes=st.integers(1, 64), summed=st.booleans(),
       policy=st.sampled_from(('fixed', 'step', 'exp', 'inv', 'sigmoid', 'poly', 'multistep')))
def test_the_own_recipe_stays_to_the_bit(batch, passes, summed, policy):
    own, p = Batches(batch, batch * passes), solver(policy, passes)
    assert rescaled(p, own, own, summed) == p


@given(batch=st.integers(1, 64), passes=st.integers(1, 64), summed=st.booleans(),
       own_passes=st.integers(1, 20))
def test_step_and_decay_per_sample_stay(batch, passes, summed, own_passes):
    own, new = Batches(1, own_passes), Batches(batch, batch * passes)
    p = solver('fixed', own_passes)
    q = rescaled(p, own, new, summed)

    def step(p, batches):       # of a gradient of 1 per sample
        gradient = (batches.batch if summed else 1) * batches.passes / p.iter_size
        return p.base_lr * gradient / (1 - p.momentum) / batches.samples

    def decay(p, batches):
        return p.base_lr * p.weight_decay / (1 - p.momentum) / batches.samples

    def clip(p, batches):       # of the mean gradient of a sample
        return p.clip_gradients / p.iter_size / (batches.batch if summed else 1)
    for kept in step, decay, clip:
        assert kept(q, new) == pytest.approx(kept(p, own), rel=1e-5)
    assert q.iter_size == new.passes and q.momentum == p.momentum


@given(f=st.sampled_from((2, 4, 5, 10, 20)), summed=st.booleans(),
       policy=st.sampled_from(('fixed', 'step', 'exp', 'inv', 'sigmoid', 'poly', 'multistep')))
def test_there_and_back(f, summed, policy):
    p, own, new = solver(policy), Batches(1, 1), Batches(f, f)
    q = rescaled(p, own, new, summed)
    assert [q.max_iter, q.snapshot, q.stepsize, *q.stepvalue] == [
        2000 // f, 500 // f, 400 // f, 600 // f, 1200 // f]
    back = rescaled(q, new, own, summed)
    for field, value in p.ListFields():
        if field.name != 'test_interval':
            assert getattr(back, field.name) == (
                pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), field.name


@pytest.mark.parametrize('policy', ['step', 'exp', 'inv', 'poly', 'multistep', 'sigmoid'])
def test_rates_fall_as_fast_per_sample(policy):
    p = solver(policy)
    p.gamma = 0.5 if policy in ('step', 'multistep') else 0.999 if policy == 'exp' else 0.01
    q = rescaled(p, Batches(1, 1), Batches(4, 4))

    def rates(p, scale):
        found, step = {}, 0
        for it in range(p.max_iter):
            step = current_step(p, it, step)
            found[it * scale] = float(learning_rate(p, it, step)) / scale
        return found
    slow, fast = rates(p, 1), rates(q, 4)
    assert len(fast) == 500
    for sample, rate in fast.items():
        assert rate == pytest.approx(slow[sample], rel=1e-3), (policy, sample)


def test_counts_stay_whole_and_in_range():
    assert [per(n, Fraction(4)) for n in (1, 2, 6, 7, 2000)] == [1, 1, 2, 2, 500]
    assert per(999999999, Fraction(1, 20)) == (1 << 31) - 1
    q = rescaled(solver('fixed', 20), Batches(1, 20), Batches(1, 1))
    assert q.max_iter == 40000 and q.test_interval == (1 << 31) - 1


# Real steps



@pytest.fixture
def stepped(tmp_path, monkeypatch):
    """A function that trains the small net on images of one size, by a solver that is rescaled from
    batches of 1; its weights."""
    monkeypatch.chdir(tmp_path)
    for part in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (tmp_path / 'voc' / part).mkdir(parents=True)
    for i in range(5):
        rng = np.random.default_rng(i)
        save_jpeg(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8),
                  tmp_path / f'voc/JPEGImages/im{i}.jpg')
        label = rng.integers(0, 3, (24, 32)).astype(np.uint8)
        label[0] = 255
        save_palette_png(label, tmp_path / f'voc/SegmentationClass/im{i}.png')
    write_split(tmp_path / 'voc', 'train', [f'im{i}' for i in range(5)])
    net = NET.replace('layer { name: "drop1" type: "Dropout" bottom: "pool1" top: "pool1" }\n', '')

    def train(loss, base_lr, own, new):
        layers = net.replace('normalize: true', loss)
        data = DATA.replace("'seed'", f"'batch_size': {new.batch}, 'seed'") % ('voc', 'train')
        path = write_stage(tmp_path / 'net', 'voc', layers, SOLVER.replace(
            'base_lr: 0.01', f'base_lr: {base_lr}').replace(
            'iter_size: 2', f'iter_size: {own.passes}'))
        path.with_name('train.prototxt').write_text(data + layers)
        summed = sums_the_batch(parse_net(data + layers))
        assert summed == ('NONE' in loss)
        text = read_solver(path)
        text = replace(text, message=rescaled(text.message, own, new, summed))
        done = run(Solver(text, prefix=tmp_path / 'run/train'))
        return torch.cat([blob.parameter.detach().flatten() for blob in done.net.learnable_params])
    return train


@pytest.mark.parametrize('loss, base_lr', [
    ('normalize: true', 0.01), ('normalize: false', 1e-5), ('normalization: NONE', 1e-5),
    ('normalization: FULL', 0.01), ('normalization: BATCH_SIZE', 1e-5)])
def test_a_batch_is_as_many_passes(stepped, loss, base_lr):
    """Whatever the loss is divided by: with as many samples an iteration, one pass of 4 images
    takes the steps of 4 passes of one."""
    accumulated = stepped(loss, base_lr, Batches(1, 4), Batches(1, 4))
    batched = stepped(loss, base_lr, Batches(1, 4), Batches(4, 4))
    assert (accumulated - batched).abs().max() < 1e-5 * accumulated.abs().max()


# Refusals and remarks

def test_solvers_that_the_rule_does_not_cover():
    for kind in ('Adam', 'AdaGrad', 'RMSProp', 'AdaDelta'):
        with pytest.raises(FcnError, match=f"type '{kind}'") as error:
            rescaled(solver(kind=kind), Batches(1, 1), Batches(4, 4))
        assert error.value.code == 'rate-rule'
        assert rescaled(solver(kind=kind, iter_size=4), Batches(1, 4), Batches(4, 4)).iter_size == 1
    assert rescaled(solver(kind='Nesterov'), Batches(1, 1), Batches(4, 4)).base_lr == \
        pytest.approx(0.02)


LOSS = 'layer { name: "%s" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "%s" %s }\n'


def test_losses_that_depend_on_the_batch():
    both = LOSS % ('a', 'a', 'loss_param { normalization: NONE }') + LOSS % ('b', 'b', '')
    with pytest.raises(FcnError, match="the loss 'a' is a sum over the batch and 'b' is not"):
        sums_the_batch(parse_net(both))
    unweighted = both.replace('top: "a"', 'top: "a" loss_weight: 0')
    assert not sums_the_batch(parse_net(unweighted))
    with pytest.raises(FcnError, match=r"layer 'r' .*no loss layer"):
        sums_the_batch(parse_net('layer { name: "r" type: "Reduction" bottom: "x" top: "r" '
                                 'loss_weight: 1 }'))


def test_remarks():
    own, p = Batches(1, 1), solver()
    new = Batches(4, 4)
    q = rescaled(p, own, new)
    assert changes(p, q) == 'base_lr 0.005 -> 0.02, max_iter 2000 -> 500'
    assert not list(doubts(q, own, new))
    far = Batches(4, 32)
    q = rescaled(p, own, far)
    rate, memory = doubts(q, own, far)
    assert 'has 32 times the samples' in rate
    assert 'remembers 10 iterations, and the run has 62' in memory
