"""Tables and charts of training logs of every version of Caffe; the logs are written here."""

import csv
import math
from datetime import datetime, timedelta

import pytest
from PIL import Image

from fcn_repro import glog
from fcn_repro.errors import FcnError
from fcn_repro.report.caffelog import read_log, save_tables
from fcn_repro.report.training_chart import CHARTS, plot_logs

NEW, OLD = 'Iteration {} (50.1 iter/s, 2s/100 iters), loss = {}', 'Iteration {}, loss = {}'


class Log:
    """A log under way: a line every half second."""

    def __init__(self, start='2017-12-31 23:59:58.5', style=NEW, date='%m%d'):
        self.time, self.style, self.date = datetime.fromisoformat(start), style, date
        self.lines = []

    def line(self, place, text):
        self.lines.append(f'I{self.time:{self.date} %H:%M:%S.%f} 14186 {place}] {text}')
        self.time += timedelta(seconds=0.5)

    def solve(self):
        self.line('caffe.cpp:218', 'Using GPUs 0')
        self.lines += ['test_iter: 100', 'base_lr: 0.01']
        self.line('solver.cpp:288', 'Solving LeNet')
        return self

    def test(self, iteration, *outputs, net=0):
        self.line('solver.cpp:347', f'Iteration {iteration}, Testing net (#{net})')
        for i, (name, value) in enumerate(outputs):
            self.line('solver.cpp:414', f'    Test net output #{i}: {name} = {value}')
        return self

    def train(self, iteration, loss, *outputs, rate=0.01):
        self.line('solver.cpp:239', self.style.format(iteration, loss))
        for i, (name, value) in enumerate(outputs or [('loss', loss)]):
            self.line('solver.cpp:258', f'    Train net output #{i}: {name} = {value} '
                                        f'(* 1 = {value} loss)')
        self.line('sgd_solver.cpp:112', f'Iteration {iteration}, lr = {rate}')
        return self

    def save(self, path):
        path.write_text('\n'.join(self.lines) + '\n')
        return path


def usual(**options):
    log = Log(**options).solve()
    for i in range(0, 300, 100):
        log.test(i, ('accuracy', i / 400), ('loss', f'{3 - i / 100} (* 1 = {3 - i / 100} loss)'))
        log.train(i, 3 - i / 100, rate=0.01 / (1 + i))
    return log


def table(path, delimiter=','):
    with open(path, newline='') as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.mark.parametrize('options', [{}, {'style': OLD}, {'date': '%Y%m%d'}],
                         ids=['1.0', 'older', 'glog 0.6'])
def test_tables(tmp_path, options):
    """Over the turn of the year. A rate is the last one before the row; the first one's the
    second's."""
    log = read_log(usual(**options).save(tmp_path / 'a.log'))
    paths = save_tables(log, 'a.log', tmp_path / 'out')
    assert [path.name for path in paths] == ['a.log.train', 'a.log.test']
    train, test = map(table, paths)
    assert list(train[0]) == ['NumIters', 'Seconds', 'LearningRate', 'loss']
    assert list(test[0]) == ['NumIters', 'Seconds', 'LearningRate', 'accuracy', 'loss']
    assert [row['NumIters'] for row in train] == ['0.0', '100.0', '200.0']
    assert [float(row['Seconds']) for row in train] == [2.5, 5.5, 8.5]
    assert [float(row['LearningRate']) for row in train] == [0.01, 0.01, 0.01 / 101]
    assert [float(row['loss']) for row in train] == [3, 2, 1]
    assert [float(row['accuracy']) for row in test] == [0, 0.25, 0.5]


def test_a_log_of_the_project_itself(tmp_path):
    """In the project's own glog format."""
    import logging
    logger = logging.Logger('x')
    handler = logging.FileHandler(tmp_path / 'a.log')
    handler.setFormatter(glog.Formatter())
    logger.addHandler(handler)
    logger.info('Solving x', extra=glog.at('solver.cpp', 288))
    logger.info('Iteration 0', extra=glog.at('solver.cpp', 239, 'Iteration 0 (1 iter/s, 1s/1 '
                                                                'iters), loss = 2'))
    handler.close()
    assert [row['loss'] for row in read_log(tmp_path / 'a.log').losses] == [2]


def test_the_oldest_logs_have_the_smoothed_loss_alone(tmp_path):
    log = Log(style=OLD).solve()
    for i in range(3):
        log.line('solver.cpp:87', f'Iteration {i}, loss = {3 - i}')
    paths = save_tables(read_log(log.save(tmp_path / 'a')), 'a', tmp_path, '\t')
    assert [row['loss'] for row in table(paths[0], '\t')] == ['3.0', '2.0', '1.0']


