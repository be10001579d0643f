"""Convert images and masks of any kind into a folder in VOC's layout."""

from .sources import KINDS
from .writing import Converted, convert

__all__ = ['KINDS', 'Converted', 'convert']
