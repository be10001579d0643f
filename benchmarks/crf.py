#!/usr/bin/env python3
"""A dense CRF of 21 classes on 375x500 pixels, 10 iterations: ours beside pydensecrf.

    pip install pydensecrf2
    python benchmarks/crf.py [--runs 5] [--threads 2] [--json FILE]

Three pairs of deviations: pydensecrf's own example, and two of DeepLab's. The picture is made of
smooth areas with edges and noise. pydensecrf runs in one thread, and with NORMALIZE_AFTER, which is
DeepLab's normalisation; both give the same labels, which is checked. Both make their lattices anew
each time. Then ours for pictures of other sizes: the time is that of the pixels. Without pydensecrf
only ours is measured.
"""

import numpy as np
import torch
import torch.nn.functional as F
from timing import OURS, arguments, measure, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.predict.crf import Crf

try:
    import pydensecrf.densecrf as peer
except ImportError:
    peer = None

CLASSES, SIZE = 21, (375, 500)
SETTINGS = (80, 13), (49, 5), (67, 3)           # bi_xy_std, bi_rgb_std
SIZES = (188, 250), SIZE, (750, 1000)


def picture(height, width):
    """(image (H, W, 3) uint8, probabilities (C, H, W) float32): areas of one colour and class, with
    noise on both."""
    draw = torch.Generator().manual_seed(0)
    seeds = torch.rand(1, 30, 7, 9, generator=draw)
    areas = F.interpolate(seeds, (height, width), mode='bilinear')[0].argmax(0)
    colours = torch.randint(256, (30, 3), generator=draw)
    image = colours[areas] + 4 * torch.randn(height, width, 3, generator=draw)
    scores = F.one_hot(areas % CLASSES, CLASSES).movedim(2, 0) * 2.
    scores += F.interpolate(torch.randn(1, CLASSES, 24, 32, generator=draw), (height, width),
                            mode='bilinear')[0]
    return image.clamp(0, 255).byte().numpy(), torch.softmax(scores, 0).numpy()


def theirs(crf, image, probabilities):
    """What pydensecrf makes of it."""
    classes, height, width = probabilities.shape
    made = peer.DenseCRF2D(width, height, classes)
    made.setUnaryEnergy(np.ascontiguousarray(-np.log(probabilities).reshape(classes, -1)))
    made.addPairwiseGaussian(sxy=crf.pos_xy_std, compat=crf.pos_w,
                             normalization=peer.NORMALIZE_AFTER)
    made.addPairwiseBilateral(sxy=crf.bi_xy_std, srgb=crf.bi_rgb_std, rgbim=image,
                              compat=crf.bi_w, normalization=peer.NORMALIZE_AFTER)
    return np.array(made.inference(crf.iterations)).reshape(probabilities.shape)


def compare(crf, size, args):
    """Rows of one picture and its settings."""
    image, probabilities = picture(*size)
    ways = {OURS: lambda: crf.refine(probabilities, image)}
    if peer is not None and size == SIZE:
        ways['pydensecrf'] = lambda: theirs(crf, image, probabilities)
        found = [way() for way in ways.values()]
        if np.abs(found[0] - found[1]).max() > 1e-4:
            raise SystemExit('the two results differ')
    case = {'height': size[0], 'width': size[1], 'classes': CLASSES, 'bi_xy_std': crf.bi_xy_std,
            'bi_rgb_std': crf.bi_rgb_std}
    return measure('dense CRF', case, ways, args)


@report_errors()
def main():
    args = arguments(__doc__, 5).parse_args()
    machine = prepare(args)
    if peer is None:
        print('pydensecrf is not installed: ours alone')
    rows = [row for xy, rgb in SETTINGS for row in
            compare(Crf(bi_xy_std=xy, bi_rgb_std=rgb), SIZE, args)]
    rows += [row for size in SIZES if size != SIZE for row in compare(Crf(), size, args)]
    write(args.json, machine, rows)


if __name__ == '__main__':
    main()
