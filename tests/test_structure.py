"""The shape of the package: imports run one way, and what is imported of it exists."""

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = 'fcn_repro'
ROOT = Path(__file__).parents[1] / PACKAGE

# Each package imports only from the lines above its own, and from itself: two packages of one line
# know nothing of each other. Modules beside the packages stand under their own names.
ORDER = (
    ('errors',),
    ('sizes', 'memory', 'processor', 'paths', 'search', 'sniff', 'files', 'processes',
     'distributed'),
    ('temporary',),
    ('glog',),
    ('fillers',),
    ('proto', 'data'),
    ('formats',),
    ('lock',),
    ('fetch',),
    ('ops',),
    ('layers',),
    ('net',),
    ('passes', 'report', 'export'),
    ('viewer',),
    ('solver', 'predict'),
    ('recipe', 'pycaffe'),
    ('model',),
    ('parity', 'doctor', 'paper'),
    ('cli',),
    ('__main__',),
)


def imports(root):
    """(file, its part, imported part) of every import between parts of the package at `root`."""
    for path in sorted(root.rglob('*.py')):
        parts = path.relative_to(root).with_suffix('').parts
        if parts != ('__init__',) and parts[1:] != ('__main__',):   # faces may import anything
            for part in imported(ast.parse(path.read_text()), (PACKAGE, *parts[:-1])):
                if part != parts[0]:
                    yield str(path.relative_to(root)), parts[0], part


def imported(tree, package):
    """The parts of PACKAGE that a module of `package` (a tuple of names) imports anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split('.') for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[:len(package) - node.level + 1]) if node.level else []
            base += node.module.split('.') if node.module else []
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        yield from (name[1] for name in names if name[0] == PACKAGE and len(name) > 1)


def wrong(root):
    """The imports that run against ORDER, and parts that it does not list."""
    rank = {part: i for i, line in enumerate(ORDER) for part in line}
    return [f'{file} imports {part}' for file, mine, part in imports(root)
            if rank.get(part, len(ORDER)) >= rank.get(mine, -1)]


def test_imports_run_one_way():
    assert not wrong(ROOT)


def test_wrong_imports_are_found(tmp_path):
    """The test above can fail: on an import upward, on one within a line, and on a new part."""
    for name, text in {'net/net.py': 'from ..passes import PASSES\n', 'new/a.py': '',
                       'predict/a.py': 'def f():\n    from fcn_repro.solver import Solver\n',
                       'solver/a.py': 'from ..net.net import Net\nfrom ..new import a\n'}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert wrong(tmp_path) == ['net/net.py imports passes', 'predict/a.py imports solver',
                               'solver/a.py imports new']


# ---- what is imported of the package exists ------------------------------------------------------
def missing(folder):
    """What files below `folder` import of PACKAGE, anywhere in them, that is not there."""
    for path in sorted(folder.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                module = node.module
                if module.split('.')[0] == PACKAGE:
                    yield from (f'{path.relative_to(folder)}:{node.lineno} {module}.{alias.name}'
                                for alias in node.names if not exists(module, alias.name))


def exists(module, name):
    """Whether a module of PACKAGE has that name, or that module inside it."""
    found = importlib.import_module(module)
    return hasattr(found, name) or (hasattr(found, '__path__')
                                    and find_spec(f'{module}.{name}') is not None)


@pytest.mark.parametrize('folder', ['tests', 'benchmarks', 'tools'])
def test_imported_names_exist(folder):
    assert not list(missing(ROOT.parent / folder))


def test_missing_names_are_found(tmp_path):
    """The test above can fail: on a name that is gone, also inside a function."""
    (tmp_path / 'a.py').write_text('from fcn_repro.net import bn_statistics\n\n\n'
                                   'def f():\n    from fcn_repro.net.bn_statistics import modes\n')
    assert list(missing(tmp_path)) == ['a.py:5 fcn_repro.net.bn_statistics.modes']
