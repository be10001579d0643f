"""Optimisations by name, to be switched off one by one. They change how fast a net runs and, within
rounding, nothing else."""

from collections.abc import Iterable

from ..errors import FcnError, nearest
from ..passes import PASSES

PLACED = 'channels_last', 'winograd', 'gemm', 'prepack', 'graphs'       # options of placement.place
NAMES = *PASSES, *PLACED, 'fused_update'                # the last one is Solver's


class Optimisations:
    """All optimisations but those named in `off`. FcnError for a name that is not in NAMES.

    passes: for a Net or Solver. placed: {option: bool} for placement.place. fused: whether the
    Solver updates in one pass.
    """

    def __init__(self, off: Iterable[str] = ()):
        off = tuple(off)
        for name in off:
            if name not in NAMES:
                raise FcnError(f"unknown optimisation '{name}'",
                               do=f'{nearest(name, NAMES)} Use {", ".join(NAMES)}.'.lstrip())
        self.passes = tuple(run for name, run in PASSES.items() if name not in off)
        self.placed = {name: name not in off for name in PLACED}
        self.fused = 'fused_update' not in off
