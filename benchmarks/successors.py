#!/usr/bin/env python3
"""FCN's successors, the scores of one image: our net, the same in plain PyTorch, and OpenCV 4's
Caffe importer where it reads the net.

    python benchmarks/successors.py [--only ENet …] [--net FILE …] [--runs 3] [--threads 2]
                                    [--busy] [--short] [--json FILE]

Without --net the deploy nets of prototxt/ at the sizes of NETS; --short: their miniatures, to see
that all runs. The weights are random, the statistics such that values keep their size; SegNet's BNs
are those of a net whose statistics are folded (bn_mode: INFERENCE). PyTorch's twin is made of
torch.nn.functional alone, layer by layer as the prototxt has them, a BatchNorm and its Scale as
one, in both memory formats. Outputs are compared first. --busy: of one thread, by the processor's
time, for a machine that others use. What is wanted: at least 1.2 times as fast as the better of the
others.
"""

import copy
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from peers import FORMATS, LIMITS
from timing import OURS, arguments, by_processor, measure, prepare, products, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError
from fcn_repro.net import Net, placement
from fcn_repro.net.bn_statistics import is_bn
from fcn_repro.passes import DEFAULT, fuse_norm
from fcn_repro.proto import TEST
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net, read_net

PROTOTXT = Path(__file__).parents[1] / 'prototxt'
WANTED = 1.2
MOVED = 2e-2    # of an output that may differ in nets with masks: where rounding moves the maximum
                # of a pooling's window, the mask puts the value elsewhere. In float64 none moves
EXACT = 1e-9    # of the largest value
NETS = {        # name: (folder, its miniature's, height and width of the image)
    'PSPNet-50': ('pspnet50-ade20k', 'pspnet-mini', (473, 473)),
    'DeepLab v2, VGG16': ('deeplab-v2-vgg16', 'deeplab-v2-vgg-mini', (513, 513)),
    'DeepLab v2, ResNet-101': ('deeplab-v2-resnet101', 'deeplab-v2-mini', (513, 513)),
    'ENet': ('enet', 'mini-enet', (512, 1024)),
    'SegNet-Basic': ('segnet-basic', 'mini-segnet-basic', (360, 480)),
    'SegNet-Basic, half size': ('segnet-basic', 'mini-segnet-basic', (180, 240)),
}


# ---- nets ----------------------------------------------------------------------------------------

def deploy_text(file, size=None):
    """The text of a deploy net for images of this size (None: its own), its BNs folded, up to the
    scores: probabilities of random ones are 0 or 1 but for rounding."""
    text = read_net(file)
    if text.message.layer[-1].type == 'Softmax':
        del text.message.layer[-1]
    for layer in text.message.layer:
        if size and layer.type == 'Input':
            layer.input_param.shape[0].dim[2:] = size
        if is_bn(layer):
            layer.bn_param.bn_mode = layer.bn_param.INFERENCE
    return net_text(text.message)


def macs_of(net):
    """Multiply-adds of the products, as the layers have them."""
    return sum(net.layer(node).macs([net.shapes[v] for v in node.bottoms])
               for node in net.graph.nodes if node.bottoms)


@torch.no_grad()
def fill(net, seed=0):
    """He's normal weights, and statistics that keep the size of values."""
    draw = torch.Generator().manual_seed(seed)
    for node in net.graph.nodes:
        for i, blob in enumerate(net.params.get(node.name, ()) if node.bottoms else ()):
            data = blob.data
            if data.dim() > 1 and max(data.shape) < data.numel():
                fan = data[0].numel()
                if node.type == 'Deconvolution':
                    fan = data[:, 0].numel() / max(1, net.layer(node).param.stride[0]) ** 2
                data.copy_(torch.randn(data.shape, generator=draw) * (2 / fan) ** 0.5)
            elif i in POSITIVE.get(node.type, ()):
                data.copy_(0.5 + torch.rand(data.shape, generator=draw))
            elif node.type == 'PReLU':
                data.copy_(0.5 * torch.rand(data.shape, generator=draw))
            elif node.type == 'BatchNorm' and i == 2:
                data.fill_(1)
            else:
                data.copy_(0.1 * torch.randn(data.shape, generator=draw))


POSITIVE = {'BN': (0, 3), 'BatchNorm': (1,), 'Scale': (0,)}      # blobs of scales and variances


# ---- the others ----------------------------------------------------------------------------------

