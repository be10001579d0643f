"""What makes a folder of prototxt/: a net, its data, and the recipes that train it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...errors import FcnError
from ...proto.netspec import net_text
from .vgg import fcn, python_data

MEAN = (104.00699, 116.66877, 122.67892)            # BGR


def summed_rate(base_lr, momentum, pixels, summed_momentum=0.99):
    """The base_lr for a loss summed over `pixels` in place of one averaged over them, at another
    momentum: base_lr * pixels / (1 - momentum) stays, where a mean counts as one pixel."""
    return float(f'{base_lr / (1 - momentum) * (1 - summed_momentum) / pixels:.3g}')


HEADER = 'written by tools/make_prototxt.py'
SOLVER = f'# {HEADER}\n' '''\
train_net: "train{net}.prototxt"
test_net: "val.prototxt"
test_iter: {val_images}
# far beyond max_iter: whoever runs the solver scores the val net between steps
test_interval: 999999999
test_initialization: false
display: 20
average_loss: 20
# for a {loss}
base_lr: {base_lr:g}
lr_policy: "fixed"
momentum: {momentum:g}
weight_decay: {weight_decay:g}
# {batch}
iter_size: {iter_size}
max_iter: {max_iter}
snapshot: {snapshot}
snapshot_prefix: "{prefix}"
'''


@dataclass(frozen=True)
class Recipe:
    """One way to train a model, solver{suffix}.prototxt on train{net}.prototxt.

    normalize: of the loss; None leaves the net's default. pixels: the pixels per image that
    base_lr was chosen for, where the loss is their sum; 0 where it is a mean.
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

    def solver_text(self, val_images):
        """The solver's prototxt."""
        loss = f'loss summed over {self.pixels} pixels' if self.pixels else 'mean loss'
        batch = 'one update per batch' if self.iter_size == 1 else \
            f'one update per {self.iter_size} batches'
        return SOLVER.format(val_images=val_images, loss=loss, batch=batch, **vars(self))

    def for_pixels(self, pixels):
        """The same step for images of another size."""
        if not self.pixels:
            return self
        base_lr = float(f'{self.base_lr * self.pixels / pixels:.3g}')
        return replace(self, base_lr=base_lr, pixels=pixels)


@dataclass(frozen=True)
class Model:
    """One folder of prototxt/: net, a function of data settings (None for deploy) and `settings`
    to a NetParameter; the data settings of train and val; val_images, the size of val."""
    net: Callable
    settings: dict
    train: dict
    val: dict
    val_images: int
    recipes: tuple[Recipe, ...]

    def files(self):
        """{file name: text} of the folder."""
        files = {'deploy.prototxt': self.net_text(None, self.recipes[0]),
                 'val.prototxt': self.net_text(self.val, self.recipes[0])}
        for recipe in self.recipes:
            files[f'train{recipe.net}.prototxt'] = self.net_text(self.train, recipe)
            files[f'solver{recipe.suffix}.prototxt'] = recipe.solver_text(self.val_images)
        return files

    def net_text(self, data, recipe):
        """The prototxt of the net on this data."""
        loss = {} if recipe.normalize is None else {'normalize': recipe.normalize}
        return net_text(self.net(data=data, **self.settings, **loss), HEADER)

    def on_data(self, classes=None, voc_dir=None, splits=('train', 'val'), val_images=None,
                pixels=None):
        """This model for another data set: folders as VOC's under voc_dir, this many classes,
        val images, and pixels per image (on which the rate of a summed loss depends)."""
        model = self
        if classes is not None and not 1 <= classes <= 255:
            raise FcnError(f'{classes} classes', do='Give --classes 1 to 255.')
        if classes is not None:
            model = replace(model, settings={**model.settings, 'classes': classes})
        if voc_dir is not None and self.net is not fcn:
            raise FcnError('a classifier takes no VOC folder', do='Leave out the folder.')
        if voc_dir is not None:
            train, val = (voc_data(voc_dir, split) for split in splits)
            model = replace(model, train=train, val=val)
        if val_images is not None:
            model = replace(model, val_images=val_images)
        if pixels is not None:
            model = replace(model, recipes=tuple(r.for_pixels(pixels) for r in model.recipes))
        return model


def voc_data(voc_dir, split):
    """Data settings for a folder laid out like VOC's."""
    return python_data('voc_layers', 'VOCSegDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=MEAN)
