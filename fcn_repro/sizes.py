"""How large a blob may be: Caffe's limits (Blob::Reshape in src/caffe/blob.cpp, kMaxBlobAxes in
include/caffe/blob.hpp), and the memory of this machine."""

import math
import os
from functools import cache

from .errors import FcnError

LARGEST = 2 ** 31 - 1           # values of a blob, and any number of a layer: Caffe's int
AXES = 32


def dims(shape) -> str:
    """A shape as messages quote it: (2, 3, 4) is 2x3x4, () is scalar."""
    return 'x'.join(map(str, shape)) or 'scalar'


def check_shape(shape, what='the blob'):
    """FcnError, without a place, for a shape that no blob can have: nothing is allocated for it.
    Zeros are left out of the product, so that no later arithmetic overflows either."""
    if len(shape) > AXES:
        raise FcnError(f'{what} has {len(shape)} axes, a blob at most {AXES}',
                       do='Correct its shape.')
    if min(shape, default=0) < 0:
        raise FcnError(f'{what} has a negative size: {list(shape)}', do='Correct its shape.')
    count = math.prod(d or 1 for d in shape)
    if count > LARGEST:
        raise FcnError(f'{what} of shape {dims(shape)} would hold {count:,} values, '
                       f'{size(4 * count)}; a blob of Caffe has at most {LARGEST:,}',
                       do='Make it smaller.')


def check_numbers(message):
    """FcnError, without a place, for a number of a layer's settings that Caffe's int cannot hold:
    the format's are unsigned."""
    if not has_unsigned(message.DESCRIPTOR):    # a million of them, perhaps
        return
    for field, value in message.ListFields():
        if field.message_type and has_unsigned(field.message_type):
            for part in value if field.is_repeated else [value]:
                check_numbers(part)
        elif field.type == field.TYPE_UINT32:
            most = max(value) if field.is_repeated else value
            if most > LARGEST:
                raise FcnError(f'{field.name} {most} is above {LARGEST}', do='Correct the number.')


@cache
def has_unsigned(message):
    """Whether a message type, given by its descriptor, has a uint32 at any depth; a layer's blobs
    have none that count."""
    return any(field.type == field.TYPE_UINT32 or (
        field.message_type and field.message_type is not message and field.name != 'blobs'
        and has_unsigned(field.message_type)) for field in message.fields)


def check_shapes(shapes):
    """check_shape of {what: shape}."""
    for what, shape in shapes.items():
        check_shape(shape, what)


def check_memory(declared, inputs):
    """FcnError where a net's parameters, {layer: [(shape, filler)]}, and the shapes of its inputs,
    which are held all at once, are more float32 than this machine's memory."""
    shapes = [shape for wanted in declared.values() for shape, _ in wanted] + inputs
    need, there = 4 * sum(map(math.prod, shapes)), memory()
    if need > there:
        largest = max(shapes, key=math.prod)
        raise FcnError(f'parameters and inputs take {size(need)}, this machine has {size(there)}; '
                       f'the largest is {dims(largest)} '
                       f'({size(4 * math.prod(largest))})',
                       do='Make the net smaller, or use a larger machine.')


def memory():
    """Bytes of this machine's memory."""
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def size(count):
    """A number of bytes for people."""
    unit = min(max(int(math.log10(count)) // 3, 0), 6) if count else 0
    return f'{count / 1000 ** unit:.3g} {("bytes", "kB", "MB", "GB", "TB", "PB", "EB")[unit]}'
