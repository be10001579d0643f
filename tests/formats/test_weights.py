"""Copying weights: Caffe's rules first, then our policy; the tool that converts files."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from goldens import DATA
from small_runs import start

from fcn_repro.errors import FcnError
from fcn_repro.formats.caffemodel import write_caffemodel
from fcn_repro.formats.weights import (
    LayerBlobs,
    Weights,
    copy_weights,
    format_rows,
    read_weights,
    write_hdf5,
)
from fcn_repro.proto import LayerParameter

FILES = DATA / 'weights'
SNAPSHOT = FILES / 'snapshot_iter_30.caffemodel'
ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/convert_caffemodel.py'
rng = np.random.default_rng(0)


def target():
    """The net of load/net.prototxt, with its fillers."""
    shapes = {'conv1': [(4, 3, 3, 3), (4,)], 'bn': [(4,), (4,), (1,)], 'ip': [(5, 48), (5,)]}
    values = {'conv1': (7, 8), 'bn': (0, 0, 0), 'ip': (9, 10)}
    params = {n: [torch.full(s, float(v)) for s, v in zip(shapes[n], values[n], strict=True)]
              for n in shapes}
    return params, {'data': 'Input', 'conv1': 'Convolution', 'bn': 'BatchNorm', 'ip':
                    'InnerProduct'}


def layers_of(params, types=()):
    """LayerBlobs of {layer: tensors} and {layer: type}."""
    types = dict(types)
    return [LayerBlobs(name, params.get(name, []), types.get(name, ''))
            for name in dict.fromkeys([*params, *types])]


@pytest.mark.parametrize('case', json.loads((FILES / 'load/load_rules.json').read_text()).items(),
                         ids=lambda case: case[0])
def test_copying_follows_caffes_rules(case):
    name, rule = case
    params, types = target()
    source = read_weights(FILES / f'load/{name}.caffemodel')
    if not rule['accepted']:
        before = {n: [t.clone() for t in blobs] for n, blobs in params.items()}
        with pytest.raises(FcnError, match=f'{name}.caffemodel'):
            copy_weights(layers_of(params, types), source)
        assert all(torch.equal(a, b) for n in params
                   for a, b in zip(params[n], before[n], strict=True))
        return
    copy_weights(layers_of(params, types), source)
    with h5py.File(FILES / 'load/loaded.h5') as golden:
        for layer, blobs in golden[name].items():
            for i, blob in blobs.items():
                np.testing.assert_array_equal(params[layer][int(i)], blob[()])


# ---- the policy -----------------------------------------------------------------------------

def source_of(layers, types=(), legacy=()):
    """Weights of {layer: arrays} or of pairs; types: {layer: type}; legacy: {layer: indices}."""
    pairs = layers.items() if isinstance(layers, dict) else layers
    return Weights([LayerBlobs(n, [np.asarray(b, 'f4') for b in blobs], dict(types).get(n, ''),
                               frozenset(dict(legacy).get(n, ()))) for n, blobs in pairs],
                   file='some.caffemodel', format='binary')


def test_inner_product_is_cast_and_all_is_listed():
    fc6 = rng.standard_normal((4, 18))
    source = source_of({'conv1': [np.ones((2, 3, 3, 3))], 'relu1': [], 'fc6': [fc6, np.ones(4)],
                        'fc8': [np.ones((5, 4)), np.ones(5)]}, types={'fc6': 'InnerProduct'})
    params = {'conv1': [torch.zeros(2, 3, 3, 3).contiguous(memory_format=torch.channels_last)],
              'fc6': [torch.zeros(4, 2, 3, 3), torch.zeros(4)],
              'score_fr': [torch.zeros(3, 4, 1, 1)]}
    rows = copy_weights(layers_of(params, {'fc6': 'Convolution', 'conv1': 'Convolution'}), source)
    assert [(r.layer, r.action) for r in rows] == [
        ('conv1', 'copied'), ('fc6', 'cast'), ('score_fr', 'left at filler'), ('fc8', 'ignored')]
    np.testing.assert_array_equal(params['fc6'][0], fc6.reshape(4, 2, 3, 3).astype('f4'))
    assert format_rows(rows, every=True) == '\n'.join([
        'conv1     copied          (2, 3, 3, 3)',
        'fc6       cast            (4, 18) to (4, 2, 3, 3), (4,)',
        'score_fr  left at filler  (3, 4, 1, 1)',
        'fc8       ignored         (5, 4), (5,)',
        '1 copied, 1 cast, 1 left at filler, 1 ignored'])


@pytest.mark.parametrize('shape, kind, legacy, type, good', [
    ((4, 18), 'InnerProduct', False, 'Convolution', True),
    ((4, 18), '', False, 'Convolution', True),                       # HDF5 knows no types
    ((1, 1, 4, 18), 'InnerProduct', True, 'Convolution', True),
    ((1, 1, 4, 18), 'InnerProduct', False, 'Convolution', False),
    ((18, 4), 'InnerProduct', False, 'Convolution', False),
    ((4, 17), 'InnerProduct', False, 'Convolution', False),
    ((4, 18), 'Convolution', False, 'Convolution', False),
    ((4, 18), 'InnerProduct', False, 'Deconvolution', False),
    ((4, 3, 6), 'InnerProduct', False, 'Convolution', False),
    ((4, 2, 3, 3), 'InnerProduct', False, 'Convolution', True),      # types do not matter
])
def test_what_is_cast(shape, kind, legacy, type, good):
    source = source_of({'fc': [np.ones(shape)]}, types={'fc': kind},
                       legacy={'fc': [0] * legacy})
    params = {'fc': [torch.zeros(4, 2, 3, 3)]}
    if good:
        copy_weights(layers_of(params, {'fc': type}), source)
        assert params['fc'][0].min() == 1
    else:
        with pytest.raises(FcnError) as error:
            copy_weights(layers_of(params, {'fc': type}), source)
        assert str(shape) in error.value.what and '(4, 2, 3, 3)' in error.value.what
        assert error.value.layer == 'fc' and error.value.file == 'some.caffemodel'


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e39])
def test_values_that_are_no_numbers(value):
    source = Weights({'a': [np.ones(3)], 'b': [np.array([1., value, 2.])]})
    params = {'a': [torch.zeros(3)], 'b': [torch.zeros(3)]}
    with pytest.raises(FcnError, match='1 of 3 values') as error:
        copy_weights(layers_of(params), source)
    assert error.value.layer == 'b' and not params['a'][0].any()


def test_no_match_at_all():
    with pytest.raises(FcnError, match='no layer matches: the net has conv1; the file has x'):
        copy_weights([LayerBlobs('conv1', [torch.zeros(1)])],
                     source_of({'x': [[1]], 'relu': []}))


def test_a_layer_that_has_no_parameters_here():
    with pytest.raises(FcnError, match='has 1 blobs in the file, 0 in the net'):
        copy_weights(layers_of({'a': [torch.zeros(1)]}, {'a': 'Bias', 'b': 'ReLU'}),
                     source_of({'a': [[1]], 'b': [[1]]}))


def test_scalars_doubles_and_large_pieces():
    big = rng.standard_normal((3, 1 << 21))
    params = {'a': [torch.zeros(()), torch.zeros(3, 1 << 21)]}
    rows = copy_weights(layers_of(params), Weights({'a': [np.array(2.), big]}))
    assert params['a'][0] == 2 and rows[0].detail.count('from double') == 2
    np.testing.assert_array_equal(params['a'][1], big.astype('f4'))


# ---- layers of one name ---------------------------------------------------------------------

def same_name(*blobs, types=('Bias', 'Bias')):
    return [LayerBlobs('a', list(tensors), type) for tensors, type in
            zip(blobs, types, strict=True)]


def test_a_binary_file_fills_the_first_layer_of_a_name():
    """Net::CopyTrainedLayersFrom: each in turn, so the last one stays."""
    first, second = torch.zeros(2), torch.zeros(2)
    rows = copy_weights(same_name([first], [second]),
                        source_of([('a', [[1, 2]]), ('a', [[3, 4]])]))
    assert first.tolist() == [3, 4] and second.tolist() == [0, 0]
    assert [(row.action, '2 in the file' in row.detail) for row in rows] == [
        ('copied', True), ('left at filler', False)]


def test_every_layer_of_a_name_in_a_binary_file_must_fit():
    first, second = torch.zeros(2), torch.zeros(2)
    with pytest.raises(FcnError) as error:
        copy_weights(same_name([first], [second]), source_of([('a', [[1]]), ('a', [[3, 4]])]))
    assert '(1,)' in error.value.what and not first.any()


def test_hdf5_fills_the_last_layer_of_a_name(tmp_path):
    """Net::CopyTrainedLayersFromHDF5 looks the name up in an index that the last layer has."""
    write_hdf5(tmp_path / 'w.h5', {'a': [np.float32([1, 2])]})
    first, second = torch.zeros(2), torch.zeros(2)
    copy_weights(same_name([first], [second]), read_weights(tmp_path / 'w.h5'))
    assert first.tolist() == [0, 0] and second.tolist() == [1, 2]


@pytest.mark.parametrize('ending', ['caffemodel', 'h5'])
def test_a_layer_of_the_same_name_without_parameters_does_not_count(tmp_path, ending):
    """HED's deploy net has five Crops called crop; one could share the name of a Convolution."""
    path, bias, param = tmp_path / f'w.{ending}', torch.ones(2), LayerParameter(name='a')
    if ending == 'h5':
        write_hdf5(path, [('a', []), ('a', [bias]), ('a', [])])
    else:
        write_caffemodel(path, '', [(param, []), (param, [bias]), (param, [])])
    mine = torch.zeros(2)
    copy_weights([LayerBlobs('a', []), LayerBlobs('a', [mine]), LayerBlobs('a', [])],
                 read_weights(path))
    assert mine.tolist() == [1, 1]


