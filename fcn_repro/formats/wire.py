"""Read Caffe's binary files (protobuf) as views of a memory map, never as lists of numbers.

Only names, types and blobs are read; every other field is skipped by its length, so files of any
fork can be read: the numbers of those fields are the same in all of them. Field numbers:
src/caffe/proto/caffe.proto. Legacy and current `BlobProto`: Blob::FromProto and Blob::ShapeEquals
in src/caffe/blob.cpp.
"""

import math
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
from google.protobuf.message import DecodeError

from ..errors import FcnError
from ..files import open_regular, unreadable
from ..proto.dialects import Dialect
from ..proto.upgrade import V0_TO_V2
from ..sizes import AXES, check_shape
from ..sniff import recognise

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
NAME, LAYER, LAYERS, V0_LAYER = 1, 100, 2, 1    # NetParameter.name, .layer, .layers; V1's .layer
DATA, DOUBLE_DATA, SHAPE = 5, 8, 7            # BlobProto; 1 to 4 are num, channels, height, width
ITER, LEARNED_NET, HISTORY, STEP = 1, 2, 3, 4           # SolverState
PRIVATE = 51411     # of NetParameter and SolverState: this project's (50000 to 99999 are private)
FIELDS = 1 << 20                # more than any file of Caffe's has, runs of numbers counted as one
FilePath = str | os.PathLike
STATE_WANTED = ('Give a .solverstate or .solverstate.h5; weights alone start a new run, as '
                'those to finetune.')
JSON = 'JSON', 'The download failed: open it, and fetch the file itself.'


class Field(NamedTuple):
    """A field of a message: offsets of its tag and of its value; `value` of a varint only."""
    number: int
    kind: int
    tag: int
    start: int
    end: int
    value: int | None


class Ids(NamedTuple):
    """Field numbers of a layer's message."""
    name: int
    type: int
    blobs: int


V2, V1, V0 = Ids(1, 2, 7), Ids(4, 5, 6), Ids(1, 2, 50)


class BlobArray(NamedTuple):
    """legacy: the shape was given as num, channels, height, width."""
    array: np.ndarray
    legacy: bool


@dataclass(frozen=True)
class LayerBlobs:
    """A layer's name, its blobs and, where known, its Caffe type.

    blobs: arrays of a file, None for one that the file has under another layer; or tensors of a
    net. legacy: indices of the blobs whose shape is num, channels, height, width, padded with ones
    in front. number: that of a V1 layer's type, whose meaning depends on the dialect.
    """
    name: str
    blobs: list[Any]
    type: str = ''
    legacy: frozenset[int] = frozenset()
    number: int | None = None


def map_file(path: FilePath) -> mmap.mmap:
    """A read-only memory map of a whole file; FcnError when it cannot be opened or is empty."""
    do = 'Check the path and its permissions.'
    with open_regular(path, 'a binary file of Caffe', do) as file:
        if not os.fstat(file.fileno()).st_size:
            raise FcnError('the file is empty', file=path, do='Copy or download it again.')
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise unreadable(error, path, do) from error


def check_begin(path: FilePath, data: mmap.mmap) -> None:
    """Raise FcnError for a file whose first bytes are not those of one of Caffe's binaries."""
    head = data[:512]
    if begin := ({b'{': JSON}.get(head.lstrip()[:1]) or recognise(head)):
        raise FcnError(f'is {begin[0]}', file=path, do=begin[1] or 'Give a binary file of Caffe.')
    if all(32 <= byte < 127 or byte in b'\t\r\n' for byte in head):
        raise FcnError(f'is a text that begins {head[:40].decode()!r}, not a binary file',
                       file=path, do='Give the .caffemodel; pass a prototxt as the net.')


def read_caffemodel(path: FilePath) -> list[LayerBlobs]:
    """The layers of a caffemodel (V0, V1 or V2) in file order, with arrays that are views of it; a
    V1 layer has a number in the place of its type.

    FcnError names the byte where a file is damaged.
    """
    reader = Reader(path)
    new, old = [], []
    for field in reader.fields(0, reader.size):
        if (field.number, field.kind) == (LAYER, BYTES):
            new.append(reader.layer(field, V2))
        elif (field.number, field.kind) == (LAYERS, BYTES):
            old.append(reader.layer(field, V1))
    if new and old:
        raise FcnError(f"has {len(new)} 'layer' and {len(old)} 'layers' fields; Caffe refuses both "
                       'in one file', file=path, do='Write the model again in one format.')
    if not new and not old:
        raise FcnError('holds no layer, so it is not a caffemodel', file=path,
                       do='Give a .caffemodel or a .caffemodel.h5.')
    return new or old


