"""Reading Caffe's goldens: where they lie, and the error measure of their README."""

from pathlib import Path

import h5py
import numpy as np

DATA = Path(__file__).parents[1] / 'data'
SHARED = Path(__file__).parents[3] / 'shared' / 'goldens'     # further cases, where it is there


def solver_cases():
    """{name: folder} of Caffe's solver runs: those of tests/data, and the others where they are."""
    return {path.parent.name: path.parent for root in (SHARED, DATA)
            for path in sorted(root.glob('solvers/*/solver.prototxt'))}


def error(ours, golden):
    """max|a - golden| / max|golden|; NaN equals NaN; 0 for two zero arrays."""
    ours, golden = np.asarray(ours, np.float64), np.asarray(golden, np.float64)
    assert ours.shape == golden.shape, f'{ours.shape} is not {golden.shape}'
    if golden.size == 0:
        return 0.0
    nan = np.isnan(golden)
    assert (np.isnan(ours) == nan).all(), 'NaN at other places'
    ours, golden = np.where(nan, 0, ours), np.where(nan, 0, golden)
    gap, scale = np.abs(ours - golden).max(), np.abs(golden).max()
    return gap / scale if scale else gap


def sampled(dataset):
    """(full shape, step, values) of a possibly subsampled golden array."""
    return tuple(dataset.attrs['shape']), int(dataset.attrs['step']), dataset[...]


def spoil(path, name, change):
    """Change a dataset in place: change(array) -> None, or 'delete'."""
    with h5py.File(path, 'r+') as file:
        if change == 'delete':
            del file[name]
            return
        values = file[name][()]
        change(values.reshape(-1))
        file[name][...] = values
