"""Convolutions with batch normalisation behind them, as the nets that never were Caffe's have them;
separable convolutions; resizing to another blob."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...proto.netspec import L, NetSpec, P

WEIGHT = [{'lr_mult': 1, 'decay_mult': 1}]
UNDECAYED = [{'lr_mult': 1, 'decay_mult': 0}]
FIXED = [{'lr_mult': 0, 'decay_mult': 0}]
MSRA = {'type': 'msra'}
SCORES = {'type': 'gaussian', 'std': 0.01}      # of a body that is trained
FORK = 'deeplab-v2'     # the dialect of these nets: BVLC's and Interp
RELU, RELU6 = 'relu', 'relu6'
# Settings of Normed for short training from random weights. Scores near 0 would hardly tell classes
# apart and so hardly teach the body to: after 700 iterations DeepLab v3's miniature is where it is
# after 200 with MSRA
SCRATCH = {'fraction': 0.95, 'score_filler': MSRA}


@dataclass(frozen=True)
class Normed:
    """Adds convolutions to a net, each with a BatchNorm, its Scale and an activation behind it:
    NAME, NAME_bn, NAME_scale and NAME_relu, in place but for a RELU6, a Clip, whose gradient in
    place is not that of the function (Caffe looks at the clipped values).

    eps, fraction: of the BatchNorms (1 - fraction is what PyTorch calls momentum). frozen: they
    keep their statistics, scales and biases in training. activation: RELU or RELU6.
    decay_depthwise: whether the weights of depthwise convolutions decay. prefix: of all names.
    rate: factor of the learning rate. score_filler: of the convolutions to class scores; SCRATCH
    has that for a body of random weights.
    """
    n: NetSpec
    eps: float = 1e-5
    fraction: float = 0.9997
    frozen: bool = False
    activation: str = RELU
    decay_depthwise: bool = True
    prefix: str = ''
    rate: float = 1
    score_filler: Mapping[str, Any] = field(default_factory=lambda: SCORES)

    def conv(self, bottom, name: str, width: int, kernel: int = 1, *, stride: int = 1,
             dilation: int = 1, pad: int | None = None, group: int = 1, active: bool = True):
        """The top of a convolution that keeps sizes but for its stride, unless pad is given."""
        given = {'num_output': width, 'kernel_size': kernel, 'bias_term': False,
                 'weight_filler': MSRA}
        given |= {key: value for key, value in (
            ('stride', stride), ('dilation', dilation), ('group', group)) if value != 1}
        if pad or (pad is None and kernel > 1):
            given['pad'] = dilation * (kernel // 2) if pad is None else pad
        if group > 1 and not self.decay_depthwise:
            given['param'] = self.rated(UNDECAYED)
        elif self.rate != 1:
            given['param'] = self.rated(WEIGHT)
        top = self.n[f'{self.prefix}{name}'] = L.Convolution(bottom, **given)
        top = self.norm(top, name)
        return self.active(top, name) if active else top

    def classifier(self, bottom, classes: int, kernel: int = 1):
        """The convolution to class scores, with a bias."""
        return L.Convolution(bottom, num_output=classes, kernel_size=kernel, pad=kernel // 2,
                             param=[{'lr_mult': self.rate, 'decay_mult': 1},
                                    {'lr_mult': 2 * self.rate, 'decay_mult': 0}],
                             weight_filler=dict(self.score_filler))

    def norm(self, top, name: str):
        """BatchNorm and Scale, in place."""
        more = {} if self.eps == 1e-5 else {'eps': self.eps}
        own = {}
        if self.frozen:
            more['use_global_stats'] = True
        else:
            more['moving_average_fraction'] = self.fraction
            own = {'fcn_repro_param': {'synchronised': True}}
        name = f'{self.prefix}{name}'
        top = self.n[f'{name}_bn'] = L.BatchNorm(top, in_place=True, batch_norm_param=more, **own)
        param = 2 * (FIXED if self.frozen else self.rated(UNDECAYED))
        top = self.n[f'{name}_scale'] = L.Scale(top, in_place=True, param=param,
                                                scale_param={'bias_term': True})
        return top

    def rated(self, param: list[dict]) -> list[dict]:
        """param at this rate."""
        return [{**each, 'lr_mult': self.rate * each['lr_mult']} for each in param]

    def active(self, top, name: str, in_place: bool = True):
        """The activation, as NAME_relu."""
        name = f'{self.prefix}{name}_relu'
        if self.activation == RELU6:
            self.n[name] = L.Clip(top, clip_param={'min': 0, 'max': 6})
        else:
            self.n[name] = L.ReLU(top, in_place=in_place)
        return self.n[name]

    def separable(self, bottom, name: str, channels: int, width: int, *, stride: int = 1,
                  dilation: int = 1, between: bool = True, active: bool = True):
        """A depthwise 3x3 convolution of `channels` and a 1x1 to `width`, each normalised: NAME_dw
        and NAME_pw. between, active: whether there is an activation after the first, the second."""
        top = self.conv(bottom, f'{name}_dw', channels, 3, stride=stride, dilation=dilation,
                        group=channels, active=between)
        return self.conv(top, f'{name}_pw', width, active=active)

    def plus(self, name: str, *tops, active: bool = True):
        """The sum of tops, as NAME, and its activation."""
        top = self.n[f'{self.prefix}{name}'] = L.Eltwise(*tops, operation=P.Eltwise.SUM)
        return self.active(top, name) if active else top

    def resized(self, name: str, bottom, like, aligned: bool = True):
        """`bottom` at the height and width of `like`, as NAME."""
        own = {} if aligned else {'fcn_repro_param': {'align_corners': False}}
        self.n[f'{self.prefix}{name}'] = L.Interp(bottom, like, **own)
        return self.n[f'{self.prefix}{name}']


def dropped(n: NetSpec, bottom, name: str, ratio: float, in_place: bool = True):
    """Whole channels dropped, as NAME; the bottom itself for a ratio of 0."""
    if ratio:
        bottom = n[name] = L.Dropout(bottom, in_place=in_place, dropout_ratio=ratio,
                                     fcn_repro_param={'per_channel': True})
    return bottom


def loss(n: NetSpec, normalize: bool, scores: str = 'score', name: str = 'loss',
         weight: float = 1, mined: tuple[float, float] | None = None) -> None:
    """The loss of `scores`, as NAME, over the pixels that are not void; mined: (ohem_thresh,
    ohem_min_ratio), of these over the hardest alone."""
    further: dict[str, Any] = {} if weight == 1 else {'loss_weight': weight}
    if mined:
        names = 'ohem_thresh', 'ohem_min_ratio'
        further['fcn_repro_param'] = dict(zip(names, mined, strict=True))
    n[name] = L.SoftmaxWithLoss(n[scores], n.label, **further, loss_param={
        'normalize': normalize, 'ignore_label': 255})