def read_layer_params(path: FilePath, dialect: Dialect) -> dict[str, Any]:
    """{layer name: its LayerParameter without blobs} of a caffemodel of current (V2) layers, in a
    dialect; {} for an older one. FcnError for a damaged file and for another dialect's fields."""
    reader, found = Reader(path), {}
    for layer in reader.fields(0, reader.size):
        if (layer.number, layer.kind) != (LAYER, BYTES):
            continue
        parts = [reader.map[field.tag:field.end] for field in reader.fields(layer.start, layer.end)
                 if field.number != V2.blobs]
        try:
            param = dialect['LayerParameter'].FromString(b''.join(parts))
        except DecodeError:
            reader.fail(layer.tag, f"a layer is not one of the dialect '{dialect.name}'")
        found[param.name] = param
    return found


def read_state(path: FilePath) -> tuple[int, str, int, list[np.ndarray]]:
    """(iter, learned_net, current_step, [arrays]) of a binary solverstate; FcnError for another
    file, such as weights."""
    if kind_of_binary(path) == 'weights':           # whose field 2 is layers, no text
        raise FcnError('holds no iteration count, so it is not a solverstate', file=path,
                       code='no-state', do=STATE_WANTED)
    reader = Reader(path)
    iteration, learned_net, step = None, '', 0
    history: list[np.ndarray] = []
    for field in reader.fields(0, reader.size):
        key = (field.number, field.kind)
        if key == (ITER, VARINT):
            iteration = reader.number(field)
        elif key == (LEARNED_NET, BYTES):
            learned_net = reader.text(field)
        elif key == (HISTORY, BYTES):
            history.append(reader.blob(field).array)
        elif key == (STEP, VARINT):
            step = reader.number(field)
    if iteration is None:
        raise FcnError('holds no iteration count, so it is not a solverstate', file=path,
                       code='no-state', do=STATE_WANTED)
    return iteration, learned_net, step, history


def read_private(path: FilePath) -> bytes:
    """The bytes of a file's field PRIVATE, empty where it has none; FcnError where the file is no
    protobuf message, or one cut short."""
    reader, found = Reader(path), b''
    for field in reader.fields(0, reader.size):
        if (field.number, field.kind) == (PRIVATE, BYTES):
            found = reader.map[field.start:field.end]
    return found


def kind_of_binary(path: FilePath) -> str:
    """'weights', 'solverstate' or 'binaryproto', by the fields that a file begins with."""
    reader = Reader(path)
    seen: set[tuple[int, int]] = set()
    for field in reader.fields(0, reader.size):
        seen.add((field.number, field.kind))
        if (LAYER, BYTES) in seen or (1, BYTES) in seen:
            return 'weights'
        if (1, VARINT) in seen and seen & {(2, BYTES), (3, BYTES)}:
            return 'solverstate'
        if seen & {(DATA, BYTES), (DATA, FIXED32), (DOUBLE_DATA, BYTES), (DOUBLE_DATA, FIXED64)}:
            return 'binaryproto'
    return 'solverstate' if (1, VARINT) in seen else 'weights'


def read_binaryproto(path: FilePath) -> np.ndarray:
    """The array of a file that is one BlobProto, such as a mean image (N,C,H,W or C,H,W)."""
    reader = Reader(path)
    return reader.blob(Field(0, BYTES, 0, 0, reader.size, None)).array


