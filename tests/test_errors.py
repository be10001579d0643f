"""FcnError: what it says, and that places are added to it without a change of its kind."""

import pytest

from fcn_repro.errors import FcnError, located
from fcn_repro.net import Net
from fcn_repro.search import SearchPath


class Missing(FcnError, KeyError):
    """As pycaffe has them: ours, and of the class that scripts catch."""


def test_places_are_added_to_an_error_of_the_same_class():
    error = Missing('no such thing', do='Look again.', layer='a').at(
        file='net.prototxt', line=3, layer='b', type='ReLU')
    assert type(error) is Missing and isinstance(error, KeyError)
    assert FcnError.__str__(error) == \
        "net.prototxt:3: layer 'a' (ReLU): no such thing. Look again."


def test_control_characters_of_names_are_shown_escaped():
    error = FcnError("no 'a\0\x1b[2Jb\nerror: c'", file='d\r\ne', layer='f\x9bg', type='H\n',
                     do='First\nsecond\t.')
    assert str(error) == (r"d\r\ne: layer 'f\x9bg' (H\n): no 'a\x00\x1b[2Jb\nerror: c'. "
                          'First\nsecond\\t.')
    assert str(error.at(line=3).with_remedy('x')).endswith(r"b\nerror: c'. x")
    assert error.file == 'd\r\ne'
    with pytest.raises(FcnError, match=r"no file 'a\\x00b'") as caught:
        SearchPath().find('a\0b', 'file', 'source')
    assert caught.value.what.isprintable()


def test_located_names_the_file_once():
    with pytest.raises(Missing) as caught, located('outer'), located('inner'):
        raise Missing('gone')
    assert caught.value.file == 'inner'
    with pytest.raises(ValueError), located('file'):
        raise ValueError


@pytest.mark.parametrize('kind, field', [('HDF5Data', 'hdf5_data_param'), ('Data', 'data_param'),
                                         ('ImageData', 'image_data_param')])
def test_an_error_of_what_a_layer_reads_names_the_layer_s_text_too(tmp_path, kind, field):
    text = tmp_path / 'net.prototxt'
    text.write_text(f'# a comment\nlayer {{ name: "d" type: "{kind}" top: "x" top: "y"\n'
                    f'  {field} {{ source: "/dev/zero" batch_size: 1 }} }}')
    with pytest.raises(FcnError) as caught:
        Net.read(text, 'TEST').forward()
    assert str(caught.value).startswith(f"/dev/zero: layer 'd' ({kind}) of {text}:2: is a ")
    assert str(caught.value.at(line=7).with_remedy('Stop.')).count(f' of {text}:2: ') == 1
