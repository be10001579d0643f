"""Optimisation passes, graph -> graph: each optional, each with its precondition in its docstring.

A pass is called with the graph and the names of the blobs that a run must deliver; their values
stay what they are, and a pass steps aside where it would have to drop one.
"""

from .collapse_border import collapse_border
from .fuse_score import fuse_score
from .fuse_skip import fuse_skip
from .fuse_upcrop import fuse_upcrop

PASSES = {run.__name__: run for run in (collapse_border, fuse_upcrop, fuse_skip, fuse_score)}
DEFAULT = tuple(PASSES.values())

__all__ = ['DEFAULT', 'PASSES', 'collapse_border', 'fuse_score', 'fuse_skip', 'fuse_upcrop']
