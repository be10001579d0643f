"""Nets from text, and what their errors say."""

import re

import pytest
import torch

from fcn_repro.errors import FcnError
from fcn_repro.layers import TYPES
from fcn_repro.net import Net
from fcn_repro.net.graph import build
from fcn_repro.proto.prototxt import parse_net

FILE = 'net.prototxt'
AUTO_TOPS = {name: 1 for name, layer in TYPES.items() if layer.loss}


def graph(text, phase='TEST', **state):
    return build(parse_net(text, FILE), phase, auto_tops=AUTO_TOPS, **state)


def net(text, phase='TEST', **options):
    return Net(graph(text, phase), **options)


def inputs(**shapes):
    """Input layers: one line for each, of the name and shape given."""
    return ''.join(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
                   f'{" ".join(f"dim: {d}" for d in shape)} }} }} }}\n'
                   for name, shape in shapes.items())


def layer(type, name, bottoms='', tops='', more=''):
    """One line: layer(type, name, 'a b', 'c', 'further fields')."""
    lines = ''.join(f' bottom: "{b}"' for b in bottoms.split())
    lines += ''.join(f' top: "{t}"' for t in tops.split())
    return f'layer {{ name: "{name}" type: "{type}"{lines} {more} }}\n'


def conv(name, bottom, top=None, num_output=3, kernel=1, more='', field=''):
    """A Convolution with Gaussian weights and biases."""
    return layer('Convolution', name, bottom, top or name, f'{more} convolution_param {{ '
                 f'num_output: {num_output} kernel_size: {kernel} {field} '
                 'weight_filler { type: "gaussian" std: 1 } '
                 'bias_filler { type: "gaussian" std: 1 } }')


def image(*shape, seed=0):
    """Normal noise, the same for each seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def diffs(net):
    """{name: diff} of the learnable parameters, copied."""
    return {blob.name: blob.diff.clone() for blob in net.learnable_params}


def message(function, *args, **kwargs):
    """The text of the FcnError that a call raises."""
    with pytest.raises(FcnError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def assert_facts(text, place, *facts):
    """Assert that an error's text begins with its place, such as "net.prototxt:3: layer 'fc'
    (InnerProduct)" (for a file that a layer reads with or without the layer's text), and that each
    fact stands in the rest of it as whole words: '4x72' is not found in '14x72', nor '3' in '3x3'.
    The sentence around them is free."""
    text, rest = str(text), str(text)
    if place:
        found = re.match(re.escape(str(place)) + r'( of \S+:\d+)?: ', text)
        assert found, (place, text)
        rest = text[found.end():]
    assert facts, 'a place alone does not tell one error from another'
    for fact in facts:
        assert re.search(rf'(?<![\w.-]){re.escape(str(fact))}(?!\w|\.\w)', rest), (fact, text)
