"""Pixel-wise distillation: a trained net, the teacher, within the train net of another one.

The teacher's layers have the prefix TEACHER, run as in phase TEST and learn nothing. The loss added
is -sum over the classes of q log p, q of the teacher's softmax and p of the student's, a mean over
all positions (Liu et al. 2019, Structured Knowledge Distillation). Theirs, with weight 10, is the
mean over the positions of an image, summed over the batch.
"""

from dataclasses import replace
from typing import Any

from ..errors import FcnError
from ..formats.weights import LayerBlobs, Weights
from ..layers import layer_class
from ..net.net import Net
from ..proto import TEST, TRAIN, LossParameter, dialect_of
from ..proto.prototxt import NetText, filter_net
from .method import LOSS, channels_of

TEACHER = 'teacher_'        # before the names of its layers and blobs
DISTILLATION = f'{TEACHER}loss'
WEIGHT = 10.0


def with_teacher(student: NetText, teacher: NetText, score: str, weight: float = WEIGHT) -> NetText:
    """A student's net of phase TRAIN with a teacher in it.

    teacher: a deploy net, whose Input the student's net has as a blob of the same name. score: the
    teacher's blob of scores (N, C, H, W); the student's is what its first SoftmaxWithLoss reads.
    weight: of the added loss. FcnError for nets that do not fit, a teacher of other classes among
    them."""
    student, deploy = filter_net(student, TRAIN), filter_net(teacher, TEST)
    layers = list(student.message.layer)
    loss = next((layer for layer in layers if layer.type == LOSS), None)
    if loss is None:
        raise FcnError(f'the student has no {LOSS}', file=student.file,
                       do='Give a train net with one.')
    if dialect_of(student.message) is not dialect_of(deploy.message):
        raise FcnError(f'a student of the dialect {dialect_of(student.message).name} and a teacher '
                       f'of {dialect_of(deploy.message).name}', file=student.file,
                       do='Read both by one dialect.')
    if any(layer.name.startswith(TEACHER) for layer in layers):
        raise FcnError(f"the student has layers called '{TEACHER}…' already", file=student.file,
                       do='Give it without a teacher.')
    check_scores(student, deploy, loss.bottom[0], score)
    start, at = after_data(student, deploy), layers.index(loss) + 1
    parts = [(layers[:start], student.lines[:start]), (frozen(deploy), None),
             (layers[start:at], student.lines[start:at]), (losses(loss, score, weight), None),
             (layers[at:], student.lines[at:])]
    message = type(student.message)()
    message.CopyFrom(student.message)
    del message.layer[:]
    lines: list[int | None] = []
    for added, numbers in parts:
        message.layer.extend(added)
        lines += [None] * len(added) if numbers is None else numbers
    return replace(student, message=message, lines=tuple(lines))


def inputs_of(deploy: NetText) -> set[str]:
    """The blobs of a deploy net's Input layers."""
    return {top for layer in deploy.message.layer if layer.type == 'Input' for top in layer.top}


def after_data(student: NetText, deploy: NetText) -> int:
    """How many layers of the student come before the teacher's: up to what makes its input, before
    a layer that may write over that."""
    made: dict[str, int] = {}
    for i, layer in enumerate(student.message.layer):
        for top in layer.top:
            made.setdefault(top, i)
    for blob in sorted(inputs_of(deploy)):
        if blob not in made:
            raise FcnError(f"the teacher reads '{blob}', which the student has not",
                           file=deploy.file, do="Call the Input's blob as the student's data.")
    return 1 + max((made[blob] for blob in inputs_of(deploy)), default=-1)


def check_scores(student: NetText, deploy: NetText, own: str, score: str) -> None:
    """FcnError unless the teacher has the blob, with as many channels as the student's scores."""
    if not any(score in layer.top for layer in deploy.message.layer):
        raise FcnError(f"the teacher has no blob '{score}'", file=deploy.file,
                       do='Name its blob of scores.')
    counts = channels_of(student.message, own), channels_of(deploy.message, score)
    if None not in counts and counts[0] != counts[1]:
        raise FcnError(f'the teacher has {counts[1]} classes, the student {counts[0]}',
                       file=deploy.file, do='Give a teacher that was trained on the same classes.')


def frozen(deploy: NetText) -> list[Any]:
    """The teacher's layers as the student's net has them."""
    inputs, made = inputs_of(deploy), []
    for layer in deploy.message.layer:
        if layer.type == 'Input':
            continue
        copy = type(layer)()
        copy.CopyFrom(layer)
        copy.ClearField('include')
        copy.ClearField('exclude')
        copy.name, copy.phase = TEACHER + layer.name, TEST
        copy.bottom[:] = [blob if blob in inputs else TEACHER + blob for blob in layer.bottom]
        copy.top[:] = [TEACHER + blob for blob in layer.top]
        for _ in range(0 if copy.param else layer_class(copy.type, dialect_of(copy)).learns(copy)):
            copy.param.add()
        for param in copy.param:
            param.lr_mult = param.decay_mult = 0
            if param.name:
                param.name = TEACHER + param.name
        made.append(copy)
    return made


def losses(loss: Any, score: str, weight: float) -> list[Any]:
    """The softmax of the teacher and the loss against it."""
    cls = type(loss)
    soft = cls(name=f'{TEACHER}prob', type='Softmax', bottom=[TEACHER + score],
               top=[f'{TEACHER}prob'])
    against = cls(name=DISTILLATION, type=LOSS, bottom=[loss.bottom[0], f'{TEACHER}prob'],
                  top=[DISTILLATION], loss_weight=[weight])
    against.loss_param.normalization = LossParameter.FULL
    own = against.fcn_repro_param
    own.targets = own.PROBABILITIES
    return [soft, against]


def teach(net: Net, weights: Weights) -> list[str]:
    """Copy a teacher's weights into the net of with_teacher; the names of its layers that got them.
    FcnError for weights that lack one of its layers, or have it in another shape."""
    layers = [LayerBlobs(TEACHER + layer.name, layer.blobs, layer.type) for layer in weights.layers]
    wanted = [name for name in net.params if name.startswith(TEACHER)]
    missing = [name for name in wanted if name not in {layer.name for layer in layers}]
    if missing:
        raise FcnError(f"the teacher's weights lack '{missing[0].removeprefix(TEACHER)}'",
                       file=weights.file, do='Give those of the net that teaches.')
    net.copy_from(Weights([layer for layer in layers if layer.name in wanted], weights.file,
                          weights.format, weights.extra))
    return wanted
