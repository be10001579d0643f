"""Label maps: of one image, and of photographs as files; the data of val nets."""

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch

from ..data import parse_params, python_layers
from ..data.colours import shown_in
from ..data.layer import DataLayer
from ..data.palette import VOC_CLASSES
from ..data.reader import Sample, read_class_names
from ..errors import FcnError, located
from ..formats.weights import counter
from ..layers.python import Python
from ..net.graph import LABELS
from ..net.net import Net
from ..proto import TEST, Dialect
from ..proto.prototxt import filter_net, read_net
from ..sizes import dims

# ---- val nets ------------------------------------------------------------------------------------


def data_layer(net: Net) -> DataLayer:
    """The data layer of a val net: its samples, mean and class names. FcnError without one."""
    return python_layer(net).reader


def python_layer(net: Net) -> Python:
    """The net's Python layer that reads data; FcnError for a net without one."""
    for layer in python_layers_of(net):
        return layer
    raise FcnError('the net has no Python data layer', file=net.graph.file,
                   do='Give a val net; a deploy net has no data to be scored on.')


def python_layers_of(net: Net) -> list[Python]:
    """The net's Python layers, which read data."""
    return [cast(Python, net.layer(node)) for node in net.graph.nodes if node.type == 'Python']


def score_layer(net: Net, score: str) -> str:
    """Name of the layer that writes the blob `score` last, in-place layers included."""
    return net.graph.producer(net.graph.last(score)).name


def predict(net: Net, score: str = 'score', **inputs) -> np.ndarray:
    """Run a net up to the blob `score` (1, C, H, W); returns its argmax (H, W), uint8.

    Ties go to the lowest index, as in the release's scripts. inputs: of Net.forward."""
    with torch.inference_mode():
        return net.forward(labels_of=score, **inputs)[LABELS][0].cpu().numpy()


def single_sample(layer: Python) -> Sample:
    """The Sample that a Python layer read last; FcnError if its batch is not one image with
    labels."""
    if len(layer.samples) != 1:
        raise layer.error(f'a batch has {len(layer.samples)} images with a label per pixel, 1 is '
                          'needed', 'Give a val net that reads images one by one.')
    return layer.samples[0]


# ---- deploy nets ---------------------------------------------------------------------------------

def read_deploy(path: str | PathLike, net_class: type[Net] = Net,
                dialect: Dialect | str | None = None,
                define: Mapping[str, object] = MappingProxyType({}),
                weights: str | PathLike | None = None, **options) -> Net:
    """The Net of a deploy prototxt for the phase TEST; dialect and define as for read_net, options
    as for Net. weights: the file that it will get, which tells the dialect where the text does not.
    FcnError for a net that reads its data itself, before it looks for them."""
    text = read_net(path, dialect, define, counter(weights))
    layers = list(filter_net(text, TEST).message.layer)
    sources = [layer for layer in layers if not layer.bottom and layer.top]
    if sources and not any(layer.type == 'Input' for layer in layers):
        raise FcnError("this net has no input: it reads its data by itself, as train and val nets "
                       'do', file=str(path), layer=sources[0].name, type=sources[0].type,
                       do="Give a deploy prototxt, whose input is an Input layer 'data'.")
    return net_class.of(text, TEST, **options)


def image_input(net: Net) -> int:
    """The value number of a net's only input, data (N, 3, H, W); FcnError for other inputs."""
    inputs, file = net.graph.inputs, net.graph.file
    if inputs != ('data',):
        raise FcnError("the net needs exactly one input, 'data'; it has "
                       f"{', '.join(inputs) or 'none'}", file=file,
                       do='Give a deploy.prototxt whose input is an image.')
    value = net.graph.first('data')
    if len(net.shapes[value]) != 4 or net.shapes[value][1] != 3:
        raise FcnError(f"'data' is {dims(net.shapes[value])}, an image is 1x3xHxW", file=file,
                       do='Give a net for colour images.')
    return value


def score_output(net: Net) -> tuple[str, int]:
    """(name, value number) of a net's scores: the blob 'score' if there is one, else the only
    output. FcnError if there is neither."""
    names = net.graph.outputs
    if len(names) != 1 and 'score' not in net.blobs:
        raise FcnError(f"the net's outputs are {', '.join(names) or 'none'}; which of them are the "
                       'scores is ambiguous', file=net.graph.file, do="Name the scores 'score'.")
    name = 'score' if 'score' in net.blobs else names[0]
    return name, net.graph.last(name)


# ---- class names ---------------------------------------------------------------------------------

def class_names(net_file: str | Path, count: int, file: str | Path | None = None) -> Sequence[str]:
    """Names by class index, `count` of them.

    From `file`, one per line; else those kept beside the net, or with the run whose folder `net` it
    is in (classes.txt), and those of the data that val_file of the net's folder reads, if they
    are as many; else VOC's for 21 classes; else the bare indices. FcnError if `file` cannot be read
    or has another number of names.
    """
    if file is not None:
        names = names_in(file)
        if len(names) != count:
            raise FcnError(f'{len(names)} class names for the {count} classes of {net_file}',
                           file=str(file), do='Give one name per line, in the order of the labels.')
        return names
    for kept in folders_beside(net_file):
        beside = read_class_names(kept / 'classes.txt')
        if beside and len(beside) == count:
            return beside
    found = names_of_data(val_file(Path(net_file).parent))
    if found and len(found) == count:
        return found
    return VOC_CLASSES if count == len(VOC_CLASSES) else tuple(map(str, range(count)))


def folders_beside(net_file: str | Path) -> tuple[Path, ...]:
    """The folders that may hold what is known of a net: its own, and the run whose folder `net` it
    is in."""
    folder = Path(net_file).absolute().parent
    return (folder, folder.parent) if folder.name == 'net' else (folder,)


def class_colours(net_file: str | Path) -> np.ndarray | None:
    """The colours (256, 3) that are kept beside a net, or with its run (colours.txt); None without.
    FcnError for such a file that is no table of colours."""
    found = (shown_in(folder) for folder in folders_beside(net_file))
    return next((colours for colours in found if colours is not None), None)


def names_in(file: str | Path) -> tuple[str, ...]:
    """The class names in a file, one per line. FcnError if it cannot be read."""
    names = read_class_names(Path(file))
    if names is None:
        raise FcnError('the class names cannot be read: no such file', file=str(file),
                       do='Give a text file with one name per line.')
    return names


def val_file(folder: Path) -> Path:
    """The net in a folder of prototxt files that reads the data to score: val.prototxt, or
    test.prototxt where the release trains on train and val together."""
    val, test = folder / 'val.prototxt', folder / 'test.prototxt'
    return test if os.path.isfile(test) and not os.path.isfile(val) else val


def names_of_data(val: Path) -> Sequence[str] | None:
    """The class names of the data that a val.prototxt reads; None if there is no such file, no
    data layer of ours, or no names."""
    reader, params = data_params(val)
    if reader is None:
        return None
    with located(val):
        try:
            return reader.class_names(params)
        except TypeError:
            raise FcnError("the folder of a data layer's param_str is no path",
                           do="Write it in quotes: {'voc_dir': '../data/voc'}.") from None


def data_params(val: Path) -> tuple[type[DataLayer] | None, dict[str, Any]]:
    """(class, params of its param_str) of the first data layer of ours in a val.prototxt; (None,
    {}) if there is no such file or layer."""
    for layer in read_net(val).message.layer if os.path.isfile(val) else ():
        param = layer.python_param
        reader = python_layers.get((param.module, param.layer))
        if reader is not None:
            with located(val):
                return reader, parse_params(param.param_str)
    return None, {}
