"""State dicts of the PyTorch releases of ResNet, DeepLab v3, v3+ and RefineNet as Caffe's layers.

A form is a release and its way to name things: torchvision's classifiers and deeplabv3_resnet*;
VainF/DeepLabV3Plus-Pytorch's v3 and v3+ on ResNets; jfzhang95/pytorch-deeplab-xception's v3+ on
ResNet and DRN; DrSleep/refinenet-pytorch's RefineNet. Widths, numbers of blocks and classes are
those of the file. The names of the layers are those of this project's nets (recipe/models/
deeplabv3.py, refinenet.py); each table below says which tensor becomes which layer.

As in torchvision.py, RGB of 0 to 1 less a mean, divided by a deviation, becomes BGR of 0 to 255
less a mean by the weights of the first convolution; the mean stays in the data layers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from ..errors import FcnError, short
from ..proto import LayerParameter
from .torchvision import LONGEST_NAME, STD, Blobs, tensor

WRAPPERS = 'state_dict', 'model_state', 'model'     # keys under which checkpoints have the dict
DO = 'Give the state dict of one of the nets in docs/torch-nets.md.'


class Part(NamedTuple):
    """A convolution: its name here, its tensors' names there and those of its batch normalisation;
    '' without, and then it has a bias if the file says so."""
    layer: str
    conv: str
    norm: str = ''


@dataclass
class Form:
    """A release's net: name, what tells it apart (a tensor that no other form has), its parts of a
    state dict, the prefixes of tensors that are left out (an auxiliary head), and settings of the
    net here that the file does not say. net: 'refinenet', 'deeplab', or '' for a classifier."""
    name: str
    sign: str
    parts: Callable[[Mapping[str, Any]], Iterator[Part]]
    net: str = ''
    left_out: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class TorchNet:
    """What a state dict holds: the form; layers of a caffemodel; numbers that say how large the net
    is, {layer: (outputs, inputs, kernel)}; names of tensors that are left out."""
    form: Form
    layers: Blobs
    sizes: dict[str, tuple[int, int, int]]
    left_out: list[str]

    def count(self, pattern: str) -> int:
        """How many layers there are of pattern.format(0), (1), …, without a gap."""
        i = 0
        while pattern.format(i) in self.sizes:
            i += 1
        return i


# ---- tables --------------------------------------------------------------------------------------

def numbered(state: Mapping[str, Any], pattern: str, step: int = 1) -> list[int]:
    """0, step, … as long as pattern.format(i) is in the dict; 0 at least, so that a first one that
    is missing is missed."""
    found = [0]
    while pattern.format(found[-1] + step) in state:
        found.append(found[-1] + step)
    return found


def blocks(state: Mapping[str, Any], before: str, layers: range, convs: int = 3) -> Iterator[Part]:
    """The residual blocks of groups layer<k>. before: what their names begin with; convs: what a
    block has of them, 3 a bottleneck, 2 a basic one."""
    for k in layers:
        for i in numbered(state, f'{before}layer{k}.{{}}.conv{convs}.weight'):
            there, here = f'{before}layer{k}.{i}', f'layer{k}_{i}'
            for j in range(1, convs + 1):
                yield Part(f'{here}_conv{j}', f'{there}.conv{j}', f'{there}.bn{j}')
            if f'{there}.downsample.0.weight' in state:
                yield Part(f'{here}_down', f'{there}.downsample.0', f'{there}.downsample.1')


def resnet(state: Mapping[str, Any], before: str = '', convs: int = 3) -> Iterator[Part]:
    yield Part('conv1', f'{before}conv1', f'{before}bn1')
    yield from blocks(state, before, range(1, 5), convs)


def drn(state: Mapping[str, Any], before: str = '') -> Iterator[Part]:
    """Type D: layer0 to layer2 and layer7, layer8 are convolutions, three modules each."""
    yield Part('layer0', f'{before}layer0.0', f'{before}layer0.1')
    for k in 1, 2, 7, 8:
        for i in numbered(state, f'{before}layer{k}.{{}}.weight', 3):
            yield Part(f'layer{k}_{i // 3}', f'{before}layer{k}.{i}', f'{before}layer{k}.{i + 1}')
    yield from blocks(state, before, range(3, 7))


def aspp(before: str) -> Iterator[Part]:
    """torchvision's ASPP."""
    for i in range(4):
        yield Part(f'aspp{i}', f'{before}convs.{i}.0', f'{before}convs.{i}.1')
    yield Part('aspp_image', f'{before}convs.4.1', f'{before}convs.4.2')
    yield Part('aspp_project', f'{before}project.0', f'{before}project.1')


