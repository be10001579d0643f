"""Kill processes of a distributed run, over and over, and compare its end with an undisturbed one.

    python tests/support/kill_workers.py --kills 50

torchrun starts 4 processes and restarts them after each kill, and the run resumes from its newest
snapshot. Half of the kills are at random times, half inside the sum of gradients. Prints a line;
status 1 unless the weights are those of a run of one process to the bit.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import train_several
from small_runs import run, small_voc

SIZE = 4


def kill_one(folder, rng):
    """Kill a process at a random time after the training has gone on; whether one was killed."""
    path = folder / f'pid{rng.randrange(SIZE)}'
    before = path.stat().st_mtime_ns if path.exists() else 0
    for _ in range(600):
        if path.exists() and path.stat().st_mtime_ns != before and path.read_text():
            break
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 0.5))
    try:
        os.kill(int(path.read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        return False
    return True


def disturbed(folder, kills, until, seed):
    """Run under torchrun with kills; (kills at random times, kills in reductions)."""
    rng, done = random.Random(seed), 0
    program = Path(__file__).with_name('train_several.py')
    process = subprocess.Popen(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', str(SIZE),
         '--max-restarts', str(2 * kills + 10), str(program), str(folder), 'elastic', str(until)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, 'REDUCTION_KILLS': str(kills - kills // 2), 'OMP_NUM_THREADS': '1',
             'PYTHONPATH': os.pathsep.join(map(str, (Path(__file__).parents[2],
                                                     Path(__file__).parent)))})
    while done < kills // 2 and process.poll() is None:
        done += kill_one(folder, rng)
    assert process.wait() == 0, f'torchrun ended with {process.returncode}'
    return done, len((folder / 'killed.txt').read_text())


def compare(folder, kills, until, seed=0):
    """(kills at random times, in reductions, seconds, whether the weights are equal)."""
    small_voc(folder / 'voc')
    start = time.monotonic()
    at_random, in_sums = disturbed(folder, kills, until, seed)
    seconds = time.monotonic() - start
    alone = run(train_several.make(folder, (('max_iter: 6', f'max_iter: {until}'),
                                            ('snapshot: 3', 'snapshot: 1000')),
                                   iter_size_in_all=SIZE, prefix=folder / 'alone/train'))
    wanted = train_several.result(alone)
    alone.restore(folder / f'run/train_iter_{until}.solverstate.h5')
    found = train_several.result(alone)
    names = [name for name in wanted if name != 'losses']
    return at_random, in_sums, seconds, all(np.array_equal(wanted[n], found[n]) for n in names)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=50)
    parser.add_argument('--iterations', type=int, help='default: 40 a kill')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        until = args.iterations or 40 * args.kills
        at_random, in_sums, seconds, equal = compare(Path(folder), args.kills, until, args.seed)
    print(f'{SIZE} processes, {until} iterations, {seconds:.0f} s: {at_random} killed at random '
          f'times, {in_sums} inside the sum of gradients; weights '
          f'{"equal to the bit" if equal else "DIFFER"}')
    sys.exit(not equal)


if __name__ == '__main__':
    main()
