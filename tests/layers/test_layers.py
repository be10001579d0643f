"""Every layer type against Caffe: forward and backward of each golden case, and its algebra."""

from pathlib import Path

import layer_cases
import pytest
import torch
from goldens import DATA
from texts import assert_facts, inputs, layer, message
from texts import net as build_net

from fcn_repro.layers import TYPES
from fcn_repro.net import Net
from fcn_repro.net.graph import build
from fcn_repro.parity import Comparison, Limits
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.layers import check_layer
from fcn_repro.passes import DEFAULT
from fcn_repro.proto.prototxt import parse_net

CASES = sorted(path.stem for path in (DATA / 'layers').glob('*.prototxt'))
assert len(CASES) >= 313


@pytest.mark.parametrize('name', CASES)
def test_layer_equals_caffe(name):
    """Every array of the golden, at the limits of its README, as check_goldens.py compares it."""
    comparison = Comparison(name)
    check_layer(comparison, DATA / 'layers' / f'{name}.h5', Limits())
    assert comparison.verdict == OK, comparison.departing


def test_every_type_is_a_file_of_its_name():
    for name, cls in TYPES.items():
        assert Path(cls.__module__.split('.')[-1]).stem == name.lower()


# Errors: the place, and the names and numbers in them

INPUTS = inputs(x=(2, 3, 6, 5), l=(2, 1, 6, 5))
CONV, POOL, CROP = 'convolution_param', 'pooling_param', 'crop_param'
REFUSED = [
    *layer_cases.REFUSED,
    ('ReLU', 'x l', 'y', '', ('2 bottoms', '1')),
    ('ReLU', 'x', 'y z', '', ('2 tops', '1')),
    ('Eltwise', 'x', 'y', '', ('1 bottoms', '2')),
    ('SoftmaxWithLoss', 'x l', 'y z w', '', ('3 tops', '1', '2')),
    ('SoftmaxWithLoss', 'x l', 'y z', '', ('1 loss_weight', '2 tops')),
    ('Silence', 'x', 'y', '', ('1 tops', '0')),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 }}', ('convolution_param.kernel_size',)),
    ('Convolution', 'x', 'y z', f'{CONV} {{ num_output: 4 kernel_size: 3 }}',
     ('1 bottoms', '2 tops')),
    ('Deconvolution', 'x', 'y', f'{CONV} {{ num_output: 5 kernel_size: 3 group: 2 }}',
     ('num_output 5', 'group 2')),
    ('Convolution', 'x', 'y',
     f'{CONV} {{ num_output: 4 kernel_size: 3 kernel_size: 3 kernel_size: 3 }}',
     ('3 values', 'kernel_size', '2 spatial axes')),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 kernel_size: 9 }}',
     ('2x3x6x5', '-2x-3', '9x9', '0x0')),
    ('Convolution', 'x l', 'y z', f'{CONV} {{ num_output: 4 kernel_size: 3 }}',
     ('bottom 1', '2x1x6x5', 'bottom 0', '2x3x6x5')),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 kernel_size: 3 axis: 7 }}',
     ('axis 7', '2x3x6x5')),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 kernel_h: 3 kernel_w: 3 axis: 2 }}',
     ('kernel_h', 'kernel_w', '1 spatial axes', 'kernel_size')),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 kernel_size: 3 stride: 0 }}',
     ('stride 0x0',)),
    ('Convolution', 'x', 'y',
     f'{CONV} {{ num_output: 4 kernel_size: 1 weight_filler {{ type: "nope" }} }}',
     ("'nope'", 'positive_unitball')),
    ('Pooling', 'x', 'y', f'{POOL} {{ kernel_size: 2 pool: STOCHASTIC }}',
     ('STOCHASTIC', 'MAX', 'AVE')),
    ('Pooling', 'x', 'y z', f'{POOL} {{ kernel_size: 2 pool: AVE }}', ('AVE', 'MAX')),
    ('Pooling', 'x', 'y', f'{POOL} {{ kernel_size: 9 }}', ('2x3x6x5', '9x9')),
    ('Pooling', 'x', 'y', f'{POOL} {{ kernel_h: 2 }}', ('kernel_size', 'kernel_h', 'kernel_w')),
    ('Pooling', 'x', 'y', f'{POOL} {{ kernel_size: 2 stride_h: 2 }}', ('stride_h', 'stride_w')),
    ('Pooling', 'x', 'y', f'{POOL} {{ global_pooling: true stride: 2 }}', ('global_pooling',)),
    ('InnerProduct', 'x', 'y', '', ('inner_product_param.num_output',)),
    ('InnerProduct', 'x', 'y', 'inner_product_param { num_output: 2 axis: 4 }',
     ('axis 4', '2x3x6x5')),
    ('Dropout', 'x', 'y', 'dropout_param { dropout_ratio: 1 }', ('dropout_ratio 1.0', '0', '1')),
    ('Crop', 'x l', 'y', f'{CROP} {{ axis: 2 offset: 1 offset: 2 offset: 3 }}',
     ('3 offsets', '2 axes', 'axis 2')),
    ('Crop', 'x l', 'y', f'{CROP} {{ axis: 5 }}', ('axis 5', '2x3x6x5')),
    ('Crop', 'x l', 'y', f'{CROP} {{ axis: 2 offset: 1 }}',
     ('axis 2', 'offset 1', 'size 6', '7')),
    ('Concat', 'x l', 'y', 'concat_param { axis: 2 }',
     ('bottom 1', '2x1x6x5', 'bottom 0', '2x3x6x5', 'axis 2')),
    ('Concat', 'x l', 'y', 'concat_param { axis: 1 concat_dim: 1 }', ('concat_dim',)),
    ('Eltwise', 'x x', 'y', 'eltwise_param { operation: PROD coeff: 1 coeff: 1 }',
     ('PROD', 'SUM')),
    ('Scale', 'x l', 'y', '', ('2x1x6x5', '2x3x6x5', 'axis 1')),
    ('Bias', 'x', 'y', 'bias_param { axis: 2 num_axes: 3 }', ('axis 2', 'num_axes 3', '4 axes')),
    ('Scale', 'x', 'y', 'scale_param { num_axes: -2 }', ('num_axes -2',)),
    ('Bias', 'x', 'y', 'bias_param { axis: 4 num_axes: 0 }', ('axis 4', '2x3x6x5')),
    ('ReLU', 'x', 'y', 'propagate_down: true propagate_down: false',
     ('2 propagate_down', '1 bottoms')),
    ('Split', 'x', 'x y', '', ('in-place',)),
    ('LRN', 'x', 'y', 'lrn_param { local_size: 4 }', ('local_size 4',)),
    ('EuclideanLoss', 'x l', 'y', '', ('2x3x6x5', '2x1x6x5')),
    ('Accuracy', 'x l', 'y', 'accuracy_param { top_k: 4 }', ('top_k 4', '3 classes')),
    ('Softmax', 'x', 'y', 'softmax_param { axis: -5 }', ('axis -5', '2x3x6x5')),
    ('Input', '', 'a b c', 'input_param { shape { dim: 1 } shape { dim: 2 } }',
     ('2 shapes', '3 tops')),
    ('HDF5Data', '', 'a', 'hdf5_data_param { source: "no.txt" batch_size: 2 }', ('no.txt',)),
    ('HDF5Data', '', 'a', 'hdf5_data_param { source: "no.txt" batch_size: 2 } transform_param { }',
     ('transform_param',)),
    ('HDF5Output', 'x l', '', '', ('hdf5_output_param.file_name',)),
    ('HDF5Data', '', 'a', 'hdf5_data_param { source: "no.txt" }',
     ('hdf5_data_param.batch_size', '0')),
    ('Python', '', 'a', 'python_param { module: "voc_layers" layer: "Foo" }',
     ("'Foo'", "'voc_layers'", 'voc_layers.VOCSegDataLayer')),
    ('Python', '', 'a', 'python_param { module: "voc_layers" layer: "VOCSegDataLayer" '
     'param_str: "[1]" }', ('param_str', '[1]')),
]


