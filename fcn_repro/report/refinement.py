"""Refinement: predictions at finer and finer strides, as in the paper's Figure 4."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fcn_repro.report.pictures import Row, enlarged, known, save_rows


def refinement(rows: Sequence[tuple[str, np.ndarray, Sequence[np.ndarray]]],
               titles: Sequence[str], names: Sequence[str] | None, path: str | Path,
               colours: np.ndarray | None = None) -> None:
    """Write one PNG: for each (id, image, maps) a row of the image and its maps, under their
    titles, with a legend.

    rows: [(id, image (H, W, 3) uint8 RGB, [(H, W) class indices, 255 void, ...])]; titles: one per
    map; names: of the classes, None for the bare indices; colours: (256, 3) uint8 RGB, None
    for VOC's. FcnError for a row with another number of
    maps, and without rows.
    """
    shown = known(colours)
    save_rows([Row(enlarged(image, *(shown[np.asarray(labels)] for labels in maps)), id_,
                   tuple(sorted({int(c) for labels in maps for c in np.unique(labels)})))
               for id_, image, maps in rows], names, path, ('image', *titles), colours)
