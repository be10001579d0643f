"""Random layers of the types that act on each value alone or only move values."""

from hypothesis import strategies as st
from layer_case import Case, blob, distinct, ints, unary


def mapping(**fields):
    return st.fixed_dictionaries(fields)


def one_of(*values):
    return st.sampled_from(values)


@st.composite
def on_axis(draw, type, param, **fields):
    """A layer with an axis setting."""
    x = blob(draw)
    settings = {name: draw(values) for name, values in fields.items()}
    return Case(type, [x], {param: settings | {'axis': ints(draw, -x.dim(), x.dim() - 1)}})


@st.composite
def arg_max(draw):
    x = blob(draw)
    settings = {'out_max_val': draw(st.booleans())}
    count = x[0].numel()
    if draw(st.booleans()):
        settings['axis'] = ints(draw, -x.dim(), x.dim() - 1)
        count = x.shape[settings['axis']]
    return Case('ArgMax', [x], {'argmax_param': settings | {'top_k': ints(draw, 1, count)}},
                learn=())


@st.composite
def batch_reindex(draw):
    x = blob(draw)
    indices = distinct([ints(draw, 1, 6)]).abs() * x.shape[0]
    return Case('BatchReindex', [x, indices])


@st.composite
def filters(draw):
    """Nothing is left out: `shape` cannot know that."""
    count, items = ints(draw, 1, 3), ints(draw, 1, 4)
    bottoms = [distinct([items, *blob(draw, 0, 2).shape], i) for i in range(count)]
    selector = distinct([items] + [1] * ints(draw, 0, 2), 9)
    return Case('Filter', [*bottoms, selector], tops=count, learn=tuple(range(count)))


@st.composite
def flatten(draw):
    x = blob(draw)
    start = ints(draw, 0, x.dim() - 1)
    end = ints(draw, max(0, start - 1), x.dim() - 1)
    back = draw(one_of(0, x.dim()))
    return Case('Flatten', [x], {'flatten_param': {'axis': start - back, 'end_axis': end - back}})


@st.composite
def prelu(draw):
    return Case('PReLU', [blob(draw, 2)], {'prelu_param': {'channel_shared': draw(st.booleans())}})


@st.composite
def reshape(draw):
    """Some axes taken together, or one of 1 put in; the bottom's own axes before as 0."""
    x = blob(draw)
    start = ints(draw, 0, x.dim())
    count = ints(draw, 0, x.dim() - start)
    copied = ints(draw, 0, count)
    whole = x.shape[start + copied:start + count].numel()
    dims = [0] * copied + draw(one_of([whole], [-1], [1, whole], [-1, whole]))
    settings = {'axis': draw(one_of(start, start - x.dim() - 1)), 'shape': {'dim': dims},
                'num_axes': draw(one_of(count, -1)) if start + count == x.dim() else count}
    return Case('Reshape', [x], {'reshape_param': settings})


@st.composite
def slices(draw):
    x = blob(draw)
    axis, tops = ints(draw, -x.dim(), x.dim() - 1), ints(draw, 1, 3)
    size = [ints(draw, 1, 3) for _ in range(tops)]
    points = [sum(size[:i]) for i in range(1, tops)]
    settings = {'axis': axis, 'slice_point': points}
    if draw(st.booleans()):
        size, settings = [size[0]] * tops, {'axis': axis}
    shape = list(x.shape)
    shape[axis] = sum(size)
    return Case('Slice', [distinct(shape)], {'slice_param': settings}, tops)


CASES = {
    'AbsVal': unary('AbsVal'),
    'ArgMax': arg_max(),
    'BNLL': unary('BNLL'),
    'BatchReindex': batch_reindex(),
    'Clip': unary('Clip', clip_param=mapping(min=one_of(-2, -0.501), max=one_of(0.001, 0.502))),
    'ELU': unary('ELU', elu_param=mapping(alpha=one_of(1, 0.5, 0, -2))),
    'Exp': unary('Exp', exp_param=mapping(base=one_of(-1, 2, 0.5, 1), scale=one_of(1, -0.5, 0),
                                          shift=one_of(0, 1.5))),
    'Filter': filters(),
    'Flatten': flatten(),
    'Log': unary('Log', log_param=mapping(base=one_of(-1, 10, 0.5), scale=one_of(1, -0.5),
                                          shift=one_of(1.5, 2))),
    'PReLU': prelu(),
    'Reduction': on_axis('Reduction', 'reduction_param', coeff=one_of(1, -0.5),
                         operation=one_of('SUM', 'ASUM', 'SUMSQ', 'MEAN')),
    'Reshape': reshape(),
    'Sigmoid': unary('Sigmoid'),
    'Slice': slices(),
    'Swish': unary('Swish', swish_param=mapping(beta=one_of(1, 0, -0.5))),
    'TanH': unary('TanH'),
    'Threshold': unary('Threshold', threshold_param=mapping(threshold=one_of(0, 0.3))),
    'Tile': on_axis('Tile', 'tile_param', tiles=one_of(1, 2, 3)),
}
