"""What is loaded ahead: each number gets its own, errors come where they belong, threads end."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from data_folders import message
from hypothesis import given
from hypothesis import strategies as st
from small_runs import ROOT

from fcn_repro.data.prefetch import MOST, Prefetch, check_workers, default_workers


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 3)), max_size=20))
def test_every_number_gets_its_own(steps):
    """Whatever was taken before, in whatever order, by whatever number of threads."""
    prefetch, k = Prefetch(lambda k: [k, k * k]), 5
    for peeks, step, workers in steps:
        k = max(0, k + step)
        assert (prefetch.peek(k) if peeks else prefetch.take(k, workers)) == [k, k * k]


@pytest.mark.parametrize('workers', [0, 1, 3])
def test_each_is_loaded_once_and_no_more_than_said(workers):
    loads, prefetch = Counter(), Prefetch(lambda k: loads.update([k]))
    for k in range(20):
        prefetch.take(k, workers)
        assert max(loads) <= k + 2 * workers and len(prefetch.tasks) == 2 * workers
    for task in list(prefetch.tasks.values()):
        task.result()
    assert loads == Counter(range(20 + 2 * workers))


def test_the_threads_are_as_many_as_said_and_work_at_once():
    meet = threading.Barrier(3, timeout=600)
    prefetch = Prefetch(lambda k: meet.wait() if k else 0)
    assert prefetch.take(0, 3) == 0                 # 1, 2 and 3 wait for each other
    assert sorted(prefetch.take(k, 3) for k in (1, 2, 3)) == [0, 1, 2]
    assert len(prefetch.pool._threads) == 3


def test_what_is_taken_belongs_to_the_caller():
    prefetch = Prefetch(lambda k: np.full(3, k))
    for workers in 2, 0:
        prefetch.take(1, workers)[:] = 9
        assert prefetch.take(1, workers).tolist() == [1, 1, 1]


@pytest.mark.parametrize('workers', [0, 2])
def test_an_error_is_raised_where_its_number_is_taken(workers):
    spoilt = {3}

    def load(k):
        if k in spoilt:
            raise ValueError(k)
        return k
    prefetch = Prefetch(load)
    assert [prefetch.take(k, workers) for k in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError):
        prefetch.take(3, workers)
    with pytest.raises(ValueError):
        prefetch.peek(3)
    assert prefetch.take(4, workers) == 4
    spoilt.clear()                                  # repaired: it is loaded afresh
    assert prefetch.take(3, workers) == 3


def test_threads_end_with_it():
    """What they have not begun by then is left."""
    begun, go = [], threading.Event()
    prefetch = Prefetch(lambda k: k and (begun.append(k), go.wait(600)))
    prefetch.take(0, 1)
    threads = list(prefetch.pool._threads)
    assert threads
    del prefetch
    go.set()
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive()
    assert begun in ([], [1])


def test_numbers_of_workers():
    assert 1 <= default_workers() <= 4
    assert [check_workers(n) for n in (0, MOST)] == [0, MOST]
    for wrong in -1, MOST + 1:
        assert f'{wrong} workers' in message(check_workers, wrong)


FORKED = '''
import os, time
from fcn_repro.data.prefetch import Prefetch
prefetch = Prefetch(lambda k: (time.sleep(0.2), k)[1])
prefetch.take(0, 2)                     # 1 to 4 are under way
child = os.fork()
assert [prefetch.take(k, 2) for k in range(1, 6)] == [1, 2, 3, 4, 5]
if child:
    assert os.waitpid(child, 0)[1] == 0
'''
ENDED = '''
import time
from fcn_repro.data.prefetch import Prefetch
prefetch = Prefetch(lambda k: time.sleep(0.3))
prefetch.take(0, 2)
raise KeyboardInterrupt
'''


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_forked_process_reads_for_itself():
    done = python(FORKED)
    assert done.returncode == 0, done.stderr


def test_a_process_ends_while_threads_read():
    done = python(ENDED)
    assert done.returncode in (130, -signal.SIGINT) and 'KeyboardInterrupt' in done.stderr


def python(text):
    return subprocess.run([sys.executable, '-c', text], capture_output=True, text=True, timeout=600,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})
