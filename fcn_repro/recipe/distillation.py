"""Distillation: a trained net, the teacher, within the train net of a smaller one, the student.

The teacher's layers have the prefix TEACHER, run as in phase TEST and learn nothing. The losses are
those of Liu et al. 2019, Structured Knowledge Distillation for Semantic Segmentation, as their
authors' code (irfanICMLL/structure_knowledge_distillation) computes them, without a temperature:

- pixel-wise: -sum over the classes of q log p, q of the teacher's softmax and p of the student's, a
  mean over all positions, or a sum where the student's own loss is one. It has the gradient of
  their KL divergence. Theirs, with weight 10, is the mean over the positions of an image, summed
  over the batch.
- pair-wise: the features under the scores are pooled, the maximum of patches of half their sides;
  a_ij is the cosine between the features of patches i and j. The loss is the mean over all pairs of
  (a_ij of the student - a_ij of the teacher)^2, and over the batch; times the positions of an image
  where the student's own loss is a sum over them. Lengths are constants to the gradient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import FcnError
from ..formats.weights import LayerBlobs, Weights
from ..layers import layer_class
from ..net.net import Net
from ..proto import TEST, TRAIN, LossParameter, dialect_of
from ..proto.prototxt import NetText, filter_net
from ..sizes import dims
from .method import LOSS, channels_of, mode_of

TEACHER = 'teacher_'        # before the names of its layers and blobs
DISTILLATION = f'{TEACHER}loss'
PAIRS = 'pair_'             # before the names of the layers that compare patches
PAIR_LOSS = f'{TEACHER}{PAIRS}loss'
WEIGHT = 10.0               # of the pixel-wise loss
PAIR_WEIGHT = 0.5           # of the pair-wise one, of the authors' script
PATCH = 0.5                 # sides of a patch, of the features'
TINY = 1e-16                # added to squared lengths

SUMS = LossParameter.BATCH_SIZE, LossParameter.NONE     # modes of a loss that sums over an image

Size = tuple[int, int]


def with_teacher(student: NetText, teacher: NetText, score: str, weight: float = WEIGHT,
                 pair_weight: float = 0, size: Size | None = None) -> NetText:
    """A student's net of phase TRAIN with a teacher in it.

    teacher: a deploy net, whose Input the student's net has as a blob of the same name. score: the
    teacher's blob of scores (N, C, H, W); the student's is what its loss called 'loss' reads, or
    its first one. weight: of the pixel-wise loss; pair_weight: of the pair-wise one. 0 leaves it
    out. Both are sums where that loss is one, as FCN's. size: (height, width) of the images of the
    train net, for which the patches of the pair-wise loss are made; with it the sizes of scores are
    checked too. FcnError for nets that do not fit, a teacher of other classes among them (code
    'teacher-classes', 'teacher-size', 'student-size', 'teacher-unfit')."""
    student, deploy = filter_net(student, TRAIN), filter_net(teacher, TEST)
    layers = list(student.message.layer)
    losses = [layer for layer in layers if is_loss(layer)]
    if not losses:
        raise FcnError(f'the student has no loss such as {LOSS}', file=student.file,
                       do='Give a train net with one.')
    loss = next((layer for layer in losses if layer.name == 'loss'), losses[0])
    if dialect_of(student.message) is not dialect_of(deploy.message):
        raise unfit(f'a student of the dialect {dialect_of(student.message).name} and a teacher '
                    f'of {dialect_of(deploy.message).name}', deploy)
    if any(layer.name.startswith((TEACHER, PAIRS)) for layer in layers):
        raise FcnError(f"the student has layers called '{TEACHER}…' or '{PAIRS}…' already",
                       file=student.file, do='Give it without a teacher.')
    check_scores(student, deploy, loss.bottom[0], score)
    start, at = after_data(student, deploy), layers.index(loss) + 1
    added = pixel_loss(loss, score, weight) if weight else []
    if size is not None:
        maps = shapes_of(student, towards(loss.bottom[0], layers[:at - 1]), deploy, size), \
            shapes_of(deploy, deploy.message.layer, deploy, size)
        check_sizes(student, deploy, maps[0][loss.bottom[0]], maps[1][score], size)
        positions = math.prod(maps[1][score][2:]) if mode_of(loss) in SUMS else 1
        added += pair_loss(pairs(student, deploy, (loss.bottom[0], score), maps), loss,
                           positions * pair_weight) if pair_weight else []
    elif pair_weight:
        raise FcnError('a pair-wise loss needs the size of the images', do='Give size.')
    parts = [(layers[:start], student.lines[:start]), (frozen(deploy), None),
             (layers[start:at], student.lines[start:at]), (added, None),
             (layers[at:], student.lines[at:])]
    message = type(student.message)()
    message.CopyFrom(student.message)
    del message.layer[:]
    lines: list[int | None] = []
    for part, numbers in parts:
        message.layer.extend(part)
        lines += [None] * len(part) if numbers is None else numbers
    return replace(student, message=message, lines=tuple(lines))


def is_loss(layer: Any) -> bool:
    """Whether a layer of a train net compares its first bottom with labels."""
    return layer.type != 'Python' and layer_class(layer.type, dialect_of(layer)).loss


def unfit(what: str, deploy: NetText) -> FcnError:
    """The error of a teacher that this student cannot learn from."""
    return FcnError(what, file=deploy.file, code='teacher-unfit', do='Give another teacher.')


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
                           file=deploy.file, code='teacher-unfit',
                           do="Call the Input's blob as the student's data.")
    return 1 + max((made[blob] for blob in inputs_of(deploy)), default=-1)


def check_scores(student: NetText, deploy: NetText, own: str, score: str) -> None:
    """FcnError unless the teacher has the blob, with as many channels as the student's scores."""
    if not any(score in layer.top for layer in deploy.message.layer):
        raise FcnError(f"the teacher has no blob '{score}'", file=deploy.file,
                       do='Name its blob of scores.')
    counts = channels_of(student.message, own), channels_of(deploy.message, score)
    if None not in counts and counts[0] != counts[1]:
        raise FcnError(f'the teacher has {counts[1]} classes, the student {counts[0]}',
                       file=deploy.file, code='teacher-classes',
                       do='Give a teacher that was trained on the same classes.')


