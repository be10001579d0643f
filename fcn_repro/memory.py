"""Memory of this process: the C library's allocator, Python's cyclic collector, and the peak."""

import ctypes
import gc
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3         # of glibc's malloc.h
LARGEST = 2 ** 30


def keep_freed_memory():
    """Have glibc keep freed memory for later allocations; do nothing with another C library.

    By default glibc returns blocks of tens of MB to the kernel at once, which clears every page
    anew: a tenth of FCN-8s' time on the CPU. The setting applies to the whole process, so programs
    call this, and the library never does.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        mallopt(M_TRIM_THRESHOLD, 2 ** 31 - 1)
        mallopt(M_MMAP_THRESHOLD, LARGEST)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no cycles inside, as a context or a decorator; where the collector is off it stays.

    For what makes millions of objects that stay, as a net of 100,000 layers does: to look through
    them again and again takes half as long as making them. They go to the oldest generation at
    once, unless the program has frozen objects of its own.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        gc.enable()


def reset_peak():
    """Begin a new measurement of `peak`, where the system can."""
    with suppress(OSError), open('/proc/self/clear_refs', 'w') as file:
        file.write('5')


def peak():
    """Bytes of main memory that this process held at most, since reset_peak or its start."""
    with suppress(OSError), open('/proc/self/status') as file:
        if found := re.search(r'^VmHWM:\s+(\d+) kB$', file.read(), re.M):
            return 1024 * int(found[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
