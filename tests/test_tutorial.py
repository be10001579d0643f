"""docs/tutorial.md: its commands and its Python, one after another, print what the page shows."""

import json
import re
import shlex
import sys

import numpy as np
import pytest
from small_runs import ROOT, tool

from fcn_repro.cli.main import main

PAGE = (ROOT / 'docs/tutorial.md').read_text()
BLOCKS = re.findall(r'```(sh|text|python)\n(.*?)```', PAGE, re.S)
# numbers of this machine, this run, and its torch
MEASURED = re.compile(r'(?:torch )?[\d.]+(?:\+\w+)?(?: threads?)?')
TRAINED = 'train own', 'eval', 'infer'      # commands whose numbers depend on them


def run(words, monkeypatch):
    """One command of the page; its exit status."""
    if words[0] == 'python':
        monkeypatch.setattr(sys, 'argv', words[1:])
        return tool('make_shapes').main() or 0
    assert words[0] == 'fcn-repro', words
    try:
        main(words[1:])
    except SystemExit as end:
        return end.code
    return 0


def unprinted(text, printed, exact):
    """Those lines of the page with which no printed line begins."""
    def plain(line):
        return line.rstrip() if exact else MEASURED.sub('#', line.rstrip())
    lines = [plain(line) for line in printed.splitlines()]
    return [line for line in text.splitlines() if line and not any(
        each.startswith(plain(line)) for each in lines)]


def follow(capsys, monkeypatch, options=()):
    """Do what the page says, `options` added to its training; the names of its Python."""
    names, printed, exact = {}, '', True
    for kind, text in BLOCKS:
        if kind == 'text':
            assert not (lost := unprinted(text, printed, exact)), (lost, printed)
        elif kind == 'python':
            exec(compile(text, 'tutorial', 'exec'), names)
        else:
            capsys.readouterr()
            for line in text.splitlines():
                added = options if ' train ' in line else ()
                status = run([*shlex.split(line), *added], monkeypatch)
                assert status == (1 if line.endswith('check photos') else 0), line
            done = capsys.readouterr()
            printed = done.out + done.err
            exact = not any(word in text for word in TRAINED)
    return names


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in 'onnx', 'onnxruntime':
        pytest.importorskip(name, reason=f'the page uses {name}, which is not installed')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_equal_labels(names):
    assert names['exported'].shape == names['labels'].shape == (160, 224)
    assert (names['exported'] == names['labels']).mean() > 0.999
    assert json.loads(names['facts']['classes']) == list(names['model'].classes) == [
        'background', 'disc', 'square', 'triangle']


def test_the_tutorial(folder, capsys, monkeypatch):
    assert_equal_labels(follow(capsys, monkeypatch, ['--iterations', '1', '--pictures', '1']))
    assert len(list((folder / 'labelled').glob('*.overlay.png'))) == 30


@pytest.mark.slow
def test_the_tutorial_reaches_the_score_that_it_promises(folder, capsys, monkeypatch):
    assert 'expect a mean IU above 90' in PAGE
    names = follow(capsys, monkeypatch)
    assert_equal_labels(names)
    metrics = json.loads((folder / 'runs/own-fcn16s/eval/metrics.json').read_text())
    assert 100 * metrics['mean_iu'] > 90, metrics['mean_iu']
    assert np.unique(names['labels']).size > 1
