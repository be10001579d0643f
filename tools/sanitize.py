#!/usr/bin/env python3
"""Run the op tests on C++ ops built with AddressSanitizer and UBSan; fail on any report.

    python tools/sanitize.py [--keep FOLDER] [-- pytest's arguments]

It builds and tests a copy of the sources; the extension in the checkout is not touched.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = 'csrc', 'fcn_repro', 'tests', 'prototxt'
FILES = 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE'
TESTS = [*(f'tests/ops/test_{name}.py' for name in (
    'ops', 'ops_reduced', 'ops_inputs', 'ops_extremes', 'deconv', 'taps', 'winograd',
    'winograd_inputs', 'winograd_blocks', 'gemm', 'conv', 'pointwise', 'conv1x1', 'prelu',
    'unpool', 'scoring_ops')), 'tests/solver/test_update.py']
# Python and torch never free some allocations; a huge request is an error under test, no report.
OPTIONS = {'ASAN_OPTIONS': 'detect_leaks=0:allocator_may_return_null=1:'
                           'max_allocation_size_mb=8192:log_path={}/asan',
           'UBSAN_OPTIONS': 'print_stacktrace=1'}


def runtime(name):
    """Return the path of a runtime library of the compiler that builds the extension."""
    compiler = os.environ.get('CXX', 'c++')
    if shutil.which(compiler) is None:
        raise FcnError(f"no compiler '{compiler}'", do='Install g++ or set CXX.')
    path = Path(subprocess.run([compiler, f'-print-file-name={name}'], capture_output=True,
                               text=True, check=True).stdout.strip())
    if not path.is_absolute() or not path.exists():
        raise FcnError(f"{compiler} has no {name}, a sanitizer's runtime or what it needs",
                       do='Install it (Debian, Ubuntu: libgcc-12-dev, or that of your g++).')
    return str(path)


def copy_sources(folder):
    """Copy all sources that building and testing needs, but no binaries."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns('*.so', '__pycache__'))
    for name in FILES:
        shutil.copy(ROOT / name, folder)


def build(folder):
    """Build the extension with the sanitizers inside the copied package."""
    env = {**os.environ, 'FCN_REPRO_SANITIZE': '1'}
    done = subprocess.run([sys.executable, 'setup.py', '--quiet', 'build_ext', '--inplace'],
                          cwd=folder, env=env)
    built = list((folder / 'fcn_repro').glob('_C*.so'))
    if done.returncode or not built or b'__asan_init' not in built[0].read_bytes():
        raise FcnError(f'no sanitised extension in {folder}/fcn_repro; the build ended with status '
                       f'{done.returncode}', do='Fix the errors that the compiler reports.')


def run_tests(folder, arguments):
    """Return pytest's exit status and AddressSanitizer's reports; UBSan ends the process."""
    reports = folder / 'reports'
    reports.mkdir(exist_ok=True)
    env = {**os.environ, **{name: value.format(reports) for name, value in OPTIONS.items()},
           'LD_PRELOAD': f'{runtime("libasan.so")} {runtime("libstdc++.so")}',
           'PYTHONPATH': str(folder)}
    status = subprocess.run([sys.executable, '-m', 'pytest', '-s', '-p', 'no:cacheprovider',
                             *arguments],
                            cwd=folder, env=env).returncode
    texts = [path.read_text() for path in sorted(reports.iterdir())]
    return status, [text for text in texts if 'ERROR: AddressSanitizer' in text]


@report_errors()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--keep', type=Path, metavar='FOLDER', help='build here and leave it')
    parser.add_argument('pytest', nargs='*', help=f'default: {" ".join(TESTS)}')
    args = parser.parse_args()
    runtime('libasan.so')
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep.resolve() if args.keep else Path(temporary)
        copy_sources(folder)
        build(folder)
        status, reports = run_tests(folder, args.pytest or TESTS)
    if reports:
        print('\n'.join(reports), file=sys.stderr)
    if status or reports:
        raise FcnError(f'{len(reports)} processes with reports of AddressSanitizer or UBSan, and '
                       f'pytest ended with status {status}', do='Fix the errors reported above.')
    print('AddressSanitizer and UBSan report nothing')


if __name__ == '__main__':
    main()
