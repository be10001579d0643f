"""The examples of docs/extending: each patch applies to a copy of the project, touches as many
places as stated, and runs there."""

import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest
from small_runs import ROOT

COPIED = 'fcn_repro', 'tests', 'prototxt'


class Example(NamedTuple):
    """places: how many files it creates or edits. command: Python's arguments that run it."""
    places: int
    command: list[str]


EXAMPLES = {
    'data-set': Example(2, ['tests/support/extending/data_set.py']),
    'net-family': Example(2, ['tests/support/extending/net_family.py']),
}


def touched(patch):
    """The paths that a unified diff creates or edits."""
    return re.findall(r'^\+\+\+ b/(.+)$', patch, re.M)


def test_every_patch_is_an_example():
    assert {path.stem for path in (ROOT / 'docs/extending').glob('*.patch')} == EXAMPLES.keys()


@pytest.mark.parametrize('name', EXAMPLES)
def test_an_example_touches_as_many_places_as_stated(name):
    patch = (ROOT / f'docs/extending/{name}.patch').read_text()
    assert EXAMPLES[name].places == len(touched(patch))


@pytest.mark.parametrize('name', EXAMPLES)
def test_an_example_runs(name, tmp_path):
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder,
                        ignore=shutil.ignore_patterns('__pycache__', 'data' if folder == 'tests'
                                                      else ''))
    subprocess.run(['git', 'apply', ROOT / f'docs/extending/{name}.patch'], cwd=tmp_path,
                   check=True, env={**os.environ, 'GIT_CEILING_DIRECTORIES': str(tmp_path.parent)})
    done = subprocess.run([sys.executable, *EXAMPLES[name].command], cwd=tmp_path, text=True,
                          capture_output=True, env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
