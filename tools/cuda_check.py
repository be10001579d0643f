#!/usr/bin/env python3
"""Compile the CUDA kernels without torch or a GPU; fail on any warning, stack frame or spill.

    python tools/cuda_check.py [--arch sm_90]

The sources are compiled with torch's own options, so that they compile in a CUDA build as well.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

SOURCES = Path(__file__).resolve().parents[1] / 'csrc' / 'cuda'
ARCHS = ['sm_80', 'sm_90', 'sm_100']
FLAGS = ['-O3', '-std=c++20', '-Xptxas', '-v', '-Werror', 'all-warnings',
         '-D__CUDA_NO_HALF_OPERATORS__', '-D__CUDA_NO_HALF_CONVERSIONS__',
         '-D__CUDA_NO_BFLOAT16_CONVERSIONS__', '-D__CUDA_NO_HALF2_OPERATORS__']
KERNEL = re.compile(r"Compiling entry function '(\w+)'")
FRAME = re.compile(r'(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads')


def find_nvcc():
    """Return the path of nvcc, from PATH or CUDA_HOME."""
    nvcc = shutil.which('nvcc', path=os.pathsep.join(
        [os.environ.get('PATH', ''), os.path.join(os.environ.get('CUDA_HOME', ''), 'bin')]))
    if nvcc is None:
        raise FcnError('nvcc is neither on PATH nor in $CUDA_HOME/bin',
                       do='Install the CUDA toolkit (13.0 is tested) or set CUDA_HOME.')
    return nvcc


def compile_kernels(nvcc, source, arch):
    """Return nvcc's report on one source for one architecture; FcnError if it does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([nvcc, *FLAGS, f'-arch={arch}', '-c', source, '-o',
                               Path(folder, 'kernel.o')], capture_output=True, text=True)
    report = done.stdout + done.stderr
    if done.returncode or 'warning' in report.lower():
        raise FcnError(f'nvcc -arch={arch} ended with status {done.returncode}:\n{report}',
                       file=source, do='Fix what it reports; warnings count as errors here.')
    return report


def check_frames(report, source, arch):
    """Return the number of kernels in a report; FcnError if one spills or has a stack frame."""
    kernels, frames = KERNEL.findall(report), FRAME.findall(report)
    if not kernels or len(frames) < len(kernels):
        raise FcnError(f'{len(kernels)} kernels but {len(frames)} frame lines in the report of '
                       f'-arch={arch}:\n{report}', file=source,
                       do='Adapt the patterns in this script to this nvcc.')
    for kernel, frame in zip(kernels, frames):
        if any(int(count) for count in frame):
            stack, stores, loads = frame
            raise FcnError(f'{kernel} for {arch} has {stack} bytes of stack, {stores} of spill '
                           f'stores and {loads} of spill loads, expected 0', file=source,
                           do='Index arrays by constants and keep fewer values alive.')
    return len(kernels)


@report_errors()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--arch', nargs='+', default=ARCHS, help='default: %(default)s')
    args = parser.parse_args()
    nvcc = find_nvcc()
    known = subprocess.run([nvcc, '--list-gpu-code'], capture_output=True, text=True,
                           check=True).stdout.split()
    for arch in args.arch:
        if arch not in known:
            raise FcnError(f'this nvcc does not compile for {arch}; it knows {" ".join(known)}',
                           do='Name another with --arch.')
        for source in sorted(SOURCES.rglob('*.cu')):
            count = check_frames(compile_kernels(nvcc, source, arch), source, arch)
            print(f'{source.name} {arch}: {count} kernels, no warnings, no stack, no spills')


if __name__ == '__main__':
    main()
