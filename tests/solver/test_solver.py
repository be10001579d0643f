"""The solver against Caffe's own runs, iteration by iteration, and its algebra."""

import logging

import pytest
from goldens import error, find, solver_cases
from texts import assert_facts, message

from fcn_repro.formats.weights import read_solverstate
from fcn_repro.parity import Comparison, Limits
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.solvers import check_solver
from fcn_repro.proto.prototxt import parse_solver
from fcn_repro.solver import Solver
from fcn_repro.solver.rates import learning_rate


@pytest.mark.parametrize('folder', solver_cases())
def test_solver_equals_caffe(folder):
    """Losses, rates, params, history and snapshots, as check_goldens compares them."""
    comparison = Comparison(folder.name)
    check_solver(comparison, folder, Limits())
    assert comparison.verdict == OK, comparison.departing
    compared = {gap.what.split('/')[0] for gap in comparison.gaps}
    assert compared >= {'loss', 'loss_sub', 'lr_log', 'smoothed_loss_log', 'iter_1', 'iter_5',
                        'iter_30'}


@pytest.mark.parametrize('case', ['adadelta', 'adam', 'nesterov', 'shared_params_adam'])
def test_state_file_equals_caffes(case, tmp_path):
    """All first histories, then all second ones, as Caffe's two formats have them."""
    folder = find(f'solvers/{case}')
    solver = Solver(folder / 'solver.prototxt', prefix=tmp_path / 'snapshot')
    solver.net.copy_from(folder / 'init.caffemodel')
    solver.step(5)
    ours = read_solverstate(solver.snapshot()[1])
    for form in ('', '.h5'):
        caffes = read_solverstate(folder / f'snapshot_iter_5.solverstate{form}')
        assert (ours.iter, ours.current_step) == (caffes.iter, caffes.current_step)
        for mine, other in zip(ours.history, caffes.history, strict=True):
            assert error(mine, other.reshape(mine.shape)) <= Limits().params


def test_a_parameter_that_is_not_under_the_loss_decays(tmp_path):
    """Its diff is 0 in Caffe, and weight decay is added to that (SGDSolver::Regularize)."""
    (tmp_path / 'net.prototxt').write_text('''
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param {
  num_output: 1 kernel_size: 1 bias_term: false weight_filler { type: "constant" value: 1 } } }
layer { name: "b" type: "Convolution" bottom: "x" top: "b" loss_weight: 1 convolution_param {
  num_output: 1 kernel_size: 1 bias_term: false weight_filler { type: "constant" value: 1 } } }
''')
    (tmp_path / 'solver.prototxt').write_text('''net: "net.prototxt" base_lr: 0.5 momentum: 0.5
lr_policy: "fixed" weight_decay: 0.5 max_iter: 2''')
    solver = Solver(tmp_path / 'solver.prototxt', prefix=tmp_path / 'run')
    solver.step(2)                  # 1 - .25 = .75, then .75 - (.125 + .1875)
    assert solver.net.params['a'][0].data.item() == 0.4375


NET = '''
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" loss_weight: 1 convolution_param {
  num_output: 1 kernel_size: 1 bias_term: false weight_filler { type: "constant" value: 1 } } }
'''


def one_weight(folder, text):
    """A solver of a net with one weight, whose gradient is the input."""
    (folder / 'net.prototxt').write_text(NET)
    (folder / 'solver.prototxt').write_text(f'net: "net.prototxt" momentum: 0.5 {text}')
    return Solver(folder / 'solver.prototxt', prefix=folder / 'run')


def test_momentum_goes_on_at_a_rate_of_0(tmp_path):
    """Caffe's update adds momentum times history whatever the rate is."""
    solver = one_weight(tmp_path, 'base_lr: 0.5 lr_policy: "step" gamma: 0 stepsize: 1')
    solver.net.blobs['x'].data.fill_(1)
    solver.step(2)
    assert solver.rate == 0
    assert solver.net.params['a'][0].data.item() == 1 - 0.5 - 0.25


def test_a_run_ends_with_a_look_and_a_test(tmp_path, caplog):
    """Solver::Solve: one more forward pass for display, one more test; the snapshot is older."""
    solver = one_weight(tmp_path, 'base_lr: 0.5 lr_policy: "fixed" max_iter: 4 display: 2 '
                        'test_interval: 2 test_iter: 1 snapshot: 2 snapshot_after_train: false')
    with caplog.at_level(logging.INFO, 'fcn_repro'):
        list(solver.run())
    lines = [r.getMessage() for r in caplog.records]
    at = [line for line in lines if ', loss =' in line or 'Testing' in line]
    assert at == [f'Iteration {i}, {what}' for i in (0, 2) for what in
                  ('Testing net (#0)', 'loss = 0')] + [
                  'Iteration 4, loss = 0', 'Iteration 4, Testing net (#0)']
    assert sorted(p.name for p in tmp_path.glob('*.solverstate.h5')) == [
        'run_iter_2.solverstate.h5', 'run_iter_4.solverstate.h5']
    assert lines[-1].startswith('    Test net output')


LOG_NET = '''
layer { name: "x" type: "DummyData" top: "x" top: "label" dummy_data_param { shape { dim: 2 dim: 2 }
  shape { dim: 2 } data_filler { value: 1 } data_filler { value: 1 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "a" bottom: "label" top: "loss"
  loss_weight: 2 }
layer { name: "acc" type: "Accuracy" bottom: "a" bottom: "label" top: "acc" top: "each"
  include { phase: TEST } accuracy_param { top_k: 3 } }
'''


def test_outputs_are_logged_as_caffe_does(tmp_path, caplog):
    """Each value of an output on a line, with what it adds to the loss, and the test's loss."""
    (tmp_path / 'net.prototxt').write_text(LOG_NET)
    (tmp_path / 'solver.prototxt').write_text(
        'net: "net.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 1 display: 1 '
        'test_interval: 1 test_iter: 2 test_compute_loss: true')
    with caplog.at_level(logging.INFO, 'fcn_repro'):
        Solver(tmp_path / 'solver.prototxt', prefix=tmp_path / 'run').step(1)
    lines = [r.getMessage() for r in caplog.records]
    loss = 'loss = 1.09861 (* 2 = 2.19722 loss)'
    assert lines == [
        'Iteration 0, Testing net (#0)', 'Test loss: 2.19722',
        '    Test net output #0: acc = 1', '    Test net output #1: each = 0',
        '    Test net output #2: each = 1', '    Test net output #3: each = 0',
        f'    Test net output #4: {loss}', 'Iteration 0, loss = 2.19722',
        f'    Train net output #0: {loss}', 'Iteration 0, lr = 0']


@pytest.mark.parametrize('field', ['iter_size', 'average_loss'])
def test_counts_from_1(tmp_path, field):
    assert_facts(message(one_weight, tmp_path, f'base_lr: 1 lr_policy: "fixed" {field}: 0'),
                 f'{tmp_path}/solver.prototxt:1', field, '0', '1')


def test_sigmoid_far_before_its_step_is_a_rate_of_0():
    """exp(1000) is infinite in Caffe's float32, and 1 / (1 + infinity) is 0."""
    p = parse_solver('base_lr: 1 lr_policy: "sigmoid" gamma: 0.01 stepsize: 100000').message
    assert learning_rate(p, 0, 0) == 0
    assert learning_rate(p, 100000, 0) == 0.5
