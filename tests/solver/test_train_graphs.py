"""Training with CUDA graphs: recorded iterations have the bits and the errors of others."""

import logging
from functools import partial

import numpy as np
import pytest
import texts
import torch
from data_folders import save_palette_png
from small_runs import NET, label_path, small_voc, write_stage
from texts import conv, layer

from fcn_repro.data.image import read_label
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.net.executor import PlannedExecutor
from fcn_repro.net.train_graphs import TrainRecording, TrainReplay, collecting
from fcn_repro.passes import DEFAULT
from fcn_repro.proto.prototxt import parse_solver
from fcn_repro.solver import Solver

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
NORMED = NET.replace('layer { name: "relu1"', '''layer { name: "bn" type: "BatchNorm"
  bottom: "conv1" top: "bn" } layer { name: "scale" type: "Scale" bottom: "bn" top: "conv1b"
  scale_param { bias_term: true } } layer { name: "relu1"''').replace(
      'name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1"',
      'name: "relu1" type: "ReLU" bottom: "conv1b" top: "conv1b"').replace(
      'bottom: "conv1" top: "pool1"', 'bottom: "conv1b" top: "pool1"')
LEARNED = NET.replace('param { lr_mult: 0 }', '')
WEIGHTED = LEARNED.replace('normalize: true }', 'normalization: FULL } fcn_repro_param { '
                           'class_weight: [1, 2, 0.5] keep_ratio: 0.5 keep_cell: 2 }')
NETS = {'plain': NET, 'normed': NORMED, 'learned': LEARNED, 'weighted': WEIGHTED}


class Eager(TrainRecording):
    """A TrainRecording without a GPU: its passes are computed anew into the same tensors."""
    made = ()
    error = None

    def capture(self):
        if self.error:
            raise RuntimeError(self.error)
        self.backward(self.forward(self.fed()))
        values = self.fed()
        total = self.forward(values)
        self.backward(total)
        self.keep(total, values)
        self.calls, self.pool = 0, self.pool or object()
        type(self).made += self,

    def launch(self, i):
        before, written = [p.grad for p in self.leaves], list(self.written)
        with torch.enable_grad(), collecting(self.run.net, self.drawn, self.written):
            if i == 0:
                values = self.fed()
                self.ahead = self.forward(values)
                self.total.copy_(self.ahead.detach())
                for v, tensor in self.values.items():
                    tensor.copy_(values[v].detach())
                for (*_, old), (*_, new) in zip(written, self.written, strict=True):
                    for a, b in zip(old, new, strict=True):
                        a.copy_(b)
                self.written[:] = written
            else:
                self.calls += 1
                for p in self.leaves:
                    p.grad = None
                self.backward(self.ahead)
                for p, grad in zip(self.leaves, self.grads, strict=True):
                    assert p.grad.stride() == grad.stride()
                    with torch.no_grad():
                        grad.copy_(p.grad)
        for p, grad in zip(self.leaves, before, strict=True):
            p.grad = grad


class Recorded(Net):
    """A Net whose training passes are recorded."""
    executor_type = partial(PlannedExecutor, make_training=partial(TrainReplay, record=Eager))


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setattr(Eager, 'made', ())
    return lambda: Eager.made


@pytest.fixture
def stage(tmp_path):
    """Makes a solver file from the text of a net and of further fields."""
    def make(net='plain', more=''):
        file = write_stage(tmp_path / 'net', small_voc(tmp_path / 'voc'))
        train = tmp_path / 'net' / 'train.prototxt'
        train.write_text(train.read_text().replace(NET, NETS[net]))
        file.write_text(file.read_text().replace('max_iter: 6', 'max_iter: 100').replace(
            'iter_size: 2', more))
        return file
    return make


def state(solver):
    """All that goes on, as bytes, and what the last iteration left."""
    tensors = [*(blob.data for blob in solver.net.learnable_params), *solver.history,
               *(blob.diff for blob in solver.net.learnable_params)]
    return ([t.cpu().numpy().tobytes() for t in tensors], solver.loss, list(solver.losses),
            solver.net.state.position)


def iterate(solver, count):
    losses = []
    for _ in range(count):
        solver.iterate()
        losses.append(solver.loss)
    return losses


# The same bits

@pytest.mark.parametrize('net, more', [
    ('plain', ''), ('plain', 'iter_size: 2'), ('plain', 'iter_size: 5 clip_gradients: 0.1'),
    ('normed', 'iter_size: 2'), ('learned', ''), ('weighted', 'iter_size: 3')])
