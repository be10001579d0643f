"""A signal ends a command with one line and the shell's status, and leaves nothing half-written."""

import os
import signal
import subprocess
import sys
import time

import pytest
from packages import required
from small_runs import ROOT, contents, small_voc, write_stage

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import Stopped
from fcn_repro.net import Net

NUMBERS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.fixture
def folder(tmp_path):
    voc = small_voc(tmp_path / 'voc', count=200)
    ids = [f'im{i}' for i in range(200)]
    # both would take minutes: no signal comes too late
    (voc / 'ImageSets/Segmentation/val.txt').write_text('\n'.join(ids * 400) + '\n')
    write_stage(tmp_path / 'net', voc)
    Net.read(tmp_path / 'net/val.prototxt', 'TEST').save(tmp_path / 'w.caffemodel')
    (tmp_path / 'list.txt').write_text(''.join(f'{i}.jpg 0\n' for i in ids * 2000))
    return tmp_path


def stopped(folder, words, number, started):
    process = subprocess.Popen(
        [sys.executable, '-m', 'fcn_repro', *words], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})
    end = time.monotonic() + 600
    while not started():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.mark.parametrize('number', NUMBERS)
def test_scoring(folder, number):
    words = 'eval --net net/val.prototxt --weights w.caffemodel --out out --device cpu'
    status, _, err = stopped(folder, words.split(), number, (folder / 'out/.lock').exists)
    assert status == 128 + number, err
    assert err.splitlines()[-1] == f'stopped by {number.name}; what was half-written is removed'
    left = {path.suffix for path in contents(folder / 'out')}
    assert 'Traceback' not in err and left <= {
        '.png', '.jsonl'}       # what is scored; no lock, no metrics, no part of a file


@pytest.mark.parametrize('number', NUMBERS)
def test_a_converter(folder, number):
    required('lmdb')
    before = set(contents(folder))
    words = ['caffe', 'convert_imageset', 'voc/JPEGImages/', 'list.txt', 'db',
             '--resize_height=300', '--resize_width=300', '--backend=lmdb']
    status, _, err = stopped(folder, words, number, lambda: set(contents(folder)) - before)
    assert status == 128 + number and 'Traceback' not in err, err
    assert f'stopped by {number.name}' in err.splitlines()[-1]
    assert set(contents(folder)) == before


def test_an_ignored_signal_stays_ignored_and_handlers_come_back(capsys):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with report_errors():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        with pytest.raises(SystemExit) as ended, report_errors():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().err.startswith('stopped by SIGTERM')
    assert str(Stopped(signal.SIGINT)) == 'stopped by SIGINT' and Stopped(1).status == 129
