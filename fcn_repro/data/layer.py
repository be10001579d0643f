"""Base classes of the Python data layers: what a data set declares, and the release's one-image
layers as a function from k to the k-th batch."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcn_repro.data.augment import Moves, check_moves
from fcn_repro.data.image import VOID, check_mean, to_blob
from fcn_repro.data.order import BatchOrder, SampleOrder
from fcn_repro.data.palette import palette
from fcn_repro.data.reader import Reader, Sample, read_class_names
from fcn_repro.errors import FcnError
from fcn_repro.paths import as_path

MOST_IMAGES = 1024      # of a forward pass


class DataLayer:
    """One data set as a prototxt's Python layer sees it.

    Called with the dict of param_str; FcnError for params that are unknown, missing or wrong.
    batch(k) gives one array per top and is a pure function of k, so that several threads may read
    ahead. Where every pixel has a label the layer also has sample(k), samples(k) and
    blobs(samples), which together make batch(k), and `reader`.

    module: of python_param; the class name is its layer.
    tops: number of tops. classes: names by label index, or None. colours: (256, 3) uint8 RGB, those
    in which they are shown.
    options: {name of a user's option (recipe.options.Options): the param that it replaces}.
    seed_param: the param that a user's seed replaces. batch_param: the one that the user's images
    per pass of training replace; None for a layer with batches of its own.
    in_order: params that give every sample of any split once and in file order; None if the layer
    always reads its val split so.
    without_labels: params with which a split without any label is read too; {} if there are none.
    batch_size: samples of a forward pass where the param of that name is not given.
    more_labels: names in Sample.more of further labels.
    """

    module: ClassVar[str]
    tops: int = 2
    options: ClassVar[Mapping[str, str]] = {}
    seed_param: ClassVar[str] = 'seed'
    batch_param: ClassVar[str | None] = None
    in_order: ClassVar[Mapping[str, Any] | None] = None
    without_labels: ClassVar[Mapping[str, Any]] = {}
    batch_size: int = 1
    classes: tuple[str, ...] | None = None
    more_labels: tuple[str, ...] = ()

    def __init__(self, params: Mapping[str, Any]):
        raise NotImplementedError(f'{type(self).__name__} reads no params')

    @classmethod
    def class_names(cls, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Class names by label index as these params tell, without reading samples; or None."""
        return None

    @property
    def colours(self) -> np.ndarray:
        """VOC's, where a data set has none of its own."""
        return palette()

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]] | None:
        """The shapes of the tops for images of this size (H, W), without reading any; None where
        the params do not tell them."""
        return None

    def __len__(self) -> int:
        """Number of batches that hold every sample once."""
        raise NotImplementedError(f'{type(self).__name__} has no length')

    def fingerprint(self) -> str:
        """SHA-256 (hex) that changes with the samples, not with the folder's place."""
        raise NotImplementedError(f'{type(self).__name__} has no fingerprint')

    def batch(self, k: int) -> tuple[np.ndarray, ...]:
        """The tops of the k-th forward pass, k >= 0."""
        raise NotImplementedError(f'{type(self).__name__} has no batch()')

    def sample(self, k: int) -> Sample:
        """The k-th consumed Sample; FcnError for a layer without a label per pixel."""
        raise FcnError(f'{type(self).__name__} has no label per pixel',
                       do='Give a net for segmentation.')

    def label_file(self, sample: Sample, name: str = '') -> Path:
        """The file that holds the sample's label, or another label of it, for messages."""
        raise FcnError(f'{type(self).__name__} has no label per pixel',
                       do='Give a net for segmentation.')

    def check_files(self) -> None:
        """FcnError where a file of a sample is missing."""

    def classes_of(self, name: str) -> tuple[str, ...] | None:
        """Class names of a further label of the samples (Sample.more); '': of their label."""
        return self.classes


def param_path(params: Mapping[str, Any], key: str) -> Path:
    """The path that a param of param_str is. FcnError for a value that is none."""
    return as_path(params[key], f'{key} of param_str', 'Give the path of a folder.')


