"""Convert a caffemodel of any age (V0, V1, V2; float or double) to HDF5 in Caffe's own layout, and
HDF5 back to a caffemodel; or list what a file holds, mean images and solver states as well.

    fcn-repro convert vgg16.caffemodel vgg16.caffemodel.h5
    fcn-repro convert vgg16.caffemodel.h5 vgg16.caffemodel
    fcn-repro convert --inspect vgg16.caffemodel

    fcn-repro convert vgg16-397923af.pth vgg16.caffemodel       # torchvision's, also vgg16_bn-….pth
    fcn-repro convert deeplabv3_resnet101_coco-586e9e4e.pth v3.caffemodel       # and v3.prototxt

State dicts of PyTorch (.pth, .safetensors): torchvision's VGG16, ResNets with bottlenecks, and
DeepLab v3; DeepLab v3, v3+ and RefineNet of the releases in docs/torch-nets.md. Beside the weights
of such a segmentation net its deploy prototxt is written.

OUT becomes a caffemodel (V2, float32) if its name ends in .caffemodel, HDF5 otherwise; what this
project records beside weights (mean, stage, classes, ...) goes with them. The SHA-256 of an array
is taken over its values in memory, so it does not depend on the format of the file.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.image import MEAN
from ..errors import FcnError, located
from ..files import digest_of
from ..formats import torchnets, torchvision
from ..formats.atomic import write_text
from ..formats.caffemodel import write_caffemodel
from ..formats.weights import (
    BATCH_STATISTICS,
    Weights,
    kind_of,
    modern,
    read_binaryproto,
    read_solverstate,
    read_weights,
    write_hdf5,
)
from ..net.bn_statistics import learning_in
from ..proto import LayerParameter
from ..proto.dialects import dialects, find_dialect, of_dialects
from ..proto.netspec import net_text
from ..proto.upgrade import v1_types
from ..recipe.models.converted import STRIDES, net_of
from .arguments import add_dialect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', metavar='IN', help='caffemodel, or HDF5 in the same layout, or '
                        'a state dict of PyTorch (.pth, .safetensors); with '
                        '--inspect also a binaryproto or a solverstate')
    parser.add_argument('output', metavar='OUT', nargs='?', help='file to write')
    parser.add_argument('--stride', type=int, choices=STRIDES, help='of the last map of a DeepLab '
                        'state dict, which the file does not say (default: that of its release, '
                        "16; torchvision's 8)")
    parser.add_argument('--inspect', action='store_true', help='print the table, write nothing')
    add_dialect(parser, texts=False)


def run(args: argparse.Namespace) -> None:
    if args.inspect == bool(args.output):
        raise FcnError('give either OUT or --inspect', do='See --help.')
    if torchvision.is_state_dict(args.input):
        convert_state_dict(args.input, args.output, args.stride)
        return
    if args.stride is not None:
        raise FcnError('--stride is for state dicts of PyTorch', file=args.input,
                       do='Leave it out.')
    kind = kind_of(args.input)
    if kind != 'weights' and args.output:
        raise FcnError(f'is a {kind}, not a model', file=args.input,
                       do='Give a .caffemodel or a .caffemodel.h5; --inspect takes any.')
    if kind != 'weights':
        show_other(kind, args.input)
        return
    weights = read_weights(args.input, args.dialect)
    check_numbers(weights, args.dialect)
    layers = modern(weights)
    show_layers(layers, args.inspect)
    if args.inspect:
        print('SHA-256', digest_of(args.input, 'a file of weights'))
    elif args.output.endswith('.caffemodel'):
        write_caffemodel(args.output, '', binary_layers(layers), recorded(layers, args.dialect))
        print(f'wrote {args.output}')
    else:
        write_hdf5(args.output, layers.pairs(), recorded(layers, args.dialect))
        print(f'wrote {args.output}')


def recorded(weights: Weights, dialect: str | None) -> dict[str, Any] | None:
    """What this project writes beside weights, of the file that they are from: what it records
    itself, and the BNs without statistics, which a caffemodel's messages tell; None: nothing."""
    extra = dict(weights.extra)
    if weights.file and 'BN' in weights.types.values():
        learned = learning_in(weights.file, find_dialect(dialect or 'segnet'))
        pairs = {name for name, blobs in weights.items() if len(blobs) == 2}
        if names := sorted(learned & pairs):
            extra[BATCH_STATISTICS] = '\n'.join(names)
    return extra or None


def check_numbers(weights: Weights, dialect: str | None) -> None:
    """FcnError for weights in an old file under a number without a meaning, or with several."""
    for layer in weights.layers:
        number = layer.number
        if not layer.blobs or number is None or layer.type != f'V1 type {number}':
            continue
        homes = {each.name: types[number] for each in dialects().values()
                 if number in (types := v1_types(each))}
        if not homes:
            raise FcnError(f'no dialect has the type number {number} of the old (V1) format',
                           file=weights.file, layer=layer.name, do='Copy the file again.')
        means = ', '.join(f'{type} in {name}' for name, type in homes.items())
        why = f"not in the dialect '{dialect}'" if dialect else 'and the file does not tell which'
        raise FcnError(f'type number {number} of the old (V1) format is {means}, {why}',
                       file=weights.file, layer=layer.name, **of_dialects(list(homes)))


