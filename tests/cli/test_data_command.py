"""fcn-repro data: what it prints, its status, and the commands and remedies that it names."""

import re
import shlex

import numpy as np
import pytest
from commands import call
from photo_sets import TABLE, as_binary, as_index, as_rgb, make_set, photo, save
from PIL import Image

from fcn_repro.cli.data import bar, printable, ranges


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def next_words(out):
    """The words of the command that is named as the next one."""
    line = re.search(r'^next: fcn-repro (.*)$', out, re.MULTILINE)
    assert line, out
    return shlex.split(line[1])


@pytest.mark.parametrize('mask, paths, classes', [
    (as_rgb, {}, 4), (as_binary, {}, 2), (as_index, {'mask_path': '{}.png',
                                                     'image_path': '{}.jpg'}, 4)])
def test_check_names_the_command_that_converts_and_then_the_one_that_trains(
        here, mask, paths, classes, capsys):
    make_set(here / 'my photos', mask=mask, **paths)
    status, out, err = call(['data', 'check', 'my photos/'], capsys)
    assert status == 1 and not err
    words = next_words(out)
    assert words[:3] == ['data', 'convert', 'my photos/']
    status, out, err = call(words, capsys)
    assert status == 0 and not err
    assert 'images copied as they are' in out and '8 train and 2 val pairs' in out
    last = next_words(out)
    assert last == ['train', 'own', '--voc', 'my photos-voc', '--classes', str(classes)]
    status, out, err = call(['data', 'check', 'my photos-voc'], capsys)
    assert status == 0 and not err and next_words(out) == last and 'ready to train' in out


def test_what_is_printed_of_a_good_folder(here, capsys):
    make_set(here / 'p', mask=as_index)
    assert call('data convert p --out voc --names sky,leaf,bug,stone', capsys)[0] == 0
    status, out, _ = call('data check voc', capsys)
    lines = out.splitlines()
    assert status == 0 and len(lines) == 11
    assert lines[0] == "voc: VOC's layout, 8 train, 2 val"
    assert lines[1] == '  images   32x24; RGB; JPEG'
    assert lines[2] == '  labels   P; ids 0-3; void 0.0 %'
    assert re.fullmatch(r'      1 leaf +4\.7 %  █▎ +in 8 train, 2 val', lines[5]), lines[5]


def test_faults_are_grouped_with_counts_and_first_examples(here, capsys):
    make_set(here / 'p', mask=as_index)
    call('data convert p --out voc', capsys)
    for i in range(5):
        save(here / f'voc/SegmentationClass/p{i:02}.png', as_rgb(photo(i)[1]))
    (here / 'voc/JPEGImages/p07.jpg').unlink()
    status, out, _ = call('data check voc', capsys)
    assert status == 1
    assert '  5 x masks of colours in place of class ids' in out and '… and 2 more' in out
    assert out.count('SegmentationClass/p0') == 3 and '  1 x masks without an image' in out
    assert 'next: correct what is listed as errors, then fcn-repro data check voc' in out
    _, out, _ = call('data check voc --all', capsys)
    assert out.count('SegmentationClass/p0') == 5 and 'more' not in out


def test_classes_in_the_words_of_the_command(here, capsys):
    make_set(here / 'p', mask=as_index)
    call('data convert p --out voc', capsys)
    status, out, _ = call('data check voc --classes 3', capsys)
    assert status == 1 and 'Give --classes 4, or correct the ids' in out
    status, out, _ = call('data check voc --classes 21', capsys)
    assert status == 0 and 'Give --classes 4.' in out and 'ready to train (1 warning)' in out
    assert call('data check voc --classes 4 --splits train', capsys)[0] == 0
    assert call('data check voc --splits train test', capsys)[0] == 1


def test_a_folder_of_0_and_255_is_said_to_be_binary(here, capsys):
    """The remedy is carried out as it is printed, and helps."""
    make_set(here / 'p', mask=as_binary)
    call('data convert p --out voc', capsys)
    for path in (here / 'voc/SegmentationClass').iterdir():
        Image.fromarray(np.asarray(Image.open(path)) * 255).save(path)
    status, out, _ = call('data check voc', capsys)
    assert status == 1 and 'only 0 and 255' in out
    assert '`fcn-repro data convert --masks binary`' in out
    words = next_words(out)
    assert words == ['data', 'convert', 'voc', '--masks', 'binary', '--out', 'voc-voc']
    assert call(words, capsys)[0] == 0
    assert call('data check voc-voc', capsys)[0] == 0


def smooth(label):
    large = np.kron(label, np.ones((4, 4), np.uint8))
    return as_rgb(large).resize(label.shape[::-1], Image.Resampling.BILINEAR)


@pytest.mark.parametrize('mask, mask_path, words, remedy, then', [
    (as_rgb, 'masks/{}.jpg', '--masks binary', '--other nearest',
     '--masks binary --other nearest'),
    (smooth, 'masks/{}.png', '--masks rgb --colours table', '--other void',
     '--masks rgb --colours table --other void'),
    (smooth, 'masks/{}.png', '--masks rgb --colours table', '--other nearest',
     '--masks rgb --colours table --other nearest'),
    (as_rgb, 'masks/{}.png', '--masks index', '--masks rgb', '--masks rgb --colours table')])
def test_the_remedies_of_wrong_masks_help(here, mask, mask_path, words, remedy, then, capsys):
    make_set(here / 'p', mask=mask, mask_path=mask_path, size=(96, 128))
    (here / 'table').write_text(TABLE)
    status, out, err = call(f'data convert p --out voc {words}', capsys)
    assert status == 1 and not out and remedy in err and err.count('error: ') == 1
    assert not (here / 'voc').exists()
    assert call(f'data convert p --out voc {then}', capsys)[0] == 0


