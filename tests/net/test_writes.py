"""Where a net and a solver may write: nowhere unasked, anywhere under Caffe's own commands."""

import os

import h5py
import numpy as np
import pytest
import torch
from texts import inputs, layer, message

import fcn_repro.pycaffe as caffe
from fcn_repro.cli.main import main
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.paths import ANYWHERE
from fcn_repro.solver.solver import Solver

NET = inputs(x=(3, 2), l=(3,)) + layer('HDF5Output', 'o', 'x l', '',
                                       'hdf5_output_param { file_name: "FILE" }')
SOLVER = 'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "{}"'
TRAINED = inputs(x=(3, 2)) + layer('InnerProduct', 'ip', 'x', 'ip',
                                   'inner_product_param { num_output: 1 }')


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with folders a and b."""
    for name in 'work/a', 'work/b', 'elsewhere':
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'work')
    return tmp_path / 'work'


def run(file_name, **options):
    with open('net.prototxt', 'w') as file:
        file.write(NET.replace('FILE', file_name))
    net = Net.read('net.prototxt', 'TEST', **options)
    net.forward(x=torch.ones(3, 2), l=torch.zeros(3))


@pytest.mark.parametrize('name, writes', [
    ('out.h5', ()), ('out.h5', ['a']), ('a/../out.h5', ['a']), ('../elsewhere/x', ['.']),
    ('/dev/null', ['.']), ('a', ['a']), ('link/x', ['a', 'b']), ('a/link.h5', ['a']),
    ('ab/x', ['a'])])
def test_a_layer_writes_in_no_other_folder(here, name, writes):
    (here / 'ab').mkdir()
    (here / 'link').symlink_to(here.parent / 'elsewhere')
    (here / 'a' / 'link.h5').symlink_to(here.parent / 'elsewhere' / 'x')
    with pytest.raises(FcnError, match='would be written') as info:
        run(name, writes=writes)
    error = info.value
    assert (error.code, error.layer, error.type) == ('write-not-allowed', 'o', 'HDF5Output')
    assert error.facts['file'] == os.path.realpath(name) and 'net.prototxt:' in str(error)
    assert not list((here.parent / 'elsewhere').iterdir())
    run(name, writes=[error.facts['folder'], '.']) if name not in ('/dev/null', 'a') else None


@pytest.mark.parametrize('name, writes', [
    ('out.h5', '.'), ('out.h5', ['.']), ('a/out.h5', ['a']), ('a/out.h5', ['.']),
    ('b/out.h5', ['a', 'b']), ('../elsewhere/x', ANYWHERE), ('b/../a/out.h5', ['a'])])
def test_a_layer_writes_where_it_may(here, name, writes):
    run(name, writes=writes)
    with h5py.File(name) as file:
        assert file['data'].shape == (3, 2, 1, 1)


def test_a_net_that_is_not_run_writes_nothing_and_is_no_error(here):
    (here / 'net.prototxt').write_text(NET.replace('FILE', '/x'))
    assert len(Net.read('net.prototxt', 'TEST').graph.nodes) == 3


@pytest.mark.parametrize('name', ['a\\000b', 'x' * 300, 'a\\nb'])
def test_names_that_no_file_can_have(here, name):
    with pytest.raises(FcnError, match=r"layer 'o'.*(control|300 bytes)"):
        run(name, writes=['.'])


# Solvers

def solver(snapshot_prefix, text=TRAINED, folder='.', **options):
    with open(f'{folder}/net.prototxt', 'w') as file:
        file.write(text)
    with open(f'{folder}/solver.prototxt', 'w') as file:
        file.write(SOLVER.format(snapshot_prefix))
    return Solver(f'{folder}/solver.prototxt', **options)


@pytest.mark.parametrize('prefix', ['../elsewhere/x', '{}/elsewhere/x', 'a/../../elsewhere/x'])
def test_a_solvers_text_writes_in_its_folders(here, prefix):
    """Training is the user's wish, so its snapshots are written, but not in any place."""
    made = solver(prefix.format(here.parent))
    for use in (made.snapshot, lambda: next(made.run())):
        with pytest.raises(FcnError, match=r'solver\.prototxt:1: .*would be written') as info:
            use()
        assert info.value.code == 'write-not-allowed'
    assert not list((here.parent / 'elsewhere').iterdir())
    solver(prefix.format(here.parent), writes=[here.parent / 'elsewhere']).snapshot()
    assert len(list((here.parent / 'elsewhere').iterdir())) == 2
    solver(prefix.format(here.parent), prefix='b/y').snapshot()
    assert len(list((here / 'b').iterdir())) == 2


