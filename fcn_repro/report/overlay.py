"""Overlay: a label map blended over its image, with a legend of the classes that occur."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcn_repro.report.pictures import indices, known, write_png

OPACITY = 0.55      # of the colours over the image


def shares(labels: np.ndarray, names: Sequence[str]) -> list[tuple[int, str, float]]:
    """[(index, name, share of the pixels)] of the classes in (H, W) labels, largest share first."""
    counts = np.bincount(labels.reshape(-1), minlength=len(names))
    order = np.argsort(-counts, kind='stable')
    return [(int(i), names[i], counts[i] / labels.size) for i in order if counts[i]]


def percent(share: float) -> str:
    """Format a share in [0, 1]: 12.3 %, <0.1 %."""
    return '<0.1 %' if 0 < share < 0.0005 else f'{100 * share:.1f} %'


def blend(image: np.ndarray, labels: np.ndarray, plain: int | None,
          colours: np.ndarray | None = None) -> np.ndarray:
    """Blend the colours of the labels over an image, (H, W, 3) uint8 RGB, except where the label is
    `plain`."""
    mixed = image + OPACITY * (known(colours)[labels] - image.astype(np.float32))
    keep = (labels == plain)[:, :, None] if plain is not None else False
    return np.where(keep, image, np.rint(mixed).astype(np.uint8))


def overlay(image: np.ndarray, labels: np.ndarray, names: Sequence[str],
            colours: np.ndarray | None = None) -> np.ndarray:
    """The blend, and to its right a legend: colour, as it is and over the image, name and share of
    the pixels.

    image: (H, W, 3) uint8 RGB; labels: (H, W) indices below 256; names by index;
    colours: (256, 3) uint8 RGB, None for VOC's. Class 0 is not
    coloured unless it has a name other than background. Returns (H', W', 3) uint8 RGB, the blend at
    its top left; the legend's text scales with the image.
    """
    labels = indices(labels, 'prediction')
    plain = 0 if names[0] in ('background', '0') else None
    shown = known(colours).tolist()
    rows = [(None if i == plain else tuple(shown[i]), f'{name}  {percent(share)}')
            for i, name, share in shares(labels, names)]
    side = legend(rows, text_size(image), image.reshape(-1, 3).mean(0))
    picture = Image.new('RGB', (image.shape[1] + side.width, max(len(image), side.height)), 'white')
    picture.paste(Image.fromarray(blend(image, labels, plain, colours)))
    picture.paste(side, (image.shape[1], 0))
    return np.asarray(picture)


def save_overlay(image: np.ndarray, labels: np.ndarray, names: Sequence[str],
                 path: str | Path, colours: np.ndarray | None = None) -> None:
    """Write the overlay as a PNG."""
    write_png(Image.fromarray(overlay(image, labels, names, colours)), path)


def text_size(image: np.ndarray) -> int:
    """Font size in pixels that is legible next to an image of any size."""
    return int(np.clip(max(image.shape[:2]) / 28, 13, 120))


def legend(rows: Sequence[tuple[tuple[int, ...] | None, str]], size: int,
           under: np.ndarray) -> Image.Image:
    """A white Pillow image with (colour, text) rows; colour None draws an empty box. The right half
    of a box is the colour as it is over `under`, the mean pixel of the image, RGB."""
    font, gap = ImageFont.load_default(size), size // 2
    width = max(font.getlength(text) for _, text in rows)
    box, step = size, size + gap
    picture = Image.new('RGB', (round(gap + box + gap + width + gap), gap + step * len(rows)),
                        'white')
    draw = ImageDraw.Draw(picture)
    for k, (colour, text) in enumerate(rows):
        top = gap + k * step
        draw.rectangle((gap, top, gap + box - 1, top + box - 1), colour, 'grey')
        if colour is not None:
            over = np.rint(under + OPACITY * (np.array(colour) - under)).astype(int).tolist()
            draw.rectangle((gap + box // 2, top + 1, gap + box - 2, top + box - 2), tuple(over))
        draw.text((gap + box + gap, top + box / 2), text, 'black', font, anchor='lm')
    return picture
