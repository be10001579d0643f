"""Check a data set of your own before training, and convert images and masks of any kind.

    fcn-repro data check photos/
    fcn-repro data convert photos/ --masks rgb --out voc/ --split 0.8
    fcn-repro data check voc/
    fcn-repro data scribbles voc/ --out scribbles/
    fcn-repro data localise voc/ --run runs/own-tags --out seeds/
    fcn-repro data hha nyud/
    fcn-repro data list
    fcn-repro data fetch voc2011

`check` decodes every file of a folder in VOC's layout, or in any that `convert` takes: images/ and
masks/ with files of the same names, photo.jpg beside photo.png or photo_mask.png, train/ and val/
around or inside either, JSON files of labelme or COCO, Cityscapes' two folders. It prints all
faults by kind, what is in the folder, and the next command; the exit status is 1 where training
would fail. `convert` writes a folder in VOC's layout, whole or not at all. `scribbles` makes
scribbles of the train masks of such a folder, `localise` seeds from image tags. `hha` makes the HHA
images of a folder in NYUDv2's layout from its depth images. `list` has the data sets and weights of
the papers, and where they are published; `fetch` fetches one by its name.
"""

import argparse
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..data.check import check_folder
from ..data.convert import KINDS, Converted, convert
from ..data.convert.masks import OTHER
from ..data.examine import Fault
from ..data.findings import SHOWN, Findings, by_kind, headed
from ..data.image import VOID
from . import data_fetch, data_hha, data_localise, data_scribbles
from .arguments import add_max_pixels, finite
from .reporting import remedy

BAR = 24                # columns of a histogram's longest bar
EIGHTHS = ' ▏▎▍▌▋▊▉█'
MOST_ROWS = 40          # classes in the histogram
WIDEST_NAME = 24
NAMES = {'voc': 'VOC', 'sbd': 'SBD', 'nyud': 'NYUDv2', 'siftflow': 'SIFT Flow',
         'context': 'PASCAL-Context'}
# {layout: (stage that trains on it, its classes, the option that takes the folder)}
STAGES = {'sbd': ('voc-fcn32s', 21, '--sbd'), 'nyud': ('nyud-fcn32s-color', 40, '--nyud'),
          'siftflow': ('siftflow-fcn32s', 33, '--siftflow'),
          'context': ('pascalcontext-fcn32s', 60, '--context')}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    check = commands.add_parser('check', help='check every file of a data set', description='Check '
                                'every file of a data set; status 1 where training would fail.')
    check.add_argument('folder', metavar='DIR')
    check.add_argument('--classes', type=int, metavar='N', help='of the net that is to be trained '
                       '(default: as many as the labels need)')
    check.add_argument('--colours', metavar='TABLE', help='of rgb masks, as of convert')
    check.add_argument('--splits', nargs='+', metavar='SPLIT', help='of a folder that has lists of '
                       'its own (default: train val, or those that a data set of the paper has)')
    check.add_argument('--sbd', metavar='DIR', help="SBD's dataset folder, for the split "
                       'seg11valid')
    check.add_argument('--pascal', metavar='DIR', help='the folder that VOC2010 is in, of '
                       'PASCAL-Context (default: beside it)')
    check.add_argument('--scribbles', action='store_true', help='the labels of train are meant as '
                       'scribbles, most of their pixels void')
    check.add_argument('--all', action='store_true', help=f'every file with a fault, instead of '
                       f'the first {SHOWN} of each kind')
    add_max_pixels(check)
    add_convert(commands.add_parser(
        'convert', help="convert images and masks into VOC's layout",
        description="Convert images and masks into a folder in VOC's layout, whole or not at all."))
    data_scribbles.add_arguments(commands.add_parser(
        'scribbles', help='scribbles of masks', description=data_scribbles.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter))
    data_localise.add_arguments(commands.add_parser(
        'localise', help='seeds from image tags', description=data_localise.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter))
    data_hha.add_arguments(commands.add_parser('hha', help='HHA images from depth',
                                               description=data_hha.__doc__))
    data_fetch.add_list(commands.add_parser('list', help='data sets and weights of the papers',
                                            description=data_fetch.__doc__))
    data_fetch.add_fetch(commands.add_parser(
        'fetch', help='fetch one of them', description='Fetch data sets or weights by name, '
        'resumed where an earlier call stopped; verify and unpack them.'))
    parser.usage = '\n       '.join(' '.join(each.format_usage().split()[1:])
                                    for each in commands.choices.values())


