"""Build, test, sanitise and benchmark on a GPU: what `make gpu-check` does after the build.

    python tools/gpu_check.py [STEP …] [--goldens FOLDER]

All steps run, or those named: first those that only want to be right, side by side; then, each by
itself, those that are timed. Every step has its own time, and is ended when that is over; one that
fails or hangs keeps none of the others from running. The last lines printed are one table; the exit
status is 1 if a step failed. runs/gpu-check/report.md has the table and the end of each step's
output; figures and a plot are beside it. compute-sanitizer does not work in every virtual machine:
if it refuses the device, the report says so, and this does not count as a failure.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

ROOT = Path(__file__).resolve().parents[1]
OUT = Path('runs/gpu-check')
RESULTS = OUT / 'results.json'
RUNS = OUT / 'train'
GOLDENS = ROOT.parent / 'shared/goldens', ROOT / 'tests/data'      # all, or those of the tests
SANITIZER = 'compute-sanitizer'
REFUSALS = ('Device not supported', 'Unable to find injection')
MISSING = 'the photograph of this case is missing'
TESTS = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
ON_HOST = [f'--ignore=tests/ops/test_{name}.py' for name in (
    'cuda_kernels', 'cuda_shim', 'cuda_winograd')]
ERRORS = [*TESTS, '-n', '4', 'tests/ops', 'tests/solver/test_update.py',
          'tests/passes/test_fuse_score.py', 'tests/layers/test_sampled_loss.py',
          'tests/layers/test_loss_layers.py', *ON_HOST, '-k',
          'bad or refus or wrong or errors or out_of_range or mixed or empty_crops or beyond '
          'or requires']
# those that compute on the GPU; the others are what `make test` is for
GPU_TESTS = [*TESTS, '-n', '6', '--continue-on-collection-errors', '-k',
             'cuda or gpu or graphs or device']
SANITISED = [*TESTS, '-n', '6', 'tests/ops', 'tests/solver/test_update.py', *ON_HOST, '-k',
             'cuda and (twin or golden or rules or border or pool or col2im or winograd or image '
             'or unrolled or relu_backward or double_sum)']
# of the kernels whose threads share memory
RACES = [*TESTS, '-n', '4', 'tests/ops/test_ops.py', 'tests/ops/test_ops_reduced.py',
         'tests/ops/test_interp.py', 'tests/ops/test_unrolled.py', '-k',
         'cuda and dtype0 and (twin or golden or image or relu_backward)']     # float32
BENCH = [sys.executable, 'benchmarks/bench.py', '--device', 'cuda', '--compile', 'nets']
CASES = r'\d+ cases, .*'
COMPILED = [f'{what} {precision}' for what, precisions in (
    ('images', ('bf16', 'tf32', 'fp32')), ('training', ('tf32', 'fp32')))
    for precision in precisions]
PYTEST = r'\d+ (?:passed|failed|error).* in [\d.]+s.*'
SUMMARY = 10        # seconds that a step has to say what failed, when its time is over
LINES = 200         # of each step's output in the report


class Step(NamedTuple):
    """A command, the seconds that it has, and patterns of its main figures, of each of which the
    last one counts. quiet: it is timed, so nothing else runs meanwhile. threads: OpenMP's, of a
    process beside which others run (None: as they are)."""
    command: list[str]
    seconds: int
    figures: tuple[str, ...] = ()
    quiet: bool = False
    threads: int | None = 1


STEPS = {
    'errors': Step(ERRORS, 120, (PYTEST,)),
    'goldens': Step([sys.executable, '-m', 'fcn_repro', 'check-goldens', '--device', 'cuda',
                     '--bad'], 200, (CASES,)),
    'tests': Step(GPU_TESTS, 200, (PYTEST,)),
    'memcheck': Step([SANITIZER, '--tool', 'memcheck', '--error-exitcode', '9', *SANITISED], 200,
                     (r'ERROR SUMMARY: .*',)),
    'racecheck': Step([SANITIZER, '--tool', 'racecheck', '--error-exitcode', '9', *RACES], 180,
                      (r'RACECHECK SUMMARY: .*',)),
    # what torch.compile keeps on disk, so that the benchmarks need not wait for it
    'compile': Step([*BENCH, '--runs', '1', '--only', *COMPILED], 200),
    'train': Step([sys.executable, '-m', 'fcn_repro', 'train', 'mini-fcn32s', '--runs', str(RUNS)],
                  90, (r'[\d.]+ images/s', r'mean IU [\d.]+'), True, None),
    'benchmarks': Step([*BENCH, '--json', str(RESULTS)], 200,
                       (r'\d+ of \d+ targets reached',), True, None),
    'precision': Step([sys.executable, 'benchmarks/precision.py', '--device', 'cuda', '--size',
                       '500x500', '--runs', '5'], 60, (r'^bf16 .*',), True, None),
    'tables': Step([sys.executable, 'benchmarks/report.py', str(RESULTS), '--out', str(OUT)], 20,
                   (), True, None),
}


class Outcome(NamedTuple):
    verdict: str
    output: str = ''
    seconds: float = 0
    figure: str = ''

    @property
    def failed(self) -> bool:
        return self.verdict.startswith(('failed', 'out of time'))


def run(name: str, step: Step) -> Outcome:
    """Run one step, each of its lines printed behind its name."""
    if step.command[0] == SANITIZER and not shutil.which(SANITIZER):
        return Outcome('not installed')
    start = time.perf_counter()
    print(f'== {name}: {" ".join(step.command)}', flush=True)
    env = dict(os.environ)
    if step.threads:
        env['OMP_NUM_THREADS'] = str(step.threads)
    try:
        process = subprocess.Popen(step.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors='replace', env=env, start_new_session=True)
    except OSError as error:
        return Outcome(f'failed to start: {error}')
    over = threading.Event()
    clock = threading.Timer(step.seconds, lambda: (over.set(), end(process, signal.SIGINT)))
    last = threading.Timer(step.seconds + SUMMARY, lambda: end(process))
    clock.start(), last.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            print(f'{name}: {line}', end='', flush=True)
        status = process.wait()
    finally:
        clock.cancel(), last.cancel()
        end(process)
    output = ''.join(lines)
    found = [re.findall(pattern, output, re.MULTILINE)[-1:] for pattern in step.figures]
    verdict = f'out of time after {step.seconds} s' if over.is_set() else judge(status, output)
    return Outcome(verdict, output, time.perf_counter() - start,
                   '; '.join(each for last in found for each in last))


def end(process, by: int = signal.SIGKILL) -> None:
    """End a step with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, by)


