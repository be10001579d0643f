"""Trial: some iterations of training in memory, on a copy of the weights, and what they show.

Nothing is written: no snapshot, no log, no test net.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from ..errors import FcnError
from ..layers.relu import ReLU
from ..net.graph import Node
from ..net.net import Net
from ..solver.solver import Solver
from .anatomy import Anatomy, find_anatomy, params
from .finding import DOUBT, FAULT, Finding
from .outputs import labels_of, loss_of
from .subject import Sample, Subject, place_of, text_of

ITERATIONS = 20
LOOKED = 6              # samples that are measured before and after
EXPLODED = 4            # times ln C, the loss of equal scores: what no healthy net has on average
RISE = 1.5, 0.5         # factor and difference by which the loss on images just learned may rise:
#                         between images it varies more, but these are the same ones
SAME = 1e-6             # relative to ln C: losses that are those of equal scores
DEAD = 0.95             # share of channels that are 0 everywhere, from which on a ReLU is doubted;
#                         of VGG16's fc7 a third is, on a few images
MOVED, SMALL = 1e-12, 1e-3      # of a blob's norm, SMALL at least: the change that counts as one;
#                         the release's FCN-8s, the slowest, moves its new scores by 1e-5 of SMALL
FEATURES = 12.0         # mean of the features under the scores; trained classifiers have 0.1 to 3,
#                         and 58 times that if their images were to be divided by 58 (torchvision)
BLOCKING = {'unusable', 'unreadable-data', 'weights-misfit', 'pytorch-file', 'not-copied',
            'upsampling-zero', 'labels-x255', 'labels-scaled', 'void-not-ignored', 'labels-from-1',
            'label-ids', 'nothing-learns'}      # of faults: what iterations would only repeat


class Watched(Solver):
    """A Solver that notes the norm of each parameter's gradient before it updates."""

    norms: dict[int, list[float]]

    def update(self) -> None:
        for blob in self.net.learnable_params:
            if blob.lr_mult:
                self.norms[id(blob)].append(float(blob.diff.norm()))
        super().update()


@dataclass
class Trial:
    """What some iterations showed. before, after: the mean loss of each sample's labels at the
    first and at the last weights ([] of a net whose loss compares no scores with labels); losses:
    those of the iterations. norms: {Node: sums of its gradients' norms}, of layers that learn.
    dead: {ReLU: share of its channels that are 0 everywhere}. features: mean magnitude of what the
    deepest score layer reads at the first weights. moved: whether a weight changed. error: what
    ended it early."""
    losses: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    norms: dict[Node, float] = field(default_factory=dict)
    dead: dict[Node, float] = field(default_factory=dict)
    features: float = 0.0
    moved: bool = True
    error: FcnError | None = None
    classes: int = 0


def run_trial(subject: Subject, iterations: int) -> Trial:
    """Train a copy for so many iterations, at most for the solver's own: beyond these a rate that
    falls as a polynomial is not a number."""
    assert subject.solver is not None
    trial, most = Trial(), subject.parameters.max_iter
    if most > 0:
        iterations = min(iterations, most)
    try:
        solver = Watched(text_of(subject.solver, subject.text), search=subject.sources.search,
                         overrides={n: dict(k) for n, k in subject.sources.overrides.items()})
    except FcnError as error:
        trial.error = error
        return trial
    solver.norms = defaultdict(list)
    net, anatomy = solver.net, find_anatomy(solver.net)
    trial.classes = anatomy.classes
    with torch.no_grad():
        for mine, theirs in zip(net.learnable_params, subject.net.learnable_params, strict=True):
            mine.data.copy_(theirs.data)
    start = [blob.data.clone() for blob in net.learnable_params]
    try:
        trial.features = features(net, anatomy)
        trial.before = measured(net, anatomy)
        net.seek(0)
        for _ in tqdm(range(iterations), 'iterations', leave=False, disable=None):
            solver.iterate()
            trial.losses.append(solver.loss)
        trial.after = measured(net, anatomy)
        trial.dead = dead_channels(net)
    except FcnError as error:
        trial.error = error
    trial.moved = any(float((blob.data - a).norm()) > MOVED * max(float(a.norm()), SMALL)
                      for a, blob in zip(start, net.learnable_params, strict=True))
    for node in net.graph.nodes:
        blobs = [blob for blob in params(net, node) if blob.lr_mult and blob.owner is None]
        if blobs and any(solver.norms[id(blob)] for blob in blobs):
            trial.norms[node] = sum(sum(solver.norms[id(blob)]) for blob in blobs)
    return trial


