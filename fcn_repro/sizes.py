"""How large a blob may be: Caffe's limits (Blob::Reshape in src/caffe/blob.cpp, kMaxBlobAxes in
include/caffe/blob.hpp), and the memory of this machine."""

import math
import re
import resource
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from .errors import FcnError

LARGEST = 2 ** 31 - 1           # values of a blob, and any number of a layer: Caffe's int
AXES = 32
SMALLER = 'Make the net, its input or its batch smaller, or use a larger machine.'


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
    count = math.prod(shape) or math.prod(d or 1 for d in shape)
    if count > LARGEST:
        raise FcnError(f'{what} of shape {dims(shape)} would hold {count:,} values, '
                       f'{size(4 * count)}; a blob of Caffe has at most {LARGEST:,}',
                       do='Make it smaller.')


def check_numbers(message):
    """FcnError, without a place, for a number of a layer's settings that Caffe's int cannot hold:
    the format's are unsigned."""
    unsigned = unsigned_fields(message.DESCRIPTOR)
    if not unsigned:                        # a million of them, perhaps
        return
    for field, value in message.ListFields():
        kind = unsigned.get(field)
        if kind is None:
            continue
        values = value if kind.repeated else (value,)
        if kind.block:
            for part in values:
                check_numbers(part)
        elif max(values) > LARGEST:
            raise FcnError(f'{field.name} {max(values)} is above {LARGEST}',
                           do='Correct the number.')


class Unsigned(NamedTuple):
    """A field that is a uint32, or (block) a message that has some."""
    block: bool
    repeated: bool


@cache
def unsigned_fields(message):
    """{field: Unsigned} of a message type, given by its descriptor: its uint32 at any depth. A
    layer's blobs have none that count."""
    found = {}
    for field in message.fields:
        inner = field.message_type
        if field.type == field.TYPE_UINT32 or (inner and inner is not message
                                               and field.name != 'blobs'
                                               and unsigned_fields(inner)):
            found[field] = Unsigned(bool(inner), field.is_repeated)
    return found


def check_shapes(shapes, what):
    """check_shape of each of some shapes, tuples; what(i): the name of shape i in the error."""
    for i, shape in enumerate(shapes):
        if not possible(shape):
            check_shape(shape, what(i))


@lru_cache(1024)
def possible(shape):
    """Whether a blob can have a shape, a tuple."""
    try:
        check_shape(shape)
    except FcnError:
        return False
    return True


def check_memory(params, inputs):
    """FcnError where the shapes of a net's parameters, each of them once, and those of its inputs,
    which are held all at once, are more float32 than this machine's memory."""
    shapes = [*params, *inputs]
    need, there = 4 * sum(map(math.prod, shapes)), memory()
    if need > there:
        largest = max(shapes, key=math.prod)
        raise FcnError(f'parameters and inputs take {size(need)}, this machine has {size(there)}; '
                       f'the largest is {dims(largest)} '
                       f'({size(4 * math.prod(largest))})', do=SMALLER)


def check_room(need: int, what: str, there: int | None = None) -> None:
    """FcnError, without a place, where `need` bytes are more than this machine, or the limit that
    it has set this process, has; or than `there`, the memory of a GPU. What others use of it now
    does not count: whatever can run at all is not refused."""
    there = memory() if there is None else there
    if need > there:
        raise FcnError(f'{what}: {size(need)} at once, and there are {size(there)}', do=SMALLER)


def memory(root: Path = Path('/')) -> int:
    """Bytes of memory and swap that this process can have: the machine's, or less where its
    control group (version 1 or 2) or its address space is limited. root: of the system's files."""
    limits = [total(root), *cgroup_limits(root)]
    limits += [soft for soft in (resource.getrlimit(kind)[0] for kind in (
        resource.RLIMIT_AS, resource.RLIMIT_DATA)) if soft != resource.RLIM_INFINITY]
    return min(limits)


def available(gpu=None, root: Path = Path('/')) -> int:
    """Bytes of memory that this process can have now, without swap; gpu: of that torch device."""
    if gpu is not None:
        from torch.cuda import mem_get_info
        return mem_get_info(gpu)[0]
    try:
        found = re.search(r'^MemAvailable: *(\d+) kB', (root / 'proc/meminfo').read_text(),
                          re.MULTILINE)
    except OSError:
        found = None
    return min(memory(root), 1024 * int(found[1])) if found else memory(root)


def total(root: Path = Path('/')) -> int:
    """Bytes of memory and swap of the machine."""
    try:
        text = (root / 'proc/meminfo').read_text()
    except OSError:
        return LARGEST ** 2                     # the system does not tell
    found = re.findall(r'^(?:MemTotal|SwapTotal): *(\d+) kB', text, re.MULTILINE)
    return 1024 * sum(map(int, found))


def cgroup_limits(root: Path = Path('/')) -> list[int]:
    """Bytes that this process's control groups, and those above them, allow it."""
    try:
        lines = (root / 'proc/self/cgroup').read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(':', 2)
        if controllers not in ('', 'memory'):
            continue
        top, name = (root / 'sys/fs/cgroup', 'memory.max') if not controllers else \
            (root / 'sys/fs/cgroup/memory', 'memory.limit_in_bytes')
        inner = top / path.strip('/')
        # in a container the path may be that of the host, which is not mounted there
        for folder in {top, inner, *(p for p in inner.parents if top in p.parents)}:
            found += limit(folder / name)
    return found


def limit(path: Path) -> list[int]:
    """The number in a control group's file; none for 'max' and where there is no such file."""
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() else []


def size(count):
    """A number of bytes for people."""
    unit = min(max(int(math.log10(count)) // 3, 0), 6) if count else 0
    return f'{count / 1000 ** unit:.3g} {("bytes", "kB", "MB", "GB", "TB", "PB", "EB")[unit]}'


def counted(count: int, what: str) -> str:
    """A number of things in words: '1 thread', '2 threads'."""
    return f'{count} {what}{"s" * (count != 1)}'
