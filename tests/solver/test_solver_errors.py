"""Everything that can be wrong when a net is trained: one line, status 1, earlier runs stay."""

import errno
import os
import resource
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from data_folders import save_jpeg, save_palette_png
from PIL import Image
from small_runs import (
    SIZE,
    assert_error,
    call,
    contents,
    image_path,
    label_path,
    small_stage,
    small_voc,
    start,
    wait,
    write_stage,
)

from fcn_repro.data.order import SampleOrder
from fcn_repro.errors import FcnError
from fcn_repro.formats import atomic
from fcn_repro.formats.weights import read_weights, write_hdf5
from fcn_repro.recipe import iterating
from fcn_repro.report import progress
from fcn_repro.report.progress import log_to
from fcn_repro.solver import Solver

ORDER = ['im2', 'im3', 'im4']                                   # train.txt
CONSUMED = [ORDER[SampleOrder(3, 1337, True)[k]] for k in range(12)]
LATER = next(id_ for id_ in CONSUMED if id_ != CONSUMED[0])     # not read before training starts


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The stage `small`; (its prototxt folder, its VOC folder, where its run will be)."""
    return *small_stage(tmp_path, monkeypatch), tmp_path / 'runs/small'


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def run_files(run):
    """What the run holds but its log and curves, which only grow."""
    return {p: b for p, b in contents(run).items() if p.name not in ('train.log', 'curves.csv')}


# Nets and solvers

@pytest.mark.parametrize('old, new, parts', [
    ('layer { name: "relu1"', 'layer name: "relu1"', ['train.prototxt:7: ', 'Expected']),
    ('num_output: 4', 'num_outputs: 4', ['train.prototxt:5: ', "no field 'num_outputs'",
                                         "Did you mean 'num_output'?"]),
    ('pool: MAX', 'pool: MAXIMUM', ['train.prototxt:9: ', 'MAXIMUM', 'MAX']),
    ('type: "ReLU"', 'type: "ReLu"', ['train.prototxt:7: ', "layer 'relu1'", 'ReLu',
                                      "Did you mean 'ReLU'?"]),
    ('bottom: "pool1" top: "score_fr"', 'bottom: "pool2" top: "score_fr"',
     ['train.prototxt:11: ', "layer 'score_fr'", 'pool2', "'pool1'"]),
    ('kernel_size: 3', 'kernel_size: 99', ['train.prototxt:4: ', "layer 'conv1'", '99']),
    ('kernel_size: 2 stride: 2', 'stride: 2', ['train.prototxt:8: ', "layer 'pool1'",
                                               'give kernel_size']),
    ('offset: 8', 'offset: 28', ['train.prototxt:16: ', "layer 'score'", '28', 'offset']),
    ('bottom: "score" bottom', 'bottom: "upscore" bottom', [
        'train.prototxt:18: ', "layer 'loss'", 'labels', 'Give one label for each position']),
    ('bottom: "upscore" bottom: "data"', 'bottom: "upscore"', [
        'train.prototxt:16: ', "layer 'score'", '1 bottoms', 'takes 2']),
    ("'split'", "'splits'", ['train.prototxt:1: ', "layer 'data'", "'splits'", 'Known: ']),
], ids=lambda v: v if isinstance(v, str) else '')
def test_wrong_nets(small, capsys, old, new, parts):
    change(small[0] / 'train.prototxt', old, new)
    assert_error(call(capsys, 'train', 'small'), small[0], *parts)


@pytest.mark.parametrize('old, new, parts', [
    ('momentum: 0.9', 'momentum 0.9', ['solver.prototxt:6: ', 'Expected']),
    ('momentum:', 'momentun:', ['solver.prototxt:6: ', "Did you mean 'momentum'?"]),
    ('lr_policy: "step"', 'lr_policy: "steps"', ['solver.prototxt', "'steps' is unknown", 'fixed']),
    ('stepsize: 2', '', ['solver.prototxt', 'needs stepsize', 'Set stepsize']),
    ('base_lr', 'type: "Adm" base_lr', ['solver.prototxt:2: ', "solver type 'Adm' is unknown",
                                        'Use SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam.']),
    ('base_lr', 'type: "AdaGrad" base_lr', ['solver.prototxt:6: ', 'momentum 0.9, but AdaGrad has',
                                            'Remove momentum']),
    ('train_net: "train.prototxt"', '', ['solver.prototxt', 'no train_net', 'Name the net file']),
    ('train.prototxt', 'trian.prototxt', ['solver.prototxt', "no net 'trian.prototxt'",
                                          'Correct train_net']),
], ids=lambda v: v if isinstance(v, str) else '')
def test_wrong_solvers(small, capsys, old, new, parts):
    change(small[0] / 'solver.prototxt', old, new)
    assert_error(call(capsys, 'train', 'small'), small[0], *parts)


def test_wrong_weights(small, tmp_path, capsys):
    """Nothing of a run is made; all the ways that weights do not fit reach the user."""
    write_hdf5('other.h5', {'score_fr': [np.ones((5, 4, 1, 1)), np.ones(5)]})
    write_hdf5('none.h5', {'fc8': [np.ones((5, 4))]})
    write_hdf5('nan.h5', {'score_fr': [np.full((3, 4, 1, 1), np.nan), np.ones(3)]})
    whole = (tmp_path / 'other.h5').read_bytes()
    (tmp_path / 'cut.h5').write_bytes(whole[:len(whole) // 2])
    for file, parts in {
            'other.h5': ["layer 'score_fr'", '(5, 4, 1, 1)', '(3, 4, 1, 1)', 'Use the net'],
            'none.h5': ['no layer matches', 'conv1', 'fc8', 'same names'],
            'nan.h5': ["layer 'score_fr'", '12 of 12', 'NaN', 'earlier snapshot'],
            'cut.h5': ['is truncated', 'Copy']}.items():
        assert_error(call(capsys, 'train', 'small', '--weights', file), file, *parts)
    assert not list(tmp_path.glob('runs/small/*.h5'))


# Data

def truncate(voc, id_):
    path = image_path(voc, id_)
    path.write_bytes(path.read_bytes()[:-200])


def convert(mode):
    def save(voc, id_):
        Image.open(image_path(voc, id_)).convert(mode).save(image_path(voc, id_))
    return save


def label_ids(voc, id_):
    label = np.array(Image.open(label_path(voc, id_)))
    label[3, :4] = 3, 4, 200, 7
    save_palette_png(label, label_path(voc, id_))


def other_size(voc, id_):
    save_jpeg(np.zeros((SIZE[0], 9, 3), np.uint8), image_path(voc, id_))


SPOILT = [
    (truncate, ['JPEGImages/{}.jpg', 'runcated', 'copy it again']),
    (convert('L'), ['JPEGImages/{}.jpg', 'grey', "'L'", 'RGB', 'Save a copy']),
    (convert('CMYK'), ['JPEGImages/{}.jpg', 'the image is CMYK', 'Save a copy']),
    (lambda voc, id_: image_path(voc, id_).unlink(), ['JPEGImages/{}.jpg', "image of '{}'"]),
    (lambda voc, id_: label_path(voc, id_).unlink(), [
        'SegmentationClass/{}.png', "label of '{}'", 'missing']),
    (other_size, ['SegmentationClass/{}.png', 'x9', 'same size']),
]


@pytest.mark.parametrize('spoil, parts', SPOILT)
@pytest.mark.parametrize('id_', [CONSUMED[0], LATER, 'im0', 'im1'])
def test_wrong_images(small, capsys, id_, spoil, parts):
    """Of train: at once, or in the reading thread in the middle of training. Of val: before
    training for the first image, else when it is scored; the weights are kept then."""
    spoil(small[1], id_)
    assert_error(call(capsys, 'train', 'small'), *(part.format(id_) for part in parts))
    held = sorted(path.name for path in small[2].glob('*.h5'))
    if id_ == 'im1':
        assert 'train_iter_6.caffemodel.h5' in held
    elif id_ == 'im0' or id_ == CONSUMED[0]:
        assert not held


def test_label_ids(small, capsys):
    """In training by the loss, which names the layer; when scoring by the file."""
    label_ids(small[1], LATER)
    assert_error(call(capsys, 'train', 'small'), "layer 'loss'", '4 labels outside 0 … 2', ' 3,',
                 'ignore_label 255', 'Fix the labels')
    label_ids(small[1], 'im1')
    for id_ in ORDER:
        good = np.zeros_like(Image.open(label_path(small[1], id_)))
        save_palette_png(good, label_path(small[1], id_))
    assert_error(call(capsys, 'train', 'small', '--fresh'), 'SegmentationClass/im1.png', 'id 200',
                 '3 classes', 'Mark void pixels')


def test_label_ids_with_classes(tmp_path, monkeypatch, capsys):
    """A data set of one's own is checked by the reader, which names the file."""
    monkeypatch.chdir(tmp_path)
    label_ids(small_voc(tmp_path / 'voc'), 'im0')
    words = ['mini-fcn32s', '--voc', 'voc', '--weights', 'none', '--classes']
    done = call(capsys, 'train', *words, 4)
    assert done.status == 1 and done.err.endswith(
        '  1 x ids that the net has no class for\n      voc/SegmentationClass/im0.png: it holds '
        'the id 200 (3 pixels), the net has 4 classes, 0 to 3\n1 in all. `fcn-repro data check voc '
        '--classes 4` lists every file, and says what to do.\n')
    for count in (-1, 0, 256):
        assert_error(call(capsys, 'train', *words, count), f'{count} classes', '1 to 255')


