"""All experiments by name, how several are run, and their list."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import FcnError, nearest
from ..formats.atomic import make_folder, write_text
from ..lock import locked
from .bounds import appendix_a
from .experiment import Experiment, Setting, Stop
from .outcome import Outcome, as_json
from .page import write_page
from .picture import draw
from .tables import REFINED, STAGED, figure4, table2
from .text import text_of

ALL = 'all'
EXPERIMENTS = {experiment.name: experiment for experiment in (
    Experiment('table2', 'skips: FCN-32s-fixed, 32s, 16s, 8s', 'Table 2', table2, STAGED,
               mini='the same stages, narrow, on scenes of digits'),
    Experiment('figure4', 'predictions at stride 32, 16 and 8', 'Figure 4', figure4, REFINED,
               mini='the runs of table2'),
    Experiment('appendix-a', 'upper bound of mean IU at coarse strides', 'Appendix A', appendix_a,
               needs=('PASCAL VOC 2011',), mini="the scenes' labels"),
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
    make_folder(setting.out)
    with locked(setting.out / page_name(chosen).removesuffix('.html')):
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
        outcome = Outcome(experiment.name, experiment.title, experiment.source, setting.mini,
                          failed=str(error))
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
