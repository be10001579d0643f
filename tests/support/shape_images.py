"""The thirty-shapes set: discs, squares and triangles on noise, a folder laid out as VOC's."""

from pathlib import Path

import numpy as np
from data_folders import save_palette_png, write_split
from PIL import Image

SIZE = 160, 224                     # height, width
NAMES = 'background', 'disc', 'square', 'triangle'
COLOURS = (200, 40, 40), (40, 180, 40), (50, 50, 210)       # of disc, square and triangle
COUNTS = {'train': 24, 'val': 6}


def shape_mask(kind: int, y: float, x: float, radius: float) -> np.ndarray:
    """Where a disc (1), square (2) or triangle (3) covers the image, (H, W) bool."""
    rows, columns = np.mgrid[:SIZE[0], :SIZE[1]]
    dy, dx = rows - y, columns - x
    if kind == 1:
        return dy ** 2 + dx ** 2 < radius ** 2
    if kind == 2:
        return np.maximum(abs(dy), abs(dx)) < 0.8 * radius
    return (dy < 0.7 * radius) & (dy > 2 * abs(dx) - radius)


def draw(rng: np.random.Generator, random_colours: bool) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) uint8 RGB of two to five shapes on noise, and its label (H, W) uint8."""
    image = rng.normal(128, 50, (*SIZE, 3))
    label = np.zeros(SIZE, np.uint8)
    for _ in range(rng.integers(2, 6)):
        kind, radius = int(rng.integers(1, 4)), rng.uniform(16, 40)
        where = shape_mask(kind, rng.uniform(radius, SIZE[0] - radius),
                           rng.uniform(radius, SIZE[1] - radius), radius)
        colour = rng.uniform(0, 255, 3) if random_colours else COLOURS[kind - 1]
        image[where] = colour + rng.normal(0, 25, (where.sum(), 3))
        label[where] = kind
    return image.clip(0, 255).astype(np.uint8), label


def make_shapes(folder: Path, random_colours: bool = False, seed: int = 0,
                counts: dict[str, int] = COUNTS) -> Path:
    """Write the set; returns the folder. Each split and seed has images of its own."""
    for part in 'JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation':
        (folder / part).mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        ids = [f'{split}{i:03d}' for i in range(count)]
        for i, id_ in enumerate(ids):
            rng = np.random.default_rng((seed, sum(map(ord, split)), i))
            image, label = draw(rng, random_colours)
            save_palette_png(label, folder / f'SegmentationClass/{id_}.png')
            Image.fromarray(image).save(folder / f'JPEGImages/{id_}.jpg', quality=95)
        write_split(folder, split, ids)
    (folder / 'classes.txt').write_text('\n'.join(NAMES) + '\n')
    return folder
