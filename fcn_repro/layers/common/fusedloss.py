"""A SoftmaxWithLoss whose scores one op computes and consumes."""

from ... import ops
from ...errors import FcnError
from ...proto import LossParameter


def fused_loss(layer, op, x, label, size):
    """The loss, a scalar in x's type. layer: the SoftmaxWithLoss; op: called with the labels (N,
    *size) and, by name, what the loss ops take; x: what scores are made of; label: the labels."""
    inner = (len(x), *size)
    labels, kept = label.detach().reshape(inner), layer.kept(inner, 1, x.device)
    if kept is not None and layer.ignore is not None:   # a third of the time that a mask takes
        labels, kept = labels.masked_fill(~kept, layer.ignore), None
    try:
        loss = op(labels, normalization=LossParameter.NormalizationMode.Name(layer.normalization),
                  ignore_label=layer.ignore,
                  weight=layer.weights(ops.tap_dtype(x.dtype), x.device), mask=kept,
                  check=not layer.state.unchecked)
    except FcnError as error:
        raise error.at(line=layer.node.line, layer=layer.node.name, type=layer.type) from None
    return loss.to(x.dtype)
