"""Run: one training run of a stage, its folder, its parent, and how far it has got."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from ..data import parse_params, python_layers
from ..data.check import check_folder
from ..data.miniatures import folder_of, make_miniature
from ..data.scenes import make_scenes
from ..data.scribbles import make_scribbled_scenes
from ..data.voc import VocFolder
from ..data.weighing import RULES, weights_by
from ..errors import FcnError, nearest
from ..files import read_regular
from ..formats.atomic import make_folder, write_text
from ..formats.weights import read_extra
from ..lock import holder, named
from ..net.net import Net
from ..predict.labels import val_file
from ..proto import TEST
from ..proto.dialects import find_dialect
from ..proto.prototxt import NetText, SolverText, filter_net, read_solver
from ..search import SearchPath
from ..sizes import LARGEST
from ..solver.nets import train_net
from ..solver.snapshot_files import iteration, list_snapshots
from .folders import newest_state, newest_weights, recorded_folder, recorded_length, same_text
from .models import MODELS, Model
from .optimisations import Optimisations
from .options import (
    AGAINST,
    AUTO,
    FOLDERS,
    NEWEST,
    NONE,
    Options,
)
from .rate_rule import Batches, divided, per, rescaled, sums_the_batch
from .stages import ON, SHORT, SLOW, STAGES, Stage, shipped
from .teacher import Losses, Teacher

CROPS = 'recolour', 'rotate'        # options of the crops of one's own data
OWN_RECIPE = "the stage's own"

# ---- a run ---------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Run:
    """One training run: a stage, by name, under options. It answers questions and changes nothing,
    but for make_data() and write_prototxt()."""

    name: str
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'name', SHORT.get(self.name, self.name))

    @property
    def stage(self) -> Stage:
        """The stage; FcnError if there is none of this name."""
        if self.name not in STAGES:
            raise FcnError(f"unknown stage '{self.name}'",
                           do=nearest(self.name, STAGES) or f'Use one of {", ".join(STAGES)}.')
        return STAGES[self.name]

    # What was asked for

    @property
    def distilled(self) -> bool:
        """Whether it learns from a teacher: as its stage does, or because one is given."""
        return self.stage.distilled or self.options.teacher is not None

    @property
    def losses(self) -> Losses | None:
        """The losses against a teacher; None for none, and for a run without a teacher."""
        if not self.distilled:
            return None
        return Losses(**{name: value for name in AGAINST
                         if (value := getattr(self.options, name)) is not None}) or None

    @cached_property
    def teacher(self) -> Teacher | None:
        """The teacher; None for a run that has none. FcnError for one that is not there."""
        return Teacher.given(self.options.teacher, self.options.runs) \
            if self.losses and self.options.teacher is not None else None

    @property
    def weighs_by_matrix(self) -> bool:
        """Whether its nets have Caffe's own loss for class weights, InfogainLoss, by the option
        that the stage takes; all others have SoftmaxWithLoss with weights."""
        return 'class_weights' in self.stage.takes

    @property
    def solver_file(self) -> Path:
        """The shipped solver of that name; or, where there is none, the user's own file."""
        return self.solver_of(shipped(self.name))

    def solver_of(self, prototxt: Path) -> Path:
        """The solver in the folder `prototxt`, or the user's own file of that path."""
        own = Path(self.options.solver)
        named = own.name == self.options.solver         # and not a path
        return own if os.path.isfile(own) and not (named and os.path.isfile(prototxt / own)) \
            else prototxt / own

    def search(self, prototxt: Path) -> Callable[[str | PathLike], SearchPath]:
        """Where the relative paths of the solver and its nets are looked for. The stage's own
        texts lie in `prototxt`; one of the user's begins at the working directory, as in Caffe, and
        may name the stage's nets."""
        if self.solver_of(prototxt).parent == prototxt:
            return SearchPath.beside
        return lambda file: SearchPath((*SearchPath.of(file).folders, prototxt))

    @property
    def max_iter(self) -> int:
        """The iteration to train to."""
        return self.options.iterations or \
            self.solver_text(shipped(self.name)).message.max_iter

    # Batches and samples of an iteration

    @cached_property
    def batches(self) -> tuple[Batches, Batches] | None:
        """(the stage's own, those asked for) where the options `batch` and `samples` make another
        recipe of it; None for the stage's own. FcnError for those that it does not take."""
        options = self.options
        if not (options.batch or options.samples):
            return None
        solver, net = self.solver_and_net(shipped(self.name))
        layers = [layer.python_param for layer in net.message.layer if layer.type == 'Python']
        classes = [python_layers.get((param.module, param.layer)) for param in layers]
        name = 'batch' if options.batch else 'samples'
        if len(classes) != 1 or classes[0] is None or \
                (options.batch and classes[0].batch_param is None):
            raise FcnError(f"the stage {self.name} takes no '{name}': its train net's data layer "
                           'has batches of its own', file=net.file, code='option-not-taken',
                           facts={'stage': self.name, 'option': name}, do=f'Leave out {name}.')
        batch = parse_params(layers[0].param_str).get('batch_size', classes[0].batch_size)
        passes = solver.message.iter_size
        if type(batch) is not int or batch < 1 or passes < 1:
            raise FcnError(f'the stage has passes of {batch!r} images and iter_size {passes}',
                           file=solver.file, do='Give whole numbers of at least 1.')
        own = Batches(batch, batch * passes)
        new = divided(own, options.batch, options.samples, options.processes)
        return (own, new) if new != own else None

    @property
    def recipe(self) -> str:
        """The recipe's words for snapshots: another one has its batches, class weights or
        crops, or is that of several processes."""
        words = str(self.batches[1]) if self.batches else OWN_RECIPE + self.multiplied
        weights = self.options.class_weights
        words += f', class weights {weights}' if weights else ''
        words += f', {self.options.method.words}' if self.options.method.changes else ''
        if self.teacher is not None and self.losses is not None:
            words += f', teacher {self.teacher.digest[:12]}, {self.losses.words}'
        words += f', dialect {find_dialect(fork).name}' if (fork := self.options.dialect) else ''
        words += ''.join(f', {name}={value}' for name, value in self.options.define.items())
        return words + ''.join(f', {name} {value:g}' for name in CROPS
                               if (value := getattr(self.options, name)) is not None)

    @property
    def multiplied(self) -> str:
        """What several processes change about the stage's own recipe, in words: each makes all
        passes of the solver, as in Caffe. '' where they do not, as `samples` and `batch` say what
        an iteration has."""
        count, options = self.options.processes, self.options
        return '' if count == 1 or options.batch or options.samples else \
            f' by {count} processes: {count} times its samples an iteration, at its rates'

    @property
    def passes_in_all(self) -> int:
        """Forward passes of an iteration, over all processes."""
        passes = self.solver_text(shipped(self.name)).message.iter_size
        return passes * self.options.processes if self.multiplied else passes

    def as_recorded(self, snapshot: Path) -> 'Run':
        """This run with the number of processes whose recipe a snapshot of it has: however many go
        on, an iteration keeps its samples."""
        count = read_extra(snapshot).get('processes', 1)
        if type(count) is not int or not 1 <= count <= LARGEST:
            raise FcnError(f'{count!r:.100} processes are recorded', file=str(snapshot),
                           do='The file is damaged: use another snapshot.')
        return replace(self, options=replace(self.options, processes=count))

    def written_solver(self, prototxt: Path) -> SolverText:
        """The solver as it is written, in the dialect that the options name."""
        return read_solver(self.solver_of(prototxt), self.options.dialect, self.options.define)

    def solver_and_net(self, prototxt: Path) -> tuple[SolverText, NetText]:
        """The solver as it is written, and the layers of its train net."""
        solver = self.written_solver(prototxt)
        net = train_net(solver, self.search(prototxt)(solver.file))
        return solver, filter_net(net, net.message.state.phase, net.message.state.level)

    def solver_text(self, prototxt: Path) -> SolverText:
        """The solver that trains the run: as it is written, or, for another recipe, by the rate
        rule and the method."""
        method = self.options.method
        if self.batches is None and not method.changes:
            return self.written_solver(prototxt)
        solver, net = self.solver_and_net(prototxt)
        if self.batches is not None:
            own, new = self.batches
            summed = new.batch != own.batch and sums_the_batch(net)
            solver = replace(solver, message=rescaled(solver.message, own, new, summed))
        return method.solver(solver, net)

    @property
    def score_every(self) -> int:
        """Iterations between scores of the val set, 0 for none."""
        every = self.stage.score_every
        if self.batches and every:
            own, new = self.batches
            return per(every, new.growth(own))
        return every

    @property
    def train_overrides(self) -> dict[str, dict[str, Any]]:
        """The options' overrides for the train net: also the batch of another recipe, which val
        nets, scored image by image, do not take."""
        overrides = self.options.overrides
        if self.batches and self.batches[0].batch != self.batches[1].batch:
            for layer in python_layers.values():
                if layer.batch_param is not None:
                    overrides[layer.__name__][layer.batch_param] = self.batches[1].batch
        return overrides

    @cached_property
    def model(self) -> Model | None:
        """The stage's model for a data set of the user's own; None if the shipped files serve.

        A summed loss keeps base_lr x pixels, for which the size of the first val image counts;
        crops and nets for images of one size are made for the largest sides of the val images."""
        options = self.options
        if options.own_voc is None:
            return None
        data = VocFolder(options.own_voc, 'val')
        crops = {name: value for name in CROPS if (value := getattr(options, name)) is not None}
        height, width, _ = data.image(0).shape
        found = check_folder(options.own_voc)
        heights, widths = zip((height, width), *found.sizes_of('val'), strict=True)
        classes = options.classes
        if classes is None and self.stage.counts_classes:
            classes = found.classes
        model = MODELS[self.name].on_data(classes=classes, voc_dir=os.path.abspath(options.own_voc),
                                          val_images=len(data), pixels=height * width,
                                          size=(max(heights), max(widths)), **crops)
        if options.class_weights and self.weighs_by_matrix:
            weights = options.check_class_weights(classes)
            pixels = found.pixels_of('train')
            model = replace(model, class_weights=weights or tuple(weights_by(
                str(options.class_weights), pixels.first(model.settings['classes'])).tolist()))
        if options.weights == NONE and self.stage.zero_fillers:
            model = replace(model, settings={**model.settings, 'weight_filler': {'type': 'msra'}})
        return model

    @property
    def parent(self) -> 'Run | None':
        """The run that this one starts from, of several streams the first one's; None for a stage
        without a parent."""
        return next(iter(self.parents), None)

    @property
    def parents(self) -> tuple['Run', ...]:
        """The runs that this one starts from: one, or one for each of its streams.

        The control `on` trains the stage's own result on; at the paper's rates (`slow`) the parent
        has them as well. A classifier has data of its own."""
        if self.options.solver == ON:
            names = [self.name]
        else:
            names = [name for name, _ in self.stage.streams] or [self.stage.parent or '']
        return tuple(self._parent(name) for name in names if name)

    def _parent(self, name: str) -> 'Run':
        options = self.options
        inherited = Options(seed=options.seed, device=options.device, keep=options.keep,
                            mnist=options.mnist, runs=options.runs, workers=options.workers)
        if options.solver == SLOW and (shipped(name) / SLOW).exists():
            inherited = replace(inherited, solver=SLOW)
        if not STAGES[name].classifier:
            folders = {folder: getattr(options, folder) for folder in FOLDERS}
            inherited = replace(inherited, **folders, classes=options.classes)
        return Run(name, inherited)

    # What is in its folder

    @property
    def folder(self) -> Path:
        """runs/STAGE, followed by the names of another solver, of other data and of another
        recipe."""
        options = self.options
        variant = Path(options.solver).stem.removeprefix('solver').replace('_', '-')
        variant = variant and f"-{variant.lstrip('-')}"
        variant += '-mnist' * bool(options.mnist) + '-published' * bool(options.m2nist)
        variant += '-weighted' * bool(options.class_weights) + options.method.suffix
        if self.name in STAGES and self.distilled:
            variant += '-taught' * (not self.stage.distilled)
            variant += (self.losses or Losses(0, 0)).suffix
        if options.out is None and self.batches:
            own, new = self.batches
            variant += f'-batch{new.batch}' * (new.batch != own.batch)
            variant += f'-samples{new.samples}' * (new.passes != own.passes)
        return Path(options.out or Path(options.runs, self.name + variant))

    @property
    def prototxt(self) -> Path:
        """The folder of its prototxt files: its own if they were written for it, else the shipped
        ones."""
        own = self.folder / 'net'
        return own if os.path.exists(own) else shipped(self.name)

    def snapshots(self, kind: str = 'caffemodel') -> list[Path]:
        """Its snapshots, oldest first; kind: caffemodel or solverstate."""
        return list_snapshots(self.folder, kind)

    def newest_weights(self) -> Path:
        """Its latest weights; FcnError if it has none."""
        return newest_weights(self.folder)

    def newest_state(self) -> Path:
        """Its latest solver state; FcnError if it has none."""
        return newest_state(self.folder)

    @property
    def length(self) -> int:
        """The iteration that the run in the folder was to reach, as its weights record."""
        return recorded_length(read_extra(self.newest_weights())) or self.max_iter

    @property
    def finished(self) -> Path | None:
        """The weights of a run that reached its end, else None."""
        found = self.snapshots()
        return found[-1] if found and iteration(found[-1]) >= self.length else None

    @property
    def stopped(self) -> bool:
        """Whether it ended before its last iteration and can be resumed."""
        return bool(self.snapshots('solverstate')) and self.finished is None

    def complete(self) -> Path | None:
        """The weights of a run that reached max_iter; None without a run.

        FcnError for a run in between, which is neither overwritten nor resumed without being asked
        for. Weights without a solver state, left by a run that was killed between writing the two,
        do not count as a run."""
        found, states = self.snapshots(), self.snapshots('solverstate')
        if found and iteration(found[-1]) >= self.max_iter:
            return found[-1]
        if not states:
            return None
        raise FcnError(f'this run stopped at iteration {iteration(states[-1])} of {self.max_iter}',
                       file=str(self.folder), code='run-stopped', facts={'stage': self.name},
                       do="Give restore='newest' to resume it, or fresh=True to start anew.")

    def check_data(self) -> None:
        """FcnError if the run in the folder has another VOC folder than these options: its weights
        would be scored, or trained further, on data that they are not for."""
        written = self.folder / 'net' / 'val.prototxt'      # there if nets were written for the run
        recorded, wanted = None, self.options.own_voc
        if os.path.exists(written) and not same_text(written, shipped(self.name) / written.name):
            recorded = recorded_folder(written)
        same = (recorded and Path(recorded).resolve()) == (wanted and Path(wanted).resolve())
        if self.snapshots() and not same:
            given = f'not {wanted}' if wanted else 'and no folder of data is given'
            has = recorded or 'the data of the shipped nets'
            raise FcnError(f'the run here has {has}, {given}', file=str(self.folder),
                           code='run-differs',
                           do='Give another folder as out, or fresh=True to set it aside.')

    def weights_for(self, child: str) -> Path:
        """Its weights, for the stage `child` to start from; FcnError if it is missing, stopped or
        going on, or has other data."""
        weights, facts = self.finished, {'stage': self.name}
        if other := holder(self.folder):
            states = self.snapshots('solverstate')
            far = f' at iteration {iteration(states[-1])} of {self.length}' if states else ''
            raise FcnError(f'{child} starts from {self.name}, whose run is going on{far}: '
                           f'{named(other)}', file=str(self.folder), code='parent-running',
                           facts=facts, do='Wait until it ends, or give a file as weights.')
        if self.stopped:
            state = self.snapshots('solverstate')[-1]
            raise FcnError(f'{child} starts from {self.name}, whose run stopped at iteration '
                           f'{iteration(state)} of {self.length}', file=str(self.folder),
                           code='parent-stopped', facts=facts | {'weights': self.snapshots()[-1]},
                           do="Resume it with restore='newest', or start from it as it is with "
                              f"weights='{self.snapshots()[-1]}'.")
        if weights is None:
            raise FcnError(f'{child} starts from {self.name}, which has not been trained',
                           file=str(self.folder), code='parent-missing', facts=facts,
                           do='Train it first, or give a file as weights.')
        self.check_data()
        return weights

    # What it needs

    def make_data(self) -> None:
        """Generate the scenes that the stage's prototxt names, unless they are there already."""
        if self.stage.miniature:
            make_miniature(self.stage.miniature, folder_of(self.stage.miniature))
        if self.stage.scenes and not self.options.voc:
            make_scenes(self.options.scenes, mnist=self.options.mnist)
            if self.stage.scribbles:
                make_scribbled_scenes()

    def write_prototxt(self) -> Path:
        """Write the nets for a data set of the user's own, for another method, or with a teacher,
        into the folder, and return the folder of the prototxt files. Those that an earlier run was
        made with stay."""
        if self.model is None and not self.rewritten and self.teacher is None:
            return shipped(self.name)
        folder = self.folder / 'net'
        if self.snapshots('solverstate') and os.path.exists(folder):
            return folder
        if self.model is not None:
            self.model.write(folder)
        else:
            make_folder(folder)
            for text in sorted(shipped(self.name).glob('*.prototxt')):
                write_text(read_regular(text, 'a prototxt').decode(), folder / text.name)
        if self.rewritten:
            weights = None if self.weighs_by_matrix else self.options.class_weights
            numbers = None if weights in RULES else self.options.check_class_weights()
            self.options.method.write(folder, self.stage.score_layers, self.options.overrides,
                                      numbers if weights and numbers else weights or ())
        if self.teacher is not None and self.losses is not None:
            self.teacher.write(folder, self.losses)
        return folder

    @property
    def rewritten(self) -> bool:
        """Whether its train nets are others than those of the stage or of its model: by the method,
        or by class weights in SoftmaxWithLoss."""
        return self.options.method.changes or bool(
            self.options.class_weights and not self.weighs_by_matrix)

    @property
    def surgeries(self) -> tuple[str, ...]:
        """The stage's, but for zero score layers where they are to be random."""
        return tuple(each for each in self.stage.surgeries
                     if each != 'zero scores' or not self.options.method.random_scores)

    def val_net(self, prototxt: Path | None = None) -> Net:
        """The val net on this data, from the files in `prototxt` (by default self.prototxt)."""
        return Net.read(val_file(prototxt or self.prototxt), TEST,
                        passes=Optimisations(self.options.no_opt).passes,
                        overrides=self.options.overrides, writes=self.options.writes)

    def state_to_restore(self) -> Path | None:
        """The solver state that `restore` asks for; None if it is not given, or if it is the
        parent's stopped run that it is to resume. FcnError if there is no state, and if the run has
        a later one than that given, which would be taken for its newest."""
        restore, states = self.options.restore, self.snapshots('solverstate')
        if restore is None or (restore == AUTO and (
                not states or iteration(states[-1]) >= self.max_iter)):
            return None
        if restore not in (NEWEST, AUTO):
            later = [path for path in states if iteration(path) > iteration(restore)]
            if later:
                raise FcnError(f'this run has a later snapshot, of iteration '
                               f'{iteration(later[-1])}, which would be taken for its newest',
                               file=str(self.folder), code='later-snapshot',
                               do='Give another folder as out, or move the later snapshots away.')
            return Path(restore)
        if not (states or self.options.weights) and any(p.stopped for p in self.parents):
            return None
        return self.newest_state()


