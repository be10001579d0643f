"""Build, test, sanitise and benchmark on a GPU: what `make gpu-check` does after the build.

Each step runs to its end, and its output is printed as it comes; the exit status is 1 where one of
them failed. compute-sanitizer does not work in every virtual machine: where it refuses the device
that is said, and does not count as a failure.
"""

import argparse
import shutil
import subprocess
import sys
import time

import torch

from fcn_repro.errors import FcnError, tool

SANITIZER = 'compute-sanitizer'
REFUSALS = ('Device not supported', 'Unable to find injection')
TESTS = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
SANITISED = [*TESTS, 'tests/test_ops.py', 'tests/test_ops_reduced.py', 'tests/test_update.py',
             '-k', 'cuda and (twin or golden or rules)']
STEPS = {
    'tests': [*TESTS, '-n', '4'],
    'memcheck': [SANITIZER, '--tool', 'memcheck', '--error-exitcode', '9', *SANITISED],
    'racecheck': [SANITIZER, '--tool', 'racecheck', '--error-exitcode', '9', *SANITISED],
    'upcrop': [sys.executable, 'benchmarks/upcrop.py', '--device', 'cuda'],
    'upcrop, channels-last': [sys.executable, 'benchmarks/upcrop.py', '--device', 'cuda',
                              '--channels-last'],
    'labels and loss': [sys.executable, 'benchmarks/fused.py', '--device', 'cuda'],
    'deconv': [sys.executable, 'benchmarks/deconv.py', '--device', 'cuda'],
    'update': [sys.executable, 'benchmarks/update.py', '--device', 'cuda'],
}


def run(name, command):
    """One step: its verdict in a word or two."""
    if command[0] == SANITIZER and not shutil.which(SANITIZER):
        return 'not installed'
    print(f'\n== {name}: {" ".join(command)}', flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    refused = False
    for line in process.stdout:
        refused |= line.startswith('=====') and any(text in line for text in REFUSALS)
        print(line, end='', flush=True)
    if process.wait() == 0:
        return 'passed'
    return 'refused by this machine' if refused else 'failed'


@tool
def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    if not torch.cuda.is_available():
        raise FcnError('torch sees no GPU here', do='Run this on a machine with one.')
    print(f'{torch.cuda.get_device_name()}, torch {torch.__version__}')
    verdicts = {}
    for name, command in STEPS.items():
        start = time.perf_counter()
        verdicts[name] = f'{run(name, command)} in {time.perf_counter() - start:.0f} s'
    print('\n' + '\n'.join(f'{name:24}{verdict}' for name, verdict in verdicts.items()))
    if any(verdict.startswith('failed') for verdict in verdicts.values()):
        sys.exit(1)


if __name__ == '__main__':
    main()
