"""Pictures in the VOC palette, and tables of metrics."""

import os

import numpy as np
import pytest
from PIL import Image

from fcn_repro.data.image import read_image, read_label
from fcn_repro.errors import FcnError
from fcn_repro.predict.metrics import Confusion
from fcn_repro.report import (
    contact_sheet,
    make_row,
    metrics_table,
    one_class_warning,
    palette,
    save_label_png,
    save_rows,
)
from fcn_repro.report.pictures import legend_rows, shrunk

IMAGE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
LABEL = np.arange(35, dtype=np.uint8).reshape(5, 7) % 21
LABEL[0] = 255


def test_palette_is_vocs():
    colours = palette()
    assert colours.shape == (256, 3) and colours.dtype == np.uint8
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128),
             7: (128, 128, 128), 8: (64, 0, 0), 15: (192, 128, 128), 19: (128, 192, 0),
             20: (0, 64, 128), 255: (224, 224, 192)}
    for label, colour in known.items():
        assert tuple(colours[label]) == colour
    assert len(np.unique(colours, axis=0)) == 256
    np.testing.assert_array_equal(palette(21), colours[:21])


def test_label_png_reads_back(tmp_path):
    path = tmp_path / 'new folder/a.png'
    save_label_png(LABEL.astype(np.int64), path)
    np.testing.assert_array_equal(read_label(path), LABEL)
    with Image.open(path) as image:
        assert image.mode == 'P'
        np.testing.assert_array_equal(np.array(image.convert('RGB')), palette()[LABEL])
    assert os.listdir(path.parent) == ['a.png']         # nothing half-written stays


def test_rows(tmp_path):
    """Headings, captions, panels in the VOC colours, and a legend; small images are enlarged."""
    prediction = (LABEL + 1) % 21
    row = make_row(IMAGE, LABEL, prediction, 'a   mean IU 0.0')
    assert [panel.shape for panel in row.panels] == 3 * [(115, 161, 3)]
    image, truth, predicted = (panel[::23, ::23] for panel in row.panels)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(truth, palette()[LABEL])
    np.testing.assert_array_equal(predicted, palette()[prediction])
    assert (truth[0] == (224, 224, 192)).all()
    assert row.classes == (*range(21), 255)
    save_rows([row, row], [f'class {i}' for i in range(21)], tmp_path / 'a.png')
    picture = read_image(tmp_path / 'a.png')
    assert picture.shape[1] == 3 * 161 + 2 * 6 and len(picture) > 24 + 2 * (24 + 115 + 6) + 24
    for top in (48, 48 + 145):
        np.testing.assert_array_equal(picture[top:top + 115, 167:328], row.panels[1])
        assert (picture[top - 24:top] < 128).any()          # the caption
    assert (picture[:24] < 128).any()                       # the headings
    legend = picture[24 + 2 * 145:]
    for c in (1, 20, 255):
        assert (legend == palette()[c]).all(2).sum() >= 13 * 13


def test_legend_keeps_to_the_width():
    """Names in lines of that width; a class without a name is its index."""
    one = legend_rows(['background', 'a name'], [0, 1, 255, 7], 10_000)
    several = legend_rows(['background', 'a name'], [0, 1, 255, 7], 130)
    assert several.width <= 130 < one.width and several.height > one.height == 24


def test_shrunk():
    """Large ones to 512 pixels, the maps without new classes; small ones stay."""
    image, label = np.zeros((100, 1024, 3), np.uint8), np.zeros((100, 1024), np.uint8)
    label[:, 512:] = 20
    image[:, 512:] = 200
    shown, truth, predicted = shrunk(image, label, label)
    assert shown.shape == (50, 512, 3) and truth.shape == predicted.shape == (50, 512)
    assert (truth == np.where(np.arange(512) < 256, 0, 20)).all() and set(np.unique(shown)) == {
        0, 200}
    assert shrunk(IMAGE, LABEL, LABEL)[0] is IMAGE


def test_contact_sheet(tmp_path):
    wide, narrow = (np.full((*size, 3), 7, np.uint8) for size in ((5, 33), (3, 24)))
    contact_sheet([wide, narrow], tmp_path / 'sheet.png')
    sheet = read_image(tmp_path / 'sheet.png')
    assert sheet.shape == (5 + 6 + 3, 33, 3)
    np.testing.assert_array_equal(sheet[:5], wide)
    np.testing.assert_array_equal(sheet[11:, :24], narrow)
    assert (sheet[5:11] == 255).all() and (sheet[11:, 24:] == 255).all()


def test_picture_errors(tmp_path):
    with pytest.raises(FcnError, match=r'prediction is \(3, 3\).*\(5, 7\)'):
        make_row(IMAGE, LABEL, np.zeros((3, 3), int), '')
    with pytest.raises(FcnError, match='float32'):
        make_row(IMAGE.astype(np.float32), LABEL, LABEL, '')
    for wrong in (LABEL[None], np.full((2, 2), 256), np.full((2, 2), -1), np.full((2, 2), 0.5)):
        with pytest.raises(FcnError, match='class indices'):
            save_label_png(wrong, tmp_path / 'a.png')
    with pytest.raises(FcnError, match='no strips'):
        contact_sheet([], tmp_path / 'a.png')
    with pytest.raises(FcnError, match='0 rows'):
        save_rows([], None, tmp_path / 'a.png')
    (tmp_path / 'file').write_text('')
    with pytest.raises(FcnError, match='cannot be written'):
        save_label_png(LABEL, tmp_path / 'file/a.png')
    assert os.listdir(tmp_path) == ['file']


def test_metrics_table():
    confusion = Confusion(3)
    confusion.add(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]]))
    assert metrics_table(confusion.metrics(), ('background', 'cat', 'dog')) == '\n'.join((
        'pixel acc.  mean acc.  mean IU  f.w. IU',
        '      75.0       75.0     75.0     75.0',
        '',
        'class          IU',
        'background   50.0',
        'cat         100.0',
        'dog             -'))
    assert metrics_table(confusion.metrics('release')).splitlines()[-1] == '2        0.0'
    with pytest.raises(FcnError, match='2 class names for 3 classes'):
        metrics_table(confusion.metrics(), ('a', 'b'))


def test_one_class_warning():
    hist = np.zeros((3, 3), np.int64)
    assert one_class_warning(hist) is None
    hist[:, 1] = 4, 5, 6
    assert 'as 1,' in one_class_warning(hist) and '3 classes' in one_class_warning(hist)
    assert 'as cat,' in one_class_warning(hist, ('dog', 'cat', 'cow'))
    hist[2, 2] = 1
    assert one_class_warning(hist) is None
    assert one_class_warning(np.diag([0, 7, 0])) is None        # nothing else was to be found
