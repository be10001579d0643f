"""The solver's update of all parameters: in one pass over the arrays, and its reference by rules.

Schema, argument checks and kernels are C++ (csrc/update*); each number of data, diff and histories
is read once and written once, with the bits that the rules of rules.py give on this machine.
"""

from collections.abc import Sequence
from typing import Any

import torch

from .. import ops
from ..errors import FcnError
from ..net.blob import ParamBlob
from .rules import RULES, adam_rate


@torch.no_grad()
def fused_update(p: Any, params: Sequence[ParamBlob], history: Sequence[torch.Tensor],
                 rate: float, t: int, clip: float) -> None:
    """Update data, diffs and histories for iteration t, from 1.

    params: float32 or float64, all on one device. history: tensors like them, all first ones before
    all second ones. rate: before lr_mult. clip: factor of the diffs. A blob without a gradient has
    a diff of 0. lr_mult 0 leaves the data unchanged. FcnError where arrays do not fit together.
    """
    rule, count = RULES[p.type], len(params)
    used = [i for i in range(count) if params[i].lr_mult or not rule.rated]
    if not used:
        return
    data = [params[i].parameter for i in used]
    moves = [params[i].lr_mult != 0 for i in used]
    diffs = [torch.zeros_like(d) if d.grad is None else d.grad for d in data]
    histories = [history[i + k * count] for k in range(rule.histories) for i in used]
    rates = [rate * params[i].lr_mult for i in used]
    if p.type == 'Adam':
        rates = [adam_rate(r, p, t) for r in rates]
    try:
        torch.ops.fcn_repro.fused_update(
            data, diffs, histories, p.type, rates,
            [p.weight_decay * params[i].decay_mult for i in used],
            moves, p.regularization_type == 'L1', clip,
            p.rms_decay if p.type == 'RMSProp' else p.momentum, p.momentum2, p.delta)
    except ValueError as error:
        raise FcnError(str(error)) from None
    written = [tensor for tensor, moved in zip(data, moves, strict=True) if moved]
    torch.autograd.graph.increment_version([*written, *diffs, *histories])


@torch.no_grad()
def update_ref(p: Any, params: Sequence[ParamBlob], history: Sequence[torch.Tensor],
               rate: float, t: int, clip: float) -> None:
    """Reference that defines fused_update: multiply by clip, add the weight decay, subtract the
    rule's step, one tensor operation after the other."""
    rule = RULES[p.type]
    for i, blob in enumerate(params):
        own, decay = rate * blob.lr_mult, p.weight_decay * blob.decay_mult
        if blob.lr_mult == 0 and rule.rated:    # the others' histories change at a rate of 0
            continue
        diff = blob.parameter.grad
        if diff is None:            # not under the loss: Caffe's diff is 0, and still decays
            diff = torch.zeros_like(blob.parameter)
        if clip != 1:
            diff.mul_(clip)
        if decay:
            data = blob.parameter
            diff.add_(data if p.regularization_type == 'L2' else data.sign(), alpha=decay)
        step = rule.step(diff, history[i::len(params)], own, p, t)
        if blob.lr_mult:            # else the data is not even touched
            blob.parameter.sub_(step)


@torch.library.register_fake('fcn_repro::fused_update')
def _(data, diff, history, rule, rates, decays, moves, l1, clip, keep, keep2, delta):
    for i, tensor in enumerate((*data, *diff, *history)):
        ops.refuse_devices('fused_update', data[0], **{f'array {i}': tensor})
