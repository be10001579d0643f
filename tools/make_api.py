#!/usr/bin/env python3
"""Write docs/api.md, the reference of the Python interface, from signatures and docstrings.

    python tools/make_api.py [--check]

--check: write nothing; status 1 where the page is not what the docstrings make.
"""

import argparse
import ast
import inspect
import sys
import textwrap
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'api.md'
HEAD = """# The Python interface

Written by `tools/make_api.py` from the docstrings. Shapes are (N, C, H, W): batch, channels, height
and width; (H, W, 3) is an image. Every error that a user can correct is an `FcnError` with its
place and a remedy. What is not listed here may change without notice.
"""
MODULES = {     # {module: its names, None for those of __all__}
    'fcn_repro': None,
    'fcn_repro.proto.prototxt': ['NetText', 'SolverText', 'read_net', 'read_solver', 'filter_net'],
    'fcn_repro.formats.weights': None,
    'fcn_repro.predict.metrics': ['Confusion', 'Metrics', 'metrics'],
    'fcn_repro.ops': None,
}
PLAIN = int, float, str, tuple, bytes, type(None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true')
    check = parser.parse_args().check
    text = page()
    if not check:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        raise FcnError('the page is not what the docstrings make', file=PAGE,
                       do='Run `python tools/make_api.py`.')


def page():
    """The text of docs/api.md."""
    return '\n'.join([HEAD, *(section(*module) for module in MODULES.items())])


def section(name, names):
    """A module: what its docstring says, and each of these names, by default of its __all__."""
    module = import_module(name)
    parts = [f'## {name}\n', code(inspect.getdoc(module))]
    for each in sorted(names or module.__all__, key=str.lower):
        value = getattr(module, each)
        if not isinstance(value, PLAIN):
            parts.append(entry(f'{name}.{each}', value))
    return '\n'.join(parts)


def entry(name, value, level='###'):
    """A function or class: its signature, docstring and, of a class, its methods."""
    parts = [f'{level} {name}\n']
    signature = signature_of(value)
    if signature:
        call = textwrap.fill(name.rpartition('.')[2] + signature, 100, subsequent_indent=4 * ' ',
                             break_long_words=False, break_on_hyphens=False)
        parts.append(f'```python\n{call}\n```\n')
    parts.append(code(inspect.getdoc(value)))
    for each, method in public_methods(value) if inspect.isclass(value) else ():
        parts.append(entry(f"{name.rpartition('.')[2]}.{each}", method, '####'))
    return '\n'.join(parts)


def signature_of(value):
    """The arguments of a function or class as they are written; '' where there are none to see."""
    function = vars(value).get('__init__') if inspect.isclass(value) else \
        inspect.unwrap(getattr(value, '__func__', value))
    if not inspect.isfunction(function) or not function.__code__.co_filename.endswith('.py'):
        return ''
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if node.args.args and node.args.args[0].arg in ('self', 'cls'):
        del node.args.args[0]
    returns = '' if node.name == '__init__' or not node.returns else \
        f' -> {ast.unparse(node.returns)}'
    return f'({ast.unparse(node.args)}){returns}'


def public_methods(kind):
    """[(name, method or property)] that the class itself defines, with a docstring."""
    return [(name, value) for name, value in vars(kind).items()
            if not name.startswith('_') and inspect.getdoc(value) and
            (inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod)))]


def code(text):
    """A docstring as it is written, in a block."""
    return f'```text\n{text}\n```\n' if text else ''


if __name__ == '__main__':
    with report_errors():
        main()
