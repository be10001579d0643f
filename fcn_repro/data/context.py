"""PASCAL-Context (Mottaghi et al. 2014): labels of everything in the images of VOC 2010, 459
classes in .mat files, of which the tasks of 59 and of 33 classes are made."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcn_repro.data.labelmat import read_matrix
from fcn_repro.data.layer import SegDataLayer, param_path
from fcn_repro.data.palette import VOC_CLASSES
from fcn_repro.data.reader import Reader, checked_class, read_text
from fcn_repro.errors import FcnError, nearest, short

BACKGROUND = 'background'
YEAR = 'VOC2010'
LABELS = 'labels.txt'           # the 459 classes: lines '2: aeroplane'
TASK_LABELS = '{}_labels.txt'   # those of a task: lines '1: aeroplane'

# What the names of a task are called in the 459, where that differs (pascalcontext_layers.py)
RENAMED = {'diningtable': 'table', 'bedcloth': 'bedclothes', 'clothes': 'cloth'}

# Ids in labels.txt of the 59 classes, in the order of 59_labels.txt
IDS_59 = {
    'aeroplane': 2, 'bicycle': 23, 'bird': 25, 'boat': 31, 'bottle': 34, 'bus': 45, 'car': 59,
    'cat': 65, 'chair': 72, 'cow': 98, 'diningtable': 397, 'dog': 113, 'horse': 207,
    'motorbike': 258, 'person': 284, 'pottedplant': 308, 'sheep': 347, 'sofa': 368, 'train': 416,
    'tvmonitor': 427, 'bag': 9, 'bed': 18, 'bench': 22, 'book': 33, 'building': 44, 'cabinet': 46,
    'ceiling': 68, 'clothes': 80, 'computer': 85, 'cup': 104, 'door': 115, 'fence': 144,
    'floor': 158, 'flower': 159, 'food': 162, 'grass': 187, 'ground': 189, 'keyboard': 220,
    'light': 232, 'mountain': 259, 'mouse': 260, 'curtain': 105, 'platform': 296, 'sign': 355,
    'plate': 295, 'road': 324, 'rock': 326, 'shelves': 349, 'sidewalk': 354, 'sky': 360,
    'snow': 366, 'bedcloth': 19, 'track': 415, 'tree': 420, 'truck': 424, 'wall': 440,
    'water': 445, 'window': 454, 'wood': 458}
NAMES_33 = (*VOC_CLASSES[1:], 'sky', 'grass', 'ground', 'road', 'building', 'tree', 'water',
            'mountain', 'wall', 'floor', 'track', 'keyboard', 'ceiling')
TASKS = {59: IDS_59, 33: {name: IDS_59[name] for name in NAMES_33}}
ALL = 459


class Task:
    """The classes of a task. names: by label index, background, which is every other class, first.
    table: (n + 1,) uint8, the index of each of the n classes of the data set, and of 0."""

    def __init__(self, folder: Path, classes: int):
        ids = self.ids(folder, classes)
        self.names = (BACKGROUND, *ids)
        count = max(ALL, *ids.values()) if not os.path.isfile(folder / LABELS) else \
            max(read_numbered(folder / LABELS))
        self.table = np.zeros(count + 1, np.uint8)
        for index, id_ in enumerate(ids.values(), 1):
            self.table[id_] = index

    @staticmethod
    def ids(folder: Path, classes: int) -> dict[str, int]:
        """{name: id in the 459} of a task, by the folder's labels.txt and, say, 59_labels.txt; a
        file that is not there is the data set's own. FcnError for a name that labels.txt lacks."""
        path, listed = folder / LABELS, folder / TASK_LABELS.format(classes)
        if not os.path.isfile(listed) and classes not in TASKS:
            raise FcnError(f'there is no list of {classes} classes', file=listed,
                           do='Give a task of 59 or 33 classes, or write the list, lines '
                              "'1: aeroplane'.")
        names = list(read_numbered(listed).values()) if os.path.isfile(listed) else \
            list(TASKS[classes])
        names = [name for name in names if name != BACKGROUND]
        if len(names) != classes or len(set(names)) != classes or classes > 254:
            raise FcnError(f'{len(set(names))} classes, the task has {classes}', file=listed,
                           do='Write each class of the task once, at most 254.')
        if not os.path.isfile(path):
            return {name: id_of(name, IDS_59, listed) for name in names}
        known = {name: id_ for id_, name in read_numbered(path).items()}
        return {name: id_of(RENAMED[name] if RENAMED.get(name) in known else name, known, listed)
                for name in names}


def id_of(name: str, known: Mapping[str, int], file: Path) -> int:
    """The id of a class by name. FcnError for an unknown one."""
    if name not in known:
        raise FcnError(f"the class {short(repr(name), 60)} is not one of the data set's classes",
                       file=file, do=nearest(name, known) or
                       f'Correct its name, or {LABELS} beside it.')
    return known[name]


