"""The benchmarks as a user runs them, and what is made of their results."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from small_runs import call, tool

from fcn_repro.errors import FcnError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'benchmarks'))
import bench  # noqa: E402
import gpu  # noqa: E402
import gpu_targets  # noqa: E402
import nets  # noqa: E402
import report  # noqa: E402
import successors  # noqa: E402
import targets  # noqa: E402
import timing  # noqa: E402

CASE = {'stride': 8, 'classes': 21, 'height': 375, 'width': 500, 'batch': 1, 'threads': 1}


def row(group, way, ratio, case=CASE, **more):
    return {'group': group, 'case': case, 'way': way, 'seconds': [ratio * 1e-3],
            'median': ratio * 1e-3, 'best': ratio * 1e-3, 'ratio': ratio, **more}


ROWS = [row('op 1 forward', 'dense, contiguous', 60),
        row('op 1 forward', 'dense, channels-last', 49),
        row('op 1 forward', 'depthwise, contiguous', 12),
        row('op 1 forward', 'depthwise, channels-last', 2.9), row('op 1 forward', 'ours', 1),
        row('op 1 forward', 'floor: the output written once', 0.25),
        row('op 6 SGD', 'ours', 1), row('op 6 SGD', 'floor: arrays', 0.8),
        *(row('op 4 labels', way, n * c['threads'], c, curve='threads') for n, way in
          ((30, 'dense, contiguous'), (40, 'dense, channels-last'), (1, 'ours'))
          for c in (CASE, CASE | {'threads': 2}))]


def test_turns_are_alternating_and_the_first_does_not_count():
    calls = []
    taken = timing.alternate({'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}, 2,
                             warm=False)
    assert ''.join(calls) == 'abbaab' and [len(times) for times in taken.values()] == [2, 2]


def test_the_ratio_is_that_of_each_round(monkeypatch):
    monkeypatch.setattr(timing, 'alternate', lambda *_: {'peer': [2, 8, 90], 'ours': [1, 2, 30],
                                                         'floor: f': [1, 1, 15]})
    args = timing.arguments('x', 3).parse_args([])
    found = {r['way']: r for r in timing.measure('g', {}, {}, args, ('f', None, 0.5))}
    assert found['peer']['ratio'] == 3 and found['peer']['best'] == 2
    assert found['floor: f']['seconds'] == [0.5, 0.5, 7.5] and found['floor: f']['ratio'] == 0.25


@pytest.mark.parametrize('mini', sorted({mini for _, mini, _ in successors.NETS.values()}))
def test_twins_of_the_successors(mini):
    """PyTorch's twin gives the net's output, in both memory formats; `check` says where not."""
    text = successors.deploy_text(successors.PROTOTXT / mini / 'deploy.prototxt')
    net = successors.Net.of(successors.parse_net(text), successors.TEST)
    successors.fill(net)
    x = 50 * torch.randn(net.blobs['data'].shape, generator=torch.Generator().manual_seed(1))
    masked = any(node.type == 'Upsample' for node in net.graph.nodes)
    with torch.inference_mode():
        expected = net(data=x)[net.graph.outputs[0]].clone()
        assert expected.std() > 1e-3
        for form in torch.contiguous_format, torch.channels_last:
            run, image = successors.twin(net, form), x.contiguous(memory_format=form)
            successors.check('twin', lambda run=run, image=image: run(image), expected, masked)
        with pytest.raises(FcnError, match='of its values'):
            successors.check('other', lambda: expected.flip(3), expected, masked)
    assert successors.macs_of(net) > 1e8


def test_verdicts():
    found = {(v['what'], v['against']): v for v in targets.verdicts(ROWS)}
    dense = found['op 1, forward', 'dense, channels-last']
    assert dense['reached'] == 49 and dense['verdict'] == 'NOT MET' and dense['floor'] == 25
    assert found['op 1, forward', 'dense, contiguous']['verdict'] == 'met'
    assert found['op 1, forward', 'depthwise, contiguous']['verdict'] == 'met'
    depthwise = found['op 1, forward', 'depthwise, channels-last']      # 2.9 / 0.25 is under 12
    assert depthwise['reached'] == 2.9 and depthwise['verdict'] == 'BELOW THE FLOOR'
    update = found['op 6, update', 'arrays read and written once']
    assert update['reached'] == 1.25 and update['verdict'] == 'NOT MET'
    assert len(found) == 5                              # curves are no target
    assert 'NOT MET' in targets.summary(ROWS)


def test_pages_from_results(tmp_path):
    machine = {'processor': 'A & B', 'cores': 2, 'threads': 1, 'torch': '2', 'load': 0.5,
               'instructions': 'AVX2'}
    (tmp_path / 'r.json').write_text(json.dumps({'machine': machine, 'rows': ROWS}))
    done = subprocess.run([sys.executable, ROOT / 'benchmarks/report.py', tmp_path / 'r.json',
                           '--out', tmp_path], env={'PYTHONPATH': str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / 'performance-tables.md').read_text()
    assert '| >= 50 | 49.00 | 25 % | **not met** |' in page and 'A & B' in page
    tree = ElementTree.parse(tmp_path / 'performance.svg')
    assert len(tree.findall('.//{*}polyline')) == 2
    lines = report.lines_of(ROWS, 'op 4 labels', 'threads')
    assert lines == {'dense': [(1, 30), (2, 60)], 'ours': [(1, 1), (2, 2)]}


def test_no_results(tmp_path):
    done = subprocess.run([sys.executable, ROOT / 'benchmarks/report.py', tmp_path / 'r.json'],
                          env={'PYTHONPATH': str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith('error: ') and 'bench.py' in done.stderr


def test_gpu_check_wants_a_gpu(capsys, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    done = call(capsys, 'gpu_check')
    assert done.status == 1 and 'no GPU' in done.err


@pytest.fixture
def gpu_check(monkeypatch, tmp_path):
    """tools/gpu_check.py, where torch sees a GPU; it writes into tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.get_device_name', lambda: 'a GPU')
    return tool('gpu_check')


