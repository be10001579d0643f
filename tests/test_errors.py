"""FcnError: what it says, and that places are added to it without a change of its kind."""

import pytest

from fcn_repro.errors import FcnError, located


class Missing(FcnError, KeyError):
    """As pycaffe has them: ours, and of the class that scripts catch."""


def test_places_are_added_to_an_error_of_the_same_class():
    error = Missing('no such thing', do='Look again.', layer='a').at(
        file='net.prototxt', line=3, layer='b', type='ReLU')
    assert type(error) is Missing and isinstance(error, KeyError)
    assert FcnError.__str__(error) == \
        "net.prototxt:3: layer 'a' (ReLU): no such thing. Look again."


def test_located_names_the_file_once():
    with pytest.raises(Missing) as caught, located('outer'), located('inner'):
        raise Missing('gone')
    assert caught.value.file == 'inner'
    with pytest.raises(ValueError), located('file'):
        raise ValueError
