"""The tools as a user types them: what is shown, what is written, and what a wrong word gives."""

import io
import json
import os
import re
import stat
from datetime import datetime
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
from PIL import Image
from small_runs import ROOT, assert_error, call, contents, small_stage, small_voc, start, wait

from fcn_repro.formats.weights import read_weights, write_hdf5
from fcn_repro.lock import RunLock, holder, named
from fcn_repro.report import progress
from fcn_repro.report.progress import TrainingBar, human
from fcn_repro.solver import Solver

TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('*.py'))
FOUR = re.compile(r'pixel acc\.  mean acc\.  mean IU  f\.w\. IU\n((?: +\d+\.\d){4})\n')


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The stage `small` in tmp_path, where we then are; (folder of its prototxt, VOC folder)."""
    return small_stage(tmp_path, monkeypatch)


def four(text):
    """The four metrics that a report shows, in percent."""
    return [float(x) for x in FOUR.search(text)[1].split()]


@pytest.mark.parametrize('name', TOOLS)
def test_every_tool_has_help_and_says_wrong_words(name, capsys):
    done = call(capsys, name, '--help')
    assert done.status == 0 and done.out.startswith('usage: ') and not done.err
    done = call(capsys, name, '--no-such-option', 'x')
    assert done.status == 2 and 'error: ' in done.err


# From nothing to a score, as processes

def test_train_then_eval(tmp_path):
    voc = small_voc(tmp_path / 'voc', 4)
    (voc / 'classes.txt').write_text('sky\nroad\ncar\n')
    words = ['mini-fcn32s', '--voc', voc, '--classes', 3, '--weights', 'none', '--iterations', 3]
    done = wait(start('train', *words, cwd=tmp_path))
    assert done.status == 0 and not done.err, done
    lines = done.out.splitlines()
    assert re.fullmatch(r'mini-fcn32s: \d+ layers, \d+\.\dM parameters, 3 iterations of 1 x 1 '
                        r'images, base_lr \S+, momentum 0.9, torch \S+ on \w+, \d+ threads?',
                        lines[0])
    assert lines[1:3] == ['every layer starts from its filler', 'upscore made bilinear']
    assert re.fullmatch(r'iteration 3/3: loss \S+, lr \S+, [\d.]+ images/s, 0 s left', lines[3])
    assert '2 images, rule of the paper; median ' in done.out
    shown = four(done.out)
    for name in ('sky', 'road', 'car'):
        assert re.search(rf'^{name} +(\d+\.\d|-)$', done.out, re.M)

    run = tmp_path / 'runs/mini-fcn32s'
    assert {'train.log', 'train_iter_3.caffemodel.h5', 'train_iter_3.solverstate.h5',
            'net', 'eval', 'curves.csv', 'report.html', 'classes.txt'} == {
                p.name for p in run.iterdir()}
    assert {p.name for p in (run / 'eval').iterdir()} == {
        'metrics.json', 'metrics.csv', 'images.csv', 'pictures', 'pictures.png'}
    assert [line.partition(',')[0] for line in (run / 'curves.csv').read_text().splitlines()] == [
        'iteration', '1', '2', '3']
    report = (run / 'report.html').read_text()
    assert all(f'</i>{name}</th>' in report for name in ('sky', 'road', 'car'))
    assert 'id="training"' in report and 'random weights' in report
    assert {p.name for p in (run / 'eval/pictures').iterdir()} == {'im0.png', 'im1.png'}
    saved = json.loads((run / 'eval/metrics.json').read_text())
    assert shown == [round(100 * saved[k], 1) for k in
                     ('pixel_accuracy', 'mean_accuracy', 'mean_iu', 'fw_iu')]
    assert saved['rule'] == 'paper' and saved['images'] == 2

    done = wait(start('eval_voc', '--rule', 'release', '--images', 1, '--out', 'one', '--split',
                      'train', '--pictures', 0, cwd=tmp_path))
    assert done.status == 0 and not done.err, done
    assert done.out.startswith('runs/mini-fcn32s: the only finished run\n'
                               'runs/mini-fcn32s/net/val.prototxt with '
                               'runs/mini-fcn32s/train_iter_3.caffemodel.h5\n')
    assert '\n17 copied, 0 cast, ' in done.out
    assert '1 images, rule of the release' in done.out and 'pictures (' not in done.out
    assert {p.name for p in (tmp_path / 'one').iterdir()} == {'metrics.json', 'metrics.csv',
                                                              'images.csv'}


# What is shown while a net trains

class Clock:
    """A clock on which every look at it takes some seconds."""

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 0

    def __call__(self):
        self.now += self.seconds
        return self.now


@pytest.mark.parametrize(('seconds', 'words'), [
    (3, 'about 6 s left\n'),
    (7200, 'about 4 h 00 min left. Use a GPU, or --iterations for a trial (make: '
           'ITERATIONS=…).\n')])
def test_the_estimate_is_measured_while_it_runs(small, tmp_path, capsys, monkeypatch, seconds,
                                                words):
    """Once, as soon as it rests on as much time as is left; the bar's lines and the log agree with
    it, and who asks for the folder is told."""
    monkeypatch.setattr(progress, 'time', SimpleNamespace(perf_counter=Clock(seconds)))
    seen, expect = [], RunLock.expect

    def expects(lock, left):
        expect(lock, left)
        seen.append((left, named(holder('runs/small'))))
    monkeypatch.setattr(RunLock, 'expect', expects)
    done = call(capsys, 'train', 'small', '--iterations', 5)
    assert done.status == 0 and done.out.count('small: about ') == 1
    assert f'\nsmall: {words}' in done.out
    assert f'] {words.partition(" left")[0]} left\n' in (
        tmp_path / 'runs/small/train.log').read_text()
    (left, told), = seen
    assert left == 2 * seconds and re.search(r', until about \d{4}-\d\d-\d\d \d\d:\d\d$', told)
    assert '5/5: loss ' in done.out and f'{2 / seconds:.1f} images/s, 0 s left\n' in done.out


def table(out, count):
    """{first word: rest} of `count` lines after the first one."""
    return {line.split()[0]: ' '.join(line.split()[1:]) for line in out.splitlines()[1:count + 1]}


def test_table_of_loaded_weights(small, tmp_path, capsys):
    """Copied, cast, left at filler, ignored: a row for each layer and a sum."""
    rng = np.random.default_rng(0)
    write_hdf5(tmp_path / 'w.h5', {
        'conv1': [rng.standard_normal((4, 27)), np.zeros(4)],
        'score_fr': [np.ones((3, 4, 1, 1)), np.zeros(3)], 'fc8': [np.ones((10, 4)), np.ones(10)]})
    words = 'train', 'small', '--iterations', 1, '--weights', 'w.h5'
    done = call(capsys, *words)
    assert done.status == 0 and not done.err
    unusual = {'conv1': 'cast (4, 27) to (4, 3, 3, 3), (4,)',
               'upscore': 'left at filler (3, 3, 4, 4)', 'fc8': 'ignored (10, 4), (10,)'}
    assert table(done.out, 3) == unusual
    every = call(capsys, *words, '--verbose', '--fresh')
    assert table(every.out, 5) == {'small:': ANY, 'score_fr': 'copied (3, 4, 1, 1), (3,)'} | unusual
    assert '\n1 copied, 1 cast, 1 left at filler, 1 ignored\n' in done.out


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def solver(small, tmp_path):
    return Solver(small[0] / 'solver.prototxt', prefix=tmp_path / 'train')


@pytest.fixture
def training(monkeypatch):
    """A function that has a bar see iterations of these seconds, of `last`; None: a score of val
    that takes a minute. [(iteration, seconds announced)]."""
    def training(seconds, last, pause=0):
        clock = SimpleNamespace(now=0., perf_counter=lambda: clock.now)
        monkeypatch.setattr(progress, 'time', clock)
        solver = SimpleNamespace(iter=0, param=SimpleNamespace(max_iter=last), rate=1,
                                 smoothed_loss=1, processes=SimpleNamespace(first=True))
        said = []

        def score():
            clock.now += 60
            return 'val'
        with TrainingBar(solver, 2, every=1, pause=pause, announce=lambda left: said.append(
                (solver.iter, left))) as bar:
            for each in seconds:
                if each is None:
                    bar.print_line(score)
                    continue
                solver.iter, clock.now = solver.iter + 1, clock.now + each
                bar.update()
        return said
    return training


def test_the_first_iterations_are_slow(training, capsys):
    """Of 700 iterations of 0.17 s the first ones take 8 s each: nothing is said of the time left
    before they are as fast as those before; the bar and the line say the same."""
    said = training([30, *6 * [8.], *693 * [0.17]], 700)
    assert said == [(15, pytest.approx(0.17 * 685))]
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines[:14] if 'left' in line]
    assert lines[14].endswith('1 min 56 s left') and lines[-1].endswith(', 0 s left')


def test_slow_iterations_are_believed_after_a_minute(training, capsys):
    """Whatever one of them took, and from three of them on."""
    assert training([9, *2 * [25.], 90, *6 * [25.]], 1000) == [(4, 25. * 996)]
    assert 'left' not in ''.join(capsys.readouterr().out.splitlines()[:3])


def test_an_estimate_that_is_wrong_is_corrected(training):
    """Another job ends: a second line, and not one for each iteration; what few iterations took
    changes nothing."""
    said = training([*200 * [2.], 300, *300 * [0.5]], 1000)
    assert said[0] == (11, 2. * 989)
    (when, left), = said[1:]
    assert 201 < when < 301 and left == 0.5 * (1000 - when)
    assert len(training([*20 * [2.], *9 * [9.], *60 * [2.]], 1000)) == 1


def test_scores_between_iterations_take_time(training):
    """Of 400 iterations of a second, with a score of a minute after each 100th: from the first on
    those that are to come count, and the estimate is corrected."""
    said = training([*100 * [1.], None, *100 * [1.]], 400, pause=100)
    assert said == [(11, 389.), (101, 299. + 2 * 60)]
    said = training([*10 * [1.], None, *30 * [1.]], 400, pause=10)
    assert said[0] == (11, 389. + 38 * 60)


def test_bar_on_a_terminal(solver, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr('sys.stderr', screen)
    with TrainingBar(solver, 2) as bar:
        for _ in solver.run():
            bar.update()
    last = screen.getvalue().split('\r')[-1]
    assert re.search(r'100%\|.*\| iteration 6/6, loss [\d.]+, lr [\d.]+, [\d.]+ images/s, '
                     r'0 s left\n', last)
    assert f'loss {solver.smoothed_loss:.4g}, lr 0.0025, ' in last


def test_lines_where_there_is_no_terminal(solver, capsys):
    with TrainingBar(solver, 2, every=4) as bar:
        for _ in solver.run():
            bar.update()
    out, err = capsys.readouterr()
    assert not err and re.findall(r'^iteration (\d)/6: loss \S+, lr \S+, \S+ images/s, \d+ s left$',
                                  out, re.M) == ['4', '6']


def test_durations_for_people():
    assert [human(s) for s in (0.4, 59, 61, 3599.7, 7322, 200000)] == [
        '0 s', '59 s', '1 min 01 s', '1 h 00 min', '2 h 02 min', '2 days']


# The log file

HEAD = re.compile(r'[IWE](\d{4}) (\d\d:\d\d:\d\d\.\d{6}) +\d+ \w+\.\w+:\d+\] ')


def test_log_is_what_parsers_of_caffes_logs_read(small, tmp_path, capsys):
    """The patterns of tools/extra/parse_log.py, extract_seconds.py and parse_log.sh in BVLC Caffe:
    time in the first two words, '] Solving ', outputs after 'Iteration N', the rate as word 9."""
    assert call(capsys, 'train', 'small').status == 0
    lines = (tmp_path / 'runs/small/train.log').read_text().splitlines()
    assert all(HEAD.match(line) for line in lines)
    times = [datetime.strptime('2016' + ' '.join(HEAD.match(line).groups()), '%Y%m%d %H:%M:%S.%f')
             for line in lines]
    assert times == sorted(times)
    first = next(i for i, line in enumerate(lines) if '] Solving ' in line)
    assert first == 0
    losses = [line for line in lines if ', loss = ' in line]
    rates = [line for line in lines if ', lr = ' in line]
    assert [int(re.search(r'Iteration (\d+)', line)[1]) for line in losses] == list(range(7))
    assert [re.search(r'lr = ([-+]?[0-9]*\.?[0-9]+([eE]?[-+]?[0-9]+)?)', line)[1]
            for line in rates] == ['0.01', '0.01', '0.005', '0.005', '0.0025', '0.0025']
    assert [line.split()[8] for line in rates][:3] == ['0.01', '0.01', '0.005']
    output = re.compile(r'Train net output #(\d+): (\S+) = ([\.\deE+-]+)')
    found = [output.search(line).groups() for line in lines if 'Train net' in line]
    assert [f[:2] for f in found] == [('0', 'loss')] * 6
    assert all(line.endswith(f' = {f[2]} (* 1 = {f[2]} loss)') for f, line in zip(
        found, [line for line in lines if 'Train net' in line], strict=True))
    smoothed = [float(line.split(', loss = ')[1]) for line in losses]
    assert len(set(smoothed)) == 7 and all(s > 0 for s in smoothed)
    snapshots = [line for line in lines if 'Snapshotting solver state to ' in line]
    assert [line.split('_iter_')[1] for line in snapshots] == ['3.solverstate.h5',
                                                               '6.solverstate.h5']

    assert call(capsys, 'train', 'small', '--restore', '--iterations', 8).status == 0
    longer = (tmp_path / 'runs/small/train.log').read_text().splitlines()
    assert longer[:len(lines)] == lines and 'Restoring previous solver' in longer[len(lines)]
    assert [int(line.split('Iteration ')[1].split(',')[0]) for line in longer[len(lines):]
            if ', loss = ' in line] == [6, 7, 8]


def test_log_has_the_lines_of_test_nets(small, tmp_path, capsys):
    solver = small[0] / 'solver.prototxt'
    solver.write_text(solver.read_text() + 'test_net: "val.prototxt" test_iter: 2 test_interval: 4')
    assert call(capsys, 'train', 'small').status == 0
    text = (tmp_path / 'runs/small/train.log').read_text()
    parts = re.findall(r'\] Iteration (\d+), Testing net \(#0\)\n.*\]     Test net output #0: '
                       r'(\S+) = [\.\deE+-]+ \(\* 1 = [\.\deE+-]+ loss\)\n', text)
    assert parts == [('0', 'loss'), ('4', 'loss')]


# Words that make no sense together

@pytest.mark.parametrize('words, parts', [
    (['--iterations', 0], ['iterations', '0']),
    (['--classes', 3], ['number of classes']),
    (['--sbd', 'x'], ['small', "'sbd'"]),
    (['--mnist', 'x'], ['small', "'mnist'"]),
    (['--m2nist', 'x'], ['small', "'m2nist'"]),
    (['--device', 'gpu'], ["'gpu' is unknown", 'Use cpu']),
    (['--device', 'cuda:99'], ["'cuda:99'", '0 GPUs', '--device cpu']),
    (['--solver', 'x.prototxt'], ["small has no solver 'x.prototxt'", 'solver.prototxt']),
    (['--force'], ['force', 'restore']),
    (['--keep', 0], ['keep', '0']),
    (['--weights', 'none.caffemodel'], ['none.caffemodel: cannot be read', 'Check the path']),
], ids=lambda v: ' '.join(map(str, v)) if str(v[0]).startswith('--') else '')
def test_train_refuses(small, tmp_path, capsys, words, parts):
    """And an earlier run stays as it is, even under --fresh."""
    assert call(capsys, 'train', 'small', '--iterations', 1).status == 0
    before = {p: b for p, b in contents(tmp_path / 'runs').items() if p.name != 'train.log'}
    assert_error(call(capsys, 'train', 'small', *words, '--out', 'other'), *parts)
    if words[0] not in ('--weights', '--device'):
        assert_error(call(capsys, 'train', 'small', *words, '--fresh'), *parts)
    assert {p: b for p, b in contents(tmp_path / 'runs').items()
            if p.name != 'train.log'} == before


def test_train_needs_weights_for_the_real_nets(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_error(call(capsys, 'train', 'voc-fcn32s'), 'voc-fcn32s starts from ImageNet weights',
                 'VGG_ILSVRC_16_layers.caffemodel', 'none')
    assert_error(call(capsys, 'train', 'voc-fcn32s', '--weights', 'x'), 'VOC2011',
                 'no such folder', 'Give a folder with JPEGImages/')
    voc = small_voc(tmp_path / 'voc')
    assert_error(call(capsys, 'train', 'voc-fcn32s', '--voc', voc, '--classes', 3, '--sbd', 'x'),
                 'sbd', 'classes', '3')
    assert_error(call(capsys, 'train', 'mini-classifier', '--voc', voc), "takes no 'voc'")
    assert_error(call(capsys, 'train', 'no-such-stage'), "unknown stage 'no-such-stage'")
    assert list(tmp_path.iterdir()) == [voc]


# The smaller tools

def test_convert_caffemodel(tmp_path, capsys):
    source = next((ROOT / 'tests/data').rglob('v1.caffemodel'))
    done = call(capsys, 'convert_caffemodel', '--inspect', source)
    assert done.status == 0 and 'layers with weights of' in done.out and '(binary)' in done.out
    done = call(capsys, 'convert_caffemodel', source, tmp_path / 'out.h5')
    assert done.status == 0 and f'wrote {tmp_path}/out.h5' in done.out
    ours, theirs = read_weights(tmp_path / 'out.h5'), read_weights(source)
    for name, blobs in theirs.items():
        for mine, blob in zip(ours[name], blobs, strict=True):
            assert np.array_equal(mine.ravel(), blob.astype(np.float32).ravel())
    assert_error(call(capsys, 'convert_caffemodel', source), 'OUT or --inspect')
    for bad, parts in {tmp_path / 'none': ['cannot be read', 'Check the path'],
                       ROOT / 'pyproject.toml': ['is a text that begins']}.items():
        assert_error(call(capsys, 'convert_caffemodel', bad, tmp_path / 'out.h5'), bad, *parts)
    cut = tmp_path / 'cut.caffemodel'
    cut.write_bytes(source.read_bytes()[:-9])
    before = (tmp_path / 'out.h5').read_bytes()
    assert_error(call(capsys, 'convert_caffemodel', cut, tmp_path / 'out.h5'), cut)
    assert (tmp_path / 'out.h5').read_bytes() == before
    assert_error(call(capsys, 'convert_caffemodel', source, cut / 'out.h5'), cut / 'out.h5',
                 'cannot be written', 'folder')


def test_make_prototxt(tmp_path, capsys):
    done = call(capsys, 'make_prototxt', '--out', tmp_path / 'all')
    assert done.status == 0
    for folder in (ROOT / 'prototxt').iterdir():
        assert contents(tmp_path / 'all' / folder.name) == contents(folder)
    done = call(capsys, 'make_prototxt', '--model', 'voc-fcn32s', '--classes', 3, '--voc-dir',
                'my/voc', '--out', tmp_path / 'mine')
    assert done.status == 0 and 'my/voc' in (tmp_path / 'mine/train.prototxt').read_text()
    assert_error(call(capsys, 'make_prototxt', '--out', 'x', '--classes', 3), '--model')
    (tmp_path / 'file').touch()
    assert_error(call(capsys, 'make_prototxt', '--out', tmp_path / 'file'), tmp_path / 'file')


def test_make_scenes(tmp_path, capsys):
    words = ['--out', tmp_path / 'scenes', '--train', 1, '--val', 1]
    done = call(capsys, 'make_scenes', *words)
    assert done.status == 0 and 'upper bound of mean IU at stride 32' in done.out
    assert 'already there' in call(capsys, 'make_scenes', *words).out
    assert_error(call(capsys, 'make_scenes', *words, '--size', 10, 10))
    (tmp_path / 'file').touch()
    assert_error(call(capsys, 'make_scenes', '--out', tmp_path / 'file/scenes'), tmp_path / 'file')


def test_cuda_check_without_nvcc(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    assert_error(call(capsys, 'cuda_check'), 'nvcc', 'Install')


def test_pictures_and_tables_are_readable_by_others(small, tmp_path, capsys):
    """What was written beside and renamed has the rights that the umask leaves."""
    assert call(capsys, 'train', 'small', '--iterations', 1).status == 0
    mask = os.umask(0)
    os.umask(mask)
    for path in (tmp_path / 'runs').rglob('*.*'):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path
    assert Image.open(tmp_path / 'runs/small/eval/pictures.png').mode == 'RGB'
