"""Passes: graph -> graph, each optional, each with its precondition stated where it stands.

A pass is called with the graph and the names of the blobs that a run must deliver, and leaves
those as they are.
"""

from .fuse_upcrop import fuse_upcrop

DEFAULT = (fuse_upcrop,)

__all__ = ['DEFAULT', 'fuse_upcrop']
