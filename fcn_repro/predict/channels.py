"""Pictures of all channels of a val net, as in the M2NIST tutorials."""

from pathlib import Path

import torch

from ..net.net import Net
from ..report import contact_sheet
from ..report.channels import channels
from .evaluation import spread
from .labels import data_layer, score_layer
from .metrics import Confusion


def channel_pictures(net: Net, path: str | Path, count: int = 6, score: str = 'score') -> None:
    """Write one PNG with report.channels of `count` images, spread over a val net's data: for each
    class the ground truth and the probability, under the image its id and mean IU. FcnError for a
    net without data or score."""
    data, strips = data_layer(net), []
    for k in sorted(spread(min(count, len(data)), len(data))):
        sample = data.sample(k)
        net.seek(k)
        with torch.inference_mode():
            scores = net.forward(blobs=[score], stop_after=score_layer(net, score))[score]
        names = data.classes or [str(c) for c in range(scores.shape[1])]
        array = scores[0].cpu().numpy()
        confusion = Confusion(len(array))
        confusion.add(sample.label, array.argmax(0))
        iu = float(confusion.metrics().mean_iu)
        strips.append(channels(sample.image, sample.label, array, names, data.colours,
                               (sample.id, f'mean IU {100 * iu:.1f}')))
    contact_sheet(strips, path)
