"""How torch multiplies float32 on a GPU while one net computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# torch's switches, (object, attribute): the older ones, and the newer ones of the same products
Switch = tuple[Any, str]
OLDER: tuple[Switch, ...] = tuple((backend, 'allow_tf32') for backend in (
    torch.backends.cuda.matmul, torch.backends.cudnn))
CUDNN: Any = torch.backends.cudnn
NEWER: tuple[Switch, ...] = tuple((backend, 'fp32_precision') for backend in (
    torch.backends.cuda.matmul, CUDNN.conv, CUDNN.rnn))


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let GPUs round the factors of float32 products to 10 bits in this block, or forbid it.

    torch's switches hold for the whole process; they are set back at the end, so that nets of
    different precisions and the caller's own code each keep theirs. Not for nets that compute in
    several threads at once.
    """
    value: bool | str = allowed
    switches = OLDER                        # with the newer ones set, torch.export refuses to run
    try:
        before = [getattr(backend, name) for backend, name in switches]
    except RuntimeError:                    # the caller has set the newer ones
        switches, value = NEWER, 'tf32' if allowed else 'ieee'
        before = [getattr(backend, name) for backend, name in switches]
    for backend, name in switches:
        setattr(backend, name, value)
    try:
        yield
    finally:
        for (backend, name), old in zip(switches, before, strict=True):
            setattr(backend, name, old)
