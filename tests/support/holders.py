"""Forked processes that hold something until they are killed."""

import errno
import fcntl
import os
import signal
import time


def holder(work, children=0):
    """A forked process that is inside the context that work() makes until it is killed, and whose
    own forked processes (children of them) sleep; its id, once it is inside."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with work():
                for _ in range(children):
                    if not os.fork():
                        time.sleep(5)
                        os._exit(0)
                os.write(write, b'x')
                time.sleep(600)
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b'x'
    os.close(read)
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def no_locks(monkeypatch):
    """As on a file system without locks."""
    def flock(opened, how):
        raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr(fcntl, 'flock', flock)
