"""The deploy net of a PyTorch state dict (formats/torchnets.py): the builders' nets at the sizes
that the file has."""

from typing import Any

from ...errors import FcnError
from ...formats.torchnets import TorchNet
from . import deeplabv3, refinenet

STRIDES = 8, 16


def net_of(found: TorchNet, stride: int | None = None) -> Any:
    """The NetParameter of a net that takes the layers of a TorchNet; None for a classifier, whose
    layers are those of a body. stride: of DeepLab's last map, 8 or 16, which the file does not say
    and which the rates follow; None: what the release has.

    FcnError for a stride that a form does not have, and for layers that do not make such a net.
    """
    form = found.form
    if stride is not None and (form.net != 'deeplab' or stride not in STRIDES
                               or (of_drn(found) and stride != 8)):
        raise FcnError(f'{form.name} has no form of stride {stride}', do='Leave the stride out, or '
                       'give 8 or 16 for a DeepLab net on a ResNet.')
    if not form.net:
        return None
    classes, wide = found.sizes['score_coarse'][:2]
    if form.net == 'refinenet':
        return refinenet.net(classes=classes, width=wide, body_settings=resnet_of(found))
    settings = {**form.settings, 'classes': classes, 'width': found.sizes['aspp0'][0]}
    if 'decoder' in settings:
        settings['decoder'] = {**settings['decoder'], 'low_width': found.sizes['low_project'][0]}
    if of_drn(found):
        settings |= {'body': 'drn', 'stride': 8, 'body_settings': drn_of(found)}
    else:
        settings['body_settings'] = {**settings.get('body_settings', {}), **resnet_of(found)}
        settings['stride'] = stride or settings['stride']
    return deeplabv3.net(**settings)


def of_drn(found: TorchNet) -> bool:
    return 'layer0' in found.sizes


def widths_of(found: TorchNet, groups: range) -> tuple[int, ...]:
    """Widths of the groups of bottlenecks."""
    return tuple(found.sizes[f'layer{k}_0_conv1'][0] for k in groups)


def resnet_of(found: TorchNet) -> dict[str, Any]:
    groups = range(1, 5)
    return {'blocks': tuple(found.count(f'layer{k}_{{}}_conv1') for k in groups),
            'stem': found.sizes['conv1'][0], 'widths': widths_of(found, groups)}


def drn_of(found: TorchNet) -> dict[str, Any]:
    plain = {k: found.count(f'layer{k}_{{}}') for k in (1, 2, 7, 8)}
    widths = dict(zip(range(3, 7), widths_of(found, range(3, 7)), strict=True))
    return {'blocks': tuple(plain[k] if k in plain else found.count(f'layer{k}_{{}}_conv1')
                            for k in range(1, 9)),
            'widths': tuple(widths[k] if k in widths else found.sizes[f'layer{k}_0'][0]
                            for k in range(1, 9))}
