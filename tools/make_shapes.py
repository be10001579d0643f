#!/usr/bin/env python3
"""Draw a data set to try things on: discs, squares and triangles on noise, with masks in colour.

    python tools/make_shapes.py photos [--count 30] [--seed 0]

writes photos/images/NAME.jpg, photos/masks/NAME.png (RGB) and photos/colours.txt, the colours of
the classes. The same seed draws the same pictures. It needs numpy and Pillow alone.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 160, 224                                             # height, width
NAMES = 'background', 'disc', 'square', 'triangle'
COLOURS = (200, 40, 40), (40, 180, 40), (50, 50, 210)       # of disc, square and triangle
MASKS = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)    # their masks, by class


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


def make_photos(folder: Path, count: int, seed: int) -> None:
    """Write `count` pictures, their masks and the table of colours into a new folder."""
    for part in 'images', 'masks':
        (folder / part).mkdir(parents=True)
    for i in range(count):
        image, label = draw(np.random.default_rng((seed, i)), False)
        Image.fromarray(image).save(folder / f'images/{i:03d}.jpg', quality=95)
        Image.fromarray(np.array(MASKS, np.uint8)[label]).save(folder / f'masks/{i:03d}.png')
    (folder / 'colours.txt').write_text(''.join(
        f'{" ".join(map(str, colour))} {name}\n'
        for colour, name in zip(MASKS, NAMES, strict=True)))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('folder', type=Path, help='a folder that does not exist yet')
    args.add_argument('--count', type=int, default=30, help='of pictures (default: 30)')
    args.add_argument('--seed', type=int, default=0)
    args = args.parse_args()
    if args.folder.exists():
        sys.exit(f'error: {args.folder} exists. Give another folder, or remove this one.')
    make_photos(args.folder, args.count, args.seed)
    print(f'{args.count} pictures in {args.folder}/images, their masks in {args.folder}/masks')


if __name__ == '__main__':
    main()
