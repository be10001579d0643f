"""Experiments: rows that are runs, what is missing, findings, files, the page, the command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from small_runs import call, contents, label_path, small_stage, small_voc

from fcn_repro.cli.main import run_command
from fcn_repro.data.image import read_label
from fcn_repro.errors import FcnError
from fcn_repro.paper import catalogue, experiment
from fcn_repro.paper.bounds import appendix_a
from fcn_repro.paper.catalogue import EXPERIMENTS, listing, named, run_experiments
from fcn_repro.paper.claims import Claim, findings, judged
from fcn_repro.paper.experiment import Experiment, Line, Setting, Stop, row_of, table_of_runs
from fcn_repro.paper.needs import missing, needs
from fcn_repro.paper.outcome import Chart, Measured, Outcome, Row, Table, as_json
from fcn_repro.paper.page import page
from fcn_repro.paper.released import WEIGHTS, released
from fcn_repro.paper.text import table_text, text_of
from fcn_repro.predict.metrics import upper_bound
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import STAGES, shipped
from fcn_repro.report.paper import tables

LINES = (Line('FCN-32s', 'fcn32s', 'small-fcn32s', 'small-fcn32s'),
         Line('FCN-16s', 'fcn16s', 'small-fcn16s', 'small-fcn16s'))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two small stages as an experiment called 'small'; the Setting of its miniature."""
    for stage, parent in (('fcn32s', None), ('fcn16s', 'fcn32s')):
        small_stage(tmp_path, monkeypatch, f'small-{stage}', parent=parent and f'small-{parent}')

    def run(setting):
        table = table_of_runs('', 'table2', LINES, setting, 'noise')
        return Outcome('small', 'Table 0: small nets', 'CVPR 2015', setting.mini, (table,),
                       findings=findings((Claim('skips help', 'FCN-16s', 'FCN-32s'),), (table,),
                                         setting.mini))
    monkeypatch.setattr(catalogue, 'EXPERIMENTS', {'small': Experiment(
        'small', 'small nets', 'Table 0', run, LINES, mini='noise')})
    return Setting(Options(iterations=2, pictures=1, keep=1), mini=True, train=True,
                   jobs=1,
                   out=Path('out'))


def test_a_miniature_trains_its_rows(small, tmp_path, capsys):
    """Our numbers are those of the runs; each file has the paper's beside them; a second call
    trains nothing."""
    outcome, = run_experiments(['small'], small)
    rows = {row.label: row for row in outcome.tables[0].rows}
    for label, stage in (('FCN-32s', 'small-fcn32s'), ('FCN-16s', 'small-fcn16s')):
        metrics = json.loads((tmp_path / f'runs/{stage}/eval/metrics.json').read_text())
        facts = dict(rows[label].ours[0].facts)
        assert rows[label].values('mean_iu') == [100 * metrics['mean_iu']]
        assert facts['seed'] == '0' and facts['iterations'] == '2' and facts['commit']
        assert 'thread' in facts['hardware'] and metrics['data'][:12] in facts['data']
        assert facts['weights'].endswith('train_iter_2.caffemodel.h5')
    written = json.loads((tmp_path / 'out/small.json').read_text())
    row = next(row for row in written['tables'][0]['rows'] if row['label'] == 'FCN-16s')
    assert row['paper']['mean_iu'] == 62.4 and row['paper']['source'] == 'CVPR 2015, Table 2'
    assert row['ours'][0]['values']['mean_iu'] == rows['FCN-16s'].values('mean_iu')[0]
    assert Image.open(tmp_path / 'out/small.png').width > 500
    assert '62.4' in (tmp_path / 'out/small.html').read_text()
    before = contents(tmp_path / 'runs')
    capsys.readouterr()
    run_experiments(['small'], small)
    assert capsys.readouterr().out.count('there already') == 2
    assert contents(tmp_path / 'runs') == before


