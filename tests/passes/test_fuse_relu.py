"""fuse_relu: its sites; the same bits on the CPU; where it steps aside."""

from pathlib import Path

import pytest
import torch
from layer_evidence import reference_for
from texts import graph

from fcn_repro.net import Net
from fcn_repro.net.cost import peak
from fcn_repro.net.graph import build
from fcn_repro.net.placement import place
from fcn_repro.net.plan import make_plan
from fcn_repro.ops import conv
from fcn_repro.passes import DEFAULT, fuse_relu
from fcn_repro.proto.prototxt import read_net
from fcn_repro.recipe.models import MODELS

PROTOTXT = Path(__file__).parents[2] / 'prototxt'
NET = '''force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 16 %s } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 16 %s weight_filler { type: "gaussian" std: 0.2 }
    bias_filler { type: "gaussian" std: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "%s" }
layer { name: "loss" type: "Reduction" bottom: "%s" top: "loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }
'''


def text(top='conv', size='dim: 20 dim: 36', setting='kernel_size: 3 pad: 1'):
    return NET % (size, setting, top, top)


def fused(graph, keep=frozenset()):
    return [node for node in fuse_relu(graph, keep).nodes if node.type == 'ConvolutionReLU']


def pairs(graph):
    """Convolutions whose only reader is a ReLU, counted by another rule."""
    count = 0
    for before, after in zip(graph.nodes, graph.nodes[1:], strict=False):
        count += before.type == 'Convolution' and after.type == 'ReLU' \
            and after.bottoms == before.tops
    return count


@pytest.mark.parametrize('name', [name for name in MODELS
                                  if list((PROTOTXT / name).glob('train*.prototxt'))])
def test_sites_in_each_shipped_net(name):
    path = min((PROTOTXT / name).glob('train*.prototxt'))
    found = build(read_net(path), 'TRAIN')
    assert len(fused(found)) == pairs(found)
    if name == 'voc-fcn32s':
        assert len(fused(found)) == 15


@reference_for('ConvolutionReLU')
def check_equal(path, placed, last):
    got = []
    for passes in (), (fuse_relu,):
        net = Net.read(path, 'TRAIN', passes=passes, seed=5)
        if placed:
            place(net, channels_last=last)
        for learn in True, False:
            torch.manual_seed(1)
            with torch.set_grad_enabled(learn):
                loss = net(['data'], data=torch.randn(net.blobs['data'].shape))['loss']
                if learn:
                    net.backward()
                got.append([loss, *([net.blobs['data'].diff] if learn else ()),
                            *(blob.diff for blob in net.params['conv'] if learn)])
    assert all(map(torch.equal, got[0] + got[1], got[2] + got[3]))


@pytest.mark.parametrize('top', ['conv', 'relu'])
@pytest.mark.parametrize('setting', ['kernel_size: 3 pad: 1', 'kernel_size: 2 stride: 2',
                                     'kernel_size: 3 group: 2', 'kernel_size: 19 pad: 1'])
@pytest.mark.parametrize('placed, last', [(False, False), (True, False), (True, True)])
def test_the_same_bits(tmp_path, top, setting, placed, last):
    """Also by Winograd's algorithm and by matrix products."""
    path = tmp_path / 'net.prototxt'
    path.write_text(text(top, setting=setting))
    check_equal(path, placed, last)


@pytest.mark.parametrize('size', ['', 'dim: 30', 'dim: 5 dim: 6 dim: 7'])
def test_any_number_of_axes(tmp_path, size):
    path = tmp_path / 'net.prototxt'
    path.write_text(text(size=size, setting='kernel_size: 3 pad: 1' if size else ''))
    check_equal(path, False, False)


@pytest.mark.parametrize('top', ['conv', 'relu'])
def test_no_more_memory(tmp_path, top):
    path = tmp_path / 'net.prototxt'
    path.write_text(text(top))
    net = Net.read(path, 'TRAIN', passes=())
    for learning in True, False:
        counts = [peak(make_plan(net.graph, net.layer, passes, frozenset(), None), net, net.shapes,
                       learning)[0] for passes in ((), (fuse_relu,))]
        assert counts[1] <= counts[0]


def test_a_blob_that_is_asked_for_stays(tmp_path):
    path = tmp_path / 'net.prototxt'
    path.write_text(text('relu'))
    net = Net.read(path, 'TRAIN', passes=(fuse_relu,))
    tops = net(['conv'], data=torch.randn(2, 16, 20, 36))
    assert tops['conv'].min() < 0
    assert not fused(net.graph, {'conv'}) and fused(net.graph, {'relu'})


@pytest.mark.parametrize('old, new', [
    ('type: "ReLU"', 'type: "ReLU" relu_param { negative_slope: 0.1 }'),
    ('type: "ReLU"', 'type: "ReLU" propagate_down: true'), ('type: "ReLU"', 'type: "TanH"'),
    ('type: "Convolution"', 'type: "Convolution" propagate_down: true'),
    ('type: "Convolution"', 'type: "Convolution" loss_weight: 1')])
def test_other_layers_are_left_alone(old, new):
    assert not fused(graph(text().replace(old, new))) and fused(graph(text()))


def test_a_second_reader_is_seen():
    second = 'layer { name: "more" type: "Power" bottom: "conv" top: "more" }\n'
    assert not fused(graph(text('relu') + second))


def test_gpus_compute_both_at_once(monkeypatch):
    """The choice is Conv2d's; here its kernel is the twin."""
    x, weight = torch.randn(1, 3, 5, 6), torch.randn(4, 3, 3, 3)
    last = weight.contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(torch.backends.cudnn, 'is_available', lambda: True)
    assert conv.in_one_kernel(x, last, (1, 1), 1) and conv.in_one_kernel(x.half(), last.half(),
                                                                         (1, 1), 1)
    assert not conv.in_one_kernel(x, weight, (1, 1), 1)
    assert not conv.in_one_kernel(x.double(), last.double(), (1, 1), 1)
    assert not conv.in_one_kernel(x, last.half(), (1, 1), 1)
    assert not conv.in_one_kernel(x, last, (1, 2), 1) and not conv.in_one_kernel(x, last, (1, 1), 3)
    wide = torch.randn(4, 3, 7, 7).contiguous(memory_format=torch.channels_last)
    assert not conv.in_one_kernel(x, wide, (1, 1), 1)
    monkeypatch.setattr(torch.backends.cudnn, 'enabled', False)
    assert not conv.in_one_kernel(x, last, (1, 1), 1)


def test_fuses_after_the_border():
    assert DEFAULT.index(fuse_relu) > [run.__name__ for run in DEFAULT].index('collapse_border')