@pytest.mark.parametrize('split', ['train', 'val'])
def test_splits(small, capsys, split):
    """Both are looked at before anything is trained."""
    path = small[1] / f'ImageSets/Segmentation/{split}.txt'
    path.write_text('\n')
    assert_error(call(capsys, 'train', 'small'), path, 'empty', 'image id')
    path.unlink()
    other = 'val' if split == 'train' else 'train'
    assert_error(call(capsys, 'train', 'small'), path, f"no split '{split}'",
                 f'Splits found: {other}')
    assert not small[2].exists() or not run_files(small[2])


def test_a_run_continues_after_its_data_are_repaired(small, capsys):
    """An error in the middle leaves the snapshots; --restore ends where an unspoilt run does."""
    assert call(capsys, 'train', 'small', '--out', 'whole').status == 0
    assert LATER in CONSUMED[6:]        # iter_size 2: those after the snapshot at 3
    path = image_path(small[1], LATER)
    good = path.read_bytes()
    assert call(capsys, 'train', 'small', '--iterations', 3).status == 0
    truncate(small[1], LATER)
    assert '+++ data now' in call(capsys, 'train', 'small', '--restore').err
    assert_error(call(capsys, 'train', 'small', '--restore', '--force'), path, 'copy it again')
    path.write_bytes(good)
    assert_error(call(capsys, 'train', 'small'), 'stopped at iteration 3 of 6', '--restore')
    assert call(capsys, 'train', 'small', '--restore').status == 0
    name = 'train_iter_6.caffemodel.h5'
    assert (small[2] / name).read_bytes() == (small[2].parents[1] / 'whole' / name).read_bytes()


