"""Doctor: solver, net, weights and data looked at together, for what keeps a net from learning.

A check is a function that yields Findings. Those of STATIC look at a Subject without an iteration,
in seconds; those of trial.FINDERS at some iterations in memory. Thresholds stand with their reason
above the checks of their theme. The cases are the questions that FCN's release was asked most.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from . import alignment, copying, history, inputs, labels, outputs, rates, trial
from .finding import DOUBT, FAULT, Finding
from .subject import Subject, of_files, of_run
from .trial import ITERATIONS

__all__ = ['DOUBT', 'FAULT', 'ITERATIONS', 'Finding', 'Report', 'Subject', 'examine', 'of_files',
           'of_run']

Check = Callable[[Any], Iterator[Finding]]
STATIC: tuple[Check, ...] = (
    labels.label_ids, labels.label_values, labels.labelled, labels.folder, labels.before_the_loss,
    inputs.mean_pixel, inputs.mean_of_weights, inputs.subtracted, inputs.constant_images,
    copying.dead_fillers, copying.renamed, copying.share_copied, copying.stages_in_order,
    copying.untrained_scores, copying.no_statistics, copying.unfolded,
    alignment.interpolation, alignment.crop_offsets,
    rates.step_size, rates.scaled_rate, rates.fading, rates.learning_layers,
    outputs.one_class, outputs.channel_order)

# without sense where the weights were not copied
OF_WEIGHTS = (copying.dead_fillers, copying.renamed, copying.share_copied, copying.stages_in_order,
              copying.untrained_scores, copying.no_statistics, copying.unfolded,
              alignment.interpolation, rates.step_size)


@dataclass(frozen=True)
class Report:
    """findings: faults first. checked, unchecked: what was looked at, and what could not be, in
    words."""
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def faults(self) -> int:
        """How many findings are faults."""
        return sum(finding.severity == FAULT for finding in self.findings)


def examine(subject: Subject, iterations: int = ITERATIONS) -> Report:
    """Look at a subject; iterations: of training, in memory and on a copy, 0 for none. Nothing is
    written."""
    found, checked = [*subject.findings], []
    for finding in history.losses(subject) if subject.log else ():
        found.append(finding)
    if subject.usable:
        before = len(subject.findings)
        for check in STATIC:
            if subject.fits or check not in OF_WEIGHTS:
                found += check(subject)
        found += subject.findings[before:]
        checked = words_of(subject)
    blocking = sorted({f.code for f in found if f.severity == FAULT} & trial.BLOCKING)
    unchecked = list(subject.unchecked)
    if iterations and subject.solver is not None and subject.has_data \
            and not blocking and subject.fits:
        done = trial.run_trial(subject, iterations)
        for finder in trial.FINDERS:
            found += finder(subject, done)
        checked.append(f'{len(done.losses)} iterations')
    elif iterations:
        unchecked.append(f'iterations ({why_not(subject, blocking)})')
    return Report(tuple(sorted(merged(found), key=lambda f: f.severity != FAULT)), tuple(checked),
                  tuple(unchecked))


def why_not(subject: Subject, blocking: list[str]) -> str:
    """Why no iteration was run."""
    if blocking:
        return 'correct the faults first'
    return 'there is no solver' if subject.solver is None else 'there are no data'


def merged(found: list[Finding]) -> Iterator[Finding]:
    """One Finding for those of one code and severity, with the place and the numbers of the first,
    and the number of the others."""
    for code, severity in dict.fromkeys((f.code, f.severity) for f in found):
        first, *more = [f for f in found if (f.code, f.severity) == (code, severity)]
        places = list(dict.fromkeys(f.place for f in (first, *more)))
        if len(places) > 1:
            others = ', '.join(places[1:4]) + (' …' if len(places) > 4 else '')
            first = replace(first, evidence=f'{first.evidence}; also {others}')
        yield first


def words_of(subject: Subject) -> list[str]:
    """What of a subject was looked at."""
    words = [f'{len(subject.net.graph.nodes)} layers']
    if subject.solver is not None:
        words.insert(0, 'the solver')
    if subject.weights is not None:
        words.append('the weights')
    if subject.samples:
        words.append(f'{len(subject.samples)} samples')
    if subject.log is not None:
        words.append(f'{len(subject.log.losses)} losses of the log')
    return words