@pytest.mark.parametrize('type, bottoms, tops, more, wanted', REFUSED)
def test_refused_with_file_line_layer_and_remedy(type, bottoms, tops, more, wanted):
    assert_facts(message(build_net, INPUTS + layer(type, 'it', bottoms, tops, more)),
                 f"net.prototxt:3: layer 'it' ({type})", *wanted)


@pytest.mark.parametrize('kind, kernel, pad, size, top', [
    ('Deconvolution', 63, 0, (2, 0), (95, 31)), ('Deconvolution', 4, 0, (0, 0), (2, 2)),
    ('Convolution', 3, 2, (0, 3), (1, 3)), ('Convolution', 4, 2, (0, 0), (1, 1))])
@pytest.mark.parametrize('passes', [(), DEFAULT])
def test_a_bottom_without_cells(kind, kernel, pad, size, top, passes):
    """Each window sees padding alone, so the top is the bias."""
    stride = 32 if kernel == 63 else 2
    net = Net(build(parse_net(f'''
        input: "data" input_shape {{ dim: 1 dim: 2 dim: {size[0]} dim: {size[1]} }}
        layer {{ name: "y" type: "{kind}" bottom: "data" top: "y" convolution_param {{
            num_output: 2 kernel_size: {kernel} stride: {stride} pad: {pad}
            weight_filler {{ type: "constant" value: 2 }}
            bias_filler {{ type: "constant" value: 3 }} }} }}''', 'net'), 'TRAIN'), passes=passes)
    y = torch.as_tensor(net.forward()['y'])
    y.sum().backward()
    weight, bias = net.params['y']
    assert y.shape == (1, 2, *top) and (y == 3).all()
    assert not weight.diff.any() and (bias.diff == top[0] * top[1]).all()
