"""Method: what the paper varies about training, applied to the texts of any stage.

Section 3.4: a loss that is sampled, as patchwise training is; section 4.3: which layers are
fine-tuned, how the score layers start, the rate of biases, how many images there are, balanced
classes. The nets' own structure is the builders' (recipe/models).
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data import parse_params
from ..data.augment import MOST_JITTER
from ..data.image import VOID
from ..data.weighing import Pixels, weights_by
from ..errors import FcnError, located
from ..formats.atomic import write_text
from ..layers import layer_class
from ..layers.common.losses import normalization
from ..layers.python import make_reader
from ..predict.labels import val_file
from ..proto import LossParameter, dialect_of
from ..proto.netspec import net_text
from ..proto.prototxt import NetText, SolverText, read_net

ALL, SCORES = 'all', 'scores'       # as `learn`
SCORE_STD = 0.01                    # of random score layers, as of the classifiers' last ones
MOST_RELAX = 99
MOST_PASSES = 1000                  # images for one, in a sampled loss
LOSS = 'SoftmaxWithLoss'
HEADER = 'written for a run: {}'


@dataclass(frozen=True)
class Method:
    """What differs from a stage's own training; the defaults change nothing.

    learn: 'all' layers, or the score layers alone ('scores'), all others keeping what they start
    from. random_scores: score layers start from a Gaussian of deviation SCORE_STD instead of zeros.
    bias_rate: lr_mult of biases, which the recipes double; None: as they are. keep_ratio: the
    probability p that a position takes part in the loss, one over a whole number; an iteration then
    has 1/p as many passes, so that about as many positions take part. keep_cell: side in pixels of
    the squares that are kept or left out as one. relax: side of the square around a position whose
    labels are all right for it (label relaxation, Zhu et al. 2019: 3); 1: its own alone.
    train_split: train on this split of the folder that the val net reads ('train' of VOC 2011 has
    1,112 images, SBD's 8,498). mirror: half of the training images are mirrored; jitter: they are
    moved by up to so many pixels (data/augment.py). FcnError (code 'bad-method') for values that
    make no sense.
    """
    learn: str = ALL
    random_scores: bool = False
    bias_rate: float | None = None
    keep_ratio: float = 1.0
    keep_cell: int = 1
    relax: int = 1
    train_split: str | None = None
    mirror: bool = False
    jitter: int = 0

    def __post_init__(self) -> None:
        rate, ratio = self.bias_rate, self.keep_ratio
        if self.learn not in (ALL, SCORES):
            raise _bad('learn', f"'{self.learn}'", f"'{ALL}' or '{SCORES}'")
        if rate is not None and not (math.isfinite(rate) and rate >= 0):
            raise _bad('bias_rate', f'{rate:g}', 'a finite number of at least 0')
        if not 1 / MOST_PASSES <= ratio <= 1 or abs(1 / ratio - round(1 / ratio)) > 1e-3:
            raise _bad('keep_ratio', f'{ratio:g}',
                       f'one over a whole number up to {MOST_PASSES}, such as 0.5 or 0.25')
        if not 1 <= self.keep_cell <= 1 << 16:
            raise _bad('keep_cell', f'{self.keep_cell}', 'a number of pixels from 1 to 65536')
        if not (1 <= self.relax <= MOST_RELAX and self.relax % 2):
            raise _bad('relax', f'{self.relax}', f'an odd number of pixels from 1 to {MOST_RELAX}')
        if not 0 <= self.jitter <= MOST_JITTER:
            raise _bad('jitter', f'{self.jitter}', f'a number of pixels from 0 to {MOST_JITTER}')

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self != OWN

    @property
    def images_for_one(self) -> int:
        """1/p: how many times the images an iteration has."""
        return round(1 / self.keep_ratio)

    @property
    def words(self) -> str:
        """What it changes, for snapshots and the screen; '' if nothing."""
        return ', '.join(filter(None, (
            'score layers alone learn' * (self.learn == SCORES),
            'random score layers' * self.random_scores,
            '' if self.bias_rate is None else f'bias rate {self.bias_rate:g}',
            '' if self.keep_ratio == 1 else f'{self.keep_ratio:g} of the '
            + (f'cells of {self.keep_cell}x{self.keep_cell} ' if self.keep_cell > 1 else '')
            + f'pixels, {self.images_for_one} times the images',
            f'labels relaxed over {self.relax}x{self.relax} pixels' * (self.relax > 1),
            '' if self.train_split is None else f"split '{self.train_split}'",
            'mirrored' * self.mirror, f'moved by up to {self.jitter} pixels' * (self.jitter > 0))))

    @property
    def suffix(self) -> str:
        """What it adds to the name of a run's folder."""
        return ''.join((
            '-scores-alone' * (self.learn == SCORES), '-random-scores' * self.random_scores,
            '' if self.bias_rate is None else f'-bias{self.bias_rate:g}',
            '' if self.keep_ratio == 1 else f'-keep{self.keep_ratio:g}',
            f'-cell{self.keep_cell}' * (self.keep_ratio < 1 and self.keep_cell > 1),
            f'-relax{self.relax}' * (self.relax > 1),
            '' if self.train_split is None else f"-on-{self.train_split.replace('/', '-')}",
            '-mirror' * self.mirror, f'-jitter{self.jitter}' * (self.jitter > 0)))

    def net(self, net: Any, score_layers: str, val_data: Any = None,
            class_weights: Sequence[float] = ()) -> Any:
        """A copy of a train net, a NetParameter, that is trained so.

        score_layers: glob pattern of the names of the score layers. val_data: the data layer of the
        val net, for `train_split`. class_weights: of the loss, one for each class. FcnError for a
        net that lacks what is to be changed."""
        changed = type(net)()
        changed.CopyFrom(net)
        named = [layer for layer in changed.layer if fnmatch.fnmatchcase(layer.name, score_layers)]
        scores = [layer for layer in named if layer.type == 'Convolution'] or \
            [layer for layer in named if layer.type == 'Deconvolution']         # ENet's
        if (self.learn == SCORES or self.random_scores) and not scores:
            raise _unfit(f"no Convolution is called '{score_layers}'",
                         'learn' if self.learn == SCORES else 'random_scores')
        if self.learn == SCORES:
            _freeze(changed, {layer.name for layer in scores})
        if self.random_scores:
            for layer in scores:
                layer.convolution_param.weight_filler.Clear()
                layer.convolution_param.weight_filler.MergeFrom(type(
                    layer.convolution_param.weight_filler)(type='gaussian', std=SCORE_STD))
        if self.bias_rate is not None:
            _set_bias_rate(changed, self.bias_rate)
        if self.train_split is not None:
            _set_split(changed, val_data, self.train_split)
        if self.mirror or self.jitter:
            _set_moves(changed, self.mirror, self.jitter)
        self._set_losses(changed, class_weights)
        return changed

    def _set_losses(self, net: Any, class_weights: Sequence[float]) -> None:
        losses = [layer for layer in net.layer if layer.type == LOSS]
        if (class_weights or self.keep_ratio < 1 or self.relax > 1) and not losses:
            raise _unfit(f'the train net has no {LOSS}', 'class_weights' if class_weights else
                         'keep_ratio' if self.keep_ratio < 1 else 'relax')
        if class_weights and len(losses) > 1:
            raise _unfit(f'the train net has {len(losses)} losses', 'class_weights')
        for layer in losses:
            if class_weights:
                layer.fcn_repro_param.class_weight[:] = class_weights
            if self.relax > 1:
                layer.fcn_repro_param.relax = self.relax
            if self.keep_ratio < 1:
                layer.fcn_repro_param.keep_ratio = self.keep_ratio
                layer.fcn_repro_param.keep_cell = self.keep_cell

    def solver(self, solver: SolverText, net: NetText) -> SolverText:
        """The solver for a train net whose loss is sampled: iter_size is 1/p times as large, and
        base_lr and weight_decay make the steps that they would make without sampling. A mean over
        the positions that take part keeps its size; a sum, or one divided by something else, has p
        of it."""
        if self.keep_ratio == 1:
            return solver
        p = type(solver.message)()
        p.CopyFrom(solver.message)
        p.iter_size *= self.images_for_one
        share = 1 / self.images_for_one if divides_by_all(net) else 1.0
        if p.clip_gradients > 0:        # Caffe compares it with the sum over the passes
            p.clip_gradients *= share * self.images_for_one
        p.base_lr /= share
        p.weight_decay *= share
        return replace(solver, message=p)

    def write(self, folder: Path, score_layers: str, overrides: Mapping[str, Mapping[str, Any]],
              class_weights: Sequence[float] | str = ()) -> None:
        """Rewrite the train nets in a run's folder of prototxt files.

        class_weights: numbers, or one of weighing.RULES for those of the train labels. overrides:
        as of Net, of the data layers."""
        val = read_net(val_file(folder))
        for file in sorted(folder.glob('train*.prototxt')):
            text = read_net(file)
            with located(text.file):
                weights = class_weights
                if isinstance(weights, str):
                    split = self.net(text.message, score_layers, data_layer(val))
                    weights = class_weights_of(split, overrides, weights)
                net = self.net(text.message, score_layers, data_layer(val), weights)
            said = ', '.join(filter(None, (self.words, 'class weights' * bool(weights))))
            write_text(net_text(net, HEADER.format(said)), file)


def _unfit(what: str, name: str) -> FcnError:
    """The error of a net that lacks what an option changes."""
    return FcnError(what, code='method-unfit', do=f'Leave out {name}.',
                    facts={'option': name.replace('_', '-')})


OWN = Method()      # the stage's own


def _bad(name: str, value: str, wanted: str) -> FcnError:
    return FcnError(f'{name} is {value}', code='bad-method', do=f'Give {wanted}.',
                    facts={'option': name.replace('_', '-'), 'wanted': wanted})


def _freeze(net: Any, learned: set[str]) -> None:
    """Set the rates of all layers but these to 0, and their decay."""
    for layer in net.layer:
        if layer.name not in learned:
            cls = layer_class(layer.type, dialect_of(layer))
            for _ in range(0 if layer.param else cls.learns(layer)):
                layer.param.add()           # as ENet's, which learn at rate 1
            for param in layer.param:
                param.lr_mult = param.decay_mult = 0


def _set_bias_rate(net: Any, rate: float) -> None:
    """Give the biases that learn twice as fast as their weights another multiple of that."""
    doubled = [layer for layer in net.layer if len(layer.param) == 2
               and 0 < layer.param[1].lr_mult == 2 * layer.param[0].lr_mult]
    if not doubled:
        raise _unfit('no layer learns its bias twice as fast as its weights', 'bias_rate')
    for layer in doubled:
        layer.param[1].lr_mult = rate * layer.param[0].lr_mult


def data_layer(text: NetText) -> Any:
    """The Python data layer of a net; None without one."""
    return next((layer for layer in text.message.layer if layer.type == 'Python'), None)


def _set_split(net: Any, val: Any, split: str) -> None:
    """Let a train net read a split of the folder that the val net's data layer `val` reads, with
    all else as the val net has it, and the seed of its own."""
    data = next((layer for layer in net.layer if layer.type == 'Python'), None)
    if data is None or val is None:
        raise _unfit('train and val net need a Python data layer each', 'train_split')
    seed = parse_params(data.python_param.param_str).get('seed')
    params = parse_params(val.python_param.param_str) | {'split': split}
    data.python_param.CopyFrom(val.python_param)
    data.python_param.param_str = str(params if seed is None else params | {'seed': seed})


def _set_moves(net: Any, mirror: bool, jitter: int) -> None:
    """Let a train net's data layer mirror and move its images."""
    data = next((layer for layer in net.layer if layer.type == 'Python'), None)
    if data is None:
        raise _unfit('the train net has no Python data layer', 'mirror' if mirror else 'jitter')
    params = parse_params(data.python_param.param_str)
    moves = {name: value for name, value in (('mirror', mirror), ('jitter', jitter)) if value}
    data.python_param.param_str = str(params | moves)


def mode_of(loss: Any) -> int:
    """What a loss layer divides by, of LossParameter's modes; VALID where it does not say."""
    return normalization(loss.loss_param, LossParameter.VALID)


def divides_by_all(net: NetText) -> bool:
    """Whether the losses of a net are no means over the positions that take part (normalization
    VALID), so that a sampled one is smaller. FcnError for a net with both."""
    found = {mode_of(layer) != LossParameter.VALID
             for layer in net.message.layer if layer.type == LOSS}
    if len(found) > 1:
        raise _unfit('one loss is a mean over the pixels that take part, another is not',
                     'keep_ratio').at(file=net.file)
    return found == {True}


def class_weights_of(net: Any, overrides: Mapping[str, Mapping[str, Any]],
                     rule: str) -> list[float]:
    """Weights of the classes of a train net's labels, from all of them, by one of weighing.RULES.
    FcnError for data without a label for each pixel."""
    data = next((layer for layer in net.layer if layer.type == 'Python'), None)
    if data is None:
        raise _unfit('the train net has no Python data layer', 'class_weights')
    reader = make_reader(data.python_param, overrides)
    samples = getattr(reader, 'reader', None)
    if samples is None:
        raise _unfit(f'{data.python_param.layer} has no label per pixel', 'class_weights')
    pixels = Pixels(np.zeros(256, np.int64), np.zeros(256, np.int64))
    for i in range(len(samples)):
        found = np.bincount(samples.label(i).reshape(-1), minlength=256)
        pixels.own[:] += found
        pixels.around[found > 0] += found.sum()
    weights = weights_by(rule, pixels.first(min(classes_of(net), VOID)))
    return [float(f'{weight:.4g}') for weight in weights]


def classes_of(net: Any) -> int:
    """Channels of the scores under the loss of a NetParameter, from its text. FcnError where no
    layer on the way to them says."""
    blob = next((layer.bottom[0] for layer in net.layer if layer.type == LOSS), None)
    count = channels_of(net, blob)
    if count is not None:
        return count
    raise _unfit(f'the number of classes under the {LOSS} is not in the text', 'class_weights')


def channels_of(net: Any, blob: str | None) -> int | None:
    """Channels of a blob of a NetParameter: num_output of the last layer on the way to it that has
    one, times the tiles after it. None where there is none."""
    made = {top: layer for layer in net.layer for top in layer.top if top not in layer.bottom}
    tiles = 1
    for _ in net.layer:
        layer = made.get(blob)
        if layer is None:
            return None
        for param in layer.convolution_param, layer.inner_product_param:
            if param.num_output:
                return tiles * param.num_output
        if layer.type == 'Tile' and layer.tile_param.axis == 1:
            tiles *= layer.tile_param.tiles
        blob = layer.bottom[0] if layer.bottom else None
    return None
