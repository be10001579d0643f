"""Source: images with labels of some kind, as VOC's label maps; what every kind of masks makes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fcn_repro.data.colours import Table
from fcn_repro.data.examine import Fault
from fcn_repro.data.image import VOID, image_size
from fcn_repro.errors import FcnError

MOST_CLASSES = 255          # ids 0 to 254; 255 is void


@dataclass(frozen=True)
class Item:
    """An image and what its label is made of. id: its name in the result; split: '' where the
    source tells none; file: the one that messages about its label name; data: of the source."""

    id: str
    split: str
    image: Path
    file: Path
    data: Any = None


@dataclass
class Source:
    """Images with labels. A kind of masks sets `kind` and defines `label`.

    names: class names by index. faults: of files that make no item. notes: what was decided, in
    words. table: the colours that a mask's classes have ({RGB: index}), where it has such.
    """

    folder: Path
    items: list[Item]
    names: tuple[str, ...]
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    table: dict[tuple[int, int, int], int] = field(default_factory=dict)
    kind = ''

    @cached_property
    def shown(self) -> np.ndarray:
        """(256, 3) uint8 RGB, those in which its classes are shown: of its masks; or else VOC's."""
        return Table(self.table, self.names).shown()

    def label(self, item: Item) -> np.ndarray:
        """The label map of an item, (H, W) uint8 class indices, VOID for none; FcnError where it
        has none, its fact 'kind' that of the fault. Several threads may call it."""
        raise NotImplementedError(f'{type(self).__name__} makes no labels')


def check_declared(size: tuple[int, int], item: Item) -> None:
    """FcnError where the (height, width) that annotations are for is not their image's, neither as
    stored nor with the sides exchanged, as EXIF may have them."""
    found = image_size(item.image)
    if found not in (size, size[::-1]):
        raise FcnError('annotations of {}x{} (height x width), the image {}x{}'.format(
            *size, *found), file=item.image, facts={'kind': 'size'},
            do='Give the image that was annotated.')


def named(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Names of at least `count` classes: those given, then 'background' and 'class N'."""
    made = list(names)
    for i in range(len(made), min(count, VOID)):
        made.append(f'class {i}' if i else 'background')
    return tuple(made)
