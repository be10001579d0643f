"""Memory of the process, as far as the C library can be told."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3         # of glibc's malloc.h
LARGEST = 2 ** 30


def keep_freed_memory():
    """Have glibc keep what is freed for what comes next; nothing where there is another library.

    It gives blocks of tens of MB back at once otherwise, and the kernel clears every page anew: a
    tenth of FCN-8s' time on the CPU. Holds for the whole process, so that a program decides.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        mallopt(M_TRIM_THRESHOLD, 2 ** 31 - 1)
        mallopt(M_MMAP_THRESHOLD, LARGEST)