def test_several_test_nets(tmp_path):
    log = Log().solve()
    for i in 0, 100:
        log.test(i, ('acc', i), net=0).test(i, ('acc', i + 1), net=1).train(i, 1)
    log = read_log(log.save(tmp_path / 'a'))
    assert [[row['acc'] for row in log.test[net]] for net in (0, 1)] == [[0, 100], [1, 101]]
    assert [path.name for path in save_tables(log, 'a', tmp_path)] == ['a.train', 'a.test',
                                                                       'a.test1']


def test_a_top_with_several_values(tmp_path):
    log = Log().solve().test(0, ('acc', 1), ('acc', 2), ('acc', 3)).train(0, 1)
    row, = read_log(log.save(tmp_path / 'a')).test[0]
    assert [row[name] for name in ('acc', 'acc[1]', 'acc[2]')] == [1, 2, 3]


@pytest.mark.parametrize('text, value', [('nan', math.nan), ('-nan', math.nan), ('inf', math.inf),
                                         ('-inf', -math.inf), ('1.#QNAN', math.nan),
                                         ('-1.#INF', -math.inf), ('87.3365', 87.3365),
                                         ('1e-07', 1e-7), ('3', 3), ('-1.5E+3', -1500)])
def test_numbers(tmp_path, text, value):
    log = read_log(Log().solve().train(0, text).save(tmp_path / 'a'))
    for found in log.losses[0]['loss'], log.train[0]['loss']:
        assert found == value or (math.isnan(found) and math.isnan(value))
    assert table(save_tables(log, 'a', tmp_path)[0])[0]['loss'] == str(float(value))


def test_a_restart_keeps_every_row_in_order(tmp_path):
    log = usual()
    log.solve().train(100, 7).train(200, 6)
    rows = read_log(log.save(tmp_path / 'a')).train
    assert [(row['NumIters'], row['loss']) for row in rows] == [(0, 3), (100, 2), (200, 1),
                                                               (100, 7), (200, 6)]
    assert [row['Seconds'] for row in rows] == sorted(row['Seconds'] for row in rows)


def test_a_restart_at_the_same_iteration(tmp_path):
    log = Log().solve().train(0, 3).solve().train(0, 4)
    assert [row['loss'] for row in read_log(log.save(tmp_path / 'a')).train] == [3, 4]


def test_a_log_cut_off_in_a_row(tmp_path):
    log = Log().solve().train(0, 3, ('a', 1), ('b', 2)).train(1, 3, ('a', 1), ('b', 2))
    log.save(tmp_path / 'a')
    text = (tmp_path / 'a').read_text()
    (tmp_path / 'a').write_text(text[:text.rindex('    Train net output #1')] + '    Train net ou')
    path, = save_tables(read_log(tmp_path / 'a'), 'a', tmp_path)
    assert [(row['a'], row['b']) for row in table(path)] == [('1.0', '2.0'), ('1.0', '')]


def test_a_log_without_its_beginning(tmp_path):
    log = usual()
    log.lines = log.lines[9:]
    rows = read_log(log.save(tmp_path / 'a')).train
    assert [row['NumIters'] for row in rows] == [100, 200] and rows[0]['Seconds'] == 2.5


def test_a_log_without_times(tmp_path):
    log = usual()
    log.lines = [line.partition('] ')[2] or line for line in log.lines]
    log = read_log(log.save(tmp_path / 'a'))
    assert [row['loss'] for row in log.train] == [3, 2, 1]
    assert all(math.isnan(row['Seconds']) for row in log.train)
    plot_logs(6, tmp_path / 'a.png', [tmp_path / 'a'])
    with pytest.raises(FcnError, match='the log has no times'):
        plot_logs(7, tmp_path / 'b.png', [tmp_path / 'a'])


def test_lines_of_other_programs_are_left_out(tmp_path):
    """Prints of a Python layer between Caffe's lines; a prefix before them, as MPI's."""
    log = usual()
    log.lines.insert(8, 'Iteration 7777, loss = 9')
    log.lines = [f'[1,0]<stderr>:{line}' if ' 14186 ' in line else line for line in log.lines]
    log = read_log(log.save(tmp_path / 'a'))
    assert [row['NumIters'] for row in log.losses] == [0, 100, 200]


def test_the_29th_of_february(tmp_path):
    log = Log('2016-02-29 23:59:59').solve().train(0, 1).train(1, 1)
    rows = read_log(log.save(tmp_path / 'a')).train
    assert [row['Seconds'] for row in rows] == [1, 2.5]
    assert read_log((Log('2017-02-28 23:59:59').solve().train(0, 1)).save(
        tmp_path / 'b')).train[0]['Seconds'] == 1


