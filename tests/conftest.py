"""Shared by all tests: the folder of this file on the path, so that `goldens` imports; fixtures."""

import sys
from pathlib import Path

import pytest

from fcn_repro import ops
from fcn_repro.deconv import deconv_crop
from fcn_repro.layers import upcrop

sys.path.insert(0, str(Path(__file__).parent))


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