# Numbers

@pytest.mark.parametrize('rate', ['1e30', '1e6'])
def test_a_loss_that_is_no_number(small, capsys, rate):
    """The latest snapshot stays, and none is written of what diverged."""
    change(small[0] / 'solver.prototxt', 'base_lr: 0.01', f'base_lr: {rate}')
    change(small[0] / 'solver.prototxt', 'stepsize: 2', 'stepsize: 1000')
    assert call(capsys, 'train', 'small', '--iterations', 1).status == 0
    before = run_files(small[2])
    change(small[0] / 'solver.prototxt', 'max_iter: 6', 'max_iter: 600')
    change(small[0] / 'solver.prototxt', 'snapshot: 3', 'snapshot: 0')
    done = call(capsys, 'train', 'small', '--restore')
    assert_error(done, small[0] / 'solver.prototxt', 'the loss became', 'at iteration ',
                 'Lower base_lr', 'snapshot is untouched')
    assert run_files(small[2]) == before


def test_weights_that_overflow_are_no_snapshot(tmp_path):
    """The last update can overflow after a finite loss."""
    file = write_stage(tmp_path / 'net', small_voc(tmp_path / 'voc'))
    solver = Solver(file, prefix=tmp_path / 'train')
    for _ in solver.run(1):
        pass
    before = contents(tmp_path)
    solver.net.learnable_params[0].data[:] = np.inf
    with pytest.raises(FcnError, match=r"'conv1'.* NaN or infinite by iteration 1. Lower"):
        solver.snapshot()
    assert contents(tmp_path) == before


# Files that cannot be written