def twin(net, form):
    """A function of the image that gives the output, by torch.nn.functional; FcnError for a layer
    type that it has not."""
    graph = fuse_norm(net.graph)
    nodes = [node for node in graph.nodes if node.bottoms]
    last, first, steps = graph.last(graph.outputs[0]), graph.first('data'), []
    later = {last}                      # what later layers read
    for node in reversed(nodes):
        params = [param.detach().clone(memory_format=form) if param.dim() == 4 else
                  param.detach().clone() for param in net.params_of(node)]
        spent = {v for v in (*node.bottoms, *node.tops) if v not in later}
        later.update(node.bottoms)
        steps.insert(0, (node.bottoms, node.tops, step_of(net, node, params), spent))

    def run(image):
        values = {first: image}
        for bottoms, tops, step, spent in steps:
            made = step(*(values[v] for v in bottoms))
            values.update(zip(tops, made, strict=True) if isinstance(made, tuple) else
                          dict.fromkeys(tops, made))
            for v in spent:
                del values[v]
        return values[last]
    return run


def step_of(net, node, params):
    """One layer as one writes it in PyTorch: a function of the bottoms that gives the top, or for
    all tops the same, or a tuple."""
    make = STEPS.get(node.type)
    if make is None:
        raise FcnError(f"the twin has no '{node.type}'", layer=node.name, do='Give another net.')
    return make(net.layer(node), node.param, params)


def convolution(layer, param, params):
    _, _, stride, pad, dilation = layer.geometry((1, 1, 1, 1))
    weight, bias, group = params[0], params[1] if len(params) > 1 else None, layer.param.group
    return lambda x: F.conv2d(x, weight, bias, stride, pad, dilation, group)


def deconvolution(layer, param, params):
    _, _, stride, pad, dilation = layer.geometry((1, 1, 1, 1))
    weight, bias, group = params[0], params[1] if len(params) > 1 else None, layer.param.group
    return lambda x: F.conv_transpose2d(x, weight, bias, stride, pad, 0, group, dilation)


def batch_norm(layer, param, params):
    """PSPNet's BN, or with two blobs SegNet's, as torch's own."""
    slope, bias, *stored = (param.reshape(-1) for param in params)
    eps = layer.param.eps if stored else 1e-5       # torch 2.11 takes no 0
    mean, variance = stored or (torch.zeros_like(bias), torch.full_like(bias, 1 - eps))
    return lambda x: F.batch_norm(x, mean, variance, slope, bias, False, 0, eps)


def norm(layer, param, params):
    """A BatchNorm and its Scale."""
    mean, variance = layer.norm.statistics(params[:3])
    eps = layer.norm.param.eps
    return lambda x: F.batch_norm(x, mean, variance, *params[3:], False, 0, eps)


def pooling(layer, param, params):
    kernel, stride, pad = layer.window()
    if param.pooling_param.pool == 1:
        return lambda x: F.avg_pool2d(x, kernel, stride, pad, ceil_mode=True)
    return lambda x: F.max_pool2d(x, kernel, stride, pad, ceil_mode=True,
                                  return_indices=len(param.top) == 2)


def upsample(layer, param, params):
    def run(x, mask, *like):
        size = layer.shape([x.shape, mask.shape, *(other.shape for other in like)])[0][2:]
        return F.max_unpool2d(x, mask, 2, 2, output_size=size)
    return run


def interp(layer, param, params):
    return lambda x: F.interpolate(x, layer.shape([x.shape])[0][2:], mode='bilinear',
                                   align_corners=True)


def eltwise(layer, param, params):
    if param.eltwise_param.operation == 2:
        return lambda first, *more: [first := torch.maximum(first, x) for x in more][-1]
    return lambda first, *more: sum(more, first)


def lrn(layer, param, params):
    p = param.lrn_param
    return lambda x: F.local_response_norm(x, p.local_size, p.alpha, p.beta, p.k)


STEPS = {
    'Convolution': convolution, 'Deconvolution': deconvolution, 'BN': batch_norm, 'Norm': norm,
    'Pooling': pooling, 'Upsample': upsample, 'Interp': interp, 'Eltwise': eltwise, 'LRN': lrn,
    'ReLU': lambda *_: lambda x: F.relu(x, inplace=True),
    'PReLU': lambda layer, param, params: lambda x: F.prelu(x, params[0]),
    'Concat': lambda *_: lambda *parts: torch.cat(parts, 1),
    'Power': lambda layer, param, _: lambda x: param.power_param.scale * x,
    'Crop': lambda layer, *_: lambda *bottoms: layer.forward(list(bottoms), [])[0],
    **dict.fromkeys(('Split', 'Dropout'), lambda *_: lambda x: x),
}