def add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', metavar='DIR', help='images and masks; DIR/classes.txt: names, '
                        'DIR/colours.txt: colours of rgb masks')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to make')
    parser.add_argument('--masks', choices=KINDS, help='what the masks are: colours, 0 and 255 (or '
                        '0 and 1), class ids, JSON of COCO, labelIds of Cityscapes, JSON of '
                        'labelme (default: what they look like)')
    parser.add_argument('--split', type=finite, metavar='PART', help='the part of the images for '
                        "train, the others are val (default: the folder's own train and val, or "
                        '0.8)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the draw of train and '
                        'val (default: %(default)s)')
    parser.add_argument('--colours', metavar='TABLE', help="of rgb masks: a text with lines 'R G B "
                        "name', the name void for no class; or voc, or cityscapes (default: "
                        'colours.txt in DIR, or a class for each colour)')
    parser.add_argument('--names', metavar='A,B,…', help='class names, background first (default: '
                        'those of classes.txt or of the masks)')
    parser.add_argument('--other', choices=OTHER, default='error', help='what becomes of colours '
                        'and values of no class, such as those of smoothed edges: %(choices)s '
                        '(default: %(default)s)')
    parser.add_argument('--void', type=int, metavar='ID', help='id of index masks that means: no '
                        'label (255 always does)')
    parser.add_argument('--longest', type=int, metavar='N', help='scale larger images, and their '
                        'masks, to N pixels on the longest side')
    add_max_pixels(parser)


def run(args: argparse.Namespace) -> int:
    """1 where training would fail, or where something was left out."""
    return {'check': run_check, 'convert': run_convert, 'scribbles': data_scribbles.run,
            'localise': data_localise.run, 'hha': data_hha.run, 'list': data_fetch.run_list,
            'fetch': data_fetch.run_fetch}[args.action](args)


def run_check(args: argparse.Namespace) -> int:
    found = check_folder(args.folder, args.splits, args.classes, args.colours, pascal=args.pascal,
                         sbd=args.sbd)
    found = found.for_scribbles() if args.scribbles else found
    show(found, None if args.all else SHOWN)
    colours = ('--colours', args.colours) if args.colours else ()
    again = [*(('--classes', str(args.classes)) if args.classes else ()), *colours,
             *(('--splits', *args.splits) if args.splits else ()),
             *(('--sbd', args.sbd) if args.sbd else ()),
             *(('--pascal', args.pascal) if args.pascal else ()),
             *(('--scribbles',) if args.scribbles else ())]
    show_next(found, args.folder, colours, again)
    return 1 if found.errors else 0


def run_convert(args: argparse.Namespace) -> int:
    names = tuple(name.strip() for name in (args.names or '').split(',') if name.strip())
    made = convert(args.folder, args.out, args.masks, split=args.split, seed=args.seed,
                   colours=args.colours, names=names, other=args.other, void=args.void,
                   longest=args.longest)
    show_converted(made, args)
    found = check_folder(made.folder)
    print()
    show(found, SHOWN)
    show_next(found, args.out)
    return 1 if found.errors or made.faults else 0


# ---- what is printed -----------------------------------------------------------------------------

def show_converted(made: Converted, args: argparse.Namespace) -> None:
    """Print what convert() did and what it left out."""
    decided = f' ({"; ".join(made.decided)})' if made.decided else ''
    print(f'{args.folder}: {made.masks} masks{decided}')
    for note, count in sorted(made.notes.items(), key=lambda row: -row[1]):
        print(f'  {count} {"image" if count == 1 else "images"} {note}')
    if made.faults:
        print('\nleft out')
        show_faults(list(made.faults), Path(args.folder), SHOWN)
        print()
    splits = ' and '.join(f'{count} {name}' for name, count in made.splits.items())
    tables = 'classes.txt, colours.txt' + ', mask-colours.txt' * Path(
        made.folder, 'mask-colours.txt').exists()
    print(f'{made.folder}: {splits} pairs, {tables}')


def show(found: Findings, shown: int | None) -> None:
    """Print the faults by kind, then what is in the folder."""
    for head, faults in (('errors', found.errors), ('warnings', found.warnings)):
        if faults:
            print(head)
            show_faults(faults, found.folder, shown)
            print()
    if found.records:
        for line in summary(found):
            print(line)
        print()


def show_faults(faults: list[Fault], folder: Path, shown: int | None) -> None:
    """Print faults by kind: how many, the first ones, and what to do."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for kind, found in by_kind(faults).items():
        print(f'  {headed(kind, found)}')
        for fault in found[:shown]:
            print(f'      {printable(place(fault.file, folder))}: {printable(fault.what)}')
        if shown is not None and len(found) > shown:
            print(f'      … and {len(found) - shown} more')
        print(f'    → {remedy(found[0].error(), parser)}')


def place(file: Path, folder: Path) -> str:
    """A path as it is shown: from the folder on."""
    return os.path.relpath(file, folder) if file.is_relative_to(folder) and file != folder \
        else str(file)


def printable(text: str) -> str:
    """A text without what a terminal would act on, or cannot print."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def summary(found: Findings) -> Iterator[str]:
    """The lines that tell what is in a folder."""
    splits = ', '.join(counted(count, split) for split, count in found.splits.items())
    head = f'{found.masks} masks' if found.masks else f"{NAMES[found.layout]}'s layout"
    yield ', '.join((f'{found.folder}: {head}', splits, *found.notes))
    images = [record.image for record in found.records if record.image]
    yield '  images   ' + '; '.join((
        listed(f'{w}x{h}' for h, w in (image.size for image in images)),
        listed(image.mode for image in images), listed(image.format for image in images)))
    present = np.flatnonzero(found.histogram[:VOID])
    modes = listed(record.mode for record in found.records if record.mode)
    yield f'  labels   {modes or "none that can be read"}; ids {ranges(present)}; ' \
          f'void {percent(found.void)}'
    if present.size:
        yield f'  classes  {found.classes}' + ('' if found.names else ', without classes.txt')
        yield from bars(found)


