"""A classifier over an image, patch by patch and fully convolutional (section 3.1 of the paper)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import FcnError
from ..net.net import Net
from ..sizes import dims
from .heatmap import cast_net, cell_places
from .labels import image_input

BATCH = 10              # patches of a forward pass, as of BVLC's deploy nets


class Patchwise:
    """The two ways to a grid of a classifier's scores, on the same weights.

    A cell of the grid has the scores of the patch of the classifier's own size at `stride` pixels
    per cell; a patch that goes beyond the image has zeros there, the mean. Without padding in the
    net both give the same for every patch inside the image; with padding a patch sees it at its own
    edge, and the whole image at the image's.

    classifier: a placed Net (N, C, h, w) with one Input, in phase TEST. size: (H, W) of images.
    batch: patches of a forward pass. FcnError for a net that is no classifier, and for an image
    under a patch.
    """

    def __init__(self, classifier: Net, size: tuple[int, int], batch: int = BATCH):
        self.classifier, self.batch, self.size = classifier, batch, size
        source = image_input(classifier)
        self.input = classifier.graph.values[source]
        _, channels, *patch = classifier.shapes[source]
        self.patch = tuple(patch)
        if min(s - p for s, p in zip(size, self.patch, strict=True)) < 0:
            raise FcnError(f'an image of {dims(size)} is under a patch of {dims(self.patch)}',
                           file=classifier.graph.file, do='Give a larger size.')
        self.net = cast_net(classifier)
        with torch.no_grad():
            for key, blobs in self.net.layer_params.items():
                for blob, other in zip(blobs, classifier.layer_params[key], strict=True):
                    blob.data.copy_(other.data.reshape(blob.shape))
        self.net.place(classifier.options)
        source = self.net.graph.first(self.input)
        self.net.reshape({source: (1, channels, *size)})
        self.scores, = self.net.graph.outputs
        value = self.net.graph.last(self.scores)
        strides, _ = cell_places(self.net, source, value)
        self.stride = tuple(map(int, strides))
        self.grid = tuple(self.net.shapes[value][2:])

    def whole(self, image: torch.Tensor) -> torch.Tensor:
        """The scores (K, rows, columns) of an image (C, H, W), by one pass."""
        return self.net.forward(**self._fed(image[None]))[self.scores][0]

    def patches(self, image: torch.Tensor) -> torch.Tensor:
        """The patches of an image (C, H, W), (rows * columns, C, h, w), by rows."""
        beyond = [max(0, (n - 1) * s + p - side) for n, s, p, side in
                  zip(self.grid, self.stride, self.patch, image.shape[1:], strict=True)]
        padded = torch.nn.functional.pad(image, (0, beyond[1], 0, beyond[0]))
        (height, width), (down, right) = self.patch, self.stride
        return torch.stack([
            padded[:, i * down:i * down + height, j * right:j * right + width]
            for i in range(self.grid[0]) for j in range(self.grid[1])])

    def naive(self, image: torch.Tensor) -> torch.Tensor:
        """What `whole` gives, patch by patch, `batch` of them in a pass."""
        made = [self.classify(patches).reshape(len(patches), -1)
                for patches in self.patches(image).split(self.batch)]
        return torch.cat(made).T.reshape(-1, *self.grid)

    def classify(self, patches: torch.Tensor) -> torch.Tensor:
        """The scores of some patches, by one pass."""
        return self.classifier.forward(blobs=self.scores, **self._fed(patches))[self.scores]

    def _fed(self, data: torch.Tensor) -> dict[str, Any]:
        return {self.input: data}

    def ways(self, image: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
        """{name: function without arguments} of the scores of the whole image, of all patches, and
        of a batch of patches, to be timed."""
        batch = self.patches(image)[:self.batch]
        return {'whole': lambda: self.whole(image), 'naive': lambda: self.naive(image),
                'batch': lambda: self.classify(batch)}

    def backward(self, way: str) -> None:
        """The gradients of all parameters from the scores of `way`'s latest pass, which must have
        been made with autograd: 'whole' or 'batch'."""
        net = self.net if way == 'whole' else self.classifier
        net.clear_param_diffs()
        net.backward(**{self.scores: torch.ones_like(net.blobs[self.scores].data)})
