"""The layers that act on each value or move values: what they refuse, and what no golden shows."""

import itertools

import h5py
import pytest
import torch
from goldens import error
from hypothesis import given
from hypothesis import strategies as st
from layer_case import distinct, make_layer
from texts import assert_facts, inputs, layer, message
from texts import net as build_net

INPUTS = inputs(x=(2, 3, 6, 5), i=(4,), s=(2, 1), v=(3,))
RESHAPE, POINTS = 'reshape_param', 'slice_point'


def dims(*numbers):
    return f'shape {{ {" ".join(f"dim: {n}" for n in numbers)} }}'


REFUSED = [
    ('AbsVal', 'x', 'x', '', ('in-place', 'AbsVal')),
    ('Flatten', 'x', 'x', '', ('in-place',)),
    ('Reshape', 'x', 'x', '', ('in-place',)),
    ('BNLL', 'x', 'y z', '', ('2 tops', '1')),
    ('ArgMax', 'x', 'y', 'argmax_param { top_k: 0 }', ('top_k 0',)),
    ('ArgMax', 'x', 'y', 'argmax_param { top_k: 91 }', ('top_k 91', '90 values', '2x3x6x5')),
    ('ArgMax', 'x', 'y', 'argmax_param { top_k: 4 axis: -3 }',
     ('top_k 4', '3 values', 'axis 1', '2x3x6x5')),
    ('ArgMax', 'x', 'y', 'argmax_param { axis: 4 }', ('axis 4', '2x3x6x5')),
    ('BatchReindex', 'x s', 'y', '', ('2x3x6x5', '2x1')),
    ('Clip', 'x', 'y', '', ('clip_param.min',)),
    ('Clip', 'x', 'y', 'clip_param { min: 1.5 max: -2 }', ('min 1.5', 'max -2')),
    ('Exp', 'x', 'y', 'exp_param { base: -2 }', ('base -2',)),
    ('Exp', 'x', 'y', 'exp_param { base: inf }', ('base inf',)),
    ('Log', 'x', 'y', 'log_param { base: 1 }', ('base 1',)),
    ('Log', 'x', 'y', 'log_param { base: 0 }', ('base 0', '1')),
    ('Filter', 'x s', 'y z', '', ('2 tops', '1 bottoms')),
    ('Filter', 's x', 'y', '', ('2x3x6x5',)),
    ('Filter', 'x i', 'y', '', ('bottom 0', '2x3x6x5', '4')),
    ('Flatten', 'x', 'y', 'flatten_param { axis: 5 }', ('axis 5', '2x3x6x5')),
    ('Flatten', 'x', 'y', 'flatten_param { end_axis: -5 }', ('end_axis -5', '2x3x6x5')),
    ('Flatten', 'x', 'y', 'flatten_param { axis: 3 end_axis: 1 }',
     ('end_axis 1', 'axis 3', '2x3x6x5')),
    ('PReLU', 'v', 'y', '', ('shape 3', '1 axes', '2')),
    ('Reduction', 'x', 'y', 'reduction_param { axis: 4 }', ('axis 4', '2x3x6x5')),
    ('Reshape', 'x', 'y', f'{RESHAPE} {{ {dims(-1, 3, -1)} }}', ('-1, 3, -1',)),
    ('Reshape', 'x', 'y', f'{RESHAPE} {{ {dims(-2)} }}', ('-2',)),
    ('Reshape', 'x', 'y', f'{RESHAPE} {{ {dims(1)} axis: 5 }}', ('axis 5', '2x3x6x5')),
    ('Reshape', 'x', 'y', f'{RESHAPE} {{ {dims(1)} axis: -2 num_axes: 2 }}',
     ('num_axes 2', 'axis 3', '2x3x6x5')),
    ('Reshape', 'x', 'y', f'{RESHAPE} {{ {dims(0, 0, 0)} axis: 2 }}',
     ('dim 2', '0', '2x3x6x5', 'axis 4')),
    ('Reshape', 'x', 'y', f'{RESHAPE} {{ {dims(7, -1)} axis: 1 }}',
     ('2x3x6x5', '180 values', '2x7x-1', 'reshape_param.shape')),
    ('Reshape', 'x', 'y', f'{RESHAPE} {{ {dims(0, 3, 31)} }}',
     ('2x3x6x5', '180 values', '2x3x31', 'reshape_param.shape')),
    ('Reshape', 'x', 'y', '', ('2x3x6x5', '180 values', 'reshape_param.shape')),
    ('Slice', 'x', 'a b', 'slice_param { axis: 1 slice_dim: 1 }', ('slice_dim',)),
    ('Slice', 'x', 'a b', 'slice_param { axis: 4 }', ('axis 4', '2x3x6x5')),
    ('Slice', 'x', 'a b', '', ('2 tops', 'axis 1', '2x3x6x5', 'slice_point')),
    ('Slice', 'x', 'a b', f'slice_param {{ {POINTS}: 1 {POINTS}: 2 }}',
     ('2 slice_point', '2 tops')),
    ('Slice', 'x', 'a b c', f'slice_param {{ {POINTS}: 2 {POINTS}: 2 }}',
     ('slice_point 2', 'axis 1', '2x3x6x5')),
    ('Slice', 'x', 'a b', f'slice_param {{ {POINTS}: 3 }}',
     ('slice_point 3', 'axis 1', '2x3x6x5')),
    ('Tile', 'x', 'y', '', ('tile_param.tiles',)),
    ('Tile', 'x', 'y', 'tile_param { tiles: -2 }', ('tile_param.tiles', '-2')),
    ('Tile', 'x', 'y', 'tile_param { tiles: 2 axis: -5 }', ('axis -5', '2x3x6x5')),
]


