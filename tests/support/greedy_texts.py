"""Short texts that ask for much, or for the extremes of a field: run in a process that may take 1
GiB beyond torch, each is an FcnError or a result, within a second of processor time.

    python greedy_texts.py [bytes]
"""

import resource
import sys
import time

import torch

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TRAIN
from fcn_repro.proto.prototxt import parse_net

BIG = 2**31 - 1


def layer(kind, fields='', bottoms=('data',), name='l'):
    return (f'layer {{ name: "{name}" type: "{kind}" '
            + ' '.join(f'bottom: "{b}"' for b in bottoms) + f' top: "{name}" {fields} }}')


def given(*shape):
    return ('layer { name: "data" type: "Input" top: "data" input_param { shape { '
            + ' '.join(f'dim: {d}' for d in shape) + ' } } }')


def net(kind, fields, *shape):
    return given(*shape) + layer(kind, fields)


def dummy(fields, filler=''):
    return ('layer { name: "d" type: "DummyData" top: "d" dummy_data_param { '
            f'{fields} {filler} }} }}')


def conv(fields, *shape, kind='Convolution'):
    return net(kind, f'convolution_param {{ {fields} }}', *(shape or (1, 1, 8, 8)))


def pool(fields, *shape):
    return net('Pooling', f'pooling_param {{ {fields} }}', *(shape or (1, 1, 8, 8)))


def filled(filler):
    return dummy('shape { dim: 9 dim: 3 }', f'data_filler {{ {filler} }}')


SEVERAL = ' '.join(['dim: 2000'] * 3)
UP = 'num_output: 1 kernel_size: {0} stride: {1} bias_term: false'
CROP = layer('Crop', 'crop_param { axis: 2 }', ('l', 'data'), 'c')
STEPS = given(4096, 16, 8) + 'layer { name: "on" type: "Input" top: "on" input_param { shape { ' \
    'dim: 4096 dim: 16 } } }'
