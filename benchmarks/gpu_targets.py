"""What is to be reached on a GPU, and what of it was: from the rows of a result."""

from collections.abc import Callable
from typing import NamedTuple

from targets import cases
from timing import OURS

BATCH = 20
ONLINE = 'FCN-32s online training'


class Target(NamedTuple):
    """value: rows -> a number, or None where they lack it. least: whether `wanted` is the least,
    or the most."""
    what: str
    wanted: float
    least: bool
    value: Callable[[list], float | None]

    @property
    def sign(self):
        return '>=' if self.least else '<='


def ways_of(rows, group, **case):
    """[{way: row}] of the cases of a group that have these values."""
    return [ways for ways in cases(rows, group).values()
            if all(next(iter(ways.values()))['case'].get(name) == value
                   for name, value in case.items())]


def milliseconds(group, **case):
    """The longest of ours in a group."""
    def value(rows):
        return max((1e3 * ways[OURS]['median'] for ways in ways_of(rows, group, **case)
                    if OURS in ways), default=None)
    return value


def faster(group, *peers, **case):
    """How many times ours the best of the peers takes, whose ways begin so; of several cases the
    least."""
    def value(rows):
        found = [min((row['ratio'] for way, row in ways.items() if way.startswith(peers)),
                     default=None) for ways in ways_of(rows, group, **case)]
        return min((ratio for ratio in found if ratio is not None), default=None)
    return value


def bandwidth(rows):
    """Op 1's share of the time of writing its output, in percent."""
    found = [100 * row['ratio'] for row in rows if row['group'] == 'op 1 forward'
             and 'curve' not in row and row['case']['batch'] == BATCH
             and row['way'].startswith('floor')]
    return min(found, default=None)


def images_per_second(precision):
    def value(rows):
        taken = milliseconds(ONLINE, precision=precision)(rows)
        return None if taken is None else 1e3 / taken
    return value


LOSS, BOTH = 'op 5 loss forward + backward', 'op 1 forward + backward'
SCORES, STEP = 'FCN-8s scores', 'FCN-8s training step'
TARGETS = (
    *(Target(f'op 5, stride {stride}: ms', most, False, milliseconds(LOSS, stride=stride))
      for stride, most in ((8, 0.06), (32, 0.10))),
    *(Target(f'op 5, stride {stride}: times ours, dense chain', 15, True,
             faster(LOSS, 'dense', stride=stride)) for stride in (8, 32)),
    *(Target(f'op 1 with backward, stride {stride}: ms', 0.06, False,
             milliseconds(BOTH, stride=stride)) for stride in (8, 32)),
    Target(f'op 1, batch {BATCH}: percent of the write bandwidth', 85, True, bandwidth),
    *(Target(f'op 2, {words}: times ours, conv_transpose2d', 2, True,
             faster(f'op 2 {words}', 'conv_transpose2d'))
      for words in ('forward', 'forward + backward')),
    Target('FCN-8s 500x500, bf16: ms', 1.2, False, milliseconds(f'{SCORES}, bf16')),
    Target('FCN-8s 500x500, bf16: times ours, torch.compile', 1.5, True,
           faster(f'{SCORES}, bf16', 'compiled')),
    Target('FCN-8s 500x500, TF32: ms', 1.8, False, milliseconds(f'{SCORES}, tf32')),
    Target('FCN-8s 500x500, TF32: times ours, torch.compile', 1.4, True,
           faster(f'{SCORES}, tf32', 'compiled')),
    Target('FCN-8s 500x500, fp32: times ours, the better eager', 2, True, faster(SCORES, 'eager')),
    *(Target(f'FCN-8s training step, {name}: times ours, the best peer', 1.5, True,
             faster(group, 'eager', 'compiled'))
      for name, group in (('fp32', STEP), ('TF32', f'{STEP}, tf32'))),
    *(Target(f'FCN-32s online, {words}: images/s', least, True, images_per_second(precision))
      for words, least, precision in (('TF32', 150, 'tf32'), ('fp32', 60, 'fp32'),
                                      ('fp32, wished for', 100, 'fp32'))))


def verdicts(rows):
    """[(target, its value or None, in words whether it is reached)]; rows may be missing."""
    found = []
    for target in TARGETS:
        value = target.value(rows)
        words = 'not measured' if value is None else \
            'reached' if (value >= target.wanted) == target.least else 'NOT REACHED'
        found.append((target, value, words))
    return found


def counted(rows, card):
    """How many targets are reached, as a line."""
    words = [words for *_, words in verdicts(rows)]
    return f'{words.count("reached")} of {len(words)} targets reached on {card}'


def summary(rows, card):
    """What is wanted on a GPU, and what was reached on this card, as text."""
    lines = [f'{target.what:58}{target.sign} {target.wanted:<6g}'
             f'{"-" if value is None else format(value, ".3f"):>10}  {words}'
             for target, value, words in verdicts(rows)]
    return '\n'.join([*lines, counted(rows, card)])


def table(rows, card):
    """The same as the lines of a Markdown table."""
    return [f"On {card}; the GPU's time, over replays of CUDA graphs. *Times ours*: how many times "
            'ours a peer of the same precision takes.', '', '| | wanted | found | |',
            '|---|---|---|---|',
            *(f'| {target.what} | {target.sign} {target.wanted:g} | '
              f'{"" if value is None else format(value, ".3f")} | {words} |'
              for target, value, words in verdicts(rows))]
