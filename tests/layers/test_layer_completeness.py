"""No layer type goes without a reference, random shapes, gradients and refusals of its own."""

import importlib
import inspect
import re
from pathlib import Path

import layer_cases
import pytest
from goldens import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_case import distinct, make_layer
from layer_cases import CASES, SOURCES
from layer_evidence import REFERENCES, REFUSALS, reference_for, refusal_of
from texts import message

from fcn_repro.layers import TYPES

TESTS = Path(__file__).parents[1]
MODULES = [importlib.import_module(path.stem)          # which fill REFERENCES and REFUSALS
           for folder in ('layers', 'passes', 'net')
           for path in sorted((TESTS / folder).glob('test_*.py'))
           if path != Path(__file__)]


def test_every_type_has_a_reference():
    """Every type is compared with something: Caffe's golden, a reference function next to its
    cases, or a test that declares it in REFERENCES."""
    texts = [path.read_text() for path in (DATA / 'layers').glob('*.prototxt')]
    goldens = {type for text in texts for type in re.findall(r'type: "(\w+)"', text)}
    held = goldens | {'Split'} | set(layer_cases.REFERENCES) | set(REFERENCES)  # Split: in any net
    assert not set(TYPES) - held


def test_every_type_has_random_cases():
    assert set(TYPES) == set(CASES) | SOURCES


def test_every_type_that_refuses_something_shows_it():
    refused = {row[0] for module in MODULES for row in getattr(module, 'REFUSED', ())}
    raising = {name for name, cls in TYPES.items() if '.error(' in inspect.getsource(cls)
               or cls.unsupported}
    assert not raising - refused - set(REFUSALS)


def test_a_declaration_without_evidence_fails():
    """The two decorators can fail: on a type that never computes, or never refuses."""
    layer = make_layer('Sigmoid', 1, 1, {})
    try:
        with pytest.raises(AssertionError, match=r"names \['TanH'\], but their forward never ran"):
            reference_for('Sigmoid', 'TanH')(lambda: layer.forward([distinct((2,))], []))()
        with pytest.raises(AssertionError, match=r"names \['Sigmoid'\], but their error never ran"):
            refusal_of('Sigmoid')(lambda: layer.forward([distinct((2,))], []))()
    finally:
        for table in REFERENCES, REFUSALS:
            for name in [name for name, test in table.items() if test == '<lambda>']:
                del table[name]


@pytest.mark.parametrize('type', sorted(CASES))
@settings(max_examples=3)
@given(st.data())
def test_every_type_counts_its_bottoms_and_tops(type, data):
    """20 tops more are too many for each but those that take any number, and those match their
    shapes or their bottoms; no bottoms are too few wherever there are some."""
    case = data.draw(CASES[type])
    if case.bottoms:
        assert message(make_layer, type, 0, case.tops, case.settings)
    if type not in ('DummyData', 'Input', 'Slice', 'Split'):
        assert message(make_layer, type, len(case.bottoms), case.tops + 20, case.settings)
