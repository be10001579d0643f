"""Feed mutated files to every reader: tests/support/fuzz_readers.py."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests/support')]
from fuzz_readers import main

if __name__ == '__main__':
    main()