def classifier(state: Mapping[str, Any], convs: int = 3) -> Iterator[Part]:
    yield from resnet(state, convs=convs)
    yield Part('fc', 'fc')


def basic_classifier(state: Mapping[str, Any]) -> Iterator[Part]:
    """ResNet-18 and -34."""
    return classifier(state, 2)


def torchvision_v3(state: Mapping[str, Any], head: str = 'classifier.') -> Iterator[Part]:
    yield from resnet(state, 'backbone.')
    yield from aspp(f'{head}0.')
    yield Part('refine1', f'{head}1', f'{head}2')
    yield Part('score_coarse', f'{head}4')


def vainf_v3(state: Mapping[str, Any]) -> Iterator[Part]:
    return torchvision_v3(state, 'classifier.classifier.')


def vainf_plus(state: Mapping[str, Any]) -> Iterator[Part]:
    yield from resnet(state, 'backbone.')
    yield from aspp('classifier.aspp.')
    yield Part('low_project', 'classifier.project.0', 'classifier.project.1')
    yield Part('refine1', 'classifier.classifier.0', 'classifier.classifier.1')
    yield Part('score_coarse', 'classifier.classifier.3')


def jfzhang95(state: Mapping[str, Any]) -> Iterator[Part]:
    """Its decoder has dropout layers in some versions, which move the numbers behind them."""
    yield from (drn if 'backbone.layer0.0.weight' in state else resnet)(state, 'backbone.')
    for i in range(4):
        yield Part(f'aspp{i}', f'aspp.aspp{i + 1}.atrous_conv', f'aspp.aspp{i + 1}.bn')
    yield Part('aspp_image', 'aspp.global_avg_pool.1', 'aspp.global_avg_pool.2')
    yield Part('aspp_project', 'aspp.conv1', 'aspp.bn1')
    yield Part('low_project', 'decoder.conv1', 'decoder.bn1')
    second, last = (4, 8) if 'decoder.last_conv.8.weight' in state else (3, 6)
    yield Part('refine1', 'decoder.last_conv.0', 'decoder.last_conv.1')
    yield Part('refine2', f'decoder.last_conv.{second}', f'decoder.last_conv.{second + 1}')
    yield Part('score_coarse', f'decoder.last_conv.{last}')


def refinenet(state: Mapping[str, Any]) -> Iterator[Part]:
    """Its paths count from the coarsest: 1 is that of layer4."""
    yield from resnet(state)
    for k in range(1, 5):
        level = 5 - k
        yield Part(f'l{level}_dimred', f'p_ims1d2_outl{k}_dimred')
        yield from units(f'adapt_stage{k}_b.0', f'l{level}', 2)
        if k > 1:
            yield Part(f'l{level}_fuse', f'adapt_stage{k}_b2_joint_varout_dimred')
        for i in range(1, 5):
            yield Part(f'refine{level}_crp{i}', f'mflow_conv_g{k}_pool.0.{i}_outvar_dimred')
        yield from units(f'mflow_conv_g{k}_b.0', f'refine{level}', 3)
        if k < 4:
            yield Part(f'refine{level - 1}_fuse', f'mflow_conv_g{k}_b3_joint_varout_dimred')
    yield Part('score_coarse', 'clf_conv')


def units(there: str, here: str, count: int) -> Iterator[Part]:
    """Residual convolution units."""
    for i in range(1, count + 1):
        yield Part(f'{here}_rcu{i}_conv1', f'{there}.{i}_conv')
        yield Part(f'{here}_rcu{i}_conv2', f'{there}.{i}_conv_relu_varout_dimred')


