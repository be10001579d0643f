"""Subject: solver, net, weights, data and log that are examined together; how they are found."""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from google.protobuf import text_format

from ..data.image import MEAN, VOID, to_blob
from ..data.voc import VocFolder
from ..errors import FcnError
from ..formats.weights import (
    FILLER,
    IGNORED,
    LayerCopy,
    Weights,
    counter,
    read_solverstate,
    read_weights,
)
from ..net.net import Net
from ..proto import TEST, TRAIN
from ..proto.dialects import Dialect, dialect_of
from ..proto.prototxt import NetText, SolverText, parse_net, parse_solver, read_net, read_solver
from ..recipe.finished import opened
from ..recipe.stages import SOLVER, STAGES, Stage, shipped
from ..recipe.starting import adapted, prepare
from ..report.caffelog import TrainingLog, read_log
from ..search import SearchPath
from ..solver.nets import train_net
from ..solver.snapshot_files import iteration, list_snapshots
from .anatomy import Anatomy, find_anatomy, origin, params
from .finding import DOUBT, FAULT, Finding

SAMPLES = 12                # passes of data that are looked at
SIDE = 500                  # of the images that stand for data which cannot be read
Search = Callable[[str | os.PathLike], SearchPath]
Overrides = Mapping[str, Mapping[str, Any]]


@dataclass
class Sources:
    """Where a Subject comes from. net, solver, weights, log: as given or found; None without one.
    own: whether the weights are a snapshot of this very solver, `iteration` its number. stage: of
    the recipe, if it is one. surgery: whether interp and zero scores come before the first
    iteration, as in the release's solve.py."""
    net: NetText
    solver: SolverText | None = None
    weights: Path | None = None
    log: Path | None = None
    own: bool = False
    iteration: int = 0
    length: int = 0
    stage: Stage | None = None
    surgery: bool = False
    overrides: Overrides = field(default_factory=dict)
    search: Search = SearchPath.of
    record: Mapping[str, Any] = field(default_factory=dict)
    voc: str | None = None


@dataclass(frozen=True)
class Sample:
    """The images (N, C, H, W) and the labels, of any shape with one for each position, of one
    forward pass; labels is None in a net without them."""
    images: torch.Tensor
    labels: torch.Tensor | None


