"""The command fcn-repro: its table, what it imports, and the remedies that it shows."""

import argparse
import ast
import os
import re
import subprocess
import sys

import pytest
from small_runs import ROOT

import fcn_repro
from fcn_repro.cli import reporting
from fcn_repro.cli.main import COMMANDS, load, main, parser
from fcn_repro.cli.remedies import REMEDIES
from fcn_repro.cli.reporting import COMMAND, OPTION, facts_of, remedy, report_errors
from fcn_repro.errors import FcnError

FILES = {path.stem for path in (ROOT / 'fcn_repro/cli').iterdir()
         if path.suffix == '.py' or (path / '__init__.py').exists()}
HELPERS = {'__init__', 'main', 'arguments', 'remedies', 'reporting', 'which_run', 'data_hha',
           'data_fetch', 'data_scribbles', 'data_localise', 'views'}


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


POLICY = """
import os
from fcn_repro.cli.main import main
try:
    main(['convert', '--list', 'no-such-file'])
except SystemExit:
    print(os.environ['OMP_WAIT_POLICY'])
"""


@pytest.mark.parametrize('given', [None, 'ACTIVE'])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(given):
    environment = {k: v for k, v in os.environ.items() if k != 'OMP_WAIT_POLICY'}
    done = subprocess.run([sys.executable, '-c', POLICY], capture_output=True, text=True,
                          env=environment | ({'OMP_WAIT_POLICY': given} if given else {}))
    assert done.stdout == f'{given or "PASSIVE"}\n', done.stderr


@pytest.mark.parametrize('words, parts', [
    (['trian'], ["unknown command 'trian'", "Did you mean 'train'?", 'fcn-repro --help']),
    (['no'], ["unknown command 'no'", 'fcn-repro --help']),
    (['--no-such-option'], ['--no-such-option']),
    (['train'], ['fcn-repro train: error: ', 'required: STAGE']),
])
def test_wrong_usage(words, parts, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    err = capsys.readouterr().err
    assert end.value.code == 2 and all(part in err for part in parts), err


@pytest.mark.parametrize('words, parts', [
    (['train', 'mini-fcn32'], ["unknown stage 'mini-fcn32'", "Did you mean 'mini-fcn32s'?"]),
    (['train', 'mini-fcn32s', '--seed', '-1'], ['seed is -1', 'Give --seed 0 or more']),
    (['train', 'mini-fcn32s', '--pictures', '-1'], ['pictures is -1', 'Give --pictures 0']),
    (['make-scenes', '--train', '0', '--val', '0'], ['train and val are both 0']),
    (['train', 'mini-fcn32s', '--out', 'x' * 300, '--weights', 'none', '--voc', 'none'],
     ['cannot make this folder']),
    (['infer', 'x' * 300], ['File name too long']),
    (['pycaffe', 'x' * 300], ['there is no such script']),
    (['make-scenes', '--out', 'x' * 300, '--train', '1', '--val', '1'], ['File name too long']),
    (['caffe', 'compute_image_mean', 'x' * 300, 'y'], ['x' * 300]),
    (['eval', '--net', 'x' * 300, '--weights', 'y'], ['File name too long']),
    (['eval', '--stage', 'mini-fcn32'], ["unknown stage 'mini-fcn32'", "mean 'mini-fcn32s'?"]),
])
def test_words_that_make_no_sense(words, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words)
    err = capsys.readouterr().err
    assert end.value.code == 1 and len(err.splitlines()) == 1, err
    assert all(part in err for part in parts), err
    assert not list(tmp_path.iterdir())


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
    lacking = FcnError('what', do='Do.', code='made-up')        # without the fact n
    assert remedy(lacking, made) == 'Do.'
    for text, shown in {'Leave out --{n}.': 'Set out.', 'Leave out --{option}.': 'Leave out --out.',
                        'Run `fcn-repro train --fresh`.': 'Run `fcn-repro train --fresh`.'}.items():
        monkeypatch.setitem(REMEDIES, 'made-up', text)
        error.facts['option'] = 'out'
        assert remedy(error, made) == shown
    monkeypatch.setitem(REMEDIES, 'made-up', 'Give --out {n}.')
    with pytest.raises(SystemExit), report_errors(made):
        raise error.at(file='f', layer='conv')
    assert capsys.readouterr().err == "error: f: layer 'conv': what. Give --out 3.\n"


def raised_codes():
    """({code: names of the facts that each FcnError with it has, None where they are no literal},
    [pattern of codes that are put together]) of the package."""
    found, patterns = {}, []
    for path in (ROOT / 'fcn_repro').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            words = {word.arg: word.value for word in node.keywords} \
                if isinstance(node, ast.Call) else {}
            if getattr(getattr(node, 'func', None), 'id', '') != 'FcnError' or 'code' not in words:
                continue
            facts, names = words.get('facts'), None
            if facts is None:
                names = set()
            elif isinstance(facts, ast.Dict):
                names = {key.value for key in facts.keys}
            if isinstance(words['code'], ast.JoinedStr):        # such as f'bad-{name}'
                patterns.append(''.join(re.escape(part.value) if isinstance(part, ast.Constant)
                                        else r'[\w-]+' for part in words['code'].values))
                continue
            for code in ast.walk(words['code']):        # of `a if x else b` both
                if isinstance(code, ast.Constant) and isinstance(code.value, str) and code.value:
                    before = found.get(code.value)
                    found[code.value] = names if before is None else before if names is None \
                        else before & names
    return found, patterns


def test_codes_facts_commands_and_options_of_the_remedies_exist():
    codes, patterns = raised_codes()
    known = {name: set(OPTION.findall(command_parser(name).format_usage())) for name in COMMANDS}
    unused = REMEDIES.keys() - codes.keys()
    assert codes.keys() <= REMEDIES.keys()
    assert all(any(re.fullmatch(each, code) for each in patterns) for code in unused), unused
    for code in REMEDIES:
        facts = codes.get(code)
        for text in texts(code):
            assert facts is None or facts_of(text) <= facts, (code, facts)
            named = {each for each in OPTION.findall(COMMAND.sub('', text)) if '{' not in each}
            assert any(named <= options for options in known.values()), (code, text)
            for command, words in COMMAND.findall(text):
                assert set(OPTION.findall(words)) <= known[command], (code, command)


def test_library_errors_do_not_name_options():
    """Words of the command line stand in cli/ alone."""
    for path in (ROOT / 'fcn_repro').rglob('*.py'):
        if path.relative_to(ROOT / 'fcn_repro').parts[0] == 'cli':
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'id', '').endswith('Error'):
                said = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)
                        and isinstance(part.value, str)]
                assert not OPTION.search(' '.join(said)) or 'pip install' in ' '.join(said), \
                    (path, node.lineno)
