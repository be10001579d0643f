#!/usr/bin/env python3
"""Print what a build of the C++ ops depends on besides the sources, as the name of a file: torch's
version, and a hash of the compiler, this machine's instruction set and the options of setup.py.

    python tools/build_stamp.py

`make build` compiles all anew where no stamp of this name exists: in a checkout that was copied
from another machine, and after another compiler.
"""

import argparse
import hashlib
import importlib.metadata
import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fcn_repro.processor import macros

OPTIONS = 'FCN_REPRO_PORTABLE', 'FCN_REPRO_SANITIZE', 'TORCH_CUDA_ARCH_LIST'


def stamp() -> str:
    """Return the name; without a compiler too, which setup.py reports."""
    compiler = shlex.split(os.environ.get('CXX', 'c++'))
    try:
        target = macros(compiler)
    except (OSError, subprocess.CalledProcessError):
        target = ''
    known = [*compiler, target, *(os.environ.get(name, '') for name in OPTIONS)]
    digest = hashlib.sha256('\0'.join(known).encode()).hexdigest()[:16]
    return f'{importlib.metadata.version("torch")}-{digest}'


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split('\n')[0]).parse_args()
    print(stamp())


if __name__ == '__main__':
    main()
