"""Evaluation of a net as in the paper: four metrics, IU per class, time, memory, pictures."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .. import memory
from ..data.image import MEAN
from ..data.layer import DataLayer
from ..data.prefetch import default_workers
from ..data.reader import Sample
from ..distributed import ALONE, Processes
from ..errors import FcnError
from ..formats.atomic import make_folder
from ..lock import locked
from ..net.net import Net
from ..paths import confined
from ..report.pictures import Row, make_row, save_rows
from ..report.results import Evaluation, Image, Times, write_results
from ..sizes import counted
from .crf import Crf, said_of
from .extremes import Done, Extremes, result_of
from .heads import Head, find_heads
from .labels import data_layer
from .metrics import metrics, other_rule
from .outputs import Output, find_output
from .partial import Partial, hash_of_params, stamp_of
from .printing import show
from .scoring import ImageScore, Totals, image_metrics, score_image
from .sources import GivenSource, Source, checked, files_of, val_sources
from .submission import Submission
from .views import Views

NAMED = 5               # files that an error lists
ROUNDED = 0.5           # by what a mean pixel may differ from Caffe's: it is often given rounded


def evaluate_and_report(net: Net, out: str | Path, pictures: int = 8, count: int | None = None,
                        rule: str = 'paper', output: str | None = None,
                        threshold: float | None = None, processes: Processes = ALONE, *,
                        data: DataLayer | None = None, submit: str | Path | None = None,
                        weights: str | Path = '', provenance: Mapping[str, Any] | None = None,
                        crf: Crf | None = None, views: Views | None = None
                        ) -> Evaluation | None:
    """Evaluate a net on a split, print the tables, and write them and pictures below `out`.

    net: a val net, which reads its data; or a deploy net, with `data`, whose images it is given.
    pictures: number of image | ground truth | prediction strips, spread over the data. count:
    number of images (None: all). rule: of metrics.metrics, 'paper' or 'release'. output,
    threshold: of find_heads; of several heads the first is evaluated into `out`, each other one
    into a folder in it, named as its blob. processes: those that all call this, each with the net,
    to share the images; the counts are those of one process. submit: the archive to write for VOC's
    server. weights, provenance: the file, and what it records of itself, for the results. crf:
    after the net; the results say so. views: of a Segmenter, for a deploy net.

    Returns the Evaluation; None where the split has no labels, which `submit` alone takes. Writes
    metrics.json, metrics.csv, images.csv, pictures/<id>.png and pictures.png. A call that was
    interrupted goes on from partial.jsonl if net, weights and split are the same. Files of the data
    that cannot be read are reported at the end, when all others are scored.
    FcnError for such data, a net without a score, views for a val net, and a folder that cannot be
    written, or that another evaluation is using.
    """
    if data is None and views is not None and not views.plain:
        raise FcnError('a val net reads its data itself, so it has no other views of them',
                       file=str(net.graph.file), code='views-of-val',
                       do='Give a deploy net, and its data.')
    source_data, out = data_layer(net) if data is None else data, Path(out)
    heads = find_heads(net, output, threshold) if data is None else \
        [Head(find_output(net, output, threshold))]
    if submit is not None:
        heads = heads[:1]
    total = how_many(count, source_data)
    with locked(out) if processes.first else nullcontext():
        processes.gather(None)              # the folder is there now
        found: list[Evaluation] = []
        given: Sequence[Source] = val_sources(
            net, heads, processes, crf) if data is None else [
            GivenSource(net, heads[0].output, data, net.options.workers, processes, views, crf)]
        for head, source in zip(heads, given, strict=True):
            for words in (said_of(head.words, crf), *words_of(source)):
                print(words)
            submission = None if submit is None else Submission(
                submit, out / 'submission', folder_of(source_data), head.output.classes)
            folder = out if head is heads[0] else confined(out, head.output.blob, 'blob')
            work = Pass(net, head.output, source, folder, total, pictures, processes, submission,
                        crf)
            evaluation = work.report(rule, str(weights), provenance or {})
            if evaluation is None:
                return None
            found.append(evaluation)
    return replace(found[0], others=dict(zip(
        (head.output.blob for head in heads[1:]), found[1:], strict=True)))


def words_of(source: Source) -> tuple[str, ...]:
    """How images are shown to the net, for people; () for whole ones."""
    return source.segmenter.words if isinstance(source, GivenSource) else ()


def folder_of(data: DataLayer) -> str | Path:
    """The folder of a data layer's files; '' without."""
    return getattr(getattr(data, 'reader', None), 'folder', '')


