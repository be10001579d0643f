"""Pictures that claim too much, end early or are of other formats: refused before memory is taken,
the same by every reader."""

import gzip
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from data_folders import message
from packages import required
from PIL import Image, ImageDraw
from small_runs import ROOT, assert_error, call
from tiny_nets import own

from fcn_repro.cli.main import main
from fcn_repro.data import decoding
from fcn_repro.data.digits import read_idx
from fcn_repro.data.image import MOST_PIXELS, limit_pixels, open_image, read_image, read_label
from fcn_repro.data.listed import load_image
from fcn_repro.data.m2nist import open_array
from fcn_repro.errors import FcnError
from fcn_repro.formats import datum
from fcn_repro.formats.database import Writer
from fcn_repro.predict.photos import read_photo
from fcn_repro.pycaffe import io as caffe_io

RNG = np.random.default_rng(3)
GREY = np.clip(np.cumsum(RNG.normal(0, 2, (90, 120)), 1) + 90, 0, 255).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], 2)
LABEL = (GREY // 40).astype(np.uint8)


def chunk(kind, body):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png(width, height, data=b'\0', colour=2, bits=8, interlaced=0, more=b''):
    head = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, interlaced)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + more + chunk(
        b'IDAT', zlib.compress(data)) + chunk(b'IEND', b'')


def encoded(array, kind, **options):
    file = io.BytesIO()
    image = Image.fromarray(array) if isinstance(array, np.ndarray) else array
    image.save(file, kind, **options)
    return file.getvalue()


def saved(path, data):
    path.write_bytes(data)
    return path


def decode_datum(path):
    return datum.decode(datum.encode_file(path.read_bytes(), 0))


READERS = {'image': read_image, 'label': read_label, 'listed': load_image, 'photo': read_photo,
           'datum': decode_datum, 'pycaffe': caffe_io.load_image}
SIDE = 20000                                # squared: far above the limit, and below Pillow's own


def bmp(width, height):
    return b'BM' + struct.pack('<IHHIIiiHHIIiiII', 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0,
                               0, 0, 0)


def jpeg(width, height):
    whole = bytearray(encoded(COLOUR, 'JPEG'))
    at = whole.index(b'\xff\xc0')
    whole[at + 5:at + 9] = struct.pack('>HH', height, width)
    return bytes(whole)


def tiff(width, height, tile=None):
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1),
            (278, height), (279, 8)]
    if tile:
        tags = [*tags[:5], (277, 1), (322, tile), (323, tile), (324, 8), (325, 8)]
    return b'II*\0' + struct.pack('<II', 16, 0)[:4] + bytes(8) + struct.pack('<H', len(tags)) + \
        b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags) + bytes(4)


def webp(width, height):
    body = b'WEBPVP8X' + struct.pack('<II', 10, 0) + (width - 1).to_bytes(3, 'little') + \
        (height - 1).to_bytes(3, 'little')
    return b'RIFF' + struct.pack('<I', len(body)) + body


def gif(width, height):
    return b'GIF89a' + struct.pack('<HHBBB', width, height, 0, 0, 0) + b',' + struct.pack(
        '<HHHHB', 0, 0, width, height, 0) + b'\x08\x02\x00\x01\x00;'


BOMBS = {'png': png(SIDE, SIDE), 'bmp': bmp(SIDE, SIDE), 'jpeg': jpeg(SIDE, SIDE),
         'tiff': tiff(SIDE, SIDE), 'webp': webp(16000, 16000), 'gif': gif(SIDE, SIDE),
         'ppm': b'P6 20000 20000 255\n', 'webp-lossless': b'RIFF\x1c\0\0\0WEBPVP8L' + struct.pack(
             '<IBI', 9, 0x2f, 15999 | 15999 << 14) + bytes(9)}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('kind', BOMBS)
