"""Photos of any kind: which are found, how they are read, and where the results go."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import contents
from tiny_nets import noise, save

from fcn_repro.data.image import open_image
from fcn_repro.errors import FcnError
from fcn_repro.predict import photos as photos_module
from fcn_repro.predict.photos import find_photos, output_paths, process, read_photo

RED, GREY = (200, 30, 60), (90, 90, 90)
MODES = {       # mode: (how the file is made, its pixel as RGB, the note)
    'RGB': (lambda: Image.new('RGB', (5, 4), RED), RED, ()),
    'L': (lambda: Image.new('L', (5, 4), 90), GREY, ('grey',)),
    '1': (lambda: Image.new('1', (5, 4), 1), (255,) * 3, ('black and white',)),
    'P': (lambda: Image.new('RGB', (5, 4), RED).convert('P', palette=Image.ADAPTIVE), RED,
          ('palette',)),
    'RGBA': (lambda: Image.new('RGBA', (5, 4), (*RED, 0)), (255,) * 3, ('laid on white',)),
    'LA': (lambda: Image.new('LA', (5, 4), (90, 255)), GREY, ('grey, laid on white',)),
    'I;16': (lambda: Image.fromarray(np.full((4, 5), 90 * 257, np.uint16)), GREY,
             ('16-bit grey',)),
}


@pytest.mark.parametrize('mode', MODES)
def test_any_png_is_read(tmp_path, mode):
    make, pixel, notes = MODES[mode]
    make().save(tmp_path / 'x.png')
    photo = read_photo(tmp_path / 'x.png')
    assert photo.image.shape == (4, 5, 3) and photo.image.dtype == np.uint8
    assert (photo.image == pixel).all() and photo.notes == notes


def test_cmyk_and_a_range_that_is_not_known(tmp_path):
    Image.new('CMYK', (5, 4), (0, 255, 255, 0)).save(tmp_path / 'x.tif')
    photo = read_photo(tmp_path / 'x.tif')
    assert (photo.image == (255, 0, 0)).all() and photo.notes == ('CMYK',)
    Image.fromarray(np.full((4, 5), 0.5, np.float32)).save(tmp_path / 'f.tif')
    with pytest.raises(FcnError, match=r'f.tif: the grey values are 0.5 to 0.5 .*unknown'):
        read_photo(tmp_path / 'f.tif')


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_obeyed_and_said(tmp_path, orientation):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:8, :8] = 255                             # a white corner, top left of the upright image
    undo = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
            5: lambda a: a.transpose(1, 0, 2), 6: np.rot90,
            7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, 3)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](image)))
    stored.save(tmp_path / 'x.png', exif=exif)
    photo = read_photo(tmp_path / 'x.png')
    assert (photo.image == image).all()
    assert photo.notes == (() if orientation == 1 else ('turned upright by its EXIF',))


def test_files_and_folders(tmp_path):
    for name in 'b.jpg', 'a.PNG', '.c.jpg', 'notes.txt':
        (tmp_path / name).touch()
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'd.jpg').touch()
    names = [path.name for path in find_photos([tmp_path / 'b.jpg', tmp_path]).photos]
    assert names == ['b.jpg', 'a.PNG']
    with pytest.raises(FcnError, match=r'No such file'):
        find_photos([tmp_path / 'e.jpg'])


def test_patterns_are_for_images(tmp_path, monkeypatch):
    """Quoted, so that the shell leaves them alone; ** takes subfolders in."""
    for name in 'b.jpg', 'a.PNG', '.c.jpg', 'notes.txt', 'sub/d.jpg', 'x[1].png':
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert [*map(str, find_photos(['*']).photos)] == ['a.PNG', 'b.jpg', 'x[1].png']
    assert [*map(str, find_photos(['**/*.jpg']).photos)] == ['b.jpg', 'sub/d.jpg']
    assert [*map(str, find_photos(['x[1].png', '?.jpg']).photos)] == ['x[1].png', 'b.jpg']
    with pytest.raises(FcnError, match=r'\*\.webp: no image matches this pattern'):
        find_photos(['*.webp'])
    (tmp_path / 'no').mkdir()
    (tmp_path / 'no/sub').mkdir()
    with pytest.raises(FcnError, match=r"no: the folder has no images.*pattern, 'no/\*\*/\*'"):
        find_photos(['no'])


@pytest.mark.parametrize('kind', ['gif', 'png', 'webp', 'tif'])
def test_of_several_frames_the_first_is_taken_and_said(tmp_path, kind):
    frames = [Image.new('RGB', (6, 5), (value,) * 3) for value in (0, 200, 100)]
    frames[0].save(tmp_path / f'x.{kind}', save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / f'x.{kind}')
    assert (photo.image == 0).all() and 'the first of several frames' in photo.notes
    frames[0].save(tmp_path / f'one.{kind}')
    assert 'the first of several frames' not in read_photo(tmp_path / f'one.{kind}').notes


class Copies:
    """A job that writes a line and refuses images of another height than 8."""
    endings = ('.txt',)

    def check(self, height, width):
        if height != 8:
            raise FcnError(f'{height} rows', do='Give 8.')

    def run(self, image, name, paths):
        paths[0].write_text(name)
        return 'done'


def test_one_bad_image_is_reported_and_the_rest_is_done(tmp_path, monkeypatch, capsys):
    """Each image is decoded once."""
    photos = [save(tmp_path / f'{name}.bmp', noise(8, 8)) for name in 'abd']
    photos.insert(1, tmp_path / 'bad.png')
    photos[1].write_text('no image')
    photos.insert(3, save(tmp_path / 'tall.bmp', noise(9, 8)))
    photos.append(save(tmp_path / 'a.png', noise(8, 8)))            # a.txt is that of a.bmp
    opened = []
    monkeypatch.setattr(photos_module, 'open_image', lambda path, kind: opened.append(path)
                        or open_image(path, kind))
    faults = process(photos, Copies(), tmp_path / 'out')
    assert set(map(str, contents(tmp_path / 'out'))) == {'a.txt', 'b.txt', 'd.txt'}
    assert [fault.file and Path(fault.file).name for fault in faults] == [
        'bad.png', 'tall.bmp', 'a.txt']
    assert 'an image of 9x8 does not go through this net: 9 rows' in str(faults[1])
    assert opened == photos[:5] and capsys.readouterr().out.count('done') == 3


def test_a_folder_that_cannot_be_written_to_is_said_once(tmp_path):
    photos = [save(tmp_path / f'{name}.bmp', noise(8, 8)) for name in 'ab']
    (tmp_path / 'out').write_text('a file')
    with pytest.raises(FcnError, match=r'out: cannot make this folder'):
        process(photos, Copies(), tmp_path / 'out')


def test_names_that_collide_are_refused(tmp_path):
    a, b = tmp_path / 'a' / 'x.jpg', tmp_path / 'b' / 'x.png'
    paths, faults = output_paths([a, b], tmp_path, ['.png'])
    assert paths == {a: [tmp_path / 'x.png']}                   # the first of them is done
    assert re.search(r'x\.jpg and .*x\.png would both be written here', str(faults[b]))
    other = tmp_path / 'x.overlay.jpg'
    paths, faults = output_paths([a, other], tmp_path, ['.png', '.overlay.png'])
    assert [*paths] == [a] and 'would both be written' in str(faults[other])
    paths, faults = output_paths([b], tmp_path / 'b', ['.png'])
    assert not paths and 'would overwrite this image' in str(faults[b])


def test_interrupted_leaves_whole_files(tmp_path):
    photos = [save(tmp_path / f'{name}.bmp', noise(8, 8)) for name in 'ab']

    class Job:
        endings = ('.png',)

        def check(self, height, width):
            assert (height, width) == (8, 8)

        def run(self, image, name, paths):
            if name == 'b.bmp':
                raise KeyboardInterrupt
            paths[0].write_text('done')
            return ''

    with pytest.raises(KeyboardInterrupt):
        process(photos, Job(), tmp_path / 'out')
    assert contents(tmp_path / 'out') == {(tmp_path / 'a.png').relative_to(tmp_path): b'done'}


def test_names_that_no_file_can_have(tmp_path):
    """A photograph's own name fits; with the ending of a result it is longer than 255 bytes."""
    long = tmp_path / f'{"x" * 246}.jpg'
    _, faults = output_paths([long], tmp_path, ['.overlay.png'])
    assert 'name of 258 bytes' in str(faults[long])
    with pytest.raises(FcnError, match=r'File name too long'):
        find_photos(['x' * 300])
