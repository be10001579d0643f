"""A solver's state, and Caffe's binary form of it (SolverState of caffe.proto)."""

import json
from dataclasses import dataclass, field

from ..errors import FcnError
from .caffemodel import blob_parts, start, varint, write_parts
from .wire import HISTORY, ITER, LEARNED_NET, STEP, read_private, read_state


@dataclass
class SolverState:
    """What a solver needs besides the weights; history in Caffe's order (parameters in net order,
    each once; Adam and AdaDelta append a second set)."""
    iter: int
    learned_net: str
    current_step: int
    history: list
    extra: dict = field(default_factory=dict)
    file: str = ''
    texts: dict = field(default_factory=dict)


def read_binary(path):
    """The SolverState of a binary .solverstate, ours or Caffe's."""
    extra, texts = read_own(path)
    return SolverState(*read_state(path), extra, str(path), texts)


def write_binary(path, iter, learned_net, current_step, history, extra=None, texts=None):
    """Write a .solverstate that Caffe can restore; atomic. Arguments as of write_solverstate."""
    name = learned_net.encode()
    parts = [varint(ITER << 3), varint(iter), start(LEARNED_NET, len(name)), name,
             *(piece for blob in history for piece in blob_parts(HISTORY, blob)),
             varint(STEP << 3), varint(current_step)]
    write_parts(path, parts, extra, texts)


def read_own(path):
    """(extra, texts): what a binary file, weights or state, says to this project alone, both empty
    where Caffe wrote it. FcnError for a file that is no protobuf message, or one cut short."""
    raw = read_private(path)
    if not raw:
        return {}, {}
    try:
        found = json.loads(raw)
        extra, texts = found['extra'], found['texts']
        plain = [v for value in extra.values()
                 for v in (value if isinstance(value, list) else [value])]
        good = all(isinstance(v, str | bool | int | float) for v in plain) and \
            all(isinstance(text, str) for text in texts.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        good = False
    if not good:
        raise FcnError("this project's own part of it is damaged", file=str(path),
                       do='Use another snapshot, or copy it again.')
    return extra, texts
