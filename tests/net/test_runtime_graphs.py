"""Replay: what is recorded, when, and what ends a recording; on a GPU the graphs themselves."""

import logging
from functools import partial

import pytest
import texts
import torch

from fcn_repro.net import cuda_graphs as graphs
from fcn_repro.net.cuda_graphs import Replay
from fcn_repro.net.executor import PlannedExecutor
from fcn_repro.net.placement import place
from fcn_repro.passes import DEFAULT

NET = (texts.inputs(data=(1, 3, 12, 10)) + texts.conv('c1', 'data', num_output=4, kernel=3)
       + texts.layer('ReLU', 'r1', 'c1', 'c1') + texts.conv('score', 'c1', num_output=5)
       + texts.layer('Deconvolution', 'up', 'score', 'up', 'convolution_param { num_output: 5 '
                     'kernel_size: 4 stride: 2 bias_term: false weight_filler { type: "gaussian" '
                     'std: 1 } }')
       + texts.layer('Crop', 'cut', 'up data', 'cut', 'crop_param { axis: 2 offset: 2 }'))
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


class Eager:
    """A Recording without a GPU: static inputs, run at each call as a replay would."""
    made = ()
    error = None

    def __init__(self, run, plan, values, pool):
        if self.error:
            raise RuntimeError(self.error)
        self.run, self.pool, self.calls = run, pool or object(), 0
        with torch.inference_mode(False):
            self.inputs = {v: t.clone() for v, t in values.items()}
        type(self).made += self,

    def __call__(self, plan, values):
        self.calls += 1
        for v, t in self.inputs.items():
            assert t.shape == values[v].shape
            t.copy_(values[v])
        inner = dict(self.inputs)
        losses = self.run(plan, inner)
        values.update({v: inner[v].clone() for pair in plan.deliver.values() for v in pair})
        return losses


def recording(**options):
    """What makes an executor with Eager recordings."""
    return partial(PlannedExecutor, make_replay=partial(Replay, record=Eager, **options))


@pytest.fixture
def recorded(monkeypatch):
    """A net that replays, and the recordings made so far."""
    monkeypatch.setattr(Eager, 'made', ())
    net = texts.net(NET, passes=DEFAULT, executor=recording(limit=2))
    return place(net, prepack=False), lambda: Eager.made


def image(seed, height=12, width=10):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def same(net, data):
    """Run with and without replay; the values are equal."""
    twin = texts.net(NET, passes=DEFAULT)
    twin.share_with(net)
    with torch.inference_mode():
        a, b = net(data=data), place(twin, prepack=False)(data=data)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_off_on_the_cpu():
    assert place(texts.net(NET)).executor.replay is None


def test_a_size_is_recorded_when_it_comes_again(recorded):
    net, made = recorded
    same(net, image(0))
    assert not made()
    same(net, image(1))
    same(net, image(2))
    assert [r.calls for r in made()] == [2]
    same(net, image(3, 14, 10))
    assert len(made()) == 1
    same(net, image(4, 14, 10))
    assert [r.calls for r in made()] == [2, 1] and made()[0].pool is made()[1].pool


def test_the_latest_sizes_stay(recorded):
    net, made = recorded
    for seed, height in enumerate([12, 12, 14, 14, 12, 16, 16, 12]):
        same(net, image(seed, height))
    assert [r.calls for r in made()] == [3, 1, 1]       # 14 went, not 12
    same(net, image(9, 14))
    same(net, image(9, 14))
    assert len(made()) == 4


def test_plans_are_recorded_apart(recorded):
    net, made = recorded
    with torch.inference_mode():
        for _ in range(3):
            cut = net(data=image(0))
            c1 = net(data=image(0), blobs=['c1'])
    assert len(made()) == 2 and set(c1) == {'cut', 'c1'} and set(cut) == {'cut'}


def test_a_result_outlives_the_next_replay(recorded):
    net, _ = recorded
    with torch.inference_mode():
        results = [net(data=image(seed))['cut'] for seed in range(4)]
        again = [net(data=image(seed))['cut'] for seed in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(results, again, strict=True))
    assert not torch.equal(results[2], results[3])


