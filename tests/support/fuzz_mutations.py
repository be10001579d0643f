"""Changes to files for tools/fuzz.py: of any bytes, and of what is inside a format, with lengths
and checksums that fit again, so that a reader gets past its first check.

Each takes (bytes, bytes of the other seeds, a random.Random) and returns bytes.
"""

import gzip
import itertools
import re
import struct
import zlib

from wire_format import varint

MOST = 300_000                  # bytes of an input
NUMBERS = (b'\x00', b'\x7f', b'\x80\x01', b'\xff' * 9 + b'\x01', b'\xff\xff\xff\xff\x07',
           b'\x80\x80\x80\x80\x80\x80\x80\x80\x40')
WORDS = (b'{', b'}', b'"', b'-1', b'4000000000', b'9223372036854775807', b'nan', b'layer', b'top',
         b'bottom', b'data', b'dim: 0', b'#', b'\\', b'\xff', b'[', b']', b'\n')
SIZES = (0, 1, 2, 3, 7, 8, 100, 255, 256, 4096, 65535, 65536, 1 << 20, (1 << 31) - 1, 1 << 31,
         (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 62) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
VALUES = ('0', '1', '-1', '2', '3', '4', '5', '7', '16', '100', '255', '1000000', '2147483647',
          '-2147483648', '4294967295', '1e30', '1e-30', '1e400', '-inf', 'inf', 'nan', '0.5',
          'true', 'false', 'AVE', 'MAX', 'TEST', 'TRAIN', 'LMDB', '""', '"%s"', '"."', '"\\000"',
          '"\\377\\376"', '"../../x"', '"/dev/zero"', '"' + 'n' * 300 + '"', '9' * 400)


def generic(data, others, rng):
    """One to four changes: cut, flip, splice, repeat, or put something odd in."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(out) + 1), rng.choice((1, 2, 4, 16, 64, 1024))
        rng.choice(CHANGES)(out, at, length, others, rng)
    return bytes(out)


def cut(out, at, length, others, rng):
    del out[at:]


def flip(out, at, length, others, rng):
    if at < len(out):
        out[at] ^= 1 << rng.randrange(8)


def replace_byte(out, at, length, others, rng):
    if at < len(out):
        out[at] = rng.randrange(256)


def splice(out, at, length, others, rng):
    other = rng.choice(others)
    start = rng.randrange(len(other) + 1)
    out[at:at + length] = other[start:start + length]


def repeat(out, at, length, others, rng):
    out[at:at] = out[at:at + length] * rng.choice((1, 2, 50))


def remove(out, at, length, others, rng):
    del out[at:at + length]


def odd_number(out, at, length, others, rng):
    out[at:at + rng.randrange(3)] = rng.choice(NUMBERS)


def odd_word(out, at, length, others, rng):
    out[at:at + rng.randrange(6)] = rng.choice(WORDS)


CHANGES = cut, flip, replace_byte, splice, repeat, remove, odd_number, odd_word


# ---- texts: prototxt, JSON, param_str, logs, lists -------------------------------------------

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[\w.+-]+|\s+|.', re.S)


def text(data, others, rng):
    """One to four changes of whole tokens: values, names and blocks of this text and others."""
    tokens = TOKEN.findall(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not tokens:
            return b''
        i = rng.randrange(len(tokens))
        kind = rng.randrange(10)
        if kind <= 3:
            i = pick(tokens, i, lambda t: t[:1] in b'0123456789-')
            tokens[i] = rng.choice(VALUES[:rng.choice((10, 10, len(VALUES)))]).encode()
        elif kind == 4:
            i = pick(tokens, i, lambda t: t[:1] in b'"\'' or t.isalpha())
            tokens[i] = rng.choice(VALUES).encode()
        elif kind == 5:
            same = [t for t in TOKEN.findall(rng.choice(others)) if t[:1].isalpha()
                    == tokens[i][:1].isalpha()]
            tokens[i] = rng.choice(same or [b''])
        elif kind == 6:
            tokens[i:i] = (block(tokens, i) * rng.choice((1, 1, 2, 300)))[:MOST]
        elif kind == 7:
            del tokens[i:i + len(block(tokens, i))]
        elif kind == 8:
            other = TOKEN.findall(rng.choice(others))
            tokens[i:i] = block(other, rng.randrange(len(other))) if other else []
        else:
            j = rng.randrange(len(tokens))
            tokens[i], tokens[j] = tokens[j], tokens[i]
    ends = itertools.accumulate(map(len, tokens))
    return b''.join(token for token, end in zip(tokens, ends, strict=True) if end <= MOST)


def pick(tokens, i, wanted):
    """The index of the first such token from i on; i where there is none."""
    return next((j for j in range(i, len(tokens)) if wanted(tokens[j])), i)


def block(tokens, i):
    """The tokens from i to the end of the line, or of the bracket that opens in it."""
    depth = 0
    for j in range(i, len(tokens)):
        depth += (tokens[j] in (b'{', b'[', b'(')) - (tokens[j] in (b'}', b']', b')'))
        if depth < 0 or (depth == 0 and (b'\n' in tokens[j] or tokens[j] in (b'}', b']', b')'))):
            return tokens[i:j + 1]
    return tokens[i:]


def lines(data, others, rng):
    """Lines twice, gone, in another order, or of another file; and a change of tokens."""
    rows = data.splitlines(True)
    for _ in range(rng.randint(1, 3)):
        i, j = rng.randrange(len(rows) + 1), rng.randrange(len(rows) + 1)
        other = rng.choice(others).splitlines(True) or [b'']
        rng.choice((lambda i, j, o: rows.__setitem__(slice(i, j), []),
                    lambda i, j, o: rows.insert(i, rng.choice(o)),
                    lambda i, j, o: rows.insert(j, rows[i] if i < len(rows) else b'\n'),
                    lambda i, j, o: rng.shuffle(rows)))(i, j, other)
    raw = b''.join(rows)
    return text(raw, others, rng) if rng.randrange(2) else raw


# ---- protobuf's wire format ------------------------------------------------------------------


def fields(data, depth=0):
    """[[number, kind, value], …] of a message: value a number, bytes, or a list of fields; None
    where the bytes are no message."""
    found, at = [], 0
    while at < len(data):
        key, at = number_at(data, at)
        kind = key & 7
        if at < 0 or not key >> 3 or kind not in (0, 1, 2, 5):
            return None
        if kind == 0:
            value, at = number_at(data, at)
        else:
            length, at = (8, at) if kind == 1 else (4, at) if kind == 5 else number_at(data, at)
            value, at = data[at:at + length], at + length
        if not 0 <= at <= len(data):
            return None
        if kind == 2 and depth < 6 and len(value) > 1 and (inner := fields(value, depth + 1)):
            value = inner
        found.append([key >> 3, kind, value])
    return found


def number_at(data, at):
    """(varint, where it ends); an end of -1 where it does not."""
    value = shift = 0
    while 0 <= at < len(data) and shift < 70:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    return 0, -1


def message(found):
    """The bytes of fields()."""
    parts = []
    for number, kind, value in found:
        raw = message(value) if isinstance(value, list) else value
        parts.append(varint(number << 3 | kind))
        if kind == 0:
            parts.append(varint(raw))
        else:
            parts.append((varint(len(raw)) if kind == 2 else b'') + raw)
    return b''.join(parts)


def wire(data, others, rng):
    """One to four changes of fields, at any depth, with lengths that fit again."""
    tree = fields(data)
    if not tree:
        return generic(data, others, rng)
    for _ in range(rng.randint(1, 4)):
        level = tree
        while level and rng.randrange(4):
            deeper = [f[2] for f in level if isinstance(f[2], list) and f[2]]
            if not deeper:
                break
            level = rng.choice(deeper)
        if level:
            change_field(level, rng.randrange(len(level)), others, rng)
    return message(tree)


def change_field(level, i, others, rng):
    number, kind, value = level[i]
    what = rng.randrange(7)
    if what == 0:
        del level[i]
    elif what == 1:
        level[i:i] = [[number, kind, value]] * rng.choice((1, 2, 40))
    elif what == 2:
        level[i][0] = rng.choice((1, 2, 5, 6, 7, 8, 9, 50, 100, number + 1, (1 << 29) - 1))
    elif what == 3 and not isinstance(value, list):
        level[i] = rng.choice(([number, 0, rng.choice(SIZES)], [number, 5, b'\xff\xff\xc0\x7f'],
                               [number, 1, struct.pack('<d', 1e300)], [number, 2, b'']))
    elif what == 4 and isinstance(value, bytes):
        level[i][2] = generic(value, others, rng)[:len(value) if kind in (1, 5) else None]
        if kind in (1, 5):
            level[i][2] = level[i][2].ljust(8 if kind == 1 else 4, b'\x00')
    elif what == 5 and kind == 0:
        level[i][2] = rng.choice(SIZES)
    else:
        level.insert(rng.randrange(len(level) + 1), level.pop(i))


# ---- binary formats with structures at known places ------------------------------------------


def put_number(out, at, rng, values=SIZES):
    """Put a number of 1, 2, 4 or 8 bytes, of either byte order, at a place."""
    width, order = rng.choice((1, 2, 4, 8)), rng.choice(('little', 'little', 'big'))
    value = rng.choice(values) & (1 << 8 * width) - 1
    out[at:at + width] = value.to_bytes(width, order)


HDF5_MARKS = re.compile(rb'\x89HDF|TREE|SNOD|HEAP|GCOL|OHDR|FRHP|FHDB|BTHD|BTLF|FSHD|\x00{8}')


def hdf5(data, others, rng):
    """Numbers in superblock, trees, symbol nodes, object headers and heaps; addresses exchanged."""
    out, marks = bytearray(data), [m.start() for m in HDF5_MARKS.finditer(data)]
    addresses = [*marks, len(data), len(data) - 1, *SIZES]
    for _ in range(rng.randint(1, 4)):
        at = rng.choice(marks) if marks and rng.randrange(4) else rng.randrange(len(out) + 1)
        at = min(at + rng.randrange(72), len(out) - 1)
        if rng.randrange(2):
            put_number(out, at, rng, addresses)
        elif out:
            out[at] ^= 1 << rng.randrange(8)
    return bytes(out[:len(data)]) if rng.randrange(8) else generic(bytes(out), others, rng)


def png(data, others, rng):
    """Chunks changed, doubled, dropped or moved, pixel rows cut or changed, all with right CRCs."""
    chunks = png_chunks(data)
    if not chunks:
        return generic(data, others, rng)
    for _ in range(rng.randint(1, 3)):
        i, what = rng.randrange(len(chunks)), rng.randrange(6)
        name, body = chunks[i]
        if what == 0:
            del chunks[i]
        elif what == 1:
            chunks.insert(i, rng.choice(png_chunks(rng.choice(others)) or [(name, body)]))
        elif what == 2:
            chunks.insert(rng.randrange(len(chunks)), chunks.pop(i))
        elif what == 3 and chunks[0][0] == b'IHDR':
            head = bytearray(chunks[0][1])
            put_number(head, rng.randrange(13), rng)
            chunks[0] = b'IHDR', bytes(head[:13])
        elif what == 4:
            chunks = rows_changed(chunks, others, rng)
        else:
            chunks[i] = name, generic(body, others, rng)
        if not chunks:
            break
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))
        for name, body in chunks)


def png_chunks(data):
    found, at = [], 8
    while data[:4] == b'\x89PNG' and at + 12 <= len(data):
        length = struct.unpack_from('>I', data, at)[0]
        found.append((data[at + 4:at + 8], data[at + 8:at + 8 + length]))
        at += 12 + length
    return found


def rows_changed(chunks, others, rng):
    """The chunks with other pixels: the stream of IDAT is unpacked, changed and packed again."""
    stream = b''.join(body for name, body in chunks if name == b'IDAT')
    rest = [chunk for chunk in chunks if chunk[0] != b'IDAT']
    try:
        raw = generic(zlib.decompress(stream), others, rng)
    except zlib.error:
        raw = stream
    return [*rest[:-1], (b'IDAT', zlib.compress(raw[:MOST])), *rest[-1:]]


def mat(data, others, rng):
    """Tags and sizes inside a MATLAB 5 file, whose compressed elements are packed again."""
    head, at, parts = data[:128], 128, []
    while at + 8 <= len(data):
        kind, length = struct.unpack_from('<II', data, at)
        body = data[at + 8:at + 8 + length]
        at += 8 + length
        try:
            inner = zlib.decompress(body) if kind == 15 else struct.pack('<II', kind, length) + body
        except zlib.error:
            return generic(data, others, rng)
        out = bytearray(inner)
        for _ in range(rng.randint(1, 3)):
            place = 4 * rng.randrange(min(len(out), 400) // 4 + 1)
            if rng.randrange(2):
                put_number(out, place, rng, (*range(20), *SIZES))
            elif place < len(out):
                out[place] ^= 1 << rng.randrange(8)
        packed = zlib.compress(bytes(out))
        parts.append(struct.pack('<II', 15, len(packed)) + packed if kind == 15 else bytes(out))
    return head + b''.join(parts)


def lmdb(data, others, rng):
    """Headers, places and sizes of nodes, and the meta pages of an LMDB."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        page = 4096 * rng.randrange(max(len(data) // 4096, 1))
        inside = rng.choice((rng.randrange(24), rng.randrange(180), rng.randrange(4096)))
        values = (*SIZES, len(data) // 4096, *range(8), 4080, 4095, 4097)
        if rng.randrange(3):
            put_number(out, min(page + inside, len(out) - 1), rng, values)
        else:
            flip(out, page + inside, 1, others, rng)
    return bytes(out[:len(data)]) if rng.randrange(8) else generic(bytes(out), others, rng)


def packed(data, others, rng):
    """What a gzip holds, changed and packed again; or its big-endian header."""
    try:
        inner = bytearray(gzip.decompress(data))
    except (OSError, EOFError, zlib.error):
        inner = bytearray(data)
    put_number(inner, rng.randrange(17), rng)
    changed = generic(bytes(inner), others, rng) if rng.randrange(3) == 0 else bytes(inner)
    return gzip.compress(changed, 1) if data[:2] == b'\x1f\x8b' else changed


def npy(data, others, rng):
    """The text of a numpy header, whose length fits again."""
    if data[:6] != b'\x93NUMPY':
        return generic(data, others, rng)
    length = struct.unpack_from('<H', data, 8)[0]
    head = text(data[10:10 + length], others, rng)[:65535]
    return data[:8] + struct.pack('<H', len(head)) + head + data[10 + length:]


MARKERS = re.compile(rb'\xff[\xc0-\xfe]|II\*\x00|MM\x00\*|GIF8|RIFF|WEBP|BM|VP8|Exif')


def picture(data, others, rng):
    """Numbers behind the markers of JPEG, GIF, TIFF, BMP and WebP; PNG by its chunks."""
    if data[:4] == b'\x89PNG':
        return png(data, others, rng)
    out, marks = bytearray(data), [m.start() for m in MARKERS.finditer(data)] or [0]
    for _ in range(rng.randint(1, 4)):
        at = min(rng.choice(marks) + rng.randrange(40), len(out) - 1)
        if rng.randrange(2):
            put_number(out, at, rng)
        else:
            flip(out, at, 1, others, rng)
    return bytes(out)