def check_sizes(student: NetText, deploy: NetText, own: Sequence[int], taught: Sequence[int],
                size: Size) -> None:
    """FcnError unless the scores of both nets have one shape: for a student that learns at another
    size than that of the images (code 'student-size'), or for its teacher."""
    if tuple(own) != tuple(taught) and tuple(own[2:]) != size:
        raise FcnError(f"the student's loss is at {dims(own[2:])}, for images of {dims(size)} and "
                       f"a teacher's scores of {dims(taught[2:])}", file=student.file,
                       code='student-size',
                       do='Train a net whose loss is at the size of the image.')
    if tuple(own) != tuple(taught):
        raise FcnError(f"the teacher's scores are {dims(taught)}, the student's {dims(own)}",
                       file=deploy.file, code='teacher-size',
                       do='Give a teacher whose scores have the size of the image.')


def towards(blob: str, layers: Sequence[Any]) -> list[Any]:
    """Those of a net's layers that a blob is made by."""
    wanted, found = {blob}, []
    for layer in reversed(layers):
        if wanted & set(layer.top):
            wanted |= set(layer.bottom)
            found.append(layer)
    return found[::-1]


def shapes_of(text: NetText, layers: Sequence[Any], deploy: NetText, size: Size) \
        -> dict[str, tuple[int, ...]]:
    """{blob: shape} of these layers of a net for one image of this size (H, W): what makes the
    teacher's inputs is left out for an Input."""
    inputs, message = inputs_of(deploy), type(text.message)()
    cls = type(deploy.message.layer[0])
    for layer in deploy.message.layer:
        if layer.type == 'Input':
            made = cls(name=layer.name, type='Input', top=layer.top)
            for old in layer.input_param.shape:
                made.input_param.shape.add(dim=[1, old.dim[1], *size])
            message.layer.append(made)
    message.layer.extend(layer for layer in layers
                         if not inputs & set(layer.top) or inputs & set(layer.bottom))
    net = Net.of(replace(text, message=message, lines=(None,) * len(message.layer)), TRAIN)
    return {net.graph.values[v]: tuple(shape) for v, shape in sorted(net.shapes.items())}


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


def pixel_loss(loss: Any, score: str, weight: float) -> list[Any]:
    """The softmax of the teacher and the loss against it."""
    cls = type(loss)
    soft = cls(name=f'{TEACHER}prob', type='Softmax', bottom=[TEACHER + score],
               top=[f'{TEACHER}prob'])
    against = cls(name=DISTILLATION, type=LOSS, bottom=[loss.bottom[0], f'{TEACHER}prob'],
                  top=[DISTILLATION], loss_weight=[weight])
    if mode_of(loss) != LossParameter.VALID:
        against.loss_param.normalization = mode_of(loss)
    own = against.fcn_repro_param
    own.targets = own.PROBABILITIES
    return [soft, against]


