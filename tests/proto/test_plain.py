"""parse_plain gives what text_format and scan give, or nothing."""

import random
import re
from pathlib import Path

import pytest
from google.protobuf import text_format

from fcn_repro import proto
from fcn_repro.errors import FcnError
from fcn_repro.proto.dialects import dialects
from fcn_repro.proto.plain import parse_plain
from fcn_repro.proto.prototxt import _parse_any
from fcn_repro.proto.scan import check_utf8, scan

ROOT = Path(__file__).parents[2]
LONG = 8_000        # bytes of a text that takes its time in all dialects
TEXTS = sorted([*(ROOT / 'prototxt').rglob('*.prototxt'), *(ROOT / 'tests').rglob('*.prototxt')])
KINDS = ('NetParameter', 'SolverParameter')
PIECES = ['{', '}', '[', ']', ':', ';', ',', '#', '"', "'", '\n', ' ', '\\', '-', '.', '<', '>',
          '0', '07', '1.5', '1e9', '.5', '5.', '1f', '0x1', 'inf', 'true', 'MAX', 'x', 'layer',
          'dim: 1', 'dim: [1, 2]', 'name: "a"', "name: 'b'", 'top: "\\n\\x41\\q"', '"c"', 'layer {',
          'layers', 'pad: 3', 'pool: MAX', 'phase: TEST', 'phase: 1', 'lr_mult: -2e-3',
          'layer: [{}, {}]', 'dim: []', 'net_param { layer { } }', 'bias_term: 2',
          '\f', '\xa0', 'dim: 99999999999999999999', 'axis: -0', 'axis: -1', '1e999', 'é', '\udc80']


def reference(kind, text):
    """(message, places) by text_format and scan; None for what they refuse."""
    message = kind()
    try:
        check_utf8(text, '')
        text_format.Parse(text, message)
        found = scan(text, '')
    except (text_format.ParseError, FcnError):
        return None
    return (message, found) if found else None


def check(kind, text):
    """Compare with the reference; returns whether the text is plain."""
    message = kind()
    found, rest = parse_plain(text, message)
    if not found:
        assert message == kind()
        assert fault(kind, rest) == fault(kind, text), text
    else:
        wanted = reference(kind, text)
        assert wanted is not None, text
        assert message.SerializeToString(deterministic=True) == \
            wanted[0].SerializeToString(deterministic=True), text
        assert found == wanted[1] and not rest, text
    return bool(found)


def fault(kind, text):
    """(line, end of the error, remedy) of a text, or None; the error may quote a line before, of
    which the rest has a part."""
    try:
        _parse_any(text, kind(), '')
    except FcnError as error:
        return error.line, error.what[-20:], error.do


@pytest.mark.parametrize('long', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_shipped_texts(long):
    """Most of them are plain."""
    plain = whole = 0
    for path in (path for path in TEXTS if (path.stat().st_size > LONG) == long):
        text = path.read_text('utf-8', 'surrogateescape')
        for kind in (dialect[kind] for dialect in dialects().values() for kind in KINDS):
            is_plain = check(kind, text)
            plain += is_plain
            whole += is_plain or reference(kind, text) is not None
    assert 0.95 * whole < plain <= whole


@pytest.mark.parametrize('seed', range(4))
def test_mutated_texts(seed):
    draw = random.Random(seed)
    texts = [re.split(r'(\W)', path.read_text()[:1500]) for path in TEXTS
             if path.name in ('solver.prototxt', 'syntax.prototxt', 'val.prototxt')]
    plain = 0
    for _ in range(400):
        words = list(draw.choice(texts))
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(words))
            words[at:at + draw.randrange(3)] = draw.choices(PIECES, k=draw.randrange(3))
        plain += check(getattr(proto, draw.choice(KINDS)), ''.join(words))
    assert plain


@pytest.mark.parametrize('seed', range(4))
def test_drawn_texts(seed):
    draw = random.Random(seed)
    for _ in range(1500):
        text = draw.choice(('', ' ')).join(draw.choices(PIECES, k=draw.randrange(1, 9)))
        for wrap in ('{}', 'layer {{ {} }}', 'layer {{ blobs {{ shape {{ {} }} }} }}',
                     'layer {{ pooling_param {{ {} }} }}', 'layer {{ param {{ {} }} }}'):
            check(proto.NetParameter, wrap.format(text))


@pytest.mark.parametrize('field', ['name: "b"', 'relu_param { negative_slope: 2 }', 'pad: 1', '@',
                                   'top: 3', 'phase: NONE', 'top: "\\q"', 'relu_param {'])
def test_a_fault_far_in_leaves_out_what_is_before(field):
    """The error is that of the whole text, though all but the fault is left out."""
    text = 'layer { top: "x" }\n' * 999 + 'layer {\nname: "a"\nrelu_param {' \
        f'negative_slope: 0.5 }}\n{field} }}\n'
    found, rest = parse_plain(text, proto.NetParameter())
    assert not found and len(rest.lstrip('\n')) < 200
    assert fault(proto.NetParameter, rest) == fault(proto.NetParameter, text) is not None
