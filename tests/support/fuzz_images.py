"""Readers to fuzz: pictures and labels."""

import io
import tempfile
from pathlib import Path

import data_folders
import numpy as np
from fuzz_target import folder_with
from PIL import Image


def encoded(kind, size=(9, 7), mode='RGB', **options):
    """The bytes of a small image file."""
    file = io.BytesIO()
    rows = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    image = Image.fromarray(rows[..., 0].astype('u2') * 257) if mode == 'I;16' else \
        Image.fromarray(rows).convert(mode)
    image.save(file, kind, **options)
    return file.getvalue()


def image_seeds():
    exif = Image.Exif()
    exif[0x0112] = 6
    return [encoded('JPEG'), encoded('JPEG', (40, 30), progressive=True), encoded('PNG'),
            encoded('JPEG', exif=exif), encoded('JPEG', mode='CMYK'), encoded('JPEG', mode='L'),
            encoded('PNG', mode='RGBA'), encoded('PNG', mode='P'), encoded('PNG', mode='I;16'),
            encoded('BMP'), encoded('GIF', mode='P'), encoded('PPM'), encoded('WEBP'),
            encoded('TIFF'), encoded('TIFF', compression='tiff_lzw'), encoded('TIFF', mode='F')]


def label_seeds():
    made = []
    for size in (9, 7), (64, 40):
        with tempfile.TemporaryDirectory() as folder:
            rows = np.random.default_rng(1).integers(0, 21, size, np.uint8)
            data_folders.save_palette_png(rows, f'{folder}/l.png')
            made.append(Path(folder, 'l.png').read_bytes())
    return [*made, encoded('PNG', mode='L'), encoded('PNG', mode='P', bits=4)]


def read_image(path):
    from fcn_repro.data.image import read_image
    return read_image(path)


def read_label(path):
    from fcn_repro.data.image import check_label, read_label
    check_label(read_label(path), 21, path)


def read_photo(path):
    from fcn_repro.predict.photos import read_photo
    return read_photo(path)


def read_listed_image(path):
    from fcn_repro.data.listed import load_image
    return load_image(path), load_image(path, False, (5, 6))


def read_io_image(path):
    from fcn_repro.pycaffe.io import load_image
    return load_image(path), load_image(path, False)


def convert_images(path):
    """A list of images into a database, raw and encoded."""
    from fcn_repro.formats.converters import convert_imageset
    with folder_with(path, 'a.png') as folder:
        (folder / 'list').write_text('a.png 3\n')
        convert_imageset(f'{folder}/', folder / 'list', folder / 'raw')
        convert_imageset(f'{folder}/', folder / 'list', folder / 'file', encoded=True)