class Reader:
    """A walk through one file's fields; every error names the file and the byte at fault."""

    def __init__(self, path: FilePath):
        self.path, self.map = path, map_file(path)
        self.size, self.left = len(self.map), FIELDS
        check_begin(path, self.map)

    def fail(self, offset: int, what: str) -> NoReturn:
        raise FcnError(f'byte {offset}: {what}', file=self.path,
                       do='The file is cut short, damaged or of another kind: compare its '
                          f'{self.size} bytes with the original and copy it again.')

    def varint(self, pos: int, end: int) -> tuple[int, int]:
        """(value, next position); values are signed 64-bit, as int32 and int64 fields are."""
        value, start = 0, pos
        for shift in range(0, 70, 7):
            if pos >= end:
                self.fail(start, 'a number runs past the end')
            byte = self.map[pos]
            value |= (byte & 0x7f) << shift
            pos += 1
            if byte < 0x80:
                value &= (1 << 64) - 1
                return (value - (1 << 64) if value >> 63 else value), pos
        self.fail(start, 'a number is longer than 10 bytes')

    def field(self, tag: int, end: int) -> Field:
        """The field whose tag is at offset `tag` inside a message that ends at `end`."""
        self.left -= 1
        if self.left < 0:
            self.fail(tag, f'more than {FIELDS:,} fields')
        key, start = self.varint(tag, end)
        number, kind, value = key >> 3, key & 7, None
        if number < 1 or kind not in (VARINT, FIXED64, BYTES, FIXED32):
            self.fail(tag, f'no protobuf field starts here (number {number}, wire type {kind})')
        if kind == VARINT:
            value, stop = self.varint(start, end)
        elif kind == BYTES:
            length, start = self.varint(start, end)
            stop = start + length
        else:
            stop = start + (8 if kind == FIXED64 else 4)
        if not start <= stop <= end:
            self.fail(tag, f'field {number} needs {stop - start} bytes, {end - start} are left')
        return Field(number, kind, tag, start, stop, value)

    def fields(self, pos: int, end: int) -> Iterator[Field]:
        """The fields between two offsets, in order."""
        while pos < end:
            field = self.field(pos, end)
            yield field
            pos = field.end

    def number(self, field: Field) -> int:
        """The value of a varint."""
        return self.varint(field.start, field.end)[0]

    def text(self, field: Field) -> str:
        try:
            return self.map[field.start:field.end].decode()
        except UnicodeDecodeError:
            self.fail(field.start, f'the text of field {field.number} is not UTF-8')

    def layer(self, message: Field, ids: Ids) -> LayerBlobs:
        """A LayerParameter, V1LayerParameter or V0LayerParameter, told apart by its field ids."""
        name, type, number, blobs = '', '', None, []
        for field in self.fields(message.start, message.end):
            if ids is V1 and (field.number, field.kind) == (V0_LAYER, BYTES):
                return self.layer(field, V0)
            if field.number == ids.name and field.kind == BYTES:
                name = self.text(field)
            elif field.number == ids.type:
                type, number = self.type(field, ids)
            elif field.number == ids.blobs and field.kind == BYTES:
                blobs.append(self.blob(field))
        return LayerBlobs(name, [blob.array for blob in blobs], type,
                          frozenset(i for i, blob in enumerate(blobs) if blob.legacy), number)

    def type(self, field: Field, ids: Ids) -> tuple[str, int | None]:
        """(the current name of a layer's type, None), or ('', V1's number of it)."""
        if field.kind == VARINT:
            return '', self.number(field)
        text = self.text(field) if field.kind == BYTES else ''
        return V0_TO_V2.get(text, text) if ids is V0 else text, None

    def blob(self, message: Field) -> BlobArray:
        """A BlobProto: data as a view (float32, or float64 for double_data) in its own shape."""
        dims: list[int] = []
        legacy: dict[int, int] = {}
        pieces: dict[int, list[np.ndarray]] = {DATA: [], DOUBLE_DATA: []}
        pos = message.start
        while pos < message.end:
            field = self.field(pos, message.end)
            pos = field.end
            if field.number in pieces:
                numbers, pos = self.numbers(field, message.end)
                pieces[field.number].append(numbers)
            elif 1 <= field.number <= 4 and field.kind == VARINT:
                legacy[field.number] = self.number(field)
            elif field.number == SHAPE and field.kind == BYTES:
                dims += self.dims(field)
        shape = [legacy.get(i, 0) for i in (1, 2, 3, 4)] if legacy else dims
        found = [p for p in pieces[DOUBLE_DATA] or pieces[DATA] if p.size]
        flat = np.concatenate(found) if len(found) > 1 else found[0] if found else np.empty(0, 'f4')
        try:
            check_shape(shape)
        except FcnError as error:
            self.fail(message.start, error.what)
        if math.prod(shape) != flat.size:
            self.fail(message.start, f'a blob of shape {tuple(shape)} holds {flat.size} numbers')
        return BlobArray(flat.reshape(shape), bool(legacy))

    def dims(self, message: Field) -> list[int]:
        """A BlobShape: repeated int64, packed or not."""
        dims: list[int] = []
        for field in self.fields(message.start, message.end):
            if field.number == 1 and field.kind == VARINT:
                dims.append(self.number(field))
            elif field.number == 1 and field.kind == BYTES:
                pos = field.start
                while pos < field.end:
                    value, pos = self.varint(pos, field.end)
                    dims.append(value)
                    if len(dims) > AXES:
                        self.fail(field.start, f'a blob with more than {AXES} axes')
        return dims

    def numbers(self, field: Field, end: int) -> tuple[np.ndarray, int]:
        """(view, next position): one packed field, or the run of unpacked ones that starts here."""
        dtype = np.dtype('<f4' if field.number == DATA else '<f8')
        if field.kind == BYTES:
            count, rest = divmod(field.end - field.start, dtype.itemsize)
            if rest:
                self.fail(field.start, f'{field.end - field.start} bytes are no whole number of '
                                       f'{dtype.itemsize}-byte values')
            view = np.ndarray((count,), dtype, self.map, field.start)
            return view, field.end
        if field.end - field.start != dtype.itemsize or field.kind == VARINT:
            self.fail(field.tag, f'field {field.number} of a blob has wire type {field.kind}')
        step, count = field.end - field.tag, 1
        if field.start - field.tag == 1:       # a one-byte tag before each value
            tags = np.ndarray(((end - field.tag) // step,), 'u1', self.map, field.tag, (step,))
            count = run_length(tags)
        view = np.ndarray((count,), dtype, self.map, field.start, (step,))
        return view, field.tag + count * step


def run_length(values: np.ndarray) -> int:
    """The number of leading values that are equal; reads little beyond the run."""
    start, step = 0, 64
    while start < len(values):
        other = values[start:start + step] != values[0]
        if other.any():
            return start + int(other.argmax())
        start, step = start + step, step * 2
    return len(values)
