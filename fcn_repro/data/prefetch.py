"""Read batches ahead in threads while the net computes."""

import os
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from fcn_repro.data.order import Share
from fcn_repro.errors import FcnError

MOST = 64       # worker threads
ALL = Share()   # of the positions: those of one process


def default_workers() -> int:
    """Threads per data layer: one for each core of this process, up to 4."""
    cores = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else \
        range(os.cpu_count() or 1)
    return min(4, len(cores))


def check_workers(workers: int) -> int:
    """Return the number of threads; FcnError unless it is 0 to MOST."""
    if not 0 <= workers <= MOST:
        raise FcnError(f'{workers} workers', code='bad-workers', facts={'most': MOST},
                       do=f'Give workers from 0 (no reading ahead) to {MOST}.')
    return workers


class Prefetch:
    """Results of load(k), computed ahead in threads while k goes up, by one or by a Share's steps.

    load: a pure function of a number k >= 0 that several threads may run at once. An exception that
    it raises ahead is raised where that k is taken, and only there. A k out of sequence is loaded
    on demand, so the results never depend on what was read ahead. The threads end with this object;
    a forked process starts its own.
    """

    def __init__(self, load: Callable):
        self.load = load
        self.tasks: dict[int, Future] = {}
        self.pool: ThreadPoolExecutor | None = None
        self.workers, self.process = 0, os.getpid()

    def take(self, k: int, workers: int, share: Share = ALL):
        """Return load(k); up to 2 * workers results that the process takes next, as its share of
        the positions says, are loaded by `workers` threads meanwhile. Each result is handed out
        once and belongs to the caller."""
        self._drop_after_fork()
        if workers != self.workers:
            self.pool, self.workers = None, workers
            if workers:
                self.pool = ThreadPoolExecutor(workers, 'reading')
                weakref.finalize(self, self.pool.shutdown, wait=False, cancel_futures=True)
        task, ahead = self.tasks.pop(k, None), share.after(k, 2 * workers)
        for j in [j for j in self.tasks if j not in ahead]:
            self.tasks.pop(j).cancel()
        for j in ahead:
            if j not in self.tasks:
                self.tasks[j] = self._start(j)
        return self.load(k) if task is None else task.result()

    def _start(self, k: int) -> Future:
        assert self.pool is not None        # with workers
        try:
            return self.pool.submit(self.load, k)
        except RuntimeError as error:       # a limit on threads, or on the space of their stacks
            raise FcnError(f'cannot start a thread that reads ahead: {error}',
                           do=f'Give fewer workers than {self.workers}, or allow this process more '
                              'threads and memory.') from None

    def peek(self, k: int):
        """Return load(k) and keep it for take(k): the caller must not change it. Starts no
        thread."""
        self._drop_after_fork()
        if k not in self.tasks:
            task: Future = Future()
            task.set_result(self.load(k))
            self.tasks[k] = task
        return self.tasks[k].result()

    def _drop_after_fork(self) -> None:
        """In a forked process, drop the threads and tasks of its parent."""
        if self.process != os.getpid():
            self.tasks, self.pool, self.workers, self.process = {}, None, 0, os.getpid()
