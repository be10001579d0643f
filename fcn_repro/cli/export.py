"""Write a trained net in the forms of other programs; several at once.

    fcn-repro export runs/mini-fcn8s --onnx --python
    fcn-repro export --net deploy.prototxt --weights fcn8s.caffemodel --onnx --out fcn8s.onnx

The input of all of them is the net's own: (N, 3, H, W) float32, BGR minus the mean pixel; names of
classes, their colours, the mean and the channel order are written with the net. docs/export.md says
what each contains and how it is loaded.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..data.image import MEAN
from ..errors import FcnError
from ..export import KINDS, Exported, check_free, export, target_of
from ..formats.atomic import make_folder
from ..formats.weights import FILLER
from ..net import Net
from ..net.bn_statistics import check_weights_folded
from ..predict.labels import class_names, read_deploy
from ..recipe.finished import FinishedRun, opened
from .arguments import add_dialect, dialect_of_args, finite, say_dialect

HELP = {
    'onnx': 'ONNX of standard operators, opset 13 (needs the package onnx)',
    'torch-export': "torch.export's program, .pt2",
    'safetensors': 'the weights, by the names of --python',
    'caffemodel': 'a caffemodel and its deploy prototxt',
    'python': 'one PyTorch module that needs torch alone, and its weights as .pt',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', nargs='?', metavar='RUN', help='folder of a run, or its name below '
                        'runs/: its deploy net with its newest weights')
    parser.add_argument('--net', metavar='FILE', help='a deploy prototxt, in place of a run')
    parser.add_argument('--weights', metavar='FILE', help='its caffemodel, or HDF5; with a run: '
                        "instead of the newest")
    for kind in KINDS:
        parser.add_argument(f'--{kind}', action='store_true', help=HELP[kind])
    parser.add_argument('--out', '-o', metavar='PATH', help='the file to write, or of several '
                        'forms the folder (default: RUN/export; for a net of your own this folder)')
    parser.add_argument('--size', metavar='HxW', help='height and width of the only input that '
                        'the export shall take (default: any size that the net takes)')
    parser.add_argument('--classes', metavar='FILE', help='class names, one a line (default: as '
                        'infer finds them)')
    parser.add_argument('--mean', type=finite, nargs=3, metavar=('B', 'G', 'R'),
                        help="default: the run's, else that of the VGG16 nets")
    add_dialect(parser)
    parser.add_argument('--force', action='store_true', help='write over files that are there')


def run(args: argparse.Namespace) -> int | None:
    """1 where one of several forms could not be written."""
    kinds = [kind for kind in KINDS if getattr(args, kind.replace('-', '_'))]
    if not kinds:
        raise FcnError('no form to export is given', do='Give one or several of '
                       f'{", ".join(f"--{kind}" for kind in KINDS)}.')
    found, size = choose(args), parse_size(args.size)
    deploy = found.deploy if isinstance(found, FinishedRun) else Path(args.net)
    weights = Path(args.weights) if args.weights or not isinstance(found, FinishedRun) \
        else found.weights
    targets = name_targets(args, kinds, found, weights)
    if not args.force:
        for kind, path in targets.items():
            check_free(kind, path)
    print(f'{deploy} with {weights}')
    net = read_deploy(deploy, weights=weights, **dialect_of_args(args))
    say_dialect(deploy, net.graph.dialect, net.found)
    warn_unset(net, weights)
    said = Exported.of(weights) if found is None else Exported(found.classes, found.mean,
                                                               found.colours)
    mean, palette = args.mean or said.mean or MEAN, said.colours
    classes, failed = names(net, deploy, args.classes, said.classes), 0
    for kind, path in targets.items():
        try:
            files = export(net, kind, path, classes=classes, mean=mean, palette=palette,
                           size=size, replace=True)
        except FcnError as error:
            if len(kinds) == 1:
                raise
            failed = 1
            print(f'--{kind}: error: {error}', file=sys.stderr)
        else:
            print('wrote ' + ', '.join(f'{file} ({file.stat().st_size / 1e6:.1f} MB)'
                                       for file in files))
    return failed or None


def choose(args: argparse.Namespace) -> FinishedRun | None:
    """The run to export; None for a net of the user's own."""
    if args.run and args.net:
        raise FcnError('a run and --net are both given', do='Give one of them.')
    if args.run:
        found = opened(args.run)
        if not (found.finished or args.weights):
            print(f'warning: {found.folder} is at iteration {found.iteration} of {found.length}')
        return found
    if not (args.net and args.weights):
        raise FcnError('no net is given' if not args.net else '--net without --weights',
                       do='Give the folder of a run, or --net and --weights.')
    return None


def name_targets(args: argparse.Namespace, kinds: list[str], found: FinishedRun | None,
                 weights: Path) -> dict[str, Path]:
    """{form: its first file}. The name of a default is one that Python can import."""
    out = Path(args.out) if args.out else None
    if out and len(kinds) == 1 and not out.is_dir() and not args.out.endswith('/'):
        return {kinds[0]: out}
    name = found.stage_name if found else weights.name.partition('.')[0]
    folder = out or (found.folder / 'export' if found else Path())
    make_folder(folder)
    return {kind: target_of(kind, name, folder) for kind in kinds}


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of '500x400'."""
    if text is None:
        return None
    found = re.fullmatch(r'(\d{1,6})x(\d{1,6})', text)
    if not found or not (int(found[1]) and int(found[2])):
        raise FcnError(f"the size '{text}' is not a height and a width",
                       do='Write them as 500x400.')
    return int(found[1]), int(found[2])


def warn_unset(net: Net, weights: Path) -> None:
    """Copy the weights, and name the layers that they lack."""
    check_weights_folded(net, weights)
    unset = [row.layer for row in net.copy_from(weights) if row.action == FILLER]
    if unset:
        print(f'warning: {weights} has nothing for {", ".join(unset)}: what is exported for '
              f'{"it" if len(unset) == 1 else "them"} is the filler')


def names(net: Net, deploy: Path, file: str | None, kept: Sequence[str] | None) \
        -> list[str] | None:
    """Class names of the net's output; None where they are not known. kept: those of the run, or
    of the weights."""
    output, *others = net.graph.outputs
    shape = net.shapes[net.graph.last(output)]
    if others or len(shape) < 2 or shape[1] < 2:
        return None
    if file is None and kept and len(kept) == shape[1]:
        return known(kept)
    return known(class_names(deploy, shape[1], file))


def known(classes: Iterable[str]) -> list[str] | None:
    """The names; None for bare indices."""
    listed = list(classes)
    return None if listed == [str(i) for i in range(len(listed))] else listed
