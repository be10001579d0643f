"""Options of a training run: what a user can change about a stage."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data import python_layers
from ..data.prefetch import check_workers
from ..data.scenes import FOLDER, MNIST_FOLDER
from ..data.weighing import BALANCED, MEDIAN, RULES
from ..errors import FcnError, short
from ..paths import as_path, confined
from ..proto.dialects import Dialect
from ..sizes import LARGEST
from .method import OWN, Method
from .stages import SOLVER

NEWEST = 'newest'       # as `restore`: the latest solver state of the run
AUTO = 'auto'           # as `restore`: that, or the beginning if there is none yet
NONE = 'none'           # as `weights`: random ones
MOST_WEIGHT = 1e4       # of a class
RELEASE_SEED = 1337     # of the order of samples in the release
PUBLISHED = 'nyud', 'siftflow', 'context', 'pascal'    # folders of the paper's other data sets
AGAINST = 'pixel_wise', 'pair_wise'     # options that weigh the losses against a teacher
FOLDERS = 'voc', 'sbd', 'mnist', 'm2nist', *PUBLISHED   # options that are folders of data


def own_data_alone(name: str) -> FcnError:
    """The error of an option that needs a data set of the user's own."""
    return FcnError(f'{name} is for a data set of your own', code='own-data-alone',
                    facts={'option': name.replace('_', '-')},
                    do='Give its folder as voc, without sbd.')


@contextmanager
def placed(option: str, kind: str) -> Iterator[None]:
    """Give an FcnError about an option's value the code bad-KIND, and the option as a fact."""
    try:
        yield
    except FcnError as error:
        raise FcnError(error.what, do=error.do, code=f'bad-{kind}',
                       facts={'option': option}) from None


