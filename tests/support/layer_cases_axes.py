"""Random layers of the types of our own that act on whole axes, MatMul and Permute: their tops by
loops over indices, and what they refuse."""

import itertools

import torch
from hypothesis import strategies as st
from layer_case import Case, blob, distinct, ints


@st.composite
def mat_mul(draw):
    batch, n, k, m = (ints(draw, 1, 4) for _ in range(4))
    settings = {f'transpose_{name}': draw(st.booleans()) for name in 'ab'}
    a, b = distinct((batch, n, k)), distinct((batch, k, m), 1)
    bottoms = [x.transpose(1, 2).contiguous() if transposed else x
               for x, transposed in zip((a, b), settings.values(), strict=True)]
    return Case('MatMul', bottoms, {'fcn_repro_param': settings}, learn=(0, 1))


@st.composite
def permute(draw):
    """All axes in some order, or the first of them: the others follow."""
    x = blob(draw)
    order = draw(st.permutations(range(x.dim())))
    return Case('Permute', [x], {'fcn_repro_param': {'order': order[:ints(draw, 1, x.dim())]}})


def product(settings, bottoms, params):
    own = settings['fcn_repro_param']
    a, b = bottoms
    a = a.mT if own['transpose_a'] else a
    b = b.mT if own['transpose_b'] else b
    top = torch.zeros(len(a), a.shape[1], b.shape[2], dtype=a.dtype)
    for item, i, j in itertools.product(*map(range, top.shape)):
        top[item, i, j] = sum(a[item, i, r] * b[item, r, j] for r in range(a.shape[2]))
    return [top]


def permuted(settings, bottoms, params):
    """SSD's rule: the flat index of each value of the top, from the strides of both blobs."""
    x, = bottoms
    order = list(settings['fcn_repro_param']['order'])
    order += [axis for axis in range(x.dim()) if axis not in order]
    top = torch.zeros([x.shape[axis] for axis in order], dtype=x.dtype)
    for place in itertools.product(*map(range, top.shape)):
        of = dict(zip(order, place, strict=True))
        top[place] = x[tuple(of[axis] for axis in range(x.dim()))]
    return [top]


CASES = {'MatMul': mat_mul(), 'Permute': permute()}
REFERENCES = {'MatMul': product, 'Permute': permuted}
OWN = 'fcn_repro_param {{ {} }}'.format
REFUSED = [
    ('MatMul', 'x', 'y', '', ('1 bottoms', '2')),
    ('MatMul', 'x l', 'y', '', ('bottom 0', '2x3x6x5', '3 axes', 'Reshape')),
    ('MatMul', 'x l', 'y', OWN('order: 0'), ("'fcn_repro_param.order'", 'does not read')),
    ('Permute', 'x l', 'y', OWN('order: 0'), ('2 bottoms', '1')),
    ('Permute', 'x', 'x', OWN('order: 1'), ('in-place Permute', 'a name of its own')),
    ('Permute', 'x', 'y', '', ('no order', 'order: [0, 2, 3, 1]')),
    ('Permute', 'x', 'y', OWN('order: [0, 2, 2]'), ('order [0, 2, 2]', 'an axis twice')),
    ('Permute', 'x', 'y', OWN('order: [0, 4]'), ('order [0, 4]', '2x3x6x5', '0 to 3')),
    ('Permute', 'x', 'y', OWN('order: 1 transpose_a: true'),
     ("'fcn_repro_param.transpose_a'", 'does not read')),
]
