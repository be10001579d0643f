"""A picture as torchvision's nets take it, and as Caffe's with torchvision's mean."""

import numpy as np
import torch

from fcn_repro.formats import torchvision


def as_torchvision(picture):
    """(3, H, W) RGB of 0 to 255 as (1, 3, H, W) normalised."""
    mean, std = (np.float64(v)[:, None, None] for v in (
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return torch.from_numpy(((picture / 255 - mean) / std)[None]).float()


def as_caffe(picture):
    """The same as (1, 3, H, W) BGR less the mean."""
    return torch.from_numpy(
        (picture[::-1] - np.float64(torchvision.MEAN)[:, None, None])[None]).float()