def test_masks_of_16_bits_and_grey_images_of_a_voc_folder(here, capsys):
    make_set(here / 'p', mask=as_index)
    call('data convert p --out voc', capsys)
    for i in range(10):
        save(here / f'voc/SegmentationClass/p{i:02}.png',
             Image.fromarray(photo(i)[1].astype(np.uint16)))
    save(here / 'voc/JPEGImages/p01.jpg', Image.fromarray(photo(1)[0]).convert('L'))
    status, out, _ = call('data check voc', capsys)
    assert status == 1 and '--masks index' in out
    assert call(next_words(out), capsys)[0] == 0


def test_large_images(here, capsys):
    make_set(here / 'p', 2, mask=as_index, size=(2048, 2048))
    status, out, _ = call('data check p', capsys)
    assert '`fcn-repro data convert --longest 1000`' in out
    status, out, _ = call('data convert p --out voc --longest 1000', capsys)
    assert status == 0 and 'scaled to 1000 pixels' in out and '1000x1000' in out


def test_what_is_left_out_is_told_and_the_rest_is_done(here, capsys):
    make_set(here / 'p', mask=as_index)
    (here / 'p/images/p03.jpg').write_bytes(b'nothing')
    status, out, _ = call('data convert p --out voc', capsys)
    assert status == 1 and 'left out\n  1 x files that cannot be read\n      images/p03.jpg' in out
    assert 'ready to train' in out


def test_existing_outputs(here, capsys):
    make_set(here / 'p', 2)
    assert call('data convert p --out voc', capsys)[0] == 0
    status, _, err = call('data convert p --out voc', capsys)
    assert status == 1 and 'Give another --out' in err and len(err.splitlines()) == 1
    status, _, err = call('data convert p --out p/voc', capsys)
    assert status == 1 and 'Give --out a folder beside' in err


def test_training_stops_before_anything_is_made(here, capsys):
    make_set(here / 'p', mask=as_index)
    call('data convert p --out voc', capsys)
    for i in range(3):
        (here / f'voc/SegmentationClass/p{i:02}.png').unlink()
    save(here / 'voc/SegmentationClass/p04.png', Image.fromarray(photo(4, (9, 9))[1]))
    words = 'train mini-fcn32s --voc voc --weights none --device cpu --iterations 1'
    status, _, err = call(words, capsys)
    assert status == 1 and '3 x images without a mask' in err and 'p04.png: 9x9' in err
    assert '`fcn-repro data check voc`' in err and err.count('error: ') == 1
    assert not list(here.glob('runs/*/train*')) and not list(here.glob('runs/*/net'))
    assert call('data check voc', capsys)[0] == 1


def test_small_parts():
    assert bar(0) == '' and bar(1e-9) == '▏' and bar(1) == 24 * '█' and bar(0.5) == 12 * '█'
    assert ranges(np.array([0, 1, 2, 7])) == '0-2, 7' and ranges(np.array([])) == 'none'
    assert printable('a\x1b[1m\udc80é') == r'a\x1b[1m\udc80é'


def test_the_options_of_a_check_are_in_the_next_command(here, capsys):
    make_set(here / 'p')
    (here / 'table.txt').write_text(TABLE)
    _, out, _ = call('data check p --colours table.txt', capsys)
    words = next_words(out)
    assert words == ['data', 'convert', 'p', '--masks', 'rgb', '--colours', 'table.txt', '--out',
                     'p-voc']
    assert call(words, capsys)[0] == 0
    _, out, _ = call('data check p-voc --classes 3 --splits train', capsys)
    assert out.endswith('then fcn-repro data check p-voc --classes 3 --splits train\n')
    assert call('data check p --colours none.txt', capsys)[2].startswith('error: none.txt: ')


def test_a_table_that_lies_in_the_folder_is_taken(here, capsys):
    make_set(here / 'p')
    (here / 'p/colours.txt').write_text(TABLE)
    _, out, _ = call('data check p', capsys)
    assert 'the colours are those of colours.txt' in out and '1 disc' in out
    assert call(next_words(out), capsys)[0] == 0
    assert 'disc' in (here / 'p-voc/classes.txt').read_text()
    (here / 'p-voc/colours.txt').write_text('red\n')
    status, out, _ = call('data check p-voc', capsys)
    assert status == 1 and '1 x a table of colours that cannot be read' in out


def test_smoothed_masks_of_which_all_have_many_colours(here, capsys):
    make_set(here / 'p', mask=lambda label: as_rgb(label).resize((40, 30)).resize(
        label.shape[::-1], Image.Resampling.BICUBIC))
    for words in 'data check p', 'data convert p --out voc':
        status, out, err = call(words, capsys)
        assert status == 1 and '--other nearest' in out + err and "other='" not in out + err


def test_masks_in_jpeg(here, capsys):
    """What is lossy is said, and that a table would give names."""
    make_set(here / 'p', mask=lambda label: as_rgb(label), mask_path='masks/{}.jpg')
    status, out, _ = call('data check p', capsys)
    assert status == 1 and 'masks in a lossy format' in out
    words = next_words(out)
    assert '--other' in words and 'nearest' in words
    status, out, _ = call(words, capsys)
    assert 'JPEG changes colours: these are about right' in out, out


def test_masks_that_are_all_void_are_not_binary(here, capsys):
    make_set(here / 'p', mask=lambda label: Image.fromarray(np.full_like(label, 255)))
    _, out, _ = call('data check p', capsys)
    assert 'all pixels are 255, void' in out and 'binary' not in out
