"""Known differences: cases of a folder of goldens that may depart, with the reason."""

import json
import shutil

import numpy as np
import pytest
from goldens import DATA, spoil
from small_runs import assert_error, call

from fcn_repro.parity import Comparison, KnownDifference, check_folder
from fcn_repro.parity.comparison import AGREES, DEPARTS, KNOWN, OK, UNSUPPORTED

REASON = 'the fork clamps its output'


@pytest.fixture
def goldens(tmp_path):
    """A folder with the layer cases relu and scale_param; relu departs in outputs/y."""
    for name in 'relu', 'scale_param':
        for form in 'prototxt', 'h5':
            shutil.copy(DATA / f'layers/{name}.{form}', tmp_path)
    spoil(tmp_path / 'relu.h5', 'outputs/y', lambda values: np.add(values, 1, out=values))
    return tmp_path


def note(folder, known, name='known_differences.json'):
    (folder / name).write_text(json.dumps(known))
    return folder / name


def check(capsys, folder, *args):
    """(status, {case: its line}, last line) of check_goldens."""
    done = call(capsys, 'check_goldens', folder, *args)
    assert not done.err, done
    *lines, last = done.out.splitlines()
    return done.status, {line.split()[0]: line for line in lines}, last


def test_without_the_file_a_case_that_departs_fails(goldens, capsys):
    status, lines, last = check(capsys, goldens)
    assert status == 1 and DEPARTS in lines['relu'] and ': 1 ok, 1 depart, ' in last


@pytest.mark.parametrize('known', [REASON, {'reason': REASON, 'arrays': ['outputs/*']}])
def test_a_known_difference_is_checked_and_counted_apart(goldens, capsys, known):
    note(goldens, {'relu': known})
    status, lines, last = check(capsys, goldens)
    assert status == 0 and lines['relu'].endswith(f'{KNOWN}: {REASON}')
    assert '2 cases, ' in last and '1 ok, 0 depart, 0 not supported, 1 known to differ;' in last
    assert check(capsys, goldens, '--bad')[1] == {}


def test_another_file(goldens, capsys, tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    path = note(tmp_path / 'elsewhere', {'relu': REASON}, 'forks.json')
    folder = shutil.copytree(goldens, tmp_path / 'goldens', ignore=lambda *_: ['elsewhere'])
    assert check(capsys, folder)[0] == 1
    assert check(capsys, folder, '--known', path)[0] == 0
    done = call(capsys, 'check_goldens', folder, folder, '--known', path)
    assert_error(done, '--known', 2)


def test_it_fails_when_the_case_agrees(goldens, capsys):
    note(goldens, {'relu': REASON, 'scale_param': REASON})
    status, lines, last = check(capsys, goldens, '--bad')
    assert status == 1 and lines.keys() == {'scale_param'} and AGREES in lines['scale_param']
    assert '1 known to differ, 1 known to differ but in agreement;' in last


def test_it_fails_when_one_of_its_arrays_agrees(goldens, capsys):
    note(goldens, {'relu': {'reason': REASON, 'arrays': ['outputs/y', 'input_diffs/data']}})
    status, lines, _ = check(capsys, goldens)
    assert status == 1 and AGREES in lines['relu']


def test_it_excuses_no_other_array(goldens, capsys):
    spoil(goldens / 'relu.h5', 'input_diffs/data', lambda values: np.add(values, 1, out=values))
    note(goldens, {'relu': {'reason': REASON, 'arrays': ['outputs/y']}})
    status, lines, _ = check(capsys, goldens)
    assert status == 1 and DEPARTS in lines['relu'] and 'input_diffs/data' in lines['relu']


def test_it_fails_when_there_is_no_such_case(goldens, capsys):
    note(goldens, {'relu': REASON, 'prelu': REASON})
    status, lines, last = check(capsys, goldens)
    assert status == 1 and UNSUPPORTED in lines['prelu'] and '1 not supported' in last


def test_a_case_that_cannot_be_checked_is_not_excused(goldens, capsys):
    (goldens / 'relu.h5').write_bytes(b'not HDF5')
    note(goldens, {'relu': REASON})
    status, lines, _ = check(capsys, goldens)
    assert status == 1 and UNSUPPORTED in lines['relu']


@pytest.mark.parametrize('most, verdict', [(10, KNOWN), (1e-4, DEPARTS), (None, KNOWN)])
def test_it_excuses_errors_up_to_a_size(goldens, capsys, most, verdict):
    note(goldens, {'relu': {'reason': REASON, 'arrays': {'outputs/*': most}}})
    status, lines, _ = check(capsys, goldens)
    assert status == (verdict != KNOWN) and verdict in lines['relu']


def test_what_is_rounding_may_agree(goldens, capsys):
    """An array with a largest error departs on some machines alone."""
    both = {'outputs/y': 10, 'input_diffs/data': 1e-3}
    note(goldens, {'relu': {'reason': REASON, 'arrays': both},
                   'scale_param': {'reason': REASON, 'arrays': {'outputs/y': 1e-3}}})
    status, lines, last = check(capsys, goldens, '--bad')
    assert status == 0 and not lines and '1 ok' in last and '1 known to differ' in last
    note(goldens, {'relu': {'reason': REASON, 'arrays': {**both, 'input_diffs/data': None}}})
    assert AGREES in check(capsys, goldens)[1]['relu']


def test_a_file_of_no_case_can_be_listed(goldens, capsys):
    (goldens / 'list.txt').write_text('a b')
    assert check(capsys, goldens)[0] == 1
    note(goldens, {'relu': REASON, 'list.txt': {'reason': 'no net reads it', 'unread': True}})
    status, lines, last = check(capsys, goldens)
    assert status == 0 and 'no net reads it' in lines['list.txt'] and '2 known to differ' in last
    note(goldens, {'relu': {'reason': REASON, 'unread': True}})
    assert DEPARTS in check(capsys, goldens)[1]['relu']


@pytest.mark.parametrize('text', ['{', '[]', '{"relu": 3}', '{"relu": ""}',
                                  '{"relu": {"reason": "x"}}',
                                  '{"relu": {"reason": "x", "arrays": []}}',
                                  '{"relu": {"reason": "x", "arrays": {"y": 0}}}',
                                  '{"relu": {"reason": "x", "arrays": {"y": "1"}}}',
                                  '{"relu": {"reason": "x", "arrays": ["y"], "unread": true}}',
                                  '{"relu": {"reason": "x", "unread": false}}',
                                  '{"relu": {"reason": 1, "arrays": ["y"]}}',
                                  '{"relu": {"reason": "x", "arrays": ["y"], "more": 1}}'])
def test_files_in_another_form(goldens, capsys, text):
    path = goldens / 'known_differences.json'
    path.write_text(text)
    assert_error(call(capsys, 'check_goldens', goldens), path)


def test_from_python(goldens):
    known = {'relu': KnownDifference(REASON, ('outputs/y',))}
    found = {comparison.name: comparison for comparison in check_folder(goldens, known=known)}
    assert {name: c.verdict for name, c in found.items()} == {'relu': KNOWN, 'scale_param': OK}
    assert [gap.what for gap in found['relu'].gaps if gap.departs] == ['outputs/y']


def test_an_empty_comparison_is_no_agreement():
    assert Comparison('x').verdict == UNSUPPORTED
    assert Comparison('x', KnownDifference(REASON)).verdict == UNSUPPORTED
