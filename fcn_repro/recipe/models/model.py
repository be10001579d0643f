"""Model: what a folder of prototxt/ is written from: a net, its data, and its solvers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...data import python_layers
from ...data.image import MEAN
from ...errors import FcnError
from ...formats.atomic import make_folder, write_text
from ...formats.converters import write_mean
from ...proto.netspec import net_text
from .parts import python_data


def summed_rate(base_lr: float, momentum: float, pixels: int,
                summed_momentum: float = 0.99) -> float:
    """The base_lr for a loss summed over `pixels` instead of averaged over them, at another
    momentum: base_lr * pixels / (1 - momentum) is preserved, where a mean counts as one pixel."""
    return float(f'{base_lr / (1 - momentum) * (1 - summed_momentum) / pixels:.3g}')


PAPER_RATE = 1e-4       # CVPR 2015 for VGG16: a mean loss, minibatches of 20 images

CLASS_WEIGHTS = 'class_weights.binaryproto'      # in a run's folder of nets
HEADER = 'written by tools/make_prototxt.py'
RELEASED = ("the release's net and solver; solver_online: at momentum 0.9; solver_accumulated:\n"
            'CVPR 2015, section 4.3')
SOLVER = '''\
# {comment}
train_net: "{train}{net}.prototxt"
test_net: "{val}.prototxt"
test_iter: {val_images}
# far beyond max_iter: whoever runs the solver scores the val net between steps
test_interval: 999999999
test_initialization: false
display: 20
average_loss: 20
# for a {loss}
base_lr: {base_lr:g}
lr_policy: "{policy}"
{further}momentum: {momentum:g}
weight_decay: {weight_decay:g}
# {batch}
iter_size: {iter_size}
max_iter: {max_iter}
{note}snapshot: {snapshot}
snapshot_prefix: "{prefix}"
'''


@dataclass(frozen=True)
class Recipe:
    """One way to train a model: solver{suffix}.prototxt on train{net}.prototxt.

    normalize: of the loss; None leaves the net's default. pixels: the pixels per image that
    base_lr was chosen for if the loss is their sum; 0 if it is a mean. policy: the lr_policy; with
    'poly' the rate falls to 0 at max_iter, however many iterations a user asks for; with
    'multistep' it falls to a tenth at each iteration of `steps`, with 'step' to `gamma` of itself
    every `stepsize` iterations. type: of the solver; Adam's momentum2 is Caffe's default. note: a
    comment about its snapshots.
    """
    base_lr: float
    momentum: float = 0.99
    max_iter: int = 100000
    snapshot: int = 4000
    iter_size: int = 1
    normalize: bool | None = False
    pixels: int = 0
    prefix: str = 'snapshot/train'
    suffix: str = ''
    net: str = ''
    weight_decay: float = 0.0005
    policy: str = 'fixed'
    steps: tuple[int, ...] = ()
    type: str = 'SGD'
    note: str = ''
    stepsize: int = 0
    gamma: float = 0.1

    def solver_text(self, val_images: int, splits: tuple[str, str] = ('train', 'val'),
                    comment: str = HEADER) -> str:
        """The solver's prototxt; splits: names of the train and the val net's files; comment: its
        first lines."""
        loss = f'loss summed over {self.pixels} pixels' if self.pixels else 'mean loss'
        batch = 'one update per batch' if self.iter_size == 1 else \
            f'one update per {self.iter_size} batches'
        further = 'power: 0.9\n' * (self.policy == 'poly')
        further += 'gamma: 0.1\n' * bool(self.steps)
        further += ''.join(f'stepvalue: {step}\n' for step in self.steps)
        further += f'gamma: {self.gamma:g}\nstepsize: {self.stepsize}\n' * (self.policy == 'step')
        further += f'type: "{self.type}"\n' * (self.type != 'SGD')
        written = vars(self) | {'note': f'# {self.note}\n' * bool(self.note)}
        return SOLVER.format(val_images=val_images, loss=loss, batch=batch, further=further,
                             train=splits[0], val=splits[1],
                             comment=comment.replace('\n', '\n# '), **written)

    def for_pixels(self, pixels: int) -> 'Recipe':
        """The recipe with the same step size for images of this many pixels."""
        if not self.pixels:
            return self
        base_lr = float(f'{self.base_lr * self.pixels / pixels:.3g}')
        return replace(self, base_lr=base_lr, pixels=pixels)


@dataclass(frozen=True)
class Model:
    """One folder of prototxt/; without recipes a deploy net alone.

    net: a function of data settings (None for deploy) and `settings` to a NetParameter. train, val:
    data settings (python_data). val_images: size of the val set. train_data: a function (voc_dir,
    split, size) to the data settings of training on a folder laid out as VOC's, of images of about
    this size (height, width); None: voc_data, whole images. class_weights: of the loss of training,
    one a class; () for none. A net that takes them has a setting of that name, the file that holds
    their matrix. splits: the names of the train and the val net's files, those of the release.
    origin: where the net and its recipe come from, for the files' comments. tagged: train_data and
    val_data take `tags`, the number of classes without the background.
    """
    net: Callable
    settings: dict
    train: dict = field(default_factory=dict)
    val: dict = field(default_factory=dict)
    val_images: int = 0
    recipes: tuple[Recipe, ...] = ()
    train_data: Callable[..., dict] | None = None
    class_weights: tuple[float, ...] = ()
    splits: tuple[str, str] = ('train', 'val')
    origin: str = ''
    phased: bool = False
    tagged: bool = False
    val_data: Callable[..., dict] | None = None
    sized: Callable[[tuple[int, int]], dict] | None = None

    @property
    def comment(self) -> str:
        """The first lines of every file: who wrote it, and where the net is from."""
        return '\n'.join(filter(None, (HEADER, self.origin)))

    def files(self) -> dict[str, str]:
        """{file name: text} of the folder."""
        if not self.recipes:
            return {'deploy.prototxt': net_text(self.net(**self.settings), self.comment)}
        train, val = self.splits
        files = {'deploy.prototxt': self.net_text(None, self.recipes[0]),
                 f'{val}.prototxt': self.net_text(self.val, self.recipes[0])}
        weighted = {'class_weights': CLASS_WEIGHTS} if self.class_weights else {}
        phase = {'training': True} if self.phased else {}
        for recipe in self.recipes:
            files[f'{train}{recipe.net}.prototxt'] = self.net_text(self.train, recipe, **weighted,
                                                                   **phase)
            files[f'solver{recipe.suffix}.prototxt'] = recipe.solver_text(
                self.val_images, self.splits, self.comment)
        return files

    def write(self, folder: Path) -> None:
        """Write the files of the folder, those of class weights too."""
        make_folder(folder)
        for file, text in self.files().items():
            write_text(text, folder / file)
        if self.class_weights:
            write_mean(np.diag(np.asarray(self.class_weights, np.float32))[None],
                       folder / CLASS_WEIGHTS)

    def net_text(self, data: dict | None, recipe: Recipe, **further) -> str:
        """The prototxt of the net on this data; further: settings of the net."""
        loss = {} if recipe.normalize is None else {'normalize': recipe.normalize}
        return net_text(self.net(data=data, **self.settings, **loss, **further), self.comment)

    def on_data(self, classes: int | None = None, voc_dir: str | None = None,
                splits: Sequence[str] = ('train', 'val'), val_images: int | None = None,
                pixels: int | None = None, size: tuple[int, int] | None = None,
                **crops) -> 'Model':
        """This model for another data set: a folder laid out as VOC's, this many classes, val
        images, and pixels per image (on which the rate of a summed loss depends). size: (height,
        width) of an image, and crops: further arguments of train_data. FcnError for a number of
        classes out of range, and for a model whose data has another layout."""
        model = self
        if not self.recipes:
            if any(setting is not None for setting in (classes, voc_dir, val_images, pixels)):
                raise FcnError('this model is a deploy net without data', code='deploy-alone',
                               do='Choose a model that is trained, or give no settings.')
            return self
        if classes is not None and not 1 <= classes <= 255:
            raise FcnError(f'{classes} classes', code='bad-classes', do='Give 1 to 255 classes.')
        if classes is not None:
            model = replace(model, settings={**model.settings, 'classes': classes})
        layer = python_layers[self.val['module'], self.val['layer']]
        if voc_dir is not None and 'voc' not in layer.options:
            raise FcnError(f"this model's data is read by {layer.__name__}, which takes no folder "
                           'laid out as VOC', do='Leave out voc_dir.', code='no-voc-layout')
        if voc_dir is not None:
            model = model.on_folder(voc_dir, splits, size, **crops)
        if val_images is not None:
            model = replace(model, val_images=val_images)
        if pixels is not None:
            model = replace(model, recipes=tuple(r.for_pixels(pixels) for r in model.recipes))
        return model

    def on_folder(self, voc_dir: str, splits: Sequence[str], size: tuple[int, int] | None,
                  **crops) -> 'Model':
        """This model for the images in a folder laid out as VOC's; size, crops: as for on_data."""
        train, val = (voc_data(voc_dir, split) for split in splits)
        tags = {'tags': self.settings['classes'] - 1} if self.tagged else {}
        if self.train_data is not None:
            train = self.train_data(voc_dir, splits[0], size, **crops, **tags)
        if self.val_data is not None:
            val = self.val_data(voc_dir, splits[1], size, **tags)
        settings = self.sized(size) if self.sized is not None and size is not None else {}
        return replace(self, train=train, val=val, settings={**self.settings, **settings})