def judge(status: int, output: str) -> str:
    """A verdict in a few words. Goldens of photographs that are not there are left out."""
    lines = output.splitlines()
    if status == 0:
        return 'passed'
    if any(line.startswith('=====') and any(text in line for text in REFUSALS) for line in lines):
        return 'refused by this machine'
    left_out = [line for line in lines if MISSING in line]
    bad = [line for line in lines if 'NOT SUPPORTED' in line or ' DEPARTS' in line
           or 'AGREES NOW' in line]
    if left_out and status == 1 and len(bad) == len(left_out) and re.search(
            CASES, lines[-1]):
        return f'passed, {len(left_out)} without their photographs left out'
    return f'failed with status {status}'


def cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|')[:100]


def table(outcomes: dict[str, Outcome]) -> str:
    """One row a step: verdict, seconds, main figure."""
    return '\n'.join(['| step | verdict | seconds | |', '|---|---|---|---|', *(
        f'| {name} | {cell(o.verdict)} | {o.seconds:.0f} | {cell(o.figure)} |'
        for name, o in outcomes.items())])


def report(machine: str, outcomes: dict[str, Outcome]) -> str:
    """The machine, the table, then the last lines of each step's output."""
    parts = ['# GPU check', machine, table(outcomes)]
    for name, outcome in outcomes.items():
        last = ''.join(outcome.output.splitlines(keepends=True)[-LINES:])
        parts.append(f'## {name}\n\n```\n{last.rstrip()}\n```')
    return '\n\n'.join(parts) + '\n'


def run_all(steps: dict[str, Step], machine: str) -> dict[str, Outcome]:
    """The outcomes of the steps, in their order; the report is written anew after each."""
    outcomes: dict[str, Outcome] = {}
    lock = threading.Lock()

    def one(name):
        try:
            outcome = run(name, steps[name])
        except Exception as error:              # of this script: the others go on
            outcome = Outcome(f'failed: {error!r}')
        with lock:
            outcomes[name] = outcome
            done = {each: outcomes[each] for each in steps if each in outcomes}
            (OUT / 'report.md').write_text(report(machine, done))
    loud = [name for name, step in steps.items() if not step.quiet]
    with ThreadPoolExecutor(max(1, len(loud))) as pool:
        list(pool.map(one, loud))
    for name in (name for name, step in steps.items() if step.quiet):
        one(name)
    return {name: outcomes[name] for name in steps}


def chosen(names: list[str], goldens: str | None) -> dict[str, Step]:
    """The steps of these names, or all. FcnError for an unknown one."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        raise FcnError(f"no step '{unknown[0]}'", do=f'Give some of {", ".join(STEPS)}.')
    steps = {name: STEPS[name] for name in names or STEPS}
    if 'goldens' in steps:
        folder = goldens or next(str(path) for path in GOLDENS if path.is_dir())
        if folder == str(GOLDENS[1]):
            print(f'{GOLDENS[0]} is missing: the goldens are those of tests/data alone')
        step = steps['goldens']
        steps['goldens'] = step._replace(command=[*step.command, folder])
    return steps


@report_errors()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('steps', nargs='*', metavar='STEP',
                        help=f'some of {", ".join(STEPS)} (default: all)')
    parser.add_argument('--goldens', metavar='FOLDER', help='goldens to compare with (default: '
                        '../shared/goldens, or those of tests/data)')
    args = parser.parse_args()
    steps = chosen(args.steps, args.goldens)
    if not torch.cuda.is_available():
        raise FcnError('torch sees no GPU', do='Run this on a machine with one.')
    machine = (f'{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA '
               f'{torch.version.cuda}, Python {sys.version.split()[0]}')
    print(machine)
    start = time.perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    if 'benchmarks' in steps:
        RESULTS.unlink(missing_ok=True)         # of an earlier check
    if 'train' in steps:
        shutil.rmtree(RUNS, ignore_errors=True)
    outcomes = run_all(steps, machine)
    print(f'\n{machine}; {time.perf_counter() - start:.0f} s in all; more in {OUT}/report.md\n')
    print(table(outcomes), flush=True)
    if any(outcome.failed for outcome in outcomes.values()):
        sys.exit(1)


if __name__ == '__main__':
    main()
