"""The score of one image as counts."""

import numpy as np
from scipy.ndimage import distance_transform_cdt

from fcn_repro.predict.scoring import BANDS, bands


def test_bands_are_chessboard_distances_from_a_boundary():
    rng = np.random.default_rng(0)
    for size in (1, 1), (1, 90), (3, 2), (97, 130), (200, 40):
        for seeds in 0, 1, 3, 40:
            label = np.zeros(size, np.uint8)
            label[rng.integers(size[0], size=seeds), rng.integers(size[1], size=seeds)] = 255
            padded = np.pad(label, 1, mode='edge')
            inner = np.s_[1:-1]
            same = np.logical_and.reduce([label == each for each in (
                padded[:-2, inner], padded[2:, inner], padded[inner, :-2], padded[inner, 2:])])
            found = bands(label)
            assert found.dtype == np.uint8
            if same.all():
                assert (found == len(BANDS)).all()
                continue
            distance = 1 + distance_transform_cdt(same, 'chessboard')
            np.testing.assert_array_equal(found, np.searchsorted(BANDS, distance))
