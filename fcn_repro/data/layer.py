"""What the release's Python data layers do, as a function from k to the k-th batch."""

import numpy as np

from fcn_repro.data.image import check_mean, to_blob
from fcn_repro.data.order import SampleOrder
from fcn_repro.errors import FcnError


class SegDataLayer:
    """One (image, label) pair a forward pass, at its own size; tops data and label.

    params, the literal of a layer's `param_str` (names of the release's voc_layers.py):
    split: name of the split file; mean: (blue, green, red); randomize (default True): random
    order, only when the split's name contains 'train'; seed: an int, None is 0;
    classes (an addition): the number of classes, against which label ids are checked.
    Unknown, missing and wrong params are an FcnError.
    """

    tops = 2
    folder_keys, optional = (), ()      # a data set's own params: needed, and not

    def __init__(self, params):
        self._check(params)
        self.mean = check_mean(params['mean'])
        self.reader = self.open(params)
        self.order = SampleOrder(len(self.reader), params.get('seed'),
                                 params.get('randomize', True) and 'train' in params['split'])

    def open(self, params):
        """The data set's Reader."""
        raise NotImplementedError(f'{type(self).__name__} has no open()')

    def _check(self, params):
        name = type(self).__name__
        needed = (*self.folder_keys, 'split', 'mean')
        known = (*needed, *self.optional, 'randomize', 'seed', 'classes')
        for key in params:
            if key not in known:
                raise FcnError(f'param_str has {key!r}, which {name} does not know',
                               do=f'Known: {", ".join(known)}.')
        for key in needed:
            if key not in params:
                raise FcnError(f'param_str lacks {key!r}, which {name} needs',
                               do=f'Needed: {", ".join(needed)}.')
        if not isinstance(params['split'], str):
            raise FcnError(f'split is {params["split"]!r}, a name is needed',
                           do='Give the name of a split file without .txt.')
        classes = params.get('classes')
        if classes is not None and (not isinstance(classes, int) or not 1 <= classes <= 255):
            raise FcnError(f'classes is {classes!r}, a whole number from 1 to 255 is needed',
                           do='Give the number of classes of the net.')

    def __len__(self):
        return len(self.reader)

    def fingerprint(self):
        """The Reader's."""
        return self.reader.fingerprint()

    @property
    def ids(self):
        """The ids of the split, in file order (not in the order of consumption)."""
        return self.reader.ids

    @property
    def classes(self):
        """Class names by label index, or None."""
        return self.reader.classes

    def sample(self, k):
        """The k-th consumed Sample."""
        return self.reader.load(self.order[k])

    def samples(self, k):
        """The Samples of the k-th forward pass: one."""
        return [self.sample(k)]

    def blobs(self, samples):
        """The tops of a forward pass: (1, 3, H, W) and (1, 1, H, W), both float32."""
        [sample] = samples
        return to_blob(sample.image, self.mean)[None], sample.label[None, None].astype(np.float32)

    def batch(self, k):
        """The tops of the k-th forward pass."""
        return self.blobs(self.samples(k))
