#!/usr/bin/env python3
"""Depthwise 3x3 convolutions as in MobileNet v2 and Xception, channels-last and contiguous, beside
a copy of the bottom, which is the bound of memory.

    python benchmarks/depthwise.py [--runs 7] [--threads 2] [--short] [--json FILE]

Ours is the layer as our nets run it.
"""

import torch
import torch.nn.functional as F
from peers import FORMATS, check
from timing import OURS, arguments, measure, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.net import Net, placement
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST, prototxt

# channels, side, stride, dilation
CASES = ((96, 129, 1, 1), (144, 129, 2, 1), (384, 65, 1, 1), (960, 33, 1, 1), (960, 33, 1, 2),
         (728, 65, 1, 2))
TEXT = '''input: "data" input_shape {{ dim: 1 dim: {0} dim: {1} dim: {1} }}
layer {{ name: "dw" type: "Convolution" bottom: "data" top: "dw" convolution_param {{
  num_output: {0} group: {0} kernel_size: 3 stride: {2} dilation: {3} pad: {3}
  weight_filler {{ type: "gaussian" std: 0.3 }} }} }}
'''


def compare(case, args):
    """Rows of one convolution."""
    channels, side, stride, dilation = case
    net = Net.of(prototxt.parse_net(TEXT.format(*case)), TEST, passes=DEFAULT)
    placement.place(net, 'cpu')
    weight, bias = (blob.data for blob in net.params['dw'])
    x, functions = torch.randn(1, channels, side, side), {}
    for form, memory in FORMATS.items():
        image, filters = (t.contiguous(memory_format=memory) for t in (x, weight))
        functions[f'F.conv2d, {form}'] = lambda image=image, filters=filters: F.conv2d(
            image, filters, bias, stride, dilation, dilation, channels)
    functions[OURS] = lambda: net(data=image)['dw']
    with torch.inference_mode():
        check(functions, 'values')
    functions['floor: a copy of the bottom'] = lambda: image.clone()
    return measure('depthwise 3x3', {'channels': channels, 'side': side, 'stride': stride,
                                     'dilation': dilation}, functions, args)


@report_errors()
def main():
    parser = arguments(__doc__, 7)
    parser.add_argument('--short', action='store_true', help='the first case alone')
    args = parser.parse_args()
    machine = prepare(args)
    write(args.json, machine, [row for case in CASES[:1 if args.short else None]
                               for row in compare(case, args)])


if __name__ == '__main__':
    main()
