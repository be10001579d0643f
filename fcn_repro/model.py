"""load(): a trained net as an object that labels images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import numpy as np

from .data.image import MEAN
from .data.palette import palette
from .errors import FcnError
from .export import Exported, export, target_of
from .net.net import Net
from .predict.crf import Crf
from .predict.labelmaps import names_of
from .predict.labels import class_colours
from .predict.outputs import find_output
from .predict.segment import Picture, net_with_weights, pixels_of
from .predict.segmenter import Prediction, Segmenter
from .predict.views import Views
from .proto.dialects import Dialect
from .recipe.finished import FinishedRun, opened


class Model:
    """A net with its weights, its classes and its mean pixel; made by `load`.

    net: the Net, placed on its device. deploy, weights: paths of its files. classes: names by label
    index. palette: (classes, 3) uint8 RGB, the colour of each label, as in all pictures. mean: the
    pixel that is subtracted, BGR. segmenter: what runs images; `tile` is its setting.
    """

    def __init__(self, net: Net, deploy: Path, weights: Path, mean: Sequence[float] = MEAN,
                 classes: str | Path | Sequence[str] | None = None, output: str | None = None,
                 threshold: float | None = None, tile: int | None = None,
                 colours: np.ndarray | None = None, run: FinishedRun | None = None,
                 views: Views | None = None, crf: Crf | None = None):
        self.name = weights.name.partition('.')[0] if run is None else run.stage_name
        self.folder = Path() if run is None else run.folder / 'export'
        self.net, self.deploy, self.weights = net, deploy, weights
        self.output = find_output(net, output, threshold)
        self.segmenter = Segmenter(net, mean, [self.output], tile, views, crf)
        self.mean: tuple[float, ...] = tuple(map(float, self.segmenter.mean))
        self.classes: tuple[str, ...] = tuple(names_of(net.graph.file, [self.output], classes)[0])
        self.palette = (palette() if colours is None else colours)[:len(self.classes)]

    def __repr__(self) -> str:
        return f"Model('{self.deploy}', '{self.weights}', {len(self.classes)} classes)"

    @overload
    def segment(self, image: Picture) -> np.ndarray: ...
    @overload
    def segment(self, image: list[Picture] | tuple[Picture, ...]) -> list[np.ndarray]: ...

    def segment(self, image: Any) -> Any:
        """The label map (H, W) uint8 of an image: a path, a Pillow image or an array (H, W, 3)
        uint8 RGB; of a list of them a list, and of an array (N, H, W, 3) an array (N, H, W). Ties
        go to the lowest class. FcnError as for fcn_repro.segment."""
        return self._each(image, lambda found: found.labels, False)

    def scores(self, image: Any) -> Any:
        """The scores (C, H, W) float32 of an image, as the net gives them; with views or a CRF, or
        of a net that runs in windows (Dilation's), their probabilities; of several images as
        segment."""
        return self._each(image, lambda found: found.scores, True)

    def probabilities(self, image: Any) -> Any:
        """The probability of each class, (classes, H, W) float32: the softmax of the scores, or, of
        a net with one channel, those of background and object; of several images as segment.
        FcnError for a net that has none."""
        return self._each(image, lambda found: found.probabilities(self.output), True)

    def _each(self, image: Any, take: Any, scores: bool) -> Any:
        if isinstance(image, np.ndarray) and image.ndim == 4:
            return np.stack([take(self._predict(each, scores)) for each in image]) \
                if len(image) else no_images()
        if isinstance(image, (list, tuple)):
            return [take(self._predict(each, scores)) for each in image]
        return take(self._predict(image, scores))

    def _predict(self, image: Picture, scores: bool) -> Prediction:
        pixels = pixels_of(image)
        self.segmenter.check(*pixels.shape[:2])
        return self.segmenter.predict(pixels, scores)[0]

    def export(self, kind: str, path: str | PathLike[str] | None = None, **options: Any
               ) -> list[Path]:
        """Write the net with its weights in another form: 'onnx', 'torch-export', 'safetensors',
        'caffemodel' or 'python'; returns the files. path: of the first of them; None: the folder
        export in that of the run, as `fcn-repro export` does, or, of a net of one's own, its name
        in this folder. options and FcnError: of fcn_repro.export.export."""
        return export(self.net, kind, path or target_of(kind, self.name, self.folder),
                      classes=self.classes, mean=self.mean, palette=self.palette, **options)


def no_images() -> np.ndarray:
    """FcnError for an empty batch."""
    raise FcnError('the batch has no images', do='Give at least one, or a list.')


def load(source: str | PathLike[str], weights: str | PathLike[str] | None = None, *,
         device: str | None = None, precision: str = 'fp32',
         classes: str | Path | Sequence[str] | None = None, mean: Sequence[float] | None = None,
         output: str | None = None, threshold: float | None = None, tile: int | None = None,
         runs: str | PathLike[str] = 'runs', dialect: Dialect | str | None = None,
         define: Mapping[str, object] = MappingProxyType({}), views: Views | None = None,
         crf: Crf | None = None) -> Model:
    """The Model of a run, or of a deploy prototxt and weights.

        model = fcn_repro.load('runs/own-fcn16s')
        labels = model.segment('photo.jpg')             # (H, W) uint8
        model.classes[labels[0, 0]], model.palette[labels]

    source: the folder of a run, or its name in `runs`, whose newest weights are taken unless others
    are given; or a deploy prototxt, with `weights`: its caffemodel, or HDF5 in Caffe's layout.
    device: cpu, cuda, … (None: a GPU if there is one); precision: of placement.place. classes:
    names by index, or a file of them, one a line (None: those of the run, or of the data that the
    net's val.prototxt reads, or VOC's for 21 classes, or the bare indices). mean: the pixel to
    subtract, BGR (None: the run's, else VGG's). output, threshold: of fcn_repro.segment. tile: side
    in pixels of the tiles in which larger images are run, with the same results (None: where memory
    lacks; 0: never). views: sizes, mirrored images and windows, whose probabilities are averaged
    (None: the image itself): fcn_repro.Views(scales=(0.75, 1, 1.25), flip=True). crf: a dense CRF
    that refines the result, such as fcn_repro.Crf() with DeepLab's settings. dialect, define: of
    the prototxt, where it is of a fork of Caffe and does not tell which, or has a ${NAME}, as for
    proto.prototxt.read_net.

    FcnError for a run, net or weights that are missing or do not fit, and for views or a CRF of a
    net that gives no probabilities; a warning names layers that
    the weights lack.
    """
    if os.path.isfile(source) or os.fspath(source).endswith('.prototxt'):
        if weights is None:
            raise FcnError('no weights are given for this net', file=source,
                           do='Give the path of its caffemodel as weights, or the folder of a run.')
        run, deploy, said = None, Path(source), Exported.of(weights)
        pixel, classes = said.mean or MEAN, said.classes if classes is None else classes
        colours = class_colours(deploy) if said.colours is None else said.colours
    else:
        run = opened(source, runs)
        deploy, pixel, weights = run.deploy, run.mean, weights or run.weights
        classes, colours = run.classes if classes is None else classes, run.colours
    net = net_with_weights(deploy, weights, device, precision, dialect, define)
    return Model(net, deploy, Path(weights), pixel if mean is None else mean, classes, output,
                 threshold, tile, colours, run, views, crf)
