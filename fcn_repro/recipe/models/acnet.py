"""ACNet (Hu et al. 2019): colour and depth each through a ResNet, and a third ResNet on what gates
of their channels let through of both.

As released (anheidelonghu/ACNet, ACNet_models_V1.py): a decoder of residual blocks that upsample by
transposed convolutions, skips from the third ResNet, scores at five sizes while it learns.
"""

from typing import Any

from ...data.miniatures import KINDS, folder_of
from ...proto.netspec import L, P
from ..stage import Stage
from .body_resnet import EXPANSION, RESNETS, WIDTHS, group, pooled, stem_of
from .model import Model, Recipe
from .normed import MSRA, SCRATCH, WEIGHT, Normed
from .nyud import CLASSES, TEST_IMAGES
from .parts import python_data, start

# Of the 40 classes, by label: the release's data/nyuv2_40class_weight.txt
CLASS_WEIGHTS = (
    0.272491, 0.568953, 0.432069, 0.354511, 0.82178, 0.506488, 1.133686, 0.81217, 0.789383,
    0.380358, 1.650497, 1, 0.650831, 0.757218, 0.950049, 0.614332, 0.483815, 1.842002, 0.635787,
    1.176839, 1.196984, 1.111907, 1.927519, 0.695354, 1.057833, 4.179196, 1.571971, 0.432408,
    3.705966, 0.549132, 1.282043, 2.329812, 0.992398, 3.114945, 5.466101, 1.085242, 6.968411,
    1.093939, 1.33652, 1.228912)
DECODER = (6, 4, 3, 3, 3)       # blocks before the skips of levels 3 to 0, and before the scores


def gated(to: Normed, bottom, name: str, width: int):
    """The map times a number a channel: the sigmoid of a 1x1 of its means."""
    n = to.n
    n[f'{name}_mean'] = L.Pooling(bottom, pool=P.Pooling.AVE, global_pooling=True)
    n[f'{name}_attention'] = L.InnerProduct(n[f'{name}_mean'], num_output=width, weight_filler=MSRA)
    n[f'{name}_gate'] = L.Sigmoid(n[f'{name}_attention'])
    n[name] = L.Scale(bottom, n[f'{name}_gate'], axis=0)
    return n[name]


def upsampled(to: Normed, bottom, name: str, width: int, kernel: int, like, offset: int):
    """A transposed convolution of stride 2, cut to the size of `like`, and normalised. A kernel of
    3 with offset 1 is PyTorch's with padding and output_padding 1."""
    n = to.n
    n[name] = L.Deconvolution(bottom, param=WEIGHT, convolution_param={
        'num_output': width, 'kernel_size': kernel, 'stride': 2, 'bias_term': False,
        'weight_filler': MSRA})
    n[f'{name}_cut'] = L.Crop(n[name], like, crop_param={'axis': 2, 'offset': offset})
    return to.norm(n[f'{name}_cut'], name)


def blocks(to: Normed, top, name: str, wide: int, width: int, count: int, like=None):
    """`count` blocks of two 3x3 convolutions plus their bottom, of `wide` channels; like: the last
    doubles the size to that of `like`, and has `width` channels."""
    for i in range(count):
        block, last = f'{name}_{i}', like is not None and i == count - 1
        y = to.conv(top, f'{block}_conv1', wide, 3)
        if last:
            y = upsampled(to, y, f'{block}_conv2', width, 3, like, 1)
            top = upsampled(to, top, f'{block}_up', width, 2, like, 0)
        else:
            y = to.conv(y, f'{block}_conv2', wide, 3, active=False)
        top = to.plus(block, y, top)
    return top


def encoder(to: Normed, counts: tuple[int, ...], stem: int, widths: tuple[int, ...]) -> list:
    """The maps of the merged branch at strides 2 to 32."""
    n = to.n
    tops = {'': stem_of(to, n.color, stem), '_d': to.conv(n.depth, 'conv1_d', stem, 7, stride=2)}
    merged = n.merged0 = L.Eltwise(*(gated(to, top, f'gated0{branch}', stem)
                                     for branch, top in tops.items()))
    maps = [merged]
    tops = {branch: pooled(to, top, f'pool1{branch}') for branch, top in tops.items()}
    merged = pooled(to, merged, 'pool1_m')
    for k, (width, count) in enumerate(zip(widths, counts, strict=True), 1):
        stride = 1 if k == 1 else 2
        tops = {branch: group(to, top, f'layer{k}{branch}', width, count, stride=stride)
                for branch, top in tops.items()}
        merged = group(to, merged, f'layer{k}_m', width, count, stride=stride)
        gates = [gated(to, top, f'gated{k}{branch}', EXPANSION * width)
                 for branch, top in tops.items()]
        merged = n[f'merged{k}'] = L.Eltwise(merged, *gates)
        maps.append(merged)
    return maps


