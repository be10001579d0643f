"""Photographs of any kind as input of a net: find them, read them, run a job over them."""

import glob
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from ..data.image import as_rgb, open_image
from ..data.layouts import PICTURES, photographs
from ..distributed import ALONE, Processes
from ..errors import FcnError
from ..files import check_regular
from ..formats.atomic import make_folder
from ..paths import confined


class Photo(NamedTuple):
    """image: (H, W, 3) uint8 RGB. notes: conversions of the file's pixels, in words; () for an
    RGB image that was read unchanged."""
    image: np.ndarray
    notes: tuple[str, ...]


class Job(Protocol):
    """What process() runs over photographs: labels.LabelMaps or heatmap.Heatmaps.

    endings: of the files that it writes for each."""
    endings: tuple[str, ...]

    def check(self, height: int, width: int) -> None:
        """FcnError for an image size that does not go through the net."""

    def run(self, image: np.ndarray, name: str, paths: Sequence[Path]) -> str:
        """Write the files, one per ending, for an image (H, W, 3) uint8 RGB; returns a line."""


class Found(NamedTuple):
    """photos: each once, by name within a folder or pattern. faults: of the paths that have none.
    notes: what of a folder was left out, in words."""
    photos: list[Path]
    faults: list[FcnError]
    notes: list[str]


def find_photos(paths: Iterable[str | Path]) -> Found:
    """List files, the files of folders, and those that patterns match.

    Of a folder those with one of PICTURES, in any case, without hidden files and without the masks
    among them; of one that has none itself those of its subfolders that are named for images, as
    images/ beside masks/ is. A pattern ('photos/**/*.jpg', ** for any subfolders) is a path that
    does not exist and has one of *?[; of what it matches images are taken. A fault is a missing
    path, and a folder or pattern without images; FcnError, the first fault, where no path has an
    image."""
    files: dict[Path, Path] = {}
    faults: list[FcnError] = []
    notes: list[str] = []
    for path in map(Path, paths):
        try:
            for file in photos_of(path, notes):
                files.setdefault(file.resolve(), file)
        except FcnError as error:
            faults.append(error)
    if faults and not files:
        raise faults[0]
    return Found(list(files.values()), faults, notes)


def photos_of(path: Path, notes: list[str]) -> list[Path]:
    """The images that one path stands for; adds to the notes."""
    if os.path.isdir(path):
        found, masks = photographs(path)
        if not found:
            raise FcnError('the folder has no images', file=str(path), do='Give one '
                           f'with {", ".join(PICTURES)}; of its subfolders those named for images '
                           f"are searched: for others give a pattern, '{path}/**/*'.")
        if masks:
            places = {'/'.join(mask.parent.relative_to(path).parts[:1]) for mask in masks}
            where = f'in {" and ".join(sorted(places))}' if places != {''} else 'beside them'
            notes.append(f'{path}: {len(found)} images to label; masks {where} are left out: '
                         f'{len(masks)}')
        return found
    if not os.path.lexists(path) and glob.has_magic(str(path)):
        found = images_of(map(Path, glob.glob(str(path), recursive=True)))
        if not found:
            raise FcnError('no image matches this pattern', file=str(path), do='Images end in '
                           f'{", ".join(PICTURES)}.')
        return found
    check_regular(path, 'an image', do='Give images, or folders of images.')
    return [path]


def images_of(paths: Iterable[Path]) -> list[Path]:
    """Of some paths the files with one of PICTURES that are not hidden, by name."""
    return sorted(p for p in paths if p.suffix.lower() in PICTURES and p.is_file()
                  and not p.name.startswith('.'))


def read_photo(path: str | Path) -> Photo:
    """Read an image file of any format that open_image reads as a Photo.

    The training reader (data/image.py) takes RGB alone, since labels belong to the pixels as they
    are stored. A photograph is converted to what a viewer shows: turned by its EXIF orientation,
    transparency composited on white, 16 bits scaled to 8, of an animation or several pages the
    first; the notes tell.
    FcnError for a file that cannot be read, and for grey values of unknown range.
    """
    image, _ = open_image(path, 'image')
    photo = upright_rgb(image, path)
    first = 'the first of several frames' if getattr(image, 'is_animated', False) else ''
    return Photo(photo.image, (*photo.notes, first) if first else photo.notes)


def upright_rgb(image: Image.Image, path: str | Path | None = None) -> Photo:
    """The Photo of a Pillow image; path: its file, for errors."""
    upright = ImageOps.exif_transpose(image)
    turned = image.getexif().get(0x0112, 1) in range(2, 9)
    rgb, kind = as_rgb(upright, path)
    notes = kind, 'turned upright by its EXIF' if turned else ''
    return Photo(rgb, tuple(note for note in notes if note))


