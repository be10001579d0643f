"""Label maps as the evaluation server of PASCAL VOC takes them: one archive of palette PNGs.

results/VOC2012/Segmentation/comp6_test_cls/<id>.png, as the development kit's readme says: 8 bits,
indexed, the class indices 0 to 20 in VOC's colours, each of its image's size. comp6 is the
competition for nets that were trained on other data than VOC's too, as by ImageNet or SBD.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.palette import VOC_CLASSES, palette
from ..errors import FcnError
from ..files import open_regular
from ..formats.atomic import replacing
from ..paths import confined
from ..report import save_label_png

SUFFIXES = '.tgz', '.tar.gz'
YEARS = '2011', '2012'
GZIP = b'\x1f\x8b'


class Submission:
    """The label maps of a split, as PNGs below `folder` until `pack` puts them into an archive.

    archive: its path. voc_dir: the folder of the data, whose name tells the year. classes: of the
    net. FcnError for a name that is no .tgz or .tar.gz, for something else than an archive of this
    name, for a folder that is not called VOC2011 or VOC2012, and for a net of other classes.
    """

    def __init__(self, archive: str | Path, folder: Path, voc_dir: str | Path, classes: int):
        self.archive, self.folder = Path(archive), folder
        year = re.fullmatch(r'VOC(\d{4})', Path(voc_dir).absolute().name)
        if not self.archive.name.endswith(SUFFIXES):
            raise FcnError(f"the submission's name does not end in {' or '.join(SUFFIXES)}",
                           file=str(archive), do='Name it so: the server takes such an archive.')
        if year is None or year[1] not in YEARS:
            raise FcnError("the folder's name does not tell the year of the submission, "
                           f'VOC{YEARS[0]} or VOC{YEARS[1]}', file=str(voc_dir),
                           do='Name the folder so, or a link to it.')
        if classes != len(VOC_CLASSES):
            raise FcnError(f'the net has {classes} classes, VOC {len(VOC_CLASSES)}',
                           do='Submit the labels of a net for VOC.')
        check_overwritten(self.archive, GZIP, 'an archive')
        self.place = Path('results', f'VOC{year[1]}', 'Segmentation', 'comp6_test_cls')

    def path(self, id_: str) -> Path:
        """Where the label map of an image lies until it is packed."""
        return confined(self.folder / self.place, f'{id_}.png', 'id')

    def add(self, id_: str, prediction: np.ndarray) -> None:
        """Write the label map (H, W) of one image."""
        save_label_png(prediction, self.path(id_))

    def pack(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Write the archive, check it, and remove the PNGs. sizes: {id: (height, width)} of the
        split. FcnError where it cannot be written or is not what the server takes."""
        with replacing(self.archive, 'the submission cannot be written') as file, \
                tarfile.open(fileobj=file, mode='w:gz', compresslevel=1) as tar:
            for id_ in sizes:
                data = self.path(id_).read_bytes()
                entry = tarfile.TarInfo(str(self.place / f'{id_}.png'))
                entry.size, entry.mode = len(data), 0o644
                tar.addfile(entry, io.BytesIO(data))
        check_archive(self.archive, self.place, sizes)
        for id_ in sizes:
            self.path(id_).unlink()
        for folder in (self.folder / self.place, *(self.folder / self.place).parents):
            if folder == self.folder.parent:
                break
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def check_archive(archive: Path, place: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
    """FcnError unless an archive holds, under `place`, just the label maps of these ids, each a
    palette PNG of its image's size with VOC's colours and classes."""
    wanted = {str(place / f'{id_}.png'): size for id_, size in sizes.items()}
    seen = set()
    with open_regular(archive, 'an archive') as file, tarfile.open(fileobj=file) as tar:
        for entry in tar:
            opened = tar.extractfile(entry)
            what = 'is not of the split' if entry.name not in wanted or opened is None else \
                fault_of(opened.read(), wanted[entry.name])
            if what:
                raise refused(archive, f'{entry.name} {what}')
            seen.add(entry.name)
    if missing := wanted.keys() - seen:
        raise refused(archive, f'{len(missing)} of {len(wanted)} label maps are missing, such as '
                               f'{min(missing)}')


def fault_of(data: bytes, size: tuple[int, int]) -> str:
    """What the server would refuse of a PNG; '' for nothing."""
    with Image.open(io.BytesIO(data)) as image:
        if (image.format, image.mode) != ('PNG', 'P'):
            return f'is a {image.format} of mode {image.mode}, not a palette PNG'
        if image.size != size[::-1]:
            return f'is {image.height}x{image.width}, its image {size[0]}x{size[1]}'
        colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
        highest = int(np.asarray(image).max())
    if highest >= len(VOC_CLASSES):
        return f'holds class {highest}, the highest is {len(VOC_CLASSES) - 1}'
    n = len(VOC_CLASSES)
    return '' if (colours[:n] == palette(n)).all() else "has not VOC's colours"


def refused(archive: Path, what: str) -> FcnError:
    return FcnError(f'the server would refuse the submission: {what}', file=str(archive),
                    do='Evaluate again; nothing else may write into its folder meanwhile.')


def check_overwritten(path: Path, begins: bytes, what: str) -> None:
    """FcnError where something else than `what`, whose files begin so, would be overwritten."""
    if not os.path.lexists(path):
        return
    with open_regular(path, what) as file:
        if file.read(len(begins)) != begins:
            raise FcnError(f'there is a file of this name that is not {what}', file=str(path),
                           do='Give another name, or remove it.')
