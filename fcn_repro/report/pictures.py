"""Pictures of label maps in the VOC colour map."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from fcn_repro.data.palette import palette
from fcn_repro.errors import FcnError
from fcn_repro.formats.atomic import write_bytes

GAP = 6     # white pixels between panels and between strips


def save_label_png(prediction: np.ndarray, path: str | Path) -> None:
    """Write an (H, W) map of class indices below 256 as an 8-bit PNG with the VOC palette."""
    image = Image.fromarray(indices(prediction, 'prediction'))
    image.putpalette(palette(256).reshape(-1).tolist())         # makes it mode 'P'
    write_png(image, path)


def strip(image: np.ndarray, label: np.ndarray | None, prediction: np.ndarray) -> np.ndarray:
    """image | ground truth | prediction side by side, (H, W', 3) uint8 RGB.

    image: (H, W, 3) uint8 RGB; label and prediction: (H, W) class indices, 255 void.
    Without a ground truth (label None) there are two panels. FcnError for arrays of other shapes.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FcnError(f'the image is {image.shape} {image.dtype}, not (H, W, 3) uint8',
                       do='Undo the mean with data.image.from_blob.')
    panels = [image]
    for kind, labels in (('ground truth', label), ('prediction', prediction)):
        if labels is None and kind == 'ground truth':
            continue
        labels = indices(labels, kind)
        if labels.shape != image.shape[:2]:
            raise FcnError(f'the {kind} is {labels.shape}, the image {image.shape[:2]}',
                           do='Give them at one size.')
        panels.append(palette(256)[labels])
    gap = np.full((len(image), GAP, 3), 255, np.uint8)
    return np.concatenate([panels[0], *(p for panel in panels[1:] for p in (gap, panel))], 1)


def side_by_side(image: np.ndarray, label: np.ndarray | None, prediction: np.ndarray,
                 path: str | Path) -> np.ndarray:
    """Write the strip of one image as a PNG and return it, for a contact sheet."""
    picture = strip(image, label, prediction)
    write_png(Image.fromarray(picture), path)
    return picture


def contact_sheet(strips: Iterable[np.ndarray], path: str | Path) -> None:
    """Write strips (H, W, 3) below one another as one PNG; narrow ones get a white margin."""
    strips = list(strips)
    if not strips:
        raise FcnError('a contact sheet has no strips', file=path,
                       do='Give at least one.')
    height = sum(len(s) for s in strips) + GAP * (len(strips) - 1)
    sheet = np.full((height, max(s.shape[1] for s in strips), 3), 255, np.uint8)
    y = 0
    for picture in strips:
        sheet[y:y + len(picture), :picture.shape[1]] = picture
        y += len(picture) + GAP
    write_png(Image.fromarray(sheet), path)


def indices(labels: np.ndarray, kind: str) -> np.ndarray:
    """Convert an array (H, W) of whole numbers in 0 to 255 to uint8; FcnError for any other."""
    labels = np.asarray(labels)
    small = labels.astype(np.uint8)
    if labels.ndim != 2 or (small != labels).any():
        raise FcnError(f'the {kind} is {labels.shape} {labels.dtype}, not (H, W) class indices '
                       'from 0 to 255', do='Give the argmax of the scores of one image.')
    return small


def write_png(image: Image.Image, path: str | Path) -> None:
    """Save a PNG atomically, making its folder if it is missing. FcnError if that fails."""
    path, data, failed = Path(path), io.BytesIO(), 'the picture cannot be written'
    image.save(data, 'PNG')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FcnError(f'{failed}: {error.strerror}', file=str(path),
                       do='Check the folder, its permissions and the disk space.') from None
    write_bytes(data.getvalue(), path, failed)
