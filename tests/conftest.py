"""Fixtures that all tests share."""

import pytest

from fcn_repro import ops
from fcn_repro.layers.internal import upcrop
from fcn_repro.ops.deconv import deconv_crop


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
