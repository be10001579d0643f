"""Comparing this project with Caffe on goldens: files of arrays that Caffe computed.

    for row in compare_blobs('net.prototxt', 'net.caffemodel', 'golden.h5'):
        print(row.name, row.relative, row.verdict)          # one net, blob by blob
    for comparison in check_folder('goldens'):
        print(describe(comparison))                         # every case below a folder

blobs.py compares one net with one golden; layers.py, nets.py, solvers.py and files.py are the kinds
of cases of a folder; fixtures/ holds the kinds that only this project's own goldens need.
tests/data/README.md describes the format.
"""

from .blobs import BlobRow, compare_blobs
from .cases import Placement
from .comparison import LIMITS, Comparison, Gap, KnownDifference, Limits, error
from .folder import KINDS, check_folder, describe, find_cases, read_known, summarize

__all__ = ['KINDS', 'LIMITS', 'BlobRow', 'Comparison', 'Gap', 'KnownDifference', 'Limits',
           'Placement', 'check_folder', 'compare_blobs', 'describe', 'error', 'find_cases',
           'read_known', 'summarize']
