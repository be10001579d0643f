"""Pictures of label maps in the colours of their classes, with headings, ids and a legend."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcn_repro.data.image import VOID
from fcn_repro.data.palette import palette
from fcn_repro.errors import FcnError
from fcn_repro.formats.atomic import write_bytes

GAP = 6             # white pixels between panels and between rows
TEXT = 15           # font size in pixels
LINE = 24           # height of a line of text
LEAST = 160         # pixels of a panel's longer side: smaller images are enlarged
SHOWN = 512         # pixels of the longer side in a report: images above VOC's 500 are shrunk
HEADINGS = 'image', 'ground truth', 'prediction'


def save_label_png(prediction: np.ndarray, path: str | Path,
                   colours: np.ndarray | None = None) -> None:
    """Write an (H, W) map of class indices below 256 as an 8-bit PNG with a palette: colours (256,
    3) uint8 RGB, None for VOC's, as in all functions here."""
    image = Image.fromarray(indices(prediction, 'prediction'))
    image.putpalette(known(colours).reshape(-1).tolist())       # makes it mode 'P'
    write_png(image, path)


def known(colours: np.ndarray | None) -> np.ndarray:
    """The colours of classes, (256, 3) uint8 RGB: those given, or VOC's."""
    return palette() if colours is None else colours


# ---- image, ground truth, prediction -------------------------------------------------------------

class Row(NamedTuple):
    """Panels of one image, (H, W, 3) uint8 RGB of one size, a caption, and the class indices that
    they show."""
    panels: tuple[np.ndarray, ...]
    caption: str
    classes: tuple[int, ...]


def make_row(image: np.ndarray, label: np.ndarray, prediction: np.ndarray, caption: str,
             colours: np.ndarray | None = None) -> Row:
    """The Row of image, ground truth and prediction.

    image: (H, W, 3) uint8 RGB; label and prediction: (H, W) class indices, 255 void. Images below
    LEAST pixels are enlarged by a whole factor. FcnError for arrays of other shapes.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FcnError(f'the image is {image.shape} {image.dtype}, not (H, W, 3) uint8',
                       do='Undo the mean with data.image.from_blob.')
    maps = [indices(labels, kind) for kind, labels in zip(HEADINGS[1:], (label, prediction),
                                                          strict=True)]
    for kind, labels in zip(HEADINGS[1:], maps, strict=True):
        if labels.shape != image.shape[:2]:
            raise FcnError(f'the {kind} is {labels.shape}, the image {image.shape[:2]}',
                           do='Give them at one size.')
    return Row(enlarged(image, *(known(colours)[labels] for labels in maps)), caption,
               tuple(np.union1d(*maps).tolist()))


def enlarged(*panels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Panels (H, W, 3) of one size by a whole factor that makes them at least LEAST pixels."""
    factor = max(1, -(-LEAST // max(panels[0].shape[:2])))
    return tuple(panel.repeat(factor, 0).repeat(factor, 1) for panel in panels)


def save_rows(rows: Sequence[Row], names: Sequence[str] | None, path: str | Path,
              headings: Sequence[str] = HEADINGS, colours: np.ndarray | None = None) -> None:
    """Write rows as one PNG: headings above the panels, each row under its caption, and a legend of
    the classes that occur. names: by class index, None for the bare indices; headings: one per
    panel. FcnError without rows, and for rows of another number of panels."""
    if not rows or any(len(row.panels) != len(headings) for row in rows):
        raise FcnError(f'{len(rows)} rows with {[len(row.panels) for row in rows]} panels for '
                       f'{len(headings)} headings', file=str(path),
                       do='Give one panel for each heading.')
    column = max(row.panels[0].shape[1] for row in rows) + GAP
    width = column * len(headings) - GAP
    side = legend_rows(names, {c for row in rows for c in row.classes}, width, colours)
    heights = [LINE + len(row.panels[0]) + GAP for row in rows]
    sheet = Image.new('RGB', (max(width, side.width), LINE + sum(heights) + side.height), 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for i, title in enumerate(headings):
        draw.text((i * column, LINE / 2), title, 'black', font, 'lm')
    y = LINE
    for row, height in zip(rows, heights, strict=True):
        draw.text((0, y + LINE / 2), row.caption, '#444', font, 'lm')
        for i, panel in enumerate(row.panels):
            sheet.paste(Image.fromarray(panel), (i * column, y + LINE))
        y += height
    sheet.paste(side, (0, y))
    write_png(sheet, path)


def legend_rows(names: Sequence[str] | None, classes: Iterable[int], width: int,
                colours: np.ndarray | None = None) -> Image.Image:
    """A white picture with the colours and names of classes, in lines of at most `width` pixels
    where the longest name allows that."""
    font, colours = ImageFont.load_default(TEXT), known(colours)
    places: list[tuple[int, int, int, str]] = []
    x = y = widest = 0
    for c in sorted(classes):
        name = 'void' if c == VOID else names[c] if names and c < len(names) else str(c)
        length = 2 * TEXT + round(font.getlength(name)) + TEXT
        if x and x + length > width:
            x, y = 0, y + LINE
        places.append((x, y, c, name))
        x += length
        widest = max(widest, x)
    picture = Image.new('RGB', (max(widest, 1), y + LINE), 'white')
    draw = ImageDraw.Draw(picture)
    for x, y, c, name in places:
        top = y + (LINE - TEXT) // 2
        draw.rectangle((x, top, x + TEXT - 1, top + TEXT - 1), tuple(map(int, colours[c])), 'grey')
        draw.text((x + TEXT + TEXT // 2, y + LINE / 2), name, 'black', font, 'lm')
    return picture


# ---- others --------------------------------------------------------------------------------------

def shrunk(image: np.ndarray, label: np.ndarray,
           prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (H, W, 3) and maps (H, W) at a size to show, at most SHOWN pixels: the image by its
    mean over boxes, the maps by nearest neighbour."""
    longer = max(image.shape[:2])
    if longer <= SHOWN:
        return image, label, prediction
    height, width = (max(1, round(side * SHOWN / longer)) for side in image.shape[:2])
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in
                     zip((height, width), image.shape[:2], strict=True))
    return np.asarray(small), label[rows][:, columns], prediction[rows][:, columns]


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
