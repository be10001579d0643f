"""Layer types of our own in nets: attention, shuffled channels and pixels, as torch has them."""

import pytest
import torch
import torch.nn.functional as F
from exported import package, run_onnx, run_python
from layer_case import distinct, make_layer
from texts import FILE, image, inputs, layer

from fcn_repro.errors import FcnError
from fcn_repro.export import export
from fcn_repro.layers import types_of
from fcn_repro.net import Net
from fcn_repro.proto import find_dialect
from fcn_repro.proto.netspec import L, NetSpec
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source


def reshape(name, bottom, top, *dims):
    return layer('Reshape', name, bottom, top,
                 f'reshape_param {{ shape {{ {" ".join(f"dim: {d}" for d in dims)} }} }}')


def own(type, name, bottoms, top, fields=''):
    return layer(type, name, bottoms, top, f'fcn_repro_param {{ {fields} }}' if fields else '')


def make(text, phase='TEST'):
    return Net.of(parse_net(text, FILE), phase)


# DANet's attention over positions, of queries q, keys k and values v of one image size
ATTENTION = (
    inputs(q=(2, 3, 4, 5), k=(2, 3, 4, 5), v=(2, 7, 4, 5))
    + ''.join(reshape(f'r{name}', name, f'{name}s', 0, 0, -1) for name in 'qkv')
    + own('MatMul', 'energy', 'qs ks', 'energy', 'transpose_a: true')
    + layer('Softmax', 'attention', 'energy', 'attention', 'softmax_param { axis: 2 }')
    + own('MatMul', 'out', 'vs attention', 'out', 'transpose_b: true')
    + reshape('y', 'out', 'y', 0, 0, 4, 5))
SHUFFLE = (inputs(x=(2, 6, 4, 5)) + reshape('groups', 'x', 'groups', 0, 2, 3, 4, 5)
           + own('Permute', 'shuffled', 'groups', 'shuffled', 'order: [0, 2]')
           + reshape('y', 'shuffled', 'y', 0, 6, 4, 5))
PIXELS = (inputs(x=(2, 12, 4, 5)) + reshape('blocks', 'x', 'blocks', 0, 3, 2, 2, 4, 5)
          + own('Permute', 'apart', 'blocks', 'apart', 'order: [0, 1, 4, 2, 5, 3]')
          + reshape('y', 'apart', 'y', 0, 3, 8, 10))


def attention(q, k, v):
    energy = q.flatten(2).mT @ k.flatten(2)
    return (v.flatten(2) @ energy.softmax(2).mT).view(v.shape)


NETS = {'attention': (ATTENTION, attention),
        'shuffle': (SHUFFLE, lambda x: F.channel_shuffle(x, 2)),
        'pixels': (PIXELS, lambda x: F.pixel_shuffle(x, 2))}
ALL = pytest.mark.parametrize('name', NETS)


def given(net, dtype=torch.float32):
    return {name: image(*net.shapes[net.graph.last(name)], seed=i).to(dtype)
            for i, name in enumerate(net.graph.inputs)}


@ALL
def test_values_and_gradients_are_torch_s(name):
    text, twin = NETS[name]
    net = make('force_backward: true ' + text, 'TRAIN')
    x = given(net)
    y = net.forward(blobs=list(x), **x)['y']
    wanted = [tensor.clone().requires_grad_() for tensor in x.values()]
    torch.testing.assert_close(y, twin(*wanted), rtol=1e-5, atol=1e-6)
    grad = distinct(y.shape, 3).float()
    twin(*wanted).backward(grad)
    net.backward(y=grad)
    for blob, tensor in zip(x, wanted, strict=True):
        torch.testing.assert_close(torch.as_tensor(net.blobs[blob].diff), tensor.grad, rtol=1e-4,
                                   atol=1e-5)


