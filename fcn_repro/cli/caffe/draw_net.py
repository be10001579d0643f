"""Draw a net as a graph: its layers and blobs, as text for Graphviz (.dot, .gv) or, through
Graphviz, as a picture (.png, .svg, .pdf, ...).
"""

import argparse

from ...proto import TEST, TRAIN
from ...proto.prototxt import read_net
from ...pycaffe import draw
from ..arguments import add_dialect, dialect_of_args

PHASES = {'TRAIN': TRAIN, 'TEST': TEST, 'ALL': None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input_net_proto_file', help='the net, a prototxt')
    parser.add_argument('output_image_file', help='the picture; its ending is its format')
    parser.add_argument('--rankdir', default='LR', choices=('LR', 'RL', 'TB', 'BT'),
                        help='direction: left to right, top to bottom, … (default: %(default)s)')
    parser.add_argument('--phase', default='ALL', choices=tuple(PHASES),
                        help='which layers (default: %(default)s)')
    parser.add_argument('--display_lrm', action='store_true',
                        help='show the learning rate multipliers')
    add_dialect(parser)


def run(args: argparse.Namespace) -> None:
    net = read_net(args.input_net_proto_file, **dialect_of_args(args))
    print(f'Drawing net to {args.output_image_file}')
    draw.draw_net_to_file(net.message, args.output_image_file, args.rankdir, PHASES[args.phase],
                          args.display_lrm)
