"""Grid of small pictures: every channel of a net's output next to its ground truth."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcn_repro.errors import FcnError
from fcn_repro.report.pictures import known

GAP, TEXT = 4, 12       # pixels between panels, and height of a title
LINE = 15               # height of a line of the caption
PAGE = 215              # grey, since panels are black or white


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities (C, H, W) float64 of scores (C, H, W)."""
    e = np.exp(scores - scores.max(0).astype(np.float64))
    return e / e.sum(0)


def channels(image: np.ndarray, label: np.ndarray, scores: np.ndarray,
             names: Sequence[str], colours: np.ndarray | None = None,
             caption: Sequence[str] = ()) -> np.ndarray:
    """The grid of one image, (H', W', 3) uint8 RGB.

    image: (H, W, 3) uint8 RGB. label: (H, W) class indices, 255 void. scores: (C, H, W), before the
    softmax. names: C titles. The upper row has the image, the label map and a mask of each class,
    white on black; the lower row, under the same titles, the predicted map and the probability of
    each class. colours: (256, 3) uint8 RGB of the maps, None for VOC's. caption: lines for
    the free place below the image. FcnError for
    arrays whose sizes or number of channels differ.
    """
    scores = np.asarray(scores)
    wanted = (len(names), *image.shape[:2])
    if scores.shape != wanted or label.shape != wanted[1:]:
        raise FcnError(f'the scores are {scores.shape} and the label {label.shape}, for '
                       f'{len(names)} classes and this image {wanted} and {wanted[1:]} are needed',
                       do='Give them at one size, with one channel per class.')
    masks = label == np.arange(len(names))[:, None, None]
    maps = [known(colours)[labels] for labels in (label, scores.argmax(0))]
    rows = ([image, maps[0], *map(grey, masks)],
            [np.full_like(image, PAGE), maps[1], *map(grey, softmax(scores))])
    height, width = np.add(image.shape[:2], GAP)
    size = width * len(rows[0]) - GAP, TEXT + GAP + 2 * height - GAP
    sheet = Image.new('RGB', size, (PAGE,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for column, name in enumerate(('image', 'labels', *names)):
        draw.text((column * width, 0), name, 'black', font)
        for row, panels in enumerate(rows):
            sheet.paste(Image.fromarray(panels[column]),
                        (column * width, TEXT + GAP + row * height))
    for i, line in enumerate(('prediction', *caption)):
        draw.text((0, TEXT + GAP + height + i * LINE), line, 'black', font)
    return np.asarray(sheet)


def grey(values: np.ndarray) -> np.ndarray:
    """Values (H, W) in 0..1 as (H, W, 3) uint8, 1 white."""
    return np.rint(255 * np.repeat(values[:, :, None], 3, 2)).astype(np.uint8)
