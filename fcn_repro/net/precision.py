"""How torch multiplies float32 on a GPU while one net computes."""

from contextlib import contextmanager

import torch

# torch's switches, (object, attribute): the older ones, and the newer ones of the same products
OLDER = ((torch.backends.cuda.matmul, 'allow_tf32'), (torch.backends.cudnn, 'allow_tf32'))
NEWER = tuple((backend, 'fp32_precision') for backend in (
    torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn))


@contextmanager
def tf32(allowed: bool):
    """Let GPUs round the factors of float32 products to 10 bits in this block, or forbid it.

    torch's switches hold for the whole process; they are set back at the end, so that nets of
    different precisions and the caller's own code each keep theirs. Not for nets that compute in
    several threads at once.
    """
    switches, value = OLDER, allowed        # with the newer ones set, torch.export refuses to run
    try:
        before = [getattr(*switch) for switch in switches]
    except RuntimeError:                    # the caller has set the newer ones
        switches, value = NEWER, 'tf32' if allowed else 'ieee'
        before = [getattr(*switch) for switch in switches]
    for switch in switches:
        setattr(*switch, value)
    try:
        yield
    finally:
        for switch, old in zip(switches, before, strict=True):
            setattr(*switch, old)
