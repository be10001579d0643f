"""The paper's Tables 2, 4, 5 and 6 and its Figure 4: rows that are training runs."""

from __future__ import annotations

from ..recipe.comparison import STEPS, draw_refinement
from ..recipe.stages import ON
from .claims import Claim, findings
from .experiment import Line, Setting, table_of_runs
from .outcome import Outcome

DIGITS = 'generated scenes of digits, 600 to train on and 100 to score, 11 classes'
CVPR = 'CVPR 2015'
FIGURE = {'figure_iu': 'figure IU', 'iterations': 'iterations'}
FIGURE_NOTE = ('figure IU: all classes but the background as one, so the outlines alone; trained '
               'on: as long again as the next stage and at its rate, the control of what the skip '
               'adds.')

# ---- Table 2 and Figure 4 ------------------------------------------------------------------------

STAGED = (
    Line('FCN-32s-fixed', 'fcn32s-fixed', 'voc-fcn32s-fixed', 'mini-fcn32s-fixed'),
    Line('FCN-32s', 'fcn32s', 'voc-fcn32s', 'mini-fcn32s'),
    Line('FCN-32s, trained on', '', 'voc-fcn32s', 'mini-fcn32s', ON),
    Line('FCN-16s', 'fcn16s', 'voc-fcn16s', 'mini-fcn16s'),
    Line('FCN-16s, trained on', '', 'voc-fcn16s', 'mini-fcn16s', ON),
    Line('FCN-8s', 'fcn8s', 'voc-fcn8s', 'mini-fcn8s'),
    Line('FCN-8s at once', '', 'voc-fcn8s-atonce', 'mini-fcn8s-atonce'),
)
TABLE2_CLAIMS = (
    Claim('fine-tuning all layers is far better than the score layer alone', 'FCN-32s',
          'FCN-32s-fixed'),
    Claim('the skip from pool4 improves on FCN-32s', 'FCN-16s', 'FCN-32s, trained on'),
    Claim('the skip from pool3 improves a little further', 'FCN-8s', 'FCN-16s, trained on',
          why='What is left at stride 16 are confusions of digits, which a finer stride does not '
          'tell apart; the outlines, which it improves, lie in the rim that is void '
          '(docs/staged.md).'),
    Claim('the skip from pool3 improves the outlines', 'FCN-8s', 'FCN-16s, trained on',
          column='figure_iu'),
    Claim('stage by stage and at once are about as good', 'FCN-8s at once', 'FCN-8s',
          no_gain=True),
)


def table2(setting: Setting) -> Outcome:
    """Table 2: fixed, 32s, 16s, 8s, with their controls."""
    table = table_of_runs('', 'table2', STAGED, setting, DIGITS, more=FIGURE,
                          notes=(FIGURE_NOTE,))
    return Outcome('table2', 'Table 2: skips, stage by stage', CVPR, setting.mini, (table,),
                   findings=findings(TABLE2_CLAIMS, (table,), setting.mini))


REFINED = tuple(line for line in STAGED if line.label in STEPS)
FIGURE4_CLAIMS = (
    Claim('outlines become finer from 32s to 16s', 'FCN-16s', 'FCN-32s', 'figure_iu'),
    Claim('outlines become finer from 16s to 8s', 'FCN-8s', 'FCN-16s', 'figure_iu'),
)
PICTURES = 4


def figure4(setting: Setting) -> Outcome:
    """Figure 4: predictions at stride 32, 16 and 8."""
    table = table_of_runs('', 'table2', REFINED, setting, DIGITS, ('mean_iu',), FIGURE,
                          (FIGURE_NOTE.partition(';')[0] + '.',))
    pictures, notes = [], ()
    if all(row.ours for row in table.rows):
        path = setting.out / 'figure4-images.png'
        draw_refinement({line.label: setting.run(line.stage(setting.mini), line.solver, 0)
                         for line in REFINED}, path, PICTURES)
        pictures.append(path)
    else:
        notes = ('The pictures need all three nets.',)
    return Outcome('figure4', 'Figure 4: finer and finer predictions', CVPR, setting.mini,
                   (table,), findings=findings(FIGURE4_CLAIMS, (table,), setting.mini),
                   notes=notes, pictures=tuple(pictures))
