"""The staged recipe as a table, and where the prototxt files of its stages are."""

from pathlib import Path

from .models import FAMILIES, STAGES
from .stage import Stage

__all__ = [
    'FAMILIES',
    'ON',
    'PROTOTXT',
    'SHORT',
    'SLOW',
    'SOLVER',
    'STAGES',
    'Stage',
    'shipped',
    'shipped_prototxt',
]

SHORT = {'own': 'own-fcn16s'}     # names that a user may write for a stage's
SOLVER = 'solver.prototxt'
ON = 'solver_on.prototxt'       # trains a stage's own result on: the control of the next stage
SLOW = 'solver_slow.prototxt'   # at the paper's rate, a hundredth of that of the stage before


def shipped_prototxt() -> Path:
    """The folder of all stages' prototxt folders: the package's own if it is installed, else the
    checkout's."""
    package = Path(__file__).parents[1]
    inside = package / 'prototxt'
    return inside if inside.is_dir() else package.parent / 'prototxt'


PROTOTXT = shipped_prototxt()


def shipped(name: str) -> Path:
    """The folder of a stage's shipped prototxt files."""
    return PROTOTXT / name
