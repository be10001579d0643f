"""Store what a net computes for its own data in databases (tools/extract_features.cpp of Caffe)."""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from .. import glog
from ..errors import FcnError
from ..formats.database import Writer
from ..net import Net
from ..proto import Datum

log = logging.getLogger(__name__)

WHERE = 'extract_features.cpp'


def extract_features(net: Net, blobs: Sequence[str], databases: Sequence[str | os.PathLike],
                     batches: int) -> list[int]:
    """Run the net `batches` times and write each of the blobs to a new database of its own; returns
    the number of records of each.

    Record i, its key i in 10 digits, is a Datum of float_data: the blob at index i of its first
    axis, counted over the batches, with the other axes as channels, height and width. FcnError for
    an unknown blob, one with more than 4 axes, and a database that exists; then none is written.
    """
    check(net, blobs, databases, batches)
    counts = [0] * len(blobs)
    with ExitStack() as stack:
        writers = []
        for path in databases:
            log.info('Opening dataset %s', path, extra=glog.at(WHERE, 125))
            writers.append(stack.enter_context(Writer(path)))
        log.error('Extracting Features', extra=glog.at(WHERE, 133))
        for _ in range(batches):
            delivered = net.forward(set(blobs))
            for i, (name, writer) in enumerate(zip(blobs, writers, strict=True)):
                for value in records(delivered[name].detach().cpu().float().numpy(), name):
                    writer.put(f'{counts[i]:010d}'.encode(), value)
                    counts[i] += 1
                    if counts[i] % 1000 == 0:
                        report(counts[i], name, 165)
    for count, name in zip(counts, blobs, strict=True):
        report(count, name, 176)
    log.error('Successfully extracted the features!', extra=glog.at(WHERE, 181))
    return counts


def check(net: Net, blobs: Sequence[str], databases: Sequence[str | os.PathLike],
          batches: int) -> None:
    """FcnError for what extract_features cannot do."""
    if len(blobs) != len(databases):
        raise FcnError(f'{len(blobs)} blobs but {len(databases)} databases',
                       do='Name as many of one as of the other.')
    if len(set(map(os.path.abspath, databases))) < len(databases):
        raise FcnError('two of the databases have one name', do='Give each its own.')
    if batches < 1:
        raise FcnError(f'the number of batches is {batches}', do='Give 1 or more.')
    for name in blobs:
        net.graph.last(name)                # FcnError where there is none


def records(blob: np.ndarray, name: str) -> list[bytes]:
    """The Datums of a blob (N), (N,C), (N,C,H) or (N,C,H,W), one for each of N."""
    if blob.ndim > 4:
        raise FcnError(f"the blob '{name}' has {blob.ndim} axes: {blob.shape}",
                       do='A Datum has 3 besides the number; take another blob.')
    channels, height, width = (*blob.shape[1:], 1, 1, 1)[:3]
    return [Datum(channels=channels, height=height, width=width,
                  float_data=values.reshape(-1)).SerializeToString()
            for values in np.atleast_1d(blob)]


def report(count: int, name: str, line: int) -> None:
    log.error('Extracted features of %d query images for feature blob %s', count, name,
              extra=glog.at(WHERE, line))
