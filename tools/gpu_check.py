"""Build, test, sanitise and benchmark on a GPU: what `make gpu-check` does after the build.

    python tools/gpu_check.py [STEP …]

All steps run, or those named, and their output is printed as it arrives; the exit status is 1 if
one of them failed, which keeps none of the others from running. runs/gpu-check/report.md has the
end of each step's output; tables and a plot are beside it. compute-sanitizer does not work in every
virtual machine: if it refuses the device, the report says so, and this does not count as a failure.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

OUT = Path('runs/gpu-check')
RESULTS = OUT / 'results.json'
SANITIZER = 'compute-sanitizer'
REFUSALS = ('Device not supported', 'Unable to find injection')
TESTS = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
SANITISED = [*TESTS, 'tests/ops/test_ops.py', 'tests/ops/test_ops_reduced.py',
             'tests/solver/test_update.py', '-k', 'cuda and (twin or golden or rules)']
THREADS = {'OMP_NUM_THREADS': '1'}      # of a test's process: several run at once
LINES = 200         # of each step's output in the report
STEPS = {
    'tests': [*TESTS, '-n', '4'],
    'memcheck': [SANITIZER, '--tool', 'memcheck', '--error-exitcode', '9', *SANITISED],
    'racecheck': [SANITIZER, '--tool', 'racecheck', '--error-exitcode', '9', *SANITISED],
    'benchmarks': [sys.executable, 'benchmarks/bench.py', '--device', 'cuda', '--json',
                   str(RESULTS)],
    'precision': [sys.executable, 'benchmarks/precision.py', '--device', 'cuda', '--size',
                  '500x500'],
    'tables': [sys.executable, 'benchmarks/report.py', str(RESULTS), '--out', str(OUT)],
}


def run(name, command):
    """Run one step; return (a verdict in a few words, its output)."""
    if command[0] == SANITIZER and not shutil.which(SANITIZER):
        return 'not installed', ''
    print(f'\n== {name}: {" ".join(command)}', flush=True)
    env = {**os.environ, **(THREADS if 'pytest' in command else {})}
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors='replace', env=env)
    except OSError as error:
        return f'failed to start: {error}', ''
    refused, lines = False, []
    for line in process.stdout:
        refused |= line.startswith('=====') and any(text in line for text in REFUSALS)
        lines.append(line)
        print(line, end='', flush=True)
    status, output = process.wait(), ''.join(lines)
    if status == 0:
        return 'passed', output
    return 'refused by this machine' if refused else f'failed with status {status}', output


def report(machine, verdicts, outputs):
    """Return the report: machine, verdicts, then the last lines of each step's output."""
    parts = ['# GPU check', machine, '| step | |\n|---|---|\n' + '\n'.join(
        f'| {name} | {verdict} |' for name, verdict in verdicts.items())]
    for name, output in outputs.items():
        last = ''.join(output.splitlines(keepends=True)[-LINES:])
        parts.append(f'## {name}\n\n```\n{last.rstrip()}\n```')
    return '\n\n'.join(parts) + '\n'


@report_errors()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('steps', nargs='*', metavar='STEP',
                        help=f'some of {", ".join(STEPS)} (default: all)')
    steps = parser.parse_args().steps or list(STEPS)
    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        raise FcnError(f"no step '{unknown[0]}'", do=f'Give some of {", ".join(STEPS)}.')
    if not torch.cuda.is_available():
        raise FcnError('torch sees no GPU', do='Run this on a machine with one.')
    machine = (f'{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA '
               f'{torch.version.cuda}, Python {sys.version.split()[0]}')
    print(machine)
    OUT.mkdir(parents=True, exist_ok=True)
    if 'benchmarks' in steps:
        RESULTS.unlink(missing_ok=True)         # of an earlier check
    verdicts, outputs = {}, {}
    for name in steps:
        start = time.perf_counter()
        verdict, outputs[name] = run(name, STEPS[name])
        verdicts[name] = f'{verdict} in {time.perf_counter() - start:.0f} s'
        (OUT / 'report.md').write_text(report(machine, verdicts, outputs))
    print('\n' + '\n'.join(f'{name:24}{verdict}' for name, verdict in verdicts.items()))
    print(f'written to {OUT}/report.md')
    if any(verdict.startswith('failed') for verdict in verdicts.values()):
        sys.exit(1)


if __name__ == '__main__':
    main()
