"""Write the prototxt folders: all of them, or one for a data set of your own.

    fcn-repro make-prototxt --out prototxt
    fcn-repro make-prototxt --model voc-fcn32s --classes 11 --voc-dir data/mine --out mine
"""

import argparse
import math
import os
from pathlib import Path

from ..errors import FcnError
from ..recipe.models import MODELS
from .arguments import as_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', required=True, help='folder of the files to write; without '
                        '--model, one folder for each stage is made in it')
    parser.add_argument('--model', choices=MODELS)
    parser.add_argument('--classes', type=int, help='with the background')
    parser.add_argument('--voc-dir', help='folder with JPEGImages, SegmentationClass, ImageSets')
    parser.add_argument('--splits', nargs=2, default=('train', 'val'), metavar=('TRAIN', 'VAL'))
    parser.add_argument('--val-images', type=int, help='number of val images (test_iter)')
    parser.add_argument('--size', metavar='HxW', help='of the images, the largest sides: crops, '
                        'and nets for images of one size, are made for it, and the rate of a '
                        'summed loss')


def run(args: argparse.Namespace) -> None:
    size = as_size(args.size) if args.size else None
    own = (args.classes, args.voc_dir, args.splits, args.val_images, size and math.prod(size), size)
    if args.model is None and any(v is not None for v in (*own[:2], *own[3:])):
        raise FcnError('settings for your own data need --model', do=f"One of {', '.join(MODELS)}.")
    folders = {args.out: MODELS[args.model].on_data(*own)} if args.model else {
        os.path.join(args.out, name): model for name, model in MODELS.items()}
    for folder, model in folders.items():
        model.write(Path(folder))
        print(f'{folder}: {len(model.files())} files')
