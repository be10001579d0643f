"""What is done to a net before its first iteration, and the staged recipe against Caffe's own run:
5 iterations of FCN-32s, its weights copied by name into FCN-16s, 5 more, then FCN-8s; every `up*`
layer is made bilinear at the start of a stage, and the new score layers are 0."""

import h5py
import numpy as np
import pytest
from goldens import DATA, error
from small_runs import solver_maker

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import write_hdf5
from fcn_repro.net.surgery import upsample_filt
from fcn_repro.recipe.stages import STAGES
from fcn_repro.recipe.starting import prepare, tensors
from fcn_repro.solver import Solver

CASE = DATA / 'solvers/staged_32s_16s_8s'
ALL = STAGES['mini-fcn16s'].surgeries


def assert_params(net, golden):
    assert {name: len(blobs) for name, blobs in net.params.items() if blobs} == {
        name: len(blobs) for name, blobs in golden.items()}
    for name, blobs in golden.items():
        for i, blob in blobs.items():
            assert error(net.params[name][int(i)].data, blob[...]) <= 1e-4, (name, i)


def test_stages_equal_caffe(tmp_path):
    """By the surgeries of the table's stages, whatever the score layers' fillers are."""
    source, added = CASE / 'init_32s.caffemodel', {'32s': (), '16s': (), '8s': ()}
    with h5py.File(CASE / 'golden.h5') as golden:
        for stage in added:
            solver = Solver(CASE / f'solver_{stage}.prototxt', prefix=tmp_path / stage)
            for name, blobs in tensors(solver.net).items():
                for blob in blobs if name.startswith('score') else ():
                    blob.fill_(0.5)
            happened = prepare(solver.net, STAGES[f'mini-fcn{stage}'].surgeries, source)
            added[stage] = sorted(line.split()[0] for line in happened.splitlines()
                                  if 'left at filler  (' in line)
            assert_params(solver.net, golden[f'{stage}/params_start'])
            losses = [solver.loss for _ in solver.run(5)]
            assert losses == pytest.approx(golden[f'{stage}/loss'][:].tolist(), rel=1e-5)
            assert_params(solver.net, golden[f'{stage}/params_end'])
            source, _ = solver.snapshot()
    assert added == {'32s': [], '16s': ['score_pool4', 'upscore16', 'upscore2'],
                     '8s': ['score_pool3', 'upscore8', 'upscore_pool4']}


@pytest.fixture
def net(tmp_path, monkeypatch):
    """conv1, score_fr, upscore; the last two are noise."""
    net = solver_maker(tmp_path, monkeypatch)().net
    assert all(tensors(net)[name][0].std() > 0.01 for name in ('score_fr', 'upscore'))
    return net


CONV1 = np.arange(4 * 27, dtype=np.float32).reshape(4, 3, 3, 3)
SCORE = np.float32([[1, 2, 3, 4]] * 3).reshape(3, 4, 1, 1)


def source(**more):
    """The path of weights that hold conv1, and more layers."""
    write_hdf5('source.h5', {'conv1': [CONV1, np.ones(4)], **more})
    return 'source.h5'


def assert_bilinear(up):
    """On the diagonal; off it, there is what was there."""
    for k in range(3):
        assert np.array_equal(up[k, k], np.float32(upsample_filt(4)))
    assert up[0, 1].std() > 0.01


def test_score_layers_that_the_source_lacks_are_0(net):
    happened = prepare(net, ALL, source())
    params = tensors(net)
    assert not params['score_fr'][0].any() and not params['score_fr'][1].any()
    assert np.array_equal(params['conv1'][0], CONV1) and params['conv1'][1].eq(1).all()
    assert_bilinear(params['upscore'][0])
    assert 'score_fr  left at filler' in happened and happened.endswith('\nupscore made bilinear')


def test_score_layers_of_the_source_stay(net):
    prepare(net, ALL, source(score_fr=[SCORE, np.float32([5, 6, 7])],
                             upscore=[np.full((3, 3, 4, 4), 9.)]))
    params = tensors(net)
    assert np.array_equal(params['score_fr'][0], SCORE)
    assert params['score_fr'][1].tolist() == [5, 6, 7]
    assert np.array_equal(params['upscore'][0][1, 1], np.float32(upsample_filt(4)))


def test_fully_connected_weights_are_cast(net):
    happened = prepare(net, ALL, source(score_fr=[SCORE.reshape(3, 4), np.zeros(3)]))
    assert np.array_equal(tensors(net)['score_fr'][0], SCORE)
    assert 'score_fr  cast            (3, 4) to (3, 4, 1, 1)' in happened


def test_without_a_source_all_starts_from_fillers(net):
    before = {name: blobs[0].clone() for name, blobs in tensors(net).items() if blobs}
    assert prepare(net, (), None) == 'every layer starts from its filler'
    assert all(tensors(net)[name][0].equal(blob) for name, blob in before.items())
    prepare(net, ALL, None)
    params = tensors(net)
    assert params['conv1'][0].equal(before['conv1']) and not params['score_fr'][0].any()
    assert_bilinear(params['upscore'][0])


def test_only_what_the_row_says_is_done(net):
    before = tensors(net)['upscore'][0].clone(), tensors(net)['score_fr'][0].clone()
    prepare(net, ('transplant',), source())
    params = tensors(net)
    assert np.array_equal(params['conv1'][0], CONV1)
    assert params['upscore'][0].equal(before[0]) and params['score_fr'][0].equal(before[1])


def test_weights_for_a_stage_that_takes_none(net):
    before = tensors(net)['conv1'][0].clone()
    with pytest.raises(FcnError, match=r'source.h5: this stage takes no weights'):
        prepare(net, ('zero scores', 'interp'), source())
    assert tensors(net)['conv1'][0].equal(before) and tensors(net)['score_fr'][0].any()