TORCHVISION = {'body_settings': {'late': True, 'grid': ()}, 'aligned': False, 'refinements': 1}
FORMS = (
    Form('RefineNet (refinenet-pytorch)', 'clf_conv.weight', refinenet, 'refinenet'),
    Form('DeepLab v3+ (pytorch-deeplab-xception)', 'decoder.last_conv.0.weight', jfzhang95,
         'deeplab', settings={'decoder': {}, 'refinements': 2, 'stride': 16}),
    Form('DeepLab v3+ (DeepLabV3Plus-Pytorch)', 'classifier.aspp.convs.0.0.weight', vainf_plus,
         'deeplab', settings={**TORCHVISION, 'decoder': {'low_first': True}, 'stride': 16}),
    Form('DeepLab v3 (DeepLabV3Plus-Pytorch)', 'classifier.classifier.0.convs.0.0.weight', vainf_v3,
         'deeplab', settings={**TORCHVISION, 'stride': 16}),
    Form('DeepLab v3 (torchvision)', 'classifier.0.convs.0.0.weight', torchvision_v3, 'deeplab',
         ('aux_classifier.',), {**TORCHVISION, 'stride': 8}),
    Form('ResNet (torchvision)', 'layer1.0.conv3.weight', classifier),
    # bottlenecks have this one too, and are known by then
    Form('ResNet of basic blocks (torchvision)', 'layer1.0.conv2.weight', basic_classifier),
)


# ---- reading -------------------------------------------------------------------------------------

def unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict itself, of a checkpoint that holds it with other things, or whose names begin
    with `module.` (DataParallel's)."""
    for key in WRAPPERS:
        if isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if state and all(str(key).startswith('module.') for key in state):
        state = {str(key).removeprefix('module.'): value for key, value in state.items()}
    return state


def form_of(state: Mapping[str, Any]) -> Form | None:
    """The form of an unwrapped state dict, None for no known one."""
    return next((form for form in FORMS if form.sign in state), None)


def read_net(state: Mapping[str, Any], path: str | PathLike) -> TorchNet:
    """The layers of a caffemodel from an unwrapped state dict of a known form. FcnError for no
    known form, and for tensors that are missing, left over, or of other shapes."""
    form = form_of(state)
    if form is None:
        raise FcnError('is a state dict of no known net', file=str(path), do=DO)
    taken: set[str] = set()
    layers: Blobs = []
    sizes = {}

    def take(name: str, *shape: int | None) -> np.ndarray:
        taken.add(name)
        return tensor(state, name, shape, path, do=f'It was taken for {form.name}. {DO}')
    for i, part in enumerate(form.parts(state)):
        found = converted(part, state, take, first=i == 0)
        layers += found
        shape = found[0][1][0].shape
        sizes[part.layer] = (shape[0], shape[1], shape[-1] if len(shape) == 4 else 1)
        if part.norm:
            taken.add(f'{part.norm}.num_batches_tracked')
    left = sorted(set(map(str, state)) - taken)
    out = [name for name in left if name.startswith(form.left_out or ('\0',))]
    if len(out) < len(left):
        name = next(name for name in left if name not in out)
        raise FcnError(f"holds '{short(name, LONGEST_NAME)}', which the form of {form.name} does "
                       f'not have ({len(left) - len(out)} such tensors)', file=str(path), do=DO)
    return TorchNet(form, layers, sizes, out)


def converted(part: Part, state: Mapping[str, Any], take: Callable[..., np.ndarray],
              first: bool) -> Blobs:
    """The layers of a part: Convolution (InnerProduct of a matrix), and BatchNorm and Scale."""
    name = f'{part.conv}.weight'
    matrix = getattr(state.get(name), 'ndim', 4) == 2
    weight = take(name, *((None,) * (2 if matrix else 4)))
    if first:
        weight = take(name, None, len(STD), None, None)
        weight = (weight / (255 * np.array(STD, np.float32))[:, None, None])[:, ::-1]
    blobs = [weight]
    if f'{part.conv}.bias' in state:
        blobs.append(take(f'{part.conv}.bias', len(weight)))
    kind = 'InnerProduct' if matrix else 'Convolution'
    layers = [layer(part.layer, kind, *blobs)]
    if part.norm:
        mean, variance, scale, bias = (
            take(f'{part.norm}.{what}', len(weight))
            for what in ('running_mean', 'running_var', 'weight', 'bias'))
        layers += [layer(f'{part.layer}_bn', 'BatchNorm', mean, variance, np.ones(1)),
                   layer(f'{part.layer}_scale', 'Scale', scale, bias)]
    return layers


def layer(name: str, kind: str, *blobs: np.ndarray) -> tuple[Any, list[np.ndarray]]:
    """A layer of the caffemodel, with float32 blobs."""
    return (LayerParameter(name=name, type=kind),
            [np.ascontiguousarray(blob, np.float32) for blob in blobs])
