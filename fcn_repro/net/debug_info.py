"""Caffe's debug_info: log lines with the mean magnitude of every blob's and parameter's data and
diff (Net::ForwardDebugInfo, Net::BackwardDebugInfo and the end of Net::Backward)."""

import logging

import torch

log = logging.getLogger(__name__)


def mean_magnitude(tensor):
    return tensor.detach().abs().mean(dtype=torch.float64).item()


def log_forward(net, node, tops):
    """Log the lines of a layer that has run; tops: its tensors."""
    for v, top in zip(node.tops, tops, strict=True):
        log.info('    [Forward] Layer %s, top blob %s data: %.6g', node.name, net.graph.values[v],
                 mean_magnitude(top))
    specs = node.param.param
    for i, blob in enumerate(net.layer_params.get(node.key, ())):
        name = (specs[i].name if i < len(specs) else '') or i
        log.info('    [Forward] Layer %s, param blob %s data: %.6g', node.name, name,
                 mean_magnitude(blob.data))


def log_backward(net, node, diffs, param_diffs):
    """Log the lines of a layer whose backward pass has run.

    diffs: {value: diff} of the bottoms that get one; param_diffs: those of its parameters so far.
    """
    for v, diff in diffs.items():
        log.info('    [Backward] Layer %s, bottom blob %s diff: %.6g', node.name,
                 net.graph.values[v], mean_magnitude(diff))
    blobs = net.layer_params.get(node.key, ())
    for i, (blob, diff) in enumerate(zip(blobs, param_diffs, strict=True)):
        if blob.lr_mult or net.graph.force_backward:
            log.info('    [Backward] Layer %s, param blob %d diff: %.6g', node.name, i,
                     mean_magnitude(diff))


def log_param_norms(net):
    """Log the line at the end of a whole backward pass."""
    data, diff = ([getattr(blob, kind).double() for blob in net.learnable_params]
                  for kind in ('data', 'diff'))
    log.info('    [Backward] All net params (data, diff): L1 norm = (%.6g, %.6g); '
             'L2 norm = (%.6g, %.6g)',
             *(sum(x.abs().sum().item() for x in part) for part in (data, diff)),
             *(sum(x.square().sum().item() for x in part) ** 0.5 for part in (data, diff)))


class Trace:
    """Records one forward pass of a Net and the backward pass after it, and logs both."""

    def __init__(self, net):
        self.net, self.uses, self.values, self.before = net, {}, {}, {}

    def used(self, node, params):
        """Views of the parameters for one layer, whose gradients are that layer's share."""
        params = [p.view_as(p) if p.requires_grad and torch.is_grad_enabled() else p
                  for p in params]
        for param in params:
            if not param.is_leaf:
                param.retain_grad()
        self.uses[node.key] = params
        return params

    def log_forward(self, values):
        """Log a forward pass with these values, {value: tensor}."""
        self.values = values
        for node in self.net.graph.nodes:
            if all(v in values for v in node.tops):
                log_forward(self.net, node, [values[v] for v in node.tops])

    def start_backward(self):
        """Remember the parameters' diffs, to which the backward pass adds."""
        self.before = {id(blob.parameter): blob.diff.clone() for blob in self.net.learnable_params}

    def log_backward(self):
        """Log a backward pass, from the last layer to the first. A parameter shared by several
        layers is logged with the sum over those that have run."""
        net, flags = self.net, backward_flags(self.net)
        for node in reversed(net.graph.nodes):
            if flags[id(node)] is None or not all(v in self.values for v in node.tops):
                continue
            blobs = net.layer_params.get(node.key, ())
            sums = [self.before[id(blob.parameter)] for blob in blobs]
            for total, used in zip(sums, self.uses.get(node.key, ()), strict=True):
                if used.grad is not None:
                    total += used.grad.reshape(total.shape)
            diffs = {v: _or_zeros(self.values[v].grad, self.values[v])
                     for v, wanted in zip(node.bottoms, flags[id(node)], strict=True) if wanted}
            log_backward(net, node, diffs, sums)
        log_param_norms(net)


def _or_zeros(grad, like):
    return torch.zeros_like(like) if grad is None else grad


def backward_flags(net):
    """{id of a node: for each bottom, whether Caffe gives it a diff; None where the layer has no
    backward pass} (Net::Init: what is learned, what contributes to the loss, propagate_down)."""
    if net.graph.force_backward:
        return {id(node): [True] * len(node.bottoms) if not net.layer(node).loss else
                [i != 1 for i in range(len(node.bottoms))] for node in net.graph.nodes}
    return learning_flags(net)


def learning_flags(net):
    """backward_flags without regard to force_backward."""
    flags = _flags_from_below(net)
    _drop_layers_off_the_loss(net, flags)
    return flags


def _flags_from_below(net):
    """Flags by what is learned below and by propagate_down."""
    need, flags = set(), {}
    for node in net.graph.nodes:
        down = list(node.param.propagate_down) or [v in need for v in node.bottoms]
        learned = any(blob.lr_mult for blob in net.layer_params.get(node.key, ()))
        if learned or need.intersection(node.bottoms):
            need.update(node.tops)
        flags[id(node)] = [bool(d) for d in down] if need.issuperset(node.tops) else None
    return flags


def _drop_layers_off_the_loss(net, flags):
    """Set the flags of layers to None that no loss depends on, or whose tops get no diff."""
    loss, skipped = set(), set()            # names of blobs
    for node in reversed(net.graph.nodes):
        tops = {net.graph.values[v] for v in node.tops}
        counts = any(net.layer(node).loss_weights) or tops & loss
        if not counts or (node.tops and tops <= skipped):
            flags[id(node)] = None
        bottoms = [net.graph.values[v] for v in node.bottoms]
        if counts:
            loss.update(bottoms)
        skipped.update(name for name, wanted in zip(
            bottoms, flags[id(node)] or [False] * len(bottoms), strict=True) if not wanted)
