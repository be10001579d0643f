"""LabelMaps: label maps, overlays, masks and probabilities of photographs, as files."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import FcnError
from ..formats.atomic import write_bytes
from ..report import save_label_png, save_overlay, shares
from ..report.heatmap import save_heatmap
from ..report.overlay import percent
from ..report.pictures import write_png
from .labels import class_colours, class_names, names_in
from .outputs import MASK, OBJECT, Output
from .segmenter import Prediction, Segmenter


@dataclass(frozen=True)
class Files:
    """What is written for a photograph besides its label map and overlay.

    npy: <name>.npy, the label map (H, W) uint8. mask: <name>.mask.png, class indices as grey values
    without a palette; binary: <name>.binary.png, 255 where the class is not 0, else 0.
    probabilities: <name>.probabilities.npz with `probabilities` (C, H, W) float16 and `classes`,
    their names (C,)."""
    npy: bool = False
    mask: bool = False
    binary: bool = False
    probabilities: bool = False

    @property
    def endings(self) -> dict[str, str]:
        """{kind: ending of the names of these files}."""
        known = {'npy': '.npy', 'mask': '.mask.png', 'binary': '.binary.png',
                 'probabilities': '.probabilities.npz'}
        return {kind: ending for kind, ending in known.items() if getattr(self, kind)}


class LabelMaps:
    """Label maps of photographs as files, a job for photos.process: <name>.png in the colours of
    the classes, and <name>.overlay.png with a legend; of an output with one channel of
    probabilities also <name>.heat.png; and what `files` says. Of several outputs each has its
    files, <name>.<blob>.png and so on.

    classes: a file of class names, or the names themselves, for the outputs that have as many; None
    for those that class_names finds. colours: (256, 3) uint8 RGB of those classes; None: those that
    are kept beside the net, or else VOC's. FcnError for names that no output has as many of, for
    more classes than a label PNG holds, and for probabilities of an output that has none.
    """

    def __init__(self, segmenter: Segmenter, classes: str | Path | Sequence[str] | None = None,
                 files: Files | None = None, colours: np.ndarray | None = None):
        self.segmenter, self.files = segmenter, files or Files()
        self.check = segmenter.check
        outputs, file = segmenter.outputs, segmenter.net.graph.file
        for output in outputs:
            if output.classes > 256:
                raise FcnError(f"'{output.blob}' has {output.classes} classes, a label PNG holds "
                               '256', file=file, do='Merge classes.')
            if self.files.probabilities or segmenter.crf is not None:
                output.probabilities(np.zeros((output.classes, 1, 1), np.float32))
        self.names = names_of(file, outputs, classes)
        own = class_colours(file) if colours is None else colours
        known = max(map(len, self.names)) if classes is None else len(names_given(classes))
        self.colours = [own if len(names) == known else None for names in self.names]
        self.kinds = [self._endings(output) for output in outputs]
        self.endings = tuple(ending for kinds in self.kinds for ending in kinds.values())

    def _endings(self, output: Output) -> dict[str, str]:
        """{kind: ending} of the files of an output."""
        several = len(self.segmenter.outputs) > 1
        head = f'.{output.blob.replace("/", "-")}' if several else ''
        heat = {'heat': '.heat.png'} if output.probability else {}
        kinds = {'labels': '.png', 'overlay': '.overlay.png'} | heat | self.files.endings
        return {kind: head + ending for kind, ending in kinds.items()}

    def run(self, image: np.ndarray, name: str, paths: Sequence[Path]) -> str:
        """Write the files of an image (H, W, 3) uint8 RGB; returns its classes, their shares and
        the milliseconds."""
        start = time.perf_counter()
        found = self.segmenter.predict(image, self.files.probabilities)
        seconds = time.perf_counter() - start
        texts, left = [], iter(paths)
        for output, names, colours, kinds, result in zip(
                self.segmenter.outputs, self.names, self.colours, self.kinds, found, strict=True):
            for kind in kinds:
                write(kind, next(left), image, name, output, names, colours, result)
            text = ', '.join(f'{each} {percent(share)}' for _, each, share in
                             shares(result.labels, names))
            texts.append(f'{output.blob}: {text}' if len(found) > 1 else text)
        return f'{"; ".join(texts)}  {1000 * seconds:.0f} ms'


def write(kind: str, path: Path, image: np.ndarray, name: str, output: Output,
          names: Sequence[str], colours: np.ndarray | None, found: Prediction) -> None:
    """Write one file of a photograph called `name`."""
    labels, failed = found.labels, 'the result cannot be written'
    if kind == 'labels':
        save_label_png(labels, path, colours)
    elif kind == 'overlay':
        save_overlay(image, labels, names, path, colours)
    elif kind == 'heat' and found.heat is not None:
        save_heatmap(image, name, found.heat[None], [names[1]], np.ones(2), np.zeros(2), path)
    elif kind == 'npy':
        write_bytes(npy(labels), path, failed)
    elif kind == 'mask':
        write_png(Image.fromarray(labels), path)
    elif kind == 'binary':
        write_png(Image.fromarray(np.where(labels, 255, 0).astype(np.uint8)), path)
    elif kind == 'probabilities' and found.scores is not None:
        write_bytes(npz(found.probabilities(output), names), path, failed)


def names_of(net_file: str, outputs: Sequence[Output],
             classes: str | Path | Sequence[str] | None) -> list[Sequence[str]]:
    """The class names of each output."""
    file = classes if isinstance(classes, (str, Path)) else None
    given = names_given(classes)
    names: list[Sequence[str]] = []
    for output in outputs:
        if len(given) == output.classes:
            names.append(given)
        else:
            names.append(OBJECT if output.kind == MASK else class_names(net_file, output.classes))
    if file is not None and given not in names:
        counts = ' and '.join(str(output.classes) for output in outputs)
        raise FcnError(f'{len(given)} class names for the {counts} classes of {net_file}',
                       file=str(file), do='Give one name per line, in the order of the labels.')
    return names


def names_given(classes: str | Path | Sequence[str] | None) -> tuple[str, ...]:
    """Class names that are given as a file or as themselves; () for none."""
    return names_in(classes) if isinstance(classes, (str, Path)) else tuple(classes or ())


def npy(array: np.ndarray) -> bytes:
    """An array as a .npy file."""
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    return data.getvalue()


def npz(probabilities: np.ndarray, names: Sequence[str]) -> bytes:
    """A compressed .npz file of probabilities (C, H, W), as float16, and the names of classes."""
    data = io.BytesIO()
    np.savez_compressed(data, probabilities=probabilities.astype(np.float16),
                        classes=np.array(list(names)))
    return data.getvalue()
