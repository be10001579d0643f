"""Options of infer and eval: the views of an image that a net is shown."""

import argparse

from ..predict.views import Views
from .arguments import finite


def add_views(parser: argparse.ArgumentParser) -> None:
    """The fields of predict.views.Views."""
    views = parser.add_argument_group('views', 'probabilities averaged over several views of an '
                                      'image; with scales or flip not the single-scale number')
    views.add_argument('--sliding', action='store_true', help='run windows of the size that the '
                       "net's input has, two thirds of one apart, as PSPNet's evaluation does")
    views.add_argument('--scales', type=numbers, metavar='S,S', help='sizes of the image, such as '
                       '0.5,0.75,1,1.25,1.5')
    views.add_argument('--flip', action='store_true', help='run the mirrored image (of sliding '
                       'windows each) too, and add both scores up')
    views.add_argument('--base-size', type=int, metavar='N', help='scale s makes the longer side N '
                       "s + 1 pixels (PSPNet's: 512 for VOC and ADE20K, 2048 for Cityscapes; "
                       'default: s times its own)')


def views_of(args: argparse.Namespace) -> Views:
    """What the options give. FcnError as Views."""
    return Views(args.sliding, args.scales or (1.,), args.flip, args.base_size)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them, as argparse's type."""
    return tuple(finite(part) for part in text.split(','))
