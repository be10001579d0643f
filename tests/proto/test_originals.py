"""tools/check_originals.py, on small nets in the places of the originals, and its table."""

import hashlib
import json

import pytest
from goldens import ROOT
from small_runs import tool
from texts import conv, inputs, layer

from fcn_repro.proto import find_dialect

CHECKER = tool('check_originals')
TABLE = json.loads((ROOT / 'tests/originals.json').read_text())
NETS = [(name, path, facts) for name, repository in TABLE['repositories'].items()
        for path, facts in repository['nets'].items()]
X = inputs(data=(2, 3, 9, 9))
NET = X + layer('Interp', 'i', 'data', 'i', 'interp_param { zoom_factor: 2 }') + conv('c', 'i')


def test_the_table():
    assert len(NETS) == 135 and len({facts['sha256'] for _, _, facts in NETS}) > 90
    for _, path, facts in NETS:
        assert find_dialect(facts['dialect']).name == facts['dialect']
        assert path.endswith('.prototxt') and len(facts['sha256']) == 64
        assert ('gmac' in facts) == ('parameters' in facts)


def test_the_page_of_the_table():
    """Repositories, commits, numbers of nets and figures."""
    page = (ROOT / 'docs/originals.md').read_text()
    for name, repository in TABLE['repositories'].items():
        branch = name.partition('@')[2]
        row = f'| {repository["from"]}' + (f', branch `{branch}`' if branch else '')
        line = next(line for line in page.splitlines() if line.startswith(f'{row} |'))
        assert repository['commit'][:7] in line and f'| {len(repository["nets"])} |' in line
    for _, path, facts in NETS:
        if 'parameters' in facts:
            assert f'{facts["parameters"]:,} | {facts["gmac"]:g}' in page, path


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys):
    """A function that checks one net, a text, against facts: (status, what is printed)."""
    monkeypatch.setattr(CHECKER, 'TABLE', tmp_path / 'table.json')
    (tmp_path / 'repository').mkdir()

    def check(text, **facts):
        if text is not None:
            (tmp_path / 'repository/n.prototxt').write_text(text)
        facts = {'sha256': hashlib.sha256((text or '').encode()).hexdigest(),
                 'dialect': 'deeplab-v2', **facts}
        (tmp_path / 'table.json').write_text(json.dumps({'define': {'N': 3}, 'repositories': {
            'repository': {'nets': {'n.prototxt': facts}}}}))
        return CHECKER.main([str(tmp_path)]), capsys.readouterr().out
    return check


FIGURES = {'parameters': 12, 'gmac': 17 * 17 * 9 / 1e9, 'blobs': {'c': [3, 17, 17]}}


def test_figures_that_agree(checked):
    status, out = checked(NET, **FIGURES)
    assert status == 0 and out.splitlines()[-1] == '1 ok'
    status, out = checked(NET.replace('num_output: 3', 'num_output: ${N}'), sha256='0' * 64,
                          **FIGURES)
    assert status == 0 and out.splitlines()[-1] == '1 ok, other contents'


@pytest.mark.parametrize('more, what', [
    ({'parameters': 13}, '12 parameters, not 13'),
    ({'gmac': 2.605e-6}, 'G multiply-adds'),
    ({'blobs': {'c': [3, 18, 17]}}, "'c' is (2, 3, 17, 17), not [3, 18, 17]"),
    ({'blobs': {'nope': [1]}}, "no blob 'nope'"),
    ({'dialect': 'pspnet'}, "dialect 'deeplab-v2', not 'pspnet'"),
    ({'named': True}, "dialect 'deeplab-v2'"),
])
def test_figures_that_depart(checked, more, what):
    status, out = checked(NET, **FIGURES | more)
    assert status == 1 and what in out and 'DEPARTS' in out


def test_nets_that_cannot_be_checked(checked, tmp_path, capsys):
    status, out = checked(X + layer('DenseCRFx', 'd', 'data', 'd'), dialect='bvlc', parameters=0,
                          gmac=1)
    assert status == 1 and 'not computed: DenseCRFx' in out
    assert 'line' not in checked('layer { nope: 1 }')[1] and checked('layer { nope: 1 }')[0] == 1
    (tmp_path / 'repository/n.prototxt').unlink()
    assert checked(None) == (1, '1 not there\n')
    with pytest.raises(SystemExit):
        CHECKER.main([str(tmp_path / 'nowhere')])
    assert 'there is no such folder' in capsys.readouterr().err
