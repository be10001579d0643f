"""Checks of the images: mean, order of channels, range."""

from collections.abc import Iterator

import numpy as np

from ..layers.batchnorm import BatchNorm
from .finding import DOUBT, FAULT, Finding
from .subject import CAFFE_MEAN, Subject, mean_of

NEAR = 2.5          # grey levels: means of ImageNet by different hands differ by less
IMAGENET = (103.53, 116.28, 123.675)    # torchvision's mean, BGR, of 0 to 255
# Layers of which what the mean adds is the same at (nearly, of LRN) every place
STRAIGHT = 'Concat', 'Convolution', 'LRN', 'Pooling', 'Split'
RAW = 60            # mean of samples from which on no mean was subtracted, if no value is < 0


def close(one, other) -> bool:
    """Whether two pixels are the same mean."""
    return len(one) == len(other) and all(abs(a - b) < NEAR for a, b in
                                          zip(one, other, strict=True))


def mean_pixel(subject: Subject) -> Iterator[Finding]:
    """ImageNet's mean in the order of RGB, or for images of 0 to 1."""
    mean = mean_of(subject)
    if mean is None or len(mean) != 3:
        return
    numbers = f'mean {mean}, BGR is {CAFFE_MEAN}'
    if any(close(mean, known[::-1]) for known in (CAFFE_MEAN, IMAGENET)):
        yield Finding(FAULT, 'mean-order', 'the mean pixel is in the order of RGB, the images are '
                      'BGR', numbers, 'Give blue, green, red.', 'the data layer')
    elif 0 < max(mean) < 1:
        yield Finding(FAULT, 'mean-scale', 'the mean pixel is one for images of 0 to 1, these are '
                      '0 to 255', numbers, 'Multiply it by 255.', 'the data layer')


def mean_of_weights(subject: Subject) -> Iterator[Finding]:
    """Weights that record another mean than the net subtracts."""
    mean, weights = mean_of(subject), subject.weights
    recorded = weights.extra.get('mean') if weights else None
    if mean is None or recorded is None:
        return
    try:
        wanted = tuple(float(value) for value in np.atleast_1d(recorded))
    except (ValueError, TypeError):
        return
    if len(wanted) == len(mean) and any(abs(a - b) > 0.5 for a, b in
                                        zip(mean, wanted, strict=True)):
        yield Finding(DOUBT, 'mean-of-weights', 'the weights are for another mean',
                      f'the net subtracts {mean}, the weights record {wanted}',
                      f'Give the data layers the mean {wanted}.', 'the data layer')


def subtracted(subject: Subject) -> Iterator[Finding]:
    """Colour images of 0 to 255 from which nothing was subtracted."""
    images = [sample.images for sample in subject.samples]
    if not images or images[0].shape[1] != 3:
        return
    least = min(float(image.min()) for image in images)
    mean = sum(float(image.mean()) for image in images) / len(images)
    if least >= 0 and mean > RAW and not recentred(subject):
        yield Finding(DOUBT, 'no-mean', 'no mean is subtracted from the images', f'values from '
                      f'{least:g}, mean {mean:.0f}; with it the mean is near 0',
                      f'Set transform_param {{ mean_value: {CAFFE_MEAN[0]} mean_value: '
                      f'{CAFFE_MEAN[1]} mean_value: {CAFFE_MEAN[2]} }}.', 'the data layer')


def recentred(subject: Subject) -> bool:
    """Whether all ways from the images meet a normalisation by the statistics of the batch before
    anything but STRAIGHT: it takes away what the mean has added (ENet, SegNet)."""
    net, raw = subject.net, {subject.anatomy.data}
    for node in net.graph.nodes:
        layer = net.layer(node)
        if raw.isdisjoint(node.bottoms[:layer.content_bottoms]) or layer.batch_statistics or \
                (isinstance(layer, BatchNorm) and not layer.stored):
            continue
        if node.type not in STRAIGHT:
            return False
        raw.update(node.tops)
    return True


def constant_images(subject: Subject) -> Iterator[Finding]:
    """Images that are all the same."""
    images = [sample.images for sample in subject.samples]
    if len(images) > 3 and all(bool((image == images[0].flatten()[0]).all()) for image in images):
        yield Finding(FAULT, 'blank-images', 'every image is blank',
                      f'all values {float(images[0].flatten()[0]):g} in {len(images)} batches',
                      'Check the data layer.', 'the data layer')


