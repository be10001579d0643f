"""Turn a classifier into a fully convolutional net: prototxt and weights (section 3.1).

    fcn-repro cast prototxt/vgg16/deploy.prototxt VGG_ILSVRC_16_layers.caffemodel --out vgg16-fcn
    fcn-repro cast prototxt/caffenet/deploy.prototxt caffenet.caffemodel --size 500x500 --out grid

Every InnerProduct becomes the Convolution that computes the same, under its name, so that the nets
of `fcn-repro train` take the weights of either file. The scores of an image of the classifier's own
size are the classifier's, those of a larger one a grid.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch

from ..errors import FcnError
from ..formats.atomic import make_folder, write_text
from ..formats.hdf5_read import is_hdf5
from ..formats.weights import FILLER, Weights, format_rows, read_weights
from ..memory import keep_freed_memory
from ..net.cast import cast_text
from ..net.net import Net
from ..predict.labels import read_deploy
from ..proto import TEST
from ..proto.netspec import net_text
from ..recipe.provenance import made_from
from ..sizes import dims
from .arguments import add_dialect, as_size, dialect_of_args, say_dialect

SEED, DEVIATION = 0, 50.        # of the image on which both nets are compared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('net', metavar='NET', help="the classifier's deploy prototxt")
    parser.add_argument('weights', metavar='WEIGHTS', help='its caffemodel, or HDF5')
    parser.add_argument('--out', metavar='NAME', required=True, help='NAME.prototxt and '
                        'NAME.caffemodel are written, or NAME.caffemodel.h5 from HDF5')
    parser.add_argument('--size', metavar='HxW', help="of the new net's "
                        "input (default: the classifier's own)")
    add_dialect(parser)


def run(args: argparse.Namespace) -> None:
    keep_freed_memory()
    size = as_size(args.size) if args.size else None
    classifier = read_deploy(args.net, weights=args.weights, **dialect_of_args(args))
    say_dialect(args.net, classifier.graph.dialect, classifier.found)
    if not any(node.type == 'InnerProduct' for node in classifier.graph.nodes):
        raise FcnError('the net has no InnerProduct, so it is fully convolutional already',
                       file=args.net, do='Use it as it is.')
    weights = read_weights(args.weights, classifier.graph.dialect)
    copy_all(classifier, weights)
    text = cast_text(classifier)
    net = Net.of(text, TEST)
    print(format_rows(copy_all(net, weights)))
    difference, scale = compared(classifier, net)
    print(f'on a random image of {dims(size_of(classifier))} the outputs differ from the '
          f"classifier's by at most {difference:.2g}; the largest is {scale:.2g}")
    out = Path(args.out)
    make_folder(out.absolute().parent)
    ending, save = ('.caffemodel.h5', net.save_hdf5) if is_hdf5(args.weights) else (
        '.caffemodel', net.save)
    save(f'{out}{ending}', made_from(args.weights))
    set_size(text.message, size)
    write_text(net_text(text.message, f'cast by fcn-repro cast from {Path(args.net).name}'),
               f'{out}.prototxt')
    print(f'wrote {out}.prototxt and {out}{ending}')
    if size:
        show_grid(net, size)


def copy_all(net: Net, weights: Weights) -> list:
    """Copy the weights of all layers; returns the rows. FcnError for a layer that the file
    lacks."""
    rows = net.copy_from(weights)
    missing = [row.layer for row in rows if row.action == FILLER]
    if missing:
        raise FcnError(f"the weights lack {', '.join(missing)}", file=weights.file,
                       do='Give the weights of this net.')
    return rows


def size_of(net: Net) -> tuple[int, ...]:
    """The spatial size of a net's first input."""
    return net.shapes[net.graph.first(net.graph.inputs[0])][2:]


def compared(classifier: Net, net: Net) -> tuple[float, float]:
    """(largest difference, largest value) of the outputs of both nets for one random image."""
    generator = torch.Generator().manual_seed(SEED)
    shapes = {name: classifier.shapes[classifier.graph.first(name)]
              for name in classifier.graph.inputs}
    image: dict[str, Any] = {name: torch.randn(1, *shape[1:], generator=generator) * DEVIATION
                             for name, shape in shapes.items()}
    with torch.inference_mode():
        own, cast = classifier.forward(**image), net.forward(**image)
    pairs = [(own[a], cast[b].reshape(own[a].shape))
             for a, b in zip(classifier.graph.outputs, net.graph.outputs, strict=True)]
    differences = [float((a - b).abs().max()) for a, b in pairs]
    return max(differences), max(float(a.abs().max()) for a, _ in pairs)


def set_size(message, size: tuple[int, int] | None) -> None:
    """Write one image of this size into the Input layers; None: of their own."""
    for layer in message.layer:
        for shape in layer.input_param.shape if layer.type == 'Input' else ():
            if len(shape.dim) == 4:
                shape.dim[:] = [1, shape.dim[1], *(size or shape.dim[2:])]


def show_grid(net: Net, size: tuple[int, int]) -> None:
    """Print the size of the outputs for an image of this size."""
    net.reshape({net.graph.first(name): (1, net.shapes[net.graph.first(name)][1], *size)
                 for name in net.graph.inputs})
    for name in net.graph.outputs:
        grid = net.shapes[net.graph.last(name)]
        print(f'{name}: a grid of {dims(grid[2:])}, {math.prod(grid[2:])} times the outputs of the '
              'classifier')
