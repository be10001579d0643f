"""The shape of the code: which way imports run, and how large files and functions are."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = 'fcn_repro'
CODE = sorted([*(ROOT / PACKAGE).rglob('*.py'), *(ROOT / 'tools').glob('*.py'),
               *(ROOT / 'tests').glob('*.py'), *(ROOT / 'benchmarks').glob('*.py')])
MODULES = [path for path in CODE if PACKAGE in path.relative_to(ROOT).parts]

# From the top down: nothing imports, at any distance, what stands before it in its line.
CHAINS = ('tools stages solver net layers ops errors', 'net graph prototxt proto errors',
          'pycaffe solver net layers ops errors', 'pycaffe coords netspec proto',
          'passes graph proto', 'passes layers ops')
APART = {                   # may reach nothing but these, at any distance
    'data': {'errors'},
    'metrics': {'errors'},
    'ops': {'errors'},
    'deconv': {'errors', 'ops'},
    'proto': {'errors'},
    'passes': {'errors', 'graph', 'prototxt', 'proto', 'layers', 'ops', 'deconv', 'blas', 'data',
               'fillers', 'sizes', 'wire', 'hdf5', 'hdf5_write', 'files', 'caffemodel',
               'solverstate', 'kept', 'conv'},
}

LINES, LAYER_LINES, FUNCTION_LINES = 300, 80, 40
LARGER = {                  # lines allowed, and why
    'fcn_repro/layers/base.py': (130, 'what all types share: not one layer, but the interface'),
    'fcn_repro/layers/spatial.py': (115, 'both convolutions, in N axes, both forms of each field'),
    'fcn_repro/layers/pooling.py': (110, 'two methods, mask, rounding, what torch cannot pad'),
}


def group(module):
    """The part that a module belongs to: 'layers' for fcn_repro.layers.crop."""
    parts = module.split('.')
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else parts[0]


@cache
def imports():
    """{part: the parts that it imports}, of the package and the tools."""
    found = {}
    for path in CODE:
        parts = path.relative_to(ROOT).with_suffix('').parts
        if parts[0] in ('tests', 'benchmarks') or parts == (PACKAGE, '__init__'):
            continue
        mine = found.setdefault(group('.'.join(parts)), set())
        for module in imported(ast.parse(path.read_text()), parts[:-1]):
            if module.split('.')[0] == PACKAGE:
                mine.add(group(module))
    return {name: others - {name} for name, others in found.items()}


def imported(tree, package):
    """The full names of what a module imports, `from . import x` taken as a module x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[:len(package) - node.level + 1]) if node.level else []
            base += node.module.split('.') if node.module else []
            yield from ('.'.join([*base, alias.name]) if len(base) == 1 else '.'.join(base)
                        for alias in node.names)


def reached(part):
    """All parts that a part imports, at any distance."""
    seen, todo = set(), [part]
    while todo:
        new = imports()[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def test_the_walk_sees_imports():
    assert {'layers', 'graph', 'plan', 'blob'} <= imports()['net']
    assert 'proto' in imports()['layers'] and 'net' in imports()['solver']
    assert set(imports()) >= {'tools', 'data', 'errors', 'ops', 'passes'}


@pytest.mark.parametrize('chain', CHAINS)
def test_imports_run_one_way(chain):
    parts = chain.split()
    for i, lower in enumerate(parts):
        assert not reached(lower) & set(parts[:i]), lower


@pytest.mark.parametrize('part', APART)
def test_what_stands_apart(part):
    assert reached(part) <= APART[part]


def test_no_circle():
    circles = [part for part in imports() if part in reached(part)]
    assert not circles


def test_net_knows_no_pass():
    """Passes are given to a net; it works the same without any."""
    assert 'passes' not in reached('net') and 'passes' not in reached('infer')


def test_layers_stand_alone():
    """One file a layer: it imports what is shared, and of other types only what it is made of."""
    made_of = {'upcrop': {'crop', 'deconvolution'}, 'spp': {'pooling'}, 'lstm': {'lstmunit'},
               'upcropadd': {'crop', 'deconvolution', 'eltwise'},
               'upcroplabels': {'upcrop', 'labelmap'}, 'upcroploss': {'upcrop', 'softmaxwithloss'}}
    shared = {'base', 'bilinear', 'broadcast', 'labels', 'losses', 'neuron', 'recurrent', 'rows',
              'slope', 'source', 'spatial', 'transform'}
    for path in (ROOT / PACKAGE / 'layers').glob('*.py'):
        tree = ast.parse(path.read_text())
        others = {node.module for node in ast.walk(tree)
                  if isinstance(node, ast.ImportFrom) and node.level == 1}
        assert others <= shared | made_of.get(path.stem, set()), path.name


@pytest.mark.parametrize('path', CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path):
    name, text = str(path.relative_to(ROOT)), path.read_text()
    usual = LAYER_LINES if '/layers/' in name else LINES
    limit, _ = LARGER.get(name, (usual, ''))
    lines = text.count('\n')
    assert lines <= limit, f'{name} has {lines} lines'
    assert name not in LARGER or lines > usual, f'{name} needs no exception any more'
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES, f'{name}: {node.name} has {length} lines'


def test_exceptions_are_files():
    assert all((ROOT / name).exists() for name in LARGER)


def test_forward_is_a_loop():
    """Net.forward: at most 25 lines, and no `if` on a type."""
    tree = ast.parse((ROOT / PACKAGE / 'net.py').read_text())
    forward = next(node for node in ast.walk(tree)
                   if isinstance(node, ast.FunctionDef) and node.name == 'forward')
    code = [node for node in forward.body if not isinstance(node, ast.Expr)]
    assert code[-1].end_lineno - code[0].lineno + 1 <= 25
    assert not any(isinstance(node, ast.If) for node in ast.walk(forward))
