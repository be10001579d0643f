"""What a training step of VGG16 at 500x500 needs, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 4e9
DATA = '''layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 1 dim: 3 dim: 500 dim: 500 } data_filler { type: "gaussian" std: 50 }
  shape { dim: 1 dim: 1 dim: 500 dim: 500 } data_filler { type: "constant" value: 3 } } }
'''
SOLVER = '''train_net: "train.prototxt" base_lr: 1e-10 lr_policy: "fixed" momentum: 0.99
weight_decay: 0.0005 max_iter: 2 snapshot_after_train: false
'''
STEPS = '''
import re, sys
from fcn_repro.solver import Solver
solver = Solver('solver.prototxt', precision=sys.argv[1])
for _ in solver.run():
    pass
status = open('/proc/self/status').read()      # ru_maxrss would be the parent's, if that was larger
print(solver.iter, 1024 * int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]))
'''


@pytest.mark.slow
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_training_step_fits_in_4_gb(tmp_path, precision):
    """Weights, gradients and history of 538 MB each, activations, and what convolutions take."""
    text = (ROOT / 'prototxt/voc-fcn32s/train.prototxt').read_text()
    layers = text.split('layer {')
    assert 'type: "Python"' in layers[1]
    (tmp_path / 'train.prototxt').write_text(layers[0] + DATA + 'layer {' + 'layer {'.join(
        layers[2:]))
    (tmp_path / 'solver.prototxt').write_text(SOLVER)
    done = subprocess.run([sys.executable, '-c', STEPS, precision], cwd=tmp_path, text=True,
                          env={'PYTHONPATH': str(ROOT)}, capture_output=True, timeout=900)
    assert done.returncode == 0, done.stderr
    iterations, peak = map(int, done.stdout.split())
    assert iterations == 2 and 1.6e9 < peak < LIMIT, f'{peak / 1e9:.2f} GB'
