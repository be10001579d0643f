"""Run docs/extending/data-set.patch, in a copy of the project that it is applied to: a val net
reads the new data set's folder and is scored on it."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from data_folders import save_jpeg, save_palette_png
from small_runs import NET

from fcn_repro.net import Net
from fcn_repro.predict.evaluation import evaluate_and_report

DATA = '''layer { name: "data" type: "Python" top: "data" top: "label" python_param {
  module: "street_layers" layer: "StreetSegDataLayer"
  param_str: "{'street_dir': '%s', 'split': 'val', 'mean': (104.0, 116.7, 122.7)}" } }
'''

with tempfile.TemporaryDirectory() as scratch:
    folder = Path(scratch)
    rng = np.random.default_rng(0)
    for part in 'frames', 'labels':
        (folder / part).mkdir()
    for name in 'ab':
        save_jpeg(rng.integers(0, 256, (24, 32, 3), np.uint8), folder / f'frames/{name}.jpg')
        save_palette_png(rng.integers(0, 3, (24, 32)).astype(np.uint8),
                         folder / f'labels/{name}.png')
    (folder / 'val.txt').write_text('a\nb\n')
    (folder / 'classes.txt').write_text('road\nsky\ncar\n')
    (folder / 'val.prototxt').write_text(DATA % folder + NET)
    net = Net.read(folder / 'val.prototxt', 'TEST')
    label = net.forward(blobs='label')['label']
    expected = np.asarray(Image.open(folder / 'labels/a.png'))
    assert np.array_equal(label[0, 0].numpy(), expected)
    metrics = evaluate_and_report(net, folder / 'eval', pictures=1).metrics
    assert 0 <= metrics.mean_iu <= 1 and (folder / 'eval/pictures/a.png').is_file()
