"""Each optimisation switched off: the same scores, and the same training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import VGG, assert_error, call, contents, small_stage, small_voc, write_stage
from tiny_nets import noise, own, save

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_weights
from fcn_repro.net import Net
from fcn_repro.net.graph import LABELS
from fcn_repro.net.placement import place
from fcn_repro.net.surgery import interp
from fcn_repro.ops import conv
from fcn_repro.passes import DEFAULT, PASSES
from fcn_repro.proto import TEST
from fcn_repro.recipe.optimisations import NAMES, Optimisations
from fcn_repro.recipe.starting import tensors
from fcn_repro.solver import Solver
from fcn_repro.solver import solver as solver_module

DEPLOY = Path(__file__).parents[2] / 'prototxt/mini-fcn8s/deploy.prototxt'


def test_all_are_on_but_those_named():
    on = Optimisations()
    assert on.passes == DEFAULT and all(on.placed.values()) and on.fused
    off = Optimisations(NAMES)
    assert off.passes == () and not any(off.placed.values()) and not off.fused
    for name in NAMES:
        one = Optimisations([name])
        assert len(one.passes) == len(DEFAULT) - (name in PASSES)
        assert sum(one.placed.values()) == len(on.placed) - (name in on.placed)
        assert one.fused == (name != 'fused_update')


def test_an_unknown_name_is_refused():
    with pytest.raises(FcnError, match=r"optimisation 'fuse_skips'. Did you mean 'fuse_skip'\? Use "
                                       + ', '.join(NAMES)):
        Optimisations(['prepack', 'fuse_skips'])


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Random ones, and bilinear upsampling."""
    path, net = tmp_path_factory.mktemp('net') / 'w.h5', Net.read(DEPLOY, TEST, seed=2)
    interp(tensors(net), [name for name in net.params if name.startswith('up')])
    for name, blobs in net.params.items():
        if not name.startswith('up'):
            deviation = (2 / blobs[0].data[0].numel()) ** 0.5
            blobs[0].data.normal_(0, deviation, generator=torch.Generator().manual_seed(len(name)))
    net.save_hdf5(path)
    return path


