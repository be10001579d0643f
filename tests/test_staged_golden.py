"""The staged recipe against Caffe's own run: 5 iterations of FCN-32s, its weights copied by name
into FCN-16s, 5 more, then FCN-8s; every `up*` layer is made bilinear at the start of a stage."""

import h5py
import pytest
from goldens import DATA, error

from fcn_repro import surgery
from fcn_repro.solver import Solver

CASE = DATA / 'solvers/staged_32s_16s_8s'


def tensors(net):
    return {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}


def assert_params(net, golden):
    assert {name: len(blobs) for name, blobs in net.params.items() if blobs} == {
        name: len(blobs) for name, blobs in golden.items()}
    for name, blobs in golden.items():
        for i, blob in blobs.items():
            assert error(net.params[name][int(i)].data, blob[...]) <= 1e-4, (name, i)


def test_stages_equal_caffe(tmp_path):
    """Where the weights of a stage come from does not matter: 16s from the file that 32s wrote."""
    source, added = CASE / 'init_32s.caffemodel', {'32s': (), '16s': (), '8s': ()}
    with h5py.File(CASE / 'golden.h5') as golden:
        for stage in added:
            solver = Solver(CASE / f'solver_{stage}.prototxt', prefix=tmp_path / stage)
            rows = solver.net.copy_from(source)
            added[stage] = sorted(row.layer for row in rows if row.action == 'left at filler')
            surgery.interp(tensors(solver.net), [n for n in solver.net.params if 'up' in n])
            assert_params(solver.net, golden[f'{stage}/params_start'])
            losses = [solver.loss for _ in solver.run(5)]
            assert losses == pytest.approx(golden[f'{stage}/loss'][:].tolist(), rel=1e-5)
            assert_params(solver.net, golden[f'{stage}/params_end'])
            source, _ = solver.snapshot()
    assert added == {'32s': [], '16s': ['score_pool4', 'upscore16', 'upscore2'],
                     '8s': ['score_pool3', 'upscore8', 'upscore_pool4']}