def read_numbered(path: Path) -> dict[int, str]:
    """{number: name without spaces} of a text with lines '3: air conditioner'; lines without a
    colon are left out, as in the release. FcnError for a file without any, and for a number that is
    none or comes twice."""
    found: dict[int, str] = {}
    for line, text in enumerate(read_text(path).splitlines(), 1):
        number, colon, name = (part.replace(' ', '') for part in text.strip().partition(':'))
        if not colon:
            continue
        if not number.isdecimal() or len(number) > 5 or int(number) in found:
            raise FcnError(f'{short(ascii(text), 60)} is not a number of its own and a name',
                           file=path, line=line, do="Write lines such as '2: aeroplane'.")
        found[int(number)] = checked_class(name, path, line)
    if not found:
        raise FcnError('the file has no classes', file=path,
                       do="Write lines such as '2: aeroplane'.")
    return found


def tasks_in(folder: Path) -> list[int]:
    """The numbers of classes of the lists that a folder has, such as 59_labels.txt."""
    suffix = TASK_LABELS.format('')
    return sorted(int(number) for path in folder.glob(f'*{suffix}')
                  if (number := path.name.removesuffix(suffix)).isdecimal() and len(number) < 4)


class ContextFolder(Reader):
    """VOC2010/JPEGImages/ID.jpg and VOC2010/ImageSets/Main/SPLIT.txt in VOC's folder, and
    trainval/ID.mat in PASCAL-Context's.

    voc_dir: the folder that VOC2010 is in. context_dir: the one with trainval/ and, if it is not to
    be the data set's own, labels.txt and 59_labels.txt. task: 59 or 33, or any for which there is a
    list. Label 0 is the background: all classes that are not of the task; there is no void.
    """

    images, labels = 'JPEGImages/{}.jpg', 'trainval/{}.mat'
    splits = 'ImageSets/Main/{}.txt'
    standard = (BACKGROUND, *IDS_59)
    layout = "VOC's folder with VOC2010/ in it, such as data/pascal"

    def __init__(self, voc_dir: str | Path, context_dir: str | Path, split: str, task: int = 59):
        self.context = checked_folder(context_dir, 'the folder with trainval/, such as '
                                      'data/pascal-context', 'trainval')
        self.task = Task(self.context, task)
        root = checked_folder(voc_dir, self.layout)
        if not os.path.isdir(root / YEAR):
            years = sorted(path.name for path in root.glob('VOC20*'))
            raise FcnError(f"PASCAL-Context labels the images of {YEAR}, there is no such folder"
                           + (f'; there is {" and ".join(years)}' if years else ''),
                           file=root / YEAR, do=f'Unpack {YEAR} into it, or give another folder.')
        super().__init__(root / YEAR, split, len(self.task.names))

    def root_of(self, pattern: str) -> Path:
        return self.context if pattern == self.labels else self.folder

    def class_names(self) -> tuple[str, ...]:
        return self.task.names

    def read_label(self, path: Path) -> np.ndarray:
        table = self.task.table
        found = read_matrix(path, 'LabelMap', high=len(table) - 1,
                            do='Take the files of trainval.tar.gz of PASCAL-Context.')
        return table[found.astype(np.intp)]


def checked_folder(folder: str | Path, wanted: str, inside: str = '') -> Path:
    """The path of a folder; FcnError where there is none, or none of the name `inside` in it."""
    path = Path(folder)
    if not os.path.isdir(path / inside):
        raise FcnError('there is no such folder', file=path / inside,
                       do=f'Give {wanted} (relative paths start at {os.getcwd()}).')
    return path


class PASCALContextSegDataLayer(SegDataLayer):
    """The release's layer of that name (pascalcontext_layers.py).

    params: voc_dir, context_dir; task (an addition): 59, the default, or 33; mean (an addition);
    the rest as in SegDataLayer.
    """

    module = 'pascalcontext_layers'
    folder_keys = ('voc_dir', 'context_dir')
    settings = (*SegDataLayer.settings, 'task')
    options: ClassVar = {'context': 'context_dir', 'pascal': 'voc_dir'}
    own_mean = (104.007, 116.669, 122.679)

    @classmethod
    def class_names(cls, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        return Task(param_path(params, 'context_dir'), checked_task(params)).names

    def open(self, params: Mapping[str, Any]) -> ContextFolder:
        return ContextFolder(params['voc_dir'], params['context_dir'], params['split'],
                             checked_task(params))


def checked_task(params: Mapping[str, Any]) -> int:
    """The number of classes of the task. FcnError for what is none."""
    task = params.get('task', 59)
    if type(task) is not int or not 1 <= task <= 254:
        raise FcnError(f'task is {short(repr(task), 80)}, not a number of classes',
                       type='PASCALContextSegDataLayer', do='Give 59 or 33.')
    return task


LAYERS = (PASCALContextSegDataLayer,)
