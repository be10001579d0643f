"""The images that a net is evaluated on: those that a val net reads itself, or a data layer's that
are given to a deploy net."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..data.image import MEAN, check_label
from ..data.layer import DataLayer, SegDataLayer
from ..data.order import Share
from ..data.prefetch import Prefetch
from ..data.reader import Sample
from ..data.voc import VOCSegDataLayer
from ..distributed import ALONE, Processes
from ..errors import FcnError
from ..net.net import Net
from ..sizes import dims
from .crf import Crf
from .heads import Head, find_heads
from .labels import data_layer, python_layer, score_layer, single_sample
from .metrics import Confusion
from .outputs import Output
from .scoring import Seconds
from .segmenter import Segmenter, of_probabilities
from .views import Views

TABLE_3 = 'seg11valid'      # the split of the paper's Tables 2 and of the release's scores


class Source(Protocol):
    """Images of a split, in order, and what a net predicts for them. data: their layer. label: the
    one that counts, of a Head."""
    data: DataLayer
    label: str

    def predict(self, k: int) -> tuple[Sample, np.ndarray, Seconds]:
        """The k-th sample and its label map (H, W) uint8. FcnError for a file that cannot be
        read."""


class ValSource:
    """A val net, which reads its data; the next images are read ahead. FcnError for a net that
    reads no data, and, in predict, for one that reads several images per batch or has no label per
    pixel."""

    def __init__(self, net: Net, output: Output, processes: Processes = ALONE, label: str = '',
                 crf: Crf | None = None):
        self.net, self.output, self.data, self.label = net, output, data_layer(net), label
        self.crf = crf
        self.layer = python_layer(net)
        net.state.share = Share(processes.rank, processes.size, processes.size)

    def forward(self) -> np.ndarray:
        """The label map of the image at the net's position."""
        if self.crf is None:
            return self.output.predict(self.net)[0]
        values = self.output.values(self.net)
        found = self.crf.refine(self.output.probabilities(values.cpu().numpy()),
                                single_sample(self.layer).image)
        return of_probabilities(self.output, found).labels

    def values(self, k: int) -> tuple[Sample, torch.Tensor]:
        """The k-th sample, and the output's values (C, H, W) for it."""
        self.net.seek(k)
        values = self.output.values(self.net)
        return single_sample(self.layer).labelled(self.label), values

    def predict(self, k: int) -> tuple[Sample, np.ndarray, Seconds]:
        self.net.seek(k)
        start = time.perf_counter()
        prediction = self.forward()
        total = time.perf_counter() - start
        reading, waiting = self.layer.seconds
        sample = single_sample(self.layer).labelled(self.label)
        return sample, prediction, Seconds(total - waiting, reading, waiting)


class HeadsSource(ValSource):
    """As ValSource, of the first of several heads: the net runs once for all of them, and what the
    others predict is kept until an OtherHead takes it."""

    def __init__(self, net: Net, heads: Sequence[Head], processes: Processes = ALONE):
        super().__init__(net, heads[0].output, processes, heads[0].label)
        self.outputs = [head.output for head in heads]
        last = max((net.graph.producer(output.value) for output in self.outputs),
                   key=list(net.graph.nodes).index)
        self.last = last.name
        self.kept: dict[tuple[str, int], tuple[bytes, np.dtype, tuple[int, ...], Seconds]] = {}

    def forward(self) -> np.ndarray:
        with torch.inference_mode():
            found = self.net.forward([output.blob for output in self.outputs],
                                     stop_after=self.last)
        self.maps = [output.read(found[output.blob][0].float())[0] for output in self.outputs]
        return self.maps[0]

    def predict(self, k: int) -> tuple[Sample, np.ndarray, Seconds]:
        sample, prediction, seconds = super().predict(k)
        for output, made in zip(self.outputs[1:], self.maps[1:], strict=True):
            self.kept[output.blob, k] = (zlib.compress(made.tobytes(), 1), made.dtype, made.shape,
                                         seconds)
        return sample, prediction, seconds


class OtherHead(ValSource):
    """A further head of a net that a HeadsSource has run."""

    def __init__(self, first: HeadsSource, head: Head, processes: Processes = ALONE):
        super().__init__(first.net, head.output, processes, head.label)
        self.first = first

    def predict(self, k: int) -> tuple[Sample, np.ndarray, Seconds]:
        kept = self.first.kept.pop((self.output.blob, k), None)
        if kept is None:                        # done by an earlier call, or drawn again
            return super().predict(k)
        packed, dtype, shape, seconds = kept
        prediction = np.frombuffer(zlib.decompress(packed), dtype).reshape(shape)
        return self.data.sample(k).labelled(self.label), prediction, seconds


def val_sources(net: Net, heads: Sequence[Head], processes: Processes = ALONE,
                crf: Crf | None = None) -> list[ValSource]:
    """A source for each head of a val net, of which the first is to run first. FcnError for a CRF
    after one of several."""
    if len(heads) == 1:
        return [ValSource(net, heads[0].output, processes, heads[0].label, crf)]
    if crf is not None:
        raise FcnError(f'a CRF after which of {", ".join(head.output.blob for head in heads)}?',
                       file=net.graph.file, code='several-outputs',
                       do='Name the one to take as output.')
    first = HeadsSource(net, heads, processes)
    return [first, *(OtherHead(first, head, processes) for head in heads[1:])]


