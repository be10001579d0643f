"""How large a blob may be: Caffe's limits (Blob::Reshape in src/caffe/blob.cpp, kMaxBlobAxes in
include/caffe/blob.hpp), and the memory of this machine."""

import math
import os

from .errors import FcnError

LARGEST = 2 ** 31 - 1           # values of a blob, and any number of a layer: Caffe's int
AXES = 32


def check_shape(shape, what='the blob'):
    """FcnError, without a place, for a shape that no blob can have: nothing is allocated for it.
    Zeros are left out of the product, so that no later arithmetic overflows either."""
    if len(shape) > AXES:
        raise FcnError(f'{what} has {len(shape)} axes, a blob at most {AXES}',
                       do='Mend its shape.')
    if min(shape, default=0) < 0:
        raise FcnError(f'{what} has a negative size: {list(shape)}', do='Mend its shape.')
    count = math.prod(d or 1 for d in shape)
    if count > LARGEST:
        raise FcnError(f'{what} of shape {"x".join(map(str, shape))} would hold {count:,} values, '
                       f'{size(4 * count)}; a blob of Caffe has at most {LARGEST:,}',
                       do='Make it smaller.')


def check_numbers(message):
    """FcnError, without a place, for a number of a layer's settings that Caffe's int cannot hold:
    the format's are unsigned."""
    for field, value in message.ListFields():
        many = hasattr(value, 'append')         # a repeated field
        if field.type == field.TYPE_MESSAGE and field.name != 'blobs':
            for part in value if many else [value]:
                check_numbers(part)
        elif field.type == field.TYPE_UINT32 and (max(value) if many else value) > LARGEST:
            raise FcnError(f'{field.name} {max(value) if many else value} is above {LARGEST}',
                           do='Mend the number.')


def check_memory(shapes, what):
    """FcnError where float32 arrays of these shapes, all held at once, are more than this machine's
    memory."""
    need, there = 4 * sum(math.prod(shape) for shape in shapes), memory()
    if need > there:
        largest = max(shapes, key=math.prod)
        raise FcnError(f'{what} take {size(need)}, this machine has {size(there)}; the largest is '
                       f'{"x".join(map(str, largest))} ({size(4 * math.prod(largest))})',
                       do='Make the net smaller, or use a larger machine.')


def memory():
    """Bytes of this machine's memory."""
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def size(count):
    """A number of bytes for people."""
    unit = min(max(int(math.log10(count)) // 3, 0), 6) if count else 0
    return f'{count / 1000 ** unit:.3g} {("bytes", "kB", "MB", "GB", "TB", "PB", "EB")[unit]}'
