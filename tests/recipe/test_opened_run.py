"""What a run's folder says about itself: net, weights, class names, mean; without its data."""

import shutil
from pathlib import Path

import pytest
from small_runs import ROOT, call, contents, small_stage, small_voc

from fcn_repro.data.image import MEAN
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.predict.labels import class_names
from fcn_repro.proto import TEST
from fcn_repro.recipe.finished import folders_of_runs, opened

NAMES = 'sky', 'road', 'tree'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with a run on data of one's own, with class names."""
    return tmp_path_factory.mktemp('trained')


@pytest.fixture
def own_run(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    if not Path('runs').exists():
        small_voc(trained / 'voc', 3)
        (trained / 'voc/classes.txt').write_text('\n'.join(NAMES))
        done = call(capsys, 'train', 'mini-fcn32s', '--voc', 'voc', '--classes', 3, '--weights',
                    'none', '--iterations', 1)
        assert done.status == 0, done
    return trained


@pytest.mark.parametrize('name', ['mini-fcn32s', 'runs/mini-fcn32s', Path('runs/mini-fcn32s')])
def test_a_run_on_data_of_ones_own(own_run, name):
    run = opened(name)
    assert run.folder == Path('runs/mini-fcn32s') and run.stage_name == 'mini-fcn32s'
    assert run.deploy == run.folder / 'net/deploy.prototxt' and run.val.parent == run.deploy.parent
    assert run.weights == run.folder / 'train_iter_1.caffemodel.h5' and run.finished
    assert run.classes == NAMES and run.mean == MEAN and run.data == own_run / 'voc'
    net = Net.read(run.deploy, TEST)
    net.copy_from(run.weights)
    assert net.shapes[net.graph.last('score')][1] == 3


def test_class_names_stay_when_the_data_is_gone(own_run, tmp_path):
    """Moved elsewhere, under another name, without the data folder."""
    shutil.copytree(own_run / 'runs/mini-fcn32s', tmp_path / 'streets')
    val = tmp_path / 'streets/net/val.prototxt'
    val.write_text(val.read_text().replace(str(own_run / 'voc'), 'nowhere'))
    run = opened('streets', tmp_path)
    assert run.classes == NAMES and run.stage_name == 'mini-fcn32s' and run.data == Path('nowhere')
    assert class_names(run.deploy, 3) == NAMES          # of --net and --weights as well
    (run.folder / 'classes.txt').unlink()
    assert opened('streets', tmp_path).classes == ('0', '1', '2')


def test_a_stopped_run(own_run, tmp_path, monkeypatch, capsys):
    small_stage(tmp_path, monkeypatch)
    shutil.copy('prototxt/small/val.prototxt', 'prototxt/small/deploy.prototxt')
    assert call(capsys, 'train', 'small', '--weights', 'none', '--iterations', 6).status == 0
    (tmp_path / 'runs/small/train_iter_6.caffemodel.h5').unlink()
    run = opened('small')
    assert (run.iteration, run.length, run.finished) == (3, 6, False)
    assert run.deploy == tmp_path / 'prototxt/small/deploy.prototxt'
    assert run.mean == (104, 116.7, 122.7) and run.classes == ('0', '1', '2')
    assert (run.folder / 'classes.txt').read_text() == '0\n1\n2\n'     # its data has no names


def test_weights_that_say_nothing(tmp_path, monkeypatch):
    """A folder of Caffe's own snapshots, named after a stage: the table's nets, names and
    length."""
    monkeypatch.chdir(tmp_path)
    for stage, last in ('mini-fcn32s', 100000), ('mini-fcn16s', 1):
        (tmp_path / 'runs' / stage).mkdir(parents=True)
        net = Net.read(ROOT / f'prototxt/{stage}/deploy.prototxt', TEST)
        net.save(tmp_path / f'runs/{stage}/train_iter_{last}.caffemodel')
    run = opened('mini-fcn32s')
    assert run.finished and run.classes[:2] == ('background', 'zero') and run.extra == {}
    assert run.deploy == ROOT / 'prototxt/mini-fcn32s/deploy.prototxt'
    assert not opened('mini-fcn16s').finished
    (tmp_path / 'runs/empty').mkdir()
    shutil.copytree('runs/mini-fcn32s', 'runs/mini-fcn32s.old1')
    assert folders_of_runs() == [Path('runs/mini-fcn16s'), Path('runs/mini-fcn32s')]


def test_folders_that_are_no_runs(own_run, tmp_path):
    before = contents(own_run)
    with pytest.raises(FcnError, match=r"mini-fcn23s: there is no such run.*'mini-fcn32s'"):
        opened('mini-fcn23s')
    with pytest.raises(FcnError, match=r'x: there is no such run.*Train one first'):
        opened('x', tmp_path)
    (tmp_path / 'x').mkdir()
    with pytest.raises(FcnError, match=r'x: the run has no weights'):
        opened(tmp_path / 'x')
    shutil.copy('runs/mini-fcn32s/train_iter_1.caffemodel.h5', tmp_path / 'x')
    assert opened(tmp_path / 'x').deploy.parent == ROOT / 'prototxt/mini-fcn32s'
    (tmp_path / 'x/net').mkdir()
    with pytest.raises(FcnError, match=r'x/net/deploy.prototxt: the run has no net'):
        opened(tmp_path / 'x')
    (tmp_path / 'x/train_iter_2.caffemodel.h5').write_bytes(b'\x89HDF\r\n\x1a\n damaged')
    with pytest.raises(FcnError, match=r'train_iter_2.caffemodel.h5'):
        opened(tmp_path / 'x')
    assert contents(own_run) == before
