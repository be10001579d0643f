"""Absorb the BNs of a SegNet or an ENet into the convolutions before them (BN-absorber.py).

    fcn-repro bn-absorb --net test.prototxt --weights test.caffemodel --out final

The net and the weights are what `fcn-repro bn-statistics` writes, or the two original scripts: a
scale and a shift for each channel behind a convolution become part of its filters and its bias,
and so does a factor behind them (ENet's dropout when testing). BNs behind other layers, such as
deconvolutions and concatenations, stay. The scores of both nets for a random image are compared
before anything is written.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from ..errors import FcnError
from ..formats.atomic import make_folder, write_text
from ..formats.weights import FILLER, Weights, blob_counts
from ..memory import keep_freed_memory
from ..net.bn_statistics import absorb, check_folded, check_weights_folded
from ..net.net import Net
from ..predict.labels import read_deploy
from ..proto import TEST
from ..proto.netspec import net_text
from ..proto.prototxt import filter_net, read_net
from ..recipe.provenance import made_from
from .arguments import add_dialect, dialect_of_args

LIMIT = 1e-4        # of the difference of the scores, to the largest of them
SEED, DEVIATION = 0, 50.        # of the image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--net', required=True, metavar='NET', help='the deploy net, its BNs with '
                        'bn_mode: INFERENCE')
    parser.add_argument('--weights', required=True, metavar='WEIGHTS', help='a caffemodel, or HDF5')
    parser.add_argument('--out', metavar='NAME', required=True, help='NAME.prototxt and '
                        'NAME.caffemodel are written')
    add_dialect(parser)


def run(args: argparse.Namespace) -> None:
    keep_freed_memory()
    given = dialect_of_args(args)
    text = filter_net(read_net(args.net, **given, blobs=None if given['dialect'] else
                               lambda: blob_counts(args.weights)), TEST)
    check_folded(text)
    net = read_deploy(args.net, weights=args.weights, **given)
    check_weights_folded(net, args.weights)
    missing = [row.layer for row in net.copy_from(args.weights) if row.action == FILLER]
    if missing:
        raise FcnError(f"the weights lack {', '.join(missing)}", file=args.weights,
                       do='Give the weights of this net.')
    made = absorb(text, net)
    final = Net.of(made.text, TEST)
    final.copy_from(Weights({name: [blob.astype('float32') for blob in blobs]
                             for name, blobs in made.blobs.items() if blobs}))
    difference, scale = compared(net, final)
    if not difference <= LIMIT * scale:
        raise FcnError(f'the scores without the BNs differ by {difference:.2g} of {scale:.2g}: the '
                       'convolutions cannot take them in float32', file=args.weights,
                       do='Keep the BNs: their scales are too large or too small.')
    out = Path(args.out)
    make_folder(out.absolute().parent)
    final.save(f'{out}.caffemodel', made_from(args.weights))
    write_text(net_text(made.text.message, f'made by fcn-repro bn-absorb from '
                        f'{Path(args.net).name}'), f'{out}.prototxt')
    stay = f'; {len(made.left)} stay ({", ".join(made.left)})' if made.left else ''
    print(f'absorbed {len(made.layers)} layers{stay}; the scores of a random image differ by at '
          f'most {difference:.2g}, the largest is {scale:.2g}')
    print(f'wrote {out}.prototxt and {out}.caffemodel')


def compared(net: Net, final: Net) -> tuple[float, float]:
    """(largest difference, largest value) of the outputs of both nets for one random image; of the
    scores before a Softmax, which hides differences."""
    generator = torch.Generator().manual_seed(SEED)
    shapes = {name: net.shapes[net.graph.first(name)] for name in net.graph.inputs}
    image: dict[str, Any] = {name: torch.randn(shape, generator=generator) * DEVIATION
                             for name, shape in shapes.items()}
    with torch.inference_mode():
        before, after = (outputs(each, image) for each in (net, final))
    differences = [float((a - b).abs().max()) for a, b in zip(before, after, strict=True)]
    return max(differences), max(float(value.abs().max()) for value in before)


def outputs(net: Net, image: dict[str, Any]) -> list[torch.Tensor]:
    """The outputs of a net, of a Softmax what it reads."""
    graph = net.graph
    made = [graph.producer(graph.last(name)) for name in graph.outputs]
    names = [graph.values[node.bottoms[0]] if node.type == 'Softmax' else name
             for node, name in zip(made, graph.outputs, strict=True)]
    out = net.forward(names, **image)
    return [out[name] for name in names]
