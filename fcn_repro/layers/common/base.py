"""What every layer type is made of: arity, parameters, shape, forward.

A layer is built once for its node and holds no tensor: `shape` and `parameters` are functions of
the bottoms' shapes, `forward` of the bottoms and the parameters. Backward is autograd's.
"""

import zlib
from dataclasses import dataclass, field

import torch

from ...data.prefetch import default_workers
from ...errors import FcnError
from ...proto import TRAIN, FillerParameter

ANY = None      # in an arity: no upper limit


@dataclass
class RunState:
    """What a net's layers share. position counts the forward passes before this one: data layers
    and Dropout are functions of it and of the seed, so a restored run goes on to the same bits."""
    phase: int
    seed: int = 0
    position: int = 0
    folder: str = '.'           # relative paths in the text start here
    overrides: dict = field(default_factory=dict)   # {Python layer: keys of its param_str}
    blas: bool = False          # products as Caffe computes them: ops/blas.py
    workers: int = field(default_factory=default_workers)   # threads that read ahead for each layer
    gpu: torch.device | None = None         # where they put it; None: nowhere but on the host
    winograd: bool = False      # convolutions on the CPU: ops/conv.py
    gemm: bool = False
    prepack: bool = False       # filters that these lay out are kept where nobody goes backward


class Layer:
    """Base of all layer types; `type` is Caffe's name of it."""

    type = None
    bottoms = 1          # how many, or (least, most)
    tops = 1
    loss = False         # Caffe's LossLayer: the first top has loss weight 1 unless given
    fields = None        # name of its message in LayerParameter
    further_messages = ()   # other messages of LayerParameter that it reads
    unsupported = ()     # fields of its own message that are rejected when they are set
    ignored = ()         # those that change no result here ('engine'); of other messages, dotted
    dialect_fields = ()  # dotted paths of what a dialect adds and this class reads (fields.py)
    in_place = False     # whether a top may be written over its bottom
    product = False      # computes in the net's 16-bit type, where it has one (net/plan.py)
    narrow = False       # takes 16-bit floats as they come; the others get float32

    def __init__(self, node, state):
        self.node, self.state = node, state
        self.param = getattr(node.param, self.fields) if self.fields else None
        self._check_arity('bottom', len(node.bottoms), self.bottoms)
        self._check_arity('top', len(node.tops), self.tops)
        down = len(node.param.propagate_down)
        if down not in (0, len(node.param.bottom)):
            raise self.error(f'{down} propagate_down for {len(node.param.bottom)} bottoms',
                             'Give one for each bottom.')
        if self.overwrites and not self.in_place:
            raise self.error(f'in-place {self.type}', 'Give the top a name of its own.')
        self.loss_weights()
        for name in self.unsupported:
            if self.param.HasField(name):
                raise self.error(f'{self.fields}.{name} is not supported', 'Remove the field.')
        self.setup()

    def setup(self):
        """Read the message's fields; reject what makes no sense."""

    def parameters(self, bottoms):
        """[(shape, filler), …] of the parameter blobs for these bottom shapes."""
        return []

    def shape(self, bottoms):
        """The top shapes for these bottom shapes: a list of tuples."""
        raise NotImplementedError(self.type)

    def forward(self, bottoms, params):
        """The top tensors, a list, of the bottom tensors and the parameter tensors."""
        raise NotImplementedError(self.type)

    @property
    def train(self):
        phase = self.node.param.phase if self.node.param.HasField('phase') else self.state.phase
        return phase == TRAIN

    @property
    def overwrites(self):
        """Whether a top is written over its bottom: they have one name."""
        return any(b == t for b, t in zip(self.node.param.bottom, self.node.param.top))

    def loss_weights(self):
        """One weight a top (LayerParameter.loss_weight; 1 for a loss layer without it)."""
        count = len(self.node.tops)
        given = list(self.node.param.loss_weight) or [1.0] * self.loss
        if given and len(given) != count:
            raise self.error(f'{len(given)} loss_weight for {count} tops', 'Give one for each top.')
        return given or [0.0] * count

    def draws(self, *what, device='cpu'):
        """A generator: a function of the net's seed, the layer's name and `what`."""
        key = '/'.join(map(str, (self.state.seed, self.node.name, *what)))
        return torch.Generator(device).manual_seed(zlib.crc32(key.encode()))

    def axis(self, axis, shape, what='axis'):
        """A possibly negative axis of a blob as a non-negative one."""
        if not -len(shape) <= axis < len(shape):
            raise self.error(f'{what} {axis} is outside a blob of shape {show(shape)}',
                             f'Use {-len(shape)} to {len(shape) - 1}.')
        return axis % len(shape)

    def error(self, what, do=''):
        return FcnError(what, do=do, line=self.node.line, layer=self.node.name, type=self.type)

    def _check_arity(self, what, count, allowed):
        least, most = allowed if isinstance(allowed, tuple) else (allowed, allowed)
        if count < least or (most is not ANY and count > most):
            wanted = least if least == most else f'{least} or more' if most is ANY \
                else f'{least} to {most}'
            raise self.error(f'{count} {what}s, but this type takes {wanted}',
                             f'Mend the {what} lines of the layer.')


def show(shape):
    """(2, 3, 4) as 2x3x4."""
    return 'x'.join(str(d) for d in shape) or 'scalar'


def constant(value=0.0):
    return FillerParameter(type='constant', value=value)
