"""The PASCAL VOC colour map and class names."""

import numpy as np

VOC_CLASSES = (
    'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
    'train', 'tvmonitor')

LONGEST_CLASS = 200         # characters of a class name


def palette(n: int = 256) -> np.ndarray:
    """The VOC colour map, (n, 3) uint8 RGB, n <= 256; void (255) is the cream (224, 224, 192).

    Bit i of the label goes to channel i % 3 (red, green, blue), the lowest bits to the highest
    places.
    """
    label = np.arange(n)[:, None]
    colours = np.zeros((n, 3), np.int64)
    for place in range(8):
        bits = label >> (3 * place + np.arange(3)) & 1
        colours |= bits << (7 - place)
    return colours.astype(np.uint8)
