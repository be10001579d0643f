"""--dialect and --define of the commands that read a net of the user's own."""

import pytest
from small_runs import assert_error
from small_runs import call as call_tool
from texts import FILE, conv, inputs, layer

from fcn_repro.cli.main import main
from fcn_repro.net import Net
from fcn_repro.proto.prototxt import parse_net

X = inputs(data=(1, 3, 8, 8))
CROP = X + conv('c_${EXP}', 'data', kernel=3, field='pad: 6') \
    + layer('Crop', 'score', 'c_${EXP} data', 'score')


def call(capsys, *words):
    return call_tool(capsys, 'fcn-repro', main=lambda: main([*words]))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'n.prototxt').write_text(CROP)
    Net.of(parse_net(CROP, FILE, 'hed', {'EXP': 'a'}), 'TEST').save('w.caffemodel')
    return tmp_path


def test_an_undefined_name(capsys):
    words = 'draw', 'n.prototxt', '--text'
    done = call(capsys, *words)
    assert done.status == 1 and 'Give each of them as --define EXP=VALUE.' in done.err
    assert '${EXP} (line 2)' in done.err
    assert 'c_voc12' in call(capsys, *words, '--define', 'EXP=voc12').out
    assert_error(call(capsys, *words, '--define', 'EXP'), 'Give it as --define NUM_LABELS=21.')
    assert_error(call(capsys, *words, '--define', 'EXP="'), 'Give a number or a plain word.')


def test_a_dialect_that_the_text_does_not_tell(here, capsys):
    words = 'export', '--net', 'n.prototxt', '--weights', 'w.caffemodel', '--python', '--out', \
        'net.py', '--force', '--define', 'EXP=a'
    assert_error(call(capsys, *words), 'Give --dialect NAME, one of bvlc, future, crfasrnn-master, '
                 'hed, parsenet.')
    for name in 'hed', 'bvlc':
        assert call(capsys, *words, '--dialect', name).status == 0
        assert ('5:5 + ' in (here / 'net.py').read_text()) == (name == 'hed')
    assert_error(call(capsys, *words, '--dialect', 'hedd'), "Did you mean 'hed'?")
