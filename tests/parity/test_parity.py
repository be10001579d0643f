"""check_goldens.py as a user types it: on Caffe's goldens, and on goldens made wrong on purpose."""

import re
import shutil

import h5py
import numpy as np
import pytest
from goldens import DATA, spoil
from small_runs import assert_error, call

LINE = re.compile(r'(\S.*?) +(\d+) arrays +(\S+) +(\S+)  (ok|DEPARTS)(?:: (.*))?|'
                  r'(\S.*?) +NOT SUPPORTED: (.*)')
FCN = DATA / 'nets/fcn32s'
GOLDEN = FCN / 'golden_1x3x64x64.h5'


@pytest.fixture
def goldens(tmp_path):
    """A folder `goldens` with two layer cases."""
    folder = tmp_path / 'goldens'
    folder.mkdir()
    for path in (*(DATA / 'layers').glob('relu.*'), *(DATA / 'layers').glob('scale_param.*')):
        shutil.copy(path, folder)
    assert len(list(folder.iterdir())) == 4
    return folder


def check(capsys, *args):
    """check_goldens; (status, {name: (verdict, remark)}, last line)."""
    done = call(capsys, 'check_goldens', *args)
    assert not done.err, done
    *lines, last = done.out.splitlines()
    cases = {}
    for found in map(LINE.fullmatch, lines):
        cases[found[1] or found[7]] = (found[5] or 'NOT SUPPORTED', found[6] or found[8] or '')
    return done.status, cases, last


def raise_first(values):
    values[0] += 0.1


# Cases that agree, of every kind

def test_two_layers_agree(goldens, capsys):
    status, cases, last = check(capsys, goldens)
    assert status == 0 and cases == {'relu': ('ok', ''), 'scale_param': ('ok', '')}
    assert re.fullmatch(r'2 cases, \d+ arrays: 2 ok, 0 depart, 0 not supported; \d+ s', last)
    assert check(capsys, goldens, '--bad')[:2] == (0, {})


@pytest.mark.parametrize('kind, least', [('metrics', 8), ('coord_map', 40), ('fillers', 10),
                                         ('surgery', 2), ('solvers/lr_fixed', 3), ('weights', 20)])
def test_other_kinds_agree(kind, least, capsys):
    status, cases, _ = check(capsys, DATA / kind)
    assert len(cases) >= least
    assert {name: case for name, case in cases.items() if case[0] != 'ok'} == {} and status == 0


def test_files_of_any_age_agree(capsys):
    status, cases, _ = check(capsys, DATA / 'formats')
    assert len(cases) > 80
    assert {name for name, case in cases.items() if case[0] != 'ok'} == set() and status == 0


def test_a_net_agrees(tmp_path, capsys):
    for name in ('net.prototxt', 'weights.caffemodel', GOLDEN.name):
        shutil.copy(FCN / name, tmp_path)
    status, cases, last = check(capsys, tmp_path)
    assert (status, cases) == (0, {GOLDEN.stem: ('ok', '')}), last


# Goldens made wrong on purpose

WRONG = [
    ('outputs/y', raise_first, 'DEPARTS', 'outputs/y'),
    ('input_diffs/data', raise_first, 'DEPARTS', 'input_diffs/data'),
    ('outputs/y', 'delete', 'DEPARTS', 'outputs/y the golden lacks it'),
    ('outputs', 'delete', 'NOT SUPPORTED', "has no group 'outputs' (it holds: "),
]


@pytest.mark.parametrize('name, change, verdict, remark', WRONG)
def test_a_wrong_layer_case_is_seen(goldens, capsys, name, change, verdict, remark):
    spoil(goldens / 'relu.h5', name, change)
    status, cases, last = check(capsys, goldens)
    assert status == 1 and cases['scale_param'] == ('ok', '')
    assert cases['relu'][0] == verdict and remark in cases['relu'][1], cases
    assert ': 1 ok, ' in last


def test_a_blob_that_the_net_lacks(goldens, capsys):
    with h5py.File(goldens / 'relu.h5', 'r+') as file:
        file['outputs/z'] = np.zeros(3)
    assert check(capsys, goldens)[1]['relu'] == ('DEPARTS', 'outputs/z the net lacks it')


def test_a_param_of_another_shape(goldens, capsys):
    with h5py.File(goldens / 'scale_param.h5', 'r+') as file:
        layer = next(iter(file['params']))
        del file[f'params/{layer}/0']
        file[f'params/{layer}/0'] = np.zeros((7, 7))
    verdict, remark = check(capsys, goldens)[1]['scale_param']
    assert verdict == 'NOT SUPPORTED' and f"param '{layer}/0'" in remark and '(7, 7)' in remark