def test_a_changed_weight_ends_all_recordings(recorded):
    net, made = recorded
    for seed in range(3):
        same(net, image(seed))
    net.params['c1'][0].data.mul_(2)
    same(net, image(0))
    assert len(made()) == 1
    same(net, image(1))
    assert len(made()) == 2 and made()[0].calls == 2


def test_autograd_and_debug_info_run_step_by_step(recorded):
    net, made = recorded
    for seed in range(3):
        net(data=image(seed))
        net.backward(cut=torch.ones(1, 5, 12, 10))
    net.set_debug_info(True)
    with torch.no_grad():
        for seed in range(3):
            net(data=image(seed))
    assert not made()


def test_what_is_random_is_not_recorded(monkeypatch):
    monkeypatch.setattr(Eager, 'made', ())
    net = texts.net(NET.replace('name: "r1" type: "ReLU"', 'name: "r1" type: "Dropout"'), 'TRAIN',
                    executor=recording())
    with torch.no_grad():
        results = [net(data=image(0))['cut'] for _ in range(3)]
    assert not Eager.made and not torch.equal(results[1], results[2])


def test_what_goes_on_from_the_pass_before_is_not_recorded(monkeypatch):
    monkeypatch.setattr(Eager, 'made', ())
    net = texts.net(texts.inputs(x=(2, 1, 3), cont=(2, 1)) + texts.layer(
        'LSTM', 'l', 'x cont', 'h', 'recurrent_param { num_output: 2 weight_filler { value: 1 } }'),
        executor=recording())
    with torch.no_grad():
        results = [net(x=torch.ones(2, 1, 3), cont=torch.ones(2, 1))['h'] for _ in range(4)]
    assert not Eager.made and not torch.equal(results[2], results[3])


def test_a_plan_that_cannot_be_recorded_runs_as_before(recorded, monkeypatch, caplog):
    net, made = recorded
    monkeypatch.setattr(Eager, 'error', 'called a synchronizing CUDA operation\nmore')
    with caplog.at_level(logging.WARNING):
        for seed in range(4):
            same(net, image(seed))
    assert not made() and len(caplog.messages) == 1
    assert caplog.messages[0] == (f'{texts.FILE} runs without CUDA graphs: called a synchronizing '
                                  'CUDA operation')


@gpu
@pytest.mark.parametrize('precision', ['fp32', 'tf32', 'bf16', 'fp16'])
def test_a_graph_gives_what_eager_gives(precision):
    nets = [place(texts.net(NET, passes=DEFAULT), 'cuda', precision=precision, graphs=graphs)
            for graphs in (True, False)]
    for seed in range(6):
        data = image(seed, 12 + 2 * (seed % 2)).cuda()
        with torch.inference_mode():
            a, b = (net(data=data)['cut'] for net in nets)
        assert torch.equal(a, b)
    assert sum(r is not None for r in nets[0].executor.replay.recordings.values()) == 2
    for net in nets:
        net.params['score'][0].data.add_(1)
    for seed in range(3):
        with torch.inference_mode():
            a, b = (net(data=image(seed).cuda())['cut'] for net in nets)
        assert torch.equal(a, b)


@gpu
def test_a_layer_that_waits_for_the_gpu(caplog):
    text = NET + texts.inputs(label=(1, 1, 12, 10)) + texts.layer(
        'SoftmaxWithLoss', 'loss', 'cut label', 'loss')
    net = place(texts.net(text, passes=DEFAULT), 'cuda')
    for seed in range(4):
        with torch.no_grad():
            net(data=image(seed).cuda(), label=torch.zeros(1, 1, 12, 10).cuda())
        assert net.total_loss.isfinite()
    recorded = any(r is not None for r in net.executor.replay.recordings.values())
    assert recorded or 'runs without CUDA graphs' in caplog.text


@gpu
def test_synchronisation_is_an_error_only_inside():
    x = torch.ones(3, device='cuda')
    with pytest.raises(RuntimeError), graphs.synchronisation_is_an_error():
        x.sum().item()
    assert x.sum().item() == 3