def test_full_disk_while_a_snapshot_is_written(tmp_path):
    """A limit on the size of files, as a process: nothing half is left, and nothing else is said
    when HDF5 closes."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    words = ['mini-fcn32s', '--voc', small_voc(tmp_path / 'voc', 3), '--classes', 3, '--weights',
             'none', '--iterations', 1, '--out', 'run']
    done = wait(start('train', *words, cwd=tmp_path, preexec_fn=limit))
    assert_error(done, 'run/train_iter_1.caffemodel.h5: cannot be written: File too large',
                 'has room')
    assert {p.name for p in (tmp_path / 'run').iterdir()} == {
        'net', 'train.log', 'curves.csv', 'classes.txt'}


def test_full_disk_under_the_log(small, capsys):
    small[2].mkdir(parents=True)
    (small[2] / 'train.log').write_text(5000 * '.')
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, most))
    try:
        done = call(capsys, 'train', 'small')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert_error(done, 'train.log', 'the log cannot be written: File too large', 'space')


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_waited_for(small, tmp_path, capsys, monkeypatch):
    """A finished run keeps its state until there is room, and then ends as one that never met a
    full disk; a log that is full says so once and does not end it."""
    naps = []

    def fills(function):
        def full(*args):
            if len(naps) < 3:           # then there is room again
                raise FULL
            return function(*args)
        return full
    undisturbed = call(capsys, 'train', 'small', '--out', 'other')
    monkeypatch.setattr(iterating, 'time', SimpleNamespace(sleep=naps.append,
                                                          perf_counter=time.perf_counter))
    monkeypatch.setattr(atomic.os, 'fsync', fills(os.fsync))
    monkeypatch.setattr(progress.LogFile, 'flush', fills(progress.LogFile.flush))
    done = call(capsys, 'train', 'small')
    assert done.status == undisturbed.status == 0 and naps == 3 * [iterating.AGAIN]
    first, then, *rest = done.err.splitlines()
    assert first == f'{tmp_path}/runs/small/train.log: No space left on device; lines will be ' \
        'missing here until there is room'
    assert 'caffemodel.h5: cannot be written: No space left' in then and not rest[1:]
    assert 'tries again every 30 seconds; Ctrl-C ends it' in rest[0]
    ours, theirs = (tmp_path / name / 'train_iter_6.caffemodel.h5' for name in
                    ('runs/small', 'other'))
    assert all((a == b).all() for x, y in zip(read_weights(ours).values(),
                                              read_weights(theirs).values(), strict=True)
               for a, b in zip(x, y, strict=True))


def test_a_signal_ends_the_wait_for_room(small, capsys, monkeypatch):
    def full(*args):
        raise FULL
    monkeypatch.setattr(iterating, 'time', SimpleNamespace(
        sleep=lambda seconds: signal.raise_signal(signal.SIGINT), perf_counter=time.perf_counter))
    monkeypatch.setattr(atomic.os, 'fsync', full)
    before = signal.getsignal(signal.SIGINT)
    done = call(capsys, 'train', 'small')
    assert done.status == 1 and signal.getsignal(signal.SIGINT) == before
    assert done.err.count('caffemodel.h5: cannot be written: No space left on device') == 2


@pytest.mark.parametrize('place', ['runs', 'runs/small', 'runs/small/train.log',
                                   'runs/small/eval', 'runs/small/eval/pictures'])
def test_something_in_the_way(small, tmp_path, capsys, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if path.suffix else path.touch()
    done = call(capsys, 'train', 'small', '--iterations', 1)
    assert_error(done, place, 'cannot be' if path.suffix or path.name == 'pictures' else 'cannot')
    assert path.exists() and ('eval' in place) == bool(list(tmp_path.glob('runs/small/*.h5')))


def unprivileged():
    """Root's right to write everywhere (CAP_DAC_OVERRIDE) is given up; without it nothing is."""
    import ctypes
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def test_read_only_folder(tmp_path):
    (tmp_path / 'closed').mkdir(mode=0o555)
    voc = small_voc(tmp_path / 'voc', 3)
    done = wait(start('train', 'mini-fcn32s', '--voc', voc, '--classes', 3, '--weights', 'none',
                      '--out', 'closed/run', cwd=tmp_path, preexec_fn=unprivileged))
    assert_error(done, 'closed/run', 'cannot make this folder: Permission denied')


def test_log_of_another_run_is_closed(tmp_path):
    first = log_to(tmp_path / 'a.log')
    log_to(tmp_path / 'b.log')
    assert first.stream is None or first.stream.closed
    with pytest.raises(FcnError, match='the log cannot be opened'):
        log_to(tmp_path)
    assert os.path.exists(tmp_path / 'a.log')