def test_rows_of_other_methods_are_left_out_of_chosen_columns(small):
    """Figure 4 draws its pictures when all of its rows have numbers."""
    table = table_of_runs('', 'table2', LINES, small, 'noise', ('mean_iu',))
    assert [row.label for row in table.rows] == ['FCN-32s', 'FCN-16s']
    assert all(row.ours for row in table.rows) and table.columns == ('mean_iu',)
    assert len(table_of_runs('', 'table2', LINES, small).rows) == 4


def test_seeds_are_runs_of_their_own(small):
    outcome, = run_experiments(['small'], replace(small, seeds=2))
    row = outcome.tables[0].row('FCN-32s')
    assert [dict(each.facts)['seed'] for each in row.ours] == ['0', '1']
    assert '±' in row.text('mean_iu') and '2 seeds' in outcome.findings[0].measured


def test_in_full_nothing_is_trained_unless_asked_for(small, tmp_path):
    """A row without a run says what it needs, and has no number; with train it is trained."""
    full = replace(small, mini=False, train=False)
    outcome, = run_experiments(['small'], full)
    assert not (tmp_path / 'runs').exists() and not (tmp_path / 'out/small.png').exists()
    row = outcome.tables[0].row('FCN-32s')
    assert row.needs == 'training: 2 iterations of small-fcn32s' and not row.ours
    written = json.loads((tmp_path / 'out/small.json').read_text())
    assert all(row['ours'] == [] for row in written['tables'][0]['rows'])
    assert 'not run: FCN-32s: needs training' in text_of(outcome)
    assert 'findings' not in text_of(outcome)
    outcome, = run_experiments(['small'], replace(full, train=True))
    assert all(row.ours for row in outcome.tables[0].rows if row.label in ('FCN-32s', 'FCN-16s'))


def test_a_stopped_run_ends_the_call(small, monkeypatch):
    monkeypatch.setattr(experiment, 'result', lambda run, hints: None)
    with pytest.raises(Stop):
        row_of(LINES[0], 'table2', small)
    assert run_experiments(['small'], small) is None


def test_an_error_ends_one_experiment(small, monkeypatch, capsys):
    """The others run; the page and the status say it."""
    def fails(setting):
        raise FcnError('the weights are damaged', do='Mend them.')
    monkeypatch.setitem(catalogue.EXPERIMENTS, 'bad', Experiment('bad', 'Table 9', 'x', fails))
    outcomes = run_experiments(['bad', 'small'], small)
    assert [bool(outcome.failed) for outcome in outcomes] == [True, False]
    assert 'the weights are damaged. Mend them.' in capsys.readouterr().out
    assert 'the weights are damaged' in Path('out/index.html').read_text()


@pytest.mark.parametrize('names, seeds, words', [(['smal'], 1, "Did you mean 'small'?"),
                                                 (['small'], 0, '0 seeds')])
def test_wrong_words(small, names, seeds, words):
    with pytest.raises(FcnError, match=words):
        run_experiments(names, replace(small, seeds=seeds))


