"""Caffe's converters: an image list, MNIST or CIFAR-10 to a database, a database to its mean image
(tools/convert_imageset.cpp, tools/compute_image_mean.cpp and the converters of examples/ in Caffe).

Every one writes whole files or none: a database takes its name when it is complete.
"""

import io
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .. import glog
from ..data.decoding import NAMES as FORMATS
from ..data.digits import read_idx
from ..data.listed import is_number, load_image, read_list
from ..errors import FcnError
from ..files import read_regular
from ..proto import BlobProto
from . import datum
from .caffemodel import field_head, write_parts
from .database import Writer, is_leveldb, leveldb, open_database
from .wire import DATA

log = logging.getLogger(__name__)

FilePath = str | os.PathLike
LABELS = range(-2 ** 31, 2 ** 31)       # Datum.label is an int32
CIFAR = 3, 32, 32
CIFAR_BATCH = 10000                     # images in a file


def check_backend(name: str, path: FilePath) -> None:
    """FcnError for a database type other than lmdb; path: of the database, written or read."""
    if name.lower() == 'leveldb':
        if is_leveldb(Path(path)):
            raise leveldb(path)
        raise FcnError('LevelDBs are neither written nor read here', file=str(path),
                       do='Use lmdb; a Data layer reads it with backend: LMDB.')
    if name.lower() != 'lmdb':
        raise FcnError(f"unknown backend '{name}'", do='Use lmdb.')


# ---- convert_imageset ------------------------------------------------------------------------


def convert_imageset(root: str, listing: FilePath, database: FilePath, gray: bool = False,
                     shuffle: bool = False, size: tuple[int, int] = (0, 0),
                     check_size: bool = False, encoded: bool = False,
                     encode_type: str = '') -> tuple[int, int]:
    """Write the images of a list, 'name label' per line, to a new database; returns how many were
    stored and how many could not be read.

    The key of line i is i in 8 digits, '_' and the name; the value a Datum, BGR, or grey of one
    channel. root is put before a name as text, as in Caffe, so a folder ends in '/'. size: (H, W)
    to resize to, if both are above 0. encoded: store compressed images, as encode_type ('jpg',
    'png', …), by default each file's own extension; the file's bytes as they are unless it is
    resized or of another type. check_size: FcnError for an image of another number of values than
    the first, decoded.
    shuffle: in an order that is the same each time (torch.randperm of seed 0; Caffe's is another
    in every run).

    An image that cannot be read is logged and left out, as in Caffe; FcnError where none is left.
    """
    lines = images_to_store(listing, shuffle)
    log.info('A total of %d images.', len(lines), extra=glog.at('convert_imageset.cpp', 89))
    if encode_type and not encoded:
        log.info('encode_type specified, assuming encoded=true.',
                 extra=glog.at('convert_imageset.cpp', 92))
    kind = check_type(encode_type) if encode_type else ''
    resize = size if min(size) > 0 else None
    if resize is None and any(size):
        log.warning('Images are resized to a height and a width together: %d x %d changes nothing.',
                    *size, extra=glog.at('io.cpp', 85))
    done = first = 0
    with Writer(database) as writer:
        for i, (name, label) in enumerate(lines):
            record = image_record(root + name, label, not gray, resize,
                                  kind or (guess_type(name) if encoded else ''))
            if record is None:
                continue
            value, length = record
            first = first or length
            if check_size and length != first:
                raise FcnError(f'the image has {length} values, the first one {first}',
                               file=root + name, do='Resize the images, or leave it out.')
            writer.put(f'{i:08d}_{name}'.encode(), value)
            done += 1
            if done % 1000 == 0:
                report(done, 'convert_imageset.cpp', 147)
        if not done:
            raise FcnError(f'none of the {len(lines)} images can be read', file=listing,
                           do=why_unreadable(root, lines[0][0]))
    if done % 1000:
        report(done, 'convert_imageset.cpp', 153)
    if done < len(lines):
        log.warning('%d of %d images could not be read and are left out.', len(lines) - done,
                    len(lines), extra=glog.at('convert_imageset.cpp', 153))
    return done, len(lines) - done


def images_to_store(listing: FilePath, shuffle: bool) -> list[tuple[str, int]]:
    """[(name, label), …] of a list in the order of storing; FcnError for a label that no Datum
    can hold."""
    lines = read_list(Path(listing))
    for number, (name, label) in enumerate(lines, 1):
        if label not in LABELS:
            raise FcnError(f"the label {label} of '{name}' is no 32-bit number", file=listing,
                           line=number, do='Correct it.')
    if shuffle:
        log.info('Shuffling data', extra=glog.at('convert_imageset.cpp', 86))
        order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
        lines = [lines[i] for i in order.tolist()]
    return lines


