#!/usr/bin/env python3
"""PSPNet-50 and DeepLab v2 (VGG16, ASPP), the scores of one image: our net, the same in plain
PyTorch, and OpenCV 4's Caffe importer where it reads the net.

    python benchmarks/successors.py [--net FILE …] [--runs 3] [--threads 2] [--short] [--json FILE]

Without --net both are generated, at their own widths and input sizes; --short: at an eighth of the
widths, to see that all runs. The weights are random, the statistics such that values keep their
size. PyTorch's twin is made of torch.nn.functional alone, layer by layer as the prototxt has them,
in both memory formats. What is wanted: at least 1.2 times as fast as the better of the others.
"""

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from peers import FORMATS, check
from timing import OURS, arguments, measure, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError
from fcn_repro.net import Net, placement
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST

WANTED = 1.2
SHORT = 8               # by what --short divides the widths
ATROUS = 6, 12, 18, 24  # dilations of DeepLab's fc6


# ---- nets ----------------------------------------------------------------------------------------

class Text:
    """A prototxt, written layer by layer; each method returns the name of the top. divide: what all
    widths are divided by."""

    def __init__(self, size, divide=1):
        self.divide = divide
        self.text = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: {size[0]} dim: {size[1]} }}\n'

    def layer(self, type, name, bottoms, param='', in_place=False):
        top = bottoms[0] if in_place else name
        reads = ' '.join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.text += f'layer {{ name: "{name}" type: "{type}" {reads} top: "{top}" {param} }}\n'
        return top

    def relu(self, bottom):
        return self.layer('ReLU', f'{bottom}/relu', [bottom], in_place=True)

    def conv(self, name, bottom, width, kernel, stride=1, pad=0, dilation=1, bias='true',
             whole=False):
        width = width if whole else max(width // self.divide, 1)
        return self.layer('Convolution', name, [bottom], 'convolution_param { '
                          f'num_output: {width} kernel_size: {kernel} stride: {stride} pad: {pad} '
                          f'dilation: {dilation} bias_term: {bias} }}')

    def conv_bn(self, name, bottom, width, kernel, relu=True, **settings):
        top = self.conv(name, bottom, width, kernel, bias='false', **settings)
        top = self.layer('BN', f'{name}/bn', [top], 'bn_param { slope_filler { value: 1 } '
                         'bias_filler { value: 0 } frozen: true momentum: 0.95 }')
        return self.relu(top) if relu else top

    def pool(self, name, bottom, kernel, stride, pad=0, kind='MAX'):
        return self.layer('Pooling', name, [bottom], f'pooling_param {{ pool: {kind} kernel_size: '
                          f'{kernel} stride: {stride} pad: {pad} }}')


def pspnet50(divide=1, size=(473, 473), classes=150):
    """PSPNet with ResNet-50 (Zhao et al., 2017), as for ADE20K."""
    n = Text(size, divide)
    top = n.conv_bn('conv1_1', 'data', 64, 3, stride=2, pad=1)
    top = n.conv_bn('conv1_2', top, 64, 3, pad=1)
    top = n.pool('pool1', n.conv_bn('conv1_3', top, 128, 3, pad=1), 3, 2, 1)
    for stage, (count, width, stride, dilation) in enumerate(
            ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 1, 2), (3, 512, 1, 4)), 2):
        for i in range(1, count + 1):
            name, step = f'conv{stage}_{i}', stride if i == 1 else 1
            side = top if i > 1 else n.conv_bn(f'{name}/proj', top, 4 * width, 1, relu=False,
                                               stride=step)
            inner = n.conv_bn(f'{name}/reduce', top, width, 1, stride=step)
            inner = n.conv_bn(f'{name}/3x3', inner, width, 3, pad=dilation, dilation=dilation)
            inner = n.conv_bn(f'{name}/increase', inner, 4 * width, 1, relu=False)
            top = n.relu(n.layer('Eltwise', name, [side, inner]))
    side = (size[0] + 7) // 8
    parts = [top]
    for kernel in 60, 30, 20, 10:
        pooled = n.pool(f'pool{kernel}', top, kernel * side // 60, kernel * side // 60, kind='AVE')
        pooled = n.conv_bn(f'pool{kernel}/conv', pooled, 512, 1)
        parts.append(n.layer('Interp', f'pool{kernel}/interp', [pooled],
                             f'interp_param {{ height: {side} width: {side} }}'))
    top = n.conv_bn('conv5_4', n.layer('Concat', 'concat', parts), 512, 3, pad=1)
    top = n.conv('conv6', top, classes, 1, whole=True)
    n.layer('Interp', 'score', [top], 'interp_param { zoom_factor: 8 }')
    return n.text


def deeplab_v2(divide=1, size=(513, 513), classes=21):
    """DeepLab version 2 with VGG16 and atrous spatial pyramid pooling (Chen et al., 2016)."""
    n, top = Text(size, divide), 'data'
    for stage, (count, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        dilation, stride = (2 if stage == 5 else 1), (2 if stage < 4 else 1)
        for i in range(1, count + 1):
            top = n.relu(n.conv(f'conv{stage}_{i}', top, width, 3, pad=dilation, dilation=dilation))
        top = n.pool(f'pool{stage}', top, 3, stride, 1)
    scores = []
    for i, dilation in enumerate(ATROUS, 1):
        fc = n.relu(n.conv(f'fc6_{i}', top, 1024, 3, pad=dilation, dilation=dilation))
        fc = n.relu(n.conv(f'fc7_{i}', fc, 1024, 1))
        scores.append(n.conv(f'fc8_{i}', fc, classes, 1, whole=True))
    top = n.layer('Eltwise', 'fc8', scores)
    n.layer('Interp', 'score', [top], 'interp_param { zoom_factor: 8 }')
    return n.text


NETS = {'PSPNet-50': pspnet50, 'DeepLab v2': deeplab_v2}


@torch.no_grad()
def fill(net, seed=0):
    """He's normal weights, and statistics that keep the size of values."""
    draw = torch.Generator().manual_seed(seed)
    for node in net.graph.nodes:
        for i, blob in enumerate(net.params.get(node.name, ()) if node.bottoms else ()):
            data = blob.data
            if node.type == 'BN':
                data.copy_((0.5 + torch.rand(data.shape, generator=draw)) if i in (0, 3) else
                           0.1 * torch.randn(data.shape, generator=draw))
            elif data.dim() > 1:
                data.copy_(torch.randn(data.shape, generator=draw)
                           * (2 / data[0].numel()) ** 0.5)
            else:
                data.copy_(0.1 * torch.randn(data.shape, generator=draw))


# ---- the others ----------------------------------------------------------------------------------

def twin(net, form):
    """A function of the image that gives the scores, by torch.nn.functional; FcnError for a layer
    type that it has not."""
    steps = []
    for node in net.graph.nodes:
        if node.bottoms:
            params = [blob.data.clone(memory_format=form) if blob.data.dim() == 4 else
                      blob.data.clone() for blob in net.params.get(node.name, ())]
            steps.append((node.bottoms, node.tops, step_of(net, node, params)))
    last, first = net.graph.last(net.graph.outputs[0]), net.graph.first('data')

    def run(image):
        values = {first: image}
        for bottoms, tops, step in steps:
            top = step(*(values[v] for v in bottoms))
            values.update(dict.fromkeys(tops, top))
        return values[last]
    return run


def step_of(net, node, params):
    """One layer as one writes it in PyTorch."""
    layer, p = net.layer(node), node.param
    if node.type == 'Convolution':
        _, _, stride, pad, dilation = layer.geometry((1, 1, 1, 1))
        return lambda x: F.conv2d(x, params[0], params[1] if len(params) > 1 else None, stride, pad,
                                  dilation, p.convolution_param.group)
    if node.type == 'BN':
        slope, bias, mean, variance = (param.reshape(-1) for param in params)
        return lambda x: F.batch_norm(x, mean, variance, slope, bias, False, 0, layer.param.eps)
    if node.type == 'ReLU':
        return lambda x: F.relu(x, inplace=True)
    if node.type == 'Pooling':
        kernel, stride, pad = layer.window()
        run = F.avg_pool2d if p.pooling_param.pool == 1 else F.max_pool2d
        return lambda x: run(x, kernel, stride, pad, ceil_mode=True)
    if node.type == 'Interp':
        return lambda x: F.interpolate(x, layer.shape([x.shape])[0][2:], mode='bilinear',
                                       align_corners=True)
    if node.type == 'Concat':
        return lambda *parts: torch.cat(parts, 1)
    if node.type == 'Eltwise':
        return lambda *parts: sum(parts[1:], parts[0])
    if node.type in ('Split', 'Dropout'):
        return lambda x: x
    raise FcnError(f"the twin has no '{node.type}'", layer=node.name, do='Give another net.')


def opencv(file, weights, threads):
    """A function of the image that gives the scores, by OpenCV's DNN; None, with the reason, where
    it is missing or does not read the net."""
    try:
        import cv2
    except ModuleNotFoundError:
        print("OpenCV is left out: pip install 'opencv-python-headless<5' (5 reads no Caffe nets)")
        return None
    cv2.setNumThreads(threads)
    try:
        peer = cv2.dnn.readNetFromCaffe(str(file), str(weights))
    except (cv2.error, AttributeError) as error:
        print(f'OpenCV {cv2.__version__} is left out, it does not read this net: '
              f'{str(error).splitlines()[-1].strip()[:200]}')
        return None

    def run(image):
        peer.setInput(image)
        return peer.forward()
    return run


# ---- timing --------------------------------------------------------------------------------------

def compare(name, file, args):
    """Rows of one net, and what is reached."""
    net = Net.read(file, TEST, passes=DEFAULT)
    fill(net)
    x = 50 * torch.randn(net.blobs['data'].shape, generator=torch.Generator().manual_seed(1))
    out = net.graph.outputs[0]
    functions = {}
    for form, memory in FORMATS.items():
        run, image = twin(net, memory), x.contiguous(memory_format=memory)
        functions[f'PyTorch, {form}'] = lambda run=run, image=image: run(image)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, 'w.caffemodel')
        net.save(weights)
        if peer := opencv(file, weights, args.threads):
            array = x.numpy()
            functions['OpenCV'] = lambda: torch.from_numpy(peer(array))
    placement.place(net, 'cpu')
    functions[OURS] = lambda: net(data=x)[out]
    with torch.inference_mode():
        for way in list(functions):
            if way == OURS:
                continue
            try:
                check({way: functions[way], OURS: functions[OURS]}, 'values')
            except Exception as error:
                if way != 'OpenCV':
                    raise
                print(f'OpenCV is left out: {str(error).splitlines()[-1][:200]}')
                del functions[way]
    size = 'x'.join(map(str, x.shape[2:]))
    rows = measure(f'{name} scores', {'image': size}, functions, args)
    best = min(row['ratio'] for row in rows if row['way'] != OURS)
    print(f'{name}: {best:.2f} times as fast as the better of the others '
          f'({"reached" if best >= WANTED else "not reached"}: {WANTED})')
    return rows


@report_errors()
def main():
    parser = arguments(__doc__, 3)
    parser.add_argument('--net', action='append', default=[], metavar='FILE',
                        help='a deploy prototxt of these layers; may be repeated')
    parser.add_argument('--short', action='store_true', help='an eighth of the widths')
    args = parser.parse_args()
    machine, rows = prepare(args), []
    with tempfile.TemporaryDirectory() as folder:
        files = {Path(file).stem: Path(file) for file in args.net}
        for name, make in NETS.items() if not args.net else ():
            files[name] = Path(folder, f'{name}.prototxt')
            files[name].write_text(make(SHORT if args.short else 1))
        for name, file in files.items():
            rows += compare(name, file, args)
    write(args.json, machine, rows)


if __name__ == '__main__':
    main()
