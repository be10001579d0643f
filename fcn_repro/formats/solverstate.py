"""A solver's state, and Caffe's binary form of it (SolverState of caffe.proto)."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FcnError
from .caffemodel import Blob, blob_parts, field_head, varint, write_parts
from .wire import HISTORY, ITER, LEARNED_NET, STEP, read_private, read_state

FilePath = str | os.PathLike


@dataclass
class SolverState:
    """What a solver needs besides the weights; history in Caffe's order (parameters in net order,
    each once; Adam and AdaDelta append a second set)."""
    iter: int
    learned_net: str
    current_step: int
    history: list
    extra: dict[str, Any] = field(default_factory=dict)
    file: str = ''
    texts: dict[str, str] = field(default_factory=dict)


def read_binary(path: FilePath) -> SolverState:
    """The SolverState of a binary .solverstate, ours or Caffe's."""
    extra, texts = read_private_data(path)
    return SolverState(*read_state(path), extra, str(path), texts)


def write_binary(path: FilePath, iter: int, learned_net: str, current_step: int,
                 history: Iterable[Blob], extra: Mapping[str, Any] | None = None,
                 texts: Mapping[str, str] | None = None) -> None:
    """Write a .solverstate that Caffe can restore; atomic. Arguments as of write_solverstate."""
    name = learned_net.encode()
    parts = [varint(ITER << 3), varint(iter), field_head(LEARNED_NET, len(name)), name,
             *(piece for blob in history for piece in blob_parts(HISTORY, blob)),
             varint(STEP << 3), varint(current_step)]
    write_parts(path, parts, extra, texts)


def read_private_data(path: FilePath) -> tuple[dict[str, Any], dict[str, str]]:
    """(extra, texts): this project's own data in a binary file, weights or state; both empty where
    Caffe wrote it. FcnError for a file that is not a protobuf message or is truncated."""
    raw = read_private(path)
    if not raw:
        return {}, {}
    try:
        found = json.loads(raw)
        extra, texts = found['extra'], found['texts']
        values = [v for value in extra.values()
                  for v in (value if isinstance(value, list) else [value])]
        good = all(isinstance(v, str | bool | int | float) for v in values) and \
            all(isinstance(text, str) for text in texts.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        good = False
    if not good:
        raise FcnError("this project's own part of it is damaged", file=str(path),
                       do='Use another snapshot, or copy it again.')
    return extra, texts