# ---- measurements --------------------------------------------------------------------------------

def measured(net: Net, anatomy: Anatomy) -> list[float]:
    """The mean loss of each of the first samples' labels, at the net's weights; [] of a net whose
    loss compares no scores with labels."""
    if anatomy.loss is None or anatomy.score is None or anatomy.label is None:
        return []
    p = anatomy.loss.param.loss_param
    ignore = p.ignore_label if p.HasField('ignore_label') else None
    names = [net.graph.values[v] for v in (anatomy.score, anatomy.label)]
    found = []
    for k in range(LOOKED):
        net.seek(k)
        with torch.inference_mode():
            blobs = net.forward(names)
            labels = labels_of(Sample(blobs[names[0]], blobs[names[1]]), ignore)
            if bool((labels >= 0).any()):
                found.append(loss_of(blobs[names[0]].float(), labels))
    return found


def features(net: Net, anatomy: Anatomy) -> float:
    """The mean magnitude of what the deepest score layer reads in the first sample."""
    if not anatomy.score_layers:
        return 0.
    name = net.graph.values[anatomy.score_layers[0].bottoms[0]]
    net.seek(0)
    with torch.inference_mode():
        return float(net.forward([name])[name].abs().mean())


def dead_channels(net: Net) -> dict[Node, float]:
    """{ReLU: share of its channels that are 0 at every position of every sample}."""
    relus = {node: net.graph.values[node.tops[0]] for node in net.graph.nodes
             if isinstance(net.layer(node), ReLU) and not node.param.relu_param.negative_slope}
    alive: dict[Node, torch.Tensor] = {}
    for k in range(LOOKED if relus else 0):
        net.seek(k)
        with torch.inference_mode():
            blobs = net.forward(list(dict.fromkeys(relus.values())))
            for node, name in relus.items():
                some = blobs[name].transpose(0, 1).flatten(1).ne(0).any(1)
                alive[node] = alive[node] | some if node in alive else some.clone()
    return {node: 1 - float(some.float().mean()) for node, some in alive.items()}


# ---- findings ------------------------------------------------------------------------------------

def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def ended(subject: Subject, trial: Trial) -> Iterator[Finding]:
    """Iterations that ended with an error, NaN among them."""
    error = trial.error
    if error is None:
        return
    if error.code == 'diverged':
        yield Finding(FAULT, 'exploding', 'the loss exploded', f'{error.what}; before: '
                      f'{", ".join(f"{loss:.3g}" for loss in trial.losses[-3:]) or "nothing"}',
                      f'Lower base_lr ({subject.parameters.base_lr:g}); check that the images '
                      'have the range that the weights are for.', place_of(error))
    else:
        yield Finding(FAULT, 'training-fails', 'training ends with an error', error.what, error.do,
                      place_of(error))


