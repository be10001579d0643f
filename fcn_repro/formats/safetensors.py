"""Read safetensors: a header of JSON after its length (8 bytes, little endian), then the values.

The header says of each tensor its type, shape, and where its values begin and end; it may hold a
text of metadata. Nothing in such a file is run. What the format forbids, gaps and overlaps, does
not matter to who reads, and is not checked.
"""

import json
import math
import struct
from os import PathLike
from typing import Any

import torch

from ..errors import FcnError, short
from ..files import open_regular

TYPES = {'F64': torch.float64, 'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16,
         'I64': torch.int64, 'I32': torch.int32, 'I16': torch.int16, 'I8': torch.int8,
         'U8': torch.uint8, 'BOOL': torch.bool}
MOST_HEADER = 100_000_000       # bytes, the format's own limit
MOST_AXES = 16
LONGEST_NAME = 200              # characters of a name that a message shows
DO = 'Copy or download it again.'


def is_safetensors(path: str | PathLike) -> bool:
    """Whether a file begins as these do: a length that it has room for, and a brace."""
    with open_regular(path, 'a file of weights') as file:
        head = file.read(9)
        if len(head) < 9 or head[8:] != b'{':
            return False
        file.seek(0, 2)
        return 2 <= struct.unpack('<Q', head[:8])[0] <= min(MOST_HEADER, file.tell() - 8)


def read_safetensors(path: str | PathLike) -> dict[str, torch.Tensor]:
    """{name: tensor} of a file; FcnError for a damaged one, and for a type that torch lacks."""
    with open_regular(path, 'a file of weights') as file:
        data = file.read()
    length, = struct.unpack('<Q', data[:8]) if len(data) >= 8 else (0,)
    if not 2 <= length <= min(MOST_HEADER, len(data) - 8):
        raise FcnError(f'is damaged: a header of {length} bytes in {len(data)}', file=str(path),
                       do=DO)
    try:
        header = json.loads(data[8:8 + length].decode())
    except (ValueError, RecursionError) as error:
        raise FcnError(f'is damaged: its header is no JSON ({short(str(error), 80)})',
                       file=str(path), do=DO) from None
    if not isinstance(header, dict):
        raise FcnError('is damaged: its header is no object', file=str(path), do=DO)
    values = memoryview(data)[8 + length:]
    return {name: tensor(name, entry, values, path) for name, entry in header.items()
            if name != '__metadata__'}


def tensor(name: str, entry: Any, values: memoryview, path: str | PathLike) -> torch.Tensor:
    """The tensor that an entry of the header describes, a copy."""
    entry = entry if isinstance(entry, dict) else {}
    shape, offsets, type = entry.get('shape'), entry.get('data_offsets'), entry.get('dtype')
    if not (naturals(shape) and naturals(offsets) and len(offsets) == 2 and
            len(shape) <= MOST_AXES):
        raise FcnError(f"is damaged: the entry of '{short(name, LONGEST_NAME)}'", file=str(path),
                       do=DO)
    if not isinstance(type, str) or type not in TYPES:
        raise FcnError(f"'{short(name, LONGEST_NAME)}' is of the type {short(repr(type), 40)}",
                       file=str(path), do=f'Known are {", ".join(TYPES)}; save it as F32.')
    start, end = offsets
    found = torch.empty(0, dtype=TYPES[type])
    if end > len(values) or end - start != math.prod(shape) * found.element_size():
        raise FcnError(f"is damaged: '{short(name, LONGEST_NAME)}' lies at {start} to {end} of "
                       f'{len(values)} bytes', file=str(path), do=DO)
    if start == end:
        return found.reshape(shape)
    return torch.frombuffer(bytearray(values[start:end]), dtype=TYPES[type]).reshape(shape)


def naturals(value: Any) -> bool:
    """Whether this is a list of whole numbers from 0 to 2^62."""
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2 ** 62 for v in value)
