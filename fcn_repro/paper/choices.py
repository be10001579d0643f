"""What sections 3.4, 4.2 and 4.3 try and find: fine-tuning, sampling, balance, jitter, skips alone,
and Figure 5."""

from __future__ import annotations

from statistics import mean

from ..errors import FcnError
from ..recipe.method import Method
from ..report.curves import FILE, METRICS, read_curves
from .claims import Claim, findings
from .experiment import Line, Setting, facts_of, row_of, rows_of_lines
from .outcome import Chart, Finding, Measured, Outcome, Row, Table
from .tables import CVPR, DIGITS, FIGURE, STAGED

BASE, FIXED = 'FCN-32s', 'FCN-32s-fixed'
STAGES = {line.label: line for line in STAGED}


def varied(label: str, solver: str = 'solver.prototxt', **options) -> Line:
    """FCN-32s with another option."""
    return Line(label, '', 'voc-fcn32s', 'mini-fcn32s', solver, options)


CHOICES = (
    STAGES[BASE], STAGES[FIXED],
    varied('random score layer', method=Method(random_scores=True)),
    varied('bias rates not doubled', method=Method(bias_rate=1)),
    varied('classes balanced', class_weights='balanced'),
    varied('moved by up to 32 pixels', method=Method(jitter=32)),
    Line('mirrored', '', 'voc-fcn32s', options={'method': Method(mirror=True)}),
    varied('20 images an update', 'solver_accumulated.prototxt'),
    STAGES['FCN-16s'],
    Line('pool4 alone', '', 'voc-fcn-pool4', 'mini-fcn-pool4'),
    STAGES['FCN-8s'],
    Line('FCN-8s, upsampling learned', '', 'voc-fcn8s-learned', 'mini-fcn8s-learned'),
)
CLAIMS = (
    Claim('fine-tuning all layers is far better than the score layer alone', BASE, FIXED),
    Claim('a random score layer gains nothing over zeros', 'random score layer', BASE,
          no_gain=True),
    Claim('doubled rates of biases make no difference', BASE, 'bias rates not doubled', same=True),
    Claim('class balancing gains nothing', 'classes balanced', BASE, no_gain=True),
    Claim('jitter gains nothing', 'moved by up to 32 pixels', BASE, no_gain=True,
          why='Probably because 600 scenes are few: the paper has 8,498 photographs, in which '
          'things are everywhere already.'),
    Claim('fusing pool4 with what is above it is better than pool4 alone', 'FCN-16s',
          'pool4 alone'),
    Claim('learned upsampling gains nothing over bilinear', 'FCN-8s, upsampling learned',
          'FCN-8s', no_gain=True),
)
MIRRORED = ('Mirroring has no miniature: a mirrored digit is another shape. 20 images an update: '
            'as many images, a twentieth of the updates.')


def choices(setting: Setting) -> Outcome:
    """Sections 4.2 and 4.3: one choice changed at a time."""
    rows = rows_of_lines(CHOICES, 'table2', setting)
    table = Table('', METRICS, rows, 'seg11valid (Table 2), where the paper has a number',
                  DIGITS if setting.mini else 'seg11valid', FIGURE, (MIRRORED,))
    return Outcome('choices', "Sections 4.2 and 4.3: the recipe's choices", CVPR, setting.mini,
                   (table,), findings=findings(CLAIMS, (table,), setting.mini))


# ---- Figure 5 ------------------------------------------------------------------------------------

CELL = 32               # pixels of a cell of FCN-32s' last layer
LENGTH = {True: 500, False: 4000}       # iterations that are compared, by mini
FULL = 'full image'
LAST = 5                # the last part of the iterations over which losses are averaged, one in …
MORE = {'loss': 'loss at the end', 'seconds': 'seconds', 'images': 'images', 'mean_iu': 'mean IU'}
CLOSE = 0.05            # of a loss: less is no gain
NOISY = ('An iteration has 1 image here and 20 in the paper, so that 2 or 4 images, even in part, '
         'are worth more than what is left out.')


