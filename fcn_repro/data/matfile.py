"""MATLAB's MAT-files of level 5 (save -v6 and -v7): labels and names of data sets.

After "MAT-File Format" (The MathWorks, 2018). Everything that a file claims is compared with the
bytes that there are before memory is taken, so that a damaged file is an FcnError. Read are
numeric, logical and char arrays, cells and structs, of either byte order, stored in any of MATLAB's
smaller types and compressed or not. Not read, and refused by name where a value of theirs is asked
for: sparse matrices, objects, functions; files of level 4, and of 7.3, which are HDF5.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fcn_repro.errors import FcnError
from fcn_repro.files import read_regular

MOST_BYTES = 2 ** 29        # of a file, and of it decompressed: eight bytes for each of 2^26 pixels
MOST_ARRAYS = 2 ** 20       # in a file, those in cells and structs included
MOST_FIELDS = 2 ** 12       # of a struct
MOST_VALUES = 2 ** 40       # that sizes other than 0 may multiply to
DEEPEST = 32                # cells and structs in one another

# MATLAB's data types, and the letters of numpy for them
MATRIX, COMPRESSED, UTF8, UTF16, UTF32 = 14, 15, 16, 17, 18
TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8',
         UTF8: 'u1', UTF16: 'u2', UTF32: 'u4'}

# MATLAB's classes of arrays
CELL, STRUCT, CHAR = 1, 2, 4
NUMERIC = {6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2', 12: 'i4', 13: 'u4', 14: 'i8',
           15: 'u8'}
NOT_READ = {3: 'an object', 5: 'a sparse matrix', 16: 'a function', 17: 'an opaque object',
            18: 'an object'}
COMPLEX, LOGICAL = 0x800, 0x200     # flags of an array


class NoVariable(FcnError):
    """A file without the variable or field that is asked for."""


class Header(NamedTuple):
    """What comes before the values of an array. cls: its class; fields: of a struct; rest: the
    bytes behind the header."""

    cls: int
    flags: int
    shape: tuple[int, ...]
    name: str
    fields: tuple[str, ...]
    rest: memoryview


def read(path: str | os.PathLike[str], *names: str, most: int = MOST_BYTES) -> Any:
    """A variable of a MAT-file; further names: the field of it, if it is a struct of one element,
    and so on. Without names {variable: value} of them all.

    A numeric array is an array of its class and shape, logical ones are bool; text is a str (an
    array of one row) or a list of str, its rows; a cell is an array of objects; a struct of one
    element is a dict, another one an array of dicts. Only what is asked for is decoded.

    most: bytes that the file may have, stored and decompressed. FcnError for a file that cannot be
    read, is damaged or too large, and for what is not read (see above); NoVariable where the file
    does not hold what is named.
    """
    data = read_regular(path, 'a MAT-file', most)
    try:
        return File(data, most).get(names)
    except FcnError as error:
        raise error.at(file=path) from None


class File:
    """The bytes of a MAT-file; counts what is taken from it."""

    def __init__(self, data: bytes, most: int):
        check_kind(data)
        self.data, self.most = memoryview(data), most
        self.order = '<' if data[126:128] == b'IM' else '>'
        self.inflated = self.arrays = 0

    def get(self, names: tuple[str, ...]) -> Any:
        """The value under these names, or {variable: value}."""
        found: dict[str, Any] = {}
        for kind, payload in self.elements(self.data[128:]):
            if kind == COMPRESSED:
                kind, payload = self.inflate(payload)
            head = self.matrix(kind, payload, 'the file')
            if not names:
                found[head.name] = self.value(head, head.name, 0)
            elif head.name == names[0]:
                return self.field(head, names, 1)
            else:
                found[head.name] = None
        if names:
            raise missing(names[0], 'it', found)
        return found

    def field(self, head: Header, names: tuple[str, ...], depth: int) -> Any:
        """The value at names[depth:] in the array that names[:depth] lead to."""
        what = '.'.join(names[:depth])
        if len(names) == depth:
            return self.value(head, what, depth)
        if head.cls != STRUCT or math.prod(head.shape) != 1 or names[depth] not in head.fields:
            raise missing('.'.join(names), what, head.fields)
        self.check_count(head, what)
        for name, (kind, payload) in zip(head.fields, self.elements(head.rest), strict=False):
            if name == names[depth]:
                return self.field(self.matrix(kind, payload, what), names, depth + 1)
        raise damaged(f"'{what}' ends before its field {names[depth]}")

    # Elements: a tag of 8 bytes and a payload; a small one has up to 4 bytes inside its tag

    def elements(self, view: memoryview) -> Iterator[tuple[int, memoryview]]:
        """(type, payload) one after the other up to the end."""
        while len(view):
            kind, payload, view = self.element(view)
            yield kind, payload

    def element(self, view: memoryview) -> tuple[int, memoryview, memoryview]:
        """(type, payload, the bytes behind) of the first element."""
        if len(view) < 8:
            raise damaged(f'{len(view)} bytes where an element of at least 8 begins')
        kind, size = struct.unpack_from(self.order + 'II', view)
        if kind >> 16:
            kind, size, start = kind & 0xffff, kind >> 16, 4
            end = 8
            if size > 4:
                raise damaged(f'a small element of {size} bytes; it has at most 4')
        else:
            start = 8
            end = start + size + (-size % 8 if kind != COMPRESSED else 0)
        if start + size > len(view):
            raise damaged(f'an element claims {size:,} bytes where {len(view) - start:,} are left')
        return kind, view[start:start + size], view[end:]

    def inflate(self, payload: memoryview) -> tuple[int, memoryview]:
        """The element inside a compressed one. No more is decompressed than it says, nor than
        `most` of the whole file."""
        engine = zlib.decompressobj()
        try:
            tag = engine.decompress(payload, 8)
            if len(tag) < 8:
                raise damaged('a compressed element ends inside its tag')
            kind, size = struct.unpack(self.order + 'II', tag)
            self.inflated += size
            if self.inflated > self.most:
                raise FcnError(f'the file holds {self.inflated:,} bytes decompressed, more than '
                               f'the {self.most:,} that are read',
                               do='Give a larger `most` if the file is meant to be so large.')
            body = engine.decompress(engine.unconsumed_tail, size) if size else b''
            if len(body) < size:
                raise damaged(f'a compressed element ends after {len(body):,} of {size:,} bytes')
            if not engine.eof:              # its check sum
                engine.decompress(engine.unconsumed_tail, 1)
        except zlib.error as error:
            raise damaged(f'a compressed element: {error}') from None
        return kind, memoryview(body)

    # Arrays

    def matrix(self, kind: int, payload: memoryview, what: str) -> Header:
        """The header of an element that is an array; what: what it is in. One without any bytes
        is an empty array."""
        self.arrays += 1
        if self.arrays > MOST_ARRAYS:
            raise FcnError(f'the file holds more than {MOST_ARRAYS:,} arrays',
                           do='Save what is needed of it in a smaller file.')
        if kind != MATRIX:
            raise damaged(f'type {kind} where an array of {what} begins')
        if not len(payload):
            return Header(6, 0, (0, 0), '', (), payload)
        return self.header(payload)

    def header(self, view: memoryview) -> Header:
        """Read flags, shape, name and, of a struct, the names of its fields."""
        kind, payload, view = self.element(view)
        if TYPES.get(kind) != 'u4' or len(payload) != 8:
            raise damaged('an array does not begin with its flags')
        word = struct.unpack_from(self.order + 'I', payload)[0]
        cls, flags = word & 0xff, word & 0xff00
        if cls == 17:                       # has no shape
            return Header(cls, flags, (1, 1), self.text(view)[0], (), view[:0])
        kind, payload, view = self.element(view)
        if TYPES.get(kind) != 'i4' or not 8 <= len(payload) <= 128 or len(payload) % 4:
            raise damaged('an array has no shape behind its flags')
        shape = struct.unpack(f'{self.order}{len(payload) // 4}i', payload)
        if min(shape) < 0:
            raise damaged(f'an array has a negative size: {list(shape)}')
        if math.prod(d or 1 for d in shape) > MOST_VALUES:
            raise damaged(f'an array has the shape {shown(shape)}')
        name, view = self.text(view)
        fields: tuple[str, ...] = ()
        if cls == STRUCT:
            fields, view = self.field_names(view)
        return Header(cls, flags, shape, name, fields, view)

    def text(self, view: memoryview) -> tuple[str, memoryview]:
        """A name, and the bytes behind it."""
        kind, payload, view = self.element(view)
        if TYPES.get(kind) not in ('i1', 'u1'):
            raise damaged(f'type {kind} where a name begins')
        return bytes(payload).decode('utf-8', 'replace'), view

    def field_names(self, view: memoryview) -> tuple[tuple[str, ...], memoryview]:
        """The names of a struct's fields, each in so many bytes."""
        kind, payload, view = self.element(view)
        if TYPES.get(kind) != 'i4' or len(payload) != 4:
            raise damaged('a struct does not say how long the names of its fields are')
        length = struct.unpack(self.order + 'i', payload)[0]
        kind, payload, view = self.element(view)
        if TYPES.get(kind) not in ('i1', 'u1') or (len(payload) and length < 1):
            raise damaged('a struct has no names of fields')
        raw = bytes(payload)
        if len(raw) > MOST_FIELDS * length:
            raise damaged(f'a struct claims {len(raw) // length:,} fields')
        return tuple(raw[i:i + length].split(b'\0')[0].decode('utf-8', 'replace')
                     for i in range(0, len(raw) - length + 1, length or 1)), view

    def value(self, head: Header, what: str, depth: int) -> Any:
        """Decode an array; what: its name in messages."""
        if depth > DEEPEST:
            raise damaged(f'arrays are more than {DEEPEST} deep in one another')
        if head.cls in NUMERIC:
            return self.numbers(head, what)
        if head.cls == CHAR:
            return self.characters(head, what)
        if head.cls in (CELL, STRUCT):
            return self.container(head, what, depth)
        if head.cls in NOT_READ:
            raise FcnError(f"'{what}' is {NOT_READ[head.cls]}, which is not read here",
                           do='Save it as an array of numbers: in MATLAB full(x).'
                           if head.cls == 5 else 'Save its values as arrays of numbers.')
        raise damaged(f"'{what}' is of class {head.cls}; there are 1 to 18")

    def numbers(self, head: Header, what: str) -> np.ndarray:
        real, rest = self.part(head, head.rest, what)
        if head.flags & COMPLEX:
            imaginary, _ = self.part(head, rest, what)
            return real + 1j * imaginary
        return real.astype(bool) if head.flags & LOGICAL else real

    def part(self, head: Header, view: memoryview, what: str) -> tuple[np.ndarray, memoryview]:
        """The real or the imaginary part of an array, and the bytes behind it."""
        stored, rest = self.stored(view, what)
        count = math.prod(head.shape)
        if len(stored) != count:
            raise damaged(f"'{what}' of shape {shown(head.shape)} has {len(stored):,} values "
                          f'instead of {count:,}')
        with np.errstate(invalid='ignore'):         # a NaN or a large number of a smaller class
            values = stored.astype(NUMERIC[head.cls])
        return values.reshape(head.shape, order='F'), rest

    def stored(self, view: memoryview, what: str) -> tuple[np.ndarray, memoryview]:
        """The numbers of an element in the type that they are stored in, and the bytes behind."""
        kind, payload, rest = self.element(view)
        if kind not in TYPES:
            raise damaged(f"type {kind} where the values of '{what}' begin")
        dtype = np.dtype(self.order + TYPES[kind])
        if len(payload) % dtype.itemsize:
            raise damaged(f"'{what}' has {len(payload):,} bytes of {dtype.itemsize}-byte values")
        return np.frombuffer(payload, dtype), rest

    def characters(self, head: Header, what: str) -> str | list[str]:
        """The text of a char array of at most two axes: its rows."""
        kind, payload, _ = self.element(head.rest)
        if kind in (UTF8, UTF16, UTF32):
            order = 'le' if self.order == '<' else 'be'
            code = {UTF8: 'utf-8', UTF16: f'utf-16-{order}', UTF32: f'utf-32-{order}'}[kind]
            try:
                text = bytes(payload).decode(code)
            except UnicodeDecodeError as error:
                raise damaged(f"the text '{what}' is no {code}: {error.reason}") from None
        else:
            text = decoded(self.stored(head.rest, what)[0], what)
        count = math.prod(head.shape)
        rows = head.shape[0]
        if len(head.shape) != 2 or (rows != 1 and len(text) != count):
            raise damaged(f"the text '{what}' of shape {shown(head.shape)} has {len(text):,} "
                          'characters')
        return text if rows == 1 or not count else [text[i::rows] for i in range(rows)]

    def container(self, head: Header, what: str, depth: int) -> Any:
        """The elements of a cell or struct array, each an array."""
        count = self.check_count(head, what)
        found, view = np.empty(count, object), head.rest
        for i in range(count):
            values = []
            for name in head.fields or ('',) * (head.cls == CELL):
                kind, payload, view = self.element(view)
                inner = f'{what}.{name}' if name else f'{what}{{{i + 1}}}'
                values.append(self.value(self.matrix(kind, payload, inner), inner, depth + 1))
            found[i] = dict(zip(head.fields, values, strict=True)) if head.cls == STRUCT else \
                values[0]
        if head.cls == STRUCT and count == 1:
            return found[0]
        return found.reshape(head.shape, order='F')

    def check_count(self, head: Header, what: str) -> int:
        """The number of elements of a cell or struct; FcnError where their tags alone need more
        bytes than there are."""
        count = math.prod(head.shape)
        inside = count * (1 if head.cls == CELL else max(len(head.fields), int(count > 1)))
        if 8 * inside > len(head.rest):
            raise damaged(f"'{what}' of shape {shown(head.shape)} claims {inside:,} arrays in "
                          f'{len(head.rest):,} bytes')
        return count