@pytest.mark.filterwarnings('error')
def test_every_reader_refuses_what_is_too_large(tmp_path, kind, reader):
    path = saved(tmp_path / 'bomb', BOMBS[kind])
    with pytest.raises(FcnError) as error:
        READERS[reader](path)
    assert 'too large' in str(error.value) and f'{MOST_PIXELS:,}' in str(error.value)
    assert error.value.code == 'too-many-pixels' and error.value.facts['pixels'] > MOST_PIXELS


def test_a_tile_larger_than_its_image(tmp_path):
    assert 'too large' in message(load_image, saved(tmp_path / 'a.tif', tiff(8, 8, SIDE)))


def test_a_tiff_whose_strips_do_not_cover_it(tmp_path):
    path, whole = tmp_path / 'a.tif', encoded(GREY, 'TIFF')
    at = whole.index(struct.pack('<HHI', 257, 4, 1)) + 8           # its height
    rows = whole.index(struct.pack('<HHI', 278, 4, 1)) + 8         # of a strip
    assert struct.unpack_from('<I', whole, at) == struct.unpack_from('<I', whole, rows) == (90,)
    saved(path, whole[:at] + struct.pack('<I', 5000) + whole[at + 4:])
    assert '10,800 of 600,000 pixels' in message(read_label, path)
    for options in ({}, {'compression': 'tiff_lzw'}, {'compression': 'packbits'},
                    {'compression': 'tiff_adobe_deflate'}):
        for array in (GREY, COLOUR):
            saved(path, encoded(array, 'TIFF', **options))
            assert np.array_equal(np.asarray(open_image(path, 'image')[0]), array)


