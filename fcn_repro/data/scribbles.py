"""Scribbles made from masks: in each connected region one stroke along its middle, all else void.

They stand in for those that people draw (ScribbleSup, Lin et al. 2016), so that learning from
scribbles can be tried, and measured beside learning from the masks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fcn_repro.data.image import VOID
from fcn_repro.data.reader import Reader
from fcn_repro.data.relabelled import relabel_folder, write_relabelled
from fcn_repro.data.scenes import FOLDER, make_folder, read_stamp
from fcn_repro.data.voc import VocFolder
from fcn_repro.errors import FcnError, located

WIDTH, WIDEST = 3, 255                      # of a stroke, in pixels
SCENES = FOLDER.parent / 'scribbles'        # scribbles of the generated scenes, by default
VERSION = 1         # of the drawing; raise it when the same seed gives other strokes
STEPS = (0, 1), (1, 0), (1, 1), (1, -1)     # to four of a pixel's neighbours: each pair once


@dataclass(frozen=True)
class Scribbled:
    """What scribble_folder() wrote. images: {split: images}; strokes: how many; labelled: the
    share of the train pixels that they cover."""

    folder: Path
    images: Mapping[str, int]
    strokes: int
    labelled: float


# ---- a mask --------------------------------------------------------------------------------------

def scribbled(label: np.ndarray, width: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """The scribbles of a mask (H, W) uint8, another one with VOID where there is none, and how many
    strokes they are.

    Each region of connected pixels (4 neighbours) of a class has a stroke `width` pixels wide,
    which stays inside. Regions of fewer than width² pixels have none, but for the largest of a
    class: each class of the mask has a stroke. FcnError for a mask that is void everywhere.
    """
    from scipy import ndimage  # slow to import
    drawn, strokes = np.full_like(label, VOID), 0
    for value in np.setdiff1d(np.unique(label), VOID):
        regions, _ = ndimage.label(label == value)
        sizes = np.bincount(regions.ravel())[1:]
        largest = int(sizes.argmax())
        for i, box in enumerate(ndimage.find_objects(regions)):
            if sizes[i] >= width ** 2 or i == largest:
                drawn[box][stroke(regions[box] == i + 1, width, rng)] = value
                strokes += 1
    if not strokes:
        raise FcnError('all of the mask is 255, void: there is nothing to scribble on',
                       do='Label something in it, or remove its id from the list of the split.')
    return drawn, strokes


def stroke(region: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """A stroke along the middle of a connected region (H, W) bool: where it is, (H, W) bool.

    Of the core, the pixels at least half as deep in the region as its deepest, one is drawn; the
    stroke runs from the farthest of the others to the one that is farthest from there, and half to
    all of this way is drawn. A step costs its length times (deepest / depth)², which keeps it in
    the middle, also across narrow places."""
    from scipy import ndimage  # slow to import
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    core = np.flatnonzero(depth >= depth.max() / 2)
    begin = farthest(depth, int(rng.choice(core)), core)[-1]
    path = farthest(depth, begin, core)
    keep = max(1, round(rng.uniform(0.5, 1) * len(path)))
    first = int(rng.integers(len(path) - keep + 1))
    line = np.zeros(region.shape, bool)
    line.flat[path[first:first + keep]] = True
    y, x = (axis - (width - 1) / 2 for axis in np.ogrid[:width, :width])
    return region & ndimage.binary_dilation(line, np.hypot(y, x) <= width / 2)


def farthest(depth: np.ndarray, begin: int, among: np.ndarray) -> list[int]:
    """The cheapest way from a pixel to the one `among` some for which it costs most, the pixels as
    flat indices."""
    from scipy.sparse.csgraph import dijkstra  # slow to import
    cost, before = dijkstra(grid(depth), directed=False, indices=begin, return_predecessors=True)
    reached = among[np.isfinite(cost[among])]
    path = [int(reached[cost[reached].argmax()])]
    while path[-1] != begin:
        path.append(int(before[path[-1]]))
    return path[::-1]


def grid(depth: np.ndarray):
    """The graph of the pixels inside, where depth (H, W) is above 0, a sparse matrix: what a step
    to each of the 8 neighbours costs."""
    from scipy.sparse import coo_matrix
    height, width = depth.shape
    index = np.arange(depth.size).reshape(depth.shape)
    ends, costs = [], []
    for dy, dx in STEPS:
        here = np.s_[:height - dy, max(0, -dx):width - max(0, dx)]
        there = np.s_[dy:, max(0, dx):width + min(0, dx)]
        least = np.minimum(depth[here], depth[there])
        inside = least > 0
        ends.append((index[here][inside], index[there][inside]))
        costs.append(np.hypot(dy, dx) * (depth.max() / least[inside]) ** 2)
    rows, columns = (np.concatenate(each) for each in zip(*ends, strict=True))
    return coo_matrix((np.concatenate(costs), (rows, columns)), (depth.size,) * 2).tocsr()


# ---- a folder ------------------------------------------------------------------------------------

def scribble_folder(voc_dir: str | Path, out: str | Path, width: int = WIDTH,
                    seed: int = 0) -> Scribbled:
    """Write a folder in VOC's layout into `out` whose train labels are scribbles of those in
    voc_dir; images and the masks of val are copied.

    width: of a stroke, in pixels. seed: of the draws; each image has its own, by its id. The folder
    appears when it is complete. FcnError for numbers out of range, a folder `out` that holds
    something, splits that share an image, and a mask of train that is void everywhere.
    """
    check_numbers(width, seed)
    made = relabel_folder(voc_dir, out, partial(drawn, width, seed), 'scribbles')
    return Scribbled(made.folder, made.images, made.total, made.labelled)


def check_numbers(width: int, seed: int) -> None:
    """FcnError for a width or a seed out of range."""
    if not 1 <= width <= WIDEST:
        raise FcnError(f'width is {width} pixels', code='bad-width',
                       facts={'most': WIDEST}, do=f'Give 1 to {WIDEST}.')
    if seed < 0:
        raise FcnError(f'seed is {seed}', code='negative', facts={'option': 'seed'},
                       do='Give seed of at least 0.')


def drawn(width: int, seed: int, reader: Reader, i: int) -> tuple[np.ndarray, int]:
    """The scribbles of the i-th mask of a split, and the number of strokes."""
    id_ = reader.ids[i]
    with located(reader.label_file(id_)):
        return scribbled(reader.label(i), width, np.random.default_rng((seed, *id_.encode())))


def make_scribbled_scenes(folder: Path = SCENES) -> None:
    """Make the scribbles of the generated scenes, which are there, unless they are, too."""
    readers = {split: VocFolder(FOLDER, split) for split in ('train', 'val')}
    stamp = {'scribbles': VERSION, 'width': WIDTH, 'seed': 0, 'of': read_stamp(FOLDER)}

    def write(part: Path) -> None:
        write_relabelled(part, readers, partial(drawn, WIDTH, 0))
    make_folder(folder, stamp, write)