def why_unreadable(root: str, name: str) -> str:
    """The remedy where no image of a list can be read; name: its first."""
    if os.path.isfile(Path(root, name)):
        return f"Write '{root}/': it is put before the names as it is."
    if is_number(name.rpartition(' ')[2]) and os.path.isfile(Path(root + name.rpartition(' ')[0])):
        return f"Write one label after each image ('{name}' is taken as a name); several labels " \
               'are rows of an HDF5Data layer.'
    return f"Names are taken as '{root}' and the list's text: check both."


def report(count: int, file: str, line: int) -> None:
    log.info('Processed %d files.', count, extra=glog.at(file, line))


def image_record(path: str, label: int, color: bool, size: tuple[int, int] | None,
                 kind: str) -> tuple[bytes, int] | None:
    """(Datum, number of values in it) of an image file (ReadImageToDatum in util/io.cpp); None for
    one that cannot be read, which is logged. kind: the type to encode as, '' for raw."""
    try:
        image = load_image(path, color, size)
    except FcnError as error:
        log.error('Could not open or find file %s (%s)', path, error.what,
                  extra=glog.at('io.cpp', 82))
        return None
    if not kind:
        return datum.encode(image, label), image.size
    if size is None and extension(path) in (kind, *(['jpeg'] if kind == 'jpg' else [])):
        data = read_regular(path, 'an image')
    else:
        data = compress(image, kind)
    return datum.encode_file(data, label), image.size


def extension(name: str) -> str:
    """What follows the last dot of a file's name, in lower case; '' where there is no dot."""
    _, dot, found = os.path.basename(name).rpartition('.')
    return found.lower() if dot else ''


def guess_type(name: str) -> str:
    """The image type that a name says; FcnError for a name without extension."""
    if not extension(name):
        raise FcnError(f"the name '{name}' has no extension that says how to encode it",
                       do="Give the encode_type: 'jpg' or 'png'.")
    return extension(name)


def check_type(kind: str) -> str:
    """An image type in lower case; FcnError for one that cannot be written."""
    kind = kind.lower().removeprefix('.')
    if Image.registered_extensions().get(f'.{kind}') not in FORMATS:
        raise FcnError(f"images cannot be encoded as '{kind}'", do="Use 'jpg' or 'png'.")
    return kind


def compress(image: np.ndarray, kind: str) -> bytes:
    """A BGR or grey image (C,H,W) as the bytes of a file; JPEG at OpenCV's quality, 95."""
    pixels = image[0] if len(image) == 1 else image[::-1].transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        file, Image.EXTENSION[f'.{check_type(kind)}'], quality=95)
    return file.getvalue()


# ---- MNIST and CIFAR-10 ----------------------------------------------------------------------


def convert_mnist(images: FilePath, labels: FilePath, database: FilePath) -> int:
    """Write MNIST's images and labels, IDX files (plain, or .gz, which Caffe does not read), to a
    new database; returns how many. Keys are 8 digits. FcnError for damaged files, and for an image
    and a label file of different lengths."""
    pixels, classes = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(classes):
        raise FcnError(f'{len(pixels)} images but {len(classes)} labels', file=str(labels),
                       do='Take the image and the label file of the same release.')
    where = 'convert_mnist_data.cpp'
    log.info('A total of %d items.', len(pixels), extra=glog.at(where, 88))
    log.info('Rows: %d Cols: %d', *pixels.shape[1:], extra=glog.at(where, 89))
    with Writer(database) as writer:
        for i, (image, label) in enumerate(zip(pixels, classes, strict=True)):
            writer.put(f'{i:08d}'.encode(), datum.encode(image[None], int(np.int8(label))))
    report(len(pixels), where, 108)
    return len(pixels)


