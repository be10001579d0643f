"""Batches read ahead, in threads, while the net computes."""

import os
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

from fcn_repro.errors import FcnError

MOST = 64       # workers


def default_workers():
    """Threads for one data layer: as many as this process has cores, up to 4."""
    cores = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else range(os.cpu_count())
    return min(4, len(cores))


def check_workers(workers):
    """The number of threads; FcnError for one that makes no sense."""
    if not 0 <= workers <= MOST:
        raise FcnError(f'{workers} workers', do=f'Give --workers 0 (nothing is read ahead) to '
                       f'{MOST}.')
    return workers


class Prefetch:
    """What load(k) gives, where the numbers go up by one from a thread that ran ahead.

    load: a pure function of a number from 0 on, which several threads may run at once. What it
    raises ahead is raised where its number is taken, and only there. Any other number than the next
    one is loaded afresh, so the results never depend on what ran ahead. The threads end with this
    object, and none is needed after a fork.
    """

    def __init__(self, load):
        self.load, self.tasks, self.pool = load, {}, None
        self.workers, self.process = 0, os.getpid()

    def take(self, k, workers):
        """load(k); at most 2 * workers numbers from k + 1 on are loaded meanwhile, by so many
        threads (0: by none). Each result is handed out once and belongs to the caller."""
        self._at_home()
        if workers != self.workers:
            self.pool, self.workers = None, workers
            if workers:
                self.pool = ThreadPoolExecutor(workers, 'reading')
                weakref.finalize(self, self.pool.shutdown, wait=False, cancel_futures=True)
        task, ahead = self.tasks.pop(k, None), range(k + 1, k + 1 + 2 * workers)
        for j in [j for j in self.tasks if j not in ahead]:
            self.tasks.pop(j).cancel()
        for j in ahead:
            if j not in self.tasks:
                self.tasks[j] = self.pool.submit(self.load, j)
        return self.load(k) if task is None else task.result()

    def peek(self, k):
        """load(k), which is kept for take(k): not to be changed. Nothing runs ahead."""
        self._at_home()
        if k not in self.tasks:
            loaded, task = self.load(k), Future()
            task.set_result(loaded)
            self.tasks[k] = task
        return self.tasks[k].result()

    def _at_home(self):
        """Forget, in a process that was forked, the threads and tasks of its parent."""
        if self.process != os.getpid():
            self.tasks, self.pool, self.workers, self.process = {}, None, 0, os.getpid()
