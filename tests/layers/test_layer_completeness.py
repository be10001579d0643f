"""No layer type goes without a reference, random shapes, gradients and refusals of its own."""

import re
from pathlib import Path

import pytest
import test_layers
import test_loss_layers
import test_neuron_layers
import test_recurrent_layers
from goldens import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_case import make_layer
from layer_cases import CASES, SOURCES
from layer_cases_neuron import REFERENCES
from test_layer_properties import FLAT
from texts import message

from fcn_repro.layers import TYPES

# No golden of its own: by which test the type is held against a reference written apart from it.
APART = {
    'DummyData': 'test_loss_layers', 'HDF5Data': 'test_hdf5_data', 'HDF5Output': 'test_image_data',
    'ImageData': 'test_image_data', 'LSTMUnit': 'test_recurrent_layers',
    'MemoryData': 'test_loss_layers', 'Python': 'test_layer_properties',
    'RepeatBorder': 'test_border', 'UpCrop': 'test_passes',
    **dict.fromkeys(['LabelMap', 'UpCropAdd', 'UpCropLabels', 'UpCropLoss'], 'test_fuse_score'),
}
# Without a setting that could be wrong: refused for its bottoms and tops alone, as all types are.
PLAIN = {'ELU', 'Power', 'Sigmoid', 'Swish', 'TanH', 'Threshold'}
REFUSED_APART = {'ImageData': 'test_image_data', 'LSTMUnit': 'test_recurrent_layers',
                 'RepeatBorder': 'test_border_sites', 'UpCrop': 'test_passes',
                 **dict.fromkeys(['LabelMap', 'UpCropAdd', 'UpCropLabels', 'UpCropLoss'],
                                 'test_fuse_score')}


def test_every_type_has_a_reference():
    """A type that nothing is compared with is not faithful, only hopeful."""
    texts = [path.read_text() for path in (DATA / 'layers').glob('*.prototxt')]
    goldens = {type for text in texts for type in re.findall(r'type: "(\w+)"', text)}
    apart = set(TYPES) - goldens - set(REFERENCES) - {'Split'}  # a net's blobs go through Splits
    assert apart == set(APART)


@pytest.mark.parametrize('type, module', [*APART.items(), *REFUSED_APART.items()])
def test_what_stands_apart_is_there(type, module):
    assert type in (Path(__file__).parent / f'{module}.py').read_text()


def test_every_type_has_random_cases_and_a_verdict_on_its_gradient():
    assert set(TYPES) == set(CASES) | SOURCES and set(CASES) > FLAT


def test_every_type_has_refusals():
    tables = test_layers, test_neuron_layers, test_loss_layers, test_recurrent_layers
    refused = {type for table in tables for type, *_ in table.REFUSED}
    plain = PLAIN | {type for type in REFERENCES if TYPES[type].fields is None}
    assert set(TYPES) - refused - plain == set(REFUSED_APART)


@pytest.mark.parametrize('type', sorted(CASES))
@settings(max_examples=3, deadline=None)
@given(st.data())
def test_every_type_counts_its_bottoms_and_tops(type, data):
    """20 tops more are too many for each but those that take any number, and those match their
    shapes or their bottoms; no bottoms are too few wherever there are some."""
    case = data.draw(CASES[type])
    if case.bottoms:
        assert message(make_layer, type, 0, case.tops, case.settings)
    if type not in ('DummyData', 'Input', 'Slice', 'Split'):
        assert message(make_layer, type, len(case.bottoms), case.tops + 20, case.settings)
