"""Photographs of any kind as input of a net: find them, read them, run a job over them."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import ImageOps
from tqdm import tqdm

from ..data.image import as_rgb, open_image
from ..distributed import ALONE, Processes
from ..errors import FcnError
from ..files import check_regular
from ..formats.atomic import make_folder
from ..paths import confined

SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.pnm', '.ppm', '.tif',
            '.tiff', '.webp')


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


def find_photos(paths: Iterable[str | Path]) -> list[Path]:
    """List files and the files of folders, each once; of a folder those with one of SUFFIXES, by
    name, without subfolders. FcnError for a missing path and for a folder without images."""
    files: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not os.path.isdir(path):
            check_regular(path, 'an image', do='Give images, or folders of images.')
            files.setdefault(path.resolve(), path)
            continue
        found = sorted(p for p in path.glob('*') if p.suffix.lower() in SUFFIXES and p.is_file()
                       and not p.name.startswith('.'))
        if not found:
            raise FcnError('the folder has no images', file=str(path), do='Give one '
                           f'with {", ".join(SUFFIXES)}; its subfolders are not searched.')
        for file in found:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def read_photo(path: str | Path) -> Photo:
    """Read an image file of any format that open_image reads as a Photo.

    The training reader (data/image.py) takes RGB alone, since labels belong to the pixels as they
    are stored. A photograph is converted to what a viewer shows: turned by its EXIF orientation,
    transparency composited on white, 16 bits scaled to 8; the notes tell.
    FcnError for a file that cannot be read, and for grey values of unknown range.
    """
    image, _ = open_image(path, 'image')
    upright = ImageOps.exif_transpose(image)
    turned = image.getexif().get(0x0112, 1) in range(2, 9)
    rgb, kind = as_rgb(upright, path)
    notes = kind, 'turned upright by its EXIF' if turned else ''
    return Photo(rgb, tuple(note for note in notes if note))


def output_paths(photos: Sequence[Path], out: str | Path,
                 endings: Sequence[str]) -> dict[Path, list[Path]]:
    """{photo: [out/<name><ending>, ...]}, the name without its suffix. FcnError if two photos would
    write the same file (a/x.jpg and b/x.jpg), if a photo itself would be overwritten, and for a
    name that with its ending no file can have."""
    paths = {photo: [confined(out, photo.stem + ending, 'name of the result', file=str(photo))
                     for ending in endings] for photo in photos}
    sources = {photo.resolve() for photo in photos}
    taken: dict[Path, Path] = {}
    for photo, results in paths.items():
        for path in results:
            if path.resolve() in sources:
                raise FcnError(f'the result for {photo} would overwrite this image',
                               file=str(path), code='output-overwrites',
                               do='Give another output folder.')
            if path in taken:
                raise FcnError(f'{taken[path]} and {photo} would both be written here',
                               file=str(path), code='output-collides',
                               do='Rename one, or use different output folders.')
            taken[path] = photo
    return paths


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
            processes: Processes = ALONE) -> None:
    """Run a job over photographs, its files in the folder `out`; prints a line for each.
    processes: those that all call this, to share the photographs; the first one prints.

    Every photograph is read and checked before the first one is run. Files are written atomically,
    so an interrupted call leaves no partial file. FcnError as in output_paths, check_writable and
    read_photo, for a size that does not go through the net, and if the GPU runs out of memory.
    """
    paths = output_paths(photos, out, job.endings)
    mine = [photos[i] for i in processes.share(len(photos))]
    for photo in bar(mine, 'checking', processes):
        check(photo, job)
    check_writable(Path(out))
    processes.gather(None)                  # all have checked theirs
    lines = []
    for photo in (progress := bar(mine, 'images', processes)):
        image, notes = read_photo(photo)
        height, width = image.shape[:2]
        try:
            text = job.run(image, photo.name, paths[photo])
        except torch.OutOfMemoryError:
            raise FcnError(f'out of GPU memory for an image of {height}x{width}',
                           file=str(photo), code='gpu-memory',
                           do='Use the CPU, or a smaller image.') from None
        note = f' ({", ".join(notes)})' if notes else ''
        lines.append(f'{photo}  {height}x{width}{note}  {text}')
        if processes.first:
            progress.write(lines[-1])
    _, *others = processes.gather(lines)
    for line in (line for part in others for line in part):
        print(line)


def check(photo: Path, job: Job) -> None:
    """FcnError, with the photo's name, if it cannot be read or does not go through the net."""
    height, width = read_photo(photo).image.shape[:2]
    try:
        job.check(height, width)
    except FcnError as error:
        raise FcnError(f'an image of {height}x{width} does not go through this net: {error.what}',
                       file=str(photo), layer=error.layer, type=error.type, do=error.do,
                       code=error.code, facts=error.facts) from None


def bar(photos: Sequence[Path], what: str, processes: Processes) -> tqdm:
    """Photos with a progress bar, on a terminal and if there are several."""
    return tqdm(photos, desc=what, unit='image', dynamic_ncols=True, leave=False,
                disable=None if len(photos) > 1 and processes.first else True)
