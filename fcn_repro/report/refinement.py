"""Refinement: predictions at finer and finer strides, as in the paper's Figure 4."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcn_repro.data.palette import palette
from fcn_repro.errors import FcnError
from fcn_repro.report.pictures import GAP, write_png

HEAD = 26       # pixels above the panels for their titles


def refinement(rows: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]], titles: Sequence[str],
               path: str | Path) -> None:
    """Write one PNG: for each (image, maps) a row of the image and its maps, under their titles.

    rows: [(image (H, W, 3) uint8 RGB, [(H, W) class indices, 255 void, ...])]; titles: one per map.
    FcnError for a row with another number of maps, and without rows.
    """
    if not rows or any(len(maps) != len(titles) for _, maps in rows):
        raise FcnError(f'{len(rows)} rows with {[len(maps) for _, maps in rows]} maps for '
                       f'{len(titles)} titles', file=str(path), do='Give a map for each title.')
    height = HEAD + sum(len(image) + GAP for image, _ in rows) - GAP
    width = max(image.shape[1] for image, _ in rows)
    sheet = Image.new('RGB', ((width + GAP) * (len(titles) + 1) - GAP, height), 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for i, title in enumerate(('image', *titles)):
        draw.text((i * (width + GAP) + width / 2, HEAD / 2), title, 'black', font, 'mm')
    y, colours = HEAD, palette(256)
    for image, maps in rows:
        for i, panel in enumerate((image, *(colours[np.asarray(labels)] for labels in maps))):
            sheet.paste(Image.fromarray(panel), (i * (width + GAP), y))
        y += len(image) + GAP
    write_png(sheet, path)
