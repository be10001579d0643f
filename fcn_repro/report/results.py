"""What an evaluation found, as files: metrics.json, metrics.csv, images.csv."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from fcn_repro.formats.atomic import write_text


class Image(NamedTuple):
    """The score of one image: fractions, NaN where all of it is void. size: (height, width).
    seconds: of the net alone."""
    id: str
    size: tuple[int, int]
    pixel_accuracy: float
    mean_iu: float
    seconds: float


class Example(NamedTuple):
    """An image to show. image: (H, W, 3) uint8 RGB; label, prediction: (H, W) class indices, 255
    void; all as large as they are shown."""
    id: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    pixel_accuracy: float
    mean_iu: float


@dataclass(frozen=True)
class Times:
    """Seconds of each image. net: the net alone. whole: from the files to the label map. waited:
    the net, and what it waited for the image, which is read ahead. wall: of all images together,
    scoring included; 0 where an earlier call did a part."""
    net: Sequence[float]
    whole: Sequence[float]
    waited: Sequence[float]
    wall: float = 0.


MEANS = 'pixel_accuracy', 'mean_accuracy', 'mean_iu', 'fw_iu'


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of a net on a split.

    metrics: predict.metrics.Metrics. hist: (n, n) confusion matrix, rows are ground truth. names:
    class names by index, or None. rule: of predict.metrics.metrics. bound: the upper bound of mean
    IU at the net's `stride` (0: none). by_distance: of predict.scoring.Totals. images: all of them,
    in order. best, worst: some to show. net, weights, folder, split: what was evaluated on what;
    fingerprint: of the data. mean: BGR, or None. memory: peak in bytes, of the GPU if on one.
    warnings: sentences. provenance: what the weights record of themselves. resumed: how many of the
    images an interrupted call had done. other: the Metrics by the other rule. others: of a net with
    several heads the evaluations of the others, by blob. colours: (256, 3) uint8 RGB of the
    classes, None for VOC's. crf: the CRF after the net, in words; '' without. views: where images
    were not shown to the net once and whole, how: predict.views.Views.as_json, and `words`.
    """
    metrics: Any
    hist: np.ndarray
    names: Sequence[str] | None
    rule: str
    bound: float | None
    stride: int
    by_distance: Sequence[tuple[int | None, float, float]]
    images: Sequence[Image]
    times: Times
    net: str = ''
    weights: str = ''
    folder: str = ''
    split: str = ''
    fingerprint: str = ''
    mean: Sequence[float] | None = None
    device: str = 'cpu'
    precision: str = 'fp32'
    memory: int = 0
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    best: Sequence[Example] = ()
    worst: Sequence[Example] = ()
    resumed: int = 0
    other: Any = None
    others: Mapping[str, Evaluation] = field(default_factory=dict)
    colours: np.ndarray | None = None
    crf: str = ''
    views: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """How images were shown to the net, in words; '' for once and whole."""
        return '; '.join(self.views.get('words', ()))

    @property
    def classes(self) -> list[str]:
        """Class names, or the bare indices."""
        return list(self.names) if self.names else [str(i) for i in range(len(self.hist))]


def spread_of(seconds: Sequence[float]) -> dict[str, float]:
    """{'median', 'p95'} of times."""
    return {'median': median(seconds), 'p95': float(np.percentile(seconds, 95))}


def as_json(found: Evaluation) -> str:
    """metrics.json: fractions in [0, 1], null for a class that is left out of the means."""
    m, times = found.metrics, found.times
    iu, accuracy = (dict(zip(found.classes, map(number, values), strict=True))
                    for values in (m.class_iu, m.class_accuracy))
    return json.dumps({
        'pixel_accuracy': float(m.pixel_accuracy), 'mean_iu': float(m.mean_iu),
        'mean_accuracy': float(m.mean_accuracy), 'fw_iu': float(m.fw_iu),
        'class_iu': iu, 'class_accuracy': accuracy, 'rule': found.rule,
        'bound': found.bound, 'of_bound': found.bound and m.mean_iu / found.bound,
        'other_rule': found.other and {key: float(getattr(found.other, key)) for key in MEANS},
        'images': len(found.images), 'data': found.fingerprint,
        'median_seconds': median(times.waited),
        'seconds': {'net': spread_of(times.net), 'end_to_end': spread_of(times.whole),
                    'all_images': times.wall or None},
        'peak_memory': found.memory, 'device': found.device, 'precision': found.precision,
        'net': found.net, 'weights': found.weights, 'voc': found.folder, 'split': found.split,
        'mean': None if found.mean is None else list(map(float, found.mean)),
        'crf': found.crf or None, 'warnings': list(found.warnings), 'resumed': found.resumed,
        'views': dict(found.views) or None,
        'iu_by_distance': [{'to': end, 'mean_iu': iu, 'pixels': share}
                           for end, iu, share in found.by_distance],
        'provenance': {key: str(value) for key, value in found.provenance.items()},
        'confusion': found.hist.tolist()}, indent=1)


def write_results(found: Evaluation, folder: Any) -> None:
    """Write metrics.csv, a row per class and one of the means; images.csv, a row per image; and
    metrics.json, last, so that its presence means that all is there."""
    write_text(csv_text(CLASS_COLUMNS, class_rows(found)), folder / 'metrics.csv')
    write_text(csv_text(('id', 'height', 'width', 'pixel_accuracy', 'mean_iu', 'net_seconds'), (
        (image.id, *image.size, number(image.pixel_accuracy), number(image.mean_iu), image.seconds)
        for image in found.images)), folder / 'images.csv')
    write_text(as_json(found), folder / 'metrics.json')


CLASS_COLUMNS = 'index', 'class', 'iu', 'accuracy', 'pixels', 'predicted_pixels', 'right_pixels'


def class_rows(found: Evaluation) -> list[tuple[Any, ...]]:
    """The rows of metrics.csv; the last one has the means."""
    m, hist = found.metrics, found.hist
    rows: list[tuple[Any, ...]] = [
        (i, name, number(m.class_iu[i]), number(m.class_accuracy[i]), int(hist[i].sum()),
         int(hist[:, i].sum()), int(hist[i, i])) for i, name in enumerate(found.classes)]
    return [*rows, ('', 'mean', float(m.mean_iu), float(m.mean_accuracy), int(hist.sum()),
                    int(hist.sum()), int(np.trace(hist)))]


def number(value: float) -> float | None:
    """The value; None for NaN."""
    return None if math.isnan(value) else float(value)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV; None is empty. A text that a spreadsheet would take for a formula gets an
    apostrophe before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(columns)
    for row in rows:
        writer.writerow([plain(value) for value in row])
    return text.getvalue()


def plain(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in '=+-@\t' and value else value
