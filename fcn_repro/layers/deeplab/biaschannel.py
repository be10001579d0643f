"""BiasChannel: constants added to the scores of labels that are present (DeepLab's
bias_channel_layer)."""

import torch

from ...sizes import dims
from ..common.base import Layer

IMAGE, PIXEL = 1, 2         # BiasChannelParameter.LabelType


class BiasChannel(Layer):
    """bottoms: scores (N, C, H, W) and labels -> scores.

    IMAGE: labels (N, L, 1, 1) list what an image has; each adds fg_bias to its channel, label 0
    bg_bias. PIXEL: labels (N, 1, H, W); each pixel's adds fg_bias to its channel there, and where
    a background is named (background_label, or bg_bias, is set) every labelled pixel adds bg_bias
    to that channel, and a background pixel nothing else. -1 and ignore_label add nothing. Labels
    get no gradient.
    """

    type = 'BiasChannel'
    replayable = False
    bottoms = 2
    fields = 'bias_channel_param'
    dialect_fields = tuple(f'bias_channel_param.{name}' for name in (
        'bg_bias', 'fg_bias', 'ignore_label', 'label_type', 'background_label'))
    makes_tops = keeps_coordinates = True

    def setup(self):
        p = self.param
        for name in 'bg_bias', 'fg_bias':
            if not getattr(p, name) >= 0:
                raise self.error(f'{name} {getattr(p, name):g} is not at least 0', 'Fix the field.')
        self.named = p.HasField('background_label') or p.HasField('bg_bias')

    def shape(self, bottoms):
        scores, labels = bottoms
        wanted = (scores[0], 1, *scores[2:]) if self.param.label_type == PIXEL else (
            scores[0], labels[1] if len(labels) > 1 else 1, 1, 1)
        if len(scores) != 4 or tuple(labels) != tuple(wanted) or not labels[1]:
            raise self.error(f'scores of {dims(scores)} and labels of {dims(labels)}',
                             'Give labels (N, 1, H, W) for PIXEL, (N, L, 1, 1) for IMAGE.')
        return [scores]

    def forward(self, bottoms, params):
        scores, labels = bottoms[0], bottoms[1].detach().long()
        ignored = torch.tensor([-1, *self.param.ignore_label], device=labels.device)
        valid = ~torch.isin(labels, ignored)
        background = self.param.background_label
        wrong = valid & ((labels < 0) | (labels >= scores.shape[1]))
        if wrong.any():
            bad = labels[wrong]
            raise self.error(f'{bad.numel()} labels outside 0 … {scores.shape[1] - 1}, such as '
                             f'{bad[0].item()}', 'Fix the labels, or list them as ignore_label.')
        labels = labels.masked_fill(~valid, 0)
        bias = torch.zeros_like(scores)
        fg, bg = self.param.fg_bias, self.param.bg_bias
        if self.param.label_type == IMAGE:
            each = torch.where(labels == 0, bg, fg).to(scores.dtype) * valid
            sums = scores.new_zeros(scores.shape[:2]).scatter_add_(1, labels[:, :, 0, 0],
                                                                   each[:, :, 0, 0])
            return [scores + sums[:, :, None, None]]
        marked = valid & (labels != background) if self.named else valid
        bias.scatter_(1, labels, marked * scores.new_tensor(fg))
        if self.named:
            bias[:, background:background + 1] += valid * scores.new_tensor(bg)
        return [scores + bias]