class Subject:
    """What is examined. net: the net of training, with the weights that it would start its next
    iteration from; `rows` says how they were copied, [] without a file. findings: what was found
    while it was put together. unchecked: what could not be looked at, and why."""

    def __init__(self, sources: Sources):
        self.sources = sources
        self.findings: list[Finding] = []
        self.unchecked: list[str] = []
        self.solver = sources.solver
        self.text = sources.net
        self.has_data = True
        self.weights: Weights | None = None
        self.rows: list[LayerCopy] = []
        self.looks: list | None = None          # cache of outputs.looks
        self._net = self._build()
        self.fits = self._net is not None and self._load()

    @property
    def usable(self) -> bool:
        """Whether there is a net."""
        return self._net is not None

    @property
    def net(self) -> Net:
        """The net of training, or of inference."""
        assert self._net is not None
        return self._net

    @property
    def parameters(self) -> Any:
        """The SolverParameter."""
        assert self.solver is not None
        return self.solver.message

    @property
    def place(self) -> str:
        """The file of the solver, or of the net."""
        return str(self.solver.file if self.solver else self.text.file)

    @property
    def file(self) -> str:
        """The file of the weights."""
        return str(self.sources.weights or '')

    # ---- net and weights -------------------------------------------------------------------------

    def _build(self) -> Net | None:
        """The net, if need be with blank images in the place of its data; None where it cannot be
        made."""
        phase = self.text.message.state.phase if self.solver else TEST
        options: dict[str, Any] = {'search': self.sources.search(self.text.file), 'overrides': {
            name: dict(keys) for name, keys in self.sources.overrides.items()}}
        try:
            net = Net.of(self.text, phase, **options)
            self.has_data = any(not node.bottoms and node.type != 'Input'
                                for node in net.graph.nodes)
            return net
        except FcnError as error:
            self.has_data = False
            kind = 'the net or its data cannot be used'
            self.findings.append(Finding(
                DOUBT if self.sources.own else FAULT, 'unusable', kind, error.what,
                error.do or 'Correct it.', place_of(error)))
        try:
            return Net.of(without_data(self.text, phase), phase, **options)
        except FcnError:
            self.unchecked.append('the net')
            return None

    def _load(self) -> bool:
        """Copy the weights, and do the surgery; whether training would get as far."""
        path = self.sources.weights
        try:
            if path is not None:
                self.weights = read_weights(path, self.net.graph.dialect)
                if not self.sources.own:
                    self.weights = adapted(self.sources.stage or Stage(), self.weights, self.net)
                self.rows = self.net.copy_from(self.weights, in_order=self.sources.own)
            if self.sources.surgery and not self.sources.own:
                prepare(self.net, *self._surgeries())
        except FcnError as error:
            code = 'pytorch-file' if path and is_pytorch(path) else 'weights-misfit'
            do = error.do if code == 'weights-misfit' else \
                'Convert it to a caffemodel first; only a state dict of VGG16 can be.'
            self.findings.append(Finding(FAULT, code, 'the weights do not fit the net', error.what,
                                         do, place_of(error), {'file': str(path)}))
            return False
        return True

    def _surgeries(self) -> tuple:
        stage = self.sources.stage or Stage()
        surgeries = [each for each in stage.surgeries if each != 'label blocks' or self.has_data]
        return (surgeries, self.weights, stage.score_layers, stage.up_layers)

    @cached_property
    def fresh(self) -> set[str]:
        """Names of the layers that start from their filler."""
        if not self.rows:
            return {node.name for node in self.net.graph.nodes if params(self.net, node)}
        return {row.layer for row in self.rows if row.action == FILLER}

    @cached_property
    def ignored(self) -> dict[str, tuple[int, ...]]:
        """{layer of the file that the net lacks: shape of its first blob}."""
        names = {row.layer for row in self.rows if row.action == IGNORED}
        return {layer.name: tuple(layer.blobs[0].shape) for layer in (
            self.weights.layers if self.weights else ()) if layer.name in names and layer.blobs
            and layer.blobs[0] is not None}

    @cached_property
    def anatomy(self) -> Anatomy:
        return find_anatomy(self.net)

    @property
    def scribbled(self) -> bool:
        """Whether a loss without targets learns from the pixels that no label has."""
        return any(self.net.layer(node).unsupervised for node in self.net.graph.nodes)

    # ---- data ------------------------------------------------------------------------------------

    @cached_property
    def samples(self) -> list[Sample]:
        """The first passes' images and labels; [] without data. An error of reading is one of the
        findings."""
        net, anatomy = self.net, self.anatomy
        if anatomy.data is None:
            return []
        if self.solver is None and self.sources.voc:
            return list(of_folder(self.sources.voc))
        if not self.has_data:
            return []
        graph = net.graph
        values = [anatomy.data]
        if anatomy.label is not None:
            values.append(origin(net, anatomy.label))
        names = [graph.values[v] for v in values]
        last = max((graph.producer(v) for v in values), key=graph.nodes.index)
        before, found = net.state.position, []
        try:
            for k in range(SAMPLES):
                net.seek(k)
                with torch.inference_mode():
                    blobs = net.forward(names, stop_after=last.name)
                found.append(Sample(*(blobs[name].clone() for name in names),
                                    *[None] * (2 - len(names))))
        except FcnError as error:
            self.has_data = False
            self.findings.append(Finding(FAULT, 'unreadable-data', 'a sample cannot be used',
                                         error.what, error.do, place_of(error)))
        finally:
            net.seek(before)
        return found

    @cached_property
    def pixels(self) -> float:
        """Positions with a label in an image, the mean over the samples; without samples those of
        the scores."""
        net, score = self.net, self.anatomy.score
        counts = [counting(sample.labels, self.ignore).numel() / len(sample.images)
                  for sample in self.samples if sample.labels is not None]
        if counts and sum(counts):
            return sum(counts) / len(counts)
        return 1.0 if score is None else math.prod(net.shapes[score][2:])

    @cached_property
    def ignore(self) -> int | None:
        """The label that the loss ignores."""
        loss = self.anatomy.loss
        if loss is None:
            return VOID
        if not loss.param.loss_param.HasField('ignore_label'):
            return None
        return loss.param.loss_param.ignore_label

    # ---- the log ---------------------------------------------------------------------------------

    @cached_property
    def log(self) -> TrainingLog | None:
        """The log of training, if there is one with losses."""
        path = self.sources.log
        if path is None:
            return None
        try:
            return read_log(path)
        except FcnError as error:
            self.unchecked.append(f'the log ({error.what})')
            return None


def of_folder(voc: str) -> Iterator[Sample]:
    """The first samples of the split val of a folder in VOC's layout, less Caffe's mean."""
    reader = VocFolder(voc, 'val')
    for sample in (reader.load(i) for i in range(min(SAMPLES, len(reader)))):
        yield Sample(torch.from_numpy(to_blob(sample.image, MEAN))[None],
                     torch.from_numpy(sample.label.astype('float32'))[None, None])


