"""Declarations of which test holds a layer type against a reference, or shows its refusals.

A decorated test fails unless layers of all the types that it names really compute, or really
refuse, while it runs. test_layer_completeness reads the two tables.
"""

from contextlib import ExitStack, contextmanager
from functools import wraps
from unittest import mock

from fcn_repro.layers import TYPES

REFERENCES, REFUSALS = {}, {}       # {layer type: name of the test}


def reference_for(*types):
    """Decorate a test that compares the tops of these types with values computed apart."""
    return _evidence(types, 'forward', REFERENCES)


def refusal_of(*types):
    """Decorate a test in which layers of these types raise an FcnError of their own."""
    return _evidence(types, 'error', REFUSALS)


def _evidence(types, method, table):
    def decorate(test):
        table.update(dict.fromkeys(types, test.__name__))

        @wraps(test)
        def run(*args, **kwargs):
            with ExitStack() as stack:
                calls = {type: stack.enter_context(_calls(TYPES[type], method)) for type in types}
                test(*args, **kwargs)
            idle = [type for type in types if not calls[type]]
            assert not idle, f'{test.__name__} names {idle}, but their {method} never ran'
        return run
    return decorate


@contextmanager
def _calls(cls, method):
    """The layers of exactly this class whose method is called in the block."""
    original, layers = getattr(cls, method), []

    def counted(self, *args, **kwargs):
        if type(self) is cls:
            layers.append(self)
        return original(self, *args, **kwargs)

    with mock.patch.object(cls, method, counted):
        yield layers
