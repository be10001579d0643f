"""Which class a colour of a mask stands for: tables that are known, given or derived."""

from collections.abc import Mapping
from pathlib import Path

from PIL import ImageColor

from fcn_repro.data.colours import Colour, Table, numbered, read_table
from fcn_repro.data.image import VOID
from fcn_repro.data.palette import VOC_CLASSES, palette
from fcn_repro.errors import FcnError

MOST_DERIVED = 64       # classes that are found by their colours alone
KNOWN_AT_LEAST = 4      # colours of a known table, black and void not counted, to recognise it

# Cityscapes' classes by trainId: labelId, name, colour. Source: the labels of cityscapesScripts.
CITYSCAPES = (
    (7, 'road', (128, 64, 128)), (8, 'sidewalk', (244, 35, 232)), (11, 'building', (70, 70, 70)),
    (12, 'wall', (102, 102, 156)), (13, 'fence', (190, 153, 153)), (17, 'pole', (153, 153, 153)),
    (19, 'traffic light', (250, 170, 30)), (20, 'traffic sign', (220, 220, 0)),
    (21, 'vegetation', (107, 142, 35)), (22, 'terrain', (152, 251, 152)),
    (23, 'sky', (70, 130, 180)), (24, 'person', (220, 20, 60)), (25, 'rider', (255, 0, 0)),
    (26, 'car', (0, 0, 142)),
    (27, 'truck', (0, 0, 70)), (28, 'bus', (0, 60, 100)), (31, 'train', (0, 80, 100)),
    (32, 'motorcycle', (0, 0, 230)), (33, 'bicycle', (119, 11, 32)))
CITYSCAPES_VOID = ((0, 0, 0), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140),
                   (180, 165, 180), (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110))


def voc_table() -> Table:
    """VOC's colours and classes."""
    colours = [(int(r), int(g), int(b)) for r, g, b in palette()]
    return Table({**{colours[i]: i for i in range(len(VOC_CLASSES))}, colours[VOID]: VOID},
                 VOC_CLASSES)


def cityscapes_table() -> Table:
    """The colours of Cityscapes' gtFine_color, as its 19 classes of training."""
    return Table({**dict.fromkeys(CITYSCAPES_VOID, VOID),
                  **{colour: i for i, (_, _, colour) in enumerate(CITYSCAPES)}},
                 tuple(name for _, name, _ in CITYSCAPES))


TABLES = {'voc': voc_table, 'cityscapes': cityscapes_table}


def table_of(colours: str | Path | Mapping[Colour, str] | Table) -> Table:
    """The table that a user gives: the name of a known one, a file, {RGB: name}, or itself."""
    if isinstance(colours, Table):
        return colours
    if isinstance(colours, Mapping):
        return numbered([(colour, name) for colour, name in colours.items()], 'colours')
    return TABLES[str(colours)]() if str(colours) in TABLES else read_table(Path(colours))


def derived(pixels: Mapping[Colour, int]) -> tuple[Table, str]:
    """A table for the colours of some masks, {RGB: pixels}, and how it was found, in words: a known
    one where it has them all; else a class for each: black, or the most frequent colour, is 0."""
    white_void = {(224, 224, 192)} & pixels.keys()
    told = pixels.keys() - {(0, 0, 0)} - white_void
    for name, known in TABLES.items():
        table = known()
        if len(told) >= KNOWN_AT_LEAST and pixels.keys() <= table.indices.keys():
            return table, f"the colours are {name}'s"
    if not 1 <= len(pixels) - len(white_void) <= MOST_DERIVED:
        raise FcnError(f'the masks have {len(pixels)} colours, of 1 to {MOST_DERIVED}',
                       code='data-many-colours', facts={'kind': 'edges'},
                       do='Give a table of the colours.')
    first = (0, 0, 0) if (0, 0, 0) in pixels else \
        max(pixels.keys() - white_void, key=lambda colour: (pixels[colour], colour))
    order = [first, *sorted(pixels.keys() - white_void - {first})]
    names = ['background', *map(colour_name, order[1:])]
    return (Table({**{colour: i for i, colour in enumerate(order)},
                   **dict.fromkeys(white_void, VOID)}, tuple(names)),
            f'{len(order)} classes by their colours')


def colour_name(colour: Colour) -> str:
    """A colour's name in CSS, or #rrggbb."""
    # getrgb, since Pillow replaces the texts of its table by what they stand for once they are used
    return next((name for name in ImageColor.colormap if ImageColor.getrgb(name) == tuple(colour)),
                '#{:02x}{:02x}{:02x}'.format(*colour))