class GivenSource:
    """A deploy net that is given a data layer's images, which `workers` threads read ahead. views:
    of a Segmenter. FcnError as there."""

    label = ''

    def __init__(self, net: Net, output: Output, data: DataLayer, workers: int = 0,
                 processes: Processes = ALONE, views: Views | None = None,
                 crf: Crf | None = None):
        self.segmenter = Segmenter(net, getattr(data, 'mean', MEAN), (output,), views=views,
                                   crf=crf)
        self.net, self.output, self.data, self.workers = net, output, data, workers
        self.share = Share(processes.rank, processes.size, processes.size)
        self.ahead = Prefetch(self.read)

    def read(self, k: int) -> tuple[Sample, np.ndarray, float]:
        """(sample, blob (1, 3, H, W), seconds that it took)."""
        start = time.perf_counter()
        sample = self.data.sample(k)
        blob, *_ = self.data.blobs([sample])        # type: ignore[attr-defined]
        return sample, blob, time.perf_counter() - start

    def predict(self, k: int) -> tuple[Sample, np.ndarray, Seconds]:
        start = time.perf_counter()
        sample, blob, reading = self.ahead.take(k, self.workers, self.share)
        waiting = time.perf_counter() - start
        start = time.perf_counter()
        prediction = self.run(sample.image, blob)
        return sample, prediction, Seconds(time.perf_counter() - start, reading, waiting)

    def values(self, k: int) -> tuple[Sample, torch.Tensor]:
        """The k-th sample, and the output's values (C, H, W) for it."""
        sample, blob, _ = self.ahead.take(k, self.workers, self.share)
        return sample, self.output.values(self.net, data=blob)

    def run(self, image: np.ndarray, blob: np.ndarray) -> np.ndarray:
        """The label map of an image and its blob. FcnError for a size that the net does not
        take."""
        size = image.shape[:2]
        if self.segmenter.averages or self.segmenter.crf is not None:
            self.segmenter.check(*size)
            return self.segmenter.predict(image)[0].labels
        try:
            prediction, _ = self.output.predict(self.net, data=blob)
        except FcnError:
            self.segmenter.check(*size)         # says so of a net that takes one size
            raise
        if prediction.shape != size:
            self.segmenter.check(*size)
        return prediction


def given_voc(folder: str | Path, split: str | None, sbd: str | Path | None,
              mean: Sequence[float], classes: int, unlabelled: bool = False) -> DataLayer:
    """The data layer of a folder in VOC's layout, for a GivenSource.

    split: None for seg11valid where the folder has its file or `sbd`, SBD's folder, is given, and
    val elsewhere. mean: BGR. classes: of the net, against which labels are checked. unlabelled:
    take a split without labels, too. FcnError as VOCSegDataLayer.
    """
    if split is None:
        listed = Path(folder, 'ImageSets', 'Segmentation', f'{TABLE_3}.txt')
        split = TABLE_3 if sbd is not None or os.path.isfile(listed) else 'val'
    return VOCSegDataLayer({
        'voc_dir': str(folder), 'split': split, 'mean': tuple(mean), 'randomize': False,
        'classes': classes if classes < 256 else None,
        'sbdd_dir': None if sbd is None else str(sbd),
        **(VOCSegDataLayer.without_labels if unlabelled else {})})


def checked(source: Source, net: Net, output: Output,
            k: int) -> tuple[Sample, np.ndarray, Seconds]:
    """What a source predicts for its k-th image. FcnError for a label id that is neither void nor a
    class, and for a score of another size than the image."""
    sample, prediction, seconds = source.predict(k)
    check_label(sample.label, output.classes, source.data.label_file(sample, source.label))
    if prediction.shape != sample.label.shape:
        raise FcnError(f"'{output.blob}' is {dims(prediction.shape)} for an image of "
                       f'{dims(sample.label.shape)}', file=net.graph.file,
                       layer=score_layer(net, output.blob), do='Crop it to the data.')
    return sample, prediction, seconds


def evaluate(net: Net, confusion: Confusion, count: int | None = None,
             output: Output | None = None, processes: Processes = ALONE, label: str = '',
             crf: Crf | None = None) -> Iterator[tuple[Sample, np.ndarray, Seconds]]:
    """Run a val net over its data in order; yields (sample, prediction (H, W), Seconds).

    count: number of images (None: all). output, label: of a Head (None: the first of find_heads).
    processes: each runs over its share of the images. crf: after the net. Each image is added to
    `confusion`. FcnError as in `checked` and ValSource.
    """
    if output is None:
        output, label = find_heads(net)[0]
    source = ValSource(net, output, processes, label, crf)
    total = len(source.data)
    for k in processes.share(total if count is None else min(count, total)):
        sample, prediction, seconds = checked(source, net, output, k)
        confusion.add(sample.label, prediction)
        yield sample, prediction, seconds


def files_of(source: Source, k: int) -> tuple[Path, ...]:
    """The paths of the k-th sample's image and label; () for data whose samples are no files."""
    data = source.data
    if not isinstance(data, SegDataLayer):
        return ()
    id_ = data.ids[data.order[k]]
    return data.reader.image_file(id_), data.reader.label_file(id_, source.label)
