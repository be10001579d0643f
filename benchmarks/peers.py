"""What ours is compared with, and how: at equal precision, after a look at the results; and fixed
bilinear upsampling with a crop as others write it."""

import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from timing import OURS

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.net.precision import tf32

KERNELS = {2: (4, 5), 8: (16, 31), 32: (64, 19)}    # {stride: (kernel, crop offset)} of FCN
FORMATS = {'contiguous': torch.contiguous_format, 'channels-last': torch.channels_last}
BEHIND = 'gradients behind a ReLU'      # one at 0 goes either way, by rounding
# max|a - b| / max|b|; cuDNN chooses among algorithms that round more; tf32, bf16: of whole nets
LIMITS = {'cpu': {'values': 1e-5, 'gradients': 1e-4, BEHIND: 1e-4, 'labels': 1e-4},
          'cuda': {'values': 1e-4, 'gradients': 1e-3, BEHIND: 0.2, 'labels': 1e-3},
          'tf32': {'values': 0.05, 'gradients': 0.1, BEHIND: 0.7},
          'bf16': {'values': 0.3}}
DENSE = 2e10        # multiply-adds of the dense kernel from which on that peer is left out


@dataclass(frozen=True)
class Case:
    """Scores of so many classes upsampled by `stride` and cropped to an image of height x width."""
    stride: int = 8
    classes: int = 21
    height: int = 375
    width: int = 500
    batch: int = 1

    @property
    def outputs(self):
        return self.batch * self.classes * self.height * self.width

    @property
    def dense_work(self):
        kernel = KERNELS[self.stride][0]
        return self.outputs * self.classes * (kernel / self.stride) ** 2

    def __str__(self):
        return ', '.join(f'{name} {value}' for name, value in asdict(self).items())


class Inputs:
    """Tensors of a case on a device, and the arguments of the ops."""

    def __init__(self, case, device):
        kernel, offset = KERNELS[case.stride]
        self.size = case.height, case.width
        self.case, self.stride, self.offset = case, case.stride, offset
        cells = [(offset + size - kernel) // case.stride + 3 for size in self.size]
        x = torch.randn(case.batch, case.classes, *cells, device=device)
        self.scores = {name: x.clone(memory_format=f) for name, f in FORMATS.items()}
        self.learned = {name: s.clone().requires_grad_() for name, s in self.scores.items()}
        self.label = torch.randint(case.classes, (case.batch, *self.size), device=device)
        top = torch.randn(case.batch, case.classes, *self.size, device=device)
        self.tops = {name: top.contiguous(memory_format=f) for name, f in FORMATS.items()}
        self.taps = ops.bilinear_taps(kernel).float().to(device)
        self.args = (self.taps, self.taps, (case.stride,) * 2, (0, 0), (offset, offset))

    def upsamplings(self, named):
        """{way: (memory format, scores -> a window of the upsampled ones)} of the peers named."""
        classes, stride, taps = self.case.classes, self.stride, self.taps
        square = torch.outer(taps, taps)
        single = square.expand(classes, 1, -1, -1).contiguous()
        dense = torch.diag_embed(square.expand(classes, -1, -1).permute(1, 2, 0)).permute(2, 3, 0, 1
                                                                                        ).contiguous()
        (height, width), top, shift = self.size, self.offset, self.offset - stride // 2
        window = (..., slice(top, top + height), slice(top, top + width))
        inner = (..., slice(shift, shift + height), slice(shift, shift + width))
        ways = {'dense': lambda x: F.conv_transpose2d(x, dense, None, stride)[window],
                'depthwise': lambda x: F.conv_transpose2d(x, single, None, stride,
                                                          groups=classes)[window],
                'F.interpolate': lambda x: F.interpolate(x, scale_factor=stride,
                                                         mode='bilinear')[inner]}
        return {f'{name}, {form}': (form, ways[name]) for name in named for form in FORMATS
                if name != 'dense' or self.case.dense_work <= DENSE}


def compiled(ways, mode=None):
    """{'compiled NAME': …} of functions; none, with the reason printed, without a compiler. mode:
    torch.compile's."""
    if not torch.cuda.is_available() and not shutil.which('g++'):
        print('torch.compile is left out: it needs g++')
        return {}
    return {f'compiled {name}': (form, torch.compile(run, mode=mode))
            for name, (form, run) in ways.items()}


@contextmanager
def cudnn_benchmark():
    """cuDNN tries its algorithms for each new shape, in this block."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def at(precision, run):
    """A peer's function with torch's switches for a precision, and with cudnn.benchmark."""
    def switched():
        with tf32(precision == 'tf32'), cudnn_benchmark():
            return run()
    return switched


def check(functions, what, precision='fp32'):
    """FcnError where the results of functions {way: function} differ from ours."""
    expected = functions[OURS]()
    for name, function in functions.items():
        result = function()
        if what == 'labels':
            away = float((result != expected).float().mean())       # the share of pixels
        else:
            away = float((result - expected).abs().max() / expected.abs().max())
        limit = LIMITS.get(precision, LIMITS[expected.device.type])[what]
        if not away <= limit:
            raise FcnError(f"'{name}' differs from ours in its {what} by {away:.1e}; the limit is "
                           f'{limit:.0e}', do='Time nothing that is not the same.')
