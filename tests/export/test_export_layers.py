"""Every layer type as PyTorch code and as ONNX: the same results, or an error that names it."""

import pytest
import torch
from exported import net_of, package, run_net, run_onnx, run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import CASES

from fcn_repro.errors import FcnError
from fcn_repro.layers import TYPES

some = settings(max_examples=12)
OWN = [type for type in CASES if not TYPES[type].internal and type != 'Input']
# Types that no form has: data, losses and scores, and what a deploy net for images does not contain
NEVER = {'Accuracy', 'DummyData', 'Im2col', 'LSTM', 'LSTMUnit', 'RNN',
         *(type for type in OWN if TYPES[type].loss)}

# Types of which some settings have no form: another axis than the channels', masks of odd windows;
# LocalMeanField has none in ONNX
SOME = {'ArgMax', 'BatchNorm', 'Convolution', 'Deconvolution', 'LocalMeanField', 'Pooling'}
ROUNDED = {'LocalMeanField'}        # an op here, torch's own functions in the export


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('exports')


@pytest.mark.parametrize('type', OWN)
@some
@given(data=st.data())
def test_python_has_the_same_bits(type, folder, data):
    net, inputs = net_of(data.draw(CASES[type]))
    compare(type, net, inputs, run_python, folder, exact=True)


@pytest.mark.parametrize('type', OWN)
@some
@given(data=st.data())
def test_onnx_has_the_same_values(type, folder, data):
    package('onnx')
    net, inputs = net_of(data.draw(CASES[type]))
    compare(type, net, inputs, run_onnx, folder, exact=False)


def at_any_size(net, inputs, run, folder):
    """The outputs of an export for any size, or for the one of the inputs where the layer asks for
    that: SPP's windows depend on the size, Slice may cut it."""
    try:
        return run(net, inputs, folder)
    except FcnError as error:
        if 'for one size' not in error.do:
            raise
        x, = inputs.values()
        return run(net, inputs, folder, size=tuple(x.shape[2:]))


def compare(type, net, inputs, run, folder, exact):
    try:
        given = at_any_size(net, inputs, run, folder)
    except FcnError as error:
        assert error.layer == 'it' and error.type == type and error.do
        assert type in NEVER or type in SOME, error
        return
    assert type not in NEVER
    wanted = run_net(net, inputs)
    assert given.keys() == wanted.keys()
    for name, top in wanted.items():
        assert given[name].shape == top.shape
        if exact and type not in ROUNDED:
            torch.testing.assert_close(given[name], top, rtol=0, atol=0, equal_nan=True)
        else:
            torch.testing.assert_close(given[name], top, rtol=1e-4, atol=1e-5, equal_nan=True)


