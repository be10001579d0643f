"""A writer of protobuf's wire format, by hand, in every spelling that a reader must know."""

import struct

import numpy as np


def varint(n):
    n &= (1 << 64) - 1
    out = []
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def sized(number, raw):
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def numbers(values, packed, double):
    code, number, kind = ('d', 8, 1) if double else ('f', 5, 5)
    if packed:
        return sized(number, struct.pack(f'<{len(values)}{code}', *values))
    return b''.join(varint(number << 3 | kind) + struct.pack('<' + code, v) for v in values)


def blob(array, packed=True, double=False, legacy=False, packed_dims=True, pieces=1):
    array = np.asarray(array)
    if legacy:
        dims = b''.join(varint(i << 3) + varint(d) for i, d in enumerate(array.shape, 1))
    elif packed_dims:
        dims = sized(7, sized(1, b''.join(map(varint, array.shape))))
    else:
        dims = sized(7, b''.join(varint(1 << 3) + varint(d) for d in array.shape))
    parts = np.array_split(array.ravel(), pieces)
    return dims + b''.join(numbers(p.tolist(), packed, double) for p in parts)


def v2(name, kind, *blobs):
    return sized(100, sized(1, name.encode()) + sized(2, kind.encode())
                 + b''.join(sized(7, b) for b in blobs))


def v1(name, kind, *blobs):
    return sized(2, sized(2, b'data') + sized(4, name.encode()) + varint(5 << 3) + varint(kind)
                 + b''.join(sized(6, b) for b in blobs))


def v0(name, kind, *blobs):
    return sized(2, sized(1, sized(1, name.encode()) + sized(2, kind.encode())
                          + b''.join(sized(50, b) for b in blobs)) + sized(2, b'data'))


def save(path, raw):
    path.write_bytes(raw)
    return path
