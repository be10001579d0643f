#!/usr/bin/env python3
"""Check that an error of the built C++ ops reaches Python; `make build` runs this after the build.

    python tools/check_build.py

A second C++ library in the process, linked statically into the extension, ends it with a
segmentation fault as soon as an op puts an error into words, or loses the numbers in them. A bad
argument is therefore passed to an op in a child process.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

ROOT = Path(__file__).resolve().parents[1]
PROBE = """
import torch
from fcn_repro import ops
try:
    torch.ops.fcn_repro.conv_gemm_input(torch.empty(1), torch.empty(1))
except ValueError as error:
    if 'shape [1]' not in str(error) or 'of 4 axes' not in str(error):
        raise SystemExit(f'the message lacks its numbers: {error}')
else:
    raise SystemExit('a bad argument of conv_gemm_input raised no error')
"""


def check_errors(probe):
    """Run `probe`, a command that raises an error of an op and catches it; FcnError where a signal
    kills it or it fails."""
    done = subprocess.run(probe, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        found = f'ended with {signal.Signals(-done.returncode).name}' if done.returncode < 0 else \
            f'ended with status {done.returncode}: {done.stderr.strip()}'
        raise FcnError(f'a process that gave an op a bad argument {found}',
                       do='Run `make clean build`, with another compiler if that does not help: '
                          'CXX=g++-12 is tested.')


@report_errors()
def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    check_errors([sys.executable, '-c', PROBE])


if __name__ == '__main__':
    main()
