"""Data: batches of images and labels from a database (Caffe's data_layer)."""

import logging
from functools import partial

import numpy as np

from ..data.prefetch import Prefetch
from ..errors import FcnError
from ..formats.database import Reader, open_database
from ..formats.datum import decode, is_encoded
from ..sizes import dims
from .common.source import BatchSource
from .common.transform import MOVED, Transform

log = logging.getLogger(__name__)


class Data(BatchSource):
    """No bottom; tops data (batch_size, C, H, W) and, if there are two, label (batch_size,): the
    next records of the LMDB `source` in each forward pass, in the order of their keys, over and
    over. Encoded images have the channels of their file, or those that force_color or force_gray
    of transform_param ask for; BGR.

    The size is that of the batch's first record; the others must have it too. rand_skip skips a
    random number of records below it at the start, as Caffe did before 1.0, which ignores it.
    Crops, mirroring and that number are functions of the net's seed: Caffe draws them from a
    generator that fillers before it have moved, too. A record without label has 0. A LevelDB is
    refused with what converts it.
    """

    type = 'Data'
    tops = (1, 2)
    fields = 'data_param'
    further_messages = ('transform_param',)
    unsupported = (*MOVED, 'force_encoded_color')
    instead = 'Caffe ignores it here; move it to transform_param (force_encoded_color is its ' \
              'force_color).'
    ignored = ('prefetch',)

    def setup(self):
        p = self.param
        if p.batch_size < 1:
            raise self.error('data_param.batch_size is missing or 0', 'Set it.')
        if self.node.param.transform_param.force_color and \
                self.node.param.transform_param.force_gray:
            raise self.error('force_color and force_gray', 'Keep one of them.')
        self.transform = Transform(self)
        self._warned = self._told_raw = False

    @classmethod
    def assumed_tops(cls, node, size):
        """Of colour images, unless force_gray is set."""
        p, transform = node.param.data_param, node.param.transform_param
        image = Transform.assumed(transform, 1 if transform.force_gray else 3, size)
        return image and [(p.batch_size, *image), (p.batch_size,)][:len(node.tops)]

    def open(self, seed):
        """(database, number of records to skip, reader of the batches ahead)."""
        database = open_database(self.state.search.find(self.param.source, 'database',
                                                        'data_param.source', folder=True))
        if self.param.backend != self.param.LMDB:
            raise FcnError('data_param.backend is LEVELDB, its default, and this is an LMDB',
                           file=str(database.path), do='Set backend: LMDB.')
        skip = self.transform.drawn(0, 'skip', self.param.rand_skip or 1)
        return database, skip, Prefetch(partial(self.batch, database, skip))

    def shape(self, bottoms):
        batch = self.param.batch_size
        database, skip, _ = self.located(self.source, self.state.seed)
        first = skip + self.state.position * batch
        image, _ = self.located(self.first_image, database, first)
        return [(batch, *self.transform.shape(image.shape)), (batch,)][:len(self.node.tops)]

    def first_image(self, database: Reader, k):
        """(image, label) of record k."""
        (key, value), = database.records(k, 1)
        found, transform = self.decode(database, key, value), self.node.param.transform_param
        forced = transform.force_color or transform.force_gray
        if forced and not self._told_raw and not is_encoded(value):
            self._told_raw = True
            log.warning('%s: record %s is raw and keeps its channels; as in Caffe, force_color and '
                        'force_gray are for encoded images', database.path, show(key))
        return found

    def decode(self, database: Reader, key, value):
        """(image, label) of a record; errors name it."""
        transform = self.node.param.transform_param
        try:
            image, label = decode(value, transform.force_color, transform.force_gray)
        except FcnError as error:
            raise FcnError(f'record {show(key)}: {error.what}', file=str(database.path),
                           do=error.do, code=error.code, facts=error.facts) from None
        if label is None and len(self.node.tops) > 1 and not self._warned:
            self._warned = True
            log.warning('%s: record %s has no label; as in Caffe, it counts as 0', database.path,
                        show(key))
        return image, label or 0

    def batch(self, database, skip, position):
        """The tops of a forward pass."""
        batch, labels = self.param.batch_size, []
        data, first = np.empty(0, np.float32), None
        for i, (key, value) in enumerate(database.records(skip + position * batch, batch)):
            image, label = self.decode(database, key, value)
            if first is None:
                first = image.shape
                data = np.empty((batch, *self.transform.shape(first)), np.float32)
            elif image.shape[0] != first[0] or self.transform.shape(image.shape) != data.shape[1:]:
                raise FcnError(f'record {show(key)} is {dims(image.shape)}, the first of its batch '
                               f'{dims(first)}', file=str(database.path), do='Write the database '
                               'with one size (resize_height and resize_width of '
                               'convert_imageset), or set crop_size, or batch_size: 1.')
            data[i] = self.transform(image, position * batch + i)
            labels.append(label)
        return self.sent((data, np.float32(labels))[:len(self.node.tops)])


def show(key: bytes) -> str:
    """A key in quotes, as text where it is that."""
    return repr(key.decode('utf-8', 'backslashreplace'))
