"""What the layers of one net share: its execution options, its seed and its position."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...data.order import Share
from ...data.prefetch import default_workers
from ...search import SearchPath

# {name: the type of matrix products and convolutions, where that has 16 bits}
PRECISIONS = {'fp32': None, 'tf32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
CPU = torch.device('cpu')


@dataclass(frozen=True)
class ExecutionOptions:
    """How a net computes. Only `precision` and `blas` change its results, in rounding alone.

    device: of parameters and activations. channels_last: memory format of 4-D filters and inputs.
    precision: a key of PRECISIONS. winograd, gemm: allow these convolution algorithms
    (ops/conv.py); prepack: cache the filters that they lay out while autograd is off. graphs:
    replay CUDA graphs (net/cuda_graphs.py, net/train_graphs.py). workers: reading threads of each
    data layer. blas: multiply matrices as Caffe does on the CPU (ops/blas.py).
    """
    device: torch.device = CPU
    channels_last: bool = False
    precision: str = 'fp32'
    winograd: bool = False
    gemm: bool = False
    prepack: bool = False
    graphs: bool = False
    workers: int = field(default_factory=default_workers)
    blas: bool = False

    @property
    def dtype(self) -> torch.dtype | None:
        """The 16-bit type of products; None in float32 and TF32."""
        return PRECISIONS[self.precision]

    @property
    def gpu(self) -> torch.device | None:
        """The device if it is a GPU, else None."""
        return self.device if self.device.type == 'cuda' else None


@dataclass
class RunState:
    """Written by the net alone, read by its layers.

    Fixed with the net: phase; search, where relative paths of the text are looked for; overrides,
    {class of a Python data layer: keys of its param_str to replace}; writes, the folders in which
    layers may write files.
    Replaced as a whole by `Net.place`: options.
    Moved by `Net.seek` and by forward passes: seed and position, the number of forward passes so
    far. Data layers and Dropout are functions of these two, so a restored run continues with the
    same bits.
    Set while a part of a large image runs: whole, {Node.key: shape of the layer's bottom in the
    whole image}, by which convolutions choose their algorithms, so that a part has the bits of the
    whole.
    filters: {Node.key: a cache of what an algorithm made of the layer's filters}, which the layers
    that plans make of one node share.
    Set by a solver whose iterations several processes compute: share, the passes of this one, by
    which data are read ahead; postponed, which collects (position, Node.key, values) for
    Layer.write, so that the solver can write all in the order of positions (None: layers write at
    once).
    together: the group of processes, while all of them compute a training pass side by side; layers
    may exchange values then (together.py).
    Set while a training pass is recorded (net/train_graphs.py): unchecked, by which loss layers
    give NaN for a bad label instead of waiting for the GPU to find it; drawn, which keeps what
    random layers draw, {layer: (tensor, what fills it)}; postponed, as above.
    """
    phase: int
    seed: int = 0
    position: int = 0
    search: SearchPath = field(default_factory=SearchPath)
    overrides: dict = field(default_factory=dict)
    writes: tuple[Path, ...] = ()
    options: ExecutionOptions = field(default_factory=ExecutionOptions)
    whole: dict[tuple[str, int], tuple] = field(default_factory=dict)
    filters: dict[tuple[str, int], Any] = field(default_factory=dict, compare=False)
    share: Share = field(default_factory=Share)
    postponed: list[Any] | None = None
    together: Any = None
    unchecked: bool = False
    drawn: dict[Any, Any] | None = None