def voc_data(voc_dir: str, split: str) -> dict[str, str]:
    """Data settings (python_data) for a folder laid out as VOC's."""
    return python_data('voc_layers', 'VOCSegDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=MEAN)


def release_recipes(base_lr: float, max_iter: int, pixels: int, *, snapshot: int = 4000,
                    control: bool = False, note: str = '') -> tuple[Recipe, ...]:
    """The solvers of a net of the release.

    The release's own (one image, momentum 0.99, loss summed over the pixels); online, the same with
    momentum 0.9; accumulated, the first paper's (section 4.3: 20 images, momentum 0.9, mean loss),
    with as many images in all, whose rate falls from stage to stage as the release's does; with
    control, on: trained on for as long at the next stage's rate.
    """
    heavy = Recipe(base_lr, max_iter=max_iter, pixels=pixels, snapshot=snapshot, note=note)
    online = replace(heavy, base_lr=summed_rate(base_lr, 0.99, 1, 0.9), momentum=0.9,
                     suffix='_online', prefix='snapshot/train_online')
    accumulated = replace(online, base_lr=float(f'{PAPER_RATE * base_lr / 1e-10:.3g}'),
                          iter_size=20, max_iter=max_iter // 20, snapshot=snapshot // 20,
                          normalize=True, pixels=0, suffix='_accumulated', net='_mean',
                          prefix='snapshot/train_accumulated')
    on = replace(heavy, base_lr=base_lr / 100, suffix='_on', prefix='snapshot/train_on')
    return (heavy, online, accumulated, *([on] if control else []))
