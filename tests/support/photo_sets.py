"""Small folders of photographs with masks, in the layouts and kinds that people have."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 128, 0), (0, 0, 255))
TABLE = '0 0 0 background\n255 0 0 disc\n0 128 0 square\n0 0 255 bar\n'
SIZE = (24, 32)         # (height, width)


def photo(i, size=SIZE):
    """(image (H, W, 3) uint8, label (H, W) uint8 with ids 0 to 3)."""
    rng = np.random.default_rng(i)
    image = rng.integers(90, 160, (*size, 3), dtype=np.uint8)
    label = np.zeros(size, np.uint8)
    for k in (1, 2, 3):
        top, left = rng.integers(0, size[0] - 6), (k - 1) * (size[1] // 3) + rng.integers(0, 3)
        label[top:top + 6, left:left + 6] = k
    image[label > 0] = np.array(COLOURS, np.uint8)[label[label > 0]]
    return image, label


def as_rgb(label):
    return Image.fromarray(np.array(COLOURS, np.uint8)[label])


def as_binary(label):
    return Image.fromarray((label > 0).astype(np.uint8) * 255)


def as_index(label):
    return Image.fromarray(label)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({'quality': 95} if path.suffix.lower() in ('.jpg', '.jpeg') else {}))


def make_set(root, count=10, mask=as_rgb, image_path='images/{}.jpg', mask_path='masks/{}.png',
             size=SIZE):
    """A folder of photographs and masks; returns it."""
    root = Path(root)
    for i in range(count):
        image, label = photo(i, size)
        save(root / image_path.format(f'p{i:02}'), Image.fromarray(image))
        save(root / mask_path.format(f'p{i:02}'), mask(label))
    return root