def test_a_foreign_page_stays(small, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/small.html').write_text('mine')
    with pytest.raises(FcnError, match='not a report'):
        run_experiments(['small'], small)
    assert (tmp_path / 'out/small.html').read_text() == 'mine'


# ---- what is missing -----------------------------------------------------------------------------

def test_needs_of_the_release_s_stages():
    assert needs('voc-fcn16s') == ('PASCAL VOC 2011', 'SBD',
                                   'the weights VGG_ILSVRC_16_layers.caffemodel')
    assert needs('nyud-fcn32s-color-hha') == ('NYUDv2', needs('voc-fcn32s')[-1])
    assert needs('siftflow-fcn8s')[0] == 'SIFT Flow'
    assert needs('mini-fcn8s') == needs('mini-nyud-fcn32s-hha') == ()


def test_missing_is_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('voc').mkdir()
    run = Run('voc-fcn32s', Options(voc='voc', sbd='sbd', weights='vgg.caffemodel'))
    assert missing(run) == ('SBD',)
    assert missing(replace(run, options=Options())) == needs('voc-fcn32s')


def test_every_line_has_a_stage():
    """Each experiment's rows are stages that are shipped, with the solver that they name."""
    for each in EXPERIMENTS.values():
        for line in each.lines:
            for name in filter(None, (line.full, line.mini)):
                assert name in STAGES and (shipped(name) / line.solver).exists(), (each.name, name)


def test_experiments_without_data(tmp_path, monkeypatch):
    """In a folder with nothing in it every table is the paper's alone."""
    monkeypatch.chdir(tmp_path)
    setting = Setting(out=Path('out'))
    for name in 'table2', 'table4', 'table5', 'table6', 'figure4', 'choices':
        outcome = EXPERIMENTS[name].run(setting)
        assert not outcome.measured and outcome.tables and 'not run' in text_of(outcome)
        for table in outcome.tables:
            assert all(row.needs or row.stated for row in table.rows)
    assert 'PASCAL VOC 2011' in appendix_a(setting).tables[0].rows[0].needs


def test_bounds_of_any_folder_in_voc_s_layout(tmp_path, monkeypatch):
    """Beside the paper's, as the metrics compute them."""
    voc = small_voc(tmp_path / 'mine')
    monkeypatch.chdir(tmp_path)
    found = appendix_a(Setting(Options(voc=str(voc))))
    table, = found.tables
    labels = [read_label(label_path(voc, f'im{i}')) for i in range(2)]
    assert [row.values('mean_iu')[0] for row in table.rows] == [
        100 * upper_bound(labels, int(row.stated.key), 3).mean_iu for row in table.rows]
    assert '2 label maps' in table.ours_on and 'val' in table.ours_on
    assert [row.stated.values['mean_iu'] for row in table.rows] == [50.9, 73.3, 86.1, 92.8, 96.4,
                                                                    98.5]


def test_released_weights_are_scored_once(small, tmp_path, monkeypatch, capsys):
    """Weights as the release's files have them: scored, beside what is stated, and kept."""
    run_experiments(['small'], small)
    (tmp_path / 'released').mkdir()
    weights = tmp_path / 'released/small-heavy.caffemodel'
    net = Run('small-fcn32s').val_net()
    net.copy_from('runs/small-fcn32s/train_iter_2.caffemodel.h5')
    net.save(weights)
    monkeypatch.setitem(WEIGHTS, 'small', (('FCN-8s', 'fcn8s', 'small-fcn32s', 'small-heavy'),
                                           ('FCN-16s', 'fcn16s', 'small-fcn16s', 'none')))
    full = replace(small, mini=False, released=tmp_path / 'released')
    assert released('small', small) == released('small', replace(full, released=None)) == ()
    (table,) = released('small', full)
    trained = json.loads(Path('runs/small-fcn32s/eval/metrics.json').read_text())
    assert table.rows[0].values('mean_iu') == [100 * trained['mean_iu']]
    assert table.rows[0].stated.values['mean_iu'] == 65.5
    assert table.rows[1].needs == f'the weights {tmp_path}/released/none.caffemodel'
    capsys.readouterr()
    assert released('small', full) == (table,) and '==' not in capsys.readouterr().out


def test_listing_names_all():
    text = listing()
    for name in ('table1', 'table2', 'table3', 'table4', 'table5', 'table6', 'figure4', 'figure5',
                 'appendix-a'):
        assert f'\n{name} ' in f'\n{text}'
    assert 'needs NYUDv2, the weights' in text
    assert [each.name for each in named(['all'])] == list(EXPERIMENTS)


def test_the_page_names_rows_that_there_are():
    """docs/paper.md says which rows test which finding."""
    page = (Path(__file__).parents[2] / 'docs/paper.md').read_text()
    page = page.partition('## Which rows test')[2].partition('\nBeside')[0]
    named = set(re.findall(r'(?<!\*)\*([^*]+)\*', page.partition('|---')[2]))
    short = {'50 %': '50 % of the cells'}
    labels = {line.label for each in EXPERIMENTS.values() for line in each.lines}
    assert len(named) > 10 and {short.get(label, label) for label in named} <= labels


# ---- findings ------------------------------------------------------------------------------------

def row(label, *values):
    return Row(label, ours=tuple(Measured({'mean_iu': value}) for value in values))


@pytest.mark.parametrize('better, than, no_gain, holds', [
    ((60.,), (50.,), False, True), ((50.,), (60.,), False, False), ((50.9,), (50.,), False, None),
    ((60., 61.), (50., 50.5), False, True), ((60., 50.), (50., 60.), False, None),
    ((50.5,), (50.,), True, True), ((55.,), (50.,), True, False),
    ((40., 41.), (50., 50.), True, True), ((60., 50.), (50., 60.), True, None)])
def test_judgement(better, than, no_gain, holds):
    """A gain counts if it is more than two standard errors, of one seed if it is more than a point;
    below a point it is none."""
    found = judged(Claim('c', 'a', 'b', no_gain=no_gain, why='because'), row('a', *better),
                   row('b', *than), True)
    assert found.holds is holds and (found.why == 'because') == (holds is not True)
    assert 'a ' in found.measured and f'{better[0] - than[0]:+.1f}'[0] in '+-'


@pytest.mark.parametrize('first, holds', [(50.5, True), (49.5, True), (40., False), (60., False)])
def test_the_same_is_the_same_both_ways(first, holds):
    assert judged(Claim('c', 'a', 'b', same=True), row('a', first), row('b', 50.),
                  True).holds is holds


def test_what_was_not_run_is_no_finding():
    found = judged(Claim('c', 'a', 'b'), row('a', 1.), Row('b', needs='X'), True)
    assert found.verdict == 'not run' and not found.measured


# ---- text, JSON, page ----------------------------------------------------------------------------

OUTCOME = Outcome('x', 'Table 7: <b>', 'CVPR 2015', True, (Table(
    '', ('mean_iu',), (Row('FCN-32s', tables()['table2'].row('fcn32s'), (Measured(
        {'mean_iu': 81.7, 'loss': float('nan')}, (('data', 'scenes'), ('seed', '0'))),)),
        Row('FCN-16s', tables()['table2'].row('fcn16s'), needs='NYUDv2')), 'VOC', 'scenes',
    {'loss': 'loss'}),), (Chart('Loss', 'iterations', 'loss', (('a', ((1., 2.), (2., 1.))),)),),
    findings=(judged(Claim('a <i>', 'a', 'b'), row('a', 2.), row('b', 1.), True),))


def test_text():
    lines = table_text(OUTCOME.tables[0]).splitlines()
    assert lines[:2] == ['paper: VOC', 'ours:  scenes']
    assert lines[4].split() == ['FCN-32s', '59.4', '81.7', 'nan']
    assert lines[5].split() == ['FCN-16s', '62.4']
    assert lines[6:] == ['not run: FCN-16s: needs NYUDv2', 'all: data scenes, seed 0']


def test_json_has_no_nan():
    found = json.loads(as_json(OUTCOME), parse_constant=lambda text: pytest.fail(text))
    first, second = found['tables'][0]['rows']
    assert first['ours'] == [{'values': {'mean_iu': 81.7, 'loss': None}, 'data': 'scenes',
                              'seed': '0'}]
    assert second['ours'] == [] and second['not_run'] == 'needs NYUDv2'
    assert found['charts'][0]['curves'][0]['points'] == [[1.0, 2.0], [2.0, 1.0]]


def test_page_escapes_and_fetches_nothing():
    text = page([OUTCOME])
    assert 'Table 7: &lt;b&gt;' in text and '<i>' not in text and 'http' not in text.replace(
        'http-equiv', '')
    assert 'not run: FCN-16s: needs NYUDv2' in text and '<polyline' in text


def test_command(small, capsys):
    done = call(capsys, '', '--list', main=lambda: run_command('paper', ['--list']))
    assert done.status == 0 and done.out.startswith('small ')
    done = call(capsys, '', main=lambda: run_command('paper', ['small', '--out', 'here']))
    assert done.status == 0 and 'not run: FCN-32s' in done.out and Path('here/small.json').exists()
    done = call(capsys, '', main=lambda: run_command('paper', ['smalll']))
    assert done.status == 1 and "Did you mean 'small'?" in done.err