def python(text):
    return [sys.executable, '-c', text]


def test_gpu_check_ends_in_one_table(gpu_check, capsys, monkeypatch, tmp_path):
    """One step that fails, hangs or is missing hides no other; those that are timed come last, one
    after the other."""
    Step = gpu_check.Step
    after = 'from pathlib import Path; pid = Path("hanging").read_text().strip(); ' \
        'print("a 1", "a 2", Path("good").exists(), Path("/proc", pid).exists())'
    hang = 'echo began; echo $$ > began; mv began hanging; (sleep 3600); true'
    steps = {'timed': Step(python(after), 3600, (r'a \d.*',), True),
             'bad': Step(python('import sys; sys.exit(3)'), 3600),
             'absent': Step(['./no-such'], 3600), 'hangs': Step(['sh', '-c', hang], 1),
             'good': Step(python('open("good", "w")'), 3600),
             'left': Step(['./never-run'], 3600)}

    class Timer(threading.Timer):
        """Time is up no earlier than a second after the step that hangs has said so."""
        def run(self):
            while not (self.finished.is_set() or (tmp_path / 'hanging').exists()):
                time.sleep(0.01)
            super().run()
    monkeypatch.setattr(threading, 'Timer', Timer)
    monkeypatch.setattr(gpu_check, 'STEPS', steps)
    done = call(capsys, 'gpu_check', 'timed', 'bad', 'absent', 'hangs', 'good', main=gpu_check.main)
    assert done.status == 1
    page = (tmp_path / 'runs/gpu-check/report.md').read_text()
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in done.out.splitlines()
            if line.startswith('| ')]
    assert '\n'.join(line for line in done.out.splitlines() if line.startswith('|')) in page
    assert [row[0] for row in rows] == ['step', 'timed', 'bad', 'absent', 'hangs', 'good']
    verdicts = {name: (verdict, figure) for name, verdict, _, figure in rows[1:]}
    assert verdicts['timed'] == ('passed', 'a 1 a 2 True False')
    assert verdicts['good'] == ('passed', '')
    assert verdicts['bad'][0] == 'failed with status 3'
    assert verdicts['absent'][0].startswith('failed to start: ')
    assert verdicts['hangs'][0] == 'out of time after 1 s'
    assert int({row[0]: row[2] for row in rows}['hangs']) < 3600        # its sleep is ended, too
    assert 'hangs: began' in done.out and 'left' not in page
    assert not call(capsys, 'gpu_check', 'good', main=gpu_check.main).status
    done = call(capsys, 'gpu_check', 'wrong', main=gpu_check.main)
    assert done.status == 1 and "no step 'wrong'" in done.err


def test_gpu_check_takes_goldens(gpu_check, capsys, monkeypatch, tmp_path):
    own, tests = tmp_path / 'shared', tmp_path / 'tests'
    monkeypatch.setattr(gpu_check, 'GOLDENS', (own, tests))
    tests.mkdir()
    assert gpu_check.chosen([], None)['goldens'].command[-1] == str(tests)
    assert f'{own} is missing' in capsys.readouterr().out
    own.mkdir()
    assert gpu_check.chosen(['goldens'], None)['goldens'].command[-1] == str(own)
    assert gpu_check.chosen(['goldens'], 'other')['goldens'].command[-1] == 'other'
    assert not capsys.readouterr().out


