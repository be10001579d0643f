"""The teacher of a run: a finished run, or a net and weights, written into the folder of the run
that learns from it, so that its prototxt files alone say all."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data import parse_params
from ..errors import FcnError, located
from ..files import digest_of
from ..formats.atomic import write_text
from ..formats.weights import FILLER, write_hdf5
from ..net.net import Net
from ..predict.labels import read_deploy, score_output
from ..proto.netspec import net_text
from ..proto.prototxt import NetText, read_net
from .distillation import PAIR_WEIGHT, TEACHER, WEIGHT, with_teacher
from .finished import opened
from .method import data_layer

FILE = 'teacher.caffemodel.h5'      # in a run's folder of nets: the weights, under TEACHER's names
FEW = 'no-weights', 'no-weights-yet'
DO = 'Give the folder of a finished run as teacher, or its net and weights, with a comma between.'
HEADER = 'written for a run: {}\nthe weights of teacher_* are those of {}'


@dataclass(frozen=True)
class Losses:
    """The weights of the losses against a teacher; 0 leaves one out."""
    pixel_wise: float = WEIGHT
    pair_wise: float = PAIR_WEIGHT

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise FcnError(f'{name} is {value:g}', code='negative',
                               facts={'option': name.replace('_', '-')},
                               do=f'Give a finite {name} of at least 0.')

    def __bool__(self) -> bool:
        return bool(self.pixel_wise or self.pair_wise)

    @property
    def suffix(self) -> str:
        """What they add to the name of a run's folder."""
        return '' if self.pixel_wise and self.pair_wise else \
            '-pixel' if self.pixel_wise else '-pair' if self.pair_wise else '-alone'

    @property
    def words(self) -> str:
        """Them, for snapshots."""
        return f'pixel-wise {self.pixel_wise:g}, pair-wise {self.pair_wise:g}'


@dataclass(frozen=True)
class Teacher:
    """A trained net. deploy, weights: its files; names: the class names of its run, mean: the pixel
    that its data layer subtracts, () where they are not known."""
    deploy: Path
    weights: Path
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()

    @classmethod
    def given(cls, text: str, runs: str) -> 'Teacher':
        """The teacher that a user names: the folder of a run, its name below `runs`, or
        NET,WEIGHTS. FcnError for what is not there, and for a run that did not reach its end."""
        net, comma, weights = text.rpartition(',')
        if comma and not os.path.isdir(text):
            for file in net, weights:
                if not os.path.isfile(file):
                    raise FcnError('there is no such file', file=file, code='teacher-missing',
                                   do=DO)
            return cls(Path(net), Path(weights))
        try:
            run = opened(text, runs)
        except FcnError as error:
            if error.code and error.code not in FEW:
                raise
            raise FcnError(f'this is no teacher: {error.what}', file=error.file or text,
                           code='teacher-missing', do=DO) from None
        if not run.finished:
            raise FcnError(f"the teacher's run stopped at iteration {run.iteration} of "
                           f'{run.length}', file=str(run.folder), code='teacher-unfinished',
                           facts={'stage': run.stage_name, 'net': run.deploy,
                                  'weights': run.weights},
                           do="Resume it with restore='newest', or name its net and weights as "
                              f"they are: teacher='{run.deploy},{run.weights}'.")
        return cls(run.deploy, run.weights, run.classes, mean_of(run.params))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of its weights."""
        return digest_of(self.weights, 'a file of weights')

    def net(self) -> Net:
        """Its deploy net, with its weights. FcnError for weights that lack one of its layers."""
        net = read_deploy(self.deploy, weights=self.weights)
        missing = [row.layer for row in net.copy_from(self.weights) if row.action == FILLER]
        if missing:
            raise FcnError(f"the teacher's weights lack '{missing[0]}'", file=str(self.weights),
                           code='teacher-unfit', do='Give those of the net that teaches.')
        return net

    def check_names(self, names: Sequence[str]) -> None:
        """FcnError where it has learned other classes than these names, or these in another order.
        Numbers in their place say nothing."""
        numbers = tuple(map(str, range(len(names))))
        if not self.names or numbers in (tuple(names), self.names) or \
                len(names) != len(self.names):      # another number is told with the scores
            return
        for i, (taught, own) in enumerate(zip(self.names, names, strict=True)):
            if taught != own:
                raise FcnError(f"class {i} is '{taught}' for the teacher, '{own}' here",
                               file=str(self.weights.parent), code='teacher-names',
                               facts={'net': self.deploy, 'weights': self.weights},
                               do='Give a teacher that was trained on these classes; or, if the '
                                  f"names alone differ, teacher='{self.deploy},{self.weights}'.")

    def in_net(self, student: NetText, losses: Losses) -> NetText:
        """A student's train net with this teacher in it. FcnError where they do not fit."""
        net, params = self.net(), params_of(student)
        mean = mean_of(params)
        if mean and self.mean and mean != self.mean:
            raise FcnError(f"the teacher's images are less the mean pixel {self.mean}, the "
                           f"student's less {mean}", file=str(self.weights.parent),
                           code='teacher-unfit', do='Give another teacher.')
        score, value = score_output(net)
        node = net.graph.producer(value)
        if node.type == 'Softmax':              # pixel_loss has its own
            score = net.graph.values[node.bottoms[0]]
        size = tuple(params['crop']) if params.get('crop') else None
        if size is None and losses.pair_wise:
            raise FcnError('the pair-wise loss is made for images of one size, and the data layer '
                           'of the train net names no crop', file=student.file, code='no-features',
                           do='Give pair_wise=0.')
        return with_teacher(student, read_net(self.deploy, net.graph.dialect), score,
                            losses.pixel_wise, losses.pair_wise, size)

    def write(self, folder: Path, losses: Losses) -> None:
        """Put it into the train nets in a run's folder of prototxt files, and its weights beside
        them, from where the solvers take them."""
        for file in sorted(folder.glob('train*.prototxt')):
            text = self.in_net(read_net(file), losses)
            write_text(net_text(text.message, HEADER.format(losses.words, FILE)), file)
        owned = {TEACHER + name: [None if blob.owner is not None else blob.data for blob in blobs]
                 for (name, _), blobs in self.net().layer_params.items()}
        write_hdf5(folder / FILE, owned, {'teacher': str(self.weights)})
        for file in sorted(folder.glob('solver*.prototxt')):
            write_text(f'{file.read_text()}weights: "{FILE}"\n', file)


def mean_of(params: Mapping[str, Any]) -> tuple[float, ...]:
    """The mean pixel that a data layer of these params subtracts; () where they name none."""
    mean = params.get('mean')
    return tuple(mean) if isinstance(mean, tuple | list) else ()


def params_of(student: NetText) -> dict[str, Any]:
    """The params of a train net's data layer; {} where it has none of ours."""
    data = data_layer(student)
    if data is None:
        return {}
    with located(student.file):
        return parse_params(data.python_param.param_str)
