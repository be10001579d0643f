"""One process beside this one, which runs what can crash, hang or take all memory: libhdf5.

It starts at the first call (a tenth of a second), serves all further ones, and ends with this
process, however that ends: its input is then closed. A call that ends it or takes too long is an
error; the next call starts another. Answers are JSON and plain bytes, never pickles.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import FcnError
from .atomic import first_line

SCRIPT = Path(__file__).with_name('hdf5_child.py')
HEAD = struct.Struct('<cQ')
ANSWER = 1 << 30            # the most bytes of an answer's JSON
PATIENCE = 120, 5           # seconds to wait, and for each second of processor time allowed
DAMAGED = 'It is damaged: copy or write it again; of a training, use an earlier snapshot.'
ONE_THREAD = {f'{name}_NUM_THREADS': '1' for name in ('OPENBLAS', 'OMP', 'MKL')}

_lock = threading.Lock()
_process: Process | None = None


class Lost(Exception):
    """The process gave no answer; the words say why."""


class Process:
    """A running child. tainted: it has read a damaged file, which may have damaged it."""

    def __init__(self) -> None:
        self.tainted = False
        try:
            self._child = subprocess.Popen(
                [sys.executable, '-I', '-S', SCRIPT], bufsize=0, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd='/', process_group=0,
                pipesize=1 << 20, env={**os.environ, **ONE_THREAD, 'HDF5_PLUGIN_PRELOAD': '::'})
            self._send([os.path.abspath(path) for path in sys.path if path])
            said = self.receive(0, PATIENCE[0])[0]
        except (OSError, Lost) as error:
            said = {'failed': [0, str(error)]}
        if 'result' not in said:
            raise FcnError(f'cannot start the process that reads HDF5: {said["failed"][1]}',
                           do='Check that this Python can import h5py, and that there is memory.')

    def _send(self, value: Any) -> None:
        view = memoryview(json.dumps(value).encode() + b'\n')
        while view:
            view = view[self._child.stdin.write(view):]         # type: ignore[union-attr]

    def ask(self, request: dict[str, Any], most: int, wait: float) -> tuple[Any, bytearray]:
        """The answer to a request and its bytes, at most `most`; Lost where there is none."""
        try:
            self._send(request)
        except OSError:
            raise Lost(self.end()) from None
        return self.receive(most, wait)

    def receive(self, most: int, wait: float) -> tuple[Any, bytearray]:
        """(JSON, bytes) of an answer; Lost after `wait` seconds and where the process ended."""
        data, at, until = bytearray(most), 0, time.monotonic() + wait
        while True:
            head = bytearray(HEAD.size)
            self._fill(memoryview(head), until)
            kind, count = HEAD.unpack(head)
            room = ANSWER if kind == b'J' else most - at
            if count > room:
                raise Lost(f'answers with {count} bytes, of at most {room}')
            if kind == b'J':
                text = bytearray(count)
                self._fill(memoryview(text), until)
                return json.loads(text), data
            self._fill(memoryview(data)[at:at + count], until)
            at += count

    def _fill(self, view: memoryview, until: float) -> None:
        out: Any = self._child.stdout
        poll = select.poll()
        poll.register(out, select.POLLIN)
        while view:
            if not poll.poll(max(0, until - time.monotonic()) * 1000):
                raise Lost('does not answer')
            count = out.readinto(view)
            if not count:
                raise Lost(self.end())
            view = view[count:]

    def end(self) -> str:
        """Kill the process; how it ended."""
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self.close()
        status = self._child.returncode
        if status == -signal.SIGPROF:
            return 'does not finish reading it'
        if status < 0:
            return f'crashes in it with signal {signal.Signals(-status).name}'
        return f'ends with status {status}'

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        self.forget()

    def forget(self) -> None:
        """Close what leads to the process, which then ends by itself; nobody waits for it."""
        self._child.returncode = self._child.returncode or 0
        for pipe in self._child.stdin, self._child.stdout:
            with suppress(OSError):
                pipe.close()            # type: ignore[union-attr]


def call(function: str, *args: Any, seconds: float, memory: int, file_size: int = 0,
         most: int = 0) -> tuple[Any, bytearray]:
    """(result, bytes) of a function of hdf5_child.py, run in the child process.

    seconds: of processor time for all of it; one step (an object, a block of numbers) has a second,
    and more by file_size, bytes of the file. memory: bytes it may take. most: bytes it may send.
    FcnError without a place where the function refuses, fails, crashes or comes to no end.
    """
    request = {'function': function, 'args': args, 'seconds': seconds, 'memory': memory,
               'size': file_size}
    wait = PATIENCE[0] + PATIENCE[1] * (seconds + file_size / 20e6)
    with _lock:
        said, data = _ask(request, most, wait)
    if 'refused' in said:
        what, do = said['refused']
        if not isinstance(what, str):
            what = f'is not an HDF5 file, or is truncated: {_words(*what)}'
        raise FcnError(what, do=do)
    if 'failed' in said:
        raise FcnError(f'cannot be read: {_words(*said["failed"])}', do=DAMAGED)
    return said['result'], data


def _ask(request: dict[str, Any], most: int, wait: float) -> tuple[Any, bytearray]:
    """The child's answer. Where it gives none, what it read earlier may be why, if that was
    damaged: then a new one is asked."""
    global _process
    while True:
        if _process is None:
            _process = Process()
        tainted = _process.tainted
        try:
            answer = _process.ask(request, most, wait)
        except BaseException as error:
            ended, _process = _process, None
            ended.close()
            if not isinstance(error, Lost):
                raise
            if not tainted:
                raise FcnError(f'cannot be read: libhdf5 {error}', do=DAMAGED) from None
        else:
            _process.tainted |= 'result' not in answer[0]
            return answer


def _words(number: int, text: str) -> str:
    """The first line of an exception of h5py, or what its number means."""
    return first_line(OSError(number, text) if number else RuntimeError(text))


def stop() -> None:
    """End the child with this process."""
    global _process
    if _process is not None:
        _process.close()
        _process = None


def _forget() -> None:
    """In a forked process, leave the child to its parent."""
    global _lock, _process
    _lock = threading.Lock()
    if _process is not None:
        _process.forget()
        _process = None


atexit.register(stop)
os.register_at_fork(after_in_child=_forget)
