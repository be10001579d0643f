#!/usr/bin/env python3
"""Feed mutated files to every reader of files from outside; fail on any fault.

    python tools/fuzz.py --minutes 10 [--readers net weights] [--jobs 2]

The code is tests/support/fuzz_readers.py; docs/reliability.md has its figures.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tests/support'))
from fuzz_readers import main

from fcn_repro.cli.reporting import report_errors

if __name__ == '__main__':
    report_errors()(main)()
