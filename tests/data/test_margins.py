"""What images have around them where labels have nothing: padding with the mean, and reflected
margins, in VOC's data layer."""

import numpy as np
import pytest
from data_folders import SIZES, make_voc

from fcn_repro.data.image import MEAN
from fcn_repro.data.margins import check_margins, padded_size, with_margins
from fcn_repro.data.voc import VOCSegDataLayer
from fcn_repro.errors import FcnError


@pytest.fixture
def voc(tmp_path):
    return make_voc(tmp_path)


def layer(voc, **params):
    return VOCSegDataLayer({'voc_dir': str(voc), 'split': 'val', 'mean': MEAN, **params})


@pytest.mark.parametrize('padded, sizes', [
    ((40, 33), [(40, 33)] * 4), (8, [(17, 17), (9, 33), (25, 9), (17, 17)])])
def test_images_are_padded_with_the_mean(voc, padded, sizes):
    """To a size, or to the next sides that are a multiple, and 1; labels stay as they are."""
    plain, wide = layer(voc), layer(voc, padded=padded)
    for k, size in enumerate(sizes):
        (image, label), (data, same) = plain.batch(k), wide.batch(k)
        height, width = image.shape[2:]
        assert data.shape == (1, 3, *size) and np.array_equal(label, same)
        assert np.array_equal(data[..., :height, :width], image)
        assert not data[..., height:, :].any() and not data[..., width:].any()
        assert wide.assumed_shapes({'padded': padded}, (height, width)) == [data.shape, label.shape]


def test_margins_are_reflected(voc):
    """At the outermost pixels, which are not repeated; wider ones than the image go back and
    forth."""
    plain, wide = layer(voc), layer(voc, margin=20)
    for k in range(len(SIZES)):
        (image, label), (data, same) = plain.batch(k), wide.batch(k)
        height, width = image.shape[2:]
        rows, columns = ([(abs((i - 20) % (2 * (n - 1)) - (n - 1)) - (n - 1)) * -1
                          for i in range(n + 40)] for n in (height, width))
        assert np.array_equal(data, image[:, :, rows][..., columns])
        assert np.array_equal(label, same)
        assert wide.assumed_shapes({'margin': 20}, (height, width)) == [data.shape, label.shape]


def test_a_larger_image_is_refused(voc):
    with pytest.raises(FcnError, match=r'up to 18x33 .*this one is 20x9') as error:
        layer(voc, padded=(18, 33)).batch(2)
    assert error.value.code == 'image-too-large' and error.value.facts == {'longest': 18}


@pytest.mark.parametrize('params, words', [
    ({'padded': (5,)}, 'padded is'), ({'padded': 0}, 'padded is 0'), ({'padded': 'a'}, 'padded is'),
    ({'padded': (5, 2.)}, 'padded is'), ({'padded': True}, 'padded is True'),
    ({'margin': -1}, 'margin is -1'), ({'margin': 1.5}, 'margin is 1.5'),
    ({'margin': None}, 'margin is None'), ({'padded': 8, 'margin': 2}, 'both padded and margin')])
def test_bad_params(voc, params, words):
    with pytest.raises(FcnError, match=words):
        layer(voc, **params)


def test_nothing_is_added_by_default():
    blob = np.ones((3, 4, 5), np.float32)
    check_margins(None, 0)
    assert with_margins(blob, None, 0) is blob and padded_size(None, (4, 5)) == (4, 5)