def sampled(ratio: float, mini: bool) -> Line:
    """FCN-32s with this part of the cells kept."""
    return varied(f'{100 * ratio:.0f} % of the cells', method=Method(
        keep_ratio=ratio, keep_cell=CELL), iterations=LENGTH[mini])


def lines_of(mini: bool) -> tuple[Line, ...]:
    """The three trainings; the first is FCN-32s' own, as far as the others go."""
    return (varied(FULL), sampled(0.5, mini), sampled(0.25, mini))


def figure5(setting: Setting) -> Outcome:
    """Figure 5: loss against iterations and against time, of whole images and sampled ones."""
    rows, curves, length = [], {}, LENGTH[setting.mini]
    for i, line in enumerate(lines_of(setting.mini)):
        row = row_of(line, 'table2', setting)
        assert row is not None
        if row.ours:
            points = [curve_of(setting, line, seed, length) for seed in range(setting.seeds)]
            curves[line.label] = points[0]
            row = Row(row.label, ours=tuple(
                Measured(summary_of(each, 2 ** i), facts_of(setting.run(line, seed)))
                for seed, each in enumerate(points)))
        rows.append(row)
    table = Table('', (), tuple(rows), '', f'the first {length:,} iterations of FCN-32s; images '
                  'an iteration: 1, 2 and 4; loss: mean over the last fifth', MORE)
    return Outcome('figure5', 'Figure 5: patch sampling', CVPR, setting.mini, (table,),
                   charts_of(curves), tuple(findings_of(rows, setting.mini)))


def curve_of(setting: Setting, line: Line, seed: int, length: int) -> list[dict[str, float]]:
    """The points of a run's curves up to an iteration. FcnError without them."""
    run = setting.run(line, seed)
    points = [each for each in read_curves(run.folder / FILE)
              if 0 < each['iteration'] <= length and 'loss' in each and 'seconds' in each]
    if not points:
        raise FcnError('the run has no curves', file=str(run.folder / FILE),
                       do='Train it anew: curves.csv is written while it trains.')
    return points


def summary_of(points: list[dict[str, float]], images: int) -> dict[str, float]:
    """The columns of MORE; images: of an iteration."""
    last = points[-1]['iteration']
    tail = [each['loss'] for each in points if each['iteration'] > last * (1 - 1 / LAST)]
    scored = [each['mean_iu'] for each in points if 'mean_iu' in each]
    return {'loss': mean(tail), 'seconds': points[-1]['seconds'], 'images': images * last,
            **({'mean_iu': 100 * scored[-1]} if scored else {})}


def charts_of(curves: dict[str, list[dict[str, float]]]) -> tuple[Chart, ...]:
    """Loss against iterations, and against seconds."""
    return tuple(Chart(f'Loss against {words}', words, 'loss (log)', tuple(
        (label, tuple((each[along], each['loss']) for each in points))
        for label, points in curves.items()), log=True)
        for along, words in (('iteration', 'iterations'), ('seconds', 'seconds'))
        if curves)


def findings_of(rows: list[Row], mini: bool) -> list[Finding]:
    """Whether sampling converges faster by iterations, and whether it takes longer."""
    full, *others = rows
    found = []
    for row in others:
        pairs = list(zip(full.values('loss'), row.values('loss'), strict=False))
        times = list(zip(full.values('seconds'), row.values('seconds'), strict=False))
        claim = f'keeping {row.label} converges no faster by iterations'
        slower = f'keeping {row.label} is slower by time'
        if not pairs:
            found += [Finding(claim, '', None), Finding(slower, '', None)]
            continue
        whole, part = (mean(values) for values in zip(*pairs, strict=True))
        holds = part >= (1 - CLOSE) * whole
        found.append(Finding(claim, f'Loss at the end {part:.3f}, of full images {whole:.3f}.',
                             holds, '' if holds or not mini else NOISY))
        whole, part = (mean(values) for values in zip(*times, strict=True))
        found.append(Finding(slower, f'{part:.0f} s, of full images {whole:.0f} s: '
                             f'{part / whole:.1f} times.', part > whole))
    return found
