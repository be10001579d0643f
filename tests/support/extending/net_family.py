"""Run docs/extending/net-family.patch, in a copy of the project that it is applied to: its prototxt
files are written, and its stage is trained for two iterations."""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_runs import small_voc

from fcn_repro.recipe.models import MODELS
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import shipped
from fcn_repro.recipe.training import train

shipped('tiny-fcn2s').mkdir()
for name, text in MODELS['tiny-fcn2s'].files().items():
    (shipped('tiny-fcn2s') / name).write_text(text)
with tempfile.TemporaryDirectory() as scratch:
    os.chdir(scratch)
    run = Run('tiny-fcn2s', Options(voc=str(small_voc(Path('voc'))), classes=3, iterations=2))
    assert train(run) == Path('runs/tiny-fcn2s/train_iter_2.caffemodel.h5')
    assert run.finished and not run.stopped and run.parent is None
    assert (run.folder / 'eval/metrics.json').is_file()
