"""Caffe's solver types: what one iteration takes from a parameter (src/caffe/solvers/*.cpp).

A rule is a function (diff, histories, rate, p, t): the parameter's diff, clipped and regularised,
which it may overwrite; its histories, which it updates; the rate times lr_mult; the
SolverParameter; the iteration, from 1. It returns the step to subtract from the data. Operations
are in Caffe's order, numbers in its precision: float32, except for double in Adam's correction.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import FcnError

F = np.float32


def sgd(diff, histories, rate, p, t):
    """h = momentum h + rate g"""
    history, = histories
    return history.mul_(p.momentum).add_(diff, alpha=rate)


def nesterov(diff, histories, rate, p, t):
    """h = momentum h + rate g; (1 + momentum) h - momentum h_before"""
    history, = histories
    back = history * -p.momentum
    history.mul_(p.momentum).add_(diff, alpha=rate)
    return back.add_(history, alpha=1 + p.momentum)


def adagrad(diff, histories, rate, p, t):
    """h = h + g^2; rate g / (sqrt(h) + delta)"""
    history, = histories
    history.add_(diff.square())
    return diff.div_(root(history).add_(p.delta)).mul_(rate)


def rmsprop(diff, histories, rate, p, t):
    """h = rms_decay h + (1 - rms_decay) g^2; rate g / (sqrt(h) + delta)"""
    history, = histories
    average(history, diff.square(), p.rms_decay)
    return diff.div_(root(history).add_(p.delta)).mul_(rate)


def adadelta(diff, histories, rate, p, t):
    """h = mean of g^2; u = g sqrt((H + delta) / (h + delta)); H = mean of u^2; rate u, with
    momentum as the means' decay"""
    gradients, updates = histories
    average(gradients, diff.square(), p.momentum)
    diff.mul_(root((updates + p.delta).div_(gradients + p.delta)))
    average(updates, diff.square(), p.momentum)
    return diff.mul_(rate)


def adam(diff, histories, rate, p, t):
    """m = mean of g; v = mean of g^2, with momentum and momentum2 as their decays;
    rate sqrt(1 - momentum2^t) / (1 - momentum^t) m / (sqrt(v) + delta)"""
    first, second = histories
    average(first, diff, p.momentum)
    average(second, diff.square(), p.momentum2)
    return (first / root(second).add_(p.delta)).mul_(adam_rate(rate, p, t))


def adam_rate(rate: float, p: Any, t: int) -> float:
    """The rate times Adam's correction of iteration t."""
    return float(F(rate) * F(math.sqrt(1 - p.momentum2 ** t) / (1 - p.momentum ** t)))


def average(history, value, decay):
    """history = decay history + (1 - decay) value, in place."""
    history.mul_(decay).add_(value, alpha=1 - decay)


def root(x):
    """The square root rounded to nearest, as Caffe's; torch's on the CPU (MKL's) is not."""
    if not x.is_cpu:
        return x.sqrt()
    out = torch.empty_like(x)
    np.sqrt(x.numpy(), out=out.numpy())
    return out


class Rule(NamedTuple):
    """A solver type.

    histories: their number for each parameter; all first ones precede all second ones in a
    solver's list. rated: they hold steps, rate included, and stay 0 where lr_mult is 0; those of
    other rules accumulate weight decay even there. below_1: the fields that must be in [0, 1).
    momentum: whether the rule has one.
    """
    step: Callable[..., torch.Tensor]
    histories: int = 1
    rated: bool = False
    below_1: tuple[str, ...] = ()
    momentum: bool = True


RULES: dict[str, Rule] = {
    'SGD': Rule(sgd, rated=True),
    'Nesterov': Rule(nesterov, rated=True),
    'AdaGrad': Rule(adagrad, momentum=False),
    'RMSProp': Rule(rmsprop, below_1=('rms_decay',), momentum=False),
    'AdaDelta': Rule(adadelta, histories=2),
    'Adam': Rule(adam, histories=2, below_1=('momentum', 'momentum2')),
}


def check_rule(p: Any, lines: dict[str, int]) -> None:
    """FcnError for a type that Caffe does not have, or numbers that it refuses for this type; also
    for Adam's decays outside [0, 1), with which Caffe's weights become NaN or do not change.
    lines: {field: line} of the solver's text."""
    if p.type not in RULES:
        raise FcnError(f"solver type '{p.type}' is unknown", line=lines.get('type'),
                       do=f'Use {", ".join(RULES)}.')
    rule = RULES[p.type]
    if not rule.momentum and p.momentum != 0:
        raise FcnError(f'momentum {p.momentum:g}, but {p.type} has none', do='Remove momentum.',
                       line=lines.get('momentum'))
    for name in rule.below_1:
        if not 0 <= getattr(p, name) < 1:
            raise FcnError(f'{name} {getattr(p, name):g} is not in [0, 1)', line=lines.get(name),
                           do=f'Give {p.type} a {name} from 0 to below 1.')