def counting(labels: torch.Tensor, ignore: int | None) -> torch.Tensor:
    """The labels that count, flat."""
    flat = labels.flatten()
    return flat if ignore is None else flat[flat.long() != ignore]


def place_of(error: FcnError) -> str:
    """Where an error is."""
    layer = f"layer '{error.layer}'" if error.layer else ''
    file = str(error.file or '') + (f':{error.line}' if error.line else '')
    return ': '.join(filter(None, [file, layer]))


def is_pytorch(path: Path) -> bool:
    """Whether a file begins as torch.save's do."""
    try:
        with open(path, 'rb') as file:
            start = file.read(4)
    except OSError:
        return False
    return start == b'PK\x03\x04' or (start[:1] == b'\x80' and start[1:2] in b'\x02\x03\x04\x05')


def without_data(text: NetText, phase: int) -> NetText:
    """The net with Input layers in the place of those that read data: images of the crop's size, or
    of SIDE, and a label for each pixel."""
    message = type(text.message)()
    message.CopyFrom(text.message)
    for layer in message.layer:
        if not layer.bottom and layer.top and layer.type not in ('Input', 'DummyData'):
            side = layer.transform_param.crop_size or SIDE
            tops, rules = list(layer.top), (list(layer.include), list(layer.exclude))
            name = layer.name
            layer.Clear()
            layer.name, layer.type = name, 'Input'
            layer.top.extend(tops)
            layer.include.extend(rules[0])
            layer.exclude.extend(rules[1])
            for k, top in enumerate(tops):
                shape = layer.input_param.shape.add()
                shape.dim.extend((1, 1 if k or 'label' in top else 3, side, side))
    return replace(text, message=message)


# ---- finding the sources -------------------------------------------------------------------------

def of_run(folder: str | Path, voc: str | None = None, weights: str | Path | None = None,
           runs: str | Path = 'runs') -> Subject:
    """The Subject of a run's folder: the net and the solver that its newest state records, its
    newest weights, its log. FcnError where there is no run."""
    path = Path(folder) if os.path.isdir(folder) else Path(runs, folder)
    if path.is_dir() and not weights and not list_snapshots(path) and begun(path):
        return of_begun(path, voc, runs)
    run = opened(folder, runs)
    states = list_snapshots(run.folder, 'solverstate')
    state = read_solverstate(states[-1]) if states else None
    texts = state.texts if state else {}
    beside = run.prototxt / SOLVER
    overrides = recorded_overrides(texts.get('data', ''))
    if 'solver' in texts and 'train net' in texts:
        named = str(run.extra['dialect']) if run.extra.get('dialect') else None
        solver = parse_solver(texts['solver'], str(beside), named)
        net = parse_net(texts['train net'], str(run.prototxt / 'train.prototxt'), named)
    else:
        solver = read_solver(beside)
        net = train_net(solver, SearchPath.beside(beside))
    net.message.state.phase = TRAIN
    log = run.folder / 'train.log'
    return Subject(Sources(
        net, solver, Path(weights or run.weights), log if log.is_file() else None,
        own=weights is None, iteration=run.iteration if weights is None else 0, length=run.length,
        stage=run.stage, surgery=True, overrides=overrides_of(voc, overrides),
        record=run.extra))


def begun(folder: Path) -> bool:
    """Whether a folder without weights is that of a run which ended before its first snapshot."""
    return (folder / 'train.log').is_file() or (folder / 'net' / SOLVER).is_file()


def of_begun(folder: Path, voc: str | None, runs: str | Path) -> Subject:
    """The Subject of a run that ended before its first snapshot, by the solver of its nets or its
    stage; its weights are those of the parent's run, if that is there. FcnError where there is no
    solver."""
    name = folder.resolve().name
    own = folder / 'net' / SOLVER
    if not own.is_file() and name not in STAGES:
        raise FcnError('the run has no weights, no solver, and the name of no stage',
                       file=str(folder), code='no-weights', do='Give its solver instead.')
    sources = of_solver(own if own.is_file() else shipped(name) / SOLVER, None)
    sources.stage = STAGES.get(name, sources.stage)
    sources.surgery, sources.overrides = True, overrides_of(voc, {})
    parent = Path(runs, sources.stage.parent) if sources.stage and sources.stage.parent else None
    found = list_snapshots(parent) if parent else []
    sources.weights = found[-1] if found else None
    log = folder / 'train.log'
    sources.log = log if log.is_file() else None
    return Subject(sources)


