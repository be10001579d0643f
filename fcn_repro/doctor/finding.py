"""Finding: one thing that a check found, with its evidence and what to change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAULT, DOUBT = 'fault', 'doubt'


@dataclass(frozen=True)
class Finding:
    """severity: FAULT, the net cannot learn or is not what it is meant to be; DOUBT, it may be
    meant so. code: a stable name. what: one sentence. evidence: the numbers, found and expected.
    do: what to change, in the words of prototxt and Python. place: a layer, a file or a line of
    one. facts: {name: value} that a front end's own remedy may quote."""

    severity: str
    code: str
    what: str
    evidence: str
    do: str
    place: str = ''
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        place = f'{self.place}: ' if self.place else ''
        return f'{self.severity}: {place}{self.what} ({self.evidence}). {self.do}'
