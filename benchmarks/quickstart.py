"""The quick start from nothing: a fresh clone, `make build`, `make train-fcn32s`, `make test`.

Prints how long each took on this machine beside what it may take on 2 cores, and the mean IU on
the val scenes beside its upper bound. Takes about 12 minutes and 3 GB of disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MINUTES = {'build': 6, 'train-fcn32s': 12, 'test': 6}
LEAST = 60        # percent of the upper bound that mean IU should reach


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('make', nargs='*', help='variables for make, such as TORCH=…')
    args = parser.parse_args()
    print(f'{os.cpu_count()} cores, Python {sys.version.split()[0]}')
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, 'fcn_repro')
        subprocess.run(['git', 'clone', '--quiet', ROOT, clone], check=True)
        for target, minutes in MINUTES.items():
            start = time.perf_counter()
            with open(clone / f'{target}.log', 'w') as log:
                status = subprocess.run(['make', target, *args.make], cwd=clone, stdout=log,
                                        stderr=subprocess.STDOUT).returncode
            seconds = time.perf_counter() - start
            print(f'make {target:13} {seconds / 60:5.1f} min (may take {minutes} on 2 cores)',
                  flush=True)
            if status:
                sys.exit(Path(log.name).read_text()[-2000:])
        metrics = json.loads((clone / 'runs/mini-fcn32s/eval/metrics.json').read_text())
    print(f'mean IU {100 * metrics["mean_iu"]:.1f}, {100 * metrics["of_bound"]:.0f} % of its upper '
          f'bound {100 * metrics["bound"]:.1f} (at least {LEAST} % wanted)')


if __name__ == '__main__':
    main()
