"""segment(): the label map of one image, equal to that of the net's own scores."""

import numpy as np
import pytest
from tiny_nets import CLASSIFIER, CONV, INPUT, SEGMENT, noise, save, write_net

from fcn_repro.data.image import MEAN, to_blob
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.predict.segment import segment
from fcn_repro.proto import TEST


@pytest.fixture
def files(tmp_path):
    """(deploy prototxt, weights) of a net with 21 classes, for any size."""
    return write_net(tmp_path, INPUT % (24, 24) + SEGMENT, 'net')


def scores(files, image, mean=MEAN):
    net = Net.read(files[0], TEST)
    net.copy_from(files[1])
    return net.forward(data=to_blob(image, mean)[None])['score'][0].detach().numpy()


def test_a_file_an_array_and_a_net(files, tmp_path):
    image = noise(30, 41)
    expected = scores(files, image).argmax(0)
    assert len(np.unique(expected)) > 1
    loaded = Net.read(files[0], TEST)
    loaded.copy_from(files[1])
    for what in image, save(tmp_path / 'x.png', image), str(tmp_path / 'x.png'):
        for net in files, [loaded]:
            labels = segment(what, *net)
            assert labels.dtype == np.uint8 and labels.shape == (30, 41)
            assert np.array_equal(labels, expected)


def test_the_mean_is_subtracted(files):
    image = noise(24, 24)
    assert np.array_equal(segment(image, *files, mean=(0, 0, 0)),
                          scores(files, image, (0, 0, 0)).argmax(0))
    with pytest.raises(FcnError, match='three numbers'):
        segment(image, *files, mean=(1, 2))


@pytest.mark.parametrize('image', [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8),
                                   np.zeros((4, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_arrays_of_another_shape_or_type(files, image):
    with pytest.raises(FcnError) as error:
        segment(image, *files)
    assert str(image.shape) in str(error.value) and image.dtype.name in str(error.value)


def test_nets_that_give_no_label_map(files, tmp_path):
    image = noise(24, 24)
    for text in CLASSIFIER, INPUT % (24, 24) + CONV:
        with pytest.raises(FcnError):
            segment(image, *write_net(tmp_path, text, 'other'))
    with pytest.raises(FcnError, match='no such image'):
        segment(tmp_path / 'none.png', *files)
    with pytest.raises(FcnError, match='no weights'):
        segment(image, files[0])
    with pytest.raises(FcnError, match="device 'gpu'"):
        segment(image, *files, device='gpu')
    with pytest.raises(FcnError, match='precision'):
        segment(image, *files, precision='fp8')


def test_layers_that_the_weights_lack_are_named(files, tmp_path):
    more = SEGMENT.replace('"score"', '"first"').replace('21', '3') + SEGMENT.replace(
        'bottom: "data"', 'bottom: "first"').replace('name: "score"', 'name: "late"')
    net, _ = write_net(tmp_path, INPUT % (24, 24) + more, 'more')
    weights = write_net(tmp_path, INPUT % (24, 24) + SEGMENT.replace('"score"', '"first"').replace(
        '21', '3'), 'part')[1]
    with pytest.warns(UserWarning, match='late'):
        segment(noise(24, 24), net, weights)
