"""Scores that the papers and the release state for PASCAL VOC, in percent."""

from typing import NamedTuple


class Stated(NamedTuple):
    """A row of a table. net: Stage.net of what it is about. scores: pixel accuracy, mean accuracy,
    mean IU, frequency-weighted IU; None where the source states none."""
    net: str
    name: str
    scores: tuple[float | None, float | None, float | None, float | None]
    source: str


# seg11valid: the 736 images of VOC2011's val that are not in SBD's train
SEG11VALID = (
    Stated('fcn32s-fixed', 'FCN-32s-fixed', (83.0, 59.7, 45.4, 72.0), 'CVPR 2015, Table 2'),
    Stated('fcn32s', 'FCN-32s', (89.1, 73.3, 59.4, 81.4), 'CVPR 2015, Table 2'),
    Stated('fcn16s', 'FCN-16s', (90.0, 75.7, 62.4, 83.0), 'CVPR 2015, Table 2'),
    Stated('fcn8s', 'FCN-8s', (90.3, 75.9, 62.7, 83.2), 'CVPR 2015, Table 2'),
    Stated('fcn32s', 'FCN-32s, released weights', (90.5, 76.5, 63.6, 83.5), 'PAMI 2016'),
    Stated('fcn16s', 'FCN-16s, released weights', (91.0, 78.1, 65.0, 84.3), 'PAMI 2016'),
    Stated('fcn8s', 'FCN-8s, released weights', (None, None, 65.5, None), 'release'),
    Stated('fcn8s-atonce', 'FCN-8s at once, released weights', (None, None, 65.4, None),
           'release'),
)
# mean IU on the test sets, and inference time
TABLE_3 = (
    ('R-CNN', '47.9', '', ''),
    ('SDS', '52.6', '51.6', '~50 s'),
    ('FCN-8s', '62.7', '62.2', '~175 ms'),
)
