"""Run a Python program as N processes, started as torchrun starts them, without its agent."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELD = []           # the sockets of the ports that were given


def free_port():
    """A port of loopback that nobody else is given while this process lives: a socket that does not
    listen stays bound to it, and with SO_REUSEADDR, as torch sets it, another one may listen."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(('127.0.0.1', 0))
    HELD.append(held)
    return held.getsockname()[1]


def start(size, words, cwd, ranks=None, **environment):
    """The processes, by rank (all of them, or those given), of `python WORDS`."""
    port = str(free_port())
    return [subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=cwd, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join((str(ROOT), str(Path(__file__).parent))),
             'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(size),
             'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'OMP_NUM_THREADS': '1',
             **environment})
        for rank in (range(size) if ranks is None else ranks)]


def wait(processes, seconds=600):
    """[(status, out, err)], by rank."""
    found = []
    for process in processes:
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            process.kill()
        found.append((process.returncode, out, err))
    return found
