"""A layer's own settings in a few words."""

from __future__ import annotations

from typing import Any

from ..layers import Layer
from ..net.graph import Node

# {field: how it is shown before its value; None: left out}, in the order in which they are shown
SHORT = {'num_output': '', 'kernel_size': 'k', 'kernel_h': 'kh', 'kernel_w': 'kw', 'stride': 's',
         'stride_h': 'sh', 'stride_w': 'sw', 'pad': 'p', 'pad_h': 'ph', 'pad_w': 'pw',
         'dilation': 'd', 'group': 'g', 'dropout_ratio': '', 'local_size': 'n', 'pool': '',
         'operation': '', 'global_pooling': 'global', 'bias_term': 'bias', 'offset': 'offset',
         'negative_slope': 'slope', 'engine': None, 'force_nd_im2col': None}


def settings_of(node: Node, cls: type[Layer] | None) -> str:
    """What a layer's own message says, in short: '64 k3 p100'."""
    if cls is None or not cls.fields:
        return ''
    out = []
    order = list(SHORT)
    fields = sorted(getattr(node.param, cls.fields).ListFields(), key=lambda pair: order.index(
        pair[0].name) if pair[0].name in SHORT else len(order))
    for descriptor, value in fields:
        label = SHORT.get(descriptor.name, descriptor.name)
        if label is None or descriptor.message_type:
            continue
        text = setting(descriptor, value)
        out.append(label if text == 'true' else f'no {label}' if text == 'false'
                   else label + (' ' if len(label) > 2 else '') + text)
    return ' '.join(out)


def setting(descriptor: Any, value: Any) -> str:
    """One field's value as a text."""
    values = list(value) if descriptor.is_repeated else [value]
    if descriptor.enum_type:
        values = [descriptor.enum_type.values_by_number[v].name for v in values]
    if descriptor.type == descriptor.TYPE_BOOL:
        values = [str(v).lower() for v in values]
    return ','.join(f'{v:.6g}' if isinstance(v, float) else str(v) for v in values)
