"""Tests that need files beside the project are skipped without them, and counted in one line."""

import os
import subprocess
import sys

import goldens
import pytest
from small_runs import ROOT

TESTS = '''
import pytest
from goldens import DATA, SHARED, needs, params

@pytest.mark.parametrize('path', params(['nets/fcn8s', 'nets/none'], 'net.prototxt'))
def test_net(path):
    assert path.exists()

@needs(SHARED / 'none')
def test_file():
    raise AssertionError

@pytest.mark.skip(reason='needs a GPU')
def test_other():
    raise AssertionError
'''


@pytest.mark.parametrize('options', [(), ('-n', '2')], ids=['', 'xdist'])
def test_what_was_left_out_is_said_in_one_line(tmp_path, options):
    if options:
        pytest.importorskip('xdist')
    (tmp_path / 'test_it.py').write_text(TESTS)
    (tmp_path / 'pytest.ini').write_text('[pytest]\n')
    path = os.pathsep.join(map(str, (ROOT, ROOT / 'tests', ROOT / 'tests/support')))
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'conftest', *options],
                          cwd=tmp_path, env={**os.environ, 'PYTHONPATH': path}, text=True,
                          capture_output=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('left out: ')]
    assert done.returncode == 0 and '1 passed, 3 skipped' in done.stdout, done.stdout
    assert len(lines) == 1 and '2 tests' in lines[0] and '../shared' in lines[0]


def test_a_reason_names_the_file_without_the_machine():
    mark = goldens.needs(goldens.SHARED / 'nets/none')
    assert mark.args == (True,) and mark.kwargs['reason'] == 'needs ../shared/goldens/nets/none'
    assert goldens.needs(goldens.DATA).args == (False,)


def test_names_are_those_of_the_files():
    """Every net and solver in tests/data is listed; and in ../shared, if it is there."""
    roots = [root for root in (goldens.DATA, goldens.SHARED) if root.exists()]
    assert goldens.DATA in roots
    for root in roots:
        nets = {path.parent.name for path in root.glob('nets/*/net.prototxt')}
        solvers = {path.parent.name for path in root.glob('solvers/*/solver.prototxt')}
        sizes = {path.stem.removeprefix('golden_') for path in root.glob('nets/*/golden_*.h5')}
        assert nets and solvers and sizes
        assert nets <= set(goldens.NETS) and solvers <= set(goldens.SOLVERS)
        assert sizes <= set(goldens.SIZES)