@pytest.mark.parametrize('type, bottoms, tops, more, wanted', REFUSED)
def test_refused_with_file_line_layer_and_remedy(type, bottoms, tops, more, wanted):
    assert_facts(message(build_net, INPUTS + layer(type, 'it', bottoms, tops, more)),
                 f"net.prototxt:5: layer 'it' ({type})", *wanted)


def test_clip_without_one_bound_is_no_prototxt():
    text = INPUTS + layer('Clip', 'it', 'x', 'y', 'clip_param { min: 0 }')
    assert_facts(message(build_net, text), 'net.prototxt:5',
                 'layer[4].clip_param.max')


@pytest.mark.parametrize('index, shown', [(-0.5, '-0.5'), (2, '2'), (float('nan'), 'nan')])
def test_batch_reindex_refuses_an_index_outside(index, shown):
    net = build_net(INPUTS + layer('BatchReindex', 'it', 'x i', 'y'))
    assert_facts(message(net.forward, i=torch.tensor([0, 1, index, 1.5])),
                 "net.prototxt:5: layer 'it' (BatchReindex)", '1 indices', '0 … 1', shown)


# What no golden shows

@given(st.lists(st.sampled_from([-1., 0., 0.5, 2.]), min_size=1, max_size=7), st.data())
def test_argmax_sorts_pairs_of_value_and_index(values, data):
    """So that of equal values the last one comes first."""
    k = data.draw(st.integers(1, len(values)))
    wanted = sorted(((v, i) for i, v in enumerate(values)), reverse=True)[:k]
    x = torch.tensor(values)[None, :, None]
    for settings, parts in ({}, [1]), ({'out_max_val': True}, [1, 0]):
        top, = make_layer('ArgMax', 1, 1, {'argmax_param': {'top_k': k, **settings}}).forward(
            [x], [])
        assert top.tolist() == [[[pair[part] for pair in wanted] for part in parts]]
        top, = make_layer('ArgMax', 1, 1, {'argmax_param': {'top_k': k, 'axis': 1, **settings}}
                          ).forward([x], [])
        assert top.flatten().tolist() == [pair[parts[-1]] for pair in wanted]


@pytest.mark.parametrize('shape, more, wanted', [
    ((2,), '', (2, 1, 1)), ((2, 4), 'top_k: 3', (2, 1, 3)),
    ((2, 3, 4, 5, 6), 'out_max_val: true top_k: 2', (2, 2, 2, 1, 1))])
def test_argmax_shapes(shape, more, wanted):
    net = build_net(inputs(x=shape) + layer('ArgMax', 'y', 'x', 'y', f'argmax_param {{ {more} }}'))
    assert net.forward()['y'].shape == net.blobs['y'].shape == wanted


