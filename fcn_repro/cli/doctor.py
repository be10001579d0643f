"""Say why a net does not learn: look at solver, net, weights and data together, and at some
iterations in memory. Nothing is written. The status is 1 where a fault was found."""

import argparse

from .. import doctor
from ..errors import FcnError
from .arguments import add_dialect, add_max_pixels, dialect_of_args, say_dialect
from .remedies import REMEDIES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', nargs='?', metavar='RUN', help="folder of a run, or its name below "
                        '--runs: its net, solver, newest weights, data and log')
    parser.add_argument('--solver', metavar='FILE', help="a solver of one's own, Caffe's as well")
    parser.add_argument('--net', metavar='FILE', help="a net in the place of the solver's; alone, "
                        'a deploy net')
    parser.add_argument('--weights', metavar='FILE', help='what training starts from, or, without '
                        'a solver, what the net is used with')
    parser.add_argument('--voc', metavar='DIR', help="folder laid out as VOC's, in the place of "
                        'that which the net names')
    parser.add_argument('--log', metavar='FILE', help='log of a training, ours or Caffe\'s')
    parser.add_argument('--interp', action='store_true', help='with bilinear upsampling and zero '
                        "scores before the first iteration, as the release's solve.py makes them")
    parser.add_argument('--iterations', type=int, metavar='N', default=doctor.ITERATIONS,
                        help='of training in memory (default: %(default)s)')
    parser.add_argument('--static', action='store_true', help='no iteration: seconds')
    parser.add_argument('--runs', metavar='DIR', default='runs', help='folder of all runs '
                        '(default: %(default)s)')
    add_max_pixels(parser)
    add_dialect(parser)


def run(args: argparse.Namespace) -> int | None:
    """1 where there is a fault."""
    if args.iterations < 0:
        raise FcnError(f'iterations is {args.iterations}', code='negative',
                       facts={'option': 'iterations'}, do='Give 0 or more.')
    subject = subject_of(args)
    if subject.usable:
        say_dialect(subject.text.file, subject.net.graph.dialect, subject.net.found)
    report = doctor.examine(subject, 0 if args.static else args.iterations)
    for number, finding in enumerate(report.findings, 1):
        place = f'{finding.place}: ' if finding.place else ''
        print(f'{number}. {finding.severity}: {place}{finding.what}')
        print(f'   found:  {finding.evidence}')
        print(f'   change: {remedy(finding)}')
    skipped = f'; not checked: {", ".join(report.unchecked)}' if report.unchecked and not (
        args.static and report.unchecked == ('iterations',)) else ''
    doubts = len(report.findings) - report.faults
    print(f'{count(report.faults, "fault")}, {count(doubts, "doubt")} in '
          f'{", ".join(report.checked) or "nothing"}{skipped}')
    return 1 if report.faults else None


def subject_of(args: argparse.Namespace) -> doctor.Subject:
    """What the options name."""
    if args.run:
        other = next((name for name in ('solver', 'net', 'log', 'interp', 'dialect', 'define')
                      if getattr(args, name)), None)
        if other:
            raise FcnError(f'the folder of a run has its own {other}', code='option-not-taken',
                           facts={'option': other}, do=f'Leave out {other}.')
        return doctor.of_run(args.run, args.voc, args.weights, args.runs)
    return doctor.of_files(args.solver, args.net, args.weights, args.voc, args.log, args.interp,
                           **dialect_of_args(args))


def count(number: int, what: str) -> str:
    """A number of things in words."""
    return f'{number or "no"} {what}{"s" * (number != 1)}'


def remedy(finding: doctor.Finding) -> str:
    """What to change, in the words of the command where there are some."""
    error = FcnError(finding.what, do=finding.do, code=f'doctor-{finding.code}',
                     facts=finding.facts)
    text = REMEDIES.get(error.code)
    return text.format(**error.facts) if isinstance(text, str) else error.do
