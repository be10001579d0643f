"""Decode a picture's bytes with Pillow, safely: which formats, how large, and the damage that its
decoders pass over in silence.

A file of 69 bytes may claim 2^31 pixels, so the size is compared with a limit before anything is
decoded. The formats are named, because Pillow also opens PostScript, by running Ghostscript, and
JPEG 2000, of which a header of 102 bytes takes 9 GB.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from fcn_repro.errors import FcnError

Reader = Callable[[io.BytesIO], ImageFile.ImageFile]

# What is read: how a file begins, and Pillow's reader.
FORMATS: tuple[tuple[bytes, str, Reader], ...] = (
    (rb'\x89PNG\r\n\x1a\n', 'PNG', PngImagePlugin.PngImageFile),
    (rb'\xff\xd8\xff', 'JPEG', JpegImagePlugin.JpegImageFile),
    (rb'BM', 'BMP', BmpImagePlugin.BmpImageFile),
    (rb'GIF8[79]a', 'GIF', GifImagePlugin.GifImageFile),
    (rb'P[1-6fy]', 'PPM', PpmImagePlugin.PpmImageFile),
    (rb'II[*+]\0|MM\0[*+]', 'TIFF', TiffImagePlugin.TiffImageFile),
    (rb'RIFF....WEBP', 'WEBP', WebPImagePlugin.WebPImageFile))
NAMES = tuple(name for _, name, _ in FORMATS)
NOT_READ = (
    (rb'\xff\x4f\xff\x51|\0\0\0\x0cjP', 'JPEG 2000'), (rb'%!PS|\xc5\xd0\xd3\xc6', 'PostScript'),
    (rb'%PDF', 'PDF'), (rb'8BPS', 'Photoshop'), (rb'\0\0[\1\2]\0', 'an icon'),
    (rb'....ftyp(avif|avis|heic|heix|mif1|msf1)', 'AVIF or HEIF'))

# What Pillow raises for damaged files, its warnings included where Python is told to raise these
DAMAGE = (OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, EOFError,
          AttributeError, AssertionError, RuntimeError, MemoryError, struct.error, zlib.error,
          Image.DecompressionBombError, Warning)

SCANS = 16              # of a JPEG; with more, pixels times scans are limited: each takes its time
MOST_WORK = 2 ** 28
BLOCK = 2 ** 20         # bytes inflated at once
MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')   # of JPEG: what ends the data of a scan
RESTARTS = b''.join(b'\0' + bytes(range(1, 32)) + bytes((0xff, 0xd0 + i)) for i in range(8))


class Damaged(ValueError):
    """No picture, or one that ends before its pixels do."""


class NotRead(ValueError):
    """A picture of a format that is not read."""


def decode(data: bytes, most: int) -> tuple[ImageFile.ImageFile, str]:
    """The decoded image in a file's bytes, of several frames the first, and its stored bit format
    ('' if unknown). most: pixels that it may have; FcnError for more, and one of DAMAGE for a file
    that is damaged, incomplete or of no format in FORMATS."""
    name, reader = recognise(data)
    if name == 'JPEG':
        data = essential_jpeg(data)
    elif name == 'WEBP':
        check_pixels(*webp_size(data), most)
    image = reader(io.BytesIO(data))
    check_pixels(*image.size, most)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        check_tiff(image, most)
    elif name == 'PNG':
        check_png(data)
    elif name == 'JPEG':
        check_scans(data, image.size)
    bits = str(image.tile[0][3]) if image.tile else ''
    image.load()
    if name == 'JPEG':
        check_jpeg(image, data)
    return image, bits


def check_pixels(width: int, height: int, most: int) -> None:
    """FcnError for more than `most` pixels; Damaged for none."""
    if width < 1 or height < 1:
        raise Damaged(f'it is {height}x{width} (height x width)')
    if width * height > most:
        raise FcnError(f'{height}x{width} (height x width) are {width * height:,} pixels, more '
                       f'than the {most:,} that are read', code='too-many-pixels',
                       facts={'pixels': width * height}, do='Give a smaller copy, or allow more: '
                       f'fcn_repro.data.image.limit_pixels({width * height}).')


def recognise(data: bytes) -> tuple[str, Reader]:
    """(name, Pillow's reader) of a file's format."""
    for start, name, reader in FORMATS:
        if re.match(start, data, re.DOTALL):
            return name, reader
    for start, name in NOT_READ:
        if re.match(start, data, re.DOTALL):
            raise NotRead(f'it is {name}; read are {", ".join(NAMES)}')
    raise Damaged('it is of no known format')


# PNG: Pillow leaves rows at 0 where the compressed stream ends early

def check_png(data: bytes) -> None:
    """Damaged where a PNG's compressed data hold less than its pixels need."""
    wanted = png_bytes(data)
    engine, done = zlib.decompressobj(), 0
    for kind, body in png_chunks(data):
        left = body if kind == b'IDAT' else b''
        while left and not engine.eof and done < wanted:
            done += len(engine.decompress(left, BLOCK))
            left = engine.unconsumed_tail
    if done < wanted:
        raise Damaged(f'its pixels end after {done:,} of {wanted:,} bytes')


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, body) of the chunks, as far as they go; their check sums are left to Pillow."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, at)
        yield kind, data[at + 8:at + 8 + length]
        at += 12 + length


