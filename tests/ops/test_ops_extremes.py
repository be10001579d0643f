"""Direct calls of the ops with extreme sizes, pads, strides and offsets: errors, no crashes."""

import os
import subprocess
import sys
from pathlib import Path

import extreme_ops
import pytest
import torch

from fcn_repro.ops import extension

# AddressSanitizer (tools/sanitize.py) reserves address space that no limit may take from it, and
# has a limit of its own
MEMORY = 0 if 'libasan' in os.environ.get('LD_PRELOAD', '') else 10**9
MANY = 37           # of the calls, each such one is made by default


def in_child(every, *names, memory=MEMORY):
    """The calls of extreme_ops in a child, which a crash ends: the lines it prints."""
    done = subprocess.run([sys.executable, extreme_ops.__file__, str(every), str(memory), *names],
                          capture_output=True, text=True, timeout=900,
                          env={**os.environ, 'PYTHONPATH': str(Path(extension.__file__).parents[2]),
                               'OMP_NUM_THREADS': '1'})
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-1000:])
    return lines


def test_every_op_has_a_sample():
    assert set(extreme_ops.samples()) == set(extension.OPS)


def test_some_extreme_calls():
    assert sum('refused' in line for line in in_child(MANY)) == len(extension.OPS)


@pytest.mark.slow
@pytest.mark.parametrize('name', extension.OPS)
def test_all_extreme_calls(name):
    assert 'refused' in in_child(1, name)[-1]


def view(*shape):
    """A tensor of any shape in the memory of one element."""
    return torch.zeros(1).as_strided(shape, [0] * len(shape))


@pytest.mark.parametrize('call', [
    lambda op: op.phases_input(view(1, 2**30, 1, 1), view(1, 1, 1, 1, 1, 2**30, 2**30), [0, 0],
                               [1, 1], False),
    lambda op: op.phases(view(1, 1, 1, 2**30), view(1, 1, 1, 2**30, 2**16, 2**16, 1), None, [0, 0],
                         [1, 1], torch.float32, False),
    lambda op: op.phases_filters(view(1, 1, 1, 1), view(1, 2**20, 2**20, 1), [0, 0],
                                 [2**31 - 1] * 2, [2**20] * 2, 1, False)])
def test_products_beyond_64_bits(call):
    """Filters of 2^60 elements: the size of their packed form wrapped to 0, and filling it ended
    the process."""
    with pytest.raises(ValueError, match='make more than 18014398509481984 products'):
        call(torch.ops.fcn_repro)
