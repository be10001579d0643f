"""One random layer with its bottoms, and what the lists of them are drawn with."""

from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st

from fcn_repro.layers import TYPES, RunState
from fcn_repro.net.graph import Node
from fcn_repro.proto import TEST, LayerParameter


@dataclass
class Case:
    """A layer and its bottoms; learn: which bottoms have a gradient; params: None draws them."""
    type: str
    bottoms: list
    settings: dict = field(default_factory=dict)
    tops: int = 1
    learn: tuple = (0,)
    params: list | None = None
    parts: tuple = ()
    setting: tuple | None = None

    def layer(self, phase=TEST):
        return make_layer(self.type, len(self.bottoms), self.tops, self.settings, phase,
                          self.parts, self.setting)

    def shapes(self):
        return [tuple(x.shape) for x in self.bottoms]

    def weights(self, layer):
        """The parameter tensors, none of them symmetric or zero."""
        if self.params is not None:
            return self.params
        return [distinct(shape, 7 + i) for i, (shape, _) in enumerate(
            layer.parameters(self.shapes()))]


def make_node(type, bottoms, tops, settings, parts=(), setting=None):
    param = LayerParameter(name='it', type=type, bottom=[f'b{i}' for i in range(bottoms)],
                           top=[f't{i}' for i in range(tops)], **settings)
    return Node('it', type, param, tuple(range(bottoms)),
                tuple(range(bottoms, bottoms + tops)), 1, parts, setting)


def make_layer(type, bottoms, tops, settings, phase=TEST, parts=(), setting=None):
    return TYPES[type](make_node(type, bottoms, tops, settings, parts, setting), RunState(phase))


def distinct(shape, seed=0):
    """Float64 values in (-1, 1), all different, none near 0: no ties and no kinks."""
    count = max(1, torch.Size(shape).numel())
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return ((2 * order + 1 - count + (count % 2) * 0.5) / (count + 1)).double().reshape(shape)


def ints(draw, least, most):
    return draw(st.integers(least, most))


def blob(draw, least=1, most=5, seed=0, size=3):
    """A tensor of `least` to `most` axes."""
    return distinct([ints(draw, 1, size) for _ in range(ints(draw, least, most))], seed)


def weighted_and_sampled(draw, classes):
    """An fcn_repro_param of a loss, perhaps with all that it may hold."""
    if draw(st.booleans()):
        return {}
    return {'class_weight': [1.5 * c for c in range(classes)],
            'keep_ratio': draw(st.sampled_from([0.25, 0.5, 1])), 'keep_cell': ints(draw, 1, 3)}


@st.composite
def unary(draw, type, **settings):
    return Case(type, [blob(draw, 0)], {k: draw(v) for k, v in settings.items()})