def of_files(solver: str | Path | None = None, net: str | Path | None = None,
             weights: str | Path | None = None, voc: str | None = None,
             log: str | Path | None = None, surgery: bool = False,
             dialect: Dialect | str | None = None,
             define: Mapping[str, object] = MappingProxyType({})) -> Subject:
    """The Subject of files: a solver (its train net, the weights that it names), or a net alone,
    which is read as one for inference. net, weights: in the place of the solver's own. voc: the
    folder in the place of that which data layers of VOC's layout name. surgery: bilinear weights
    and zero scores come before the first iteration, as in the release's solve.py; of a stage of the
    recipe they do in any case. dialect, define: of solver and net, as for read_net. FcnError where
    neither is given, and for a file that cannot be read."""
    if solver is None and net is None:
        raise FcnError('neither a solver nor a net', do='Give the folder of a run, a solver, or a '
                       'net with weights.', code='nothing-to-examine')
    if solver is not None:
        sources = of_solver(Path(solver), net, dialect, define)
    else:
        sources = Sources(read_net(str(net), dialect, define, counter(weights)))
    sources.surgery, sources.log = sources.surgery or surgery, Path(log) if log else None
    sources.overrides = overrides_of(voc, {})
    sources.voc = voc
    sources.weights = Path(weights) if weights else sources.weights
    if sources.weights is not None:
        name = sources.weights.name
        sources.iteration = iteration(name) if '_iter_' in name else 0
        if not sources.weights.is_file():
            raise FcnError('there is no such file', file=str(sources.weights),
                           do='Give the path of the weights.')
    return Subject(sources)


def of_solver(path: Path, net: str | Path | None, dialect: Dialect | str | None = None,
              define: Mapping[str, object] = MappingProxyType({})) -> Sources:
    """The Sources of a solver's file; net: in the place of its own."""
    solver, stage = read_solver(path, dialect, define), stage_of(path)
    search = SearchPath.beside if stage else SearchPath.of
    text = read_net(net, dialect, define) if net else train_net(solver, search(path))
    text.message.state.phase = TRAIN

    def both(file: str | os.PathLike) -> SearchPath:
        return SearchPath(tuple(dict.fromkeys((*search(file).folders, *search(path).folders))))
    found = Sources(text, solver, stage=stage, surgery=stage is not None, search=both)
    if solver.message.weights:
        named = solver.message.weights[-1].split(',')[-1].strip()
        found.weights = search(path).find(named, 'file', 'weights')
    return found


def stage_of(solver: Path) -> Stage | None:
    """The stage whose shipped solver a file is."""
    name = solver.resolve().parent.name
    same = name in STAGES and solver.resolve().parent == shipped(name).resolve()
    return STAGES[name] if same else None


def overrides_of(voc: str | None, recorded: Overrides) -> Overrides:
    """The recorded overrides of data layers, with this VOC folder in all that take one."""
    from ..data import python_layers
    return {layer.__name__: {**recorded.get(layer.__name__, {}),
                             **({layer.options['voc']: voc} if voc and 'voc' in layer.options
                                else {})}
            for layer in python_layers.values()}


def recorded_overrides(text: str) -> Overrides:
    """The overrides that a state records, lines 'LAYER.param: value'."""
    found: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(': ')
        layer, _, key = name.partition('.')
        found.setdefault(layer, {})[key] = int(value) if value.isdecimal() else value
    return found


def mean_of(subject: Subject) -> tuple[float, ...] | None:
    """The mean pixel that the data layers of the images subtract; None where they name none."""
    net, value = subject.net, subject.anatomy.data
    if value is None:
        return None
    name = net.graph.producer(value).name
    layer = next((each for each in subject.text.message.layer if each.name == name), None)
    if layer is None:
        return None
    if layer.transform_param.mean_value:
        return tuple(layer.transform_param.mean_value)
    try:
        mean = ast.literal_eval(layer.python_param.param_str or '{}').get('mean')
    except (ValueError, SyntaxError, AttributeError):
        return None
    return tuple(map(float, mean)) if isinstance(mean, tuple | list) else None


def text_of(solver: SolverText, net: NetText) -> SolverText:
    """A solver of one text, in the dialect of its net, that holds the net, and neither tests, nor
    logs, nor writes."""
    message = type(solver.message)()
    message.CopyFrom(solver.message)
    for name in ('net', 'train_net', 'net_param', 'test_net', 'test_net_param', 'test_iter',
                 'test_interval', 'test_state', 'train_state', 'weights', 'display', 'snapshot'):
        message.ClearField(name)
    text = (f'{text_format.MessageToString(message)}train_net_param {{\n'
            f'{text_format.MessageToString(net.message)}}}\n')
    return parse_solver(text, solver.file, dialect_of(net.message))


CAFFE_MEAN = MEAN