def counted(count: int, split: str) -> str:
    """'8 train', or '8 images' where there are no splits yet."""
    return f'{count} {split or "images"}'


def listed(values: Iterator[str], most: int = 4) -> str:
    """'A 12, B 3' of values by how often they are, of one kind 'A'."""
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    rows = sorted(counts.items(), key=lambda row: -row[1])
    if len(rows) == 1:
        return rows[0][0]
    more = f', {len(rows) - most} more' if len(rows) > most else ''
    return ', '.join(f'{value} ({count})' for value, count in rows[:most]) + more


def ranges(ids: np.ndarray) -> str:
    """'0-3, 7' of ids in order; 'none'."""
    parts = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1) if ids.size else []
    texts = [f'{part[0]}' if part.size == 1 else f'{part[0]}-{part[-1]}' for part in parts]
    return ', '.join(texts[:8]) + (', …' if len(texts) > 8 else '') if texts else 'none'


def percent(part: float) -> str:
    """A share with as many digits as tell it from 0 and 100 %."""
    return f'{100 * part:.1f} %' if part >= 0.001 or not part else f'{100 * part:.1g} %'


def bars(found: Findings) -> Iterator[str]:
    """A line for each class: its share of the labelled pixels as a bar, its images by split."""
    histogram = found.histogram[:VOID]
    shares = histogram / max(1, histogram.sum())
    rows = [i for i in range(found.classes) if histogram[i] or i < len(found.names)]
    names = {i: found.names[i][:WIDEST_NAME] if i < len(found.names) else '' for i in rows}
    wide = max(map(len, names.values()))
    images = {split: found.images_with(split) for split in found.splits}
    for i in rows[:MOST_ROWS]:
        counts = ', '.join(counted(int(count[i]), split) for split, count in images.items())
        yield f'    {i:3} {names[i]:{wide}}  {percent(float(shares[i])):>8}  ' \
              f'{bar(float(shares[i] / shares.max())):{BAR}}  in {counts}'
    if len(rows) > MOST_ROWS:
        yield f'    … and {len(rows) - MOST_ROWS} more classes'


def bar(part: float) -> str:
    """A bar of blocks; part: of BAR columns, 0 to 1."""
    eighths = max(round(8 * BAR * part), part > 0)
    return '█' * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def show_next(found: Findings, folder: str, colours: Sequence[str] = (),
              again: Sequence[str] = ()) -> None:
    """Print the verdict, and the command that comes next; with these options, if it is to convert,
    or to check again."""
    command = next_command(found, folder, colours)
    if not found.errors:
        count = len(found.warnings)
        print('ready to train' + (f' ({count} warning{"s" * (count > 1)})' if count else ''))
    if command or found.errors:
        print(f'next: {command}' if command else 'next: correct what is listed as errors, then '
              + shlex.join(('fcn-repro', 'data', 'check', folder, *again)))


def next_command(found: Findings, folder: str, colours: Sequence[str] = ()) -> str:
    """The command to type next, to convert with these options; '' where something has to be
    corrected by hand before, and for a data set in a published layout with other classes than its
    shipped nets have."""
    path = Path(folder)
    kinds = {fault.kind for fault in found.errors}
    beside = f'{os.path.normpath(path)}-voc'
    if found.layout in STAGES:
        stage, classes, option = STAGES[found.layout]
        images = ('--pascal', str(found.pascal)) if found.pascal else ()
        return '' if kinds or found.classes != classes else \
            shlex.join(('fcn-repro', 'train', stage, option, folder, *images))
    if not kinds:
        return shlex.join(('fcn-repro', 'train', 'own-scribbles' if found.scribbled else 'own',
                           '--voc', folder, '--classes', str(found.asked or found.classes)))
    masks = found.masks if kinds == {'layout'} else ''
    if found.layout == 'voc':
        masks = masks_for(kinds)
    if masks:
        return shlex.join(('fcn-repro', 'data', 'convert', folder, '--masks', masks, *colours,
                           '--out', beside))
    if kinds <= {'layout', 'edges', 'lossy'}:
        return shlex.join(('fcn-repro', 'data', 'convert', folder, '--masks', found.masks or 'rgb',
                           *colours, '--other', 'nearest', '--out', beside))
    return ''


def masks_for(kinds: set[str]) -> str:
    """The kind of masks that the labels of a folder in VOC's layout are, where converting helps."""
    if not kinds <= {'binary', 'colours', 'mask-mode', 'image-mode', 'size'}:
        return ''
    return 'binary' if 'binary' in kinds else 'rgb' if 'colours' in kinds else 'index'

