"""The net as Caffe reads it: a deploy prototxt and its caffemodel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.image import VOID
from ..data.palette import LONGEST_CLASS, palette
from ..errors import CONTROL, FcnError, located
from ..formats.atomic import write_text
from ..formats.weights import read_extra
from ..proto.netspec import net_text
from .source import Source, check_classes, check_mean

PREFIX = 'export_'      # of the keys of the metadata in a caffemodel


class Exported(NamedTuple):
    """What a caffemodel says of its use, where write_caffe wrote it: names of classes, the mean
    pixel (BGR), and the colours of the classes, (256, 3) uint8 RGB; None for what it does not."""
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    colours: np.ndarray | None = None

    @classmethod
    def of(cls, weights: str | PathLike[str]) -> Exported:
        """That of a file of weights; FcnError where it is no such text."""
        return cls.told(read_extra(weights), weights)

    @classmethod
    def told(cls, extra: Mapping[str, Any], weights: str | PathLike[str]) -> Exported:
        """That of the metadata of a file of weights; FcnError as `of`."""
        found = {key: read_json(extra[PREFIX + key], weights, key)
                 for key in ('classes', 'mean', 'palette') if PREFIX + key in extra}
        with located(weights):
            return cls(as_names(found.get('classes')),
                       check_mean(found['mean']) if 'mean' in found else None,
                       as_colours(found.get('palette')))


def use_of(weights: str | PathLike[str]) -> dict[str, Any]:
    """What a file of weights records of its use, for one that is made from it: the mean pixel that
    convert wrote, and what Exported reads."""
    return {name: value for name, value in read_extra(weights).items()
            if name == 'mean' or name.startswith(PREFIX)}


def read_json(text: Any, weights: str | PathLike[str], key: str) -> list:
    """The list that a text of the metadata is."""
    try:
        found = json.loads(str(text))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) > VOID + 1:
        raise damaged(key, weights)
    return found


def as_names(found: list | None) -> tuple[str, ...] | None:
    """Class names that can be shown."""
    names = check_classes(found)
    if any(len(name) > LONGEST_CLASS or CONTROL.search(name) for name in names or ()):
        raise damaged('classes')
    return names


def as_colours(found: list | None) -> np.ndarray | None:
    """The colours of all 256 labels: those of the classes, and VOC's."""
    if found is None:
        return None
    colours = palette()
    if any(not isinstance(row, list) or len(row) != 3 or
           any(type(v) is not int or not 0 <= v <= 255 for v in row) for row in found):
        raise damaged('palette')
    colours[:len(found)] = np.array(found, np.uint8).reshape(-1, 3)
    return colours


def damaged(key: str, weights: str | PathLike[str] | None = None) -> FcnError:
    """The error of metadata that are not those of an export."""
    return FcnError(f"the '{key}' of its export cannot be read", file=weights,
                    do='Export the net again.')


def write_caffe(source: Source, path: Path) -> list[Path]:
    """path: the caffemodel; the text beside it as .prototxt, with what a user has to know as
    comments. Caffe inserts the Splits itself."""
    text = path.with_suffix('.prototxt')
    write_text(net_text(message_of(source), comment(source)), text)
    source.net.save(path, {f'{PREFIX}{name}': text for name, text in source.metadata().items()})
    return [path, text]


def message_of(source: Source):
    """The NetParameter of the net, its input at the export's size."""
    net, graph = source.net, source.net.graph
    message = graph.dialect['NetParameter'](name=graph.name)
    made = {node.key: node for node in graph.nodes}
    for node in graph.written:
        layer = message.layer.add()
        layer.CopyFrom(node.param)
        if node.type == 'Crop' and not layer.HasField('crop_param'):
            layer.crop_param.CopyFrom(made[node.key].param.crop_param)
            layer.crop_param.axis = 2       # without it, what the file means depends on the Caffe
        if node.type == 'Input':
            del layer.input_param.shape[:]
            for v in node.tops:
                layer.input_param.shape.add(dim=source.shapes[v])
    if net.graph.force_backward:
        message.force_backward = True
    return message


def comment(source: Source) -> str:
    """The metadata, a line each."""
    dialect = source.net.graph.dialect.name
    lines = [f'{key}: {value}' for key, value in source.metadata().items() if key != 'palette']
    return '\n'.join([*lines, f'dialect: {dialect}'])
