"""The thirty-shapes set: discs, squares and triangles on noise (tools/make_shapes.py draws them), a
folder laid out as VOC's."""

from pathlib import Path

import numpy as np
from data_folders import save_palette_png, write_split
from PIL import Image
from small_runs import tool

NAMES, draw = tool('make_shapes').NAMES, tool('make_shapes').draw
COUNTS = {'train': 24, 'val': 6}


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
