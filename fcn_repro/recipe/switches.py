"""What makes a net fast, by name, to be switched off one by one. Nothing changes but the time."""

from ..errors import FcnError, nearest
from ..passes import PASSES

PLACED = 'channels_last', 'winograd', 'gemm', 'prepack', 'graphs'           # of runtime.place
NAMES = *PASSES, *PLACED, 'fused_update'                # that of Solver.fused


class Switches:
    """All on but those named in `off`. FcnError for a name that is not in NAMES.

    passes: for a Net or Solver; placed: options of runtime.place; fused: Solver.fused.
    """

    def __init__(self, off=()):
        for name in off:
            if name not in NAMES:
                raise FcnError(f"'{name}' is nothing that can be switched off",
                               do=f'{nearest(name, NAMES)} Use {", ".join(NAMES)}.'.lstrip())
        self.passes = tuple(run for name, run in PASSES.items() if name not in off)
        self.placed = {name: name not in off for name in PLACED}
        self.fused = 'fused_update' not in off


def add_switches(parser):
    """--no-opt of the tools."""
    parser.add_argument('--no-opt', action='append', default=[], metavar='NAME', help='switch this '
                        f'off, which changes the time alone: {", ".join(NAMES)}; may be repeated')
