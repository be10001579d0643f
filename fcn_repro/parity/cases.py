"""A case of a folder of goldens: the files that belong to it and the check of their contents."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import FcnError
from .comparison import Comparison, KnownDifference, Limits


class GoldenCase(NamedTuple):
    """name: relative to the folder it was found in. files: names of the files it accounts for.
    check: called with a Comparison and `limits=`, compares all that the golden holds."""
    name: str
    files: frozenset[str]
    check: Callable[..., None]

    def run(self, limits: Limits, known: KnownDifference | None = None) -> Comparison:
        """Check the case; an FcnError becomes the refusal of the comparison."""
        comparison = Comparison(self.name, known)
        try:
            self.check(comparison, limits=limits)
        except FcnError as error:
            comparison.refusal = str(error)
        return comparison


# A kind of golden: finds its cases among the files of one folder.
Kind = Callable[[Path, set[str]], Iterator[GoldenCase]]


def case(name: str, files, check: Callable[..., None]) -> GoldenCase:
    return GoldenCase(name, frozenset(files), check)


def refusing(error: FcnError) -> Callable[..., None]:
    """The check of a file that is not in the format it seems to have: raises the error."""
    def check(comparison, limits):
        raise error
    return check
