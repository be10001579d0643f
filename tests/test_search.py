"""Where relative paths are looked for: the working directory, as Caffe, then beside the text."""

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from texts import assert_facts, inputs, layer, message

from fcn_repro.distributed import ALONE
from fcn_repro.net.net import Net
from fcn_repro.proto import BlobProto
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.training import make_solver
from fcn_repro.search import SearchPath
from fcn_repro.solver.solver import Solver

TOPS = 'top: "data" top: "label"'
HDF5 = f'layer {{ name: "d" type: "HDF5Data" {TOPS} hdf5_data_param {{ source: "in/list.txt" ' \
       'batch_size: 2 } }'
IMAGES = f'layer {{ name: "d" type: "ImageData" {TOPS} image_data_param {{ source: "in/list.txt" ' \
         'root_folder: "in/" } transform_param { mean_file: "in/mean.binaryproto" } }'
INFOGAIN = inputs(x=(2, 3), l=(2,)) + layer(
    'InfogainLoss', 'b', 'x l', 'b', 'infogain_loss_param { source: "in/h.binaryproto" }')
OUTPUT = inputs(x=(2, 3), l=(2,)) + layer('HDF5Output', 'o', 'x l', '',
                                          'hdf5_output_param { file_name: "out.h5" }')


def binaryproto(path, array):
    shape = dict(zip(('num', 'channels', 'height', 'width'), (1, *array.shape), strict=True))
    path.write_bytes(BlobProto(**shape, data=array.ravel().tolist()).SerializeToString())


def write_hdf5(folder, value):
    with h5py.File(folder / 'rows.h5', 'w') as file:
        file['data'], file['label'] = np.full((2, 3), value, 'f4'), np.zeros(2, 'f4')
    (folder / 'list.txt').write_text('in/rows.h5\n')


def write_images(folder, value):
    Image.new('RGB', (3, 2), (value, value, value)).save(folder / '0.png')
    (folder / 'list.txt').write_text('0.png 1\n')
    binaryproto(folder / 'mean.binaryproto', np.zeros((3, 2, 3)))


def write_matrix(folder, value):
    binaryproto(folder / 'h.binaryproto', np.full((1, 3, 3), value))


