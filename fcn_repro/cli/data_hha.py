"""Make HHA images (disparity, height above ground, angle with gravity, after Gupta et al.) from the
depth images of a folder in NYUDv2's layout: data/hha/NAME.png for each data/depth/NAME.png.
data/rawdepth, where it is there, says where nothing was measured: its zeros."""

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..data.findings import SHOWN
from ..data.hha import Camera
from ..data.hha_files import (
    CAMERA,
    DEPTH,
    HHA,
    PER_METRE,
    PLAUSIBLE,
    RAW,
    Compared,
    Made,
    compare_folder,
    encode_folder,
)
from ..errors import FcnError
from .arguments import add_max_pixels, finite
from .reporting import remedy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', metavar='DIR')
    parser.add_argument('--camera', type=finite, nargs=4, metavar=('FX', 'FY', 'CX', 'CY'),
                        help='focal lengths and principal point in pixels, the first pixel is 1 1 '
                        f'(default: those in DIR/{CAMERA}; else those of NYUDv2, for its sizes)')
    parser.add_argument('--per-metre', type=finite, default=PER_METRE, metavar='N', help='what the '
                        'depth images hold for a depth of one metre (default: 1000, millimetres)')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--overwrite', action='store_true', help='make files anew that are there')
    what.add_argument('--compare', action='store_true', help='write nothing: tell how the files '
                      f'that are in {HHA}, of another program, say, differ from what would be made')
    add_max_pixels(parser)


def run(args: argparse.Namespace) -> int:
    """1 where there are depth images of which no HHA could be made, or compared."""
    given = args.folder, args.camera and Camera(*args.camera), args.per_metre
    if args.compare:
        compared, faults = compare_folder(*given)
        lines = list(differences(compared))
    else:
        made = encode_folder(*given, args.overwrite)
        lines, faults = summary(made), made.faults
    for line in (*told(faults, args.folder), *lines):
        print(line)
    return 1 if faults else 0


def told(faults: Iterable[FcnError], folder: str) -> Iterator[str]:
    """The faults, each once, with the first files that have it, and what to do."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    files: dict[str, list[str]] = {}
    remedies = {}
    for error in faults:
        files.setdefault(error.what, []).append(os.path.relpath(error.file or '', folder))
        remedies[error.what] = remedy(error, parser)
    for what, names in files.items():
        more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
        yield f'{", ".join(names[:SHOWN])}{more}: {what}'
        yield f'  → {remedies[what]}'


def summary(made: Made) -> list[str]:
    """The lines that tell what was made, and what of the depth was not as it should be."""
    counts = [f'{len(made.written)} made']
    counts += [f'{made.there} there already, left as they are'] * bool(made.there)
    counts += [f'{len(made.faults)} not made'] * bool(made.faults)
    lines = [f'{made.folder.root / HHA}: {", ".join(counts)}']
    lines += [f'  camera   fx {c.fx:g}, fy {c.fy:g}, cx {c.cx:g}, cy {c.cy:g} for {h}x{w} pixels'
              for (h, w), c in made.cameras.items()]
    if made.written:
        lines += measures(made)
    if found := made.implausible:
        low, high = PLAUSIBLE
        lines.append(f'warning: the median depth of {len(found)} images is not {low:g} to {high:g} '
                     f'm, that of {found[0].file.name} is {found[0].median:.3g} m: give what the '
                     'files hold for one metre with --per-metre N, and --overwrite')
    if undecided := made.undecided:
        lines.append(f'warning: {len(undecided)} images show too little but one wall to tell where '
                     f'down is, such as {undecided[0].file.name}: their second and third channels '
                     'are as good as random')
    return lines


def measures(made: Made) -> list[str]:
    """The lines with the means and ranges over the images."""
    tilt, missing, no_normal, median = (
        np.array([getattr(record, name) for record in made.written])
        for name in ('tilt', 'missing', 'no_normal', 'median'))
    holes = f'where {RAW} is 0' if made.folder.raw else f'where {DEPTH} is 0: there is no {RAW}'
    return [f'  depth    median {median.min():.2f} to {median.max():.2f} m',
            f'  missing  {100 * missing.mean():.1f} % of the pixels, {holes}; '
            f'{100 * no_normal.mean():.1f} % without a normal, whose angle is 180°',
            f'  gravity  {tilt.min():.1f} to {tilt.max():.1f}° from upright, mean '
            f'{tilt.mean():.1f}°']


def differences(compared: Sequence[Compared]) -> Iterator[str]:
    """The lines that tell how far images and encoding agree, by channel."""
    yield f'{len(compared)} images compared, {sum(min(each.equal) == 1 for each in compared)} equal'
    for i, name in enumerate(('disparity', 'height', 'angle') if compared else ()):
        equal, near = (100 * np.mean([getattr(each, which)[i] for each in compared])
                       for which in ('equal', 'near'))
        worst = max(compared, key=lambda each: each.most[i])
        yield (f'  {name:9} {equal:6.2f} % of the pixels equal, {near:6.2f} % within 1; the most '
               f'is {worst.most[i]}, in {worst.file.name}')