def scores_and_labels(weights, off):
    optimisations = Optimisations(off)
    net = Net.read(DEPLOY, TEST, passes=optimisations.passes)
    net.copy_from(weights)
    place(net, **optimisations.placed)
    image = 40 * torch.randn(1, 3, 60, 77, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return [[net(data=image)['score'].clone(), net(labels_of='score', data=image)[LABELS]]
                for _ in range(2)][1]


@pytest.mark.parametrize('name', NAMES)
def test_scores_stay(weights, name):
    scores, labels = scores_and_labels(weights, ())
    without, same = scores_and_labels(weights, [name])
    assert (scores - without).abs().max() <= 1e-5 * scores.abs().max() and scores.std() > 0
    assert (labels == same).float().mean() > 0.999


@pytest.fixture
def convolved(monkeypatch):
    """The names of our own convolutions, as they are called."""
    calls = []

    def spy(name, op):
        return lambda *args: calls.append(name) or op(*args)
    for name in 'conv3x3', 'conv_gemm', 'winograd':
        monkeypatch.setattr(conv, name, spy(name, getattr(conv, name)))
    return calls


def test_the_nets_reach_what_is_switched_off(weights, convolved):
    for off, wanted in ([], {'winograd', 'conv_gemm'}), (['prepack'], {'winograd', 'conv_gemm'}), \
            (['winograd'], {'conv_gemm'}), (['gemm'], {'winograd'}):
        scores_and_labels(weights, off)
        assert set(convolved) == wanted
        convolved.clear()


def test_prepacked_filters_are_laid_out_once(weights, monkeypatch):
    """In two passes of each of two plans; without prepack in every pass."""
    counts = []
    for off in [], ['prepack']:
        calls, lay_out = [], conv.winograd_filters
        with monkeypatch.context() as patch:
            patch.setattr(conv, 'winograd_filters', lambda weight, calls=calls, lay_out=lay_out:
                          calls.append(weight) or lay_out(weight))
            scores_and_labels(weights, off)
        counts.append(len(calls))
    assert counts[0] > 0 and counts[1] == 4 * counts[0]


def test_graphs_reach_the_net():
    for off, wanted in ([], True), (['graphs'], False):
        net = place(Net.read(DEPLOY, TEST), **Optimisations(off).placed)
        assert net.options.graphs is wanted


def test_training_never_prepacks(tmp_path, monkeypatch):
    """Weights change in each iteration. Graphs are for its train net: test nets check labels."""
    monkeypatch.chdir(tmp_path)
    file = write_stage(tmp_path / 'net', small_voc(tmp_path / 'voc'))
    file.write_text(file.read_text() + 'test_net: "val.prototxt" test_iter: 1 test_interval: 2')
    for off, graphs in ([], True), (['graphs'], False):
        solver = Solver(file, placed=Optimisations(off).placed)
        options = solver.net.options
        assert options.winograd and options.gemm and options.channels_last
        assert not options.prepack and options.graphs is graphs
        assert not solver.test_nets[0].options.graphs


@pytest.fixture
def updates(monkeypatch):
    """The names of the solver's updates, as they are called."""
    calls = []

    def spy(name, run):
        return lambda *args: calls.append(name) or run(*args)
    for name in 'fused_update', 'update_ref':
        monkeypatch.setattr(solver_module, name, spy(name, getattr(solver_module, name)))
    return calls


@pytest.mark.parametrize('name', [name for name in NAMES if name not in ('prepack', 'graphs')])
def test_training_stays(tmp_path, monkeypatch, capsys, name, updates):
    folder, voc = small_stage(tmp_path, monkeypatch)
    if name in ('winograd', 'gemm'):
        write_stage(folder, voc, VGG)
    for out, words in ('on', ()), ('off', ('--no-opt', name)):
        updates.clear()
        done = call(capsys, 'train', 'small', '--out', out, *words)
        assert done.status == 0, done
        off = out == 'off' and name == 'fused_update'
        assert set(updates) == {'update_ref' if off else 'fused_update'}
    ends = [read_weights(next(Path(out).glob('train_iter_6.caffemodel.h5'))) for out in
            ('on', 'off')]
    for layer, blobs in ends[0].items():
        for a, b in zip(blobs, ends[1][layer], strict=True):
            assert np.abs(np.asarray(a) - np.asarray(b)).max() <= 1e-5 * np.abs(a).max(), layer


def test_the_tools_take_several(tmp_path, monkeypatch, capsys):
    save(tmp_path / 'a.png', noise(30, 41))
    settings = own(tmp_path)
    for out, words in ('on', ()), ('off', [w for name in NAMES for w in ('--no-opt', name)]):
        assert call(capsys, 'infer', tmp_path / 'a.png', *settings, '--out', tmp_path / out,
                    *words).status == 0
    assert (np.array(Image.open(tmp_path / 'on/a.png'))
            == np.array(Image.open(tmp_path / 'off/a.png'))).all()
    small_stage(tmp_path, monkeypatch)
    assert call(capsys, 'train', 'small').status == 0
    tables = [call(capsys, 'eval_voc', '--stage', 'small', *words).out.splitlines()[-6:-3]
              for words in ((), ('--no-opt', 'collapse_border', '--no-opt', 'channels_last'))]
    assert tables[0] == tables[1]


@pytest.mark.parametrize('tool', ['train', 'eval_voc', 'infer'])
def test_the_tools_refuse_what_is_unknown(tmp_path, monkeypatch, capsys, tool):
    save(tmp_path / 'a.png', noise(30, 41))
    words = {'train': ['small'], 'eval_voc': ['--stage', 'small'],
             'infer': [tmp_path / 'a.png', *own(tmp_path)]}[tool]
    small_stage(tmp_path, monkeypatch)
    assert_error(call(capsys, tool, *words, '--no-opt', 'x'), "unknown optimisation 'x'", *NAMES)
    assert 'runs' not in {path.parts[0] for path in contents(tmp_path)}
