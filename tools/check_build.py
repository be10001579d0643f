#!/usr/bin/env python3
"""Check that an error of the built C++ ops reaches Python; `make build` runs this after the build.

    python tools/check_build.py

On some machines with a newer gcc, every C++ exception that was thrown in the extension ended the
process with a segmentation fault, so that any bad argument killed it. A bad argument is therefore
passed to an op in a child process. If a signal kills the child, the extension is linked again with
other flags; if none of them helps, this fails.
"""

import argparse
import os
import shlex
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
except ValueError:
    pass
else:
    raise SystemExit('a bad argument of conv_gemm_input raised no error')
"""
# FCN_REPRO_LINK in place of setup.py's own: a linker other than GNU's may leave out the header of
# the unwind tables; an older libgcc_s in the process may not know the tables of a newer gcc.
ATTEMPTS = '-fuse-ld=bfd -Wl,--eh-frame-hdr -shared-libgcc', '-static-libgcc'


def killed_by(command):
    """The name of the signal that killed `command`, or None where it succeeds; FcnError for any
    other exit status than 0."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    if done.returncode:
        raise FcnError(f'{shlex.join(command[:1])} ended with status {done.returncode} when an op '
                       f'was given a bad argument: {done.stderr.strip()}',
                       do='Run `make clean build`.')
    return None


def relink(flags):
    """Link the extension again with `flags`; if that fails, the extension is left as it was."""
    before = {path: path.read_bytes() for path in (ROOT / 'fcn_repro').glob('_C*.so')}
    for path in before:
        path.unlink()           # or setuptools takes it as up to date
    done = subprocess.run([sys.executable, 'setup.py', '--quiet', 'build_ext', '--inplace'],
                          cwd=ROOT, env={**os.environ, 'FCN_REPRO_LINK': flags})
    if done.returncode:
        print(f'linking with {flags} ended with status {done.returncode}')
        for path, content in before.items():
            path.write_bytes(content)


def check_errors(probe, relink, attempts=ATTEMPTS):
    """Run `probe`, a command that raises an error of an op and catches it; where a signal kills it,
    call relink(flags) for each of the attempts until it survives. FcnError if it never does."""
    killer = killed_by(probe)
    for flags in attempts:
        if killer is None:
            break
        print(f'an error of a C++ op killed the process ({killer}); linking again with {flags}')
        relink(flags)
        killer = killed_by(probe)
    if killer is not None:
        raise FcnError(f'an error that a C++ op raises kills the process with {killer}, also when '
                       f'linked with {" or ".join(attempts)}',
                       do='Build with g++ 12 (CXX=g++-12), the compiler that is tested.')


@report_errors()
def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    check_errors([sys.executable, '-c', PROBE], relink)


if __name__ == '__main__':
    main()
