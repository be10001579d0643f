"""The zoo: rows, files, pictures, a second call, families that there are not."""

import json
import os

import pytest
from PIL import Image
from small_runs import call, contents, small_stage

from fcn_repro.cli.main import main
from fcn_repro.errors import FcnError
from fcn_repro.paper import experiment, zoo
from fcn_repro.paper.experiment import Setting
from fcn_repro.predict.crf import Crf
from fcn_repro.predict.evaluation import evaluate_and_report
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stage import Entry
from fcn_repro.recipe.stages import STAGES

ENTRIES = (Entry('one', 'Net A', 'small-a'), Entry('one', 'Net B', 'small-b'),
           Entry('two', 'Net C', 'small-c'))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Three small stages in two families; B starts from A."""
    for name, parent in (('a', None), ('b', 'small-a'), ('c', None)):
        small_stage(tmp_path, monkeypatch, f'small-{name}', parent=parent)
    monkeypatch.setattr(zoo, 'ZOO', ENTRIES)
    return Setting(Options(iterations=2, pictures=1, keep=1), mini=True, train=True,
                   jobs=1,
                   out=tmp_path / 'out')


def test_the_table_and_the_pictures(small, tmp_path, capsys):
    """Numbers are the runs'; B's minutes have A's; a second call trains nothing."""
    outcome = zoo.run_zoo([], small)
    rows = {row.label: row.ours[0].values for row in outcome.tables[0].rows}
    for entry in ENTRIES:
        metrics = json.loads((tmp_path / f'runs/{entry.stage}/eval/metrics.json').read_text())
        assert rows[entry.label]['mean_iu'] == 100 * metrics['mean_iu']
        assert rows[entry.label]['milliseconds'] == 1000 * metrics['seconds']['net']['median']
        assert rows[entry.label]['iterations'] == 2
    # conv1 3->4 3x3 with bias, score_fr 4->3 1x1 with bias, upscore 3x3x4x4
    assert rows['Net A']['parameters'] == 4 * 27 + 4 + 3 * 4 + 3 + 3 * 3 * 16
    height, width = 256 + 14, 320 + 14              # of conv1, which pads by 8
    assert rows['Net A']['macs'] == height * width * 108 + (height // 2) * (width // 2) * (12 + 144)
    assert rows['Net B']['minutes'] > rows['Net A']['minutes'] > 0
    written = json.loads((small.out / 'zoo.json').read_text())
    assert [row['label'] for row in written['tables'][0]['rows']] == [e.label for e in ENTRIES]
    table = (small.out / 'zoo.md').read_text().splitlines()
    assert table[0].startswith('| 1 seed | parameters |') and table[3].startswith('| Net B | 271 |')
    assert all(Image.open(small.out / f'{name}.png').width > 50 for name in ('one', 'two'))
    before = contents(tmp_path / 'runs')
    capsys.readouterr()
    zoo.run_zoo([], small)
    assert capsys.readouterr().out.count('there already') == 3
    assert contents(tmp_path / 'runs') == before


def test_one_family_by_the_command(small, tmp_path, capsys):
    done = call(capsys, 'zoo', 'zoo', '--family', 'two', '--iterations', '2', '--seeds', '2',
                '--jobs', '1', main=main)
    assert done.status == 0 and 'Net C' in done.out and 'Net A' not in done.out
    assert '2 seeds' in (tmp_path / 'runs/zoo/zoo.md').read_text()
    assert not (tmp_path / 'runs/small-a').exists()


def test_the_score_with_a_crf(small, tmp_path, monkeypatch):
    """That of `eval --crf`; kept, and computed anew where the file is damaged or older than the
    weights."""
    zoo.run_zoo(['two'], small)
    run = Run('small-c', small.options)
    with monkeypatch.context() as plain:
        plain.setattr(zoo, 'evaluate', None)
        kept = zoo.crf_iu(run)
    evaluate_and_report(zoo.loaded(run), tmp_path / 'eval', crf=Crf())
    metrics = json.loads((tmp_path / 'eval/metrics.json').read_text())
    assert kept == pytest.approx(100 * metrics['mean_iu'], rel=1e-12)
    assert set(json.loads((run.folder / 'crf.json').read_text())['of']) > {'weights', 'bi_w'}
    for damage in '{', '{"mean_iu": 1}', '[]', 9999 * '[':
        (run.folder / 'crf.json').write_text(damage)
        assert zoo.crf_iu(run) == kept
    (run.folder / 'crf.json').write_text((run.folder / 'crf.json').read_text().replace(
        '"mean_iu": ', '"mean_iu": 1'))
    os.utime(run.folder / 'crf.json', (1, 1))
    assert zoo.crf_iu(run) == kept


def test_families_that_there_are_not(small, capsys):
    with pytest.raises(FcnError, match=r"no family 'on'\. Use one, two") as error:
        zoo.run_zoo(['on'], small)
    assert error.value.code == 'no-family'
    with pytest.raises(FcnError, match='0 seeds'):
        zoo.run_zoo([], Setting(seeds=0, out=small.out))


def test_a_stopped_run_ends_the_call(small, monkeypatch):
    monkeypatch.setattr(experiment, 'result', lambda run, hints: None)
    assert zoo.run_zoo([], small) is None and not (small.out / 'zoo.md').exists()


def test_the_list():
    lines = zoo.listing().splitlines()
    assert len(lines) == len(zoo.ZOO)
    for line in lines:
        assert line.rpartition('train ')[2] in STAGES