def opencv(file, weights, threads):
    """A function of the image that gives the output, by OpenCV's DNN; None, with the reason, where
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

@torch.inference_mode()
def check_exactly(net, x):
    """FcnError where the twin of a net is another function: both in float64."""
    ours, out = copy.deepcopy(net).double(), net.graph.outputs[0]
    expected = ours(data=x.double())[out]
    far = (twin(ours, torch.contiguous_format)(x.double()) - expected).abs().max()
    if not far <= EXACT * expected.abs().max():
        raise FcnError(f'the twin differs from ours by {float(far):.1e} in float64',
                       do='Time nothing that is not the same.')


def check(way, function, expected, masked):
    """FcnError where a result is not ours. masked: whether poolings give masks."""
    far = (function() - expected).abs() > LIMITS['cpu']['values'] * expected.abs().max()
    share, most = float(far.float().mean()), MOVED * masked
    if not share <= most:
        raise FcnError(f"'{way}' differs from ours in {share:.1e} of its values; the limit is "
                       f'{most:.0e}', do='Time nothing that is not the same.')
    if masked:
        print(f"'{way}' equals ours but for {share:.1e} of the values, of moved maxima")


def compare(name, text, args):
    """Rows of one net, and what is reached."""
    net = Net.of(parse_net(text, name), TEST, passes=DEFAULT)
    fill(net)
    x = 50 * torch.randn(net.blobs['data'].shape, generator=torch.Generator().manual_seed(1))
    out, functions = net.graph.outputs[0], {}
    for form, memory in FORMATS.items():
        run, image = twin(net, memory), x.contiguous(memory_format=memory)
        functions[f'PyTorch, {form}'] = lambda run=run, image=image: run(image)
    with tempfile.TemporaryDirectory() as folder:
        file, weights = Path(folder, 'deploy.prototxt'), Path(folder, 'w.caffemodel')
        file.write_text(text)
        net.save(weights)
        if peer := opencv(file, weights, args.threads):
            array = x.numpy()
            functions['OpenCV'] = lambda: torch.from_numpy(peer(array))
    placement.place(net, 'cpu')
    functions[OURS] = lambda: net(data=x)[out]
    masked = any(node.type == 'Upsample' for node in net.graph.nodes)
    if masked:
        check_exactly(net, x)
    with torch.inference_mode():
        expected = functions[OURS]()
        for way in [way for way in functions if way != OURS]:
            try:
                check(way, functions[way], expected, masked)
            except Exception as error:
                if way != 'OpenCV':
                    raise
                print(f'OpenCV is left out: {str(error).splitlines()[-1][:200]}')
                del functions[way]
    size = 'x'.join(map(str, x.shape[2:]))
    floor = products(macs_of(net), 'cpu')
    rows = measure(name, {'image': size}, functions, args, floor, warm=False,
                   seconds=by_processor if args.busy else None)
    ours = next(row['best'] for row in rows if row['way'] == OURS)
    others = [row for row in rows if row['way'] in functions and row['way'] != OURS]
    ratio = min(row['ratio'] for row in others)
    print(f'{name}: {ratio:.2f} times as fast as the better of the others, best against best '
          f'{min(row["best"] for row in others) / ours:.2f} '
          f'({"reached" if ratio >= WANTED else "not reached"}: {WANTED})')
    return rows


@report_errors()
def main():
    parser = arguments(__doc__, 3)
    parser.add_argument('--only', action='append', default=[], metavar='NAME', choices=NETS,
                        help='of NETS; may be repeated')
    parser.add_argument('--net', action='append', default=[], metavar='FILE',
                        help='a deploy prototxt of these layers; may be repeated')
    parser.add_argument('--busy', action='store_true', help="one thread's time on the processor")
    parser.add_argument('--short', action='store_true', help='the miniatures')
    args = parser.parse_args()
    args.threads = 1 if args.busy else args.threads
    machine, rows = prepare(args), []
    texts = {Path(file).parent.name: deploy_text(file) for file in args.net}
    for name in args.only or (() if args.net else NETS):
        folder, mini, size = NETS[name]
        texts[name] = deploy_text(PROTOTXT / mini / 'deploy.prototxt') if args.short else \
            deploy_text(PROTOTXT / folder / 'deploy.prototxt', size)
    for name, text in texts.items():
        rows += compare(name, text, args)
    write(args.json, machine, rows)


if __name__ == '__main__':
    main()
