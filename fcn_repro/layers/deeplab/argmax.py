"""ArgMax of DeepLab's version 1: over the channels of each position (its argmax_layer)."""

from ..argmax import ArgMax


class ChannelArgMax(ArgMax):
    """As BVLC's with `axis: 1`, which that fork's message lacks: (N, C, H, W) -> (N, top_k, H, W),
    the highest index of equal values first."""

    type = 'ArgMax'
    unsupported = ('axis',)
    instead = 'It is that of channels in DeepLab version 1; remove it.'

    def setup(self):
        super().setup()
        if self.param.out_max_val:
            raise self.error('out_max_val gives indices and values in one blob in DeepLab version '
                             '1, which is not supported', 'Leave it out.')
        param = type(self.param)()
        param.CopyFrom(self.param)
        param.axis = 1
        self.param = param