@pytest.mark.parametrize('prefix', ['x', 'a/x', '{}/x', '{}/new/x'])
def test_below_the_working_directory_and_the_solvers_folder(here, prefix):
    for path in solver(prefix.format(here)).snapshot():
        assert path.exists()
    beside = here.parent / 'elsewhere'
    for path in solver(f'{beside}/x', folder=beside).snapshot():
        assert path.parent == beside


def test_layers_of_a_solvers_net_obey_its_writes(here):
    text = TRAINED + layer('DummyData', 'd', '', 'l', 'dummy_data_param { shape { dim: 3 } }') \
        + layer('HDF5Output', 'o', 'x l', '', 'hdf5_output_param { file_name: "a/o.h5" }')
    with pytest.raises(FcnError, match=r"layer 'o'.*would be written"):
        solver('x', text).net.forward(x=torch.ones(3, 2))
    solver('x', text, writes=['a']).net.forward(x=torch.ones(3, 2))
    assert (here / 'a' / 'o.h5').exists()


# Commands

def golden(here, name):
    text = NET.replace('FILE', name) + layer('Power', 'p', 'x', 'y', '')
    (here / 'net.prototxt').write_text(text)
    with h5py.File('golden.h5', 'w') as file:
        file['inputs/x'], file['inputs/l'] = np.ones((3, 2), 'f4'), np.zeros(3, 'f4')
        file['outputs/y'] = np.ones((3, 2), 'f4')
    return ['check-parity', 'net.prototxt', 'none', 'golden.h5']


def test_check_parity_and_its_remedy(here, capsys):
    words = golden(here, '../elsewhere/o.h5')
    with pytest.raises(SystemExit):
        main(words)
    error = capsys.readouterr().err
    remedy = f'--allow-writes {here.parent}/elsewhere'
    assert f'Give {remedy}, or another name' in error and not list(
        (here.parent / 'elsewhere').iterdir())
    main([*words, *remedy.split()])
    assert 'within their limits' in capsys.readouterr().out
    assert (here.parent / 'elsewhere' / 'o.h5').exists()


def test_caffes_own_commands_write_as_caffe_does(here, capsys):
    data = layer('DummyData', 'd', '', 'x l', 'dummy_data_param { shape { dim: 3 dim: 1 } }') \
        + layer('InnerProduct', 'ip', 'x', 'ip', 'inner_product_param { num_output: 1 }') \
        + layer('EuclideanLoss', 'loss', 'ip l', 'loss', '')
    text = data + layer('HDF5Output', 'o', 'x l', '',
                        'hdf5_output_param { file_name: "../elsewhere/o.h5" }')
    (here / 'net.prototxt').write_text(text)
    (here / 'solver.prototxt').write_text(SOLVER.format('../elsewhere/s'))
    main(['caffe', 'train', '--solver=solver.prototxt'])
    assert {path.name for path in (here.parent / 'elsewhere').iterdir()} == {
        'o.h5', 's_iter_1.caffemodel', 's_iter_1.solverstate'}
    for words in (['test', '--weights=../elsewhere/s_iter_1.caffemodel'],):
        (here.parent / 'elsewhere' / 'o.h5').unlink()
        main(['caffe', *words, '--model=net.prototxt', '--iterations=1'])
        assert (here.parent / 'elsewhere' / 'o.h5').exists()
    (here.parent / 'elsewhere' / 'o.h5').unlink()
    caffe.Net('net.prototxt', caffe.TEST).forward()
    assert (here.parent / 'elsewhere' / 'o.h5').exists()


def test_folders_that_are_no_path(here):
    (here / 'net.prototxt').write_text(NET.replace('FILE', 'x'))
    assert 'folder to write in' in message(Net.read, 'net.prototxt', 'TEST', writes=[5])
