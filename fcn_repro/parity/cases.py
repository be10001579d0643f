"""A case of a folder of goldens: the files that belong to it, the check of their contents, and
where its nets compute."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import FcnError
from ..net.net import Net
from ..net.placement import check_precision, pick_device, place
from .comparison import Comparison, KnownDifference, Limits


class Placement(NamedTuple):
    """Where the nets of goldens compute and how, both as for placement.place. float32 on the CPU
    is that of a net as it is made: torch's convolutions, none of this project's algorithms."""
    device: str = 'cpu'
    precision: str = 'fp32'

    def check(self) -> None:
        """FcnError for a device or a precision that this machine lacks."""
        check_precision(self.precision, pick_device(self.device))

    def place(self, net: Net) -> Net:
        """Place a net, which is returned. FcnError as for placement.place."""
        return net if self == CPU else place(net, self.device, precision=self.precision)


CPU = Placement()


class GoldenCase(NamedTuple):
    """name: relative to the folder it was found in. files: names of the files it accounts for.
    check: called with a Comparison and `limits=`, compares all that the golden holds. computes:
    whether it runs nets and takes `where=`, a Placement; other checks know no device."""
    name: str
    files: frozenset[str]
    check: Callable[..., None]
    computes: bool = False

    def run(self, limits: Limits, known: KnownDifference | None = None,
            where: Placement = CPU) -> Comparison:
        """Check the case; an FcnError becomes the refusal of the comparison."""
        comparison = Comparison(self.name, known)
        try:
            self.check(comparison, limits=limits, **({'where': where} if self.computes else {}))
        except FcnError as error:
            comparison.refusal = str(error)
        return comparison


# A kind of golden: finds its cases among the files of one folder.
Kind = Callable[[Path, set[str]], Iterator[GoldenCase]]


def case(name: str, files, check: Callable[..., None], computes: bool = False) -> GoldenCase:
    return GoldenCase(name, frozenset(files), check, computes)


def refusing(error: FcnError) -> Callable[..., None]:
    """The check of a file that is not in the format it seems to have: raises the error."""
    def check(comparison, limits):
        raise error
    return check
