"""The HHA images of a folder in NYUDv2's layout, from its depth images."""

import math
import os
from pathlib import Path

from fcn_repro.data.hha import Camera
from fcn_repro.errors import FcnError, short
from fcn_repro.files import read_regular

IMAGES, DEPTH, RAW, HHA = 'data/images', 'data/depth', 'data/rawdepth', 'data/hha'
CAMERA = 'camera.txt'


def write_camera(path: Path, camera: Camera) -> None:
    """Write a camera as read_camera reads it."""
    path.write_text(' '.join(repr(float(value)) for value in camera) + '\n')


def read_camera(path: str | os.PathLike[str]) -> Camera:
    """The camera in a text of four numbers, fx fy cx cy, in pixels, (1, 1) the first one; FcnError
    for any other text."""
    text = read_regular(path, 'a camera', 10_000).decode('utf-8', 'replace')
    try:
        return checked_camera(map(float, text.split()))
    except (TypeError, ValueError, FcnError):
        raise FcnError(f'{short(repr(text), 80)} is no camera', file=path, do='Write four numbers: '
                       'focal lengths fx fy and principal point cx cy, in pixels.') from None


def checked_camera(numbers) -> Camera:
    """FcnError for what is not four finite numbers, or focal lengths of 0 and less."""
    camera = Camera(*numbers)
    if not all(map(math.isfinite, camera)) or min(camera.fx, camera.fy) <= 0:
        raise FcnError(f'the camera {tuple(camera)} has no use', do='Give focal lengths above 0 '
                       'and a principal point, in pixels.')
    return camera
