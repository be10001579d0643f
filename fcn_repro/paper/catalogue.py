"""All experiments by name, how several are run, and their list."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import FcnError, nearest
from ..formats.atomic import write_text
from ..lock import locked
from .bounds import appendix_a
from .choices import CHOICES, choices, figure5, lines_of
from .experiment import Experiment, Setting, Stop, train_rows
from .nets import MINI_NETS, MINI_SBD, NETS, SBD, make_few, table1, table3
from .outcome import Outcome, as_json
from .page import write_page
from .picture import draw
from .tables import (
    CONTEXT,
    CVPR,
    NYUD,
    REFINED,
    SIFTFLOW,
    STAGED,
    figure4,
    table2,
    table4,
    table5,
    table6,
)
from .text import text_of
from .timing import timing

ALL = 'all'
EXPERIMENTS = {experiment.name: experiment for experiment in (
    Experiment('table1', 'AlexNet, VGG16 and GoogLeNet as FCNs', 'Table 1', table1,
               NETS + SBD + MINI_NETS + MINI_SBD, prepare=make_few,
               mini='the three nets, narrow, on scenes of digits; graphs and times at full width'),
    Experiment('table2', 'skips: FCN-32s-fixed, 32s, 16s, 8s', 'Table 2', table2, STAGED,
               mini='the same stages, narrow, on scenes of digits'),
    Experiment('table3', 'the test sets, and the time of FCN-8s', 'Table 3', table3,
               needs=("VOC's evaluation server", 'for the times: nothing'),
               mini='the times at full width'),
    Experiment('table4', 'NYUDv2: colour, depth, HHA, fused early and late', 'Table 4', table4,
               NYUD, mini='rooms with digits, their depth and HHA'),
    Experiment('table5', 'SIFT Flow: semantic and geometric labels by two heads', 'Table 5',
               table5, SIFTFLOW, mini='rooms with digits; also a net for each label'),
    Experiment('table6', 'PASCAL-Context: 59 and 33 classes', 'Table 6', table6,
               tuple(line for lines in CONTEXT.values() for line in lines),
               mini='rooms with digits: 13 and 11 classes'),
    Experiment('figure4', 'predictions at stride 32, 16 and 8', 'Figure 4', figure4, REFINED,
               mini='the runs of table2'),
    Experiment('figure5', 'patch sampling: full images, 50 % and 25 %', 'Figure 5', figure5,
               lines_of(False), mini_lines=lines_of(True), mini='narrow nets on scenes of digits'),
    Experiment('choices', 'fine-tuning, balance, jitter, score layers, skips alone',
               'sections 4.2, 4.3', choices, CHOICES, mini='narrow nets on scenes of digits'),
    Experiment('appendix-a', 'upper bound of mean IU at coarse strides', 'Appendix A', appendix_a,
               needs=('PASCAL VOC 2011',), mini="the scenes' labels"),
    Experiment('timing', 'a classifier on patches and on the whole image', 'section 3.1', timing,
               mini='the same: random weights take as long'),
)}


def named(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, each once; 'all': all of them. FcnError for an unknown
    name."""
    chosen = list(EXPERIMENTS) if ALL in names or not names else list(dict.fromkeys(names))
    for name in chosen:
        if name not in EXPERIMENTS:
            raise FcnError(f"there is no experiment '{name}'",
                           do=nearest(name, EXPERIMENTS)
                           or f'Use {", ".join(EXPERIMENTS)}, or {ALL}.')
    return [EXPERIMENTS[name] for name in chosen]


def run_experiments(names: Sequence[str], setting: Setting) -> list[Outcome] | None:
    """Run experiments one after another, print each, and write its JSON and its picture, and one
    page of all, into setting.out. An FcnError ends one experiment and not the others: it is in its
    outcome. None if a signal stopped a run. FcnError for unknown names, and where another process
    is using that folder."""
    chosen, outcomes = named(names), []
    if setting.seeds < 1:
        raise FcnError(f'{setting.seeds} seeds', do='Give 1 or more.')
    with locked(setting.out):
        if setting.mini:
            for experiment in chosen:
                if experiment.prepare is not None:
                    experiment.prepare()
        train_rows([line for experiment in chosen for line in experiment.rows(setting.mini)],
                   setting)
        for experiment in chosen:
            try:
                outcomes.append(written(experiment, setting))
            except Stop:
                return None
        write_page(setting.out / page_name(chosen), outcomes)
    return outcomes


def page_name(chosen: Sequence[Experiment]) -> str:
    """The file name of the page."""
    return f'{chosen[0].name}.html' if len(chosen) == 1 else 'index.html'


def written(experiment: Experiment, setting: Setting) -> Outcome:
    """Run an experiment, print what came out, and write its JSON and its picture."""
    try:
        outcome = experiment.run(setting)
    except FcnError as error:
        outcome = Outcome(experiment.name, f'{experiment.source}: {experiment.title}', CVPR,
                          setting.mini, failed=str(error))
    print(f'\n{text_of(outcome)}\n', flush=True)
    write_text(as_json(outcome), setting.out / f'{experiment.name}.json')
    made = [f'{experiment.name}.json']
    if draw(outcome, setting.out / f'{experiment.name}.png'):
        made.append(f'{experiment.name}.png')
    print(f'in {setting.out}: {", ".join([*made, *(path.name for path in outcome.pictures)])}',
          flush=True)
    return outcome


def listing() -> str:
    """Every table and figure, with what it needs in full and what it is in miniature."""
    lines = []
    for experiment in EXPERIMENTS.values():
        lines += [f'{experiment.name:12} {experiment.source}: {experiment.title}',
                  f'{"":12}   needs {", ".join(experiment.needed()) or "nothing"}',
                  f'{"":12}   in miniature: {experiment.mini or "there is none"}']
    return '\n'.join(lines)