def loss_level(subject: Subject, trial: Trial) -> Iterator[Finding]:
    """Losses far above that of equal scores, at the start or by these iterations; losses that rose
    on the images that were learned."""
    if not trial.before or not trial.after:
        return
    even, before, after = math.log(trial.classes), mean(trial.before), mean(trial.after)
    numbers = f'{before:.3g} per label before, {after:.3g} after {len(trial.losses)} iterations; ' \
        f'equal scores have ln {trial.classes} = {even:.3g}'
    place = subject.place
    if after > EXPLODED * even and after > RISE[0] * before:
        yield Finding(FAULT, 'exploding', 'the loss explodes', numbers, f'Lower base_lr '
                      f'({subject.parameters.base_lr:g}), tenfold at a time.', place)
    elif before > EXPLODED * even:
        yield Finding(DOUBT, 'scores-large', 'the scores are far too large at the start', numbers +
                      f'; features of {trial.features:.3g}', 'Start the score layers from zero (no '
                      'weight_filler), or scale the images to the range that the weights are for.',
                      place)
    elif after > RISE[0] * before and after > before + RISE[1]:
        yield Finding(DOUBT, 'loss-rises', 'the loss rose on the very images that were learned',
                      numbers, f'Lower base_lr ({subject.parameters.base_lr:g}).', place)


def constant_loss(subject: Subject, trial: Trial) -> Iterator[Finding]:
    """Losses that stay those of equal scores, or weights that do not move."""
    if trial.error is not None:
        return
    even = math.log(trial.classes) if trial.classes else 0.
    if trial.after and all(abs(loss - even) <= SAME * even for loss in trial.after):
        yield Finding(FAULT, 'constant-loss', 'the loss is constant: all classes have the same '
                      'score at every pixel', f'{mean(trial.after):.6g} on each of '
                      f'{len(trial.after)} samples after {len(trial.losses)} iterations, '
                      f'ln {trial.classes} = {even:.6g}', 'Look for a layer of zeros between '
                      'images and loss, or for a rate that is too small.', subject.place)
    elif trial.losses and not any(trial.losses):
        yield Finding(FAULT, 'zero-loss', 'the loss is 0: no pixel counts, or all are of one class',
                      f'0 in {len(trial.losses)} iterations', 'Check the labels, and ignore_label.',
                      subject.place)
    elif trial.losses and not trial.moved:
        yield Finding(FAULT, 'no-update', 'no weight changed: the rate is below the rounding of '
                      'their numbers, or nothing has a gradient', f'base_lr '
                      f'{subject.parameters.base_lr:g}, {len(trial.losses)} iterations',
                      'Raise base_lr.', subject.place)


def gradients(subject: Subject, trial: Trial) -> Iterator[Finding]:
    """Layers that learn and never get a gradient."""
    if trial.error is not None or not any(trial.losses) or len(trial.losses) < 2:
        return          # zero scores pass no gradient in the first iteration
    none = [node.name for node, norm in trial.norms.items() if norm == 0]
    if none:
        yield Finding(FAULT, 'no-gradient', f'{len(none)} layers get no gradient',
                      f"{', '.join(none[:5])}: 0 over {len(trial.losses)} iterations, "
                      f'{len(trial.norms)} layers learn', 'Look for a layer of zeros, or a ReLU '
                      'that is 0 everywhere, above them.', f"layer '{none[-1]}'")


def activations(subject: Subject, trial: Trial) -> Iterator[Finding]:
    """ReLUs that are 0, all or nearly; features of another size than trained ones have."""
    dead = {node: share for node, share in trial.dead.items() if share > DEAD}
    if dead:
        node, share = max(dead.items(), key=lambda item: item[1])
        yield Finding(FAULT if share == 1 else DOUBT, 'dead-layer', f'{len(dead)} ReLU layers are '
                      'dead', f'{100 * share:.0f} % of its channels are 0 in {LOOKED} samples, up '
                      f'to {100 * DEAD:.0f} % are usual', 'Lower base_lr, or the bias of the layer '
                      'before; check that the images have the range that the weights are for.',
                      f"layer '{node.name}'")
    given = subject.weights is not None and not subject.sources.own
    if given and trial.features > FEATURES:
        yield Finding(DOUBT, 'features-large', 'the features are far larger than those of a '
                      'trained net: the images are in another range than these weights are for',
                      f'mean {trial.features:.3g}, usual are 0.1 to 3', "Weights of torchvision's "
                      "are for RGB divided by 58 (0.226 of 255): convert them with channel order "
                      'and deviation folded into the first layer.', subject.file)


FINDERS = (ended, loss_level, constant_loss, gradients, activations)
