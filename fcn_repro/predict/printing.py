"""What an evaluation prints: its tables, times and warnings."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from ..report import metrics_table, one_class_warning, rules_line
from ..report.pictures import Row, save_rows
from ..report.results import Evaluation, spread_of
from ..report.tables import of_bound
from ..sizes import size


def show(found: Evaluation, rows: Sequence[Row], out: Path) -> None:
    """Print the tables, and write the sheet of pictures."""
    times = found.times
    with_crf = f', with {found.crf}' if found.crf else ''
    print(f'\n{len(found.images)} images{with_crf}, rule of the {found.rule}; median '
          f'{1000 * median(times.waited):.0f} ms an image')
    print(times_lines(found))
    print(f'\n{metrics_table(found.metrics, found.names)}')
    if found.shown:
        print(f'of {found.shown}')
    if found.other is not None and (line := rules_line(
            found.hist, found.metrics, found.other, found.rule, found.names)):
        print(line)
    if found.bound is not None:
        print(bound_line(found.metrics.mean_iu, found.bound, found.stride))
    if (warning := one_class_warning(found.hist, found.names)):
        print(warning)
    for doubt in found.warnings:
        print(f'warning: {doubt}')
    if rows:
        save_rows(rows, found.names, out / 'pictures.png', colours=found.colours)
        print(f'pictures (image, ground truth, prediction): {out}/pictures.png')


def times_lines(found: Evaluation) -> str:
    """Inference times, and memory."""
    net, whole = (spread_of(seconds) for seconds in (found.times.net, found.times.whole))
    rows = [f'{name}  median {1000 * values["median"]:.1f} ms, 95 % within '
            f'{1000 * values["p95"]:.1f} ms' for name, values in
            (('net, CRF  ' if found.crf else 'net alone ', net), ('end to end', whole))]
    rate = f'; {len(found.images) / found.times.wall:.1f} images/s' if found.times.wall else ''
    return (f'{rows[0]}  ({found.device}, {found.precision})\n{rows[1]}  (with reading the files)'
            f'{rate}\npeak memory {size(found.memory)}')


def bound_line(mean_iu: float, most: float, factor: int) -> str:
    """The line that compares a mean IU with its upper bound at a stride, both fractions."""
    return (f'the ground truth itself at stride {factor}, by nearest neighbour (appendix A): mean '
            f'IU {100 * most:.1f}; {of_bound(mean_iu, most)}')