def convert_cifar(folder: FilePath, output: FilePath) -> tuple[Path, Path]:
    """Write CIFAR-10's binary batches, data_batch_1.bin … 5 and test_batch.bin of a folder, to two
    new databases in another, cifar10_train_lmdb and cifar10_test_lmdb; returns their paths. Keys
    are 5 digits. FcnError for a file that is missing or of another size; then none is written."""
    names = [f'data_batch_{i}.bin' for i in range(1, 6)], ['test_batch.bin']
    paths = Path(output, 'cifar10_train_lmdb'), Path(output, 'cifar10_test_lmdb')
    batches = [[read_cifar(Path(folder, name)) for name in group] for group in names]
    where = 'convert_cifar_data.cpp'
    with ExitStack() as stack:
        train, test = (stack.enter_context(Writer(path)) for path in paths)
        log.info('Writing Training data', extra=glog.at(where, 52))
        for i, batch in enumerate(batches[0]):
            log.info('Training Batch %d', i + 1, extra=glog.at(where, 55))
            put_cifar(train, batch, i * CIFAR_BATCH)
        log.info('Writing Testing data', extra=glog.at(where, 73))
        put_cifar(test, batches[1][0], 0)
    return paths


def read_cifar(path: Path) -> np.ndarray:
    """One batch (10000, 3073) uint8: label, then 3 x 32 x 32 RGB values."""
    data = read_regular(path, 'a batch of CIFAR-10', do="Unpack CIFAR-10's binary version there.")
    length = 1 + int(np.prod(CIFAR))
    if len(data) != CIFAR_BATCH * length:
        raise FcnError(f'the file has {len(data)} bytes, not {CIFAR_BATCH * length}',
                       file=str(path), do="Copy it again, from CIFAR-10's binary version.")
    return np.frombuffer(data, np.uint8).reshape(CIFAR_BATCH, length)


def put_cifar(writer: Writer, batch: np.ndarray, first: int) -> None:
    """Store a batch; its channels stay in the file's order, R G B."""
    for i, row in enumerate(batch, first):
        writer.put(f'{i:05d}'.encode(),
                   datum.encode(row[1:].reshape(CIFAR), int(np.int8(row[0]))))


# ---- compute_image_mean ----------------------------------------------------------------------


def mean_image(database: FilePath, output: FilePath | None = None) -> np.ndarray:
    """The mean (C,H,W) float32 of the records of a database, which is also written to a binaryproto
    file where one is named. Summed record by record in float32, as Caffe does: to the same bits,
    also where that rounds. Encoded records are decoded. FcnError for records of different shapes.
    """
    where = 'compute_image_mean.cpp'
    reader = open_database(database)
    total = np.zeros(0, np.float32)
    for count, (key, value) in enumerate(reader.records(0, len(reader))):
        with datum_of(database, key):
            image, _ = datum.decode(value)
        if not count:
            total = np.zeros(image.shape, np.float32)
            log.info('Starting iteration', extra=glog.at(where, 70))
        if image.shape != total.shape:
            raise FcnError(f'record {key.decode(errors="replace")!r} has the shape '
                           f'{image.shape}, the first one {total.shape}', file=str(database),
                           do='Convert the images again, resized to one size.')
        total += image
        if (count + 1) % 10000 == 0:
            report(count + 1, where, 95)
    if len(reader) % 10000:
        report(len(reader), where, 101)
    mean = total / np.float32(len(reader))
    if output is not None:
        log.info('Write to %s', output, extra=glog.at(where, 108))
        write_mean(mean, output)
    log.info('Number of channels: %d', len(mean), extra=glog.at(where, 114))
    for c, channel in enumerate(channel_means(mean)):
        log.info('mean_value channel [%d]: %.6g', c, channel, extra=glog.at(where, 119))
    return mean


@contextmanager
def datum_of(database: FilePath, key: bytes) -> Iterator[None]:
    """Give an FcnError about a record its database and key."""
    try:
        yield
    except FcnError as error:
        raise FcnError(f'record {key.decode(errors="replace")!r}: {error.what}', do=error.do,
                       file=str(database), code=error.code, facts=error.facts) from None


def channel_means(mean: np.ndarray) -> Sequence[np.float32]:
    """The mean of each channel, summed in float32 one value after another, as Caffe does."""
    flat = mean.reshape(len(mean), -1)
    return [np.add.accumulate(row)[-1] / np.float32(row.size) for row in flat]


def write_mean(mean: np.ndarray, path: FilePath) -> None:
    """Write a mean image (C,H,W) as a BlobProto of (1,C,H,W), in the old fields for its shape."""
    channels, height, width = mean.shape
    head = BlobProto(num=1, channels=channels, height=height, width=width)
    data = np.ascontiguousarray(mean, '<f4').reshape(-1)
    write_parts(path, [head.SerializeToString(), field_head(DATA, data.nbytes), data])
