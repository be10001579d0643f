"""Base class of the layers: arity, parameters, shape inference, forward, and traits.

A layer is built once for its node and holds no tensor: `shape` and `parameters` are functions of
the bottoms' shapes, `forward` of the bottoms and the parameters. Backward is autograd's.
"""

import operator
import zlib
from collections.abc import Callable
from typing import Any

import torch

from ...errors import FcnError
from ...proto import TRAIN, FillerParameter
from ...sizes import dims
from . import coordinates
from .exporting import OnnxNodes, TorchCode

ANY = None      # in an arity: no upper limit


class Layer:
    """Base class of all layer types.

    The class attributes and the methods from `window` on say everything that passes, plans, the
    heatmap, pycaffe and the comparison of ties want to know of a type. None of them has a list of
    type names. The defaults claim nothing, so a new type is safe without them.
    """

    type = None          # Caffe's name of the type; None: a base class
    bottoms = 1          # how many, or (least, most)
    tops = 1
    loss = False         # Caffe's LossLayer: the first top has loss weight 1 unless given
    auto_tops = 0        # tops that are made where a text gives fewer (AutoTopBlobs); a loss: 1
    internal = False     # unknown to Caffe: made by passes (common/internal.py)
    fields = None        # name of its message in LayerParameter
    further_messages = ()   # other messages of LayerParameter that it reads
    own_fields = ()      # of fcn_repro_param, this project's own message, those that it reads
    unsupported = ()     # fields of its own message that are rejected when they are set
    instead = 'Remove the field.'   # of them
    ignored = ()         # those that change no result here ('engine'); of other messages, dotted
    dialect_fields = ()  # dotted paths of what a dialect adds and this class reads (fields.py)

    # What plans and executors may do
    in_place = False         # a top may be written over its bottom
    overwritable = False     # backward does not read the tops: an in-place layer may destroy them
    shares_data = False      # the tops are the bottom's memory
    stateful = False         # forward continues from what the forward pass before left
    synchronised = False     # its passes exchange values with those of the other processes
    replayable = True        # forward and backward are fixed sequences of kernels (CUDA graphs)
    product = False      # computes in the net's 16-bit type, where it has one (net/plan.py)
    makes_tops = False   # its tops surely have memory of their own (net/cost.py)
    reads_data = False   # its tops depend on files, or on a user's code
    narrow = False       # takes 16-bit floats as they come; the others get float32
    casts_bottoms = None    # of a product: how many leading bottoms are cast (None: all)
    casts_params = True  # of a product: its parameters, too, are given in the 16-bit type

    # What it computes
    position_invariant = False      # one continuous function of what `window` covers, everywhere
    spatial_axes = None             # how many its settings need; None: any
    keeps_coordinates = False       # cell (i, j) of the top is at (i, j) of the bottom
    local = False                   # cell (i, j) of a top reads the cells (i, j) of its bottoms
    content_bottoms = None          # number of leading bottoms that give the top its values
    #                                 (None: all); the others give its size alone
    linear = False                  # in the bottoms, but for a bias
    passes_values = False           # the top's values are some or all of the first bottom's
    aligned = False                 # a Crop without crop_param aligns its bottoms (net/crops.py)
    balanced = False                # a loss that weighs targets by their shares (net/lookalikes.py)
    batch_statistics = False        # normalises by those of its batch in TEST too, and keeps none
    unsupervised = False            # a loss of predictions and images, without targets
    decision = None                 # of a one-channel top: the value above which it means yes
    keeps_ranking = False           # TEST: ranks the classes of a position as its bottom does

    def __init__(self, node, state):
        self.node, self.state = node, state
        param = node.param
        self.param = getattr(param, self.fields) if self.fields else None
        self._check_arity('bottom', len(node.bottoms), self.bottoms)
        self._check_arity('top', len(node.tops), self.tops)
        down, bottom = len(param.propagate_down), param.bottom[:]
        if down not in (0, len(bottom)):
            raise self.error(f'{down} propagate_down for {len(bottom)} bottoms',
                             'Give one for each bottom.')
        # whether a top is written over its bottom: they have one name
        self.overwrites = any(map(operator.eq, bottom, param.top[:]))
        if self.overwrites and not self.in_place:
            raise self.error(f'in-place {self.type}', 'Give the top a name of its own.')
        self.loss_weights = self._read_loss_weights()
        for name in self.unsupported:
            if self.param.HasField(name):
                raise self.error(f'{self.fields}.{name} is not supported', self.instead)
        self.setup()

    def setup(self):
        """Read the fields of the message; raise self.error for values that make no sense."""

    def parameters(self, bottoms: list[tuple]) -> list[tuple]:
        """[(shape, filler), …] of the parameter blobs for these bottom shapes."""
        return []

    def shape(self, bottoms: list[tuple]) -> list[tuple]:
        """The top shapes for these bottom shapes: a list of tuples."""
        raise NotImplementedError(self.type)

    def forward(self, bottoms: list[torch.Tensor], params: list) -> list[torch.Tensor]:
        """The top tensors, a list, of the bottom tensors and the parameter tensors."""
        raise NotImplementedError(self.type)

    def write(self, params: list, values: tuple[torch.Tensor, ...]) -> None:
        """Write into the parameters what a forward pass postponed (RunState.postponed); of a type
        whose forward pass changes them."""
        raise NotImplementedError(self.type)

    @classmethod
    def assumed_tops(cls, node, size: tuple[int, int] | None) -> list[tuple] | None:
        """The top shapes of a node of a type that reads_data, for images of this size (H, W) and
        without opening any file; None where the text does not tell them."""
        return None

    def scratch(self, bottoms: list[tuple]) -> int:
        """How many values forward surely holds at once beside its bottoms, parameters and tops, for
        these bottom shapes; 0 claims nothing."""
        return 0

    def window(self) -> tuple | None:
        """What a cell of the top reads of two spatial axes, in a layer that is position_invariant:
        (kernel, stride, pad), pairs (y, x), the kernel as wide as dilation makes it. None where
        its settings make positions differ."""
        return ((1, 1), (1, 1), (0, 0)) if self.position_invariant else None

    def reads(self, bottom: tuple) -> tuple | None:
        """What a cell of the top reads of a first bottom (N, C, H, W) of this shape, for each of y
        and x: (kernel, stride, pad, up), where cell j reads those cells i with
        j stride - pad <= up i < j stride - pad + kernel. None: all of them, or not known.
        Statistics over the whole blob (BatchNorm) do not count."""
        found = self.reach(bottom) or (
            (coordinates.Reach(),) * 2 if self.keeps_coordinates else None)
        return found and tuple((axis.high - axis.low + 1, axis.step, -axis.low, axis.every)
                               for axis in found)

    def macs(self, bottoms: list[tuple]) -> int:
        """Multiply-adds of the products in a forward pass for these bottom shapes; arithmetic value
        by value does not count."""
        return 0

    def reach(self, bottom: tuple) -> tuple | None:
        """What a cell of a top reads of two spatial axes, anywhere: two coordinates.Reach, (y, x),
        for a first bottom of this shape (N, C, H, W). None where it may read all of them, or where
        what it computes depends on more than these cells."""
        if len(bottom) != 4:
            return None
        window = self.window() if self.position_invariant else None
        if window is not None:
            return tuple(coordinates.Reach.sliding(*axis) for axis in zip(*window, strict=True))
        return (coordinates.Reach(),) * 2 if self.local else None

    def spread(self, by: tuple[int, int]) -> Any:
        """The node of this layer with stride 1, the cells of its window `by` cells (y, x) apart:
        what it computes for a bottom that has `by` times as many cells a side (net/dense.py). None
        where the type has no such form."""
        return None

    @classmethod
    def learns(cls, param: Any) -> int:
        """How many blobs a layer of this message learns whose text has no `param`."""
        return 0

    @classmethod
    def folds(cls, param: Any) -> bool:
        """Whether a layer of this message, with one bottom, is in TEST a scale and a shift for each
        channel (axis 1) that its parameters alone give: what `affine` returns."""
        return False

    def affine(self, params: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(scale, shift), each (C,), of a layer that folds: the top is scale x + shift; None where
        that depends on more than the parameters."""
        return None

    def macs_per_cell(self, channels: int) -> tuple[float, int]:
        """(multiply-adds of one cell of the top, its channels) for a bottom of `channels`."""
        return 0, channels

    @classmethod
    def coord_map(cls, settings: dict) -> tuple | None:
        """The coordinate map (common/coordinates.py) for a layer's settings as NetSpec takes them,
        a dict; None for a type that has none."""
        return coordinates.IDENTITY if cls.keeps_coordinates else None

    def cell_map(self, bottom: tuple) -> tuple | None:
        """The coordinate map of this very layer for a first bottom of this shape, or None."""
        return self.coord_map({})

    def overwriting(self) -> 'Layer':
        """This layer, or a copy of it that computes its top in the bottom's memory, for a bottom
        without other readers."""
        return self

    def constant_tops(self) -> dict[int, torch.Tensor]:
        """{i: tensor} of the tops that are equal in every forward pass; a pycaffe user may
        overwrite them."""
        return {}

    def torch_code(self, code: TorchCode) -> str | None:
        """How the tops are computed in PyTorch (TEST), as an expression: of several tops one for
        each, separated by commas; None where there is nothing to do. FcnError for a type or a
        setting that has no such form."""
        raise self.not_exported('PyTorch code', 'torch_code')

    def onnx_nodes(self, nodes: OnnxNodes) -> list[str]:
        """Add the standard ONNX operators (opset 13) that compute the tops (TEST); the names of
        their results. FcnError for a type or a setting that has no such form."""
        raise self.not_exported('ONNX', 'onnx_nodes')

    def not_exported(self, form: str, method: str) -> FcnError:
        """The FcnError for a type without an export of this form."""
        if self.loss or not self.node.bottoms or not self.node.tops or self.type == 'Accuracy':
            do = 'Export a deploy net: its data come from an Input layer, and it has no loss.'
        else:
            do = 'Write it with other layers, or cut the net before it; a class of your own ' \
                 f'says how by {method} (docs/extending.md).'
        return self.error(f'this type cannot be exported as {form}', do)

    @property
    def train(self) -> bool:
        phase = self.node.param.phase if self.node.param.HasField('phase') else self.state.phase
        return phase == TRAIN

    def _read_loss_weights(self) -> list[float]:
        """One weight a top (LayerParameter.loss_weight; 1 for a loss layer without it)."""
        count = len(self.node.tops)
        given = self.node.param.loss_weight[:] or [1.0] * self.loss
        if given and len(given) != count:
            raise self.error(f'{len(given)} loss_weight for {count} tops', 'Give one for each top.')
        return given or [0.0] * count

    def draws(self, *what, device='cpu'):
        """A generator seeded by the net's seed, the layer's name and `what`. The second layer of
        a name and those after it draw from streams of their own."""
        key = '/'.join(map(str, (self.state.seed, self.node.unique_name, *what)))
        return torch.Generator(device).manual_seed(zlib.crc32(key.encode()))

    def random(self, make: Callable[[], torch.Tensor],
               fill: Callable[[torch.Tensor], Any]) -> torch.Tensor:
        """make(), filled in place by fill(tensor) with what this layer draws at the net's position.
        While a pass is recorded, one tensor that is filled anew before each replay."""
        kept = self.state.drawn
        if kept is not None and self in kept:
            return kept[self][0]
        tensor = make()
        fill(tensor)
        if kept is not None:
            kept[self] = tensor, fill
        return tensor

    def axis(self, axis: int, shape: tuple, what: str = 'axis') -> int:
        """A possibly negative axis of a blob as a non-negative one. `what`: its name in errors."""
        if not -len(shape) <= axis < len(shape):
            raise self.error(f'{what} {axis} is outside a blob of shape {dims(shape)}',
                             f'Use {-len(shape)} to {len(shape) - 1}.')
        return axis % len(shape)

    def error(self, what: str, do: str = '') -> FcnError:
        """An FcnError with this layer's line, name and type."""
        return FcnError(what, do=do, line=self.node.line, layer=self.node.name, type=self.type)

    def placed(self, error: FcnError) -> FcnError:
        """An FcnError with this layer's name and type, and its line unless it names a file."""
        line = self.node.line if error.file is None else None
        return error.at(line=line, layer=self.node.name, type=self.type)

    def _check_arity(self, what, count, allowed):
        least, most = allowed if isinstance(allowed, tuple) else (allowed, allowed)
        if count < least or (most is not ANY and count > most):
            wanted = least if least == most else f'{least} or more' if most is ANY \
                else f'{least} to {most}'
            raise self.error(f'{count} {what}s, but this type takes {wanted}',
                             f'Fix the {what} lines of the layer.')


def constant(value=0.0):
    return FillerParameter(type='constant', value=value)
