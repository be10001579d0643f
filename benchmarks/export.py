#!/usr/bin/env python3
"""Exports of nets with random weights, one image: the net itself, its Python module in
channels-last, and onnxruntime with the ONNX file.

    pip install onnx onnxruntime
    python benchmarks/export.py [--nets NET ...] [--size 250x333] [--runs 5] [--threads 2]
                                [--json FILE]

The scores of all three are compared first. Without onnxruntime the ONNX file is left out.
"""

import importlib.util
import tempfile
from pathlib import Path

import nets
import torch
from timing import OURS, arguments, measure, parse_size, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.export import export
from fcn_repro.net import Net, placement
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST
from fcn_repro.recipe.stages import shipped

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

NETS = 'mini-fcn8s', 'voc-fcn8s'
NEAR = 1e-4             # of the largest score


def module_of(path):
    """The exported module, in channels-last."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made.load().to(memory_format=torch.channels_last)


def loaded(path, threads):
    """What onnxruntime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def compare(name, size, args):
    """Rows of one net."""
    file = shipped(name) / 'deploy.prototxt'
    plain = Net.read(file, TEST)
    nets.fill(nets.of_ours(plain))
    fast = Net.read(file, TEST, passes=DEFAULT)
    placement.place(fast, 'cpu')
    fast.share_with(plain)
    x = torch.randn(1, 3, *size)
    last = x.contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        module = module_of(export(plain, 'python', Path(folder, 'net.py'))[0])
        ways = {OURS: lambda: fast(data=x)['score'], 'Python module': lambda: module(last)}
        if onnxruntime is not None:
            onnx = loaded(export(plain, 'onnx', Path(folder, 'net.onnx'))[0], args.threads)
            ways['onnxruntime'] = lambda: torch.from_numpy(
                onnx.run(['score'], {'data': x.numpy()})[0])
        with torch.no_grad():
            found = [way() for way in ways.values()]
        if any((each - found[0]).abs().max() > NEAR * found[0].abs().max() for each in found):
            raise SystemExit(f'{name}: the exports have other scores')
        return measure(name, {'height': size[0], 'width': size[1]}, ways, args)


@report_errors()
def main():
    parser = arguments(__doc__, 5)
    parser.add_argument('--nets', nargs='+', default=NETS, metavar='NET',
                        help='stages of FCN, whose upsampling is bilinear')
    parser.add_argument('--size', type=parse_size, default=(250, 333), metavar='HxW')
    args = parser.parse_args()
    machine = prepare(args)
    if onnxruntime is None:
        print('onnxruntime is not installed: left out')
    write(args.json, machine, [row for name in args.nets for row in compare(name, args.size, args)])


if __name__ == '__main__':
    main()
