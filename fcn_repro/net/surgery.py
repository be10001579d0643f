"""Net surgery as in the release's surgery.py, on {layer: [tensor]}, in place.

Where the release prints and coerces, this raises an FcnError or returns the Rows of what it did.
"""

import torch

from ..errors import FcnError
from ..fillers import bilinear_taps
from ..formats.weights import LayerBlobs, Weights, copy_weights


def upsample_filt(size):
    """The (size, size) bilinear kernel in float64 for upsampling by (size + 1) // 2."""
    taps = bilinear_taps(size)
    return torch.outer(taps, taps).numpy()


def transplant(new_params, params, suffix=''):
    """Copy `params` into the layers of `new_params` named name + suffix; returns Rows.

    (O, C*h*w) is cast to (O, C, h, w); any other mismatch of a shape or of the number of blobs is
    an error and leaves `new_params` unchanged. Layers that `new_params` lacks are 'ignored'; its
    own layers whose names end in the suffix and that have no source are 'left at filler'.
    """
    source = Weights({name + suffix: [b.detach().cpu().numpy() for b in blobs]
                      for name, blobs in params.items()})
    targets = [LayerBlobs(name, blobs, 'Convolution' if blobs and blobs[0].dim() == 4 else '')
               for name, blobs in new_params.items() if name.endswith(suffix)]
    return copy_weights(targets, source)


def blobs_of(params, layer):
    if not params.get(layer):
        raise FcnError('the net has no such layer with parameters', layer=layer,
                       do=f"Use one of {', '.join(n for n in params if params[n]) or 'none'}.")
    return params[layer]


@torch.no_grad()
def interp(params, layer_names):
    """Write the bilinear kernel on the diagonal of each layer's (m, m, k, k) or (m, 1, k, k)
    weight; what is off the diagonal stays as it is (0 from the default filler)."""
    weights = [(name, blobs_of(params, name)[0]) for name in layer_names]
    for name, weight in weights:
        shape = tuple(weight.shape)
        if len(shape) != 4 or shape[2] != shape[3] or shape[1] not in (1, shape[0]):
            raise FcnError(f'the weight has shape {shape}; bilinear upsampling needs (m, m, k, k) '
                           'or (m, 1, k, k)', layer=name,
                           do='Name only layers that upsample, with square filters.')
    for _, weight in weights:
        rows = torch.arange(weight.shape[0])
        columns = rows if weight.shape[1] > 1 else torch.zeros_like(rows)
        kernel = torch.from_numpy(upsample_filt(weight.shape[2]))
        weight[rows, columns] = kernel.to(weight.device, weight.dtype)


@torch.no_grad()
def expand_score(new_params, new_layer, params, layer):
    """Copy a score layer of k classes into the first k outputs of one with k' >= k classes.

    Weight (k, C, h, w) and, where both have it, bias (k,); the release assumed a 4-D bias.
    """
    olds, news = blobs_of(params, layer), blobs_of(new_params, new_layer)
    for old, new in pairs(olds, news, layer, new_layer):
        if old.shape[0] > new.shape[0] or old.shape[1:] != new.shape[1:]:
            wrong(old, new, layer, new_layer, 'the new layer needs at least as many outputs and '
                  'the same inputs and kernel')
    for old, new in zip(olds, news, strict=True):
        new[:old.shape[0]] = old.to(new.device)


@torch.no_grad()
def expand_input(new_params, new_layer, params, layer):
    """Copy a layer of C input channels into one of C' > C: the first C are the old ones, the others
    their mean (nyud-fcn32s-color-d: depth behind BGR). Other blobs are copied."""
    olds, news = blobs_of(params, layer), blobs_of(new_params, new_layer)
    for i, (old, new) in enumerate(pairs(olds, news, layer, new_layer)):
        more = i == 0 and old.dim() == 4 == new.dim() and new.shape[1] > old.shape[1]
        if old.shape[0] != new.shape[0] or old.shape[1 + more:] != new.shape[1 + more:] or (
                i == 0 and not more):
            wrong(old, new, layer, new_layer, 'the new layer needs more inputs and all else equal')
    weight, new = olds[0].to(news[0].device), news[0]
    new[:, :weight.shape[1]] = weight
    new[:, weight.shape[1]:] = weight.mean(1, keepdim=True)
    for old, new in zip(olds[1:], news[1:], strict=True):
        new.copy_(old)


@torch.no_grad()
def rarefy(new_params, new_layer, params, layer):
    """Copy a layer of kernel k into one of kernel 2k or 2k - 1: its weights at even rows and
    columns, zeros between them (a trous; section 3.2 of the paper). On an input of half the stride
    the new layer's outputs, every second one, are the old one's.

    Weight (O, C, k, k), or (O, C*k*k) of an InnerProduct; the other blobs are copied."""
    olds, news = blobs_of(params, layer), blobs_of(new_params, new_layer)
    checked = list(pairs(olds, news, layer, new_layer))
    old, new = checked[0]
    shape = tuple(new.shape)
    k = (shape[-1] + 1) // 2
    if len(shape) != 4 or shape[2] != shape[3] or (
            old.shape != (*shape[:2], k, k) and old.shape != (shape[0], shape[1] * k * k)):
        wrong(old, new, layer, new_layer, 'the new kernel needs 2k or 2k - 1 rows and columns')
    new.zero_()
    new[:, :, ::2, ::2] = old.reshape(*shape[:2], k, k).to(new.device)
    for old, new in checked[1:]:
        new.copy_(old.reshape(new.shape))


def pairs(olds, news, layer, new_layer):
    if len(olds) != len(news):
        raise FcnError(f"has {len(news)} blobs, '{layer}' has {len(olds)}", layer=new_layer,
                       do='Give both layers a bias, or neither.')
    return zip(olds, news, strict=True)


def wrong(old, new, layer, new_layer, need):
    raise FcnError(f"has shape {tuple(new.shape)}, '{layer}' has {tuple(old.shape)}",
                   layer=new_layer, do=f'Change the net: {need}.')