def test_recorded_iterations_have_the_bits_of_others(stage, tmp_path, made, net, more):
    """Over three sizes of images, and across a restore."""
    file = stage(net, more)
    plain, recorded = (Solver(file, prefix=tmp_path / 'x', net_class=cls)
                       for cls in (Net, Recorded))
    assert iterate(plain, 6) == iterate(recorded, 6) and state(plain) == state(recorded)
    recorded.snapshot()
    iterate(plain, 6)
    iterate(recorded, 6)
    assert state(plain) == state(recorded)
    assert len(made()) == 3 and min(recording.calls for recording in made()) > 0
    again = Solver(file, prefix=tmp_path / 'x', net_class=Recorded)
    again.restore(tmp_path / 'x_iter_6.solverstate.h5')
    iterate(again, 6)
    assert state(again) == state(plain)


def test_outputs_and_a_users_passes_between_iterations(stage, made):
    file = stage()
    plain, recorded = (Solver(file, net_class=cls) for cls in (Net, Recorded))
    for solver in plain, recorded:
        iterate(solver, 8)
        solver.net.forward(blobs=['score'])
        solver.net.backward()               # on top of the iteration's gradients
        solver.diff = solver.net.blobs['score'].diff.clone()
        for _ in range(6):
            solver.outputs, solver.value = solver.net.forward_backward()
    assert made() and torch.equal(plain.diff, recorded.diff)
    assert plain.value == recorded.value == plain.outputs['loss'] == recorded.outputs['loss']
    assert recorded.net.total_loss == plain.net.total_loss
    assert state(plain) == state(recorded)
    with pytest.raises(FcnError, match='backward ran already'):
        recorded.net.backward()


# What ends a recording

def inputs_net(loss_param='', more=''):
    return texts.inputs(data=(1, 3, 12, 10), label=(1, 1, 12, 10)) + conv(
        'c1', 'data', num_output=4, kernel=3, field='pad: 1') + layer('ReLU', 'r1', 'c1', 'c1') \
        + conv('score', 'c1', num_output=5) + more \
        + layer('SoftmaxWithLoss', 'loss', 'score label', 'loss', loss_param)


def solver_of(net, record=Eager, **options):
    text = parse_solver('base_lr: 0.01 lr_policy: "fixed" max_iter: 100 snapshot_prefix: "x" '
                        f'net_param {{ {net} }}', 'solver.prototxt')

    class Recording(Net):
        executor_type = partial(PlannedExecutor,
                                make_training=partial(TrainReplay, record=record, **options))
    return Solver(text, net_class=Recording, passes=())


def feed(solver, height=12, seed=0):
    for name, channels in ('data', 3), ('label', 1):
        blob = solver.net.blobs[name]
        blob.reshape(1, channels, height, 10)
        blob.data.copy_(texts.image(1, channels, height, 10, seed=seed) if channels == 3 else
                        texts.image(1, 1, height, 10, seed=seed).abs().clamp(max=4).floor())


def test_a_bad_label_is_named_before_the_update(made):
    solver = solver_of(inputs_net())
    feed(solver)
    iterate(solver, 3)
    weights = [blob.data.clone() for blob in solver.net.learnable_params]
    position = solver.net.state.position
    solver.net.blobs['label'].data[0, 0, 2, 3] = 7
    with pytest.raises(FcnError) as caught:
        solver.iterate()
    assert made()[0].calls == 3 and solver.iter == 3 and solver.net.state.position == position
    assert caught.value.layer == 'loss' and 'such as 7' in caught.value.what
    assert all(map(torch.equal, weights, (blob.data for blob in solver.net.learnable_params)))
    feed(solver)
    iterate(solver, 1)
    assert made()[0].calls == 4


def test_a_loss_that_is_not_finite_ends_the_run():
    solver = solver_of(inputs_net())
    feed(solver)
    iterate(solver, 3)
    solver.net.blobs['data'].data.fill_(float('nan'))
    with pytest.raises(FcnError, match='the loss became nan at iteration 3') as caught:
        solver.iterate()
    assert caught.value.code == 'diverged'


def test_fixed_parameters_that_change_are_recorded_again(made):
    """Others are the solver's to change, and may be a user's."""
    solver = solver_of(inputs_net(more=layer('Deconvolution', 'same', 'score', 'same',
                                             'param { lr_mult: 0 } convolution_param { num_output: '
                                             '5 kernel_size: 1 bias_term: false weight_filler { '
                                             'value: 1 } }')))
    feed(solver)
    iterate(solver, 3)
    solver.net.params['c1'][0].data.mul_(2)
    iterate(solver, 1)
    assert len(made()) == 1
    solver.net.params['same'][0].data.mul_(2)
    iterate(solver, 3)
    assert [recording.calls for recording in made()] == [3, 2]


