"""Rate rule: a solver for another number of images per pass, or of samples per iteration.

Let a recipe take S0 samples an iteration, in passes of B0, and another S = f S0, in passes of B. In
the long run SGD with momentum p moves by base_lr / (1 - p) times the mean gradient per iteration.
Per *sample* that stays as it is:

    base_lr         lr' = lr f / u
    momentum        p' = p
    weight_decay    wd' = wd u
    iterations      n' = n / f, rounded: of max_iter and of every other count of iterations

u is the growth of the gradient of a pass: 1 where the loss is divided by its pixels or its batch, B
/ B0 where it is the sum over the batch (normalization: NONE); `normalize: false` divides by the
batch, so u is 1. iter_size divides the sum over the passes. Weight decay is added to that mean, so
its step per sample, lr wd / (1 - p) / S, stays too. It is the rule by which the papers' solvers are
made, base_lr x pixels / (1 - momentum) constant, for samples.

Momentum then remembers as many iterations and so f times the samples. p ^ f would keep it in
samples, the relation of the papers' momenta (0.9 at 20 images, 0.9 ^ (1 / 20), about 0.99, at one),
but for the same step per sample base_lr would grow by f (1 - p ^ f) / (1 - p), 14 times for f = 4
and p = 0.9, while the largest stable one grows as 1 + p: mini-fcn32s then collapses to background.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..errors import FcnError
from ..layers import types_of
from ..proto import LossParameter, dialect_of
from ..proto.prototxt import NetText

PROPORTIONAL = 'SGD', 'Nesterov'        # solver types whose step is proportional to the gradient
COUNTS = ('max_iter', 'stepsize', 'snapshot', 'test_interval', 'display', 'average_loss')
MOST = (1 << 31) - 1                    # of an int32 field
# Beyond these a run is warned; docs/training.md has the measurements.
MEMORIES = 10           # the fewest memories of momentum, 1 / (1 - p) iterations each, of a run
MEASURED = 4            # the growth of an iteration at which mini-fcn32s kept its mean IU


@dataclass(frozen=True)
class Batches:
    """How the samples of an iteration are divided: `batch` images per forward pass, `samples` over
    all passes and processes."""
    batch: int
    samples: int

    @property
    def passes(self) -> int:
        """Forward passes of an iteration, over all processes."""
        return self.samples // self.batch

    def growth(self, own: 'Batches') -> Fraction:
        """f: its samples over those of the recipe's own."""
        return Fraction(self.samples, own.samples)

    def __str__(self) -> str:
        return f'{self.samples} samples an iteration, {self.batch} a pass'


def divided(own: Batches, batch: int | None = None, samples: int | None = None,
            processes: int = 1) -> Batches:
    """The batches that a user asks for, in place of a recipe's own.

    batch: images of a pass (None: the recipe's). samples: of an iteration (None: as many passes for
    each process as the recipe has). FcnError (code 'samples-not-multiple') unless the samples are
    whole passes; FcnError (code 'too-many-samples') for more than an int32 counts."""
    batch = batch or own.batch
    samples = samples or batch * own.passes * processes
    if samples > MOST:
        raise FcnError(f'{samples} samples an iteration', code='too-many-samples',
                       facts={'most': MOST}, do=f'Give at most {MOST}.')
    if samples % batch:
        raise FcnError(f'{samples} samples an iteration are no whole number of passes of {batch} '
                       'images', code='samples-not-multiple', facts={'batch': batch},
                       do=f'Give samples as a multiple of {batch}.')
    return Batches(batch, samples)


