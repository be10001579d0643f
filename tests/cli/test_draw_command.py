"""fcn-repro draw, as a user calls it."""

from pathlib import Path

import pytest
from texts import inputs, layer

from fcn_repro.cli.main import main

FCN8S = str(Path(__file__).parents[2] / 'prototxt/voc-fcn8s/deploy.prototxt')
TRAIN = str(Path(__file__).parents[2] / 'prototxt/voc-fcn8s/train.prototxt')
ODD = inputs(data=(1, 3, 8, 8)) + layer('PriorBox', 'up', 'data', 'up', 'prior_box_param {}')


def failed(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(['draw', *words])
    assert end.value.code == 1
    return capsys.readouterr().err


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_page(here, capsys):
    main(['draw', FCN8S, '--size', '384x512'])
    assert capsys.readouterr().out == '47 layers drawn to deploy.html\n'
    assert '1×21×384×512' in (here / 'deploy.html').read_text()
    main(['draw', FCN8S, '--out', 'net.html'])
    assert '1×21×500×500' in (here / 'net.html').read_text()


def test_picture_and_table(here, capsys):
    main(['draw', FCN8S, '--svg'])
    main(['draw', FCN8S, '-o', 'net.svg'])
    assert (here / 'deploy.svg').read_text() == (here / 'net.svg').read_text()
    main(['draw', TRAIN, '--phase', 'train', '--size', '500', '--text'])
    out = capsys.readouterr().out
    assert 'phase TRAIN' in out and '~1×21×500×500' in out and 'UpCropLoss' in out
    assert sorted(path.name for path in here.iterdir()) == ['deploy.svg', 'net.svg']


def test_unknown_types_are_noted(here, capsys):
    (here / 'odd.prototxt').write_text(ODD)
    main(['draw', 'odd.prototxt'])
    out, err = capsys.readouterr()
    assert out == '2 layers drawn to odd.html\n'
    assert err.startswith("note: odd.prototxt:2: layer 'up': unknown layer type 'PriorBox'")
    main(['draw', 'odd.prototxt', '--text', '--shape', 'up=1x3x9x9'])
    assert '1×3×9×9' in capsys.readouterr().out


@pytest.mark.parametrize('words, what', [
    (['none.prototxt'], 'none.prototxt: cannot be read'), (['.'], 'the run has no weights'),
    ([FCN8S, '--size', '0x5'], "'0x5' is no size. Give --size"),
    ([FCN8S, '--size', 'big'], "'big' is no size"),
    ([FCN8S, '--size', '999999999x9'], 'at most'),
    ([FCN8S, '--shape', 'data'], "'data' is no blob with its shape. Give --shape"),
    ([FCN8S, '--shape', 'dat=1x3x9x9'], "no blob 'dat'. Did you mean 'data'?"),
    ([FCN8S, '--text', '--out', 'a'], 'Leave out one'),
    ([FCN8S, '--dialect', 'none'], "unknown dialect 'none'"),
    ([FCN8S, '--out', 'none/a.html'], 'cannot write'),
    ([FCN8S.replace('deploy', 'solver')], 'give the net that the solver names')])
def test_bad_input(words, what, capsys):
    assert what in failed(capsys, *words)


def test_other_files_are_not_replaced(here, capsys):
    """The remedy is one that this command takes."""
    (here / 'odd.prototxt').write_text(ODD)
    err = failed(capsys, 'odd.prototxt', '--out', 'odd.prototxt')
    assert 'it is no drawing. Give another --out' in err
    assert (here / 'odd.prototxt').read_text() == ODD
    main(['draw', 'odd.prototxt', '--out', 'other.html'])
    main(['draw', 'odd.prototxt', '--out', 'other.html'])


def test_the_folder_of_a_run_is_its_deploy_net(here, capsys):
    (here / 'runs/mine/net').mkdir(parents=True)
    (here / 'runs/mine/net/deploy.prototxt').write_text(Path(FCN8S).read_text())
    for net in 'runs/mine', 'mine', str(Path(FCN8S).parent):
        main(['draw', net])
        assert capsys.readouterr().out == f'47 layers drawn to {Path(net).name}.html\n'
