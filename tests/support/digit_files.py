"""Data sets in the file formats of MNIST and CIFAR-10, and a reader of LMDBs of Datums; none of it
shares code with the package's converters."""

import struct
from pathlib import Path

import numpy as np
from packages import required
from PIL import Image

from fcn_repro.data.digits import MNIST_FILES, load_digits

lmdb = required('lmdb')


def idx(array):
    """An IDX file of unsigned bytes."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f'>{array.ndim}I', *array.shape) \
        + array.astype('u1').tobytes()


def write_idx(folder, size=28):
    """Write the bundled digits into a folder as MNIST's four files, train-… and t10k-…-ubyte, in
    size x size pixels (20 of them ink, as MNIST); returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in MNIST_FILES.items():
        images, labels = load_digits(split)
        room = 4 * size // 28
        big = np.zeros((len(images), size, size), np.uint8)
        for i, image in enumerate(images):
            big[i, room:size - room, room:size - room] = Image.fromarray(image).resize(
                (size - 2 * room,) * 2, Image.Resampling.BILINEAR)
        for name, array in zip(names, (big, labels), strict=True):
            (folder / name).write_bytes(idx(array))
    return folder


def write_cifar(folder, seed=0):
    """Write random pictures as CIFAR-10's six binary batches; returns {file name: (10000, 3073)}.
    """
    rng = np.random.default_rng(seed)
    batches = {}
    for name in (*(f'data_batch_{i}.bin' for i in range(1, 6)), 'test_batch.bin'):
        rows = np.repeat(rng.integers(0, 256, (100, 3073), 'u1'), 100, 0)
        rows[:, 0] = rng.integers(0, 10, len(rows))
        (Path(folder) / name).write_bytes(rows.tobytes())
        batches[name] = rows
    return batches


def records(path):
    """[(key, value)] of an LMDB."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


def fields(message):
    """{number: [values]} of a protobuf message: ints, floats of 4 bytes, or bytes."""
    found, at = {}, 0
    while at < len(message):
        key, at = varint(message, at)
        if key & 7 == 0:
            value, at = varint(message, at)
        elif key & 7 == 5:
            value, at = struct.unpack_from('<f', message, at)[0], at + 4
        else:
            assert key & 7 == 2
            length, at = varint(message, at)
            value, at = message[at:at + length], at + length
            assert len(value) == length
        found.setdefault(key >> 3, []).append(value)
    return found


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value - (1 << 64) * (value >> 63), at


def image_and_label(value):
    """((C, H, W) uint8, label) of a raw Datum."""
    datum = fields(value)
    channels, height, width = (datum[i][0] for i in (1, 2, 3))
    array = np.frombuffer(datum[4][0], np.uint8)
    return array.reshape(channels, height, width), datum.get(5, [0])[0]
