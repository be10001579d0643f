"""What the tests of prediction share."""

import pytest
from tiny_nets import noise, save


@pytest.fixture
def x(tmp_path):
    """The picture of small_picture, x.png."""
    return save(tmp_path / 'x.png', noise(24, 30))
