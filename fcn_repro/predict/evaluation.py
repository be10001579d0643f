"""Evaluation of a val net as in the paper: four metrics, IU per class, time, pictures."""

import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from ..data.layer import DataLayer
from ..distributed import ALONE, Processes
from ..errors import FcnError
from ..formats.atomic import write_text
from ..lock import locked
from ..net.net import Net
from ..paths import confined
from ..report import contact_sheet, metrics_table, one_class_warning, side_by_side
from .labels import data_layer, evaluate
from .metrics import Confusion, Metrics, coarse
from .outputs import Output, find_output

log = logging.getLogger(__name__)


def val_score(net: Net, iteration: int, processes: Processes = ALONE) -> str:
    """Score a val net during training, as the release's solve.py does between its steps. Logs four
    lines and returns one for the screen."""
    output = find_output(net)
    confusion = Confusion(output.classes)
    for _ in evaluate(net, confusion, output=output, processes=processes):
        pass
    confusion.hist = processes.add(confusion.hist)
    m = confusion.metrics()
    values = {'overall accuracy': m.pixel_accuracy, 'mean accuracy': m.mean_accuracy,
              'mean IU': m.mean_iu, 'fwavacc': m.fw_iu}
    for name, value in values.items():
        log.info('Iteration %d, %s = %.6g', iteration, name, value)
    return (f'val at iteration {iteration}: pixel acc. {100 * m.pixel_accuracy:.1f}, mean acc. '
            f'{100 * m.mean_accuracy:.1f}, mean IU {100 * m.mean_iu:.1f}, f.w. IU '
            f'{100 * m.fw_iu:.1f}')


def evaluate_and_report(net: Net, out: str | Path, pictures: int = 8, count: int | None = None,
                        rule: str = 'paper', output: str | None = None,
                        threshold: float | None = None,
                        processes: Processes = ALONE) -> Metrics:
    """Evaluate a val net on its data, print the tables, and write them and pictures below `out`.

    pictures: number of image | ground truth | prediction strips, spread over the data. count:
    number of images (None: all). rule: of metrics.metrics, 'paper' or 'release'. output,
    threshold: of find_output. processes: those that all call this, each with the net, to share the
    images; the counts are those of one process.
    Returns the Metrics. Writes metrics.json, pictures/<id>.png and pictures.png. FcnError for bad
    data, a net without a score, and a folder that cannot be written, or that another evaluation is
    using.
    """
    data, out = data_layer(net), Path(out)
    prediction_of = find_output(net, output, threshold)
    print(prediction_of.words)
    total = how_many(count, data)
    with locked(out) if processes.first else nullcontext():
        processes.gather(None)              # the folder is there now
        return _report_into(out, net, prediction_of, total, pictures, count, rule, processes)


def _report_into(out: Path, net: Net, prediction_of: Output, total: int, pictures: int,
                 count: int | None, rule: str, processes: Processes) -> Metrics:
    """evaluate_and_report of `total` images into a folder whose lock the first process holds."""
    data = data_layer(net)
    wanted = spread(min(pictures, total), total)
    seconds: list[float] = []
    strips: dict[int, np.ndarray] = {}
    confusion, mine = Confusion(prediction_of.classes), processes.share(total)
    bound, factor = Confusion(confusion.n), stride(net)
    bar = tqdm(evaluate(net, confusion, count, prediction_of, processes), total=len(mine),
               unit='image', disable=None if processes.first else True, dynamic_ncols=True)
    for k, (sample, prediction, time) in zip(mine, bar, strict=True):
        seconds.append(time)
        if factor:
            bound.add(sample.label, coarse(sample.label, factor))
        if k in wanted:
            path = confined(out / 'pictures', f'{sample.id}.png', 'id')
            strips[k] = side_by_side(sample.image, sample.label, prediction, path)
    confusion.hist, bound.hist = processes.add(confusion.hist), processes.add(bound.hist)
    seconds = [second for part in processes.gather(seconds) for second in part]
    drawn = [(k, picture) for part in processes.gather(strips) for k, picture in part.items()]
    metrics = confusion.metrics(rule)
    names = data.classes if data.classes and len(data.classes) == confusion.n else None
    print(f'\n{total} images, rule of the {rule}; median {1000 * median(seconds):.0f} ms an image')
    print(metrics_table(metrics, names))
    most = bound.metrics().mean_iu if factor else None
    if most is not None:
        print(bound_line(metrics.mean_iu, most, factor))
    if (warning := one_class_warning(confusion.hist, names)):
        print(warning)
    if drawn and processes.first:
        contact_sheet([picture for _, picture in sorted(drawn, key=lambda pair: pair[0])],
                      out / 'pictures.png')
        print(f'pictures (image, ground truth, prediction): {out}/pictures.png')
    if processes.first:             # last, so that its presence means a complete folder
        _write_json(out / 'metrics.json', metrics, most, confusion, seconds, rule, names,
                    data.fingerprint())
    return metrics


def bound_line(mean_iu: float, most: float, factor: int) -> str:
    """The line that compares a mean IU with its upper bound at a stride, both fractions."""
    return (f'the ground truth itself at stride {factor}, by nearest neighbour (appendix A): mean '
            f'IU {100 * most:.1f}; the net reaches {100 * mean_iu / most:.0f} % of that')


def how_many(count: int | None, data: DataLayer) -> int:
    """The number of images to evaluate: all, or the first `count`. FcnError for none."""
    if count is not None and count < 1:
        raise FcnError(f'{count} images to evaluate', do='Give 1 or more.')
    return len(data) if count is None else min(count, len(data))


def spread(count: int, total: int) -> set[int]:
    """`count` of the numbers below `total`, evenly spread."""
    return {round(i * (total - 1) / max(1, count - 1)) for i in range(count)}


def stride(net: Net) -> int:
    """Pixels per cell of the finest scores: the stride of the last Deconvolution, 0 without one."""
    ups = [node for node in net.graph.nodes if node.type == 'Deconvolution']
    return max(ups[-1].param.convolution_param.stride, default=1) if ups else 0


def _write_json(path: Path, metrics: Metrics, bound: float | None, confusion: Confusion,
                seconds: Sequence[float], rule: str, names: Sequence[str] | None,
                data: str) -> None:
    iu = [None if v != v else float(v) for v in metrics.class_iu]
    text = json.dumps({
        'pixel_accuracy': float(metrics.pixel_accuracy), 'mean_iu': float(metrics.mean_iu),
        'mean_accuracy': float(metrics.mean_accuracy), 'fw_iu': float(metrics.fw_iu),
        'class_iu': dict(zip(names or map(str, range(len(iu))), iu, strict=True)), 'rule': rule,
        'bound': bound, 'of_bound': bound and metrics.mean_iu / bound,
        'images': len(seconds), 'data': data, 'median_seconds': median(seconds),
        'confusion': confusion.hist.tolist()}, indent=1)
    write_text(text, path)
