"""Checks of the learning rate against the normalisation of the loss, the size of the images and
what starts from scratch.

SGD with momentum p moves, in the long run, by base_lr / (1 - p) times the gradient. Of a loss
summed over the pixels the gradient is as many times that of a mean, so the step size to compare is

    E = base_lr x pixels / (1 - p)      (pixels: 1 for a mean)

the papers' and the release's invariant (recipe/models/model.py, summed_rate). FCN-32s has 2.5e-3
in the release (1e-10 x 500 x 500 / 0.01), 1e-3 in the paper; GoogLeNet 5e-4, the mini nets 0.05;
FCN-16s and 8s in the release 1e-2 and 1e-4 of FCN-32s.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..layers.common.losses import normalization
from ..proto import LossParameter
from ..solver.rates import learning_rate
from .anatomy import params
from .finding import DOUBT, FAULT, Finding
from .subject import Subject

MOST = 10.0         # of E: the largest in use are about 1, of nets with BatchNorm
MUCH = 5.0          # without BatchNorm: ImageNet's AlexNet has 0.1, the mini nets 0.05, m2nist 2
LEAST = 5e-8        # of E: the release's FCN-8s has 2.5e-7 at 500x500, 6e-8 at 300x200
LEAST_FRESH = 1e-4  # where the scores start from 0: five times below GoogLeNet's
ADAM = 1e-7, 0.03   # base_lr of rules whose step has its size whatever the gradient's
FADED = 1e-6        # of base_lr, halfway: then the second half of a run does nothing
RULES = {'SGD', 'Nesterov'}
SCALED = {'Adam', 'RMSProp'}


@dataclass(frozen=True)
class Step:
    """The step size E of a solver, and what it is made of; factor: the loss over its mean."""
    rate: float
    momentum: float
    factor: float
    summed: bool

    @property
    def size(self) -> float:
        return self.rate * self.factor / max(1 - self.momentum, 1e-9)

    def at(self, size: float) -> float:
        """The base_lr that gives E this size."""
        return size * max(1 - self.momentum, 1e-9) / max(self.factor, 1e-9)

    def __str__(self) -> str:
        kind = f'a sum over {self.factor:.3g} pixels' if self.summed else 'a mean'
        return f'base_lr {self.rate:g} on {kind}, momentum {self.momentum:g}: step size ' \
            f'{self.size:.2g}'


def step_of(subject: Subject) -> Step | None:
    """The Step of the subject's solver; None without a solver or a loss of known normalisation."""
    loss, solver = subject.anatomy.loss, subject.solver
    if loss is None or solver is None or subject.anatomy.score is None or \
            solver.message.type not in RULES:
        return None
    mode = normalization(loss.param.loss_param, LossParameter.VALID)
    batch = subject.net.shapes[subject.anatomy.score][0]
    factor = {LossParameter.BATCH_SIZE: subject.pixels,
              LossParameter.NONE: subject.pixels * batch}.get(mode, 1.0)
    p = solver.message
    weight = sum(subject.net.layer(loss).loss_weights)
    return Step(p.base_lr, p.momentum, factor * weight, factor > 1)


def step_size(subject: Subject) -> Iterator[Finding]:
    """A rate that does not fit the normalisation of the loss and the size of the images."""
    step = step_of(subject)
    if step is None or not step.factor:
        return
    place = subject.place
    normalised = any(node.type == 'BatchNorm' for node in subject.net.graph.nodes)
    scores = subject.anatomy.score_layers
    fresh = not subject.sources.own and scores and all(n.name in subject.fresh for n in scores)
    if step.size > MOST or (step.size > MUCH and not normalised):
        yield Finding(FAULT if step.size > MOST else DOUBT, 'rate-large', 'the rate is too large '
                      + ('for a loss that is summed over the pixels' if step.summed else
                         'for this loss'), f'{step}, 0.0025 is that of FCN-32s',
                      f'Set base_lr to about {step.at(2.5e-3):.1g}' + (
                          ', or normalize: true in the loss.' if step.summed else '.'), place)
    elif fresh and step.size < LEAST_FRESH:
        yield Finding(FAULT if step.size < LEAST_FRESH / 10 else DOUBT, 'rate-small',
                      'the rate is too small for scores that start from nothing' + (
                          ', as if the loss were summed over the pixels' if not step.summed else
                          ': FCN-16s and 8s have theirs because they start from FCN-32s'),
                      f'{step}, FCN-32s from a classifier has 0.0025', f'Set base_lr to about '
                      f'{step.at(2.5e-3):.1g}, or start from the weights of the stage before.',
                      place)
    elif step.size < LEAST:
        yield Finding(DOUBT, 'rate-small', 'the rate is too small to change anything' + (
            '' if step.summed else ', as if the loss were summed over the pixels'),
            f'{step}, the smallest of the release, FCN-8s, is 2.5e-07',
            f'Set base_lr to about {step.at(2.5e-5):.1g}.', place)


def scaled_rate(subject: Subject) -> Iterator[Finding]:
    """A rate of Adam's or RMSProp's that is one for SGD on a summed loss, or far too large."""
    if subject.solver is None or subject.parameters.type not in SCALED:
        return
    p = subject.parameters
    p = subject.parameters
    if not ADAM[0] <= p.base_lr <= ADAM[1]:
        yield Finding(DOUBT, 'rate-of-rule', f'the rate is not one for {p.type}, whose steps do '
                      'not depend on the size of the gradient', f'base_lr {p.base_lr:g}, usual are '
                      '1e-05 to 0.01', 'Set base_lr to 0.001, or use type: "SGD".',
                      subject.place)


def fading(subject: Subject) -> Iterator[Finding]:
    """A policy that has taken the rate to nothing when half of the iterations are done."""
    if subject.solver is None:
        return
    p = subject.parameters
    half = p.max_iter // 2
    step = half // p.stepsize if p.lr_policy == 'step' and p.stepsize else \
        sum(value <= half for value in p.stepvalue)
    try:
        rate = float(learning_rate(p, half, step))
    except (ZeroDivisionError, OverflowError):
        return
    if p.base_lr and rate < FADED * p.base_lr:
        yield Finding(DOUBT, 'rate-fades', f"lr_policy '{p.lr_policy}' has taken the rate to "
                      'nothing half way', f'base_lr {p.base_lr:g}, {rate:.2g} at iteration {half} '
                      f'of {p.max_iter}', 'Set stepsize, or stepvalue, in iterations of this run.',
                      subject.place)


def learning_layers(subject: Subject) -> Iterator[Finding]:
    """A net in which nothing learns, or whose new score layers do not."""
    if subject.solver is None:
        return
    rates = [blob.lr_mult for blob in subject.net.learnable_params]
    if not any(rates) or not subject.parameters.base_lr:
        yield Finding(FAULT, 'nothing-learns', 'nothing learns', f'base_lr '
                      f'{subject.parameters.base_lr:g}, the largest lr_mult is '
                      f'{max(rates, default=0):g}', 'Set lr_mult: 1 in the layers that are to '
                      'learn, and base_lr.', subject.place)
        return
    for node in subject.anatomy.score_layers:
        blobs = params(subject.net, node)
        if node.name in subject.fresh and not any(blob.lr_mult for blob in blobs) and \
                not subject.sources.own:
            yield Finding(FAULT, 'score-fixed', 'a score layer that starts from its filler does '
                          'not learn', f'lr_mult {blobs[0].lr_mult:g}', 'Set lr_mult: 1.',
                          f"layer '{node.name}'")
