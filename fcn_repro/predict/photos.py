"""Pictures of any kind for a net to look at: which files, what they hold, what is written for each.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from ..data.image import open_image
from ..errors import FcnError
from ..formats.atomic import make_folder

SUFFIXES = ('.bmp', '.gif', '.jp2', '.jpeg', '.jpg', '.pgm', '.png', '.pnm', '.ppm', '.tif',
            '.tiff', '.webp')
KINDS = {'1': 'black and white', 'L': 'grey', 'LA': 'grey, laid on white', 'P': 'palette',
         'PA': 'palette, laid on white', 'RGBA': 'laid on white'}


class Photo(NamedTuple):
    """image: (H, W, 3) uint8 RGB. notes: what was done to the file's pixels, in words; () for an
    RGB image as it stands."""
    image: np.ndarray
    notes: tuple[str, ...]


def find_photos(paths):
    """The files of a list of files and folders, each once; of a folder those with a suffix of
    SUFFIXES, by name, without its folders. FcnError for what is not there, and a folder without."""
    files = {}
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.exists():
                raise FcnError('there is no such file or folder', file=str(path),
                               do='Give images, or folders of images.')
            files.setdefault(path.resolve(), path)
            continue
        found = sorted(p for p in path.glob('*') if p.suffix.lower() in SUFFIXES and p.is_file()
                       and not p.name.startswith('.'))
        if not found:
            raise FcnError('there are no images in this folder', file=str(path), do='Give one '
                           f'with {", ".join(SUFFIXES)}; folders in it are not searched.')
        for file in found:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def read_photo(path):
    """A Photo of any image file that Pillow reads; of several frames the first.

    The training reader (data/image.py) takes RGB alone, as its labels belong to the pixels as they
    are stored. A photograph that somebody wants labelled is made what a viewer shows: turned as
    its EXIF orientation says, transparency laid on white, 16 bits scaled to 8. The notes say so.
    FcnError for a file that cannot be read, and for grey values without a known range.
    """
    image, _ = open_image(path, 'image')
    upright = ImageOps.exif_transpose(image)
    turned = image.getexif().get(0x0112, 1) in range(2, 9)
    rgb, kind = as_rgb(upright, path)
    return Photo(rgb, tuple(note for note in (kind, turned and 'turned upright by its EXIF')
                            if note))


def as_rgb(image, path):
    """(H, W, 3) uint8 RGB of a Pillow image, and its kind in words ('' for RGB)."""
    mode = image.mode
    if mode.startswith('I') or mode == 'F':
        grey = np.asarray(image)
        if mode == 'F' or grey.min() < 0 or grey.max() > 65535:
            raise FcnError(f'the grey values are {grey.min():g} to {grey.max():g} (mode {mode!r}), '
                           'their range is not known', file=str(path),
                           do='Save the image with 8 or 16 bits.')
        grey = np.round(grey / 257).astype(np.uint8)        # 65535 = 255 * 257
        return np.repeat(grey[:, :, None], 3, 2), '16-bit grey'
    if mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
        mode = mode if mode in KINDS else 'RGBA'
    return np.array(image.convert('RGB')), '' if mode == 'RGB' else KINDS.get(mode, mode)


def output_paths(photos, out, endings):
    """{photo: [out/<name><ending>, ...]}, name without its suffix. FcnError where two photos would
    write one file (a/x.jpg and b/x.jpg), or where a photo itself would be overwritten."""
    paths = {photo: [Path(out, photo.stem + ending) for ending in endings] for photo in photos}
    sources, taken = {photo.resolve(): photo for photo in photos}, {}
    for photo, its in paths.items():
        for path in its:
            if path.resolve() in sources:
                raise FcnError(f'the result for {photo} would overwrite this image',
                               file=str(path), do='Give another --out.')
            if path in taken:
                raise FcnError(f'{taken[path]} and {photo} would both be written here',
                               file=str(path), do='Rename one, or run them into different --out.')
            taken[path] = photo
    return paths


def check_writable(folder):
    """Make a folder where it is missing; FcnError where nothing can be written into it."""
    make_folder(folder)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise FcnError(f'nothing can be written here: {error.strerror}', file=str(folder),
                       do='Give another --out, or mend its rights or the space.') from None


def process(photos, job, out):
    """Run a job over photos: infer.Labels or heatmap.Heat. A line is printed for each.

    job.endings: of the files that it writes; job.check(height, width): FcnError for a size that
    does not go through its net; job.run(image, name, paths): writes them, returns a line's text.
    Every photo is read and checked before the first one is run. A file is there whole or not at
    all, whenever this is interrupted.
    """
    paths = output_paths(photos, out, job.endings)
    for photo in bar(photos, 'checking'):
        check(photo, job)
    check_writable(Path(out))
    for photo in (progress := bar(photos, 'images')):
        image, notes = read_photo(photo)
        height, width = image.shape[:2]
        try:
            text = job.run(image, photo.name, paths[photo])
        except torch.OutOfMemoryError:
            raise FcnError(f'this image of {height}x{width} needs more memory than the GPU has',
                           file=str(photo), do='Give --device cpu, or a smaller image.') from None
        note = f' ({", ".join(notes)})' if notes else ''
        progress.write(f'{photo}  {height}x{width}{note}  {text}')


def check(photo, job):
    """FcnError, with the photo's name, where it cannot be read or does not go through the net."""
    height, width = read_photo(photo).image.shape[:2]
    try:
        job.check(height, width)
    except FcnError as error:
        raise FcnError(f'an image of {height}x{width} does not go through this net: {error.what}',
                       file=str(photo), layer=error.layer, type=error.type, do=error.do) from None


def bar(photos, what):
    """Photos with a progress bar, on a terminal and where there are several."""
    return tqdm(photos, desc=what, unit='image', dynamic_ncols=True, leave=False,
                disable=None if len(photos) > 1 else True)
