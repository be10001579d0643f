"""Readers that do what fuzz_readers has to see, each kind of fault once; run as a script, it runs
them and ends with status 1."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import fuzz_readers
import numpy as np
from fuzz_targets import TARGETS, Target

KEPT: list[int] = []


def crash(path):
    os.kill(os.getpid(), signal.SIGSEGV)


def spin(path):
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass


def write_elsewhere(path):
    (path.parents[1] / 'x').write_text('x')


def start_a_program(path):
    subprocess.run(['true'])


def leave_a_process(path):
    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])


def leave_a_thread_exception(path):
    thread = threading.Thread(target=int, args=('x',))
    thread.start()
    thread.join()


def leave_a_file_open(path):
    KEPT.extend(os.open(path, os.O_RDONLY) for _ in range(10))


def forget_to_close(path):
    path.open()


def take_memory(path):
    return len(np.ones(1 << 26))


BAD = {crash: 'ended its process: SIGSEGV', spin: 'took 0.', write_elsewhere: 'open outside its',
       start_a_program: "started 'true'", leave_a_process: 'processes running',
       leave_a_thread_exception: 'nobody caught ValueError', leave_a_file_open: 'descriptors open',
       forget_to_close: 'nobody caught ResourceWarning', take_memory: 'took 5',
       int: 'TypeError: int() argument'}


def main():
    fuzz_readers.GRACE = 0.2
    TARGETS.update({read.__name__: Target(read, lambda: [b'x'], seconds=0.1 if read is spin else 60)
                    for read in BAD})
    with tempfile.TemporaryDirectory() as folder:
        run = fuzz_readers.Run([read.__name__ for read in BAD], Path(folder), Path('kept'))
        run.go(3600, len(BAD))
    sys.exit(bool(run.faults))


if __name__ == '__main__':
    main()