TEXTS = {
    'input': given(40000, 50000),
    'inputs': ''.join(given(20000, 20000).replace('"data"', f'"i{i}"') for i in range(9)),
    'dummy': dummy('shape { dim: 45000 dim: 45000 }'),
    'dummy of many': dummy(f'shape {{ {SEVERAL} }}'),
    'dummy sides': dummy(f'num: {BIG} channels: 1 height: 1 width: 1'),
    'weights': conv('num_output: 40000 kernel_size: 7', 1, 1000, 7, 7),
    'product': net('InnerProduct', f'inner_product_param {{ num_output: {BIG} }}', 1, 1),
    'products': net('InnerProduct', 'inner_product_param { num_output: 40000 }', 1, 40000),
    'embed': net('Embed', 'embed_param { num_output: 40000 input_dim: 40000 }', 1),
    'embedded': net('Embed', 'embed_param { num_output: 200000 input_dim: 1 }', 10000),
    'im2col': net('Im2col', 'convolution_param { kernel_size: 200 }', 1, 1, 400, 400),
    'im2col pad': net('Im2col', f'convolution_param {{ kernel_size: {BIG} pad: {BIG // 2} }}',
                      1, 1, 1, 1),
    'conv pad': conv('num_output: 1 kernel_size: 1 pad: 20000'),
    'conv pads': conv(f'num_output: 1 kernel_size: 1 pad: {BIG}'),
    'dilation': conv(f'num_output: 1 kernel_size: 3 dilation: {BIG} pad: {BIG}'),
    'kernel': conv(f'num_output: 1 kernel_size: {BIG} pad: {BIG}'),
    'stride': conv(f'num_output: 1 kernel_size: 1 stride: {BIG}'),
    'group': conv('num_output: 4 kernel_size: 1 group: 0'),
    'groups': conv(f'num_output: {BIG} kernel_size: 1 group: {BIG}'),
    'conv axis': conv(f'num_output: 1 kernel_size: 1 axis: {BIG}'),
    'deconv': conv(UP.format(1, 20000), kind='Deconvolution'),
    'deconv stride': conv(UP.format(1, BIG), kind='Deconvolution'),
    'deconv one': conv(UP.format(1, BIG), 1, 1, 1, 1, kind='Deconvolution'),
    'deconv kernel': conv(UP.format(40000, 1), 1, 1, 1, 1, kind='Deconvolution'),
    'up and crop': conv(UP.format(1, BIG), kind='Deconvolution') + CROP,
    'up 20000': conv(UP.format(1, 20000), kind='Deconvolution') + CROP,
    'up one': given(1, 1, 1, 1) + layer('Deconvolution', 'convolution_param { '
              + UP.format(1, 60000) + ' }') + CROP,
    'tile': net('Tile', f'tile_param {{ tiles: {BIG} }}', 1, 1),
    'tile of 1000': net('Tile', 'tile_param { tiles: 100000 }', 1, 20000),
    'tile axis': net('Tile', f'tile_param {{ tiles: 2 axis: -{BIG} }}', 1, 1),
    'spp': net('SPP', f'spp_param {{ pyramid_height: {BIG} }}', 1, 1, 8, 8),
    'spp 30': net('SPP', 'spp_param { pyramid_height: 30 }', 1, 1, 8, 8),
    'lstm': STEPS + layer('LSTM', 'recurrent_param { num_output: 20000 }', ('data', 'on')),
    'rnn': STEPS + layer('RNN', f'recurrent_param {{ num_output: {BIG} }}', ('data', 'on')),
    'concat': given(1, 3000, 3000) + layer('Concat', '', ['data'] * 60),
    'reshape': net('Reshape', f'reshape_param {{ shape {{ dim: {BIG} dim: -1 }} }}', 2, 2),
    'reshape dims': net('Reshape', 'reshape_param { shape { dim: -9223372036854775808 } }', 2, 2),
    'flatten': net('Flatten', f'flatten_param {{ axis: {BIG} end_axis: -{BIG} }}', 2, 2),
    'slice': net('Slice', f'slice_param {{ slice_point: {BIG} axis: 1 }}', 2, 2),
    'parameter': 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { '
                 'dim: 45000 dim: 45000 } } }',
    'memory data': f'layer {{ name: "m" type: "MemoryData" top: "a" top: "b" memory_data_param {{ '
                   f'batch_size: {BIG} channels: 1 height: 1 width: 1 }} }}',
    'pool kernel': pool(f'kernel_size: {BIG}'),
    'pool pad': pool(f'kernel_size: {BIG} pad: {BIG - 1}'),
    'pool stride': pool(f'kernel_size: 2 stride: {BIG}'),
    'pool far': pool(f'kernel_size: 60000 pad: 59999 stride: {BIG}'),
    'pool without channels': pool('kernel_size: 2', 1, 0, 8, 8),
    'pool without images': pool('pool: AVE kernel_size: 2', 0, 1, 8, 8),
    'pool global, empty': pool('global_pooling: true', 1, 0, 8, 8),
    'lrn': net('LRN', f'lrn_param {{ local_size: {BIG} }}', 1, 1, 8, 8),
    'lrn within': net('LRN', f'lrn_param {{ local_size: {BIG} norm_region: WITHIN_CHANNEL }}',
                      1, 1, 8, 8),
    'argmax': net('ArgMax', f'argmax_param {{ top_k: {BIG} }}', 1, 9),
    'softmax axis': net('Softmax', f'softmax_param {{ axis: {BIG} }}', 1, 9),
    'crop offset': given(1, 1, 8, 8) + layer('Crop', f'crop_param {{ offset: {BIG} }}',
                                             ('data', 'data')),
    'power': net('Power', 'power_param { power: 1e38 scale: 1e38 shift: -1e38 }', 1, 9),
    'dropout': net('Dropout', 'dropout_param { dropout_ratio: nan }', 1, 9),
    'uniform inf': filled('type: "uniform" min: -inf max: inf'),
    'uniform nan': filled('type: "uniform" min: nan max: 1'),
    'uniform wide': filled('type: "uniform" min: -3e38 max: 3e38'),
    'gaussian inf': filled('type: "gaussian" std: inf'),
    'gaussian nan': filled('type: "gaussian" std: nan'),
    'gaussian mean': filled('type: "gaussian" mean: inf'),
    'gaussian below 0': filled('type: "gaussian" std: -1'),
    'sparse': filled(f'type: "gaussian" sparse: {BIG}'),
    'constant nan': filled('type: "constant" value: nan'),
    'xavier': filled('type: "xavier" variance_norm: AVERAGE'),
    'new height': 'layer { name: "i" type: "ImageData" top: "a" top: "b" image_data_param { '
                  'source: "absent" batch_size: 1 new_height: 60000 new_width: 60000 } }',
}


def run(text):
    """What happens to a net that is made and run forward, with and without autograd."""
    try:
        made = Net.of(parse_net(text, 'greedy.prototxt'), TRAIN, passes=DEFAULT)
        made.forward()
        with torch.no_grad():
            made.forward()
        return 'runs'
    except FcnError as error:
        return f'refused: {error}'


def main(most=2**30):
    torch.set_num_threads(1)
    run(conv('num_output: 1 kernel_size: 1'))           # imports what a net needs
    with open('/proc/self/statm') as statm:
        there = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + int(most),) * 2)
    for name, text in TEXTS.items():
        print(f'{name}: ', end='', flush=True)
        start = time.process_time()
        print(run(text), end='', flush=True)
        print(f' | {time.process_time() - start:.2f}', flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
