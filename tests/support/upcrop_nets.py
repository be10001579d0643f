"""What the tests of fuse_upcrop share: its sites, what a net runs, bilinear weights."""

from fcn_repro.net.surgery import interp
from fcn_repro.passes import fuse_upcrop


def fused(graph, keep=frozenset()):
    return [node for node in fuse_upcrop(graph, keep).nodes if node.type == 'UpCrop']


def steps(net):
    return [step.node.type for plan in net.executor.plans.values() for step in plan.steps]


def make_bilinear(net):
    """What surgery does to the upsampling layers, which the release creates as zeros."""
    params = {name: [blobs[0].data.zero_()] for name, blobs in net.params.items()
              if name.startswith('up')}
    interp(params, list(params))