def output_paths(photos: Sequence[Path], out: str | Path, endings: Sequence[str],
                 ) -> tuple[dict[Path, list[Path]], dict[Path, FcnError]]:
    """({photo: [out/<name><ending>, ...]}, {photo: what is wrong with its results}), the name
    without its suffix. Wrong are a second photo that would write the same file (a/x.jpg and
    b/x.jpg, x.jpg and x.png), results that would overwrite a photo, and a name that with its ending
    no file can have."""
    sources = {photo.resolve() for photo in photos}
    paths: dict[Path, list[Path]] = {}
    faults: dict[Path, FcnError] = {}
    taken: dict[Path, Path] = {}
    for photo in photos:
        try:
            results = [confined(out, photo.stem + ending, 'name of the result', file=str(photo))
                       for ending in endings]
            for path in results:
                check_free(path, photo, sources, taken)
        except FcnError as error:
            faults[photo] = error
            continue
        paths[photo] = results
        taken.update(dict.fromkeys(results, photo))
    return paths, faults


def check_free(path: Path, photo: Path, sources: Collection[Path],
               taken: Mapping[Path, Path]) -> None:
    """FcnError where a result of a photo is one of the sources, or that of another photo."""
    if path.resolve() in sources:
        raise FcnError(f'the result for {photo} would overwrite this image', file=str(path),
                       code='output-overwrites', do='Give another output folder.')
    if path in taken:
        raise FcnError(f'{taken[path]} and {photo} would both be written here', file=str(path),
                       code='output-collides', do='Rename one, or use different output folders.')


def check_writable(folder: Path) -> None:
    """Make a folder if it is missing; FcnError if nothing can be written into it."""
    make_folder(folder)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise FcnError(f'the folder cannot be written to: {error.strerror}', file=str(folder),
                       code='output-unwritable', do='Give another output folder, or check its '
                       'permissions and the disk space.') from None


def process(photos: Sequence[Path], job: Job, out: str | Path,
            processes: Processes = ALONE) -> list[FcnError]:
    """Run a job over photographs, its files in the folder `out`; prints a line for each. Returns
    the faults of those that could not be done, in their order: a photograph that cannot be read or
    does not go through the net, or whose result has no place, does not keep the others from theirs.
    processes: those that all call this, to share the photographs; the first one prints.

    Each photograph is decoded once. Files are written atomically, so an interrupted call leaves no
    partial file. FcnError where the folder cannot be written to, which is made for the first
    result.
    """
    paths, faults = output_paths(photos, out, job.endings)
    mine = [photos[i] for i in processes.share(len(photos))]
    lines = []
    for photo in (progress := bar(mine, 'images', processes)):
        if photo in faults:
            continue
        try:
            lines.append(run_one(photo, job, paths[photo], Path(out)))
        except FcnError as error:
            if error.code not in ('no-folder', 'output-unwritable') and os.path.isdir(out):
                check_writable(Path(out))       # a full disk is a fault of all that follow
            elif error.code:
                raise
            faults[photo] = error
            continue
        if processes.first:
            progress.write(lines[-1])
    (_, first), *others = processes.gather((lines, faults))
    for part, more in others:
        first |= more
        for line in part:
            print(line)
    return [first[photo] for photo in photos if photo in first]


def run_one(photo: Path, job: Job, paths: Sequence[Path], out: Path) -> str:
    """Read one photograph and run the job on it; its line. FcnError, with the photo's name."""
    image, notes = read_photo(photo)
    height, width = image.shape[:2]
    size = f'an image of {height}x{width}'
    with about(photo, f'{size} does not go through this net'):
        job.check(height, width)
    check_writable(out)
    try:
        text = job.run(image, photo.name, paths)
    except torch.OutOfMemoryError:
        raise FcnError(f'out of GPU memory for {size}', file=str(photo), code='gpu-memory',
                       do='Use the CPU, a smaller image, or tiles.') from None
    note = f' ({", ".join(notes)})' if notes else ''
    return f'{photo}  {height}x{width}{note}  {text}'


@contextmanager
def about(photo: Path, what: str) -> Iterator[None]:
    """Give an FcnError the name of a photo; what: a clause before its own words."""
    try:
        yield
    except FcnError as error:
        raise FcnError(f'{what}: {error.what}', file=str(photo), layer=error.layer, type=error.type,
                       do=error.do, code=error.code, facts=error.facts) from None


def bar(photos: Sequence[Path], what: str, processes: Processes) -> tqdm:
    """Photos with a progress bar, on a terminal and if there are several."""
    return tqdm(photos, desc=what, unit='image', dynamic_ncols=True, leave=False,
                disable=None if len(photos) > 1 and processes.first else True)