def net(data: dict | None = None, *, classes: int = CLASSES, counts: tuple[int, ...] = RESNETS[
        'resnet50'], stem: int = 64, widths: tuple[int, ...] = WIDTHS,
        decoder: tuple[int, ...] = DECODER, weights: tuple[float, ...] = (),
        norm: dict | None = None, normalize: bool = True, training: bool = False,
        shape: tuple[int, ...] = (1, 3, 480, 640)):
    """ACNet, a NetParameter: color (N,3,H,W) and depth (N,1,H,W) of any H and W to score
    (N,classes,H,W).

    data: settings of the data layer (python_data), tops color, depth and label (N,1,H,W); None
    gives the deploy net, two Inputs of the size of `shape` and no loss. counts, stem, widths: of
    the three ResNets. decoder: blocks of each of its levels. weights: of the losses, one a
    class; () for none. norm: of Normed. training: with scores at strides 16, 8, 4 and 2 and their
    losses, on every 16th to 2nd label of each axis.
    """
    n = start(data, shape, inputs={'color': 3, 'depth': 1})
    to = Normed(n, **(norm or {}))
    maps = encoder(to, counts, stem, widths)
    channels = (stem, *widths)      # of the decoder, by level
    skips = [to.conv(top, f'skip{k}', width)
             for k, (top, width) in enumerate(zip(maps, channels, strict=True))]
    top, wide, ends = skips[4], channels[4], {}
    for k, count in zip((3, 2, 1, 0), decoder[:4], strict=True):
        top = blocks(to, top, f'up{k}', wide, channels[k], count, like=skips[k])
        wide, ends[2 ** (k + 1)] = channels[k], top
        top = n[f'fused{k}'] = L.Eltwise(top, skips[k])
    top = blocks(to, top, 'final', wide, wide, decoder[4])
    n.score_up = L.Deconvolution(top, param=[{'lr_mult': 1}, {'lr_mult': 2, 'decay_mult': 0}],
                                 convolution_param={
        'num_output': classes, 'kernel_size': 2, 'stride': 2, 'weight_filler': MSRA})
    n.score = L.Crop(n.score_up, n.color, crop_param={'axis': 2, 'offset': 0})
    if data is not None:
        weighted_loss(n, 'score', 'label', 'loss', normalize, weights)
    for stride, top in ends.items() if training else ():
        n[f'score_s{stride}'] = to.classifier(top, classes)
        n[f'label_s{stride}'] = L.Pooling(n.label, pool=P.Pooling.MAX, kernel_size=1,
                                          stride=stride, round_mode=P.Pooling.FLOOR)
        weighted_loss(n, f'score_s{stride}', f'label_s{stride}', f'loss_s{stride}', normalize,
                      weights)
    return n.to_proto()


def weighted_loss(n, scores: str, label: str, name: str, normalize: bool,
                  weights: tuple[float, ...]) -> None:
    """The loss NAME over the pixels that are not void."""
    own = {'fcn_repro_param': {'class_weight': list(weights)}} if weights else {}
    n[name] = L.SoftmaxWithLoss(n[scores], n[label], **own, loss_param={
        'normalize': normalize, 'ignore_label': 255})


def rooms(folder: str, classes: int):
    """A function of a split to data settings of a folder in NYUDv2's layout; trainval: batches of
    four images."""
    def data(split: str) -> dict[str, str]:
        batch = {'batch_size': 4} if split == 'trainval' else {}
        return python_data('nyud_layers', 'NYUDSegDataLayer', tops=['color', 'depth', 'label'],
                           seed=1337, nyud_dir=folder, split=split, classes=classes, **batch)
    return data


def model(folder: str, images: int, recipe: Recipe, origin: str = '', **settings) -> Model:
    """A model on a folder in NYUDv2's layout with so many test images."""
    data = rooms(folder, settings['classes'])
    return Model(net, settings, data('trainval'), data('test'), images, (recipe,),
                 splits=('trainval', 'test'), phased=True, origin=origin)


ORIGIN = ('Hu et al. 2019 (ACNet), as released: anheidelonghu/ACNet; four images of 425x560 an\n'
          'iteration, not crops of 480x640; 0.002, times 0.8 every 100 passes of the images')
RECIPE = Recipe(2e-3, momentum=0.9, max_iter=300000, snapshot=5000, normalize=True,
                weight_decay=1e-4, policy='step', stepsize=20000, gamma=0.8)
MINI_RECIPE = Recipe(2e-3, momentum=0.9, max_iter=1500, snapshot=500, normalize=True,
                     weight_decay=1e-4, policy='poly', type='Adam', prefix='runs/mini-acnet/train')
SMALL: dict[str, Any] = {
    'counts': (2, 2, 2, 2), 'stem': 8, 'widths': (8, 12, 16, 24), 'decoder': (2, 2, 2, 2, 2),
    'norm': SCRATCH, 'shape': (1, 3, 256, 320)}
MODELS = {
    'acnet-nyud': model('../data/nyud', TEST_IMAGES, RECIPE, ORIGIN, classes=CLASSES,
                        weights=CLASS_WEIGHTS),
    'mini-acnet': model(str(folder_of('nyud')), 100, MINI_RECIPE,
                        classes=len(KINDS['nyud'].classes), **SMALL),
}
STAGES = {
    'acnet-nyud': Stage('acnet', 'nyud', weights='resnet50.caffemodel', takes=('nyud',),
                        surgeries=('transplant',), score_every=5000),
    'mini-acnet': Stage('acnet', 'mini', surgeries=('transplant',), miniature='nyud'),
}
