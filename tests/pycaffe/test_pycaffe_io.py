"""pycaffe's io: messages there and back, images as it reads, resizes and transforms them."""

import numpy as np
import pytest
from PIL import Image
from texts import assert_facts, message

import fcn_repro.pycaffe as caffe
from fcn_repro.errors import FcnError
from fcn_repro.pycaffe.proto.caffe_pb2 import BlobProto

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
SHAPES = {'data': (1, 3, 6, 8)}


def test_messages_there_and_back():
    array, diff = np.arange(24.).reshape(2, 3, 4), np.ones((2, 3, 4))
    blob = caffe.io.array_to_blobproto(array, diff)
    assert (caffe.io.blobproto_to_array(blob) == array).all()
    assert (caffe.io.blobproto_to_array(blob, return_diff=True) == diff).all()
    old = BlobProto(num=1, channels=2, height=3, width=4, data=range(24))
    assert caffe.io.blobproto_to_array(old).shape == (1, 2, 3, 4)
    assert caffe.io.blobproto_to_array(BlobProto(data=[123])) == 123        # of no shape: a scalar
    with pytest.raises(ValueError, match='reshape'):
        caffe.io.blobproto_to_array(BlobProto(data=[1, 2]))
    text = caffe.io.arraylist_to_blobprotovector_str([array, diff])
    assert [a.shape for a in caffe.io.blobprotovector_str_to_arraylist(text)] == [(2, 3, 4)] * 2
    for values in IMAGE, array:
        datum = caffe.io.array_to_datum(values, label=3)
        assert datum.label == 3 and (caffe.io.datum_to_array(datum) == values).all()
        assert bool(datum.data) == (values.dtype == np.uint8)
        bare = caffe.io.array_to_datum(values)
        assert not bare.HasField('label') and bare.ByteSize() < datum.ByteSize()
    with pytest.raises(ValueError, match='3 axes'):
        caffe.io.array_to_datum(IMAGE[0])


def test_images_of_files(tmp_path):
    path = str(tmp_path / 'x.png')
    Image.fromarray(IMAGE).save(path)
    assert np.allclose(caffe.io.load_image(path), IMAGE / 255, atol=1e-7)
    grey = caffe.io.load_image(path, color=False)
    assert grey.shape == (6, 8, 1) and grey.dtype == np.float32
    assert np.allclose(grey[:, :, 0], IMAGE @ [0.2125, 0.7154, 0.0721] / 255, atol=1e-6)
    Image.fromarray(IMAGE[:, :, 0]).save(path)
    color = caffe.io.load_image(path)
    assert color.shape == (6, 8, 3) and (color[..., 0] == color[..., 2]).all()
    Image.fromarray(IMAGE[:, :, [0, 1, 2, 2]], 'RGBA').save(path)
    assert np.allclose(caffe.io.load_image(path), IMAGE / 255, atol=1e-7)
    assert 'no such image' in message(caffe.io.load_image, str(tmp_path / 'none.png'))


def test_resizing():
    image = (IMAGE / 255).astype(np.float32)
    assert np.allclose(caffe.io.resize_image(image, (6, 8)), image, atol=1e-6)
    half = caffe.io.resize_image(image, (3, 4))         # the middle of each 2x2 block
    assert np.allclose(half, image.reshape(3, 2, 4, 2, 3).mean((1, 3)), atol=1e-6)
    flat = np.full((6, 8, 3), 7, np.float32)
    assert (caffe.io.resize_image(flat, (3, 5)) == np.full((3, 5, 3), 7)).all()
    many = np.tile(np.arange(8, dtype=np.float32)[None, :, None], (6, 1, 5))
    wide = caffe.io.resize_image(many, (6, 15))         # corners meet corners
    assert np.allclose(wide[0, :, 0], np.arange(15) / 2, atol=1e-6)


def test_transformer_there_and_back():
    steps = caffe.io.Transformer(SHAPES)
    steps.set_transpose('data', (2, 0, 1))
    steps.set_channel_swap('data', (2, 1, 0))
    steps.set_raw_scale('data', 255)
    steps.set_mean('data', np.array([104., 117., 123.]))
    steps.set_input_scale('data', 0.5)
    image = (IMAGE / 255).astype(np.float32)
    wanted = (IMAGE[:, :, ::-1].transpose(2, 0, 1) - np.array([104., 117, 123])[:, None, None]) / 2
    ours = steps.preprocess('data', image)
    assert ours.dtype == np.float32 and np.allclose(ours, wanted, atol=1e-4)
    assert np.allclose(steps.deprocess('data', ours[None]), image, atol=1e-6)
    assert steps.preprocess('data', np.ones((3, 3, 3))).shape == (3, 6, 8)
    steps.set_mean('data', np.ones((3, 3, 4)))
    assert steps.mean['data'].shape == (3, 6, 8)


