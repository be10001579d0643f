"""Draw a net: a page to open in a browser, with the shape, receptive field, stride and offset of
every blob, and the parameters, memory and multiply-adds of every layer.

    fcn-repro draw net.prototxt
    fcn-repro draw net.prototxt --size 500x500 -o net.html
    fcn-repro draw runs/own-fcn16s
    fcn-repro draw train_val.prototxt --phase train --shape data=16x3x227x227 --text

Layers of unknown types are drawn too; no data are read and no code is run.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from ..errors import FcnError
from ..recipe.finished import opened
from ..sizes import check_shape
from ..viewer import drawn, page_of, save, svg_of, text_of
from ..viewer.words import gathered
from .arguments import add_dialect, as_size, dialect_of_args


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('net', metavar='NET', help='a prototxt of Caffe, of any version or fork; '
                        "or the folder of a run, or its name below runs/: the run's deploy net")
    parser.add_argument('--size', metavar='HxW', help='of the images that the net reads (default: '
                        'what its text says)')
    parser.add_argument('--shape', action='append', default=[], metavar='BLOB=AxBxC',
                        help='the shape of an input, of a blob of data, or of one that a layer of '
                        'an unknown type makes; may be repeated')
    parser.add_argument('--phase', choices=('test', 'train'), default='test',
                        help='(default: %(default)s)')
    parser.add_argument('--level', type=int, default=0, metavar='N', help='of include rules')
    parser.add_argument('--stage', action='append', default=[], metavar='NAME',
                        help='of include rules; may be repeated')
    add_dialect(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--text', action='store_true', help='print a table, write nothing')
    kind.add_argument('--svg', action='store_true', help='write the picture alone')
    parser.add_argument('--out', '-o', metavar='FILE', help='default: the name of NET, with .html '
                        'or .svg, in this folder')


def run(args: argparse.Namespace) -> None:
    svg = args.svg or bool(args.out and args.out.endswith('.svg'))
    if args.text and args.out:
        raise FcnError('--text prints, and --out names a file', do='Leave out one of them.')
    path = deploy_of(args.net)
    net = drawn(path, args.phase.upper(), as_size(args.size) if args.size else None,
                dict(map(as_shape, args.shape)), args.level, args.stage,
                **dialect_of_args(args))
    if args.text:
        print(printable(text_of(net)), end='')
        return
    out = args.out or f'{name_of(args.net)}{".svg" if svg else ".html"}'
    save(svg_of(net) if svg else page_of(net), out)
    for line in gathered(net.notes, net.graph.file):
        print(f'note: {printable(line)}', file=sys.stderr)
    print(printable(f'{len(net.items)} layers drawn to {out}'))


def deploy_of(net: str) -> str | Path:
    """The prototxt to draw: of a folder, or of a name below runs/, the deploy net; else itself."""
    folder = next((path for path in (Path(net), Path('runs', net)) if path.is_dir()), None)
    if os.path.isfile(net) or folder is None:
        return net
    inside = (folder / place / 'deploy.prototxt' for place in ('net', '.'))
    return next((path for path in inside if path.is_file()), None) or opened(folder).deploy


def name_of(net: str) -> str:
    """The name of the drawing: of a file without its suffix, of a folder its own."""
    return Path(net).stem if os.path.isfile(net) else Path(net).resolve().name


def printable(text: str) -> str:
    """A text in the characters that the terminal has."""
    encoding = sys.stdout.encoding or 'ascii'
    return text.encode(encoding, 'backslashreplace').decode(encoding)


def as_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """(blob, shape) of 'BLOB=AxBxC'. FcnError for another text."""
    blob, equals, shape = text.rpartition('=')
    if not equals or not re.fullmatch(r'\d{1,9}(x\d{1,9})*', shape):
        raise FcnError(f"'{text}' is no blob with its shape",
                       do='Give --shape as BLOB=AxBxC, such as data=1x3x500x500.')
    dims = tuple(map(int, shape.split('x')))
    check_shape(dims, f"blob '{blob}'")
    return blob, dims