def test_what_is_not_supported_is_listed(goldens, capsys):
    text = (goldens / 'relu.prototxt').read_text()
    (goldens / 'relu.prototxt').write_text(text.replace('"ReLU"', '"RoLU"'))
    whole = (goldens / 'scale_param.h5').read_bytes()
    (goldens / 'scale_param.h5').write_bytes(whole[:len(whole) // 2])
    (goldens / 'lonely.prototxt').write_text(text)
    (goldens / 'no.json').write_text('{ "nets": ')
    (goldens / 'README.md').write_text('read me')
    status, cases, last = check(capsys, goldens)
    assert status == 1 and {verdict for verdict, _ in cases.values()} == {'NOT SUPPORTED'}
    assert "unknown layer type 'RoLU'" in cases['relu'][1]
    assert 'is not an HDF5 file' in cases['scale_param'][1]
    assert 'belongs to no known kind of golden' in cases['lonely.prototxt'][1]
    assert 'is not valid JSON' in cases['no.json'][1]
    assert last.startswith('4 cases, 0 arrays: 0 ok, 0 depart, 4 not supported')


WRONG_JSON = [
    ('{"nets": 5}', "it['nets'] is 5, not a dict"),
    ('{"stats": [1]}', "it['stats'][0] is 1, not a dict"),
    ('[{"stages": ["a"], "phase": 1}]', "it[0]['phase'] is 1, not a str"),
    ('[{"stages": ["a"]}]', "has no 'phase' (it has: stages)"),
    ('{"a": {"rejected": true, "text": 5}}', "it['a']['text'] is 5, not a str"),
    ('{"a": {"layers": 1, "outputs": 2}}', "it['a']['layers'] is 1, not a list"),
    ('[{"crop_from": "a"}, 3]', "has no 'name' (it has: crop_from)"),
    ('[{"name": "n", "crop_from": "a", "crop_to": "b", "layers": [{"type": "ReLU", "tops": ["r"], '
     '"bottoms": ["a"], "params": {}}]}]', "has no 'a'"),
]


@pytest.mark.parametrize('text, remark', WRONG_JSON)
def test_json_of_another_form_is_one_line(goldens, capsys, text, remark):
    (goldens / 'x.json').write_text(text)
    status, cases, _ = check(capsys, goldens)
    verdict, found = cases.pop(next(name for name in cases if name.startswith('x.json')))
    assert (status, verdict) == (1, 'NOT SUPPORTED') and remark in found
    assert {verdict for verdict, _ in cases.values()} == {'ok'}


def test_load_rules_of_another_form(tmp_path, capsys):
    for name in 'net.prototxt', 'loaded.h5':
        (tmp_path / name).write_text('')
    (tmp_path / 'load_rules.json').write_text('[1]')
    status, cases, _ = check(capsys, tmp_path)
    assert status == 1 and 'it is [1], not a dict' in cases['load_rules.json'][1]


def test_a_wrong_run_is_seen(tmp_path, capsys):
    shutil.copytree(DATA / 'solvers/lr_fixed', tmp_path / 'run')
    spoil(tmp_path / 'run/golden.h5', 'iter_5/history/0', raise_first)
    status, cases, _ = check(capsys, tmp_path)
    assert status == 1 and cases['run'] == ('DEPARTS', 'iter_5/history/0')


def test_a_wrong_net_is_seen_and_ties_are_not_an_excuse(tmp_path, capsys):
    for name in ('net.prototxt', 'weights.caffemodel', GOLDEN.name):
        shutil.copy(FCN / name, tmp_path)

    def a_little(values):
        values *= 1.001

    spoil(tmp_path / GOLDEN.name, 'blob_diffs/conv5_3', a_little)
    status, cases, _ = check(capsys, tmp_path)
    assert status == 1 and cases[GOLDEN.stem][0] == 'DEPARTS'
    assert 'conv5_3' in cases[GOLDEN.stem][1]


@pytest.mark.parametrize('make, text', [
    (lambda path: None, 'there is no such folder'), (lambda path: path.mkdir(), 'holds no goldens'),
    (lambda path: path.write_text('x'), 'is not a folder')])
def test_bad_folders(tmp_path, capsys, make, text):
    make(tmp_path / 'it')
    assert_error(call(capsys, 'check_goldens', tmp_path / 'it'), f'{tmp_path}/it: {text}')


PLACES = ['inputs', 'inputs/data', 'outputs', 'outputs/y', 'params', 'input_diffs',
          'input_diffs/data', 'output_diffs/y', 'param_diffs']


@pytest.mark.parametrize('kind', ['group', 'text', 'shape', 'step'])
@pytest.mark.parametrize('place', PLACES)
def test_any_other_layout_is_a_verdict(goldens, capsys, place, kind):
    """Whatever stands in a dataset's or a group's place, there is a line for the case."""
    with h5py.File(goldens / 'relu.h5', 'r+') as file:
        if place in file:
            del file[place]
        if kind == 'group':
            file.create_group(f'{place}/deep/er')['0'] = np.zeros(2)
        else:
            file[place] = 'text' if kind == 'text' else np.zeros((2, 3))
            if kind == 'step':
                file[place].attrs.update(shape=(4, 3), step=2)
    status, cases, _ = check(capsys, goldens)
    assert status == 1 and cases['relu'][0] != 'ok' and cases['relu'][1]
    assert_same_case_fails(capsys, goldens / 'relu')


def assert_same_case_fails(capsys, case):
    done = call(capsys, 'check_parity', f'{case}.prototxt', 'none', f'{case}.h5')
    assert done.err.startswith('error: ') if done.err else 'arrays' in done.out