@ALL
def test_exports_compute_the_same(name, tmp_path):
    package('onnx')
    net = make(NETS[name][0])
    x = given(net)
    wanted = net.forward(**x)['y']
    assert torch.equal(run_python(net, x, tmp_path)['y'], wanted)
    torch.testing.assert_close(run_onnx(net, x, tmp_path)['y'], wanted, rtol=1e-5, atol=1e-6)
    program = torch.export.load(export(net, 'torch-export', tmp_path / 'n.pt2')[0]).module()
    torch.testing.assert_close(program(*x.values()), wanted, rtol=1e-5, atol=1e-6)


def test_a_batch_of_any_size(tmp_path):
    package('onnx')
    for run in run_python, run_onnx:
        x = {'x': image(5, 6, 4, 5)}
        torch.testing.assert_close(run(make(SHUFFLE), x, tmp_path)['y'],
                                   F.channel_shuffle(x['x'], 2))


def test_pictures_count_the_products():
    drawn = describe(parse_source(ATTENTION, FILE), 'TEST')
    items = {item.name: item for item in drawn.items}
    assert items['energy'].macs == 2 * 20 * 20 * 3 and items['out'].macs == 2 * 7 * 20 * 20
    assert items['energy'].settings == 'transpose_a' and items['energy'].known
    assert {b.name: b.shape for b in drawn.blobs.values()}['attention'] == (2, 20, 20)
    permuted = describe(parse_source(SHUFFLE, FILE), 'TEST').items[2]
    assert permuted.settings == 'order 0,2' and permuted.macs == 0


@pytest.mark.parametrize('shapes, fields, parts', [
    (((2, 3, 4), (1, 4, 5)), '', ('2x3x4', '1x4x5', 'the batch')),
    (((2, 3, 4), (2, 3, 5)), '', ('3x4 matrices times 3x5', 'transpose_a')),
    (((2, 3, 4), (2, 4, 5)), 'transpose_b: true', ('3x4 matrices times 5x4',)),
    (((2, 3, 4), (2, 4)), '', ('bottom 1', '2x4', '3 axes')),
])
def test_what_does_not_fit(shapes, fields, parts):
    with pytest.raises(FcnError) as caught:
        make(inputs(a=shapes[0], b=shapes[1]) + own('MatMul', 'm', 'a b', 'y', fields))
    error = caught.value
    assert error.line == 3 and error.do and all(part in str(error) for part in parts), str(error)


def test_a_permute_without_axes():
    with pytest.raises(FcnError, match='no axes'):
        make(inputs(a=()) + own('Permute', 'p', 'a', 'y', 'order: 0'))


def test_nothing_to_sum_and_nothing_at_all():
    a, b = torch.zeros(2, 3, 0), torch.zeros(2, 0, 4)
    one = make_layer('MatMul', 2, 1, {})
    assert torch.equal(one.forward([a, b], [])[0], torch.zeros(2, 3, 4))
    assert one.forward([torch.zeros(0, 3, 4), torch.zeros(0, 4, 5)], [])[0].shape == (0, 3, 5)
    assert make_layer('Permute', 1, 1, {'fcn_repro_param': {'order': [2]}}).forward(
        [a], [])[0].shape == (0, 2, 3)


def test_one_blob_times_itself():
    net = make(inputs(a=(2, 3, 4)) + own('MatMul', 'm', 'a a', 'y', 'transpose_b: true'))
    a = image(2, 3, 4)
    torch.testing.assert_close(net.forward(a=a)['y'], a @ a.mT)


def test_the_types_are_of_every_dialect():
    for name in 'bvlc', 'pspnet', 'segnet', 'parsenet':
        assert {'MatMul', 'Permute'} <= set(types_of(find_dialect(name)))


def test_netspec_writes_them():
    n = NetSpec()
    n.a = L.Input(input_param={'shape': {'dim': [2, 3, 4]}})
    n.p = L.Permute(n.a, fcn_repro_param={'order': [0, 2, 1]})
    n.y = L.MatMul(n.a, n.p)
    a = image(2, 3, 4)
    torch.testing.assert_close(make(str(n.to_proto())).forward(a=a)['y'], a @ a.mT)
