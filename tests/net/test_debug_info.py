"""debug_info: Caffe's lines, reckoned by hand, and the same ones from net and pycaffe."""

import logging

import pytest
import torch
from texts import conv, inputs, layer, net

import fcn_repro.pycaffe as caffe
from fcn_repro.passes import DEFAULT
from fcn_repro.solver import Solver

ONE = 'weight_filler { type: "constant" value: %s } bias_filler { type: "constant" value: 1 }'
NAMED = 'param { name: "w" } param { lr_mult: 0 }'


def fixed(name, bottom, value, more=''):
    return layer('Convolution', name, bottom, name, f'{more} convolution_param {{ num_output: 1 '
                 f'kernel_size: 1 {ONE % value} }}')


# x = 2; a = 3x + 1 = 7, ReLU in place; b = 3a + 1 = 22 with a's weight; the loss is 22 + 7
TWO = 'debug_info: true\n' + inputs(x=(1, 1, 1, 2)) + fixed('a', 'x', 3, NAMED) \
    + layer('ReLU', 'r', 'a', 'a') + fixed('b', 'a', 3, NAMED) \
    + layer('Eltwise', 'sum', 'a b', 'sum', 'loss_weight: 0.5') \
    + layer('Silence', 'quiet', 'x') + layer('Power', 'off', 'b', 'off') \
    + layer('Silence', 'quiet2', 'off')
FORWARD = [
    'Layer x, top blob x data: 2', 'Layer x_x_0_split, top blob x_x_0_split_0 data: 2',
    'Layer x_x_0_split, top blob x_x_0_split_1 data: 2', 'Layer a, top blob a data: 7',
    'Layer a, param blob w data: 3', 'Layer a, param blob 1 data: 1', 'Layer r, top blob a data: 7',
    'Layer a_r_0_split, top blob a_r_0_split_0 data: 7',
    'Layer a_r_0_split, top blob a_r_0_split_1 data: 7', 'Layer b, top blob b data: 22',
    'Layer b, param blob w data: 3', 'Layer b, param blob 1 data: 1',
    'Layer b_b_0_split, top blob b_b_0_split_0 data: 22',
    'Layer b_b_0_split, top blob b_b_0_split_1 data: 22', 'Layer sum, top blob sum data: 29',
    'Layer off, top blob off data: 22']
BACKWARD = [        # half a diff; b's weight gets 2 x 7 x .5; a's 2 x 2 x (.5 + 1.5) more
    'Layer sum, bottom blob a_r_0_split_1 diff: 0.5', 'Layer sum, bottom blob b_b_0_split_0 '
    'diff: 0.5', 'Layer b_b_0_split, bottom blob b diff: 0.5',
    'Layer b, bottom blob a_r_0_split_0 diff: 1.5', 'Layer b, param blob 0 diff: 7',
    'Layer a_r_0_split, bottom blob a diff: 2', 'Layer r, bottom blob a diff: 2',
    'Layer a, param blob 0 diff: 15', 'All net params (data, diff): L1 norm = (5, 15); '
    'L2 norm = (3.31662, 15)']
WANTED = [f'    [Forward] {line}' for line in FORWARD] + [f'    [Backward] {b}' for b in BACKWARD]


def said(caplog):
    lines = [record.getMessage() for record in caplog.records if '] ' in record.getMessage()]
    caplog.clear()
    return lines


def test_lines_of_a_net(caplog):
    caplog.set_level(logging.INFO, 'fcn_repro')
    ours = net(TWO, 'TRAIN', passes=DEFAULT)
    for _ in range(2):
        ours.clear_param_diffs()
        ours.forward(x=torch.full((1, 1, 1, 2), 2.))
        ours.backward()
        assert said(caplog) == WANTED
    ours.set_debug_info(False)
    ours.forward()
    ours.backward()
    assert not said(caplog)


def test_lines_of_pycaffe_are_the_same(caplog, tmp_path):
    caplog.set_level(logging.INFO, 'fcn_repro')
    (tmp_path / 'net.prototxt').write_text(TWO)
    ours = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TRAIN)
    ours.blobs['x'].data[...] = 2
    ours.forward()
    ours.backward()
    assert said(caplog) == WANTED[:-1]      # no sums: pycaffe's backward goes layer by layer


def test_nothing_else_changes(caplog, tmp_path):
    """The solver's debug_info says its lines where it displays, tests included; what is learned has
    the same bits as without."""
    text = inputs(data=(1, 2, 6, 6)) + conv('a', 'data', kernel=3) + layer('ReLU', 'r', 'a', 'a') \
        + conv('b', 'a') + layer('Reduction', 'loss', 'b', 'loss', 'loss_weight: 1 '
                                 'reduction_param { operation: SUMSQ }')
    (tmp_path / 'net.prototxt').write_text(text)
    ends, lines = [], []
    caplog.set_level(logging.INFO, 'fcn_repro')
    for more in ('', 'debug_info: true'):
        (tmp_path / 'solver.prototxt').write_text(
            'net: "net.prototxt" base_lr: 1e-4 lr_policy: "fixed" momentum: 0.9 max_iter: 4 '
            f'display: 2 test_iter: 1 test_interval: 3 iter_size: 2 {more}')
        solver = Solver(tmp_path / 'solver.prototxt', prefix=tmp_path / 'x')
        solver.net.blobs['data'].data.normal_(generator=torch.Generator().manual_seed(0))
        solver.step(4)
        ends.append([blob.data.clone() for blob in solver.net.learnable_params])
        lines.append(said(caplog))
    assert all(map(torch.equal, *ends)) and not lines[0]
    blobs = sum('[Forward]' in line for line in lines[1])
    assert blobs == 9 * (2 * 2 + 2)             # two iterations of two passes, two tests
    assert sum('All net params' in line for line in lines[1]) == 4


@pytest.mark.parametrize('force', [False, True])
def test_which_layers_have_a_backward_pass(caplog, force):
    """Crop's second bottom gets a diff of 0; below what is not learned nothing does, but for
    force_backward; a label never."""
    text = 'debug_info: true\n' + 'force_backward: true\n' * force \
        + inputs(data=(1, 2, 4, 4), label=(1, 1, 2, 2)) \
        + conv('a', 'data', more='param { lr_mult: 0 } param { lr_mult: 0 }') + conv('b', 'a') \
        + layer('Pooling', 'size', 'b', 'size', 'pooling_param { kernel_size: 2 stride: 2 }') \
        + layer('Crop', 'crop', 'b size', 'crop', 'crop_param { axis: 2 offset: 1 }') \
        + layer('SoftmaxWithLoss', 'loss', 'crop label', 'loss')
    caplog.set_level(logging.INFO, 'fcn_repro')
    ours = net(text, 'TRAIN')
    ours.forward(data=torch.randn(1, 2, 4, 4))
    ours.backward()
    lines = [line.split('[Backward] ')[1] for line in said(caplog) if '[Backward] Layer' in line]
    bottoms = [line.split(' diff')[0] for line in lines if 'bottom' in line]
    assert bottoms == ['Layer loss, bottom blob crop', 'Layer crop, bottom blob b_b_0_split_1',
                       'Layer crop, bottom blob size', 'Layer size, bottom blob b_b_0_split_0',
                       'Layer b_b_0_split, bottom blob b'] + force * [
                           'Layer b, bottom blob a', 'Layer a, bottom blob data']
    assert 'Layer crop, bottom blob size diff: 0' in lines
    assert ('Layer a, param blob 0' in ' '.join(lines)) == force