@pytest.mark.parametrize('kept', list(itertools.product([0, 1], repeat=3)), ids=str)
def test_filter_drops_items_and_their_gradients(kept):
    """Down to an empty top; the layers behind see what is left."""
    net = build_net('force_backward: true ' + inputs(x=(3, 2), z=(3, 1, 4), s=(3, 1))
                    + layer('Filter', 'it', 'x z s', 'a b') + layer('Sigmoid', 'c', 'a', 'c'))
    assert net.blobs['c'].shape == (3, 2)
    x, z = distinct((3, 2)), distinct((3, 1, 4), 1)
    rows = [i for i in range(3) if kept[i]]
    tops = net.forward(blobs='all', x=x, z=z, s=-2.5 * torch.tensor(kept)[:, None])
    torch.testing.assert_close(tops['b'], z[rows].float(), check_dtype=False)
    torch.testing.assert_close(tops['c'].double(), x[rows].sigmoid(), rtol=1e-6, atol=1e-6)
    net.backward(b=torch.ones(len(rows), 1, 4), c=torch.ones(len(rows), 2))
    assert [bool(row.any()) for row in net.blobs['x'].diff] == [bool(k) for k in kept]
    assert net.blobs['z'].diff.sum() == 4 * len(rows) and not net.blobs['s'].diff.any()


@pytest.mark.parametrize('axis, end, wanted', [
    (1, -1, (2, 90)), (0, -1, (180,)), (1, 0, (2, 1, 3, 6, 5)), (2, 2, (2, 3, 6, 5))])
def test_flatten_shapes(axis, end, wanted):
    flat = make_layer('Flatten', 1, 1, {'flatten_param': {'axis': axis, 'end_axis': end}})
    assert flat.shape([(2, 3, 6, 5)]) == [wanted]


@pytest.mark.parametrize('shape, wanted', [
    ({'shape': [0, -1]}, (2, 90)), ({'shape': [0, 0, 30]}, (2, 3, 30)),
    ({'shape': [1], 'axis': -1, 'num_axes': 0}, (2, 3, 6, 5, 1)),
    ({'shape': [5, 6], 'axis': 2}, (2, 3, 5, 6)),
    ({'shape': [0, 3], 'axis': 0, 'num_axes': 2}, (2, 3, 6, 5)),
    ({'shape': [-1, 0], 'axis': 1, 'num_axes': 2}, (2, 3, 6, 5))])
def test_reshape_shapes(shape, wanted):
    settings = shape | {'shape': {'dim': shape['shape']}}
    reshape = make_layer('Reshape', 1, 1, {'reshape_param': settings})
    assert reshape.shape([(2, 3, 6, 5)]) == [wanted]


@pytest.mark.parametrize('axis', [0, 1, -1])
def test_concat_of_slices_and_slices_of_tiles_give_the_blob_back(axis):
    x = distinct((4, 2, 6))
    parts = make_layer('Slice', 1, 2, {'slice_param': {'axis': axis}}).forward([x], [])
    joined = make_layer('Concat', 2, 1, {'concat_param': {'axis': axis}}).forward(parts, [])
    assert torch.equal(joined[0], x)
    tiled = make_layer('Tile', 1, 1, {'tile_param': {'axis': axis, 'tiles': 3}}).forward([x], [])
    for part in make_layer('Slice', 1, 3, {'slice_param': {'axis': axis}}).forward(tiled, []):
        assert torch.equal(part, x)


def test_bnll_of_large_values():
    x = torch.tensor([-200., -60, 0, 45, 60, 200], requires_grad=True)
    y, = make_layer('BNLL', 1, 1, {}).forward([x], [])
    y.sum().backward()
    assert error(y.detach(), [0, 0, 0.6931472, 45, 60, 200]) < 1e-6
    assert error(x.grad, [0, 0, 0.5, 1, 1, 1]) < 1e-6


def test_shared_prelu_slope_is_saved_as_a_scalar(tmp_path):
    text = inputs(x=(2, 3)) + layer('PReLU', 'p', 'x', 'y', 'prelu_param { channel_shared: true }')
    net = build_net(text)
    net.params['p'][0].data[...] = 0.5
    net.save_hdf5(tmp_path / 'w.h5')
    with h5py.File(tmp_path / 'w.h5') as file:
        assert file['data/p/0'].shape == ()
    again = build_net(text)
    assert again.params['p'][0].data == 0.25
    again.copy_from(tmp_path / 'w.h5')
    assert again.params['p'][0].data == 0.5
