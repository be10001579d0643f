"""Reads the HDF5 files that a text file lists, for HDF5Data."""

import numpy as np

from ...errors import FcnError
from ...files import read_regular
from ...formats.hdf5_read import HDF5, Dataset, is_hdf5
from ...sizes import dims
from ...sniff import check_text, recognise

LIST_WANTED = 'Give a text file that names the HDF5 files, one a line.'


def listed_files(path):
    """The file names in a text file, one a line."""
    data = read_regular(path, 'a list of HDF5 files', do='Fix source.')
    try:
        if data:
            check_text(data[:512], path, LIST_WANTED)
        files = data.decode().split()
    except UnicodeDecodeError:
        raise FcnError(f'{path} is not a text file', do=LIST_WANTED) from None
    if not files:
        raise FcnError(f'{path} lists no file', do='Name one HDF5 file a line.')
    return files


def read_files(files, names):
    """(the datasets of these names, each of all files as one float32 array, rows per file)."""
    parts = [read_file(file, names) for file in files]
    for file, arrays in zip(files, parts, strict=True):
        for name, array, first in zip(names, arrays, parts[0], strict=True):
            if array.shape[1:] != first.shape[1:]:
                raise FcnError(f"'{name}' has rows of {dims(array.shape[1:])} in {file}, of "
                               f'{dims(first.shape[1:])} in {files[0]}', do='They must agree.')
    counts = [len(arrays[0]) for arrays in parts]
    if not sum(counts):
        raise FcnError(f'no rows in {", ".join(map(str, files))}', do='Give at least one.')
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)], counts


def read_file(path, names):
    """The datasets of these names as float32 arrays of equal length; FcnError for anything else.
    Booleans, which Caffe refuses, become 0 and 1."""
    if not is_hdf5(path):
        with open(path, 'rb') as raw:
            other = recognise(raw.read(512))
        what, do = other or ('no HDF5 file', 'Copy or write it again.')
        raise FcnError(f'{path} is {what}' + (', not an HDF5 file' if other else ''), do=do)
    file = HDF5(path)
    found = file.describe(*((name, 0, False) for name in names))
    for name, dataset in zip(names, found, strict=True):
        check_rows(file, name, dataset)
    arrays = [array.astype(np.float32) for array in file.arrays(found, 'fiub')]
    if len({len(array) for array in arrays}) != 1:
        raise FcnError(f'{path}: {[len(array) for array in arrays]} rows in its datasets',
                       do='All must have equally many.')
    return arrays


def check_rows(file, name, dataset):
    """FcnError for what is not a dataset of numbers with one axis or more."""
    if dataset is None:
        raise FcnError(f"{file.path} has no dataset '{name}'",
                       do=f'It has: {", ".join(file.root())}.')
    if not isinstance(dataset, Dataset) or not dataset.shape or dataset.type is None:
        kind = f'of type {dataset.says}' if isinstance(dataset, Dataset) else 'a group'
        raise FcnError(f"'{name}' in {file.path} is not an array of numbers, but {kind}",
                       do="Write one, of one row or more: file[name] = array.astype('float32'); "
                          'text as class numbers, a record as one dataset for each field.')