def how_many(count: int | None, data: DataLayer) -> int:
    """The number of images to evaluate: all, or the first `count`. FcnError for none."""
    if count is not None and count < 1:
        raise FcnError(f'{count} images to evaluate', do='Give 1 or more.')
    return len(data) if count is None else min(count, len(data))


def spread(count: int, total: int) -> set[int]:
    """`count` of the numbers below `total`, evenly spread."""
    return {round(i * (total - 1) / max(1, count - 1)) for i in range(count)}


def stride(net: Net) -> int:
    """Pixels per cell of the finest scores: the stride of the last Deconvolution, 0 without one."""
    ups = [node for node in net.graph.nodes if node.type == 'Deconvolution']
    return max(ups[-1].param.convolution_param.stride, default=1) if ups else 0


# ---- one pass over the images --------------------------------------------------------------------

@dataclass
class Pass:
    """The images of an evaluation, run and scored once, by each process its share.

    Scoring is done in threads, while the net runs on. out: the folder; total: number of images;
    pictures: how many to draw. FcnErrors of single files are kept until all others are done.
    """
    net: Net
    output: Output
    source: Source
    out: Path
    total: int
    pictures: int
    processes: Processes = ALONE
    submission: Submission | None = None
    crf: Crf | None = None
    faults: list[FcnError] = field(default_factory=list)
    resumed: int = 0
    seconds: float = 0.
    peak: int = 0

    def __post_init__(self) -> None:
        self.classes, self.stride = self.output.classes, stride(self.net)
        count = 0 if getattr(self.source.data, 'unlabelled', False) else self.pictures
        self.wanted = spread(min(count, self.total), self.total)
        self.partial = Partial(self.out, self.key(), self.classes, self.processes.rank)
        self.extremes = Extremes(self.classes)
        self.rows: dict[int, Row] = {}

    @property
    def names(self) -> Sequence[str] | None:
        """The class names of the data, if there is one for each class of the net."""
        names = self.source.data.classes_of(self.source.label)
        return names if names and len(names) == self.classes else None

    def key(self) -> dict[str, Any]:
        """What makes an evaluation the same one, as texts and numbers."""
        data, net = self.source.data, self.net
        ids = getattr(data, 'ids', None)
        split = data.fingerprint() if ids is None else hash_of('\n'.join(ids))
        mean = getattr(data, 'mean', None)
        return {**({'label': self.source.label} if self.source.label else {}),
                **({'crf': self.crf.settings} if self.crf else {}),
                'weights': hash_of_params(net), 'split': split,
                'net': hash_of('\n'.join(str(node.param) for node in net.graph.nodes)),
                'output': [self.output.blob, self.output.threshold], 'classes': self.classes,
                'device': net.options.device.type, 'precision': net.options.precision,
                'mean': None if mean is None else list(map(float, mean)),
                **({'views': words} if (words := words_of(self.source)) else {})}

    def run(self) -> dict[int, ImageScore]:
        """{k: score} of all images of all processes, in order. FcnError for files that cannot be
        read, when all others are done."""
        earlier = self.processes.by_first(self.partial.begin)
        scores = {k: score for k, (stamp, score) in sorted(earlier.items())
                  if k < self.total and self.still_good(k, stamp, score)}
        self.resumed = len(scores)
        if scores:
            print(f'{len(scores)} of {self.total} images were scored by an interrupted call, which '
                  'this one goes on with')
        mine = [k for k in self.processes.share(self.total) if k not in scores]
        new = self.over(mine)
        if faults := [fault for part in self.processes.gather(
                [fields_of(error) for error in self.faults]) for fault in part]:
            raise self.failed(faults, self.total - len(faults))
        for part in self.processes.gather(new):
            scores |= part
        self.draw_again(scores)
        return dict(sorted(scores.items()))

    def still_good(self, k: int, stamp: str, score: ImageScore) -> bool:
        """Whether an earlier call's score of an image holds: its files are as they were, and its
        label map is there if it is to be submitted."""
        return stamp == stamp_of(files_of(self.source, k)) and (
            self.submission is None or self.submission.path(score.id).is_file())

    def over(self, mine: Sequence[int]) -> dict[int, ImageScore]:
        """Run and score these images; {k: score}."""
        memory.reset_peak()
        if (gpu := self.net.options.gpu) is not None:
            torch.cuda.reset_peak_memory_stats(gpu)
        start, scores = time.perf_counter(), {}
        bar = tqdm(self.scored(mine), total=len(mine), unit='image', dynamic_ncols=True,
                   disable=None if self.processes.first else True)
        try:
            for done in bar:
                scores[done.k] = done.score
                self.partial.append(done.k, stamp_of(files_of(self.source, done.k)),
                                    done.score)
                self.draw(done)
                self.extremes.add(done)
        except KeyboardInterrupt:
            bar.close()
            print(f'stopped after {self.resumed + len(scores)} of {self.total} images; the same '
                  'command goes on from there')
            raise
        finally:
            self.partial.close()
        self.seconds = time.perf_counter() - start
        self.peak = memory.peak() if gpu is None else torch.cuda.max_memory_allocated(gpu)
        return scores

    def scored(self, mine: Sequence[int]) -> Iterator[Done]:
        """Run these images; each is scored while the next ones run."""
        waiting: deque = deque()
        threads = default_workers()
        with ThreadPoolExecutor(threads, 'scoring') as pool:
            for k in mine:
                try:
                    sample, prediction, seconds = checked(self.source, self.net, self.output, k)
                except FcnError as error:
                    if not self.is_of_data(error, k):
                        raise
                    self.faults.append(error)
                    continue
                waiting.append((k, sample, prediction, pool.submit(
                    self.score, sample, prediction, seconds)))
                if len(waiting) > 2 * threads:
                    yield result_of(*waiting.popleft())
            for each in waiting:
                yield result_of(*each)

    def score(self, sample: Sample, prediction: np.ndarray, seconds) -> ImageScore:
        """Score one image, and write its label map if it is to be submitted."""
        if self.submission is not None:
            self.submission.add(sample.id, prediction)
        return score_image(sample.id, sample.label, prediction, self.classes, self.stride, seconds)

    def is_of_data(self, error: FcnError, k: int) -> bool:
        """Whether an error is of the k-th sample's files, so that others may be good."""
        return str(error.file) in map(str, files_of(self.source, k))

    def failed(self, faults: Sequence[dict[str, Any]], good: int) -> FcnError:
        """The error for files that cannot be read."""
        print(f'{good} of {self.total} images are scored; the same command goes on with the others')
        first = FcnError(**faults[0])
        if len(faults) == 1:
            return first
        listed = '; '.join(f'{fault["file"]}: {fault["what"]}' for fault in faults[1:NAMED])
        more = f'; and {len(faults) - NAMED} more' if len(faults) > NAMED else ''
        return FcnError(f'{len(faults)} images or labels cannot be used: {first.file}: '
                        f'{first.what}; {listed}{more}', do='Repair them, or take '
                        'their ids out of the split; the others are scored already.')

    # Pictures

    def draw(self, done: Done) -> None:
        """Keep what is shown of an image, and draw it if it is to be drawn."""
        if done.k in self.wanted:
            sample = done.sample
            iu = image_metrics(done.score, self.classes)[1]
            row = make_row(sample.image, sample.label, done.prediction,
                           f'{sample.id}   mean IU {100 * iu:.1f}' if iu == iu else
                           f'{sample.id}   all void', self.source.data.colours)
            self.rows[done.k] = row
            save_rows([row], self.names, confined(self.out / 'pictures', f'{sample.id}.png', 'id'),
                      colours=self.source.data.colours)

    def draw_again(self, scores: Mapping[int, ImageScore]) -> None:
        """Run once more the images that are to be shown and that an earlier call has scored; only
        the first process."""
        extremes = {k for part in self.extremes.chosen(scores) for k in part}
        drawn, kept = (set().union(*self.processes.gather(set(those)))
                       for those in (self.rows, self.extremes.examples))
        missing = (self.wanted - drawn) | (extremes - kept)
        for k in sorted(missing & scores.keys()) if self.processes.first else ():
            sample, prediction, _ = checked(self.source, self.net, self.output, k)
            done = Done(k, sample, prediction, scores[k])
            self.draw(done)
            self.extremes.examples[k] = self.extremes.example(done)

    # The result

    def report(self, rule: str, weights: str, provenance: Mapping[str, Any]) -> Evaluation | None:
        """The Evaluation of all images, printed and written; None for a split without labels."""
        if self.processes.first:
            make_folder(self.out)
        found = self.run()
        if self.submission is not None and self.processes.first:
            self.submission.pack({score.id: score.size for score in found.values()})
            print(f'submission of {self.total} label maps, checked: {self.submission.archive}')
        if getattr(self.source.data, 'unlabelled', False):
            self.processes.by_first(self.partial.remove)
            return None
        evaluation = self.evaluation(found, rule, weights, provenance)
        if self.processes.first:
            show(evaluation, [row for _, row in sorted(self.rows.items())], self.out)
        self.processes.by_first(lambda: write_results(evaluation, self.out))
        self.processes.by_first(self.partial.remove)
        return evaluation

    def evaluation(self, scores: Mapping[int, ImageScore], rule: str, weights: str,
                   provenance: Mapping[str, Any]) -> Evaluation:
        """The Evaluation of all images; the same in all processes. FcnError if no pixel counts."""
        totals = Totals(self.classes).add(scores.values())
        if not totals.hist.any():
            self.processes.by_first(self.partial.remove)
        m, other = (metrics(totals.confusion, each) for each in (rule, other_rule(rule)))
        for part in self.processes.gather((self.rows, self.extremes.examples)):
            self.rows |= part[0]
            self.extremes.examples |= part[1]
        worst, best = self.extremes.chosen(scores)
        examples = self.extremes.examples
        data, options = self.source.data, self.net.options
        times = [score.seconds for score in scores.values()]
        wall = max(self.processes.gather(self.seconds))
        mean = getattr(data, 'mean', None)
        return Evaluation(
            m, totals.confusion, self.names, rule,
            float(metrics(totals.bound).mean_iu) if self.stride else None, self.stride,
            totals.by_distance(rule),
            [Image(score.id, score.size, *image_metrics(score, self.classes), score.seconds.net)
             for score in scores.values()],
            Times([t.net for t in times], [t.net + t.reading for t in times],
                  [t.net + t.waiting for t in times], 0. if self.resumed else wall),
            net=str(self.net.graph.file or ''), weights=weights, folder=str(folder_of(data)),
            split=str(getattr(getattr(data, 'reader', None), 'split', '')),
            fingerprint=data.fingerprint(), mean=mean, device=device_name(options.device),
            precision=options.precision, memory=max(self.processes.gather(self.peak)),
            warnings=doubts(mean, provenance, getattr(data, 'own_mean', None)),
            provenance=provenance, worst=[examples[k] for k in worst if k in examples],
            best=[examples[k] for k in best if k in examples], resumed=self.resumed, other=other,
            colours=data.colours, crf=self.crf.words if self.crf else '',
            views=views_of(self.source))