def test_the_most_frequent_sizes_stay(made):
    solver = solver_of(inputs_net(), limit=2)
    for height in 12, 12, 12, 14, 14, 16, 16, 12, 16, 16, 14, 12:
        feed(solver, height)
        iterate(solver, 1)
    assert [r.calls for r in made()] == [4, 1, 1]       # 16 came when it was twice as frequent
    assert {key[1][1][2] for key in solver.net.executor.training.recordings} == {12, 16}
    assert made()[0].pool is made()[2].pool


def test_what_cannot_be_recorded_runs_as_before(monkeypatch, caplog, made):
    monkeypatch.setattr(Eager, 'error', 'called a synchronizing CUDA operation\nmore')
    solver, plain = solver_of(inputs_net()), solver_of(inputs_net(), limit=0)
    for each in solver, plain:
        feed(each)
        with caplog.at_level(logging.WARNING):
            iterate(each, 4)
    assert state(solver) == state(plain) and not made()
    assert [text for text in caplog.messages if 'CUDA' in text] == [
        'solver.prototxt trains without CUDA graphs: called a synchronizing CUDA operation']


@pytest.mark.parametrize('net', [
    inputs_net(more=layer('Parameter', 'p', '', 'p', 'parameter_param { shape { dim: 1 } }')
               + layer('Silence', 's', 'p')),
    inputs_net('loss_weight: 0', layer('Reduction', 'sum', 'score', 'sum', 'loss_weight: 1')),
    texts.inputs(data=(2, 1, 3), cont=(2, 1)) + layer(
        'LSTM', 'l', 'data cont', 'h', 'recurrent_param { num_output: 2 weight_filler { value: 1 } '
        '}') + layer('Reduction', 'sum', 'h', 'sum', 'loss_weight: 1')])
def test_what_is_not_a_fixed_list_of_kernels(net, made):
    solver = solver_of(net)
    iterate(solver, 4)
    assert not made()


def test_debug_info_runs_step_by_step(made):
    solver = solver_of(inputs_net())
    solver.param.debug_info, solver.param.display = True, 2
    feed(solver)
    iterate(solver, 8)
    assert [recording.calls for recording in made()] == [3]     # of the four that show nothing


# On a GPU

@gpu
@pytest.mark.parametrize('precision', ['fp32', 'tf32', 'bf16'])
@pytest.mark.parametrize('net, more', [('plain', ''), ('normed', 'iter_size: 2'),
                                       ('weighted', 'iter_size: 2')])
def test_graphs_give_the_bits_of_eager(stage, tmp_path, caplog, net, more, precision):
    file = stage(net, more)
    runs = [Solver(file, prefix=tmp_path / 'x', device='cuda', precision=precision,
                   placed={'graphs': graphs}) for graphs in (True, False)]
    for solver in runs:
        iterate(solver, 6)
    assert state(runs[0]) == state(runs[1])
    runs[0].snapshot()
    for solver in runs:
        iterate(solver, 6)
    assert state(runs[0]) == state(runs[1])
    assert len(runs[0].net.executor.training.recordings) == 3, caplog.text
    again = Solver(file, prefix=tmp_path / 'x', device='cuda', precision=precision)
    again.restore(tmp_path / 'x_iter_6.solverstate.h5')
    iterate(again, 6)
    assert state(again) == state(runs[1])


@pytest.mark.parametrize('options', [{'net_class': Recorded},
                                     pytest.param({'device': 'cuda'}, marks=gpu)])
@pytest.mark.parametrize('passes', [(), DEFAULT])
def test_a_bad_label_in_a_file(stage, tmp_path, caplog, passes, options):
    solver = Solver(stage(), passes=passes, **options)
    iterate(solver, 12)
    assert solver.net.executor.training.recordings, caplog.text
    for i in range(5):
        path = label_path(tmp_path / 'voc', f'im{i}')
        save_palette_png(np.full_like(read_label(path), 7), path)
    with pytest.raises(FcnError) as caught:
        for _ in range(40):         # what was read ahead comes first
            weights = [blob.data.clone() for blob in solver.net.learnable_params]
            solver.iterate()
    assert caught.value.layer == 'loss' and 'such as 7' in caught.value.what
    assert all(map(torch.equal, weights, (blob.data for blob in solver.net.learnable_params)))
