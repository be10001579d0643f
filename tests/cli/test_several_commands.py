"""train, eval and infer as several processes, started as torchrun starts them."""

import json

import numpy as np
import several
from small_runs import image_path, small_voc

from fcn_repro.formats.weights import modern, read_extra, read_weights


def together(size, folder, *words):
    """The output of `fcn-repro WORDS` in so many processes, which end well; the others print
    nothing."""
    (status, out, err), *others = several.wait(
        several.start(size, ['-m', 'fcn_repro', *words], folder))
    assert status == 0, (out, err)
    assert all((status, out) == (0, '') for status, out, _ in others), others
    return out


def test_train_eval_and_infer_in_two_processes(tmp_path):
    """A net for one's own data is trained, scored and used; the scores are those of one process."""
    small_voc(tmp_path / 'voc')
    out = together(2, tmp_path, 'train', 'mini-fcn32s', '--voc', 'voc', '--classes', 3,
                   '--weights', 'none', '--iterations', 2, '--device', 'cpu')
    assert out.count('rule of the paper') == 1 and '2 processes' in out, out
    assert "another recipe than the stage's own: 2 passes an iteration, instead of 1, at the " \
        'rates of these. --samples S sets' in out, out
    weights = tmp_path / 'runs/mini-fcn32s/train_iter_2.caffemodel.h5'
    assert read_extra(weights)['recipe'].endswith(' by 2 processes: 2 times its samples an '
                                                  'iteration, at its rates')
    words = ['eval', '--stage', 'mini-fcn32s', '--voc', 'voc', '--device', 'cpu', '--out']
    scores = []
    for size in 1, 2:
        together(size, tmp_path, *words, f'eval{size}')
        scores.append(json.loads((tmp_path / f'eval{size}/metrics.json').read_text()))
    assert scores[0]['confusion'] == scores[1]['confusion']
    photos = [image_path(tmp_path / 'voc', f'im{i}') for i in range(3)]
    out = together(2, tmp_path, 'infer', *photos, '--stage', 'mini-fcn32s', '--out', 'labels',
                   '--device', 'cpu')
    assert all(out.count(f'{photo}  ') == 1 for photo in photos), out
    assert len(list((tmp_path / 'labels').glob('*.overlay.png'))) == 3


def test_a_run_keeps_its_samples_however_many_processes_go_on(tmp_path):
    """Begun by two, resumed by one and by two; not by three, more than its passes."""
    small_voc(tmp_path / 'voc')
    words = ['train', 'mini-fcn32s', '--voc', 'voc', '--classes', 3, '--weights', 'none',
             '--device', 'cpu', '--pictures', 0, '--iterations']
    together(2, tmp_path, *words, 1)
    for size, iterations in (1, 2), (2, 3):
        out = together(size, tmp_path, *words, iterations, '--restore', 'auto')
        assert f'{iterations} iterations of 2 x 1 images' in out, out
        assert (', begun by 2 processes: as many samples' in out) == (size == 1), out
    weights = tmp_path / 'runs/mini-fcn32s/train_iter_3.caffemodel.h5'
    assert ' by 2 processes: ' in read_extra(weights)['recipe']
    assert 'trained already, begun by 2 processes' in together(1, tmp_path, *words, 3)
    found = several.wait(several.start(
        3, ['-m', 'fcn_repro', *map(str, words), '4', '--restore'], tmp_path))
    said = ''.join(err for _, _, err in found)
    assert '3 processes for the 2 passes' in said, found
    assert 'Start at most 2 processes, or give --samples.' in said, found


def test_batches_of_two_processes_have_the_bits_of_one(tmp_path):
    """Passes of two images each, of one size, divided among the processes."""
    small_voc(tmp_path / 'voc')
    words = ['train', 'mini-fcn32s', '--voc', 'voc', '--classes', 3, '--weights', 'none',
             '--device', 'cpu', '--pictures', 0, '--iterations', 2, '--batch', 2, '--samples', 4,
             '--runs']
    files = []
    for size in 1, 2:
        together(size, tmp_path, *words, f'runs{size}')
        file, = tmp_path.glob(f'runs{size}/mini-fcn32s-batch2-samples4/*.caffemodel.h5')
        files.append(modern(read_weights(file)))
    assert files[0].keys() == files[1].keys() and len(files[0]) > 10
    for layer, blobs in files[0].items():
        assert all(map(np.array_equal, blobs, files[1][layer])), layer


def test_an_error_that_all_find_is_printed_once(tmp_path):
    found = several.wait(several.start(3, ['-m', 'fcn_repro', 'train', 'mini-fcn33s'], tmp_path))
    assert [status for status, _, _ in found] == [1, 1, 1]
    assert ''.join(err for _, _, err in found).count("unknown stage 'mini-fcn33s'") == 1, found


def test_a_command_of_one_process_refuses_several(tmp_path):
    for status, _, err in several.wait(several.start(
            2, ['-m', 'fcn_repro', 'staged'], tmp_path)):
        assert status == 1 and err.startswith('error: staged runs in one process'), err
        assert 'train, infer, eval' in err