def convert_state_dict(path: str, output: str | None, stride: int | None) -> None:
    """Write a PyTorch net as a caffemodel or HDF5 with its mean, a segmentation net's prototxt
    beside it; or list it (no output)."""
    state = torchnets.unwrapped(torchvision.load(path))
    if torchnets.form_of(state) is None:
        if stride is not None:
            raise FcnError('--stride is for DeepLab nets', file=path, do='Leave it out.')
        write_layers(torchvision.read_vgg16(path, state), 'VGG16', output)
        return
    found = torchnets.read_net(state, path)
    with located(path):
        net = net_of(found, stride)
    print(f'{found.form.name}, {sum(b.size for _, blobs in found.layers for b in blobs):,} numbers')
    if found.left_out:
        print(f'left out: {len(found.left_out)} tensors, such as {found.left_out[0]}')
    write_layers(found.layers, found.form.name, output)
    if net is not None and output is not None:
        text = prototxt_of(output)
        write_text(net_text(net, f'{found.form.name}, from {Path(path).name}'), text)
        print(f'wrote {text}, the deploy net')


def prototxt_of(output: str) -> Path:
    """The path of a prototxt beside a file of weights: its name up to the first of the endings
    .caffemodel, .h5 and the like."""
    path = Path(output)
    return path.with_name(path.name.partition('.')[0] + '.prototxt')


def write_layers(layers: torchvision.Blobs, name: str, output: str | None) -> None:
    """Print the table of a PyTorch net's layers, and write them."""
    table(('layer', 'type', *columns(output is None)),
          [(param.name, param.type, *row_of(blobs, output is None)) for param, blobs in layers])
    extra = {'mean': list(torchvision.MEAN)}
    if output is None:
        return
    if output.endswith('.caffemodel'):
        write_caffemodel(output, name, layers, extra)
    else:
        write_hdf5(output, [(param.name, blobs) for param, blobs in layers], extra)
    print(f'wrote {output}: BGR of 0 to 255 less the mean pixel {torchvision.MEAN}, which belongs '
          "into the data layers of a net with these weights, in place of Caffe's "
          f'{tuple(round(value, 2) for value in MEAN)}')


def binary_layers(weights: Weights) -> list[tuple[Any, list[np.ndarray]]]:
    """[(LayerParameter, [array])] of the layers that have blobs. FcnError for a blob that the file
    stores under another layer (None): a caffemodel repeats it under each of its layers."""
    for name, blobs in weights.pairs():
        gaps = [i for i, blob in enumerate(blobs) if blob is None]
        if gaps:
            raise FcnError(f'blob {gaps[0]} is shared, and this file does not say with which layer',
                           file=weights.file, layer=name, do='Load the weights into their net with '
                           'fcn_repro.pycaffe, and save that.')
    return [(LayerParameter(name=layer.name, type=layer.type),
             [blob for blob in layer.blobs if blob is not None])
            for layer in weights.layers if layer.blobs]


def show_layers(weights: Weights, hashed: bool) -> None:
    """Print the table of a model, with a digest of each layer's values if `hashed`."""
    rows = []
    for layer in weights.layers:
        own = [blob for blob in layer.blobs if blob is not None]
        if own:
            rows.append((layer.name, layer.type, *row_of(own, hashed)))
    table(('layer', 'type', *columns(hashed)), rows)
    total = sum(b.size for _, blobs in weights.pairs() for b in blobs if b is not None)
    print(f'{len(rows)} layers with weights of {len(weights.layers)}, {total:,} parameters '
          f'({weights.format})')


def show_other(kind: str, path: str) -> None:
    """Print the contents of a mean image or a solver state."""
    if kind == 'binaryproto':
        table(columns(True), [row_of([read_binaryproto(path)], True)])
    else:
        state = read_solverstate(path)
        table(('history', *columns(True)),
              [(str(i), *row_of([blob], True)) for i, blob in enumerate(state.history)])
        print(f"iteration {state.iter}, current_step {state.current_step}, learned_net "
              f"'{state.learned_net}', {len(state.history)} arrays")
    print('SHA-256', digest_of(path, 'a file of weights'))


def columns(hashed: bool) -> tuple[str, ...]:
    """The heads of row_of's columns."""
    return ('shapes', 'dtype', 'bytes', 'SHA-256')[:4 if hashed else 3]


def row_of(blobs: Sequence[np.ndarray], hashed: bool) -> tuple[str, ...]:
    """Shapes, dtypes and bytes of arrays, and the first digits of their SHA-256 if `hashed`."""
    row = (' '.join(str(b.shape) for b in blobs),
           ' '.join(dict.fromkeys(b.dtype.name for b in blobs)),
           f'{sum(b.nbytes for b in blobs):,}')
    return (*row, digest(blobs)[:16]) if hashed else row


def digest(blobs: Sequence[np.ndarray]) -> str:
    """SHA-256 of the arrays' values, one after another."""
    sha = hashlib.sha256()
    for blob in blobs:
        sha.update(np.ascontiguousarray(blob).data)
    return sha.hexdigest()


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print aligned columns; the one of bytes is right-aligned."""
    rows = [tuple(cell if cell.isprintable() else repr(cell) for cell in row)
            for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f'{cell:>{w}}' if name == 'bytes' else f'{cell:<{w}}'
                 for name, cell, w in zip(head, row, widths, strict=True)]
        print('  '.join(cells).rstrip())
