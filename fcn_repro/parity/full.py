"""Goldens at VGG16's full width: a net of ours on a photograph, weights from a recipe.

At that width some maximum of a pooling window, or some sign before a ReLU, is always decided by
rounding, and that moves the gradients below it by up to 1e-3. So gradients are compared where they
are determined: in Caffe's own arithmetic, which decides as Caffe did (ops.blas). The goldens were
made with OpenBLAS's kernels for Haswell on several threads; OPENBLAS says so to a new process.
"""

import zlib
from pathlib import Path

import numpy as np
import torch

from fcn_repro.data.image import read_image, to_blob
from fcn_repro.errors import FcnError
from fcn_repro.net.graph import build
from fcn_repro.net.net import Net
from fcn_repro.net.surgery import upsample_filt
from fcn_repro.proto import TEST
from fcn_repro.proto.prototxt import parse_net, read_net
from fcn_repro.recipe.stages import PROTOTXT

from .case import Gap, error
from .golden import read_golden
from .layers import compare_params

MEAN = 104.00698793, 116.66876762, 122.67891434       # BGR
OPENBLAS = {'OPENBLAS_CORETYPE': 'Haswell', 'OPENBLAS_NUM_THREADS': '2'}
INPUTS = '''layer { name: "data" type: "Input" top: "data" top: "label" input_param {
  shape { dim: 1 dim: 3 dim: %d dim: %d } shape { dim: 1 dim: 1 dim: %d dim: %d } } }'''


def check_full(case, path, photo, blas, limits):
    """path: of the .h5, whose attribute `net` names a folder of prototxt/; the photographs lie in
    ../data/camvid/JPEGImages, seen from the folder of all goldens. blas: compute as Caffe does,
    and compare the gradients as well."""
    whole = read_golden(path)
    golden = whole.group(photo)
    image = Path(path).parents[2] / 'data/camvid/JPEGImages' / f'{photo}.jpg'
    if not image.exists():
        raise FcnError('the photograph of this case is not there', file=str(image),
                       do='Put it there, or leave this case out.')
    label = golden.need('label').values
    net = load(str(whole.attr('net')), label.shape, blas)
    wanted = [name for name in golden.blobs('blobs') if name in net.blobs]
    net.forward(blobs=['score', *wanted], data=to_blob(read_image(image), MEAN)[None],
                label=label[None, None].astype(np.float32))
    check_scores(case, net, golden, label, limits)
    for name in case.expect('blobs', wanted, golden.blobs('blobs')):
        case.compare(f'blobs/{name}', net.blobs[name].data, golden.blobs('blobs')[name],
                     limits.activations)
    if blas and 'param_diffs' in golden:
        net.backward()
        compare_params(case, 'param_diffs', net, golden.params('param_diffs'), limits.gradients,
                       lambda blob: blob.diff)


def load(name, size, blas=False):
    """The val net of a folder, Inputs in place of its data layer, filled by the recipe."""
    text = read_net(PROTOTXT / name / 'val.prototxt')
    text.message.layer[0].CopyFrom(parse_net(INPUTS % (size * 2)).message.layer[0])
    net = Net(build(text, TEST), blas=blas)
    for layer, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            blob.parameter.data = torch.from_numpy(recipe(layer, i, blob.shape))
    return net


def recipe(name, i, shape):
    """A parameter blob: what the goldens' README says."""
    if 'up' in name:                    # bilinear on the diagonal
        w = np.zeros(shape, np.float32)
        w[range(shape[0]), range(shape[1])] = upsample_filt(shape[2])
        return w
    rng = np.random.RandomState(zlib.crc32(f'{name}/{i}'.encode()) & 0xffffffff)
    std = 0.01
    if i == 0:
        std = np.sqrt(2.0 / np.prod(shape[1:])) * (0.01 if 'score' in name else 1)
    return (rng.randn(*shape) * std).astype(np.float32)


def check_scores(case, net, golden, label, limits):
    """Caffe adds up 172,800 pixels one by one in float32, which alone is 2e-5 off. So the pixels'
    losses of our scores, added up as Caffe does, must be its loss; and our loss their exact sum."""
    score = net.blobs['score'].data[0]
    scale, every = float(golden.attr('score_abs_max')), golden.need('score_every_8th').values
    gap = np.abs(score[:, ::8, ::8].numpy() - every).max() / scale
    case.gaps.append(Gap('score', float(gap), limits.activations))
    clear = ~golden.need('near_tie').values
    case.exact('argmax', score.argmax(0).numpy()[clear], golden.need('argmax').values[clear])
    label = torch.from_numpy(label.astype(np.int64))
    valid = label != 255
    own = torch.softmax(score, 0).gather(0, label.where(valid, 0)[None])[0][valid]
    losses = -own.clamp(min=torch.finfo(torch.float32).tiny).log().numpy()
    case.number('loss, added up as Caffe does', np.cumsum(losses, dtype=np.float32)[-1],
                golden.attr('loss'), limits.losses)
    case.gaps.append(Gap('loss', error(float(net.blobs['loss'].data), losses.sum(
        dtype=np.float64)), limits.losses))