def views_of(source: Source) -> dict[str, Any]:
    """For Evaluation.views."""
    if not (words := words_of(source)):
        return {}
    assert isinstance(source, GivenSource)
    return {**source.segmenter.views.as_json(), 'words': list(words)}


def fields_of(error: FcnError) -> dict[str, Any]:
    """What an FcnError is made from, to send it to another process."""
    return {'what': error.what, 'do': error.do, 'code': error.code, 'facts': error.facts,
            'file': error.file, 'line': error.line, 'layer': error.layer, 'type': error.type}


def hash_of(text: str) -> str:
    """SHA-256 (hex) of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def device_name(device: torch.device) -> str:
    """The device in words: a GPU by its model."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else \
        f'{device.type}, {counted(torch.get_num_threads(), "thread")}'


def doubts(mean: Any, provenance: Mapping[str, Any], own: Any = None) -> list[str]:
    """Why the scores of a net may not be comparable with those of Caffe's. own: the mean of the
    data set's nets in the release, where that is another one than VGG16's."""
    found = []
    if mean is not None and not any(np.allclose(mean, known, rtol=0, atol=ROUNDED)
                                    for known in (MEAN, own) if known is not None):
        found.append(f'the mean pixel is {tuple(round(float(v), 3) for v in mean)}, that of the '
                     f"release's VGG16 nets {MEAN} (BGR): right only for weights that were trained "
                     'with it')
    if source := provenance.get('source') or provenance.get('converted_from'):
        found.append(f"the weights are not Caffe's: they were converted from {source}")
    return found
