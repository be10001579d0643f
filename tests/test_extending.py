"""docs/extending.md: each example applies to a copy of the project, runs there, and touches as many
places as the document states."""

import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest
from small_runs import ROOT

PAGE = (ROOT / 'docs/extending.md').read_text()
COPIED = 'fcn_repro', 'tests', 'prototxt', 'pyproject.toml'


class Example(NamedTuple):
    """row: the first words of its line in the document's table; command: Python's arguments."""
    row: str
    command: list[str]


EXAMPLES = {
    'layer': Example('a layer type', ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-k',
                                      'Mish or every_type_has', 'tests/layers']),
    'data-set': Example('a data set', ['tests/support/extending/data_set.py']),
    'net-family': Example('a net family', ['tests/support/extending/net_family.py']),
}


def touched(patch):
    """The paths that a unified diff creates or edits."""
    return re.findall(r'^\+\+\+ b/(.+)$', patch, re.M)


def test_every_patch_is_an_example():
    assert {path.stem for path in (ROOT / 'docs/extending').glob('*.patch')} == EXAMPLES.keys()


@pytest.mark.parametrize('name', EXAMPLES)
def test_the_document_counts_the_places(name):
    stated = re.search(rf'^\| {EXAMPLES[name].row} +\| (\d+) ', PAGE, re.M)
    patch = (ROOT / f'docs/extending/{name}.patch').read_text()
    assert int(stated[1]) == len(touched(patch))


@pytest.mark.parametrize('name', EXAMPLES)
def test_an_example_runs(name, tmp_path):
    for part in COPIED:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part,
                            ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(ROOT / part, tmp_path)
    subprocess.run(['git', 'apply', ROOT / f'docs/extending/{name}.patch'], cwd=tmp_path,
                   check=True, env={**os.environ, 'GIT_CEILING_DIRECTORIES': str(tmp_path.parent)})
    done = subprocess.run([sys.executable, *EXAMPLES[name].command], cwd=tmp_path, text=True,
                          capture_output=True, env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
