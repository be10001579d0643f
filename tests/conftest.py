"""Shared by all tests: the folder of this file on the path, so that `goldens` imports."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
