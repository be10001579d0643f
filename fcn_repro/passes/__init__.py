"""Passes: graph -> graph, each optional, each with its precondition stated where it stands.

A pass is called with the graph and the names of the blobs that a run must deliver, and leaves
those as they are.
"""

from .collapse_border import collapse_border
from .fuse_upcrop import fuse_upcrop

DEFAULT = (collapse_border, fuse_upcrop)

__all__ = ['DEFAULT', 'collapse_border', 'fuse_upcrop']
