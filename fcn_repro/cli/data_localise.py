"""Make labels for the train images from the class maps of a net that learned from image tags, such
as own-tags: seeds, where a class of the image's tags is certain, or the background is; all else is
255. The masks of val stay whole. With the folder that this writes:

    fcn-repro train own-scribbles --voc OUT         # softmax loss on the seeds, Gated CRF loss

The masks of train tell the tags, and what the seeds are worth; no seed is made from them.
"""

import argparse
import shlex

import numpy as np

from ..net.placement import pick_device
from ..predict.localise import MAPS
from ..recipe.finished import opened
from ..recipe.localising import BACKGROUND, FOREGROUND, PASSES, Seeds, localise
from .arguments import add_max_pixels, finite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', metavar='DIR', help="in VOC's layout")
    parser.add_argument('--run', required=True, metavar='DIR', help='of own-tags or own-fickle: '
                        'its folder, or its name in --runs')
    parser.add_argument('--runs', metavar='DIR', default='runs', help='folder of all runs '
                        '(default: %(default)s)')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to make')
    parser.add_argument('--foreground', type=finite, default=FOREGROUND, metavar='T', help='a '
                        "pixel is of a class from this share of its map's maximum on (default: "
                        '%(default)s)')
    parser.add_argument('--background', type=finite, default=BACKGROUND, metavar='T', help='and '
                        'background up to this share of all maps (default: %(default)s)')
    parser.add_argument('--passes', type=int, metavar='N', help='of own-fickle: random passes, of '
                        'which each map has its highest value; 0: one without dropout (default: '
                        f'{PASSES})')
    parser.add_argument('--maps', default=MAPS, metavar='BLOB', help='the maps, such as maps_d1, '
                        'those of the first branch of own-tags alone (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the passes (default: '
                        '%(default)s)')
    parser.add_argument('--device')
    add_max_pixels(parser)


def run(args: argparse.Namespace) -> int:
    found = opened(args.run, args.runs)
    if not found.finished:
        print(f'warning: {found.folder} is at iteration {found.iteration} of {found.length}')
    made = localise(found, args.folder, args.out, foreground=args.foreground,
                    background=args.background, passes=args.passes, maps=args.maps, seed=args.seed,
                    device=pick_device(args.device))
    show(made)
    if made.without:
        names = ', '.join(f'{i} {found.classes[i]}' for i in made.without)
        print(f'warning: there is no seed of {names}, and own-scribbles needs one of each class: '
              'train the run for longer, or give a lower --foreground')
    print('next: ' + shlex.join(('fcn-repro', 'train', 'own-scribbles', '--voc', args.out)))
    return 0


def show(seeds: Seeds) -> None:
    """Print how many pixels have a seed, and how many of them are right."""
    made = seeds.made
    print(f'{made.folder}: {made.images["train"]} train images with seeds on '
          f'{100 * made.labelled:.1f} % of their pixels; {made.images["val"]} val images with '
          'whole masks')
    print('against the masks of train:')
    print('              precision  recall')
    for name, part in ('background', slice(0, 1)), ('classes', slice(1, None)):
        print(f'  {name:10} {percent(seeds.precision[part])} {percent(seeds.recall[part])}')
    print(f'  mean IU of the seeds {100 * seeds.mean_iu:.1f}, where a pixel without one is wrong')


def percent(shares: np.ndarray) -> str:
    """The mean of shares, of those that are defined, in nine columns."""
    known = shares[~np.isnan(shares)]
    return f'{100 * known.mean():9.1f}' if known.size else '        –'
