"""A label map laid over its image, with a legend of the classes that occur."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcn_repro.data.palette import palette
from fcn_repro.report.pictures import indices, write_png

OPACITY = 0.55      # of the colours over the image


def shares(labels, names):
    """[(index, name, share)] of the classes in (H, W) labels, the largest share of pixels first."""
    counts = np.bincount(labels.reshape(-1), minlength=len(names))
    order = np.argsort(-counts, kind='stable')
    return [(int(i), names[i], counts[i] / labels.size) for i in order if counts[i]]


def percent(share):
    """A share for people: 12.3 %, <0.1 %."""
    return '<0.1 %' if 0 < share < 0.0005 else f'{100 * share:.1f} %'


def blend(image, labels, plain):
    """(H, W, 3) uint8 RGB: image under the VOC colours of its labels; class `plain` (or None)
    stays as the image is."""
    colours = palette(256)[labels]
    mixed = image + OPACITY * (colours - image.astype(np.float32))
    keep = (labels == plain)[:, :, None] if plain is not None else False
    return np.where(keep, image, np.rint(mixed).astype(np.uint8))


def overlay(image, labels, names):
    """The blend, and on its right a legend: colour, name and share of the pixels.

    image: (H, W, 3) uint8 RGB; labels: (H, W) indices below 256; names by index. Class 0 is left
    as the image is unless it has a name other than background. Returns (H', W', 3) uint8 RGB, the
    blend at its top left; the legend's text grows with the image.
    """
    labels = indices(labels, 'prediction')
    plain = 0 if names[0] in ('background', '0') else None
    rows = [(None if i == plain else tuple(map(int, palette(256)[i])), f'{name}  {percent(share)}')
            for i, name, share in shares(labels, names)]
    side = legend(rows, text_size(image))
    picture = Image.new('RGB', (image.shape[1] + side.width, max(len(image), side.height)), 'white')
    picture.paste(Image.fromarray(blend(image, labels, plain)))
    picture.paste(side, (image.shape[1], 0))
    return np.asarray(picture)


def save_overlay(image, labels, names, path):
    """Write the overlay as a PNG."""
    write_png(Image.fromarray(overlay(image, labels, names)), path)


def text_size(image):
    """Pixels of a text that can be read beside an image, however large."""
    return int(np.clip(max(image.shape[:2]) / 28, 13, 120))


def legend(rows, size):
    """A white Pillow image with (colour, text) rows; colour None draws an empty box."""
    font, gap = ImageFont.load_default(size), size // 2
    width = max(font.getlength(text) for _, text in rows)
    box, step = size, size + gap
    picture = Image.new('RGB', (round(gap + box + gap + width + gap), gap + step * len(rows)),
                        'white')
    draw = ImageDraw.Draw(picture)
    for k, (colour, text) in enumerate(rows):
        top = gap + k * step
        draw.rectangle((gap, top, gap + box - 1, top + box - 1), colour, 'grey')
        draw.text((gap + box + gap, top + box / 2), text, 'black', font, anchor='lm')
    return picture