@pytest.mark.parametrize('data, message', [
    (None, 'cannot be read'),
    (b'', 'the log is empty'),
    (b'\n \n', 'the log is empty'),
    (b'Epoch 1: loss 0.5\n', 'is no training log of Caffe'),
    (bytes(range(256)), 'is no training log of Caffe'),
    (b'I0101 00:00:00.000000 1 solver.cpp:288] Solving x\n', 'is no training log of Caffe'),
])
def test_no_logs(tmp_path, data, message):
    if data is not None:
        (tmp_path / 'a').write_bytes(data)
    with pytest.raises(FcnError, match=message):
        read_log(tmp_path / 'a')


def test_bad_outputs(tmp_path):
    log = read_log(usual().save(tmp_path / 'a'))
    for delimiter in '', ';;', '\n', '"':
        with pytest.raises(FcnError, match='the delimiter is'):
            save_tables(log, 'a', tmp_path, delimiter)
    with pytest.raises(FcnError, match='cannot make this folder'):
        save_tables(log, 'a', tmp_path / 'a')
    with pytest.raises(FcnError, match='there is no chart type 8'):
        plot_logs(8, tmp_path / 'a.png', [tmp_path / 'a'])
    with pytest.raises(FcnError, match=r'does not end in \.png'):
        plot_logs(0, tmp_path / 'a.txt', [tmp_path / 'a'])
    with pytest.raises(FcnError, match='cannot write'):
        plot_logs(0, tmp_path / 'no/a.png', [tmp_path / 'a'])
    Log().solve().train(0, 1).save(tmp_path / 'b')
    with pytest.raises(FcnError, match='the log has no test accuracy'):
        plot_logs(0, tmp_path / 'a.png', [tmp_path / 'a', tmp_path / 'b'])
    assert not (tmp_path / 'a.png').exists()


@pytest.fixture
def drawn(monkeypatch):
    """The curves of the charts drawn in a test: {label: (x, y)}."""
    from matplotlib.axes import Axes

    curves, plot = {}, Axes.plot

    def record(axes, x, y, label, **style):
        curves[label] = list(x), list(y)
        return plot(axes, x, y, label=label, **style)

    monkeypatch.setattr(Axes, 'plot', record)
    return curves


@pytest.mark.parametrize('chart', range(8))
def test_charts(tmp_path, drawn, chart):
    what, along = CHARTS[chart]
    plot_logs(chart, tmp_path / 'a.png', [usual().save(tmp_path / 'run.log')])
    assert min(Image.open(tmp_path / 'a.png').size) > 500
    (x, y), = drawn.values()
    assert list(drawn) == ['run'] and len(x) == 3
    assert (x == [0, 100, 200]) == (along == 'Iters')
    assert y == {'Test accuracy': [0, 0.25, 0.5], 'Test loss': [3, 2, 1], 'Train loss': [3, 2, 1],
                 'Train learning rate': [0.01, 0.01 / 101, 0.01 / 201]}[what]


def test_charts_of_several_logs_nets_and_outputs(tmp_path, drawn):
    log = Log().solve()
    for i in 0, 100:
        log.test(i, ('loss1/loss1', 1), ('loss1/top-1', 2), ('loss3/top-1', 3), net=0)
        log.test(i, ('acc', 4), net=1)
    (tmp_path / 'b').mkdir()
    paths = [log.save(tmp_path / 'x.log'), usual().save(tmp_path / 'b/x.log')]
    plot_logs(0, tmp_path / 'a.svg', paths)
    assert list(drawn) == [f'{paths[0]}, net #0, loss1/top-1', f'{paths[0]}, net #0, loss3/top-1',
                           f'{paths[0]}, net #1', f'{paths[1]}']
    assert b'<svg' in (tmp_path / 'a.svg').read_bytes()


def test_charts_of_restarts_and_nan(tmp_path, drawn):
    log = usual()
    log.solve().train(100, 'nan').train(200, 6)
    plot_logs(6, tmp_path / 'a.pdf', [log.save(tmp_path / 'x')])
    x, y = drawn['x']
    assert [math.isnan(each) for each in x] == [False, False, False, True, False, False]
    assert math.isnan(y[4]) and y[5] == 6


def test_outputs_without_known_names(tmp_path, drawn):
    log = Log().solve().test(0, ('p', 1), ('q', 2)).save(tmp_path / 'x')
    plot_logs(0, tmp_path / 'a.png', [log])
    assert drawn['x'][1] == [1]
    plot_logs(2, tmp_path / 'a.png', [log])
    assert drawn['x'][1] == [2]
