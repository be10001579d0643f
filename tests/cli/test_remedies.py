"""The remedies that commands print: carried out, they help; and each is quoted by a test."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from small_runs import assert_error, call, small_stage, small_voc

from fcn_repro.cli.remedies import REMEDIES

TRAIN = 'train', 'small-fcn32s', '--iterations', 1
TESTS = Path(__file__).parents[1]
ON_A_GPU = {'fp16-training'}


@pytest.fixture
def small(tmp_path, monkeypatch):
    small_stage(tmp_path, monkeypatch, 'small-fcn32s')
    return tmp_path


@pytest.mark.parametrize('wrong, remedy, right', [
    (['--workers', 999], 'Give --workers 0 (no reading ahead) to 64.', ['--workers', 0]),
    (['--iterations', 0], 'Give --iterations 1 or more.', []),
    (['--keep', 0], 'Give --keep 1 or more.', ['--keep', 1]),
    (['--seed', -1], 'Give --seed 0 or more.', ['--seed', 0]),
    (['--restore', '--fresh'], 'Give --restore or --fresh.', ['--fresh']),
    (['--restore'], 'Train without --restore.', []),
    (['--precision', 'fp16'], 'Use fp32 or bf16, or --device cuda.', ['--precision', 'bf16']),
    (['--precision', 'tf32'], 'Use fp32 or bf16, or --device cuda.', ['--precision', 'fp32']),
])
def test_training(small, capsys, wrong, remedy, right):
    assert_error(call(capsys, *TRAIN, *wrong), remedy)
    assert call(capsys, *TRAIN, *right).status == 0


def test_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_voc(tmp_path / 'photos')
    words = 'train', 'own', '--classes', 3, '--weights', 'none', '--iterations', 1, '--voc'
    assert_error(call(capsys, *words, 'pho\ntos'), 'Give --voc the path of a folder.')
    assert call(capsys, *words, 'photos').status == 0


def test_splits(small, capsys):
    assert call(capsys, *TRAIN).status == 0
    score = 'eval_voc', '--stage', 'small-fcn32s', '--voc', 'voc', '--split'
    assert_error(call(capsys, *score, '../x'), 'Give --split the name of a split file, without')
    assert call(capsys, *score, 'val').status == 0


def quoted(code, text, tests):
    """Whether tests have two neighbouring words of a remedy, or its error's code."""
    pieces = [piece.split() for piece in re.split(r'\{[^}]*\}|[`();:.,]', text)]
    pairs = {' '.join(pair) for words in pieces for pair in pairwise(words)}
    return f"'{code}'" in tests or any(len(pair) > 7 and pair in tests for pair in pairs)


def test_each_remedy_is_quoted_by_a_test():
    tests = '\n'.join(path.read_text() for path in sorted(TESTS.rglob('*.py')))
    tests = re.sub(r"'\s*\n\s*f?r?'", '', tests)        # strings in several lines
    missing = [code for code, texts in REMEDIES.items()
               for text in ([texts] if isinstance(texts, str) else texts)
               if code not in ON_A_GPU and not quoted(code, text, tests)]
    assert not missing