# ---- pair-wise -----------------------------------------------------------------------------------

@dataclass(frozen=True)
class Patches:
    """The patches of a blob of features: its name, their (height, width), and how many a side."""
    blob: str
    kernel: Size
    counts: Size


def pairs(student: NetText, deploy: NetText, scores: tuple[str, str],
          maps: tuple[dict, dict]) -> tuple[Patches, Patches]:
    """The patches of both nets, of (student, teacher) each. scores: their blobs; maps: {blob:
    shape}. FcnError where a net has no features, or where they have other numbers of patches."""
    found = []
    for text, score, shapes in zip((student, deploy), scores, maps, strict=True):
        blob = features_of(text.message, score)
        if blob is None or blob not in shapes:
            raise FcnError(f"no Convolution makes '{score}' of features", file=text.file,
                           code='no-features', do='Give pair_weight=0.')
        height, width = shapes[blob][2:]
        kernel = max(1, int(PATCH * height)), max(1, int(PATCH * width))
        counts = -(-height // kernel[0]), -(-width // kernel[1])
        found.append(Patches(blob, kernel, counts))
    if found[0].counts != found[1].counts:
        raise FcnError(f"the teacher's features have {dims(found[1].counts)} patches, the "
                       f"student's {dims(found[0].counts)}", file=deploy.file, code='no-features',
                       do='Give pair_weight=0.')
    return found[0], found[1]


def features_of(net: Any, score: str) -> str | None:
    """The blob of features that scores are made of: what the Convolution reads that is met first
    on the way back from them. None without one."""
    made = {top: layer for layer in net.layer for top in layer.top if top not in layer.bottom}
    blob = score
    for _ in net.layer:
        layer = made.get(blob)
        if layer is None or not layer.bottom:
            return None
        blob = layer.bottom[0]
        if layer.type == 'Convolution':
            return blob
    return None


def pair_loss(patches: tuple[Patches, Patches], loss: Any, weight: float) -> list[Any]:
    """The similarities of both nets, and the loss that compares them."""
    cls, count = type(loss), patches[0].counts[0] * patches[0].counts[1]
    own, taught = patches
    against = cls(name=PAIR_LOSS, type='EuclideanLoss', top=[PAIR_LOSS],
                  bottom=[f'{PAIRS}similarity', f'{TEACHER}{PAIRS}similarity'],
                  loss_weight=[2 * weight / count ** 2])    # it halves, and sums over the pairs
    return [*similarities(cls, own, own.blob, PAIRS),
            *similarities(cls, taught, TEACHER + taught.blob, TEACHER + PAIRS), against]


def similarities(cls: type, patches: Patches, blob: str, prefix: str) -> list[Any]:
    """Layers, their names with this prefix, that make of a blob of features (N, C, H, W) the
    cosines between its P patches, PREFIXsimilarity (N, P, P). The lengths get no gradient."""
    def made(name, type_name, bottoms, **fields):
        return cls(name=prefix + name, type=type_name, top=[prefix + name],
                   bottom=[blob if each is None else prefix + each for each in bottoms], **fields)
    height, width = patches.kernel
    window = {f'{field}_{side}': extent for field in ('kernel', 'stride')
              for side, extent in (('h', height), ('w', width))}
    layers = [made('pool', 'Pooling', [None], pooling_param=window),               # (N, C, h, w)
              made('rows', 'Reshape', ['pool']),                                   # (N, C, P)
              made('patches', 'Permute', ['rows']),                                # (N, P, C)
              made('square', 'Reduction', ['patches']),                            # (N, P)
              made('inverse', 'Power', ['square'], power_param={'power': -0.5, 'shift': TINY}),
              made('unit', 'Scale', ['patches', 'inverse'], propagate_down=[True, False],
                   scale_param={'axis': 0}),                                       # (N, P, C)
              made('similarity', 'MatMul', ['unit', 'unit'])]                      # (N, P, P)
    pool, rows, order, square, *_, product = layers
    pool.pooling_param.pool = pool.pooling_param.MAX
    rows.reshape_param.shape.dim[:] = [0, 0, -1]
    order.fcn_repro_param.order[:] = [0, 2, 1]
    square.reduction_param.operation = square.reduction_param.SUMSQ
    square.reduction_param.axis = 2
    product.fcn_repro_param.transpose_b = True
    return layers


# ---- weights -------------------------------------------------------------------------------------

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