def check_kind(data: bytes) -> None:
    """FcnError for what is no MAT-file of level 5, by its first bytes."""
    do = 'Save it in MATLAB with -v7 or -v6.'
    if data[:4] == b'\x89HDF' or data[:10] == b'MATLAB 7.3' or data[512:516] == b'\x89HDF':
        raise FcnError('is a MAT-file of version 7.3, HDF5; level 5 is read', do=do)
    if len(data) < 128 or data[124:128] not in (b'\0\1IM', b'\1\0MI'):
        if is_level_4(data):
            raise FcnError('is a MAT-file of level 4; level 5 is read', do=do)
        raise FcnError('is no MAT-file of level 5', do='Check the path, or copy it again.')


def is_level_4(data: bytes) -> bool:
    """Whether a file begins as those of level 4: with a type below 5000, rows, columns, whether
    it is complex and the length of its name."""
    for order in '<>' if len(data) >= 20 else '':
        kind, _, _, is_complex, length = struct.unpack_from(order + '5I', data)
        if kind < 5000 and is_complex < 2 and 1 < length <= 64:
            return True
    return False


def decoded(numbers: np.ndarray, what: str) -> str:
    """The text of character codes."""
    try:
        with np.errstate(invalid='ignore'):
            return numbers.astype('<u2').tobytes().decode('utf-16-le')
    except UnicodeDecodeError as error:
        raise damaged(f"the text '{what}' is no UTF-16: {error.reason}") from None


def missing(name: str, holder: str, there: Iterable[str]) -> FcnError:
    return NoVariable(f'has no {name}; {holder} holds {", ".join(there) or "nothing"}',
                      do='Check the names.')


def damaged(what: str) -> FcnError:
    return FcnError(f'is damaged: {what}', do='Copy it again.')


def shown(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape))