def test_goldens_without_their_photographs_are_left_out(gpu_check):
    end = '\n3 cases, 9 arrays: 1 ok, 0 depart, 2 not supported; 1 s\n'
    lost = 'full/a  NOT SUPPORTED: a.jpg: the photograph of this case is missing. Put it there.'
    assert gpu_check.judge(1, lost + end) == 'passed, 1 without their photographs left out'
    for other in 'b   1 arrays  1.0 1e-05  DEPARTS: y', 'b NOT SUPPORTED: c':
        assert gpu_check.judge(1, f'{lost}\n{other}{end}') == 'failed with status 1'
    assert gpu_check.judge(1, lost) == 'failed with status 1'
    assert gpu_check.judge(9, '===== Device not supported\n') == 'refused by this machine'


@pytest.mark.slow
@pytest.mark.parametrize('words', [
    ['bench', '--short'], ['deconv', '--runs', 1],
    ['update', '--numbers', 10000, '--runs', 1, '--rules', 'SGD', 'Adam', 'RMSProp'],
    ['data', '--images', 8, '--batch', 4, '--batches', 2, '--runs', 1],
    ['reading', '--images', 2, '--batches', 10, '--runs', 1],
    ['precision', '--size', '33x40', '--runs', 1], ['memory', '--size', '33x40'],
    ['dense', '--size', '64x64', '--stride', 16, '--runs', 1],
    ['patchwise', '--size', '260x260', '--runs', 1],
    ['crf', '--runs', 1],
    ['export', '--nets', 'mini-fcn8s', '--size', '64x80', '--runs', 1],
    ['evaluation', '--nets', 'own-fcn16s', '--size', '64x80', '--images', 2, '--runs', 1]],
    ids=lambda words: words[0])
def test_each_runs(tmp_path, words):
    """With tiny sizes, and one thread."""
    name, *options = map(str, words)
    done = subprocess.run(
        [sys.executable, ROOT / f'benchmarks/{name}.py', *options, '--threads', '1', '--json',
         tmp_path / 'r.json'], env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}, text=True,
        capture_output=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'r.json').read_text())['rows']
    if name == 'bench':
        assert 'FCN-8s, training step' in done.stdout and 'op 6, update' in done.stdout


@pytest.mark.slow
def test_online_training_reads_its_jpegs():
    """What only a GPU is fast enough for, one iteration at a time."""
    rows = gpu.online_training(timing.arguments('x', 1).parse_args([]), 1)
    assert len(rows) == 1 and rows[0]['way'] == 'ours' and rows[0]['median'] > 0


def test_a_benchmark_that_fails_leaves_the_others(capsys):
    rows, failed = bench.gather({'a': lambda: ROWS[:1], 'b': lambda: 1 / 0, 'c': lambda: ROWS[1:3]})
    assert rows == ROWS[:3] and failed == ['b'] and 'ZeroDivisionError' in capsys.readouterr().out


def test_weights_are_filled_on_their_device():
    """CPU values cannot be written into some of a GPU tensor's places; nor into a meta tensor's."""
    params = {'upscore': [torch.empty(3, 3, 4, 4, device='meta')],
              'conv': [torch.empty(2, 3, 3, 3, device='meta'), torch.empty(2, device='meta')]}
    nets.fill(params)
    weight = torch.empty(2, 2, 4, 4, dtype=torch.float64)
    nets.fill({'upscore': [weight]})
    assert weight[0, 0].sum() == weight[1, 1].sum() == 4 and not weight[0, 1].any()


