"""FCN-8s at VGG16 widths, with the same weights: ours, plain PyTorch's, and OpenCV's."""

import math
import tempfile
import zlib
from pathlib import Path

import torch
from plain_fcn8s import CLASSES, Plain
from torch.utils._python_dispatch import TorchDispatchMode

from fcn_repro.net import Net, placement
from fcn_repro.net.surgery import upsample_filt
from fcn_repro.proto import TEST
from fcn_repro.recipe.optimisations import Optimisations
from fcn_repro.solver import Solver

FOLDER = Path(__file__).parent.parent / 'prototxt/voc-fcn8s'
PROTOTXT = FOLDER / 'deploy.prototxt'
RATE, MOMENTUM, DECAY = 1e-14, 0.99, 5e-4       # of the release's solver
VOID = 255
DATA = '''layer {{ name: "data" type: "Input" top: "data" top: "label" input_param {{
  shape {{ dim: 1 dim: 3 dim: {0} dim: {1} }} shape {{ dim: 1 dim: 1 dim: {0} dim: {1} }} }} }}
'''
SOLVER = f'''train_net: "train.prototxt" base_lr: {RATE} lr_policy: "fixed" momentum: {MOMENTUM}
weight_decay: {DECAY} max_iter: 1000000 snapshot_after_train: false
'''


def ours(device='cpu', off=(), precision='fp32', like=None):
    """Our net with random weights, in place, with all that makes it fast but what `off` names;
    with those of the net `like`, in its memory, where that is given."""
    optimisations = Optimisations(off)
    net = Net.read(PROTOTXT, TEST, passes=optimisations.passes)
    if like is None:
        fill(of_ours(net))
    placement.place(net, device, precision=precision, **optimisations.placed)
    if like is not None:
        net.share_with(like)
    return net


def plain(form, device='cpu', dtype=torch.float32):
    """The net as one writes it in PyTorch."""
    net = Plain()
    fill(of_plain(net))
    return net.to(device, dtype, memory_format=form)


def of_ours(net):
    """{layer: its parameters}"""
    return {layer: [blob.parameter for blob in blobs] for layer, blobs in net.params.items()}


def of_plain(net):
    """The same of a net of plain PyTorch, whose layers have Caffe's names."""
    found = {path.split('.')[-1]: list(module.parameters(recurse=False))
             for path, module in net.named_modules()}
    return {layer: params for layer, params in found.items() if params}


@torch.no_grad()
def fill(params):
    """He's normal weights and zero biases, a function of the layers' names; bilinear on the
    diagonal of the upsampling layers."""
    for layer, (weight, *biases) in params.items():
        if layer.startswith('up'):
            diagonal = range(weight.shape[0])
            weight.zero_()[diagonal, diagonal] = torch.from_numpy(
                upsample_filt(weight.shape[2])).to(weight)
        else:
            generator = torch.Generator().manual_seed(zlib.crc32(layer.encode()))
            weight.copy_(torch.empty(weight.shape).normal_(     # in this order in any format
                0, math.sqrt(2 / weight[0].numel()), generator=generator))
        for bias in biases:
            bias.zero_()


def sample(size):
    """An image minus its mean (1, 3, H, W), and labels (1, H, W)."""
    generator = torch.Generator().manual_seed(0)
    return (60 * torch.randn(1, 3, *size, generator=generator),
            torch.randint(CLASSES, (1, *size), generator=generator))


def opencv(threads):
    """A function of the image that gives the scores, by OpenCV's DNN; None, with a word on how to
    get it, where it is missing."""
    try:
        import cv2
    except ModuleNotFoundError:
        print("OpenCV is left out: pip install 'opencv-python-headless<5' (5 reads no Caffe nets)")
        return None
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, 'w.caffemodel')
        net = Net.read(PROTOTXT, TEST)
        fill(of_ours(net))
        net.save(weights)
        peer = cv2.dnn.readNetFromCaffe(str(PROTOTXT), str(weights))
    cv2.setNumThreads(threads)

    def run(image):
        peer.setInput(image, 'data')
        return peer.forward('score')
    return run


def solver(size, device='cpu', off=(), precision='fp32'):
    """Our Solver on the train net, which is given its data, and has no Dropout."""
    layers = (FOLDER / 'train.prototxt').read_text().split('layer {')[2:]
    kept = [layer for layer in layers if '"Dropout"' not in layer]
    optimisations = Optimisations(off)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, 'train.prototxt').write_text(
            DATA.format(*size) + ''.join('layer {' + layer for layer in kept))
        Path(folder, 'solver.prototxt').write_text(SOLVER)
        made = Solver(Path(folder, 'solver.prototxt'), device=device, precision=precision,
                      passes=optimisations.passes, placed=optimisations.placed)
    made.fused = optimisations.fused
    fill(of_ours(made.net))
    return made


def sgd(net, **options):
    """torch.optim.SGD as the release trains: biases at twice the rate, without decay."""
    learned = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.SGD([{'params': [p for p in learned if p.dim() > 1]},
                            {'params': [p for p in learned if p.dim() == 1], 'lr': 2 * RATE,
                             'weight_decay': 0}], RATE, MOMENTUM, weight_decay=DECAY, **options)


# products of matrices: which argument is the first factor
MATRICES = {'aten::mm': 0, 'aten::bmm': 0, 'aten::addmm': 1, 'aten::baddbmm': 1}


class Count(TorchDispatchMode):
    """Counts the multiply-adds of convolutions and of products of matrices while it is entered, as
    they are computed: without what collapse_border leaves out, and at Winograd's 36 a tile instead
    of 144."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function._schema.name
        if name in ('aten::conv2d', 'aten::convolution', 'fcn_repro::conv_gemm',
                    'fcn_repro::conv3x3'):
            self.total += out.numel() * args[1][0].numel()
        elif name == 'aten::convolution_backward':
            self.total += sum(args[10][:2]) * args[0].numel() * args[2][0].numel()
        elif name in ('fcn_repro::conv_gemm_input', 'fcn_repro::conv_gemm_weight'):
            other = args[1] if name.endswith('input') else out
            self.total += args[0].numel() * other[0].numel()
        elif name in ('fcn_repro::winograd', 'fcn_repro::conv3x3_input'):
            self.total += by_tiles(out, args[0])
        elif name == 'fcn_repro::conv3x3_weight':
            self.total += by_tiles(*args[:2])
        elif name in MATRICES:
            self.total += out.numel() * args[MATRICES[name]].shape[-1]
        return out


def by_tiles(image, other):
    """Multiply-adds of Winograd's algorithm over the 4x4 tiles of an image (N, C, H, W), for each
    of the other one's channels too."""
    tiles = math.prod(-(-size // 4) for size in image.shape[2:])
    return 36 * tiles * image.shape[0] * image.shape[1] * other.shape[1]


def count(run):
    """Multiply-adds that the convolutions of run() take."""
    with Count() as taken:
        run()
    return taken.total
