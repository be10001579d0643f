"""Which net infer and eval mean: one rule, said on the screen; and where results go by default."""

import json
import shutil
from pathlib import Path

import pytest
from small_runs import assert_error, call, small_voc
from tiny_nets import noise, save

from fcn_repro.cli.which_run import results_of


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp('trained')


@pytest.fixture
def runs(trained, monkeypatch, capsys):
    """Two finished runs, 'a' of the folder voc and 'b', the newer one, of the folder other."""
    monkeypatch.chdir(trained)
    if not Path('runs').exists():
        for name, voc in ('a', 'voc'), ('b', 'other'):
            small_voc(trained / voc, 3)
            done = call(capsys, 'train', 'mini-fcn32s', '--voc', voc, '--classes', 3, '--weights',
                        'none', '--iterations', 1, '--out', f'runs/{name}', '--pictures', 0)
            assert done.status == 0, done
    return trained


def test_infer_and_eval_mean_the_same_run(runs, capsys):
    save(runs / 'x.png', noise(40, 50))
    said = 'runs/b: the newest of 2 finished runs; others: a'
    for words in ('eval_voc', '--pictures', 0), ('infer', 'x.png'):
        done = call(capsys, *words)
        assert done.status == 0 and done.out.startswith(said + '\n'), done
    for words in ('eval_voc', '--voc', 'voc', '--pictures', 0), ('infer', 'voc/JPEGImages'):
        done = call(capsys, *words)
        assert done.out.startswith('runs/a: trained on the data'), done
    for command in ('eval_voc',), ('infer', 'x.png'):
        assert_error(call(capsys, *command, '--weights', 'w.h5'), '--weights without --net')
        assert_error(call(capsys, *command, '--net', 'n.prototxt'), '--net without --weights')
        assert_error(call(capsys, *command, '--run', 'a', '--net', 'n.prototxt'), 'both given')
    assert_error(call(capsys, 'eval_voc', '--mnist', 'digits'), '--mnist is the data of a run')


def test_a_run_is_scored_from_another_folder(runs, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(capsys, 'eval_voc', '--run', runs / 'runs/a', '--pictures', 0, '--out', 'here')
    assert done.status == 0, done
    assert json.loads(Path('here/metrics.json').read_text())['images'] == 2


def test_weights_of_one_name_have_folders_of_their_own(runs, capsys):
    weights = [runs / f'runs/{name}/train_iter_1.caffemodel.h5' for name in 'ab']
    folders = [results_of('eval', each, 'runs') for each in weights]
    assert folders == [Path(f'runs/eval/{name}/train_iter_1.caffemodel') for name in 'ab']
    assert results_of('eval', 'fcn8s.caffemodel', 'runs') == Path('runs/eval/fcn8s')
    assert results_of('infer', '/nets/fcn8s.caffemodel', 'runs') == Path('runs/infer/nets/fcn8s')
    for each, folder in zip(weights, folders, strict=True):
        done = call(capsys, 'eval_voc', '--weights', each, '--pictures', 0)
        assert done.status == 0 and (folder / 'metrics.json').is_file(), done


def test_a_folder_of_images_and_masks(runs, capsys):
    """The images are labelled, and what is left out is said."""
    for place, name in ('images', 'a.jpg'), ('images', 'b.jpg'), ('masks', 'a.png'):
        (runs / 'photos' / place).mkdir(parents=True, exist_ok=True)
        save(runs / 'photos' / place / name, noise(40, 50))
    done = call(capsys, 'infer', 'photos', '--out', 'labels')
    assert done.status == 0, done
    assert 'photos: 2 images to label; masks in masks are left out: 1' in done.out
    assert sorted(path.name for path in Path('labels').glob('*')) == [
        'a.overlay.png', 'a.png', 'b.overlay.png', 'b.png']
    shutil.copy('photos/masks/a.png', 'photos/images/a_mask.png')
    done = call(capsys, 'infer', 'photos/images', '--out', 'flat')
    assert done.status == 0 and '2 images to label; masks beside them are left out: 1' in done.out
    assert not Path('flat/a_mask.png').exists()