CASES = [(HDF5, write_hdf5, 'list.txt'), (HDF5, write_hdf5, 'rows.h5'),
         (IMAGES, write_images, 'list.txt'), (IMAGES, write_images, '0.png'),
         (IMAGES, write_images, 'mean.binaryproto'), (INFOGAIN, write_matrix, 'h.binaryproto')]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(working directory, folder of the text), each with a folder `in`."""
    for name in 'here', 'there':
        (tmp_path / name / 'in').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'here')
    return tmp_path / 'here', tmp_path / 'there'


def first_value(net):
    fed = {'x': torch.ones(2, 3), 'l': torch.zeros(2)} if 'x' in net.graph.inputs else {}
    return float(next(iter(net.forward(**fed).values())).flatten()[0])


@pytest.mark.parametrize('text, write, missing', CASES)
def test_the_working_directory_then_beside_the_text(places, text, write, missing):
    here, there = places
    (there / 'net.prototxt').write_text(text)
    write(there / 'in', 2)
    beside = first_value(Net.read(there / 'net.prototxt', 'TEST'))
    write(here / 'in', 4)
    assert first_value(Net.read(there / 'net.prototxt', 'TEST')) == 2 * beside != 0
    only = Net.read(there / 'net.prototxt', 'TEST',
                    search=SearchPath.beside(there / 'net.prototxt'))
    assert first_value(only) == beside
    for folder in places:
        (folder / 'in' / missing).unlink()
    told = message(lambda: Net.read(there / 'net.prototxt', 'TEST').forward())
    assert told.startswith(f"{there}/net.prototxt:{3 if 'h.' in missing else 1}: layer '"), told
    assert_facts(told, '', f"'in/{missing}'", str(here / 'in' / missing),
                 str(there / 'in' / missing), 'Correct')


def test_output_goes_to_the_working_directory(places):
    here, there = places
    (there / 'net.prototxt').write_text(OUTPUT)
    first = Net.read(there / 'net.prototxt', 'TEST', writes=[here])
    first.forward(x=torch.ones(2, 3), l=torch.zeros(2))
    assert (here / 'out.h5').is_file() and not (there / 'out.h5').exists()


def write_solver(folder, rate):
    (folder / 'in' / 'net.prototxt').write_text(
        inputs(x=(2, 3)) + layer('InnerProduct', 'ip', 'x', 'ip', 'inner_product_param { '
                                 f'num_output: {rate} }}'))
    (folder / 'in' / 'solver.prototxt').write_text(
        'net: "in/net.prototxt" base_lr: 1 lr_policy: "fixed" snapshot_prefix: "out/x" '
        'test_net: "in/net.prototxt" test_iter: 1 test_interval: 1')


def test_the_nets_of_a_solver(places):
    here, there = places
    write_solver(there, 3)
    (there / 'in' / 'solver.prototxt').rename(there / 'solver.prototxt')
    write_solver(here, 2)
    solver = Solver(there / 'solver.prototxt')
    for net in (solver.net, *solver.test_nets):
        assert net.params['ip'][0].shape[0] == 2
    beside = Solver(there / 'solver.prototxt', search=SearchPath.beside)
    assert beside.net.params['ip'][0].shape[0] == 3
    (here / 'in' / 'net.prototxt').unlink()
    assert Solver(there / 'solver.prototxt').net.params['ip'][0].shape[0] == 3
    (there / 'in' / 'net.prototxt').unlink()
    assert_facts(message(Solver, there / 'solver.prototxt'), f'{there}/solver.prototxt:1',
                 str(here / 'in/net.prototxt'), str(there / 'in/net.prototxt'), 'Correct net')
    solver.snapshot()
    assert any((here / 'out').iterdir())


@pytest.mark.parametrize('text, field', [
    (HDF5.replace('in/list.txt', ''), 'hdf5_data_param.source'),
    (IMAGES.replace('in/list.txt', '').replace('mean_file: "in/mean.binaryproto"', ''),
     'image_data_param.source')])
def test_an_empty_name(places, text, field):
    (places[0] / 'net.prototxt').write_text(text)
    assert f"{field} is empty. Name the list." in message(Net.read, 'net.prototxt', 'TEST')


def test_one_place_where_the_text_is_in_the_working_directory(places):
    (places[0] / 'net.prototxt').write_text(HDF5)
    found = message(Net.read, 'net.prototxt', 'TEST')
    assert found.count('in/list.txt') == 2 and ' and ' not in found.partition('tried')[2]


@pytest.mark.parametrize('text, write, name', CASES)
def test_a_folder_is_passed_over_and_named(places, text, write, name):
    here, there = places
    (there / 'net.prototxt').write_text(text)
    write(there / 'in', 2)
    (here / 'in' / name).mkdir()
    assert first_value(Net.read(there / 'net.prototxt', 'TEST'))
    (there / 'in' / name).unlink()
    assert f"'in/{name}' is a folder, not a" in message(
        lambda: Net.read(there / 'net.prototxt', 'TEST').forward())


@pytest.mark.parametrize('text, write, ending', [
    (HDF5, write_hdf5, '\r\n'), (IMAGES, write_images, '\r\n'), (IMAGES, write_images, ' \r\n'),
    (IMAGES, write_images, '\t\n'), (HDF5, write_hdf5, ' \n')])
def test_lists_written_on_windows_or_by_hand(places, text, write, ending):
    (places[0] / 'net.prototxt').write_text(text)
    write(places[0] / 'in', 2)
    listed = places[0] / 'in/list.txt'
    listed.write_bytes(listed.read_bytes().replace(b'\n', ending.encode()))
    assert first_value(Net.read('net.prototxt', 'TEST')) == 2


def test_space_around_a_name(places):
    (places[0] / 'net.prototxt').write_text(HDF5.replace('list.txt"', 'list.txt "'))
    write_hdf5(places[0] / 'in', 2)
    assert 'Remove the space in hdf5_data_param.source' in message(Net.read, 'net.prototxt', 'TEST')


def test_an_empty_net_of_a_solver(places):
    (places[0] / 's.prototxt').write_text('base_lr: 1 lr_policy: "fixed"\nnet: ""')
    assert message(Solver, 's.prototxt') == 's.prototxt:2: net is empty. Name the net.'


def test_names_that_no_file_can_have(places):
    for name in 'x' * 5000, 'a\\000b':
        (places[0] / 'net.prototxt').write_text(HDF5.replace('in/list.txt', name))
        assert 'there is no list' in message(Net.read, 'net.prototxt', 'TEST')


@pytest.mark.parametrize('head, words', [
    (b'<!DOCTYPE html>', 'web page'), (b'\x89PNG\r\n', 'a PNG picture, not an HDF5 file'),
    (b'version https://git-lfs.github.com/spec/v1', 'Git LFS pointer'), (b'', 'empty')])
def test_other_files_in_place_of_hdf5(places, head, words):
    (places[0] / 'net.prototxt').write_text(HDF5)
    write_hdf5(places[0] / 'in', 2)
    (places[0] / 'in/rows.h5').write_bytes(head)
    assert words in message(Net.read, 'net.prototxt', 'TEST')


def test_the_recipe_takes_nothing_from_the_working_directory(places):
    """A stray train.prototxt there is not the stage's."""
    for name in 'train.prototxt', 'val.prototxt':
        (places[0] / name).write_text('stray')
    run = Run('mini-fcn32s')
    told = message(make_solver, run, run.prototxt, {}, ALONE)
    assert_facts(told, "data/digits/VOC: layer 'data' (Python)", 'there is no such folder',
                 f'relative paths start at {places[0]}')
