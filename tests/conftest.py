"""Fixtures that all tests share, the threads of parallel runs, and what was left out."""

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import NEEDS
from hypothesis import HealthCheck, settings

from fcn_repro import glog, ops
from fcn_repro.layers.internal import upcrop
from fcn_repro.ops.deconv import deconv_crop

# The same examples in each run; a busy machine makes any of them slow
settings.register_profile('fcn_repro', deadline=None, derandomize=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('fcn_repro')
# A shell's background jobs ignore SIGINT, and nohup's SIGHUP, and so would the children that are to
# end by them
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure():
    """Processes that tests start find the package from any folder, also where it is not installed.
    Each worker of pytest-xdist, and what it starts, gets one thread: the workers are as many as the
    cores. Both settings are needed: torch has read the variable already."""
    os.environ['PYTHONPATH'] = os.pathsep.join(
        filter(None, [str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH')]))
    if 'PYTEST_XDIST_WORKER' in os.environ and 'OMP_NUM_THREADS' not in os.environ:
        os.environ['OMP_NUM_THREADS'] = '1'
        torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter):
    """One line about the tests that were left out, because files beside the project are missing."""
    reasons = [report.longrepr[2] for report in terminalreporter.getreports('skipped')
               if isinstance(report.longrepr, tuple)]
    left_out = [reason for reason in reasons if NEEDS in reason]
    if left_out:
        terminalreporter.write_line(f'left out: {len(left_out)} tests of files in ../shared that '
                                    'are missing (see tests/data/README.md)')


@pytest.fixture(autouse=True)
def seeded():
    """Global random streams begin anew in each test, whatever ran before it in this process."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(autouse=True)
def no_log_stays():
    """A test that made a pycaffe net or ran `caffe` leaves no handler behind."""
    yield
    glog.remove()


@pytest.fixture
def called(monkeypatch):
    """The calls of ops.upcrop."""
    calls, run = [], ops.upcrop
    monkeypatch.setattr(ops, 'upcrop', lambda *args: calls.append(args) or run(*args))
    return calls


@pytest.fixture
def general(monkeypatch):
    """The calls of deconv_crop."""
    calls = []
    monkeypatch.setattr(upcrop, 'deconv_crop',
                        lambda *args: calls.append(args) or deconv_crop(*args))
    return calls
