"""What errors advise for images and labels of other modes, executed on files of each mode."""

import numpy as np
import pytest
from PIL import Image
from texts import message

from fcn_repro.data.image import read_image, read_label
from fcn_repro.data.listed import load_image
from fcn_repro.predict.photos import read_photo

SIDES = 6, 9
GREY = (np.arange(54).reshape(SIDES) * 4).astype(np.uint8)
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], 2)


def save(path, image):
    image.save(path)
    return path


def followed(error, folder, **names):
    """The file that the advised commands write; the original is untouched."""
    before = (folder / names['f']).read_bytes()
    code = error.partition('Save a copy: ')[2].partition('  (')[0]
    assert code.startswith('from PIL import Image'), error
    exec(code, {**names, 'f': folder / names['f'], 'other': folder / 'other.png'})
    assert (folder / names['f']).read_bytes() == before
    return folder / 'other.png'


def modes():
    """{mode: (image, suffix, expected RGB)} of modes that read_image refuses."""
    whole, grey = Image.fromarray(COLOUR), Image.fromarray(GREY)
    three = np.repeat(GREY[:, :, None], 3, 2)
    alpha, palette = whole.convert('RGBA'), whole.quantize(256)
    alpha.putalpha(100)
    ink = np.where(GREY > 100, 255, 0).astype(np.uint8)
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    wide = Image.fromarray(GREY.astype(np.int32) * 1000)
    return {'L': (grey, 'png', three), 'LA': (grey.convert('LA'), 'png', three),
            'P': (palette, 'png', np.array(palette.convert('RGB'))),
            'RGBA': (alpha, 'png', COLOUR), 'CMYK': (whole.convert('CMYK'), 'tif', COLOUR),
            '1': (Image.fromarray(ink).convert('1'), 'png', np.repeat(ink[:, :, None], 3, 2)),
            'I;16': (deep, 'png', three), 'I': (wide, 'tif', three),
            'F': (Image.fromarray(GREY.astype(np.float32) / 255), 'tif', three)}


@pytest.mark.parametrize('mode', modes())
def test_an_image_of_another_mode(tmp_path, mode):
    image, suffix, wanted = modes()[mode]
    assert image.mode == mode
    path = save(tmp_path / f'x.{suffix}', image)
    told = message(read_image, path)
    assert f'mode {mode!r}' in told
    limits = {'I': (0, 255_000), 'F': (0, 1)}.get(mode, (0, 0))
    copy = followed(told, tmp_path, f=path.name, black=limits[0], white=limits[1])
    assert (read_image(copy) == wanted).all()


def labels():
    """{kind: (image, suffix)} of label files that read_label refuses, all of class GREY // 100."""
    index = GREY // 100
    deep, alpha = index.astype(np.uint16), Image.fromarray(index).convert('LA')
    return {'1': (Image.fromarray(np.minimum(index, 1) * 255).convert('1'), 'png'),
            'LA': (alpha, 'png'), 'I;16': (Image.fromarray(deep), 'png'),
            'I': (Image.fromarray(index.astype(np.int32)), 'tif'),
            'F': (Image.fromarray(index.astype(np.float32)), 'tif')}


@pytest.mark.parametrize('mode', labels())
def test_a_label_of_another_mode(tmp_path, mode):
    image, suffix = labels()[mode]
    path = save(tmp_path / f'x.{suffix}', image)
    copy = followed(message(read_label, path), tmp_path, f=path.name)
    wanted = GREY // 100
    assert (read_label(copy) == (np.minimum(wanted, 1) if mode == '1' else wanted)).all()


@pytest.mark.parametrize('bits', [2, 4])
def test_a_label_of_few_bits(tmp_path, bits):
    """A grey PNG of 2 or 4 bits, which Pillow spreads over 8."""
    import struct
    import zlib

    index = GREY // 100
    packed = [''.join(f'{v:0{bits}b}' for v in row) for row in index]
    rows = b''.join(b'\0' + int(row.ljust(-len(row) % 8 + len(row), '0'), 2).to_bytes(
        -(-len(row) // 8), 'big') for row in packed)

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack(
            '>I', zlib.crc32(kind + data))
    (tmp_path / 'x.png').write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack(
        '>IIBBBBB', SIDES[1], SIDES[0], bits, 0, 0, 0, 0)) + chunk(
            b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
    copy = followed(message(read_label, tmp_path / 'x.png'), tmp_path, f='x.png')
    assert (read_label(copy) == index).all()


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'CMYK'])
def test_a_label_of_colours(tmp_path, mode):
    index = GREY // 100                                 # 0, 1 and 2
    colours = np.array([(0, 0, 0), (128, 0, 0), (1, 2, 3)], np.uint8)[index]
    path = save(tmp_path / 'x.tif', Image.fromarray(colours).convert(mode))
    copy = followed(message(read_label, path), tmp_path, f='x.tif')
    assert (read_label(copy) == np.where(index == 2, 255, index)).all()


@pytest.mark.parametrize('array', [GREY.astype(np.int32) * 1000, GREY.astype(np.float32) / 3])
def test_a_label_whose_values_are_no_indices(tmp_path, array):
    path = save(tmp_path / 'x.tif', Image.fromarray(array))
    assert 'Map its values, 0 to ' in message(read_label, path)


@pytest.mark.parametrize('mode', modes())
def test_what_caffe_reads_by_opencv(tmp_path, mode):
    """ImageData and databases take all of them but those of unknown range, whose advice works."""
    image, suffix, wanted = modes()[mode]
    path = save(tmp_path / f'x.{suffix}', image)
    if mode in ('I', 'F'):
        assert message(read_photo, path).endswith(message(load_image, path).split('Save a copy')[1])
        path = followed(message(load_image, path), tmp_path, f=path.name, black=0,
                        white=255_000 if mode == 'I' else 1)
    assert (load_image(path) == wanted[:, :, ::-1].transpose(2, 0, 1)).all()
    assert load_image(path, color=False).shape == (1, *SIDES)
