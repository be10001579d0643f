"""A net's text as it is read for drawing: what a strict reader refuses in layers is noted."""

import pytest
from texts import inputs, layer

from fcn_repro.errors import FcnError
from fcn_repro.viewer import drawn
from fcn_repro.viewer.reading import filtered, parse_source

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 } } }\n'


def odd(source):
    return {i: [(note.line, note.what) for note in notes] for i, notes in source.odd.items()}


def test_texts_of_layers():
    """Each layer keeps its own text, with its comments; old inputs are one layer."""
    source = parse_source('name: "n"\ninput: "data" input_dim: 1\ninput_dim: 2 # two\n'
                          'input_dim: 3 input_dim: 4\nlayer { name: "a" # }\n type: "ReLU" '
                          'bottom: "data" top: "b" }\nlayer: <name: "{" type: "ReLU" bottom: "b" '
                          'top: "c">')
    assert source.texts == (
        'input: "data"\ninput_dim: 1\ninput_dim: 2\ninput_dim: 3\ninput_dim: 4',
        'layer { name: "a" # }\n type: "ReLU" bottom: "data" top: "b" }',
        'layer: <name: "{" type: "ReLU" bottom: "b" top: "c">')
    assert not source.odd and not source.notes


def test_layers_of_a_list():
    source = parse_source('layer: [ { name: "a" type: "X" }, { name: "b" type: "Y" } ]')
    assert source.texts == ('{ name: "a" type: "X" }', '{ name: "b" type: "Y" }')


def test_fields_that_no_schema_has():
    """They are left out, wherever they are, and the lines of everything after them stay."""
    source = parse_source(
        DATA + 'mem_param { optimize: true }\nlayer { name: "c" type: "Convolution" bottom: "data" '
        'top: "c"\n convolution_param { num_output: 2 kernal_size: 3 } }\nlayer { name: "i" '
        'type: "Permute" bottom: "c" top: "i"\n permute_param {\n order: 3 more < a: [1, 2] > } '
        'odd: "x" "y" }\nlayer { name: "p" type: "Pooling" bottom: "i" top: "p" pooling_param {\n'
        ' pool: MEDIAN kernel_size: 2 } }')
    assert [layer.name for layer in source.net.message.layer] == ['data', 'c', 'i', 'p']
    assert source.net.lines == (1, 3, 5, 8)
    assert source.net.message.layer[3].pooling_param.kernel_size == 2
    assert odd(source) == {
        1: [(4, "ConvolutionParameter has no field 'kernal_size'. Did you mean 'kernel_size'?")],
        2: [(6, "LayerParameter has no field 'permute_param'"),
            (7, "LayerParameter has no field 'odd'")],
        3: [(9, 'pool has no value MEDIAN')]}
    assert [(note.line, note.what) for note in source.notes] == [
        (2, "NetParameter has no field 'mem_param'")]


def test_v1_types_that_no_schema_has():
    source = parse_source('input: "data" input_dim: 1 input_dim: 1 input_dim: 8 input_dim: 8\n'
                          'layers { name: "b" type: BN bottom: "data" top: "b" }\n'
                          'layers { name: "r" type: RELU bottom: "b" top: "b" }')
    assert [layer.type for layer in source.net.message.layer] == ['Input', 'BN', 'ReLU']


@pytest.mark.parametrize('text, line, what', [
    ('layer { name: "a" type: "X"\n bottom: }', 2, 'bottom'),
    (DATA + 'layer { odd: 1 type: "X"\n top: 5 }', 3, 'string'),
    ('train_net: "a.prototxt"', 1, "'train_net'"), ('', None, 'empty'),
    ('layer { name: "a" type: "X"\n', 1, ''), ('}', 1, ''), ('layer {{{{', 1, '')])
def test_what_is_no_net(text, line, what):
    """Faults of the text itself are errors with their line, as everywhere."""
    with pytest.raises(FcnError) as error:
        parse_source(text, 'net.prototxt')
    assert error.value.file == 'net.prototxt' and what.lower() in str(error.value).lower()
    assert line is None or error.value.line


def test_deep_nesting_is_no_crash():
    with pytest.raises(FcnError):
        parse_source('layer { odd ' + '{ a ' * 5000 + '}' * 5001)


def test_filtered_layers_are_found_again():
    """Also where two are equal, and where a setting is no number."""
    rule = 'layer { name: "a" type: "Power" bottom: "data" top: "%s" power_param { scale: nan } ' \
           '%s }'
    source = parse_source(DATA + '\n'.join(
        [rule % ('a', 'include { phase: TRAIN }'), rule % ('a', 'include { phase: TEST }')]
        + 2 * [rule % ('a', 'exclude { stage: "x" }')]))
    assert filtered(source, 'TEST') == [0, 2, 3, 4]
    assert filtered(source, 'TRAIN', stages=('x',)) == [0, 1]


def test_a_field_of_no_dialect_leaves_the_other_words_of_forks(tmp_path):
    """One layer is not known; the others are drawn as their fork's."""
    text = inputs(data=(1, 3, 8, 8)) + layer('Interp', 'i', 'data', 'i', 'interp_param { '
                                             'zoom_factor: 2 }') \
        + layer('Private', 'p', 'i', 'p', 'private_param { a: 1 }')
    (tmp_path / 'n.prototxt').write_text(text)
    net = drawn(tmp_path / 'n.prototxt')
    assert net.blobs[net.graph.last('i')].shape == (1, 3, 15, 15)
    notes = ' '.join(note.what for note in net.notes)
    assert "unknown layer type 'Private'" in notes
    assert "'Interp'" not in notes