def test_hdf5_has_one_group_a_name(tmp_path):
    with pytest.raises(FcnError) as error:
        write_hdf5(tmp_path / 'w.h5', [('a', [np.ones(2)]), ('a', [np.ones(2)])])
    assert error.value.layer == 'a' and not list(tmp_path.iterdir())


# ---- the tool -------------------------------------------------------------------------------

def test_converting_an_old_file(tmp_path):
    """In its own process, in another folder."""
    done = subprocess.run([sys.executable, TOOL, FILES / 'v0.caffemodel', 'out.h5'], cwd=tmp_path,
                          capture_output=True, text=True, env=os.environ | {'PYTHONPATH': ROOT})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split(None, 2)[:2] == ['conv1', 'Convolution']
    assert '2 layers with weights of 8, 1,024 parameters (binary)' in done.stdout
    with h5py.File(FILES / 'binary_models.h5') as golden, h5py.File(tmp_path / 'out.h5') as ours:
        for path in ('conv1/0', 'conv1/1', 'ip/0'):
            np.testing.assert_array_equal(ours['data'][path][()], golden['v0'][path][()],
                                          strict=True)


def convert(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['convert_caffemodel.py', *map(str, args)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_inspecting_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    convert(monkeypatch, '--inspect', f'{SNAPSHOT}.h5')
    assert '(6, 3, 3, 3) (6,)' in (out := capsys.readouterr().out) and '(hdf5)' in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('args', [['none', 'o'], [SNAPSHOT], [SNAPSHOT, 'o', '--inspect']])
def test_tool_errors_are_one_line(tmp_path, monkeypatch, capsys, args):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        convert(monkeypatch, *args)
    text = capsys.readouterr().err
    assert stop.value.code == 1 and text.startswith('error: ') and text.count('\n') == 1


def test_a_reader_that_goes_away_gets_no_traceback(tmp_path):
    """tools/convert_caffemodel.py --inspect model | head -1"""
    process = start('convert_caffemodel', '--inspect', SNAPSHOT, cwd=tmp_path)
    process.stdout.close()
    with process:
        assert process.stderr.read() == '' and process.wait(120) == 141