def test_what_a_transformer_refuses():
    steps = caffe.io.Transformer(SHAPES)
    assert_facts(message(steps.set_raw_scale, 'dat', 1), '', "'dat'")
    assert '2 axes to transpose for 3' in message(steps.set_transpose, 'data', (1, 0))
    assert '2 channels to swap for 3' in message(steps.set_channel_swap, 'data', (1, 0))
    for mean in np.ones(4), np.ones((1, 1, 1, 1)):
        with pytest.raises(ValueError, match='a mean of'):
            steps.set_mean('data', mean)
    steps.set_transpose('data', (2, 0, 1))
    steps.set_channel_swap('data', (2, 1, 0))
    assert '3 channels to swap, and an image of 1' in message(
        steps.preprocess, 'data', np.ones((6, 8, 1)))


def test_crops_larger_than_their_image():
    assert 'crops of 7x4 do not fit into images of 6x8' in message(
        caffe.io.oversample, [IMAGE], (7, 4))


def test_an_image_without_channels():
    assert '3 axes (H, W, channels), not 2' in message(caffe.io.resize_image, IMAGE[0], (3, 3))


def test_oversample():
    crops = caffe.io.oversample([IMAGE, IMAGE + 1], (2, 4))
    assert crops.shape == (20, 2, 4, 3)
    assert (crops[0] == IMAGE[:2, :4]).all() and (crops[3] == IMAGE[4:, 4:]).all()
    assert (crops[4] == IMAGE[2:4, 2:6]).all() and (crops[5] == IMAGE[:2, 3::-1]).all()


# Values that make no sense

NONSENSE = [None, 5, 'x', object(), {'a': 1}, [[1], [1, 2]], ['x'], np.zeros(0),
            np.zeros((0, 0, 0)), np.zeros((2, 2)), np.zeros((2, 2, 2, 2)), np.array([None]),
            1j, b'x', (), [], -1]


def transformer(**settings):
    made = caffe.io.Transformer({'data': (1, 3, 4, 5)})
    for name, value in settings.items():
        getattr(made, f'set_{name}')('data', value)
    return made


CALLS = [caffe.io.array_to_blobproto, caffe.io.array_to_datum, caffe.io.load_image,
         lambda x: caffe.io.array_to_datum(np.zeros((1, 1, 1)), x),
         lambda x: caffe.io.array_to_blobproto(np.zeros(1), x),
         lambda x: caffe.io.resize_image(x, (4, 5)),
         lambda x: caffe.io.resize_image(np.ones((3, 3, 3)), x),
         lambda x: caffe.io.oversample(x, (1, 1)),
         lambda x: caffe.io.oversample([np.ones((3, 3, 3))], x), caffe.io.Transformer,
         caffe.io.blobprotovector_str_to_arraylist,
         lambda x: caffe.io.Transformer({'data': x}).set_transpose('data', (2, 0, 1)),
         lambda x: transformer(transpose=x), lambda x: transformer(channel_swap=x),
         lambda x: transformer(raw_scale=x), lambda x: transformer(mean=x),
         lambda x: transformer(input_scale=x),
         lambda x: transformer(transpose=(2, 0, 1)).preprocess('data', x),
         lambda x: transformer(mean=np.zeros(3)).preprocess('data', x),
         lambda x: transformer(transpose=(2, 0, 1), channel_swap=(2, 1, 0)).deprocess('data', x),
         lambda x: transformer(mean=np.zeros(3)).deprocess('data', x)]


@pytest.mark.parametrize('call', CALLS, ids=range(len(CALLS)))
def test_nonsense_is_told(call):
    """An FcnError, or a result: many of these are arrays to some function."""
    told = 0
    for value in NONSENSE:
        try:
            call(value)
        except FcnError as error:
            assert error.do and len(str(error)) < 500
            told += 1
    assert told


@pytest.mark.parametrize('call', [
    lambda: transformer(transpose=(0, 0, 1)), lambda: transformer(transpose=(3, 1, 2)),
    lambda: transformer(channel_swap=(0, 1)), lambda: transformer(channel_swap=(0, 1, 5)),
    lambda: transformer(mean=np.zeros((4, 2, 2))),
    lambda: caffe.io.datum_to_array(caffe.io.caffe_pb2.Datum(channels=2, height=2, width=2)),
    lambda: caffe.io.blobproto_to_array(BlobProto(num=-1, channels=-1, data=[1]))])
def test_they_are_value_errors_too(call):
    with pytest.raises(FcnError) as info:
        call()
    assert isinstance(info.value, ValueError)
