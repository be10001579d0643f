"""The processes of a run: who takes part, what they exchange, and how the end of one ends them all.

A run on several GPUs or machines is several processes of the same program, started by torchrun or
by anything else that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. One process alone is the
case of size 1, for which nothing here imports torch.distributed.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .errors import FcnError, Stopped, short

if TYPE_CHECKING:
    import torch

T = TypeVar('T')
POLL = 0.5              # seconds between two looks at the other processes
GRACE = 10.0            # seconds in which a process ends by itself once another has ended
SILENT = 60.0           # seconds without a sign of life after which a process counts as dead
START = 300.0           # seconds to wait for all processes at the start
COLLECTIVE = 86400.0    # seconds that an exchange may take: the watch, not this, finds dead ones
NEEDED = 'RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'


class Processes:
    """One process alone; the base of Group, which is one of several.

    rank: number of this process, from 0. size: how many there are. restarts: whether a launcher
    starts them again after a failure, so that a run has to resume by itself; restarted: whether it
    has done so.
    """

    rank, size, restarts, restarted = 0, 1, False, False

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """This process's part of `count` pieces of work: every size-th from its rank on."""
        return range(self.rank, count, self.size)

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank. FcnError (code 'process-lost') where one died."""
        return [value]

    def in_order(self, mine: Sequence[T], count: int) -> list[T]:
        """The results of `count` pieces of work, of which each process gives those of its share."""
        parts = self.gather(list(mine))
        return [parts[i % self.size][i // self.size] for i in range(count)]

    def by_first(self, work: Callable[[], T]) -> T:
        """Have the first process alone do a work, such as writing files; its result, in all."""
        return cast(T, self.gather(work() if self.first else None)[0])

    def add(self, values: T) -> T:
        """The sum, by rank, of the values of all processes."""
        first, *others = self.gather(values)
        for other in others:
            first = first + other           # type: ignore[operator]
        return first

    def device(self) -> str | None:
        """The device that a process takes if the user names none; None: the default."""
        return None

    def told(self, error: BaseException) -> bool:
        """Whether another process reports the very error that ends this one."""
        return False


ALONE = Processes()


@dataclass(frozen=True)
class End:
    """Why a process of a group has ended: its rank, its host and pid, its error in one line."""
    rank: int
    place: str
    text: str


class Group(Processes):
    """One of several processes, connected by torch.distributed: gloo on CPUs, nccl between GPUs.

    Made by `joined`. gradients: a second process group, for the thread that sums gradients;
    statistics: one for what layers exchange meanwhile.
    """

    def __init__(self, rank: int, size: int, local: int):
        import torch
        import torch.distributed as dist

        self.rank, self.size, self.local = rank, size, local
        self.gpu = torch.cuda.is_available()
        if self.gpu:
            torch.cuda.set_device(self.local % torch.cuda.device_count())
        try:
            store = connect(hosts(rank))
            self.attempt = meet(store, rank, size)
            dist.init_process_group('cpu:gloo,cuda:nccl' if self.gpu else 'gloo',
                                    store=dist.PrefixStore(self.attempt, store), rank=rank,
                                    world_size=size, timeout=timedelta(seconds=START))
            self.gradients = dist.new_group(timeout=timedelta(seconds=COLLECTIVE))
            self.statistics = dist.new_group(timeout=timedelta(seconds=COLLECTIVE))
            self.messages = dist.new_group(timeout=timedelta(seconds=COLLECTIVE), backend='gloo')
        except (RuntimeError, ValueError, OSError) as error:    # what torch raises here
            raise FcnError(f'process {rank} of {size} found no connection to the others: '
                           f'{reason_of(error)}', code='no-group',
                           do='Start all of them with one MASTER_ADDR and MASTER_PORT, each with '
                              'a RANK of its own.') from None
        self.watch = Watch(self)

    def gather(self, value: T) -> list[T]:
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        with self.others_alive():
            dist.all_gather_object(values, value, group=self.messages)
        return values

    def gather_tensor(self, values: torch.Tensor) -> torch.Tensor:
        """The values (k,) of all processes, by rank, (size, k); all have as many, and ask for them
        in one order. FcnError (code 'process-lost') where one died."""
        import torch
        import torch.distributed as dist

        parts = [torch.empty_like(values) for _ in range(self.size)]
        with self.others_alive():
            dist.all_gather(parts, values.contiguous(), group=self.statistics)
        return torch.stack(parts)

    def device(self) -> str | None:
        import torch

        return f'cuda:{self.local % torch.cuda.device_count()}' if self.gpu else None

    def told(self, error: BaseException) -> bool:
        self.watch.tell(self.watch.own_end(error))
        try:
            end = self.watch.read_end()
        except RuntimeError:            # the store is gone with its process
            return False
        return end is not None and end.rank != self.rank and \
            end == End(end.rank, end.place, one_line(error))

    @contextmanager
    def others_alive(self) -> Iterator[None]:
        """Turn what torch raises in an exchange when a process has died into an FcnError (code
        'process-lost') that says which, and why."""
        try:
            yield
        except RuntimeError as error:
            raise self.lost(reason_of(error)) from None

    def lost(self, seen: str) -> FcnError:
        """The FcnError for another process that has died. seen: what was noticed of it."""
        end = self.watch.wait()
        what = f'process {end.rank} ({end.place}) ended: {end.text}' if end else \
            f'the connection to another process was lost: {short(seen, 200)}'
        return FcnError(f'process {self.rank} of {self.size} stops, as {what}', code='process-lost',
                        do="Correct that, and start all of them again with restore='auto'.")

    def leave(self, error: BaseException | None) -> None:
        """End the group: after all have come here, or, with an error, at once."""
        import torch.distributed as dist

        if error is None:
            try:                    # beating on, while the others still work
                self.gather(None)
            finally:
                self.watch.stop()
            dist.destroy_process_group()
        else:
            self.watch.report(error)
            atexit.register(end_now, status_of(error))


def status_of(error: BaseException) -> int:
    """The exit status of a process that an error ends."""
    if isinstance(error, Stopped | KeyboardInterrupt):
        return getattr(error, 'status', 130)
    code = error.code if isinstance(error, SystemExit) else 1
    return code if isinstance(code, int) else int(code is not None)


def end_now(status: int) -> None:
    """End a process whose group was not left in order: the end of Python would take torch's
    connections away under their threads, and abort, now and then."""
    logging.shutdown()
    for stream in sys.stdout, sys.stderr:
        with suppress(OSError, ValueError, AttributeError):     # closed, or none
            stream.flush()
    os._exit(status)


class Watch(threading.Thread):
    """Thread that tells the other processes that this one lives, and ends it when one has died.

    A process that dies closes its connections, which ends the exchanges of gloo with an error; nccl
    would wait for ever. So each process counts up a key of the store, looks at its neighbour's, and
    writes there what ended it. Once that is there this process has GRACE seconds to end by itself.
    """

    def __init__(self, group: Group):
        import torch.distributed as dist

        super().__init__(name='watch', daemon=True)
        self.group, self.ended = group, threading.Event()
        self.end: End | None = None
        self.place = f'{socket.gethostname()}, pid {os.getpid()}'
        # a client of its own: one that waits in another thread holds its connection
        self.store = dist.PrefixStore(group.attempt, connect(False))
        self.places: list[Any] = [None] * group.size
        dist.all_gather_object(self.places, self.place, group=group.messages)
        self.start()

    def run(self) -> None:
        neighbour, heard, since = (self.group.rank + 1) % self.group.size, '', time.monotonic()
        beats = 0
        while not self.ended.wait(POLL):
            try:
                beats += 1
                self.store.set(f'alive {self.group.rank}', str(beats))
                sign = read(self.store, f'alive {neighbour}')
                if sign != heard:
                    heard, since = sign, time.monotonic()
                elif time.monotonic() - since > SILENT:
                    self.tell(End(neighbour, self.places[neighbour],
                                  f'no sign of life for {SILENT:.0f} s'))
                self.end = self.read_end()
            except RuntimeError as error:       # the store's process is gone
                self.end = End(0, self.places[0], f'its store is gone: {reason_of(error)}')
            if self.end:
                self.last_seconds()

    def last_seconds(self) -> None:
        """End this process, if it has not ended GRACE seconds after another."""
        if not self.ended.wait(GRACE):
            print(f'error: {self.group.lost("")}', file=sys.stderr, flush=True)
            os._exit(1)

    def read_end(self) -> End | None:
        """What ended another process, or this one; None if nothing has. Notes that it is heard."""
        raw = read(self.store, 'end')
        if not raw:
            return None
        self.store.set(f'heard {self.group.rank}', '1')
        rank, place, text = raw.split('\n', 2)
        return End(int(rank), place, text)

    def tell(self, end: End) -> None:
        """Tell the others why a process has ended, unless another one had ended before."""
        with suppress(RuntimeError):        # the store may be gone with its process
            self.store.compare_set('end', '', f'{end.rank}\n{end.place}\n{end.text}')

    def own_end(self, error: BaseException) -> End:
        return End(self.group.rank, self.place, one_line(error))

    def wait(self) -> End | None:
        """What ended another process, if it tells that within two seconds; else the process that
        shows no sign of life meanwhile. Where several show none, some may wait for a processor:
        they have GRACE seconds."""
        before, begin = self.beats(), time.monotonic()
        for looks in count():
            with suppress(RuntimeError):        # the store is gone with its process
                self.end = self.end or self.read_end()
            if self.end:
                return self.end
            silent = [rank for rank, pair in enumerate(zip(before, self.beats(), strict=False))
                      if rank != self.group.rank and pair[0] == pair[1]]
            if looks >= 4 and (len(silent) < 2 or time.monotonic() - begin > GRACE):
                break
            time.sleep(POLL)
        if not silent:
            return None
        return End(silent[0], self.places[silent[0]], 'it was killed, or its machine is gone')

    def beats(self) -> list[str]:
        """The signs of life of all processes, by rank; [] where the store is gone."""
        with suppress(RuntimeError):
            return [read(self.store, f'alive {rank}') for rank in range(self.group.size)]
        return []

    def report(self, error: BaseException) -> None:
        """Tell the others what ends this process; leave them the time to hear of it."""
        if getattr(error, 'code', '') != 'process-lost':
            self.tell(self.own_end(error))
        with suppress(RuntimeError):            # the store may be gone with its process
            self.read_end()                     # heard, if another one had ended before
        self.stop()
        if hosts(self.group.rank):
            with suppress(RuntimeError):
                self.wait_for_hearers()

    def wait_for_hearers(self) -> None:
        """Keep the store until the others have heard what ended one of them, at most for GRACE
        seconds; for two where nobody has told."""
        end, until = self.read_end(), time.monotonic() + GRACE
        if end is None:
            time.sleep(4 * POLL)
            return
        waiting = set(range(self.group.size)) - {self.group.rank, end.rank}
        while waiting and time.monotonic() < until:
            waiting -= {rank for rank in waiting if read(self.store, f'heard {rank}')}
            time.sleep(POLL / 10)

    def stop(self) -> None:
        """End the thread: inside of the store at the end of Python it would abort the process."""
        self.ended.set()
        self.join(GRACE)


def hosts(rank: int) -> bool:
    """Whether this process has the store by which all find each other: the first one, unless
    torchrun itself has it."""
    return rank == 0 and os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True'


def connect(host: bool) -> Any:
    """A connection to the store, or with `host` the store itself."""
    import torch.distributed as dist

    return dist.TCPStore(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']), is_master=host,
                         wait_for_workers=False, timeout=timedelta(seconds=START))


def meet(store: Any, rank: int, size: int) -> str:
    """Wait for all processes of this attempt; returns a name for it that is new.

    torchrun keeps one store when it starts the processes again, and its counts of restarts differ
    between machines, so what an earlier attempt left there must not be taken for this one's: the
    first process announces a name, the others answer with one of their own, and go on once the
    first has repeated it. FcnError (code 'no-group') after START seconds.
    """
    mine, end, answered = uuid.uuid4().hex, time.monotonic() + START, ''
    if rank == 0:
        store.set('attempt', mine)
    while time.monotonic() < end:
        name = mine if rank == 0 else read(store, 'attempt')
        if rank == 0:
            answers = [read(store, f'{name} {other}') for other in range(1, size)]
            if all(answers):
                store.set(f'{name} go', ' '.join(answers))
                return name
        elif name:
            if name != answered:
                store.set(f'{name} {rank}', mine)
                answered = name
            if mine in read(store, f'{name} go'):
                return name
        time.sleep(0.05)
    late = [other for other in range(1, size) if not read(store, f'{mine} {other}')] \
        if rank == 0 else [0]
    raise FcnError(f'process {rank} of {size} waited {START:.0f} s for process '
                   f'{", ".join(map(str, late))}', code='no-group',
                   do='Start all of them with one MASTER_ADDR and MASTER_PORT, each with a RANK of '
                      'its own.')


def read(store: Any, key: str) -> str:
    """A text of the store; '' where there is none yet."""
    return store.get(key).decode() if store.check([key]) else ''


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that this one was started with, as the environment says; ALONE without any.

    FcnError for an environment that makes no sense (code 'no-group'). At the end, and on an error,
    the group is left; an error also ends the others, within seconds.
    """
    size, rank = number('WORLD_SIZE', 1), number('RANK', 0)
    if size < 2:
        yield launched(Processes())
        return
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing or rank >= size:
        raise FcnError(f'WORLD_SIZE is {size}, but ' + (f'{missing[0]} is not set' if missing else
                                                        f'RANK is {rank}'), code='no-group',
                       do=f'Start the processes with torchrun, or set {", ".join(NEEDED)}.')
    group = Group(rank, size, number('LOCAL_RANK', rank))
    try:
        launched(group)             # which counts restarts for each machine apart
        group.restarts, group.restarted = map(
            any, zip(*group.gather((group.restarts, group.restarted)), strict=True))
        yield group
    except BaseException as error:
        group.leave(error)
        raise
    group.leave(None)


def launched(processes: Processes) -> Processes:
    """The processes, with what torchrun says of restarts."""
    processes.restarts = number('TORCHELASTIC_MAX_RESTARTS', 0) > 0
    processes.restarted = number('TORCHELASTIC_RESTART_COUNT', 0) > 0
    return processes


def number(name: str, default: int) -> int:
    """A number from 0 of the environment."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise FcnError(f'{name} is {text!r} in the environment, not a number', code='no-group',
                       do='Start the processes with torchrun, or correct it.')
    return int(text)


def reason_of(error: BaseException) -> str:
    """The first line of an error's text, without the source file that gloo puts before it."""
    line = str(error).strip().partition('\n')[0].partition(' This is typically')[0]
    return line.partition('] ')[2] or line if line.startswith('[') else line


def one_line(error: BaseException) -> str:
    """An error's text, or its class where it has none, as one line."""
    return (str(error) or type(error).__name__).replace('\n', ' ')
