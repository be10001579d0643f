"""What error texts advise for images and labels does what it says, on files of every mode."""

import re

import numpy as np
import pytest
from PIL import Image
from texts import message

from fcn_repro.data.image import read_image, read_label
from fcn_repro.data.listed import load_image
from fcn_repro.errors import FcnError
from fcn_repro.predict.photos import read_photo

LABEL = np.random.default_rng(0).integers(0, 5, (6, 7)).astype(np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (6, 7)).astype(np.uint8)
COLOURS = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]


def advised(text, f, **names):
    """Run the code in an error's text; returns the file that it makes. f stays as it was."""
    before, other = f.read_bytes(), f.with_name('other.png')
    exec(re.search(r': ((?:import|from) .*)\.$', text).group(1), {'f': f, 'other': other, **names})
    assert f.read_bytes() == before
    return other


def image_of(mode):
    """An image of a mode from GREY and, in colour, COLOURS of LABEL, and what it shows as RGB."""
    colours = np.array(COLOURS, np.uint8)[LABEL]
    alpha = Image.fromarray(np.full_like(GREY, 255))
    indexed = Image.fromarray(LABEL)
    indexed.putpalette(np.ravel(COLOURS).tolist())
    grey = np.repeat(GREY[..., None], 3, 2)
    if mode in ('RGB', 'RGBA', 'CMYK'):
        return Image.fromarray(colours).convert(mode), colours
    if mode in ('P', 'PA'):
        return indexed.convert(mode), colours
    if mode == '1':
        return Image.fromarray(GREY > 100), np.repeat(255 * (GREY > 100)[..., None], 3, 2)
    if mode == 'LA':
        return Image.merge('LA', [Image.fromarray(GREY), alpha]), grey
    wide = {'L': GREY, 'I;16': GREY.astype(np.uint16) * 257, 'I': GREY.astype(np.int32) * 257,
            'F': GREY / np.float32(255)}
    return Image.fromarray(wide[mode]), grey


MODES = 'I;16', 'I', 'F', 'LA', 'RGBA', 'P', 'CMYK', '1', 'PA', 'L', 'RGB'


@pytest.mark.parametrize('mode', MODES)
def test_images(tmp_path, mode):
    image, shown = image_of(mode)
    assert image.mode == mode
    image.save(tmp_path / 'a.tif')
    if mode == 'RGB':
        assert (read_image(tmp_path / 'a.tif') == shown).all()
        return
    text = message(read_image, tmp_path / 'a.tif')
    assert repr(mode) in text
    made = read_image(advised(text, tmp_path / 'a.tif', black=0, white=1))
    assert (np.abs(made.astype(int) - shown) <= (mode == 'F')).all()


@pytest.mark.parametrize('mode', ['F', 'I'])
@pytest.mark.parametrize('read', [read_image, read_photo, load_image])
def test_grey_of_an_unknown_range(tmp_path, mode, read):
    values = (GREY.astype(np.float32) - 100) * 1000
    Image.fromarray(values.astype({'F': np.float32, 'I': np.int32}[mode])).save(tmp_path / 'a.tif')
    other = advised(message(read, tmp_path / 'a.tif'), tmp_path / 'a.tif', black=-100000,
                    white=155000)
    made = read(other)
    made = made.transpose(1, 2, 0) if read is load_image else getattr(made, 'image', made)
    assert np.abs(made.astype(int) - GREY[..., None]).max() <= 1


def label_of(mode):
    """An image of a mode that holds LABEL; '1': LABEL > 2."""
    if mode in ('RGB', 'RGBA', 'CMYK', 'P', 'PA'):
        return image_of(mode)[0], LABEL
    if mode == '1':
        return Image.fromarray(LABEL > 2), LABEL > 2
    if mode == 'LA':
        return Image.merge('LA', [Image.fromarray(LABEL), Image.fromarray(GREY)]), LABEL
    kind = {'L': np.uint8, 'I;16': np.uint16, 'I': np.int32, 'F': np.float32}[mode]
    return Image.fromarray(LABEL.astype(kind)), LABEL


@pytest.mark.parametrize('mode', MODES)
def test_labels(tmp_path, mode):
    image, wanted = label_of(mode)
    assert image.mode == mode
    image.save(tmp_path / 'a.tif')
    if mode in ('P', 'L'):
        assert (read_label(tmp_path / 'a.tif') == wanted).all()
        return
    text = message(read_label, tmp_path / 'a.tif')
    assert repr(mode) in text
    assert (read_label(advised(text, tmp_path / 'a.tif', colours=COLOURS)) == wanted).all()


def test_colours_without_class_are_void(tmp_path):
    image_of('RGB')[0].save(tmp_path / 'a.png')
    other = advised(message(read_label, tmp_path / 'a.png'), tmp_path / 'a.png',
                    colours=COLOURS[:3])
    assert (read_label(other) == np.where(LABEL < 3, LABEL, 255)).all()


def test_indices_that_do_not_fit_are_not_cut(tmp_path):
    Image.fromarray(LABEL.astype(np.uint16) + 300).save(tmp_path / 'a.png')
    with pytest.raises(AssertionError):
        advised(message(read_label, tmp_path / 'a.png'), tmp_path / 'a.png')
    assert not (tmp_path / 'other.png').exists()


@pytest.mark.parametrize('mode', MODES)
def test_what_imagedata_reads(tmp_path, mode):
    """As cv::imread: 16 bits keep their upper 8, transparency is dropped."""
    image, shown = image_of(mode)
    image.save(tmp_path / 'a.tif')
    if mode == 'F':
        with pytest.raises(FcnError):
            load_image(tmp_path / 'a.tif')
        return
    assert (load_image(tmp_path / 'a.tif') == shown[:, :, ::-1].transpose(2, 0, 1)).all()
    assert load_image(tmp_path / 'a.tif', color=False).shape == (1, 6, 7)
