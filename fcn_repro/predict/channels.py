"""Pictures of all channels of a val net, as in the M2NIST tutorials."""

from pathlib import Path

import torch

from ..net.net import Net
from ..report import contact_sheet
from ..report.channels import channels
from .evaluation import spread
from .labels import data_layer, score_layer


def channel_pictures(net: Net, path: str | Path, count: int = 6, score: str = 'score') -> None:
    """Write one PNG with report.channels of `count` images, spread over a val net's data: for each
    class the ground truth and the probability. FcnError for a net without data or score."""
    data, strips = data_layer(net), []
    for k in sorted(spread(min(count, len(data)), len(data))):
        sample = data.sample(k)
        net.seek(k)
        with torch.inference_mode():
            scores = net.forward(blobs=[score], stop_after=score_layer(net, score))[score]
        names = data.classes or [str(c) for c in range(scores.shape[1])]
        strips.append(channels(sample.image, sample.label, scores[0].cpu().numpy(), names,
                               data.colours))
    contact_sheet(strips, path)
