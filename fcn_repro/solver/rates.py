"""Caffe's learning rate policies (SGDSolver::GetLearningRate), in the precision that they have in
C++: float32, except for a power with an integer exponent: double, rounded to float32 at the end."""

import math
from typing import Any

import numpy as np

from ..errors import FcnError

F = np.float32


def fixed(p, it, step):
    return F(p.base_lr)


def by_step(p, it, step):
    return F(p.base_lr * p.gamma ** step)


def exp(p, it, step):
    return F(p.base_lr * p.gamma ** it)


def inv(p, it, step):
    return F(p.base_lr) * (F(1) + F(p.gamma) * F(it)) ** -F(p.power)


def poly(p, it, step):
    return F(p.base_lr) * (F(1) - F(it) / F(p.max_iter)) ** F(p.power)


def sigmoid(p, it, step):
    # in float64 and rounded: numpy's own float32 exp is off by one ulp; far before stepsize it is
    # infinite in float32, and the rate 0
    power = -F(p.gamma) * (F(it) - F(p.stepsize))
    e = F(math.exp(power)) if power < 88.7 else F(math.inf)
    return F(p.base_lr) * (F(1) / (F(1) + e))


POLICIES = {'fixed': fixed, 'step': by_step, 'exp': exp, 'inv': inv, 'multistep': by_step,
            'poly': poly, 'sigmoid': sigmoid}
NEEDS = {'step': ('gamma', 'stepsize'), 'exp': ('gamma',), 'inv': ('gamma', 'power'),
         'multistep': ('gamma',), 'poly': ('power',), 'sigmoid': ('gamma', 'stepsize')}


def check_policy(p: Any) -> None:
    """FcnError for a policy that Caffe does not have, or one without its fields."""
    if p.lr_policy not in POLICIES:
        raise FcnError(f"lr_policy '{p.lr_policy}' is unknown", do=f'Use {", ".join(POLICIES)}.')
    for name in NEEDS.get(p.lr_policy, ()):
        if not p.HasField(name):
            raise FcnError(f"lr_policy '{p.lr_policy}' needs {name}", do=f'Set {name}.')
    if p.HasField('gamma') and p.gamma < 0:
        raise FcnError(f'gamma {p.gamma} is negative', do='Use 0 or more.')
    if 'stepsize' in NEEDS.get(p.lr_policy, ()) and p.stepsize <= 0:
        raise FcnError(f'stepsize {p.stepsize} is not positive', do='Use 1 or more.')


def current_step(p: Any, it: int, step: int) -> int:
    """SolverState's current_step at iteration `it`; multistep advances by at most one a call."""
    if p.lr_policy == 'step':
        return it // p.stepsize
    if p.lr_policy == 'multistep' and step < len(p.stepvalue) and it >= p.stepvalue[step]:
        return step + 1
    return step


def learning_rate(p: Any, it: int, step: int) -> np.float32:
    """The rate of SolverParameter p at iteration `it` (float32)."""
    return POLICIES[p.lr_policy](p, it, step)
