"""The command fcn-repro: its table, what it imports, and the remedies that it shows."""

import argparse
import ast
import re
import string
import subprocess
import sys

import pytest
from small_runs import ROOT

import fcn_repro
from fcn_repro.cli import reporting
from fcn_repro.cli.main import COMMANDS, load, main, parser
from fcn_repro.cli.remedies import REMEDIES
from fcn_repro.cli.reporting import OPTION, remedy, report_errors
from fcn_repro.errors import FcnError

FILES = {path.stem for path in (ROOT / 'fcn_repro/cli').glob('*.py')}
HELPERS = {'__init__', 'main', 'arguments', 'remedies', 'reporting'}


def command_parser(name):
    made = argparse.ArgumentParser(prog=name)
    load(name).add_arguments(made)
    return made


def texts(code):
    return (REMEDIES[code],) if isinstance(REMEDIES[code], str) else REMEDIES[code]


# The table

def test_every_file_is_a_command_and_every_command_has_help(capsys):
    assert {name.replace('-', '_') for name in COMMANDS} == FILES - HELPERS
    for name in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([name, '--help'])
        out, err = capsys.readouterr()
        assert end.value.code == 0 and not err
        assert out.startswith(f'usage: fcn-repro {name} ')


def test_help_and_version_do_not_load_torch():
    code = ('import sys; from fcn_repro.cli.main import main\n'
            'try: main(sys.argv[1:])\nfinally: assert "torch" not in sys.modules')
    done = subprocess.run([sys.executable, '-c', code, '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and all(f'\n  {name} ' in done.stdout for name in COMMANDS), done
    done = subprocess.run([sys.executable, '-c', code, '--version'], capture_output=True, text=True)
    assert done.stdout == f'fcn-repro {fcn_repro.__version__}\n', done


@pytest.mark.parametrize('words, parts', [
    (['trian'], ["unknown command 'trian'", "Did you mean 'train'?", 'fcn-repro --help']),
    (['no'], ["unknown command 'no'", 'fcn-repro --help']),
    (['--no-such-option'], ['--no-such-option']),
    (['train', 'no-such-stage'], ['fcn-repro train: error: ', 'no-such-stage']),
])
def test_wrong_usage(words, parts, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    err = capsys.readouterr().err
    assert end.value.code == 2 and all(part in err for part in parts), err


def test_no_command_prints_the_table(capsys):
    main([])
    assert capsys.readouterr().out == parser().format_help()


def test_python_m(tmp_path):
    done = subprocess.run([sys.executable, '-m', 'fcn_repro', 'make-scenes', '--out', 'x',
                           '--train', '1', '--val', '1', '--size', '10', '10'], cwd=tmp_path,
                          env={'PYTHONPATH': str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith('error: '), done


# How errors end a process

@pytest.mark.parametrize('error, status', [
    (FcnError('x'), 1), (KeyboardInterrupt(), 130)])
def test_exit_status(error, status):
    with pytest.raises(SystemExit) as end, report_errors():
        raise error
    assert end.value.code == status


def test_other_errors_come_through():
    with pytest.raises(ZeroDivisionError), report_errors():
        raise ZeroDivisionError


# Remedies

def test_a_remedy_is_shown_where_its_options_exist(monkeypatch, capsys):
    made = argparse.ArgumentParser()
    made.add_argument('--out')
    error = FcnError('what', do='Set out.', code='made-up', facts={'n': 3})
    monkeypatch.setitem(REMEDIES, 'made-up', ('Give --where {n}.', 'Give --out {n} (make: OUT=…).'))
    monkeypatch.setattr(reporting, 'IN_CHECKOUT', True)
    assert remedy(error, made) == 'Give --out 3 (make: OUT=…).'
    monkeypatch.setattr(reporting, 'IN_CHECKOUT', False)        # an installed package has no make
    assert remedy(error, made) == 'Give --out 3.'
    assert remedy(error, argparse.ArgumentParser()) == 'Set out.'
    assert remedy(error, None) == 'Set out.'
    assert remedy(FcnError('what', do='Do.'), made) == 'Do.'
    with pytest.raises(SystemExit), report_errors(made):
        raise error.at(file='f', layer='conv')
    assert capsys.readouterr().err == "error: f: layer 'conv': what. Give --out 3.\n"


def raised_codes():
    """{code: the names of its facts} of every FcnError that is made in the package; a code with
    other facts in another place is an error here."""
    found = {}
    for path in (ROOT / 'fcn_repro').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            words = {word.arg: word.value for word in getattr(node, 'keywords', ())
                     if isinstance(node, ast.Call)}
            if isinstance(words.get('code'), ast.Constant):
                facts = words.get('facts')
                names = {key.value for key in facts.keys} if isinstance(facts, ast.Dict) else \
                    {key.arg for key in facts.keywords} if isinstance(facts, ast.Call) else set()
                code = words['code'].value
                assert found.setdefault(code, names) == names, (path, code)
    return found


def test_codes_facts_and_options_of_the_remedies_exist():
    codes, parsers = raised_codes(), [command_parser(name) for name in COMMANDS]
    assert codes.keys() == REMEDIES.keys()
    for code, facts in codes.items():
        for text in texts(code):
            used = {name for _, name, _, _ in string.Formatter().parse(text) if name}
            assert used <= facts, (code, used, facts)
            assert any(set(OPTION.findall(text)) <= set(OPTION.findall(made.format_usage()))
                       for made in parsers), (code, text)
            for command in re.findall(r'fcn-repro ([a-z-]+)', text):
                assert command in COMMANDS, (code, command)


PENDING = {'data', 'formats', 'net', 'predict', 'recipe', 'solver'}      # still to be rid of them


def test_library_errors_do_not_name_options():
    """Words of the command line stand in cli/ alone."""
    for path in (ROOT / 'fcn_repro').rglob('*.py'):
        if path.relative_to(ROOT / 'fcn_repro').parts[0] in {'cli', *PENDING}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'id', '').endswith('Error'):
                said = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)
                        and isinstance(part.value, str)]
                assert not OPTION.search(' '.join(said)) or 'pip install' in ' '.join(said), \
                    (path, node.lineno)
