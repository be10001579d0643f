"""Optimisation passes, graph -> graph: each optional, each with its precondition in its docstring.

A pass is called with the graph and the names of the blobs that a run must deliver; their values
stay what they are, and a pass steps aside where it would have to drop one.
"""

from collections.abc import Callable

from ..net.graph import Graph
from .collapse_border import collapse_border
from .fold_norm import fold_norm
from .fuse_norm import fuse_norm
from .fuse_relu import fuse_relu
from .fuse_score import fuse_score
from .fuse_skip import fuse_skip
from .fuse_sum import fuse_sum
from .fuse_upcrop import fuse_upcrop

Pass = Callable[..., Graph]      # (graph, names of the blobs to deliver) -> graph
DEFAULT: tuple[Pass, ...] = (collapse_border, fold_norm, fuse_norm, fuse_relu, fuse_sum,
                             fuse_upcrop, fuse_skip, fuse_score)
PASSES = {run.__name__: run for run in DEFAULT}

__all__ = ['DEFAULT', 'PASSES', 'collapse_border', 'fold_norm', 'fuse_norm', 'fuse_relu',
           'fuse_score', 'fuse_skip', 'fuse_sum', 'fuse_upcrop']