@dataclass(frozen=True)
class Options:
    """Options of a training run. FcnError for values that make no sense, whatever the stage.

    voc, sbd: folder laid out as VOC's, and SBD's dataset folder; classes: number of classes of a
    data set other than VOC's; class_weights: of the loss of training on it, 'balanced' or 'median'
    by the pixels of each class (data/weighing.py), or one number for each class, with commas
    between them, also on the data of the stage itself where it is no own net; mnist: folder of
    MNIST's IDX files, to draw these digits; m2nist: folder of the published scenes. nyud, siftflow,
    context: folders of NYUDv2, SIFT Flow and PASCAL-Context in their original layouts; pascal: the
    one that VOC2010 is in, for PASCAL-Context's images. recolour: the
    fraction of crops whose colours are rotated, in place of the stage's own; rotate: the largest
    angle, in degrees, by which crops are turned either way. method: what else
    of the training differs from the stage's own (method.py). teacher: the folder of a finished run,
    its name below `runs`, or NET,WEIGHTS, that the net learns from; pixel_wise, pair_wise: weights
    of the losses against it (distillation.py), 0 for none. weights: a file, or 'none' to start from
    random ones. out: the run's folder; runs: the folder of all runs, in which it is named after the
    stage. solver: file name in the stage's prototxt folder, or the path of another. iterations: in
    place of its max_iter. batch: images of one size per forward pass, and samples: per iteration,
    over all of its passes, in place of the stage's own; either makes another recipe by the rate
    rule (rate_rule.py). processes: how many train together. seed: in place of its random_seed, and
    of the order of samples. restore: a .solverstate.h5, 'newest', or 'auto' (newest, if there is
    one); force: restore it even if solver, net or data have changed; fresh: set an earlier run
    aside. keep: number of snapshots to keep. pictures: number of pictures of the val set. workers:
    threads that read data ahead, None for a few. device, precision: of placement.place. no_opt:
    optimisations (optimisations.NAMES) to switch off. writes: folders in which layers may write, as
    for Net. dialect, define: of the solver and its nets, where `solver` is the path of another, as
    for read_net. verbose: print what happened to every layer's weights.
    """
    voc: str | None = None
    sbd: str | None = None
    classes: int | None = None
    class_weights: str | None = None
    mnist: str | None = None
    m2nist: str | None = None
    nyud: str | None = None
    siftflow: str | None = None
    context: str | None = None
    pascal: str | None = None
    recolour: float | None = None
    rotate: float | None = None
    method: Method = OWN
    teacher: str | None = None
    pixel_wise: float | None = None
    pair_wise: float | None = None
    weights: str | None = None
    out: str | None = None
    runs: str = 'runs'
    solver: str = SOLVER
    iterations: int | None = None
    batch: int | None = None
    samples: int | None = None
    processes: int = 1
    seed: int | None = None
    device: str | None = None
    precision: str = 'fp32'
    restore: str | None = None
    force: bool = False
    fresh: bool = False
    keep: int | None = None
    pictures: int = 8
    workers: int | None = None
    no_opt: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    dialect: Dialect | str | None = None
    define: Mapping[str, object] = field(default_factory=dict)
    verbose: bool = False

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_earlier_run()
        self._check_data()

    def _check_numbers(self) -> None:
        for name in 'iterations', 'keep', 'batch', 'samples':
            value = getattr(self, name)
            if value is not None and value < 1:
                raise FcnError(f'{name} is {value}', code='not-positive',
                               facts={'option': name},
                               do=f'Give {name} of at least 1.')
        for name in 'seed', 'pictures':
            value = getattr(self, name)
            if value is not None and value < 0:
                raise FcnError(f'{name} is {value}', code='negative', facts={'option': name},
                               do=f'Give {name} of at least 0.')
        if self.workers is not None:
            check_workers(self.workers)
        for name in 'iterations', 'keep', 'seed', 'pictures':
            if (getattr(self, name) or 0) > LARGEST:
                raise FcnError(f'{name} is above {LARGEST}', do='Give a smaller number.')

    def _check_earlier_run(self) -> None:
        if self.restore and self.fresh:
            raise FcnError('restore resumes the earlier run, and fresh sets it aside',
                           code='restore-fresh', do='Give one of them.')
        if self.force and not self.restore:
            raise FcnError('force applies to restore alone', code='force-alone',
                           do='Give both, or neither.')

    def _check_crops(self) -> None:
        for name, most, do in (('recolour', 1, 'Give a fraction from 0 to 1.'),
                               ('rotate', 180, 'Give an angle from 0 to 180 degrees.')):
            value = getattr(self, name)
            if value is not None and not self.own_voc:
                raise own_data_alone(name)
            if value is not None and not 0 <= value <= most:
                raise FcnError(f'{name} is {value:g}', code=f'bad-{name}', do=do)

    def _check_data(self) -> None:
        for name in FOLDERS:
            if getattr(self, name) is not None:
                with placed(name, 'folder'):
                    as_path(getattr(self, name), name, 'Give the path of a folder.')
        if self.teacher is not None:
            with placed('teacher', 'folder'):
                as_path(self.teacher, 'teacher', 'Give the path of a folder.')
        if self.classes is not None and not self.voc:
            raise FcnError('the number of classes belongs to a data set of your own',
                           code='classes-alone', do='Give its folder as voc.')
        if self.classes is not None and not 1 <= self.classes <= 255:
            raise FcnError(f'{self.classes} classes', code='bad-classes',
                           do='Give 1 to 255 classes.')
        self._check_crops()
        self.check_class_weights()
        if self.sbd and self.classes is not None:
            raise FcnError(f"sbd has VOC's own 21 classes, and classes is {self.classes}",
                           code='sbd-classes', do='Leave out sbd or classes.')
        if self.mnist and (self.voc or self.m2nist):
            raise FcnError(f"mnist and {'voc' if self.voc else 'm2nist'} are both given",
                           code='two-data-sets', do='Give the folder of one of them.',
                           facts={'one': 'mnist', 'other': 'voc' if self.voc else 'm2nist'})

    def check_class_weights(self, classes: int | None = None) -> tuple[float, ...] | None:
        """The class weights that are given as numbers; None for none and for a rule. FcnError for
        anything else, for numbers that are not above 0, and unless there are `classes` of
        them."""
        text = self.class_weights
        if text in (None, *RULES):
            return None
        try:
            weights = tuple(map(float, str(text).split(',')))
        except ValueError:
            raise FcnError(f"the class weights are '{short(str(text), 80)}'",
                           code='bad-class-weights', do=f"Give '{BALANCED}' or '{MEDIAN}', or one "
                           'number for each class, with commas between them.') from None
        if not all(0 < weight <= MOST_WEIGHT for weight in weights):
            raise FcnError(f'the class weights are {short(str(text), 80)}, not all above 0 and at '
                           f'most {MOST_WEIGHT:g}', code='bad-class-weights',
                           do='A class that is not to be learned is void, 255, in the labels.')
        if classes is not None and len(weights) != classes:
            raise FcnError(f'{len(weights)} class weights for {classes} classes',
                           code='bad-class-weights', do='Give one number for each class, '
                           'background too.')
        return weights

    @property
    def scenes(self) -> Path:
        """The folder of the generated digit scenes."""
        return MNIST_FOLDER if self.mnist else FOLDER

    @property
    def own_voc(self) -> str | None:
        """The VOC folder that nets are written for; None if the shipped nets serve (with SBD, they
        do)."""
        return self.voc if self.voc and not self.sbd else None

    @property
    def overrides(self) -> dict[str, dict[str, Any]]:
        """{class of a data layer: params of its param_str to replace}: the folders given, and the
        seed of the order of samples. `batch` is not among them: Run.train_overrides has it."""
        voc = self.voc or (self.scenes if self.mnist else None)
        given: Mapping[str, Any] = {
            **{name: str(value) for name in FOLDERS if (value := getattr(self, name))},
            **({'voc': str(voc)} if voc else {}), 'classes': self.classes}
        return {layer.__name__: {
            **{param: given[name] for name, param in layer.options.items() if given.get(name)},
            **({layer.seed_param: RELEASE_SEED + self.seed} if self.seed else {})}
            for layer in python_layers.values()}

    def in_order(self, split: str | None = None,
                 unlabelled: bool = False) -> dict[str, dict[str, Any]]:
        """`overrides` to score a split (None: the one that the net names): each sample once, in
        file order. unlabelled: take a split without labels, too. FcnError (code 'bad-split') for a
        split that no folder can have."""
        if split:
            with placed('split', 'split'):
                confined('', split, 'split')
        overrides = self.overrides
        for layer in python_layers.values():
            if layer.in_order is not None:
                overrides[layer.__name__] |= layer.in_order | ({'split': split} if split else {})
                overrides[layer.__name__] |= layer.without_labels if unlabelled else {}
        return overrides
