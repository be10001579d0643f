"""Every layer type against Caffe: forward and backward of each golden case, and its algebra."""

from pathlib import Path

import layer_cases
import pytest
from goldens import DATA
from texts import inputs, layer, message
from texts import net as build_net

from fcn_repro.layers import TYPES
from fcn_repro.parity.case import OK, Case, Limits
from fcn_repro.parity.layers import check_layer

CASES = sorted(path.stem for path in (DATA / 'layers').glob('*.prototxt'))


@pytest.mark.parametrize('name', CASES)
def test_layer_equals_caffe(name):
    """Every array of the golden, at the limits of its README, as check_goldens.py compares it."""
    case = Case(name)
    check_layer(case, DATA / 'layers' / f'{name}.h5', Limits())
    assert case.verdict == OK, [gap for gap in case.gaps if gap.departs]


def test_every_type_is_a_file_of_its_name():
    for name, cls in TYPES.items():
        assert Path(cls.__module__.split('.')[-1]).stem == name.lower()


# What is refused, with the whole text of the error

INPUTS = inputs(x=(2, 3, 6, 5), l=(2, 1, 6, 5))
CONV, POOL, CROP = 'convolution_param', 'pooling_param', 'crop_param'
AXIS = 'is outside a blob of shape 2x3x6x5. Use -4 to 3.'
REFUSED = [
    *layer_cases.REFUSED,
    ('ReLU', 'x l', 'y', '',
     '2 bottoms, but this type takes 1. Fix the bottom lines of the layer.'),
    ('ReLU', 'x', 'y z', '', '2 tops, but this type takes 1. Fix the top lines of the layer.'),
    ('Eltwise', 'x', 'y', '', '1 bottoms, but this type takes 2 or more. Fix the bottom lines of '
     'the layer.'),
    ('SoftmaxWithLoss', 'x l', 'y z w', '',
     '3 tops, but this type takes 1 to 2. Fix the top lines of the layer.'),
    ('SoftmaxWithLoss', 'x l', 'y z', '', '1 loss_weight for 2 tops. Give one for each top.'),
    ('Silence', 'x', 'y', '', '1 tops, but this type takes 0. Fix the top lines of the layer.'),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 }}',
     'convolution_param.kernel_size is missing. Set it.'),
    ('Convolution', 'x', 'y z', f'{CONV} {{ num_output: 4 kernel_size: 3 }}',
     '1 bottoms for 2 tops. Give one top for each bottom.'),
    ('Deconvolution', 'x', 'y', f'{CONV} {{ num_output: 5 kernel_size: 3 group: 2 }}',
     'num_output 5 is no multiple of group 2. Change one of them.'),
    ('Convolution', 'x', 'y',
     f'{CONV} {{ num_output: 4 kernel_size: 3 kernel_size: 3 kernel_size: 3 }}',
     '3 values of kernel_size for 2 spatial axes. Give 1 or 2.'),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 kernel_size: 9 }}',
     'a bottom of 2x3x6x5 gives an empty top (-2x-3) with kernel 9x9, pad 0x0. Use a larger input, '
     'a smaller kernel or more padding.'),
    ('Convolution', 'x l', 'y z', f'{CONV} {{ num_output: 4 kernel_size: 3 }}',
     'bottom 1 is 2x1x6x5, bottom 0 is 2x3x6x5. They must be of one shape.'),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 kernel_size: 3 axis: 7 }}',
     f'axis 7 {AXIS}'),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 kernel_h: 3 kernel_w: 3 axis: 2 }}',
     'kernel_h and kernel_w on 1 spatial axes. Use repeated kernel_size.'),
    ('Convolution', 'x', 'y', f'{CONV} {{ num_output: 4 kernel_size: 3 stride: 0 }}',
     'stride 0x0 is not positive. Fix the field.'),
    ('Convolution', 'x', 'y',
     f'{CONV} {{ num_output: 4 kernel_size: 1 weight_filler {{ type: "nope" }} }}',
     "unknown filler 'nope'. Use one of constant, uniform, gaussian, positive_unitball, xavier, "
     'msra, bilinear.'),
    ('Pooling', 'x', 'y', f'{POOL} {{ kernel_size: 2 pool: STOCHASTIC }}',
     'pool: STOCHASTIC is not supported. Use MAX or AVE.'),
    ('Pooling', 'x', 'y z', f'{POOL} {{ kernel_size: 2 pool: AVE }}',
     'a second top (the mask) with pool: AVE. Remove it, or use MAX.'),
    ('Pooling', 'x', 'y', f'{POOL} {{ kernel_size: 9 }}',
     'a bottom of 2x3x6x5 is smaller than the kernel 9x9. Use a larger input.'),
    ('Pooling', 'x', 'y', f'{POOL} {{ kernel_h: 2 }}',
     'give kernel_size, or kernel_h and kernel_w'),
    ('Pooling', 'x', 'y', f'{POOL} {{ kernel_size: 2 stride_h: 2 }}',
     'give stride, or both stride_h and stride_w'),
    ('Pooling', 'x', 'y', f'{POOL} {{ global_pooling: true stride: 2 }}',
     'global_pooling with pad or stride. Remove them.'),
    ('InnerProduct', 'x', 'y', '', 'inner_product_param.num_output is missing or 0. Set it.'),
    ('InnerProduct', 'x', 'y', 'inner_product_param { num_output: 2 axis: 4 }', f'axis 4 {AXIS}'),
    ('Dropout', 'x', 'y', 'dropout_param { dropout_ratio: 1 }',
     'dropout_ratio 1.0 is not in [0, 1). Give the share of the values that is dropped.'),
    ('Crop', 'x l', 'y', f'{CROP} {{ axis: 2 offset: 1 offset: 2 offset: 3 }}',
     '3 offsets for 2 axes from axis 2 on. Give 1 or 2.'),
    ('Crop', 'x l', 'y', f'{CROP} {{ axis: 5 }}', f'axis 5 {AXIS}'),
    ('Crop', 'x l', 'y', f'{CROP} {{ axis: 2 offset: 1 }}',
     'the crop leaves its input: axis 2 is 6, but offset 1 + size 6 = 7. Use a smaller offset or '
     'more padding.'),
    ('Concat', 'x l', 'y', 'concat_param { axis: 2 }', 'bottom 1 is 2x1x6x5, bottom 0 is 2x3x6x5: '
     'they may differ only in axis 2. Crop them first.'),
    ('Concat', 'x l', 'y', 'concat_param { axis: 1 concat_dim: 1 }',
     'both axis and concat_dim. Keep axis: concat_dim is its old name.'),
    ('Eltwise', 'x x', 'y', 'eltwise_param { operation: PROD coeff: 1 coeff: 1 }',
     'coeff with operation PROD. Caffe takes coeff only with SUM.'),
    ('Scale', 'x l', 'y', '', 'an operand of 2x1x6x5 does not fit 2x3x6x5 from axis 1 on. Fix '
     'axis, or the second bottom.'),
    ('Bias', 'x', 'y', 'bias_param { axis: 2 num_axes: 3 }',
     'axis 2 + num_axes 3 is more than the 4 axes of the bottom. Fix num_axes.'),
    ('Scale', 'x', 'y', 'scale_param { num_axes: -2 }',
     'num_axes -2. Give 0 or more, or -1 for all from axis on.'),
    ('Bias', 'x', 'y', 'bias_param { axis: 4 num_axes: 0 }', f'axis 4 {AXIS}'),
    ('ReLU', 'x', 'y', 'propagate_down: true propagate_down: false',
     '2 propagate_down for 1 bottoms. Give one for each bottom.'),
    ('Split', 'x', 'x y', '', 'in-place Split. Give the top a name of its own.'),
    ('LRN', 'x', 'y', 'lrn_param { local_size: 4 }', 'local_size 4 is even. Caffe takes odd only.'),
    ('EuclideanLoss', 'x l', 'y', '', 'bottoms of 2x3x6x5 and 2x1x6x5. They must agree.'),
    ('Accuracy', 'x l', 'y', 'accuracy_param { top_k: 4 }', 'top_k 4 of 3 classes. Lower top_k.'),
    ('Softmax', 'x', 'y', 'softmax_param { axis: -5 }', f'axis -5 {AXIS}'),
    ('Input', '', 'a b c', 'input_param { shape { dim: 1 } shape { dim: 2 } }',
     '2 shapes for 3 tops. Give 1 or 3.'),
    ('HDF5Data', '', 'a', 'hdf5_data_param { source: "no.txt" batch_size: 2 }',
     'cannot read no.txt: No such file or directory. Fix source.'),
    ('HDF5Data', '', 'a', 'hdf5_data_param { source: "no.txt" batch_size: 2 } transform_param { }',
     'transform_param, but rows are not transformed. Remove it.'),
    ('HDF5Output', 'x l', '', '', 'hdf5_output_param.file_name is missing. Set it.'),
    ('HDF5Data', '', 'a', 'hdf5_data_param { source: "no.txt" }',
     'hdf5_data_param.batch_size is missing or 0. Set it.'),
    ('Python', '', 'a', 'python_param { module: "voc_layers" layer: "Foo" }',
     "no Python layer 'Foo' of module 'voc_layers'. Known: voc_layers.VOCSegDataLayer, "
     'voc_layers.SBDDSegDataLayer, digit_layers.DigitDataLayer, m2nist_layers.M2nistDataLayer, '
     'm2nist_layers.M2nistDigitDataLayer.'),
    ('Python', '', 'a', 'python_param { module: "voc_layers" layer: "VOCSegDataLayer" '
     'param_str: "[1]" }', "param_str is not a Python dict: [1]. Write a dict such as "
     "{'split': 'train'}."),
]


@pytest.mark.parametrize('type, bottoms, tops, more, wanted', REFUSED)
def test_refused_with_file_line_layer_and_remedy(type, bottoms, tops, more, wanted):
    assert message(build_net, INPUTS + layer(type, 'it', bottoms, tops, more)) == \
        f"net.prototxt:3: layer 'it' ({type}): {wanted}"
