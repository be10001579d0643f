"""What layers are given to say how they are exported: as PyTorch code, and as nodes of ONNX.

Layer.torch_code gets a TorchCode, Layer.onnx_nodes an OnnxNodes; the package export has them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

FLOAT, INT64, BOOL = 1, 7, 9         # onnx.TensorProto's numbers of element types


class TorchCode(Protocol):
    """The PyTorch module that is being written, at one layer.

    bottoms: the names of the variables that hold them. shapes: their shapes at the net's size;
    dims: the same with None for an axis that may have another length when the module runs.
    blobs: the layer's parameters, as arrays.
    """
    bottoms: list[str]
    shapes: list[tuple[int, ...]]
    dims: list[tuple[int | None, ...]]
    blobs: list[np.ndarray]

    def module(self, call: str, *names: str, shape: tuple[int, ...] | None = None,
               **values: np.ndarray) -> str:
        """Make `call` ('nn.Linear(3, 4)') a submodule under the layer's name; its name. names: of
        its tensors that hold the layer's parameters, in order; shape: theirs there, where it
        differs from the parameters'; values: other tensors of it."""

    def parameter(self) -> str:
        """Make the layer's first parameter one of the module; its name."""

    def helper(self, source: Callable) -> str:
        """Copy a class or function, which needs torch alone, before the module, once; its name."""


class OnnxNodes(Protocol):
    """The ONNX graph that is being written, at one layer. bottoms: names of values; params: names
    of the initializers that hold the layer's parameters; shapes, dims and blobs as in TorchCode."""
    bottoms: list[str]
    params: list[str]
    shapes: list[tuple[int, ...]]
    dims: list[tuple[int | None, ...]]
    blobs: list[np.ndarray]

    def op(self, type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; its name."""

    def ops(self, count: int, type: str, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with `count` outputs; their names."""

    def floats(self, values: Any) -> str:
        """The name of a float32 constant."""

    def ints(self, values: Sequence[int]) -> str:
        """The name of an int64 constant, a vector."""

    def extents(self, index: int, start: int, end: int) -> str:
        """The name of an int64 vector: the lengths of axes start to end - 1 of a bottom."""


def number(value: float) -> str:
    """The shortest literal of the same float32."""
    text = str(np.float32(value))
    return f"float('{text}')" if text.lstrip('-') in ('inf', 'nan') else text


def brief(values: Iterable[int]) -> str:
    """One number where all are equal, else a tuple; as torch's functions take them."""
    values = tuple(values)
    return str(values[0]) if len(set(values)) == 1 else str(values)


def arguments(*given: Any, **named: tuple[Any, Any]) -> str:
    """The text of a call's arguments. named: {name: (value, default)}, left out at the default."""
    texts = [str(value) for value in given]
    return ', '.join([*texts, *(f'{name}={value}' for name, (value, default) in named.items()
                                if str(value) != str(default))])


def sizes_text(name: str, dims: Sequence[int | None], start: int, end: int) -> list[str]:
    """The lengths of axes of a tensor as code: numbers where they are fixed."""
    return [str(dims[i]) if dims[i] is not None else f'{name}.shape[{i}]'
            for i in range(start, end)]
