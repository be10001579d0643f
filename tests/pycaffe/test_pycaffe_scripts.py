"""pycaffe's solvers against Caffe's runs, and scripts as python -m fcn_repro.pycaffe runs them."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from goldens import DATA, error
from small_runs import ROOT
from texts import conv, inputs, layer

import fcn_repro.pycaffe as caffe

SMALL = inputs(data=(2, 2, 6, 6), label=(2, 1, 6, 6)) + conv('b', 'data') \
    + layer('SoftmaxWithLoss', 'loss', 'b label', 'loss')


def test_a_solver_equals_caffe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)                         # snapshots go here
    folder = DATA / 'solvers' / 'lr_fixed'
    solver = caffe.get_solver(str(folder / 'solver.prototxt'))
    assert type(solver) is caffe.SGDSolver and solver.iter == 0 and not solver.test_nets
    solver.net.copy_from(str(folder / 'init.caffemodel'))
    with h5py.File(folder / 'golden.h5') as golden:
        for i in range(30):
            solver.step(1)
            wanted = golden['loss'][i]
            assert abs(float(solver.net.blobs['loss'].data) - wanted) <= 1e-5 * abs(wanted)
        for name, blobs in golden['iter_30/params'].items():
            for i, blob in blobs.items():
                assert error(solver.net.params[name][int(i)].data, blob[...]) <= 1e-4
    assert solver.iter == 30 and solver.lr == pytest.approx(0.05) and solver.param.max_iter == 30


@pytest.mark.parametrize('name', ['restore', 'restore-binary', 'solve'])
def test_a_solver_goes_on_from_caffes_snapshot(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = DATA / 'solvers' / 'lr_fixed'
    solver = caffe.SGDSolver(str(folder / 'solver.prototxt'))
    state = str(folder / f"snapshot_iter_5.solverstate{'' if 'binary' in name else '.h5'}")
    if name == 'solve':
        solver.solve(state)
        assert (tmp_path / 'snapshot_iter_30.solverstate').exists()
        again = caffe.Net(str(folder / 'train.prototxt'), caffe.TEST,
                          weights='snapshot_iter_30.caffemodel')
        assert all((p.data == q.data).all() for name in again.params
                   for p, q in zip(again.params[name], solver.net.params[name], strict=True))
    else:
        solver.restore(state)
        assert solver.iter == 5
        solver.step(25)
    with h5py.File(folder / 'golden.h5') as golden:
        for layer_name, blobs in golden['resume_from_5/params'].items():
            for i, blob in blobs.items():
                assert error(solver.net.params[layer_name][int(i)].data, blob[...]) <= 1e-4


def test_callbacks_and_apply_update(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'net.prototxt').write_text(SMALL)
    (tmp_path / 'solver.prototxt').write_text('net: "net.prototxt" base_lr: 0.5 lr_policy: "fixed" '
                                              'test_iter: 1 test_interval: 999 type: "Adam" '
                                              'test_initialization: false snapshot: 2')
    assert type(caffe.get_solver('solver.prototxt')) is caffe.AdamSolver
    solver, seen = caffe.SGDSolver('solver.prototxt'), []
    solver.add_callback(lambda: seen.append('start'), lambda: seen.append(solver.iter))
    solver.step(2)
    assert seen == ['start', 0, 'start', 1]
    assert (tmp_path / 'solver_iter_2.caffemodel').exists()
    param = solver.net.params['b'][0]
    solver.net.clear_param_diffs()
    before = param.data.copy()
    param.diff[...] = 1
    solver.apply_update()
    np.testing.assert_allclose(param.data, before - 0.5, rtol=1e-5)
    assert solver.iter == 3
    (test,) = solver.test_nets
    assert (test.params['b'][0].data == param.data).all()


SURGERY = '''import numpy as np

def interp(net, layers):
    for l in layers:
        m, k, h, w = net.params[l][0].data.shape
        og = np.ogrid[:h, :w]
        filt = (1 - abs(og[0] - (h - 1) / 2) / (h // 2)) * (1 - abs(og[1] - (w - 1) / 2) / (w // 2))
        net.params[l][0].data[range(m), range(k), :, :] = filt
'''
SCRIPT = '''import sys
import caffe
import surgery
import numpy as np

caffe.set_device(int(sys.argv[1]))
caffe.set_mode_cpu()
solver = caffe.SGDSolver('solver.prototxt')
solver.net.copy_from(sys.argv[2])
surgery.interp(solver.net, [k for k in solver.net.params.keys() if 'up' in k])
print('filter', solver.net.params['upscore'][0].data[0, 0, :, 0], solver.param.max_iter)
for _ in range(2):
    solver.step(2)
    net = solver.test_nets[0]
    net.share_with(solver.net)
    net.forward()
    label, score = net.blobs['label'].data[0, 0], net.blobs['score'].data[0].argmax(0)
    print('shapes', label.shape == score.shape == net.blobs['data'].shape[2:])
    print('loss', net.blobs['loss'].data.flat[0] > 0, solver.iter)
if len(sys.argv) > 3:
    net.forward(start='nothing')
'''


def run_script(folder, *args):
    return subprocess.run([sys.executable, '-m', 'fcn_repro.pycaffe', *map(str, args)], cwd=folder,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True,
                          text=True, timeout=600)


def test_an_old_script_runs(tmp_path):
    source = DATA / 'solvers' / 'lr_fixed'
    for name in 'train.prototxt', 'data.txt', 'data.h5':
        (tmp_path / name).write_bytes((source / name).read_bytes())
    text = (source / 'solver.prototxt').read_text()
    (tmp_path / 'solver.prototxt').write_text(
        text + 'test_net: "train.prototxt" test_iter: 1 test_interval: 999999999\n'
        'test_initialization: false')
    scripts = tmp_path / 'scripts'
    scripts.mkdir()
    (scripts / 'surgery.py').write_text(SURGERY)
    (scripts / 'solve.py').write_text(SCRIPT)
    done = run_script(tmp_path, 'scripts/solve.py', 0, source / 'init.caffemodel', 'fail')
    assert done.stdout.splitlines() == [
        'filter [0.0625 0.1875 0.1875 0.0625] 30', 'shapes True', 'loss True 2', 'shapes True',
        'loss True 4']
    assert 'Iteration 3 (' in done.stderr
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith('error: ') and last.endswith(' (called at solve.py:21)')
    assert "train.prototxt: the net has no layer 'nothing'. Known: data, " in last


def test_scripts_that_cannot_run(tmp_path):
    (tmp_path / 'old.py').write_text('print "hello"\n')
    done = run_script(tmp_path, 'old.py')
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert done.stderr.startswith('error: old.py:1: not valid Python 3: ')
    assert 'Convert it from Python 2 first: python -m lib2to3 -w FOLDER' in done.stderr
    done = run_script(tmp_path, 'none.py')
    assert done.stderr == 'error: none.py: there is no such script. Check the path.\n'