def rescaled(solver: Any, own: Batches, new: Batches, summed: bool = False) -> Any:
    """A copy of a SolverParameter of `own` batches that takes `new` ones by the rate rule.

    summed: whether the loss is a sum over the batch (see sums_the_batch). iter_size becomes the
    passes of an iteration. Where only the passes change (f = 1), the copy differs in iter_size
    (and, for a summed loss, base_lr and weight_decay) alone; clip_gradients, which Caffe compares
    with the undivided gradient, keeps its value per pass. FcnError (code 'rate-rule') for a solver
    type whose step is not proportional to the gradient, unless f is 1."""
    p = type(solver)()
    p.CopyFrom(solver)
    f = new.growth(own)
    u = new.batch / own.batch if summed else 1.0
    if f != 1 and p.type not in PROPORTIONAL:
        raise FcnError(f"the solver is of type '{p.type}', whose steps the rate rule does not "
                       'cover', code='rate-rule', do=f'Keep {own.samples} samples an iteration, '
                       f'or use {" or ".join(PROPORTIONAL)}.')
    p.iter_size = new.passes
    if p.clip_gradients > 0:
        p.clip_gradients *= u * new.passes / own.passes
    p.base_lr *= float(f) / u
    p.weight_decay *= u
    if f != 1:
        count_in_iterations(p, f)
    return p


def count_in_iterations(p: Any, f: Fraction) -> None:
    """Divide what a SolverParameter counts in iterations by f, to whole numbers of at least 1, and
    have its rates fall as fast per sample as before."""
    for name in COUNTS:
        value = getattr(p, name)
        if p.HasField(name) and value > 0:
            setattr(p, name, per(value, f))
    p.stepvalue[:] = [per(value, f) for value in p.stepvalue]
    if p.lr_policy == 'exp':            # gamma ^ iteration
        p.gamma **= float(f)
    elif p.lr_policy in ('inv', 'sigmoid'):     # functions of gamma x iteration
        p.gamma *= float(f)


def per(count: int, f: Fraction) -> int:
    """A count of iterations in iterations of f times the samples."""
    return min(MOST, max(1, round(count / f)))


def sums_the_batch(net: NetText) -> bool:
    """Whether the losses of a net are sums over the batch (normalization: NONE), and not means.

    Losses of weight 0 do not count. FcnError (code 'rate-rule') for a net with both kinds of loss,
    and for a weighted top of a layer that is no loss layer, whose dependence on the batch is not
    known."""
    sums, types = {}, types_of(dialect_of(net.message))
    for layer in net.message.layer:
        kind = types.get(layer.type)
        if layer.loss_weight and not any(layer.loss_weight):
            continue
        if kind is not None and kind.loss:
            sums[layer.name] = layer.loss_param.HasField('normalization') and \
                layer.loss_param.normalization == LossParameter.NONE
        elif layer.loss_weight:
            raise FcnError('the layer has a loss_weight and is no loss layer: how its gradient '
                           'grows with the batch is not known', file=net.file, layer=layer.name,
                           type=layer.type, code='rate-rule', do='Leave out batch.')
    if len(set(sums.values())) > 1:
        names = [next(name for name in sums if sums[name] is kind) for kind in (True, False)]
        raise FcnError(f"the loss '{names[0]}' is a sum over the batch and '{names[1]}' is not",
                       file=net.file, code='rate-rule', do='Leave out batch.')
    return any(sums.values())


def changes(before: Any, after: Any) -> str:
    """What the rule did to a SolverParameter, in a line: `base_lr 0.005 -> 0.069, …`."""
    names = 'iter_size', 'base_lr', 'weight_decay', 'clip_gradients', 'max_iter'
    return ', '.join(f'{name} {getattr(before, name):.6g} -> {getattr(after, name):.6g}'
                     for name in names if getattr(before, name) != getattr(after, name))


def doubts(after: Any, own: Batches, new: Batches) -> Iterator[str]:
    """Lines of warning where a rescaled SolverParameter is outside of what the rule was derived or
    measured for."""
    f = new.growth(own)
    if f > MEASURED:
        yield (f'an iteration has {float(f):.3g} times the samples of the recipe, and base_lr '
               f'grows with them; up to {MEASURED} times was measured, and beyond some rate a net '
               'diverges or collapses to background')
    memory = 1 / (1 - after.momentum) if after.momentum < 1 else float('inf')
    if f > 1 and after.max_iter < MEMORIES * memory:
        yield (f'momentum {after.momentum:.3g} remembers {memory:.3g} iterations, and the run has '
               f'{after.max_iter}')
