"""Packages of requirements.txt that a Python with a torch of its own may lack."""

import pytest


def required(name):
    """The package; a test module that needs it is skipped where it is missing."""
    return pytest.importorskip(name, reason=f'{name} is not installed, which requirements.txt '
                                            'names')
