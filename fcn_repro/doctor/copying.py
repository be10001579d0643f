"""Checks of weights against the net: what was not found by name, and stages out of order."""

from collections.abc import Iterator
from math import prod

from ..errors import FcnError
from ..net.bn_statistics import check_weights_folded
from ..net.graph import Node
from ..recipe.stages import STAGES
from .anatomy import params
from .finding import DOUBT, FAULT, Finding
from .subject import Subject

ENOUGH = 0.5        # of the numbers below the scores; with fewer the file's names are in doubt:
#                     FCN-8s from VGG16 takes all, a decoder on a classifier 60 % or more


def dead_fillers(subject: Subject) -> Iterator[Finding]:
    """Layers below the scores that start from zeros: nothing passes them, forward or backward."""
    scores = {node.key for node in subject.anatomy.score_layers + subject.anatomy.up_layers}
    for node in subject.net.graph.nodes:
        blobs = params(subject.net, node)
        if node.key in scores or not blobs or blobs[0].parameter.dim() < 2 or \
                not blobs[0].parameter.numel() or bool(blobs[0].data.any()):
            continue
        if feeds_scores(subject, node):
            yield zero_layer(subject, node)


def feeds_scores(subject: Subject, node: Node) -> bool:
    """Whether the scores, or the loss, are computed from a node."""
    graph = subject.net.graph
    waiting, seen = list(node.tops), set()
    goal = subject.anatomy.score
    while waiting:
        value = waiting.pop()
        if value == goal:
            return True
        for each in graph.consumers(value) if value not in seen else ():
            waiting += each.tops
        seen.add(value)
    return False


def zero_layer(subject: Subject, node: Node) -> Finding:
    """The finding of a layer of zeros, with the layer of the file that may be meant for it."""
    shape = tuple(params(subject.net, node)[0].shape)
    place = f"layer '{node.name}'"
    numbers = f'{prod(shape)} weights {list(shape)}, all 0'
    if node.name not in subject.fresh:
        return Finding(FAULT, 'zero-weights', "the file's weights of this layer are all zero",
                       numbers, 'Use weights of a net that was trained.', place)
    other = meant_for(subject, node)
    if other:
        return Finding(FAULT, 'not-copied', 'the layer was not copied from the weights and starts '
                       f"from zeros; the file has its numbers under the name '{other}'",
                       f"{numbers}; '{other}' has {list(subject.ignored[other])}",
                       f"Name the layer '{other}', or transplant it (net.surgery.transplant; an "
                       'InnerProduct of as many numbers is cast).', place)
    return Finding(FAULT, 'not-copied', 'the layer starts from zeros, as the weights have no layer '
                   'of its name and the net gives it no weight_filler'
                   if subject.weights else 'the layer starts from zeros: it has no weight_filler',
                   numbers, 'Give weights that have it, or a weight_filler { type: "msra" }.',
                   place)


def meant_for(subject: Subject, node: Node) -> str:
    """The layer of the file that has as many numbers as a layer of the net; '' without one."""
    shape = tuple(params(subject.net, node)[0].shape)
    found = [name for name, other in subject.ignored.items() if prod(other) == prod(shape)]
    return found[0] if found else ''


def renamed(subject: Subject) -> Iterator[Finding]:
    """Layers that start from a random filler, though the file has their numbers under another
    name."""
    scores = {node.key for node in subject.anatomy.score_layers}
    for node in subject.net.graph.nodes:
        blobs = params(subject.net, node)
        if subject.weights is None or node.name not in subject.fresh or not blobs or \
                blobs[0].parameter.dim() < 2:
            continue
        other = meant_for(subject, node)
        if not other or (node.key not in scores and not blobs[0].data.any()):
            continue                                    # dead_fillers says it
        what = 'the score layer was not transplanted' if node.key in scores else \
            'the layer was not copied from the weights'
        yield Finding(FAULT, 'score-not-transplanted' if node.key in scores else 'not-copied',
                      f"{what}: the file has it under the name '{other}'",
                      f"{list(blobs[0].shape)} from the filler, '{other}' has "
                      f'{list(subject.ignored[other])}', f"Name the layer '{other}', or transplant "
                      'it (net.surgery.transplant).', f"layer '{node.name}'")


def share_copied(subject: Subject) -> Iterator[Finding]:
    """Weights of which little was found by name."""
    if subject.weights is None:
        return
    new = {node.key for node in subject.anatomy.score_layers + subject.anatomy.up_layers}
    sizes = {node.name: sum(blob.parameter.numel() for blob in params(subject.net, node))
             for node in subject.net.graph.nodes
             if params(subject.net, node) and node.key not in new}
    total = sum(sizes.values())
    copied = total - sum(n for name, n in sizes.items() if name in subject.fresh)
    if total and copied / total < ENOUGH:
        missing = [name for name in sizes if name in subject.fresh]
        yield Finding(DOUBT, 'few-copied', 'most of the net does not come from the weights',
                      f'{copied} of {total} numbers ({100 * copied / total:.0f} %) found by name; '
                      f'not: {some(missing)}; left over in the file: {some(subject.ignored)}',
                      'Compare the names of the layers; copying goes by name alone.',
                      subject.file)


