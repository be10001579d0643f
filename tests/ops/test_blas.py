"""Caffe's own arithmetic, im2col and OpenBLAS: against torch's algorithms, and Caffe's bits."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from goldens import DATA, SHARED, needs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layer_case import distinct, ints
from small_runs import ROOT
from texts import conv, inputs, layer
from torch.autograd import gradcheck

import fcn_repro.pycaffe as caffe
from fcn_repro.errors import FcnError
from fcn_repro.layers.convolution import Convolution
from fcn_repro.ops import blas
from fcn_repro.parity import Comparison, Limits
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.fixtures.full_width import OPENBLAS
from fcn_repro.parity.layers import check_layer
from fcn_repro.solver import Solver


@st.composite
def problems(draw):
    """x, weight (out, in / group, k), bias or None, stride, pad, dilation, group."""
    def pair(least, most):
        return ints(draw, least, most), ints(draw, least, most)
    group, k, dilation = ints(draw, 1, 2), pair(1, 3), pair(1, 2)
    channels, outputs = group * ints(draw, 1, 2), group * ints(draw, 1, 2)
    size = [d * (a - 1) + 1 + ints(draw, 0, 4) for a, d in zip(k, dilation, strict=True)]
    x = distinct((ints(draw, 1, 2), channels, *size), 1)
    weight = distinct((outputs, channels // group, *k), 2)
    bias = distinct((outputs,), 3) if draw(st.booleans()) else None
    return x, weight, bias, pair(1, 2), pair(0, 1), dilation, group


def check(run, like, tensors, *settings):
    tensors = [None if t is None else t.requires_grad_() for t in tensors]
    torch.testing.assert_close(run(*tensors, *settings), like(*tensors, *settings))
    given = [t for t in tensors if t is not None]
    assert gradcheck(lambda *t: run(*t, *[None] * (len(tensors) - len(t)), *settings), given)


@settings(max_examples=40)
@given(problems())
def test_convolution(problem):
    check(blas.conv2d, F.conv2d, problem[:3], *problem[3:])


@settings(max_examples=40)
@given(problems())
def test_deconvolution(problem):
    x, weight, _, stride, pad, dilation, group = problem
    x = distinct((len(x), len(weight), *x.shape[2:]), 4)
    bias = distinct((weight.shape[1] * group,), 3) if problem[2] is not None else None
    size = [s * (n - 1) + d * (k - 1) + 1 - 2 * p for n, k, s, p, d in
            zip(x.shape[2:], weight.shape[2:], stride, pad, dilation, strict=True)]
    assume(min(size) > 0)
    check(blas.conv_transpose2d, F.conv_transpose2d, (x, weight, bias), stride, pad, 0, group,
          dilation)


@pytest.mark.parametrize('rows, inputs, outputs', [(3, 5, 4), (1, 5, 4), (3, 1, 4), (3, 5, 1)])
@pytest.mark.parametrize('biased', [True, False])
def test_inner_product(rows, inputs, outputs, biased):
    check(blas.linear, F.linear, (distinct((rows, inputs)), distinct((outputs, inputs), 1),
                                  distinct((outputs,), 2) if biased else None))


@pytest.mark.parametrize('path', sorted(
    path for path in DATA.glob('layers/*.h5')
    if any(f'"{type}"' in path.with_suffix('.prototxt').read_text()
           for type in ('Convolution', 'Deconvolution', 'InnerProduct'))),
    ids=lambda path: path.stem)
def test_layer_goldens(path):
    comparison = Comparison(path.stem)
    if path.stem in ('conv_1d', 'conv_3d', 'deconv_3d'):
        with pytest.raises(FcnError, match=r'blas .* 2-D convolutions'):
            check_layer(comparison, path, Limits(), blas=True)
        return
    check_layer(comparison, path, Limits(), blas=True)
    assert comparison.verdict == OK, comparison.departing


def test_what_openblas_cannot_do():
    x, w = torch.zeros(1, 1, 2, 2).half(), torch.zeros(1, 1, 1, 1).half()
    with pytest.raises(FcnError, match=r'OpenBLAS does not compute with torch.float16 on cpu'):
        blas.conv2d(x, w, None, (1, 1), (0, 0), (1, 1), 1)


@pytest.mark.slow
@needs(SHARED / 'full')
def test_full_width_gradients():
    done = subprocess.run([sys.executable, ROOT / 'tools/check_goldens.py', SHARED / 'full'],
                          capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, **OPENBLAS, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr



# Reached from the solver and from pycaffe

SMALL = inputs(data=(2, 2, 6, 6)) + conv('a', 'data', kernel=3) \
    + layer('Reduction', 'loss', 'a', 'loss', 'loss_weight: 1 reduction_param { operation: SUMSQ }')
SOLVER = 'net: "net.prototxt" base_lr: 1e-4 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "x"'


@pytest.fixture
def products(tmp_path, monkeypatch):
    """The calls of Caffe's convolution, in a folder with a net and a solver."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'net.prototxt').write_text(SMALL)
    (tmp_path / 'solver.prototxt').write_text(SOLVER)
    calls, run = [], Convolution.blas_functions[1]
    monkeypatch.setattr(Convolution, 'blas_functions', (
        None, lambda *args: calls.append(args) or run(*args), None))
    return calls


@pytest.mark.parametrize('used', [False, True])
def test_solver(products, used):
    solver = Solver('solver.prototxt', blas=used)
    assert (solver.net.passes == ()) == used
    solver.step(2)
    assert len(products) == 2 * used


def test_pycaffe(products):
    caffe.set_blas()
    try:
        net, solver = caffe.Net('net.prototxt', caffe.TEST), caffe.SGDSolver('solver.prototxt')
    finally:
        caffe.set_blas(False)
    net.forward()
    assert len(products) == 1
    solver.step(1)
    assert len(products) > 1
    products.clear()
    caffe.Net('net.prototxt', caffe.TEST).forward()
    assert not products
