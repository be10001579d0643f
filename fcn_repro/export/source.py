"""What is exported: a deploy net with its weights, its sizes, and what its users have to know."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import fcn_repro

from ..data.image import MEAN
from ..data.palette import palette
from ..errors import FcnError, short
from ..net.graph import Node
from ..net.net import Net, Shape

FARTHER = {0: 1, 2: 1024, 3: 1024}      # axes of an input, longer by this, show which follow them
MEAN_LENGTH = 3
SIZE_WANTED = 'Give the size as (height, width), two numbers from 1 on.'


@dataclass(frozen=True)
class Source:
    """A deploy Net, which is not changed, for export.

    classes: names by index, or None. mean: subtracted from the pixels, BGR. colours: (256, 3) uint8
    RGB of the classes, None for VOC's. size: (height, width)
    of the input, the only one that the export shall take; None: the net's own, and any other that
    the net takes. FcnError for a net that reads its data itself, and for a size that it does not
    take.
    """
    net: Net
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] = MEAN
    colours: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for node in self.net.graph.nodes:
            if not node.bottoms and node.type not in ('Input', 'Parameter', 'DummyData'):
                raise FcnError('this net reads its data by itself, as train and val nets do',
                               file=self.net.graph.file, line=node.line, layer=node.name,
                               type=node.type, do='Export a deploy net, whose input is an Input '
                                                  "layer 'data'.")
        if not self.inputs or not self.net.graph.outputs:
            raise FcnError('a net without input or output cannot be exported',
                           file=self.net.graph.file, do='Give a deploy net: an Input layer, and a '
                           'blob that no layer reads.')

    @property
    def name(self) -> str:
        """The net's name, else that of the folder or file of its text."""
        file = Path(self.net.graph.file)
        folder = file.resolve().parent
        folder = folder.parent if folder.name == 'net' else folder      # of a run
        return self.net.graph.name or (folder.name if file.stem == 'deploy' else file.stem)

    @cached_property
    def inputs(self) -> list[int]:
        """The values of the inputs."""
        return [v for node in self.net.graph.nodes if node.type == 'Input' for v in node.tops]

    @cached_property
    def outputs(self) -> list[int]:
        """The values of the outputs, in the order of their names."""
        return [self.net.graph.last(blob) for blob in self.net.graph.outputs]

    @cached_property
    def shapes(self) -> dict[int, Shape]:
        """{value: shape} at the size of the export: the text's own, whatever the latest pass had,
        or the one that is given."""
        given = {v: tuple(shape) for node in self.net.graph.nodes if node.type == 'Input'
                 for v, shape in zip(node.tops, self.net.layer(node).shape([]), strict=True)}
        if self.size is not None:
            if len(self.size) != 2 or min(self.size) < 1:
                raise FcnError(f'the size is {self.size}', do=SIZE_WANTED)
            if len(given) != 1 or len(given[self.inputs[0]]) != 4:
                raise FcnError('a size is given, and the net does not have one input of 4 axes',
                               file=self.net.graph.file, do='Set the shapes of its Input layers.')
            given[self.inputs[0]] = (*given[self.inputs[0]][:2], *self.size)
        return self._inferred(given)

    @cached_property
    def dims(self) -> dict[int, tuple[int | None, ...]]:
        """{value: shape}, None for each axis whose length follows that of an input: of a net with
        one input of 4 axes the batch, height and width, where the net takes other lengths."""
        shapes = self.shapes
        dims = {v: list[int | None](shape) for v, shape in shapes.items()}
        value, = self.inputs if len(self.inputs) == 1 else (None,)
        if self.size is not None or value is None or len(shapes[value]) != 4:
            return {v: tuple(shape) for v, shape in dims.items()}
        for axis, more in FARTHER.items():
            longer = list(shapes[value])
            longer[axis] += more
            try:
                others = self._inferred({value: tuple(longer)})
            except FcnError:                # the net takes this length alone
                continue
            for v, shape in others.items():
                for i, (a, b) in enumerate(zip(shapes[v], shape, strict=True)):
                    if a != b:
                        dims[v][i] = None
        return {v: tuple(shape) for v, shape in dims.items()}

    def _inferred(self, given: dict[int, Shape]) -> dict[int, Shape]:
        shapes, declared = self.net.infer_shapes(given)
        for key, wanted in declared.items():
            for (new, _), (old, _) in zip(wanted, self.net.declared[key], strict=True):
                if tuple(new) != tuple(old):
                    raise FcnError(f'the net does not take an input of {list(given.values())}',
                                   file=self.net.graph.file, layer=key[0],
                                   do="Export it at the size of its text's Input layer.")
        return shapes

    def blobs(self, node: Node) -> list[np.ndarray]:
        """The parameters of a node's layer, float32."""
        return [blob.data.to('cpu').float().contiguous().numpy()
                for blob in self.net.layer_params.get(node.key, ())]

    def text_of(self, value: int) -> str:
        """A value's shape as '1x3x500x500'."""
        return 'x'.join(map(str, self.shapes[value])) or 'scalar'

    @property
    def palette(self) -> np.ndarray:
        """The colours of the classes that have names, (C, 3) uint8 RGB."""
        colours = palette() if self.colours is None else self.colours
        return colours[:len(self.classes or ())]

    def metadata(self) -> dict[str, str]:
        """What the users of an export have to know, {name: text}; lists as JSON. Keys: net,
        channel_order, mean, classes and palette (where there are class names), source, writer."""
        facts: dict[str, Any] = {'net': self.name, 'channel_order': 'BGR',
                                 'mean': list(self.mean)}
        if self.classes:
            facts['classes'] = list(self.classes)
            facts['palette'] = self.palette.tolist()
        facts['source'] = Path(self.net.graph.file).name
        facts['writer'] = f'fcn_repro {fcn_repro.__version__}'
        return {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                for key, value in facts.items()}


def check_classes(classes: Sequence[str] | None) -> tuple[str, ...] | None:
    """Class names as a tuple; FcnError for more than 256 or what is no text."""
    if classes is None:
        return None
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise FcnError('classes are no list of names', do='Give one name for each class.')
    if len(classes) > 256:
        raise FcnError(f'{len(classes)} class names, at most 256', do='Give fewer.')
    return tuple(classes)


def check_mean(mean: Sequence[float]) -> tuple[float, ...]:
    """The mean as floats; FcnError for other than three finite numbers."""
    try:
        values = tuple(map(float, mean))
    except (TypeError, ValueError, OverflowError):
        values = ()
    if len(values) != MEAN_LENGTH or not np.isfinite(values).all():
        raise FcnError(f'the mean is {short(str(mean), 60)}, not three finite numbers',
                       do='Give (B, G, R).')
    return values


def check_palette(colours: np.ndarray | None) -> np.ndarray | None:
    """Colours of the classes as (256, 3), completed by VOC's; FcnError for another shape."""
    if colours is None:
        return None
    given, made = np.asarray(colours), palette()
    if given.ndim != 2 or given.shape[1] != 3 or len(given) > len(made) or \
            given.dtype != np.uint8:
        raise FcnError(f'the palette is {given.shape} {given.dtype}',
                       do='Give (classes, 3) uint8 RGB.')
    made[:len(given)] = given
    return made
