"""Goldens of files: the same weights or state in Caffe's two formats, and old files with what Caffe
upgraded them to."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from google.protobuf import json_format, text_format

from ..errors import FcnError
from ..files import read_regular
from ..formats.weights import modern, read_solverstate, read_weights
from ..proto.prototxt import read_net, read_solver
from .cases import GoldenCase, case
from .comparison import Comparison, Limits


def find_pairs(folder: Path, names: set[str]) -> Iterator[GoldenCase]:
    """Weights or solver states in both formats. A solver's golden checks its own snapshots."""
    for name in names if 'golden.h5' not in names else ():
        for kind, check in ('caffemodel', check_weights), ('solverstate', check_states):
            if name.endswith(f'.{kind}') and f'{name}.h5' in names:
                yield case(f'{name}.h5', (name, f'{name}.h5'), partial(
                    check, first=folder / name, second=folder / f'{name}.h5'))


def find_upgrades(folder: Path, names: set[str]) -> Iterator[GoldenCase]:
    """NAME.upgraded.* beside the old file, NAME.prototxt or NAME.caffemodel."""
    for name in names:
        stem, _, form = name.rpartition('.upgraded')
        text, model = f'{stem}.prototxt', f'{stem}.caffemodel'
        if form in ('.prototxt', '.json') and text in names:
            yield case(name, (name, text), partial(
                check_upgrade, path=folder / text, upgraded=folder / name))
        elif form == '.caffemodel' and model in names:
            yield case(name, (name, model), partial(
                check_weights, first=folder / model, second=folder / name))
        elif form == '_header.prototxt' and model in names:
            yield case(name, (name, model), partial(
                check_header, path=folder / model, upgraded=folder / name))


def check_weights(comparison: Comparison, first: Path, second: Path, limits: Limits) -> None:
    """Compare two files of one net's weights: the numbers must be equal. A shared blob is under all
    its layers in a binary file, but only under the first in Caffe's HDF5."""
    one, two = ({f'{layer}/{i}': blob for layer, blobs in modern(read_weights(path)).items()
                 for i, blob in enumerate(blobs) if blob is not None} for path in (first, second))
    shared = {name for name in one.keys() - two.keys() if str(second).endswith('.h5')
              and any(np.array_equal(one[name], blob) for blob in two.values())}
    for name in comparison.common('weights', one.keys() - shared, two):
        comparison.exact(name, one[name], two[name])


def check_states(comparison: Comparison, first: Path, second: Path, limits: Limits) -> None:
    """Compare two files of one solver's state: iteration, step and history must be equal."""
    one, two = read_solverstate(first), read_solverstate(second)
    comparison.equal('iter', one.iter, two.iter)
    comparison.equal('current_step', one.current_step, two.current_step)
    histories = [{str(i): blob for i, blob in enumerate(state.history)} for state in (one, two)]
    for i in comparison.common('history', *histories):
        comparison.exact(f'history/{i}', np.reshape(histories[0][i], histories[1][i].shape),
                         histories[1][i])


def check_upgrade(comparison: Comparison, path: Path, upgraded: Path, limits: Limits) -> None:
    """Compare an old text, as it is read here, with the message that Caffe upgraded it to, as text
    or as JSON. FcnError if one of them cannot be read."""
    read = read_solver if Path(path).name.startswith('solver_') else read_net
    ours = read(path).message
    golden, raw = type(ours)(), read_regular(upgraded, 'an upgraded text')
    try:
        text = raw.decode()
        (json_format if upgraded.suffix == '.json' else text_format).Parse(text, golden)
    except (json_format.ParseError, text_format.ParseError, UnicodeDecodeError,
            RecursionError) as error:
        raise FcnError(f'cannot be read: {error}', file=str(upgraded),
                       do='Write it again with Caffe.') from None
    comparison.equal('message', text_format.MessageToString(ours),
                     text_format.MessageToString(golden))


def check_header(comparison: Comparison, path: Path, upgraded: Path, limits: Limits) -> None:
    """Compare the layers of an old binary model, their types and numbers of blobs, with the text of
    the upgraded model, which has no numbers."""
    ours = read_weights(path)
    comparison.equal('layers with blobs',
                     {name: (ours.types[name], len(blobs)) for name, blobs in ours.items()
                      if blobs},
                     {layer.name: (layer.type, len(layer.blobs))
                      for layer in read_net(upgraded).message.layer if len(layer.blobs)})