def gpu_rows():
    """Rows that reach all targets of a GPU, each by just what is wanted."""
    def of(group, way, milliseconds, ratio=1, **case):
        return row(group, way, ratio, CASE | case) | {'median': milliseconds / 1.001e3}
    rows = [of('op 1 forward', 'floor: written', 1, 0.851, batch=20)]
    for stride, most in (8, 0.06), (32, 0.1):
        rows += [of('op 5 loss forward + backward', 'ours', most, stride=stride),
                 of('op 5 loss forward + backward', 'dense, contiguous', 1, 15, stride=stride),
                 of('op 5 loss forward + backward', 'dense, channels-last', 1, 16, stride=stride),
                 of('op 1 forward + backward', 'ours', 0.06, stride=stride)]
    for op in 'op 2 forward', 'op 2 forward + backward':
        rows += [of(op, 'conv_transpose2d + slice', 1, 2 + i, format=form)
                 for i, form in enumerate(('contiguous', 'channels-last'))]
    for name, most, ratio in ('bf16', 1.2, 1.5), ('tf32', 1.8, 1.4):
        rows += [of(f'FCN-8s scores, {name}', 'ours', most),
                 of(f'FCN-8s scores, {name}', 'compiled eager, channels-last', 1, ratio)]
    rows += [of('FCN-8s scores', 'ours', 5), of('FCN-8s scores', 'eager, contiguous', 1, 2),
             of('FCN-8s scores', 'eager, channels-last', 1, 3)]
    for group in 'FCN-8s training step', 'FCN-8s training step, tf32':
        rows += [of(group, 'ours', 5), of(group, 'eager, contiguous, foreach', 9, 1.5)]
    return rows + [of('FCN-32s online training', 'ours', 1e3 / rate, precision=name)
                   for name, rate in (('tf32', 150), ('fp32', 100))]


def test_a_gpus_targets():
    rows = gpu_rows()
    found = gpu_targets.verdicts(rows)
    assert [words for *_, words in found] == ['reached'] * len(gpu_targets.TARGETS)
    assert all(value == pytest.approx(target.wanted, rel=2e-3) for target, value, _ in found
               if target.wanted != 60)
    text = gpu_targets.summary(rows, 'a card')
    assert text.endswith(f'{len(found)} of {len(found)} targets reached on a card')
    slower = [r | {'median': 1.1 * r['median'], 'ratio': r['ratio'] / 1.1} for r in rows]
    words = [words for *_, words in gpu_targets.verdicts(slower)]
    assert words.count('reached') == 1 and words.count('NOT REACHED') == len(words) - 1     # of 60
    for i in range(len(rows)):              # any of them may be missing
        left = gpu_targets.verdicts(rows[:i] + rows[i + 1:])
        assert all(words in ('reached', 'not measured') for *_, words in left)
    assert [words for *_, words in gpu_targets.verdicts([])] == ['not measured'] * len(found)


def test_the_page_of_a_gpu():
    machine = {'device': 'cuda', 'processor': 'a card', 'cores': 2, 'threads': 1, 'torch': '2',
               'load': 0.5, 'instructions': 'AVX2'}
    rows = [r | {'called': 2e-3, 'timed': 'calls'} for r in gpu_rows()]
    page = report.tables({'machine': machine, 'rows': rows})
    assert 'On a card;' in page
    assert '| op 1, batch 20: percent of the write bandwidth | >= 85 | 85.100 |' in page
    assert 'a call of Python' in page and '| 2.000 ms* |' in page


def test_a_gpus_time_is_that_of_replays(monkeypatch, capsys):
    """Of one call, whatever a graph holds; what cannot be captured is timed by calls, and says
    so."""
    seconds = {'ours': 1e-5, 'slow': 2e-3, 'alone': 1e-4, 'broken': 1e-4, 'floor: f': 1e-5}
    functions = {name: lambda name=name: name for name in seconds}

    def captured(function, calls):
        if function() == 'broken':
            raise RuntimeError('not while capturing\nmore')
        return lambda: (function(), calls)

    def by_events(function, repeat=1):
        name, calls = found if isinstance(found := function(), tuple) else (found, 1)
        assert repeat * calls * seconds[name] <= max(timing.TURN, seconds[name]) * 1.1
        return calls * seconds[name]
    monkeypatch.setattr(timing, 'captured', captured)
    monkeypatch.setattr(timing, 'by_events', by_events)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: None)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: None)
    monkeypatch.setattr(torch.cuda, 'set_stream', lambda stream: None)
    args = timing.arguments('x', 2).parse_args(['--device', 'cuda'])
    floor = 'f', functions.pop('floor: f'), 0.5
    rows = timing.measure('g', {}, functions, args, floor, captures=lambda way: way != 'alone')
    found = {r['way']: r for r in rows}
    assert {way: r['median'] for way, r in found.items()} == pytest.approx(
        seconds | {'floor: f': 0.5e-5})
    assert {way: r.get('timed') for way, r in found.items()} == {
        'ours': 'graph', 'slow': 'graph', 'alone': 'calls', 'broken': 'calls', 'floor: f': None}
    out = capsys.readouterr().out
    assert "'broken' is timed by calls, it cannot be captured: not while capturing\n" in out
    assert 'alone* ' in out and 'slow ' in out and 'a call' in out