def some(names) -> str:
    """The first names of several."""
    names = list(names)
    more = f' and {len(names) - 4} more' if len(names) > 4 else ''
    return ', '.join(names[:4]) + more or 'none'


# ---- stages --------------------------------------------------------------------------------------

def stages_in_order(subject: Subject) -> Iterator[Finding]:
    """A stage that starts from another one than that before it: several skips at once on an FCN's
    weights, or weights of a later stage."""
    if subject.weights is None or subject.sources.own:
        yield from recorded_parent(subject)
        return
    scores = subject.anatomy.score_layers
    fresh = [node.name for node in scores if node.name in subject.fresh]
    if len(fresh) > 1 and len(fresh) < len(scores) and scores[0].name not in fresh:
        yield Finding(DOUBT, 'stage-skipped', 'stages are out of order: more than one skip is new '
                      'to these weights', f"{len(fresh)} new score layers ({', '.join(fresh)}), a "
                      'stage adds 1', 'Train FCN-32s, then 16s, then 8s, each from the weights of '
                      'the one before; or all at once from a classifier.', subject.file)
    classes = subject.anatomy.classes
    later = [name for name, shape in subject.ignored.items()
             if len(shape) == 4 and shape[0] == classes and shape[2:] == (1, 1)]
    if later and len(fresh) < len(scores):
        yield Finding(DOUBT, 'later-stage', 'stages are out of order: the weights are of a later '
                      'stage, with more skips', f"{len(scores)} score layers here, {len(later)} "
                      f"more in the file ({', '.join(later)})", 'Start from the stage before, or '
                      'from the classifier.', subject.file)


def recorded_parent(subject: Subject) -> Iterator[Finding]:
    """A run whose weights record another parent than its stage has."""
    record, stage = subject.sources.record, subject.sources.stage
    parent = str(record.get('parent_stage', ''))
    if stage is None or not parent or parent not in STAGES or stage.parent is None or \
            parent in (stage.parent, str(record.get('stage', ''))):
        return
    yield Finding(DOUBT, 'stage-skipped', 'stages are out of order: the run started from another '
                  'stage than the one before it', f'from {parent}, the recipe starts from '
                  f'{stage.parent}', f'Train {stage.parent} first.')


# ---- what is in the layers -----------------------------------------------------------------------

def untrained_scores(subject: Subject) -> Iterator[Finding]:
    """Scores that a trained file holds as zeros."""
    if subject.weights is None or (subject.solver is not None and not subject.sources.own):
        return
    zero = [node for node in subject.anatomy.score_layers
            if not params(subject.net, node)[0].data.any() and node.name not in subject.fresh]
    if zero and len(zero) == len(subject.anatomy.score_layers):
        yield Finding(FAULT, 'scores-zero', 'the score layers are still zero in these weights, so '
                      'that every pixel gets class 0', f"{', '.join(n.name for n in zero)}: "
                      f'largest weight 0 after iteration {subject.sources.iteration}',
                      'Nothing reached them: look at the upsampling after them and at the rate.',
                      subject.file)


def no_statistics(subject: Subject) -> Iterator[Finding]:
    """BatchNorm without statistics, in a net that uses them; not where a stage's weights, without
    which it is not trained, are yet to be given."""
    stage = subject.sources.stage
    if subject.sources.weights is None and stage is not None and stage.weights:
        return
    for node in subject.net.graph.nodes:
        blobs = params(subject.net, node)
        p = node.param.batch_norm_param
        used = p.use_global_stats if p.HasField('use_global_stats') else subject.solver is None
        if node.type == 'BatchNorm' and used and len(blobs) > 2 and not blobs[2].data.any():
            yield Finding(FAULT, 'no-statistics', 'BatchNorm uses statistics of which there are '
                          'none', 'factor 0, mean and variance 0', 'Give weights that were trained '
                          'with it, or set use_global_stats: false.', f"layer '{node.name}'")
            return


def unfolded(subject: Subject) -> Iterator[Finding]:
    """SegNet's BN with bn_mode: INFERENCE, and weights that know no statistics yet."""
    if subject.sources.weights is None:
        return
    try:
        check_weights_folded(subject.net, subject.sources.weights)
    except FcnError as error:
        if error.code != 'bn-unfolded':
            raise
        yield Finding(FAULT, error.code, error.what, 'the net has bn_mode: INFERENCE', error.do,
                      f"layer '{error.layer}'")
