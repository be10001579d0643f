"""An interrupted evaluation goes on and counts the same; files that cannot be read are reported
when all others are done; deploy nets, splits without labels and submissions."""

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_folders import make_sbd, make_voc, save_jpeg, save_palette_png, write_split
from PIL import Image
from small_runs import DATA, assert_error, call, image_path, label_path, small_voc

from fcn_repro.data.palette import palette
from fcn_repro.formats.weights import write_hdf5
from fcn_repro.predict import evaluation, submission

N = 5
UP = '''layer { name: "low" type: "Convolution" bottom: "data" top: "low"
  convolution_param { num_output: %(n)d kernel_size: 2 stride: 2 pad: 8 } }
layer { name: "up" type: "Deconvolution" bottom: "low" top: "up" convolution_param {
  num_output: %(n)d kernel_size: 4 stride: 2 bias_term: false group: %(n)d } }
layer { name: "score" type: "Crop" bottom: "up" bottom: "data" top: "score"
  crop_param { axis: 2 offset: 8 } }
'''
INPUT = '''layer { name: "in" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }
'''


def write_nets(folder, n=3, voc='voc', split='val'):
    """val.prototxt, deploy.prototxt and w.h5 of a net with stride 2 and n classes."""
    rng = np.random.default_rng(0)
    (folder / 'val.prototxt').write_text(DATA % (voc, split) + UP % {'n': n})
    (folder / 'deploy.prototxt').write_text(INPUT + UP % {'n': n})
    write_hdf5(folder / 'w.h5', {'low': [rng.standard_normal((n, 3, 2, 2)), np.zeros(n)],
                                 'up': [np.ones((n, 1, 4, 4))]})


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The words that score a small net on N images of noise; and their VOC folder."""
    monkeypatch.chdir(tmp_path)
    voc = small_voc(tmp_path / 'voc', N)
    write_split(voc, 'val', [f'im{i}' for i in range(N)])
    write_nets(tmp_path)
    return ['eval_voc', '--net', 'val.prototxt', '--weights', 'w.h5', '--voc', 'voc'], voc


def result(capsys, words, out):
    """(metrics.json without times, Done)."""
    done = call(capsys, *words, '--out', out)
    assert done.status == 0 and not done.err, done
    return steady(out), done


def steady(out):
    saved = json.loads(Path(out, 'metrics.json').read_text())
    return {key: value for key, value in saved.items() if key not in (
        'median_seconds', 'seconds', 'peak_memory', 'resumed')}


def interrupted(capsys, monkeypatch, words, out, after, error=KeyboardInterrupt):
    """Start an evaluation that ends after so many images."""
    count, real = [], evaluation.score_image

    def scored(*args):
        if len(count) == after:
            raise error
        count.append(args[0])
        return real(*args)
    monkeypatch.setattr(evaluation, 'default_workers', lambda: 1)
    monkeypatch.setattr(evaluation, 'score_image', scored)
    done = call(capsys, *words, '--out', out)
    monkeypatch.setattr(evaluation, 'score_image', real)
    return done


# Going on

@pytest.mark.parametrize('after', [0, 1, N - 1])
def test_the_same_counts_as_without_an_interruption(small, capsys, monkeypatch, after):
    words, _ = small
    whole, _ = result(capsys, [*words, '--report'], 'whole')
    done = interrupted(capsys, monkeypatch, words, 'out', after)
    assert done.status == 130
    assert f'stopped after {after} of {N} images; the same command goes on from there' in done.out
    assert not Path('out/metrics.json').exists()
    found, done = result(capsys, [*words, '--report'], 'out')
    assert (f'{after} of {N} images were scored by an interrupted call' in done.out) == bool(after)
    assert found == whole
    for name in 'images.csv', 'metrics.csv':
        assert untimed(Path('out', name)) == untimed(Path('whole', name))
    assert {p.name for p in Path('out').iterdir()} == {
        'metrics.json', 'metrics.csv', 'images.csv', 'pictures', 'pictures.png', 'report.html'}
    for picture in [*Path('whole/pictures').iterdir(), Path('whole/pictures.png')]:
        other = Path('out', picture.relative_to('whole'))
        assert other.read_bytes() == picture.read_bytes()
    assert pictures_in('out/report.html') == pictures_in('whole/report.html')


def untimed(path):
    return [line.rpartition(',')[0] if path.name == 'images.csv' else line
            for line in path.read_text().splitlines()]


def pictures_in(path):
    return re.findall('href="(data:[^"]*)"', Path(path).read_text())


def test_a_line_that_was_cut_short_is_done_again(small, capsys, monkeypatch):
    words, _ = small
    whole, _ = result(capsys, words, 'whole')
    interrupted(capsys, monkeypatch, words, 'out', 3)
    partial = Path('out/partial.jsonl')
    partial.write_bytes(partial.read_bytes()[:-40])
    found, done = result(capsys, words, 'out')
    assert f'2 of {N} images were scored' in done.out and found == whole


@pytest.mark.parametrize('damage', [
    b'', b'\xff\xfe\0', b'{}', b'[1]\n[2]\n', b'7', b'{"k": 1}\n'])
def test_damaged_lines_are_done_again(small, capsys, monkeypatch, damage):
    words, _ = small
    whole, _ = result(capsys, words, 'whole')
    interrupted(capsys, monkeypatch, words, 'out', 2)
    partial = Path('out/partial.jsonl')
    head, *_ = partial.read_bytes().split(b'\n')
    for text in damage, head + b'\n' + damage:
        partial.write_bytes(text)
        found, done = result(capsys, words, 'out')
        assert found == whole and 'were scored' not in done.out
        partial.touch()


@pytest.mark.parametrize('entry', [
    {'cells': [10 ** 9]}, {'cells': [-1]}, {'counts': [-5]}, {'counts': [10 ** 9]},
    {'size': [0, 0]}, {'bound': [[99], [1]]}, {'cells': [1, 2, 3]}, {'k': 'x'}, {'id': 7}])
def test_wrong_numbers_are_done_again(small, capsys, monkeypatch, entry):
    """Each would count wrongly, or write outside of the counts."""
    words, _ = small
    whole, _ = result(capsys, words, 'whole')
    interrupted(capsys, monkeypatch, words, 'out', 2)
    partial = Path('out/partial.jsonl')
    head, first, second = partial.read_text().splitlines()
    partial.write_text('\n'.join([head, json.dumps(json.loads(first) | entry), second]) + '\n')
    found, done = result(capsys, words, 'out')
    assert found == whole and '1 of 5 images were scored' in done.out


def change_weights(voc):
    write_hdf5('w.h5', {'low': [np.zeros((3, 3, 2, 2)), np.float32([0, 1, 0])],
                        'up': [np.ones((3, 1, 4, 4))]})


def change_net(voc):
    path = Path('val.prototxt')
    path.write_text(path.read_text().replace('offset: 8', 'offset: 7'))


def change_split(voc):
    write_split(voc, 'val', [f'im{i}' for i in (3, 1, 0, 2)])


@pytest.mark.parametrize('change', [change_weights, change_net, change_split])
def test_another_evaluation_starts_anew(small, capsys, monkeypatch, change):
    words, voc = small
    interrupted(capsys, monkeypatch, words, 'out', 2)
    change(voc)
    found, done = result(capsys, words, 'out')
    assert 'were scored' not in done.out
    assert found == result(capsys, words, 'whole')[0]


def test_a_label_that_changed_meanwhile_is_scored_again(small, capsys, monkeypatch):
    words, voc = small
    interrupted(capsys, monkeypatch, words, 'out', 3)
    label = np.asarray(Image.open(label_path(voc, 'im1')))
    save_palette_png((label + (label != 255)) % 3, label_path(voc, 'im1'))
    found, done = result(capsys, words, 'out')
    assert '2 of 5 images were scored' in done.out
    assert found == result(capsys, words, 'whole')[0]


def test_no_link_in_its_place_is_followed(small, capsys, tmp_path):
    words, _ = small
    mine = tmp_path / 'mine'
    mine.write_text('mine')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/partial.jsonl').symlink_to(mine)
    assert call(capsys, *words, '--out', 'out').status == 0
    assert mine.read_text() == 'mine' and not (tmp_path / 'out/partial.jsonl').is_symlink()


# Files that cannot be read

def test_all_faults_at_the_end_and_the_others_are_kept(small, capsys):
    words, voc = small
    whole, _ = result(capsys, words, 'whole')
    saved = {path: path.read_bytes() for path in (image_path(voc, 'im3'), label_path(voc, 'im2'))}
    image_path(voc, 'im3').write_bytes(b'no image')
    save_palette_png(np.full((24, 40), 9, np.uint8), label_path(voc, 'im2'))
    done = call(capsys, *words, '--out', 'out')
    assert_error(done, '2 images or labels', 'im3.jpg', 'im2.png', 'id 9', 'Repair them')
    assert f'3 of {N} images are scored; the same command goes on with the others' in done.out
    assert not Path('out/metrics.json').exists()
    for path, data in saved.items():
        path.write_bytes(data)
    found, done = result(capsys, words, 'out')
    assert '3 of 5 images were scored' in done.out and found == whole


# Deploy nets

def test_a_deploy_net_scores_as_its_val_net(small, capsys):
    words, _ = small
    val, _ = result(capsys, words, 'val')
    deploy = ['eval_voc', '--net', 'deploy.prototxt', '--weights', 'w.h5', '--voc', 'voc',
              '--mean', '104.0', '116.7', '122.7']
    found, _ = result(capsys, deploy, 'deploy')
    assert found['net'] == 'deploy.prototxt' and found['split'] == 'val'
    assert {**found, 'net': ''} == {**val, 'net': ''}
    assert result(capsys, [*deploy, '--workers', 0], 'deploy0')[0] == found
    assert_error(call(capsys, *words, '--mean', 1, 2, 3), 'val.prototxt', 'Leave out --mean')


def test_another_mean_is_said(small, capsys):
    deploy = ['eval_voc', '--net', 'deploy.prototxt', '--weights', 'w.h5', '--voc', 'voc', '--mean']
    found, done = result(capsys, [*deploy, '103.53', '116.28', '123.675'], 'out')
    assert 'warning: the mean pixel is (103.53, 116.28, 123.675)' in done.out
    assert len(found['warnings']) == 1
    assert not result(capsys, [*deploy, '104', '117', '123'], 'out')[0]['warnings']


def test_seg11valid_where_it_can_be_had(tmp_path, monkeypatch, capsys):
    """Of a deploy net: computed with SBD, read from the folder, else val."""
    monkeypatch.chdir(tmp_path)
    voc = make_voc(tmp_path)
    make_sbd(tmp_path, ['2009_000003'])
    write_nets(tmp_path, 21)
    words = ['eval_voc', '--net', 'deploy.prototxt', '--weights', 'w.h5', '--voc', 'VOC2011']
    found, _ = result(capsys, words, 'out')
    assert (found['split'], found['images']) == ('val', 4)
    found, _ = result(capsys, [*words, '--sbd', 'benchmark_RELEASE/dataset'], 'out')
    assert (found['split'], found['images']) == ('seg11valid', 3)
    assert next(iter(found['class_iu'])) == 'background'
    write_split(voc, 'seg11valid', ['2008_000002'])
    found, _ = result(capsys, words, 'out')
    assert (found['split'], found['images']) == ('seg11valid', 1)


# Submissions

@pytest.fixture
def voc_test(tmp_path, monkeypatch):
    """The words that submit the split test, whose three images have no labels; and the folder."""
    monkeypatch.chdir(tmp_path)
    voc = make_voc(tmp_path, 'VOC2012')
    ids = ['2008_000101', '2008_000102', '2008_000103']
    for i, id_ in enumerate(ids):
        image = np.random.default_rng(i).integers(0, 256, (12 + i, 20, 3), dtype=np.uint8)
        save_jpeg(image, voc / f'JPEGImages/{id_}.jpg')
    write_split(voc, 'test', ids)
    write_nets(tmp_path, 21, voc, 'test')
    return ['eval_voc', '--weights', 'w.h5', '--voc', 'VOC2012', '--split', 'test', '--submit',
            'results.tgz', '--out', 'out', '--net'], voc


@pytest.mark.parametrize('net', ['val.prototxt', 'deploy.prototxt'])
def test_a_submission_of_a_split_without_labels(voc_test, capsys, net):
    words, _ = voc_test
    done = call(capsys, *words, net)
    assert done.status == 0 and not done.err
    assert 'submission of 3 label maps, checked: results.tgz' in done.out
    assert 'the split has no labels: no score' in done.out
    with tarfile.open('results.tgz') as tar:
        assert tar.getnames() == [f'results/VOC2012/Segmentation/comp6_test_cls/2008_00010{i}.png'
                                  for i in (1, 2, 3)]
        for i, entry in enumerate(tar):
            image = Image.open(io.BytesIO(tar.extractfile(entry).read()))
            assert (image.mode, image.size) == ('P', (20, 12 + i))
            assert image.getpalette() == palette(256).reshape(-1).tolist()
    assert not list(Path('out').glob('*'))


def test_a_submission_of_a_split_with_labels_is_scored_too(voc_test, capsys):
    words, _ = voc_test
    done = call(capsys, *words, 'val.prototxt', '--split', 'val', '--report')
    assert done.status == 0 and not done.err and 'mean IU' in done.out
    assert Path('out/report.html').exists() and not Path('out/submission').exists()
    with tarfile.open('results.tgz') as tar:
        assert len(tar.getnames()) == 4


def test_a_submission_goes_on(voc_test, capsys, monkeypatch):
    words, _ = voc_test
    assert call(capsys, *words, 'val.prototxt').status == 0
    before = Path('results.tgz').read_bytes()
    assert interrupted(capsys, monkeypatch, [*words, 'val.prototxt'], 'out', 2).status == 130
    kept = sorted(Path('out/submission').rglob('*.png'))
    assert len(kept) >= 2
    kept[0].unlink()
    done = call(capsys, *words, 'val.prototxt')
    assert done.status == 0 and '1 of 3 images were scored' in done.out
    assert Path('results.tgz').read_bytes()[10:] == before[10:]


@pytest.mark.parametrize('change, parts', [
    (['--submit', 'results.zip'], ['results.zip', '.tgz or .tar.gz']),
    (['--submit', 'other.tgz'], ['other.tgz', 'not an archive', 'another name']),
    (['--submit', 'no/such/x.tgz'], ['no/such/x.tgz', 'cannot be written']),
    (['--voc', 'data'], ['data', 'year', 'VOC2011 or VOC2012']),
    (['--split', 'mixed'], ['000101.png', 'is missing'])])
def test_submissions_that_are_refused(voc_test, capsys, change, parts):
    words, voc = voc_test
    Path('other.tgz').write_text('something else')
    Path('data').symlink_to(voc)
    write_split(voc, 'mixed', ['2008_000101', '2008_000002'])
    assert_error(call(capsys, *words, 'val.prototxt', *change), *parts)
    assert Path('other.tgz').read_text() == 'something else' and not Path('results.tgz').exists()


def test_a_net_of_other_classes_is_not_submitted(voc_test, capsys, tmp_path):
    write_nets(tmp_path, 3, 'VOC2012', 'test')
    assert_error(call(capsys, *voc_test[0], 'val.prototxt'), '3 classes, VOC 21')


def test_a_split_without_labels_alone_is_refused(voc_test, capsys):
    words = [word for word in voc_test[0] if word not in ('--submit', 'results.tgz')]
    assert_error(call(capsys, *words, 'val.prototxt'), '2008_000101.png', 'is missing')


@pytest.mark.parametrize('spoil, part', [
    (lambda image: image.convert('L'), 'mode L'), (lambda image: image.resize((3, 3)), '3x3'),
    (lambda image: image.point(lambda v: 21), 'class 21'),
    (lambda image: recoloured(image), 'colours')])
def test_the_server_would_refuse(tmp_path, spoil, part):
    label = np.zeros((12, 20), np.uint8)
    save_palette_png(label, tmp_path / 'a.png')
    file = io.BytesIO()
    spoil(Image.open(tmp_path / 'a.png')).save(file, 'PNG')
    assert part in submission.fault_of(file.getvalue(), (12, 20))
    assert not submission.fault_of((tmp_path / 'a.png').read_bytes(), (12, 20))


def recoloured(image):
    image.putpalette([7] * 768)
    return image