def png_bytes(data: bytes) -> int:
    """How many bytes a PNG's pixels take before compression, from its first chunk, IHDR."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from('>IIBBBBB', data, 16)
    deep = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = [(0, 0, 1, 1)]
    if interlaced:                          # Adam7: (first column, first row, steps)
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                  (1, 0, 2, 2), (0, 1, 1, 2)]
    sizes = [(-(-(width - x) // across), -(-(height - y) // down))
             for x, y, across, down in passes if x < width and y < height]
    return sum((-(-wide * deep // 8) + 1) * high for wide, high in sizes)


# TIFF: Pillow leaves at 0 what no strip or tile of the file covers

def check_tiff(image: TiffImagePlugin.TiffImageFile, most: int) -> None:
    """FcnError for a tile of more than `most` pixels, even of a small image; Damaged for strips or
    tiles that do not cover the image."""
    check_pixels(int(image.tag_v2.get(322, 1)), int(image.tag_v2.get(323, 1)), most)
    wanted = image.width * image.height
    covered = 0
    for tile in image.tile:
        left, top, right, bottom = tile.extents or (0, 0, *image.size)
        covered += (right - left) * (bottom - top)
    if covered < wanted:
        raise Damaged(f'its strips hold {covered:,} of {wanted:,} pixels')


# JPEG: libjpeg fills with grey where a scan ends early, and takes its time for every scan

def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, the whole segment) up to the first scan, of which the segment is all that is left;
    as far as they are whole."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xff:                # bytes between segments, which Pillow skips too
            at += 1
            continue
        marker, end = data[at + 1], at + 2
        if marker == 0xff:
            at += 1
            continue
        if marker == 0xda:
            end = len(data)
        elif marker not in (0, 1, *range(0xd0, 0xda)):
            end += int.from_bytes(data[at + 2:at + 4], 'big')
        yield marker, data[at:end]
        at = end


def essential_jpeg(data: bytes) -> bytes:
    """The file without the segments that decide nothing about its pixels: comments, colour
    profiles, previews. Kept are JFIF's, Adobe's and the first of EXIF and of XMP, which may turn
    the picture. Pillow joins those of one kind, in time quadratic in their number."""
    kept, seen = [data[:2]], set()
    for marker, segment in jpeg_segments(data):
        if marker == 0xe1:
            start = segment[4:14]
            if start in seen or not start.startswith((b'Exif\0\0', b'http://ns.')):
                continue
            seen.add(start)
        elif marker == 0xfe or (0xe2 <= marker <= 0xef and marker != 0xee):
            continue
        kept.append(segment)
    return b''.join(kept)


def check_scans(data: bytes, size: tuple[int, int]) -> None:
    """Damaged for a JPEG that cannot be whole, a Huffman code having one bit at least for each of
    its blocks of 8x8 pixels, and for one whose scans would take minutes."""
    pixels, scans = size[0] * size[1], data.count(b'\xff\xda')
    huffman = any(marker in (0xc0, 0xc1, 0xc2) for marker, _ in jpeg_segments(data))
    if huffman and pixels > 512 * len(data):
        raise Damaged(f'its pixels end early: {len(data):,} bytes cannot hold {pixels:,} pixels')
    if scans > SCANS and scans * pixels > MOST_WORK:
        raise Damaged(f'it has {scans} scans; a progressive JPEG has about 10')


def check_jpeg(image: ImageFile.ImageFile, data: bytes) -> None:
    """Damaged where a scan has less data than the image needs.

    libjpeg then sets what is left to 0, which is grey at the end of a sequential image. Only where
    the last pixel has this grey, and of a progressive image always, the file is decoded a second
    time with other data behind each scan: what is complete does not change."""
    progressive = image.info.get('progressive')
    if not progressive and not grey(image.getpixel((image.width - 1, image.height - 1))):
        return
    other = JpegImagePlugin.JpegImageFile(io.BytesIO(continued(data)))
    other.load()
    if image.tobytes() != other.tobytes():
        raise Damaged('its pixels end early: the rest would be grey')


def grey(pixel: float | tuple[int, ...] | None) -> bool:
    """Whether a pixel may be libjpeg's grey: its luma is 128, its colours are the neighbours'."""
    if not isinstance(pixel, tuple):
        return pixel == 128
    if len(pixel) != 3:
        return True
    return abs(0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2] - 128) < 2


def continued(data: bytes) -> bytes:
    """The file with further data, in all intervals between restarts, behind those of each scan."""
    parts, at = [], 0
    segments = list(jpeg_segments(data))
    at = len(data) - len(segments[-1][1]) if segments else len(data)
    parts.append(data[:at])
    while at + 4 <= len(data):
        length = int.from_bytes(data[at + 2:at + 4], 'big')
        if data[at + 1] != 0xda:            # a table between scans
            parts.append(data[at:at + 2 + length])
            at += 2 + length
            continue
        found = MARKER.search(data, at + 2 + length)
        end = found.start() if found else len(data)
        parts += [data[at:end], RESTARTS]
        at = end
        if data[end + 1:end + 2] == b'\xd9':
            break
    return b''.join([*parts, data[at:]])


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the canvas, which Pillow's reader takes memory for when it opens a file.
    Source: RFC 9649, sections 2.5 to 2.7."""
    kind, head = data[12:16], data[20:30]
    if len(head) < 10:
        raise Damaged('it ends in its header')
    if kind == b'VP8X':
        return (1 + int.from_bytes(head[4:7], 'little'), 1 + int.from_bytes(head[7:10], 'little'))
    if kind == b'VP8L':
        word = int.from_bytes(head[1:5], 'little')
        return 1 + (word & 0x3fff), 1 + (word >> 14 & 0x3fff)
    width, height = struct.unpack('<HH', head[6:10])
    return width & 0x3fff, height & 0x3fff