class SegDataLayer(DataLayer):
    """(image, label) pairs of one size, one pair per forward pass unless batch_size is given; tops
    data and label, or what `top_names` says.

    params, the literal of a layer's `param_str` (names of the release's voc_layers.py):
    split: name of the split file; mean: (blue, green, red); randomize (default True): random
    order, only when the split's name contains 'train'; seed: an int, None is 0;
    classes (an addition): the number of classes, against which label ids are checked; batch_size
    (an addition): pairs of one size per forward pass of a random order (order.BatchOrder);
    unlabelled (an addition, default False): read a split of which no image has a label file, such
    as VOC's test, with labels that are void everywhere; mirror (an addition, default False): half
    of the images of a random order are mirrored; jitter (an addition, default 0): they are moved by
    up to so many pixels up, down, left and right (augment.Moves; CVPR 2015, section 4.3: 32).
    Unknown, missing and wrong params are an FcnError.

    own_mean: the mean pixel (B, G, R) of a data set whose layer in the release takes no param
    `mean`, which may then be left out. top_names: of the tops, in order.
    """

    batch_param: ClassVar[str | None] = 'batch_size'
    in_order: ClassVar[Mapping[str, Any] | None] = {'randomize': False, 'batch_size': 1}
    without_labels: ClassVar[Mapping[str, Any]] = {'unlabelled': True}
    folder_keys: ClassVar[tuple[str, ...]] = ()     # a data set's own params: required …
    optional: ClassVar[tuple[str, ...]] = ()        # … and optional
    needed: ClassVar[tuple[str, ...]] = ()          # required ones that are no paths
    settings: ClassVar[tuple[str, ...]] = ('mirror', 'jitter')  # optional ones that are no paths
    own_mean: ClassVar[tuple[float, float, float] | None] = None
    top_names: tuple[str, ...] = ('data', 'label')
    one_size: ClassVar[bool] = True                 # batches are of whole images of one size

    def __init__(self, params: Mapping[str, Any]):
        self._check(params)
        self.mean = self.mean_of(params)
        self.reader = self.open(params)
        self.order = SampleOrder(len(self.reader), params.get('seed'),
                                 params.get('randomize', True) and 'train' in params['split'])
        self.unlabelled = bool(params.get('unlabelled')) and not self.reader.has_labels()
        self.batch_size = params.get('batch_size', 1)
        self.moves = Moves(params.get('mirror', False), params.get('jitter', 0), self.order.seed) \
            if self.order.randomize else None
        if self.one_size and self.batch_size > 1 and not self.order.randomize:
            raise FcnError(f"batch_size is {self.batch_size}, and split '{params['split']}' is "
                           'read in file order, one image per pass', do='Leave out batch_size; '
                           "batches are of splits whose name contains 'train', with randomize.")

    @classmethod
    def class_names(cls, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Those of classes.txt in the data set's folder."""
        key = cls.folder_keys[0]
        if not params.get(key):
            return None
        return read_class_names(param_path(params, key) / 'classes.txt')

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]] | None:
        batch = params.get('batch_size', 1)
        return size and [(batch, 3, *size), (batch, 1, *size)]

    @classmethod
    def mean_of(cls, params: Mapping[str, Any]) -> np.ndarray:
        """(3,) float64, BGR: the param, or the data set's own. The release has the latter as
        float32."""
        mean = params.get('mean')
        return check_mean(np.asarray(cls.own_mean, np.float32) if mean is None else mean)

    def open(self, params: Mapping[str, Any]) -> Reader:
        """The data set's Reader."""
        raise NotImplementedError(f'{type(self).__name__} has no open()')

    def _check(self, params: Mapping[str, Any]) -> None:
        self._check_keys(params)
        for key in (*self.folder_keys, *self.optional):
            if params.get(key) is not None or key in self.folder_keys:
                param_path(params, key)
        if not isinstance(params['split'], str):
            raise FcnError(f'split is {params["split"]!r}, not a name',
                           do='Give the name of a split file without .txt.')
        classes = params.get('classes')
        if classes is not None and (not isinstance(classes, int) or not 1 <= classes <= 255):
            raise FcnError(f'classes is {classes!r}, not a whole number from 1 to 255',
                           do='Give the number of classes of the net.')
        batch = params.get('batch_size', 1)
        if type(batch) is not int or not 1 <= batch <= MOST_IMAGES:
            raise FcnError(f'batch_size is {batch!r}, not a whole number from 1 to {MOST_IMAGES}',
                           do='Give the number of images per forward pass.')
        if 'jitter' in self.settings:
            check_moves(params.get('mirror', False), params.get('jitter', 0))

    def _check_keys(self, params: Mapping[str, Any]) -> None:
        name = type(self).__name__
        required = [*self.folder_keys, *self.needed, 'split']
        required += ['mean'] if self.own_mean is None else []
        known = dict.fromkeys((*required, 'mean', *self.optional, *self.settings, 'randomize',
                               'seed', 'classes', 'batch_size', 'unlabelled'))
        for key in params:
            if key not in known:
                raise FcnError(f'param_str has {key!r}, which {name} does not know',
                               do=f'Known: {", ".join(known)}.')
        for key in required:
            if key not in params:
                raise FcnError(f'param_str lacks {key!r}, which {name} needs',
                               do=f'Required: {", ".join(required)}.')

    def __len__(self) -> int:
        return -(-len(self.reader) // self.batch_size)

    @cached_property
    def batches(self) -> BatchOrder:
        """The batches of several samples; reads the headers of all images."""
        return BatchOrder(self.reader.sizes, self.order.seed, self.batch_size)

    def fingerprint(self) -> str:
        """The Reader's."""
        return self.reader.fingerprint()

    def check_files(self) -> None:
        """As the Reader's; of a split without labels its images are looked for when read."""
        if not self.unlabelled:
            self.reader.check_files()

    @property
    def ids(self) -> list[str]:
        """The ids of the split in file order (not in the order of consumption)."""
        return self.reader.ids

    @property
    def classes(self) -> tuple[str, ...] | None:    # type: ignore[override]
        """Class names by label index, or None."""
        return self.reader.classes

    @property
    def colours(self) -> np.ndarray:
        """The Reader's."""
        return self.reader.colours

    @property
    def more_labels(self) -> tuple[str, ...]:       # type: ignore[override]
        """The Reader's."""
        return self.reader.more_labels

    def label_file(self, sample: Sample, name: str = '') -> Path:
        """The file that holds the sample's label, or another label of it, for messages."""
        return self.reader.label_file(sample.id, name)

    def sample(self, k: int) -> Sample:
        """The k-th consumed Sample."""
        return self.loaded(self.order[k], k)

    def loaded(self, i: int, k: int) -> Sample:
        """The i-th sample of the split as the k-th that is consumed: mirrored and moved."""
        sample = self.reader.load_unlabelled(i) if self.unlabelled else self.reader.load(i)
        return sample if self.moves is None else self.moves.apply(sample, k, self.fill)

    def fill(self, name: str) -> Any:
        """What is behind the edges of a moved image ('image'), label ('label') or further array of
        a sample: the mean, rounded, and void."""
        return np.rint(self.mean[::-1]) if name == 'image' else VOID

    def samples(self, k: int) -> list[Sample]:
        """The Samples of the k-th forward pass, batch_size of one size."""
        if self.batch_size == 1:
            return [self.sample(k)]
        first = k * self.batch_size
        return [self.loaded(int(i), first + j) for j, i in enumerate(self.batches[k])]

    def blobs(self, samples: list[Sample]) -> tuple[np.ndarray, ...]:
        """The tops of a forward pass, float32: (B, 3, H, W) and (B, 1, H, W) of images and labels.
        FcnError for samples of several sizes."""
        sizes = {sample.label.shape: sample.id for sample in samples}
        if len(sizes) > 1:
            (one, (h, w)), (other, (height, width)) = [(id_, s) for s, id_ in sizes.items()][:2]
            raise FcnError(f"'{one}' is {h}x{w} (height x width), '{other}' in the same batch is "
                           f'{height}x{width}', do='Put images of one size into a batch; images '
                           'must not change while a run reads them.')
        tops = []
        for name in self.top_names:
            arrays = [self.top(sample, name) for sample in samples]
            tops.append(arrays[0][None] if len(arrays) == 1 else np.stack(arrays))
        return tuple(tops)

    def top(self, sample: Sample, name: str) -> np.ndarray:
        """A top of one sample, (C, H, W) float32."""
        if name == self.top_names[0]:
            return to_blob(sample.image, self.mean)
        return sample.more.get(name, sample.label)[None].astype(np.float32)

    def batch(self, k: int) -> tuple[np.ndarray, ...]:
        """The tops of the k-th forward pass."""
        return self.blobs(self.samples(k))
