"""A picture of 24x30 pixels: `infer` over it with a net of one's own, and what the net computes."""

from small_runs import call
from tiny_nets import noise, own

from fcn_repro.data.image import MEAN, to_blob
from fcn_repro.net import Net
from fcn_repro.proto import TEST


def infer(capsys, tmp_path, x, text, *more):
    return call(capsys, 'infer', x, *own(tmp_path, text), '--out', tmp_path / 'out', *more)


def values(tmp_path, blob):
    net = Net.read(tmp_path / 'net.prototxt', TEST)
    net.copy_from(tmp_path / 'net.h5')
    return net.forward(blob, data=to_blob(noise(24, 30), MEAN)[None])[blob][0].detach().numpy()