def test_bombs_take_no_memory(tmp_path):
    """Under Pillow's own limit 69 bytes took gigabytes; here the process has 200 MB to spare."""
    saved(tmp_path / 'a.png', png(8193, 8192, zlib.compress(b'\0')))
    code = f'''
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / 'tests/data')!r})
import test_decoding as t
pages = int(Path('/proc/self/statm').read_text().split()[0])
room = pages * resource.getpagesize() + 200 * 2 ** 20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for read in t.READERS.values():
    try:
        read(Path({str(tmp_path / 'a.png')!r}))
    except t.FcnError as error:
        print(error.code)
'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env={'PYTHONPATH': f'{ROOT}:{ROOT / "tests/support"}'})
    assert done.stdout.split() == ['too-many-pixels'] * len(READERS), done


@pytest.fixture
def restored():
    before = Image.MAX_IMAGE_PIXELS
    yield
    limit_pixels()
    Image.MAX_IMAGE_PIXELS = before


def test_the_limit(tmp_path, restored):
    path = saved(tmp_path / 'a.png', encoded(COLOUR, 'PNG'))
    limit_pixels(90 * 120)
    assert (read_image(path) == COLOUR).all()
    limit_pixels(90 * 120 - 1)
    assert '90x120' in message(read_image, path) and 'limit_pixels(10800)' in message(
        read_image, path)
    with pytest.raises(FcnError, match='limit on pixels is 0'):
        limit_pixels(0)
    limit_pixels(10 ** 9)
    assert Image.MAX_IMAGE_PIXELS == 10 ** 9        # else Pillow would refuse what is allowed


@pytest.mark.filterwarnings('error')
def test_more_pixels_than_pillow_allows(tmp_path, restored):
    """Of a bit each, 24 MB."""
    side = 14_000                                   # 196 million; Pillow's error begins at 179
    path = saved(tmp_path / 'a.png', png(side, side, bytes((side // 8 + 1) * side), 0, 1))
    assert 'too large' in message(read_label, path)
    limit_pixels(side * side)
    image, _ = open_image(path, 'image')
    assert image.size == (side, side)


def test_the_option_of_infer(tmp_path, capsys, restored):
    """What the remedy names, executed: the picture passes the limit, and is damaged."""
    path = saved(tmp_path / 'a.png', png(8193, 8192))
    words = 'infer', path, *own(tmp_path)
    done = call(capsys, *words)
    assert_error(done, 'a.png', 'too large', '--max-pixels 67117056')
    assert 'limit_pixels' not in done.err
    assert_error(call(capsys, *words, '--max-pixels', 67117056), 'a.png', 'pixels end')
    assert_error(call(capsys, *words, '--max-pixels', 0), '--max-pixels 1 or more')
    assert_error(call(capsys, *words), 'too large')         # a command's limit is its own


def test_the_flag_of_caffes_tools(tmp_path, capsys, restored):
    required('lmdb')
    with Writer(tmp_path / 'db') as writer:
        writer.put(b'0', datum.encode_file(png(8193, 8192), 0))
    words = 'caffe', 'compute_image_mean', str(tmp_path / 'db')
    for more, parts in (((), ('too large', 'or --max-pixels 67117056')),
                        (('--max-pixels', '67117056'), ('pixels end',)),
                        (('-max_pixels=67117056',), ('pixels end',)), ((), ('too large',))):
        done = call(capsys, 'caffe', main=lambda more=more: main([*words, *more]))
        assert done.status == 1 and all(part in done.err for part in parts), done


# What ends early

def png_cut(array, share, **options):
    """A PNG whose compressed stream ends early, with valid chunks and check sums."""
    whole, at, parts = encoded(array, 'PNG', **options), 8, []
    while at < len(whole):
        length, kind = struct.unpack_from('>I4s', whole, at)
        parts.append((kind, whole[at + 8:at + 8 + length]))
        at += 12 + length
    raw = zlib.decompress(b''.join(body for kind, body in parts if kind == b'IDAT'))
    short = zlib.compress(raw[:int(len(raw) * share)])
    return whole[:8] + b''.join(chunk(kind, body) for kind, body in parts if kind not in (
        b'IDAT', b'IEND')) + chunk(b'IDAT', short[:9]) + chunk(b'IDAT', short[9:]) + chunk(
        b'IEND', b'')


def palette_image():
    image = Image.fromarray(LABEL)
    image.putpalette(bytes(range(21)))              # fewer colours than indices
    return image


ENDS = {'grey': GREY, 'colour': COLOUR, 'label': LABEL, 'palette': palette_image(),
        'bits': Image.fromarray(GREY > 90), 'deep': GREY.astype(np.uint16) * 257,
        'alpha': np.dstack([COLOUR, GREY])}


@pytest.mark.parametrize('share', [0, 0.5, 0.999])
@pytest.mark.parametrize('kind', ENDS)
def test_a_png_that_ends_early(tmp_path, kind, share):
    path = saved(tmp_path / 'a.png', png_cut(ENDS[kind], share))
    for reader in READERS.values():
        with pytest.raises(FcnError, match='its pixels end after') as error:
            reader(path)
        assert error.value.do


def test_whole_pngs_stay_as_they_are(tmp_path):
    for kind, image in ENDS.items():
        path = saved(tmp_path / 'a.png', encoded(image, 'PNG'))
        image, _ = open_image(path, 'image')
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(path))), kind
    assert (read_label(saved(path, encoded(palette_image(), 'PNG'))) == LABEL).all()
    clear = encoded(palette_image(), 'PNG', transparency=2)
    assert (read_label(saved(path, clear)) == LABEL).all()


def interlaced(array):
    """The bytes that Adam7 compresses of a grey image, without filters."""
    rows = []
    for x, y, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
                               (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        part = array[y::down, x::across]
        rows += [b'\0' + row.tobytes() for row in part if part.size]
    return b''.join(rows)


@pytest.mark.parametrize('shape', [(90, 120), (1, 1), (1, 9), (9, 1), (3, 5), (8, 8), (4, 2)])
def test_interlaced_labels(tmp_path, shape):
    label = LABEL[:shape[0], :shape[1]]
    data = interlaced(label)
    whole = png(shape[1], shape[0], data, 0, interlaced=1)
    path = saved(tmp_path / 'a.png', whole)
    assert (read_label(path) == label).all()
    saved(path, png(shape[1], shape[0], data[:-1], 0, interlaced=1))
    assert f'{len(data) - 1:,} of {len(data):,}' in message(read_label, path)


JPEGS = {'plain': {}, 'full': {'subsampling': 0}, 'progressive': {'progressive': True},
         'restarts': {'restart_marker_rows': 1},
         'both': {'progressive': True, 'restart_marker_blocks': 3}}


@pytest.mark.parametrize('array', [COLOUR, GREY, np.full((40, 50, 3), 128, np.uint8),
                                   COLOUR[:33, :17]], ids=['colour', 'grey', 'flat', 'odd'])
@pytest.mark.parametrize('kind', JPEGS)
def test_a_jpeg_that_ends_early(tmp_path, kind, array):
    """libjpeg fills the rest with grey, and Pillow says nothing where an end marker follows."""
    whole = encoded(array, 'JPEG', **JPEGS[kind])
    path = saved(tmp_path / 'a.jpg', whole)
    found, _ = open_image(path, 'image')
    assert np.array_equal(np.asarray(found), np.asarray(Image.open(path)))
    start = whole.index(b'\xff\xda') + 14
    if array.std() > 1:
        saved(path, whole[:start + (len(whole) - start) // 2] + b'\xff\xd9')
        for name, reader in READERS.items():
            with pytest.raises(FcnError, match=r'cannot be read|JPEG'):
                reader(path)
            assert name


def test_a_jpeg_that_ends_before_a_restart(tmp_path):
    whole = encoded(COLOUR, 'JPEG', restart_marker_rows=1)
    path = saved(tmp_path / 'a.jpg', whole[:whole.rindex(b'\xff\xd2')] + b'\xff\xd9')
    assert 'end early' in message(read_image, path)


def test_a_jpeg_of_many_scans(tmp_path):
    whole = encoded(COLOUR, 'JPEG', progressive=True)
    at = whole.rindex(b'\xff\xda')
    many = jpeg(2000, 2000)
    assert 'scans' in message(read_image, saved(
        tmp_path / 'a.jpg', many[:-2] + whole[at:-2] * 100 + b'\xff\xd9'))


def test_a_jpeg_of_more_pixels_than_bits(tmp_path):
    """At once: libjpeg would fill 64 million pixels with grey."""
    assert 'cannot hold 64,000,000' in message(read_image, saved(
        tmp_path / 'a.jpg', jpeg(8000, 8000)))
    flat = np.full((2000, 3000), 7, np.uint8)       # few bits for each block
    for options in ({}, {'progressive': True}, {'optimize': True}):
        path = saved(tmp_path / 'a.jpg', encoded(flat, 'JPEG', **options))
        assert load_image(path, color=False).shape == (1, 2000, 3000)


def test_segments_that_decide_nothing(tmp_path):
    """Hundreds of thousands of EXIF blocks took Pillow time quadratic in their number."""
    whole = encoded(COLOUR, 'JPEG')
    blocks = (b'\xff\xe1' + struct.pack('>H', 18) + b'Exif\0\0' + b'x' * 10) * 200_000
    comments = b'\xff\xfe\0\x04ab' * 1000
    path = saved(tmp_path / 'a.jpg', whole[:2] + blocks + comments + whole[2:])
    assert (read_image(path) == np.asarray(Image.open(io.BytesIO(whole)))).all()
    assert len(decoding.essential_jpeg(path.read_bytes())) == len(whole) + 20


def test_orientation_is_kept(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ('JPEG', 'PNG', 'WEBP', 'TIFF'):
        path = saved(tmp_path / 'a', encoded(COLOUR, kind, exif=exif))
        assert read_photo(path).image.shape == (120, 90, 3), kind


@pytest.mark.parametrize('kind', ['iCCP', 'zTXt'])
def test_text_and_profiles_that_unpack_to_much(tmp_path, kind):
    packed = zlib.compress(bytes(300 * 2 ** 20))
    more = chunk(kind.encode(), b'a\0\0' + packed)
    path = saved(tmp_path / 'a.png', png(2, 2, bytes(14), more=more))
    try:
        assert read_image(path).shape == (2, 2, 3)
    except FcnError as error:
        assert str(path) in str(error)


def test_frames_after_the_first_are_not_read(tmp_path):
    frames = [Image.fromarray(np.full((9, 9), i, np.uint8)) for i in range(40)]
    for kind in ('GIF', 'TIFF', 'WEBP', 'PNG'):
        path = tmp_path / f'a.{kind.lower()}'
        frames[0].save(path, kind, save_all=True, append_images=frames[1:], lossless=True)
        assert (read_photo(path).image == 0).all(), kind


# Other formats

OTHERS = {'EPS': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'PDF': b'%PDF-1.4',
          'JPEG 2000': b'\xff\x4f\xff\x51', 'Photoshop': b'8BPS\0\1', 'icon': b'\0\0\1\0\1\0',
          'HEIF': b'\0\0\0\x18ftypheic'}


@pytest.mark.parametrize('kind', OTHERS)
def test_formats_that_are_not_read(tmp_path, kind):
    path = saved(tmp_path / 'a.png', OTHERS[kind] + bytes(99))
    for reader in READERS.values():
        with pytest.raises(FcnError, match=r'it is (an? )?(icon|AVIF|JPEG 2000|P|EPS)'):
            reader(path)


def test_postscript_is_never_run(tmp_path):
    made = Image.new('RGB', (9, 9))
    ImageDraw.Draw(made).point((1, 1), 'red')
    path = saved(tmp_path / 'a.eps', encoded(made, 'EPS'))
    assert 'PostScript' in message(read_photo, path)
    path.write_bytes(bytes(4))
    assert 'no known format' in message(read_photo, saved(tmp_path / 'b', b'\1\2\3\4'))


def test_a_jpeg_is_no_label(tmp_path):
    assert 'compression' in message(read_label, saved(tmp_path / 'a.jpg', encoded(LABEL, 'JPEG')))


# IDX and NumPy files

def test_idx_files_that_unpack_to_much(tmp_path, monkeypatch):
    monkeypatch.setattr('fcn_repro.data.digits.MOST_IDX', 10 ** 6)
    bomb = gzip.compress(struct.pack('>IIII', 0x803, 2 ** 31, 2 ** 31, 2 ** 31) + bytes(10 ** 7))
    assert 'unpacked' in message(read_idx, saved(tmp_path / 'a', bomb), 3)
    assert 'at most' in message(read_idx, saved(tmp_path / 'a', bytes(10 ** 6 + 1)), 3)
    claim = struct.pack('>IIII', 0x803, 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1) + b'abc'
    assert f'{(2 ** 32 - 1) ** 3} expected' in message(read_idx, saved(tmp_path / 'a', claim), 3)


def test_arrays_that_claim_more_than_their_file_has(tmp_path):
    path = tmp_path / 'a.npy'
    np.save(path, np.zeros((3, 64, 84), np.uint8))
    assert open_array(path, (64, 84)).shape == (3, 64, 84)
    saved(path, path.read_bytes().replace(b'(3, 64, 84)', b'(3000000000, 64, 84)'[:11]))
    data = path.read_bytes()
    for claim in (b'(9, 64, 84)', b'(-1,64, 84)', b"(9**9**9,0)"):
        saved(path, data.replace(b'(3000000000', claim[:11]))
        assert str(path) in message(open_array, path, (64, 84))
    np.save(path, np.array([{}] * 3, object), allow_pickle=True)
    assert str(path) in message(open_array, path, (64, 84))
