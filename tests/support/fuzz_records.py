"""Readers to fuzz: logs, and this project's own records."""

import json
import tempfile
from pathlib import Path

import numpy as np
from fuzz_target import DATA, files, folder_with


def read_log(path):
    from fcn_repro.report.caffelog import read_log, save_tables
    log = read_log(path)
    with folder_with(path, 'log') as folder:
        save_tables(log, 'log', folder / 'tables')


LOG = b'''Log file created at: 2015/11/26 20:05:11
I1126 20:05:11.123456  4242 solver.cpp:279] Solving net
I1126 20:05:12.123456  4242 solver.cpp:337] Iteration 0, Testing net (#0)
I1126 20:05:12.223456  4242 solver.cpp:404]     Test net output #0: accuracy = 0.125
I1126 20:05:12.323456  4242 solver.cpp:404]     Test net output #1: loss = 2.30 (* 1 = 2.30 loss)
I1126 20:05:13.123456  4242 solver.cpp:228] Iteration 0, loss = 2.31
I1126 20:05:13.223456  4242 solver.cpp:244]     Train net output #0: loss = 2.31 (* 1 = 2.31 loss)
I1126 20:05:13.323456  4242 sgd_solver.cpp:106] Iteration 0, lr = 0.01
I0101 00:00:13.123456  4242 solver.cpp:239] Iteration 100 (50.1 iter/s, 2s/100 iters), loss = 1e-3
I20260229 00:00:14.123456  4242 sgd_solver.cpp:106] Iteration 100, lr = 0.001
'''


def read_json(path):
    from fcn_repro.parity.folder import read_known
    return read_known(path)


def json_seeds():
    return [json.dumps({'a': 'why', 'b': {'reason': 'x', 'arrays': ['outputs/*']}}).encode(),
            *files('formats/*.json', 'nets/shapes.json')()]


def read_stamp(path):
    from fcn_repro.data.scenes import read_stamp
    with folder_with(path, 'scenes.json') as folder:
        return read_stamp(folder)


def stamp_seeds():
    return [json.dumps({'version': 1, 'seed': 1337, 'train': 600, 'val': 100, 'size': [256, 320],
                        'digits': [2, 3], 'digit_sizes': [130, 190], 'mnist': None}).encode()]


def read_build(path):
    from fcn_repro.ops import extension
    check = getattr(extension, 'check_built', None) or extension.check_torch
    with folder_with(path, '_built.json') as folder:
        return check(folder)


def build_seeds():
    return [(DATA.parents[1] / 'fcn_repro/_built.json').read_bytes()]


def read_metrics(path):
    from fcn_repro.recipe.comparison import METRICS, figure_iu, read_metrics
    found = read_metrics(path)
    return figure_iu(found['confusion']), [100 * found[name] for name in METRICS]


def metrics_seeds():
    return [json.dumps({
        'pixel_accuracy': 0.5, 'mean_iu': 0.25, 'mean_accuracy': 0.5, 'fw_iu': 0.5, 'rule': 'paper',
        'class_iu': {'background': 0.5, 'person': None}, 'bound': None, 'of_bound': None,
        'images': 3, 'data': 'x', 'median_seconds': 0.1, 'confusion': [[3, 1], [2, 4]]}).encode()]


KEY = {'weights': 'x'}


def read_partial(path):
    from fcn_repro.predict.partial import Partial
    from fcn_repro.predict.scoring import Totals, image_metrics
    with folder_with(path, 'partial.jsonl') as folder:
        found = [score for _, score in Partial(folder, KEY, 3).begin().values()]
    Totals(3).add(found)
    return [image_metrics(score, 3) for score in found]


def partial_seeds():
    from fcn_repro.predict.partial import Partial
    from fcn_repro.predict.scoring import Seconds, score_image
    with tempfile.TemporaryDirectory() as folder:
        partial = Partial(Path(folder), KEY, 3)
        for k in range(2):
            label = np.random.default_rng(k).integers(0, 3, (9, 7)).astype(np.uint8)
            partial.append(k, '7 7', score_image(f'im{k}', label, label.T.reshape(9, 7), 3, 2,
                                                 Seconds(0.1, 0.1, 0.)))
        partial.close()
        return [Path(folder, 'partial.jsonl').read_bytes()]


def read_exported(path):
    """What a caffemodel that was exported says of classes, mean and colours, a line each."""
    from fcn_repro.export.caffe import PREFIX, Exported
    lines = path.read_bytes().decode('utf-8', 'replace').splitlines()
    return Exported.told(dict(zip((f'{PREFIX}classes', f'{PREFIX}mean', f'{PREFIX}palette'), lines,
                                  strict=False)), path)


def read_curves(path):
    from fcn_repro.report.curves import read_curves, write_curves
    points = read_curves(path)
    with folder_with(path, 'curves.csv') as folder:
        write_curves(points, folder / 'other.csv')


CURVES = b'''iteration,seconds,loss,lr,pixel_accuracy,mean_accuracy,mean_iu,fw_iu
1,0.5,2.31,0.01,,,,
2,1,1.9,0.01,0.5,0.4,0.3,0.2
'''
