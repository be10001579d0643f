"""From an image to its label map, and from a val net to its confusion matrix."""

import ast
import time
from pathlib import Path

import torch

from ..data.image import check_label, check_mean, to_blob
from ..data.palette import VOC_CLASSES
from ..data.scenes import CLASSES as DIGITS
from ..errors import FcnError
from ..net.graph import LABELS
from ..proto.prototxt import read_net
from ..report import save_label_png, save_overlay, shares
from ..report.overlay import percent
from ..sizes import dims


def data_layer(net):
    """The reader of a net's Python data layer: its samples, mean and classes."""
    return python_layer(net).reader


def python_layer(net):
    """A net's Python data layer."""
    for node in net.graph.nodes:
        if node.type == 'Python':
            return net.layer(node)
    raise FcnError('this net has no Python data layer', file=net.graph.file,
                   do='Give a val net; a deploy net has no data to be scored on.')


def score_layer(net, score):
    """Name of the layer that makes the blob `score`, in-place layers included."""
    return net.graph.producer(net.graph.last(score)).name


def predict(net, score='score', **inputs):
    """One forward pass up to `score` (1, C, H, W); returns its argmax (H, W), uint8 on the CPU.

    Ties go to the lowest index, as in the release's scripts.
    """
    with torch.inference_mode():
        return net.forward(labels_of=score, **inputs)[LABELS][0].cpu().numpy()


def evaluate(net, confusion, count=None, score='score'):
    """Run a val net over its data in order; yields (sample, prediction, seconds).

    count: number of images (all). Each is added to the Confusion; seconds are those of the forward
    pass, with what is left of reading the image (the next ones are read meanwhile, each once).
    FcnError for a label id that is neither void nor a class, for a score of another size than the
    image, and for a net that takes several images at once or gives pixels no label.
    """
    layer, data = python_layer(net), data_layer(net)
    net.state.position = 0
    for _ in range(len(data) if count is None else min(count, len(data))):
        start = time.perf_counter()
        prediction = predict(net, score)
        seconds = time.perf_counter() - start
        sample = only(layer)
        check_label(sample.label, confusion.n,
                    data.reader.folder / data.reader.labels.format(sample.id))
        if prediction.shape != sample.label.shape:
            raise FcnError(f"'{score}' is {dims(prediction.shape)} for an image of "
                           f'{dims(sample.label.shape)}', file=net.graph.file,
                           layer=score_layer(net, score), do='Crop it to the data.')
        confusion.add(sample.label, prediction)
        yield sample, prediction, seconds


def only(layer):
    """The Sample that a net's Python layer read last, where it reads one by one."""
    if len(layer.samples) != 1:
        raise layer.error(f'{len(layer.samples)} images with a label for each pixel in a batch',
                          'Give a val net that reads them one by one.')
    return layer.samples[0]


class Labels:
    """The label maps of photos (photos.process): <name>.png in the VOC colours, and
    <name>.overlay.png with a legend.

    net: a deploy net with its weights. mean: BGR. classes: a file of class names, or None for
    those that class_names finds. FcnError for a net that is not from an image to scores of its
    size.
    """

    endings = '.png', '.overlay.png'

    def __init__(self, net, mean, classes=None):
        self.net, self.mean = net, check_mean(mean)
        self.data, (self.score, value) = image_input(net), output(net)
        shape = net.shapes[value]
        if len(shape) != 4:
            raise FcnError(f"'{self.score}' is {dims(shape)}, no label for each pixel",
                           file=net.graph.file, do='Give --heatmap for a classifier.')
        if shape[1] > 256:
            raise FcnError(f"'{self.score}' has {shape[1]} classes, a label PNG holds 256",
                           file=net.graph.file, do='Merge classes.')
        self.value, self.names = value, class_names(net.graph.file, shape[1], classes)

    def check(self, height, width):
        """FcnError for an image of a size that does not go through the net."""
        self.net.reshape({self.data: (1, 3, height, width)})
        shape = self.net.shapes[self.value]
        if shape[2:] != (height, width):
            raise FcnError(f"'{self.score}' is {dims(shape[2:])}", do='Crop it to the data, or '
                           'give --heatmap for the class grid of a classifier.')

    def run(self, image, name, paths):
        """Label one image (H, W, 3) uint8 RGB; returns classes, percent, milliseconds."""
        start = time.perf_counter()
        labels = predict(self.net, self.score, data=to_blob(image, self.mean)[None])
        seconds = time.perf_counter() - start
        save_label_png(labels, paths[0])
        save_overlay(image, labels, self.names, paths[1])
        found = ', '.join(f'{name} {percent(share)}' for _, name, share in
                          shares(labels, self.names))
        return f'{found}  {1000 * seconds:.0f} ms'


def image_input(net):
    """The value of a net's one input, data (N, 3, H, W); FcnError for a net with others."""
    inputs, file = net.graph.inputs, net.graph.file
    if inputs != ('data',):
        raise FcnError(f"the net's inputs are {', '.join(inputs) or 'none'}; one, 'data', is "
                       'needed', file=file, do='Give a deploy.prototxt whose input is an image.')
    value = net.graph.first('data')
    if len(net.shapes[value]) != 4 or net.shapes[value][1] != 3:
        raise FcnError(f"'data' is {dims(net.shapes[value])}, an image is 1x3xHxW", file=file,
                       do='Give a net for colour images.')
    return value


def output(net):
    """(name, value) of a net's scores: the blob 'score' where there is one, else its one output.
    FcnError where that is not clear."""
    names = net.graph.outputs
    if len(names) != 1 and 'score' not in net.blobs:
        raise FcnError(f"the net's outputs are {', '.join(names) or 'none'}; which are the scores "
                       'is not clear', file=net.graph.file, do="Name the scores 'score'.")
    name = 'score' if 'score' in net.blobs else names[0]
    return name, net.graph.last(name)


def class_names(net_file, count, file=None):
    """Names by class index, a tuple of `count`.

    From `file`, one a line; else classes.txt in the data's folder that val.prototxt beside the
    net names, where it has as many; else VOC's for 21 classes; else the digits for the shipped
    mini nets; else the bare indices. FcnError where `file` has another number of names.
    """
    if file is not None:
        names = read_names(file)
        if len(names) != count:
            raise FcnError(f'{len(names)} class names for the {count} classes of {net_file}',
                           file=str(file), do='Give one name a line, in the order of the labels.')
        return names
    folder = Path(net_file).parent
    beside = data_folder(folder / 'val.prototxt')
    if beside and (beside / 'classes.txt').is_file():
        names = read_names(beside / 'classes.txt')
        if len(names) == count:
            return names
    if count == len(VOC_CLASSES):
        return VOC_CLASSES
    if folder.name.startswith('mini-') and count in (len(DIGITS), len(DIGITS) - 1):
        return DIGITS[-count:]
    return tuple(map(str, range(count)))


def data_folder(val):
    """The voc_dir of a val.prototxt, or None where there is no such file or no such layer."""
    for layer in read_net(val).message.layer if val.is_file() else ():
        if layer.python_param.layer in ('VOCSegDataLayer', 'SBDDSegDataLayer'):
            voc_dir = ast.literal_eval(layer.python_param.param_str).get('voc_dir')
            return voc_dir and Path(voc_dir)
    return None


def read_names(path):
    """Class names of a text file, one a line up to a blank line."""
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding='utf-8-sig').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FcnError(f'the class names cannot be read: {getattr(error, "strerror", error)}',
                       file=str(path), do='Give a text file with one name a line.') from None
    return tuple(lines[:lines.index('')] if '' in lines else lines)
