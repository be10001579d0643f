"""Views: in which sizes, mirrored or not, whole or in windows an image is shown to a net."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FcnError

LARGEST = 8.            # scale
PIXELS = 2 ** 28        # of a resized image


@dataclass(frozen=True)
class Views:
    """What a net is shown of an image. Probabilities are averaged over `scales`, each at the
    image's own size.

    sliding: windows as large as the net's input, each two thirds of one beyond the one before
    (windows.Sliding). flip: the mirrored image too; the scores of both are added up, which
    multiplies their probabilities. base: the longer side of the image at scale s is base s + 1
    pixels, as in PSPNet's evaluation; None: s times its own.

    FcnError for scales that are not positive or above LARGEST, for none, and for a base that is not
    positive.
    """
    sliding: bool = False
    scales: tuple[float, ...] = (1.,)
    flip: bool = False
    base: int | None = None

    def __post_init__(self) -> None:
        wrong = [s for s in self.scales if not (math.isfinite(s) and 0 < s <= LARGEST)]
        if wrong or not self.scales:
            raise FcnError(f'a scale is {wrong[0]:g}' if wrong else 'no scales are given',
                           code='bad-scales', do=f'Give scales above 0, up to {LARGEST:g}.')
        if self.base is not None and self.base < 1:
            raise FcnError(f'base is {self.base}', code='not-positive',
                           facts={'option': 'base-size'}, do='Give base of at least 1.')

    @property
    def plain(self) -> bool:
        """Whether a net sees the image itself, once and whole."""
        return self == Views()

    @property
    def several(self) -> bool:
        """Whether the result is of several sizes, or mirrored: not the single-scale number."""
        return self.flip or len(self.scales) > 1

    @property
    def words(self) -> str:
        """For people; '' for the image itself."""
        parts = []
        if self.sliding:
            parts.append('sliding windows')
        if self.base is not None:
            parts.append(f'longer side {self.base} x scale + 1')
        if self.scales != (1.,):
            parts.append(f'scales {", ".join(f"{s:g}" for s in self.scales)}')
        if self.flip:
            parts.append('mirrored too')
        note = ' (not the single-scale number)' if self.several else ''
        return '; '.join(parts) + note

    def as_json(self) -> dict[str, Any]:
        """For metrics.json."""
        return {'sliding': self.sliding, 'scales': list(self.scales), 'flip': self.flip,
                'base': self.base, 'single_scale': not self.several}

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The sizes in which an image is shown, one for each scale. FcnError for one beyond
        PIXELS."""
        found = []
        for scale in self.scales:
            if self.base is None:
                size = tuple(max(1, rounded(scale * side)) for side in (height, width))
            else:
                longest = max(1, rounded(self.base * scale) + 1)
                size = tuple(max(1, rounded(np.float32(longest) / np.float32(max(height, width))
                                            * np.float32(side))) for side in (height, width))
            if size[0] * size[1] > PIXELS:
                raise FcnError(f'an image of {height}x{width} would be {size[0]}x{size[1]} at '
                               f'scale {scale:g}', code='scale-large',
                               do='Give smaller scales, or a smaller base.')
            found.append((size[0], size[1]))
        return found


def rounded(value: Any) -> int:
    """The nearest integer, halves upwards."""
    return math.floor(float(value) + 0.5)
