"""Feed mutations of real files to all readers of files from outside: `make fuzz MINUTES=10`.

    python tools/fuzz.py --minutes 10 [--inputs 200000] [--readers weights net] [--jobs 2]
    python tools/fuzz.py --corpus           the faults that were found once, tests/corpus/READER/*
    python tools/fuzz.py --corpus FILE --readers READER
    python tools/fuzz.py --coverage --minutes 3 [--readers weights]     with atheris

Every input has to be read, or refused with an FcnError. A fault is anything else: another
exception, the end of the process, more than the reader's seconds or memory, a descriptor, thread
exception, unclosed file or process left behind, and a file written outside the input's folder.
Faulty inputs are kept and listed; status 1 if there is one. Each batch of inputs runs in a process
of its own with limited memory, so that a crash costs one batch and the run goes on.
"""

import argparse
import ctypes
import gc
import importlib.util
import itertools
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import fuzz_mutations as mutations
from fuzz_targets import TARGETS, Target

CORPUS = Path(__file__).parents[1] / 'corpus'
HANGS, ROOM, GRACE = 600, 1 << 30, 60.0
SLACK = 8           # descriptors that may stay open in caches
WALL = 60           # seconds by the clock for each second of processor time that is allowed
SHOWN = 2           # faults of one kind that are printed; all are kept
COVERED = ['net', 'solver', 'weights', 'state', 'mean']       # in Python, so that lines can be seen
READ, REFUSED = 'read', 'refused'
WRITING = ('os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.symlink', 'os.link', 'os.chmod',
           'os.truncate', 'os.utime')
LINKS = 'os.symlink', 'os.link'         # which write their second argument alone
STARTING = 'os.system', 'os.exec', 'os.posix_spawn', 'subprocess.Popen'
HARMLESS = '/dev/null', '/proc/self/', '/dev/shm/'


# ---- one input, in this process --------------------------------------------------------------


class Watch:
    """Records what a reader does besides reading, in this process: writes outside a folder,
    programs started, exceptions that nobody caught, descriptors left open."""

    def __init__(self, folder: Path):
        self.folder, self.on, self.seen = os.path.realpath(folder), True, []
        self.before = self.open_files()
        sys.addaudithook(self.audit)
        sys.unraisablehook = lambda args: self.note(args.exc_value)
        threading.excepthook = lambda args: self.note(args.exc_value)

    def note(self, error: BaseException | None) -> None:
        self.seen.append(f'nobody caught {type(error).__name__}: {error}')

    def audit(self, event: str, args: tuple) -> None:
        if not self.on:
            return
        if event == 'open':
            path, mode, flags = args
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or '') & set('wax+'):
                self.check(event, path)
        elif event in WRITING:
            if not any(isinstance(arg, int) and arg > 2 for arg in args[-2:]):  # not by dir_fd
                for path in args[event in LINKS:2 if event in (*LINKS, 'os.rename') else 1]:
                    self.check(event, path)
        elif event in STARTING and sys.executable not in (str(args[0]), *map(str, args[1] or ())):
            self.seen.append(f'started {args[0]!r}'[:200])

    def check(self, event: str, path: object) -> None:
        if isinstance(path, (str, bytes, os.PathLike)):
            name = os.fsdecode(path)
            where = os.path.join(os.path.realpath(os.path.dirname(name) or '.'),
                                 os.path.basename(name))
            if not where.startswith(self.folder + os.sep) and not name.startswith(HARMLESS):
                self.seen.append(f'{event} outside its folder: {name!r}'[:300])

    def open_files(self) -> int:
        return len(os.listdir('/proc/self/fd'))

    def findings(self) -> str:
        """What was recorded since the last call; '' for nothing."""
        if self.open_files() > self.before + SLACK:
            # a collection that another thread has begun makes this one return at once
            until = time.monotonic() + GRACE
            gc.collect()
            while self.open_files() > self.before + SLACK and time.monotonic() < until:
                time.sleep(0.05)
                gc.collect()
            if (now := self.open_files()) > self.before + SLACK:
                self.seen.append(f'left {now - self.before} descriptors open')
                self.before = now
        found, self.seen = self.seen, []
        return '; '.join(found)


def attempt(target: Target, path: Path, watch: Watch | None = None) -> str:
    """READ, REFUSED, or what is wrong with how a file is read."""
    outcome, seconds, memory = measured(target, path)
    if seconds > target.seconds:            # once more: another process may have held the cache
        outcome, seconds, memory = measured(target, path)
    if watch and (found := watch.findings()):
        return found
    if outcome in (READ, REFUSED):
        if seconds > target.seconds:
            return f'took {seconds:.1f} s'
        if memory > target.memory:
            return f'took {memory >> 20} MB'
    return outcome


def measured(target: Target, path: Path) -> tuple[str, float, int]:
    """(outcome, seconds of processor time, bytes by which the resident memory grew)."""
    from fcn_repro.errors import FcnError
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')       # the peak starts anew
    before, outcome = resident('VmRSS'), READ
    start, clock = time.process_time(), time.monotonic()
    try:
        target.read(path)
    except FcnError as error:
        outcome = REFUSED
        if len(str(error)) > 8000:
            outcome = f'an error of {len(str(error))} characters'
    except Exception as error:
        outcome = f'{type(error).__name__}: {error} {place(error)}'.replace('\n', ' ')[:400]
    seconds = max(time.process_time() - start, (time.monotonic() - clock) / WALL)
    return outcome, seconds, resident('VmHWM') - before


def place(error: BaseException) -> str:
    """The last line of the package that an exception went through."""
    found, trace = '', error.__traceback__
    while trace:
        name = trace.tb_frame.f_code.co_filename
        if 'fcn_repro' in name:
            found = f'({name[name.rindex("fcn_repro"):]}:{trace.tb_lineno})'
        trace = trace.tb_next
    return found


def resident(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    found = re.search(rf'{field}:\s+(\d+) kB', Path('/proc/self/status').read_text())
    return 1024 * int(found[1]) if found else 0


# ---- a batch, in a child ---------------------------------------------------------------------


class Batch(NamedTuple):
    """A running batch: its reader, its folder and when it began."""
    reader: str
    folder: Path
    start: float


def seeds(reader: str) -> list[bytes]:
    """The bytes of the real files that a reader's inputs are made of."""
    return SEEDS.setdefault(reader, TARGETS[reader].seeds())


def found_faults(reader: str) -> list[bytes]:
    """The bytes of the files that it failed on once."""
    return FAULTS.setdefault(reader, [path.read_bytes()
                                      for path in sorted((CORPUS / reader).glob('*'))])


SEEDS: dict[str, list[bytes]] = {}
FAULTS: dict[str, list[bytes]] = {}


def mutate(reader: str, rng: random.Random) -> bytes:
    """An input: a real file, or one time in ten an earlier fault, changed by a mutation that knows
    its format or by one that does not."""
    files = seeds(reader)
    kinds = [*TARGETS[reader].change * 3, mutations.generic]
    chosen = found_faults(reader) if rng.randrange(10) == 0 else files
    return rng.choice(kinds)(rng.choice(chosen or files), files, rng)[:mutations.MOST]


def inputs(reader: str, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the inputs of a batch, a function of reader and seed."""
    rng = random.Random(f'{reader}/{seed}')
    for i in range(count):
        yield f'{seed}-{i}', mutate(reader, rng)


def run_batch(reader: str, folder: Path, batch: Iterable[tuple[str, bytes]]) -> None:
    """In a child process: read the inputs; a line for each in folder/lines."""
    limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter('error', ResourceWarning)
    work, target = folder / 'work', TARGETS[reader]
    work.mkdir()
    os.chdir(work)
    tempfile.tempdir = str(work)
    first = work / 'first'
    first.write_bytes(seeds(reader)[0])
    attempt(target, first)                  # imports, and starts what stays
    lines = os.open(folder / 'lines', os.O_WRONLY | os.O_CREAT)
    watch = Watch(work)
    gc.freeze()                             # so that looking for cycles is quick
    for name, data in batch:
        watch.on = False
        path = work / name
        path.write_bytes(data)
        (folder / 'now').write_text(name)
        watch.on = True
        signal.alarm(HANGS)
        outcome = attempt(target, path, watch)
        signal.alarm(0)
        watch.on = False
        os.write(lines, f'{name}: {outcome}\n'.encode('utf-8', 'replace'))
        if outcome in (READ, REFUSED):
            path.unlink()


def limit_memory() -> None:
    """Let this process have ROOM bytes more than now."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))


def start_batch(reader: str, folder: Path, batch: Iterable[tuple[str, bytes]]) -> int:
    """The process id of a child that runs a batch."""
    folder.mkdir()
    seeds(reader)                           # before the fork: made once
    child = os.fork()
    if not child:
        try:
            os.setsid()
            said = os.open(folder / 'said', os.O_RDWR | os.O_CREAT)
            os.dup2(said, 1)
            os.dup2(said, 2)
            run_batch(reader, folder, batch)
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    return child


def outcomes(batch: Batch, status: int) -> list[str]:
    """The lines of a batch that has ended; one more for the input that ended its process."""
    lines = batch.folder / 'lines'
    found = lines.read_text().splitlines() if lines.exists() else []
    if status:
        now = batch.folder / 'now'
        said = (batch.folder / 'said').read_text(errors='replace').splitlines()
        how = signal.Signals(status & 127).name if status & 127 else f'status {status >> 8}'
        found.append(f"{now.read_text() if now.exists() else 'seed'}: ended its "
                     f'process: {how} {" ".join(said[-2:])[:300]}')
    return found


def left_running(keep: set[int]) -> list[int]:
    """Processes that an ended batch left behind, which are this one's children now."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(')')[2].split()[:2]
            if int(parent) == os.getpid() and state != 'Z' and int(stat.parent.name) not in keep:
                found.append(int(stat.parent.name))
    return found


def adopt_orphans() -> None:
    """Become the parent of what a batch leaves running (PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


# ---- the run ---------------------------------------------------------------------------------


class Row:
    """The figures of one reader."""

    def __init__(self) -> None:
        self.read = self.refused = 0
        self.faults: list[str] = []
        self.kinds: dict[str, int] = {}     # faults by their text without numbers and names
        self.seconds = 0.0

    @property
    def inputs(self) -> int:
        return self.read + self.refused + len(self.faults)

    def cells(self) -> list[str]:
        speed = self.inputs / self.seconds if self.seconds else 0
        return [f'{n:,}' for n in (self.inputs, len(self.faults), self.refused, self.read)] \
            + [f'{speed:,.0f}']


class Run:
    """Batches of all readers in turn, several at once; the figures of each."""

    def __init__(self, readers, folder: Path, keep: Path, jobs: int = 1, seed: int = 0):
        self.folder, self.keep, self.jobs, self.seed = folder, keep, jobs, seed
        self.rows = {reader: Row() for reader in readers}
        self.running: dict[int, Batch] = {}
        self.begun = 0
        adopt_orphans()

    def go(self, seconds: float, most: int) -> None:
        """Run until the time is over or so many inputs are done."""
        end, begun = time.monotonic() + seconds, 0
        share = min(1, most / sum(TARGETS[reader].batch for reader in self.rows))
        for number, reader in enumerate(itertools.cycle(self.rows), self.seed):
            if time.monotonic() > end or begun >= most:
                break
            size = min(math.ceil(share * TARGETS[reader].batch), most - begun)
            self.start(reader, inputs(reader, number, size))
            begun += size
        self.finish_all()

    def corpus(self, files: Sequence[Path]) -> None:
        """Run files of the readers, each in a batch of its own."""
        for reader, file in itertools.product(self.rows, files):
            if file.parent.name == reader or len(self.rows) == 1:
                self.start(reader, [(file.name, file.read_bytes())])
        self.finish_all()

    def start(self, reader: str, batch: Iterable[tuple[str, bytes]]) -> None:
        while len(self.running) >= self.jobs:
            self.finish()
        self.begun += 1
        folder = self.folder / str(self.begun)
        child = start_batch(reader, folder, batch)
        self.running[child] = Batch(reader, folder, time.monotonic())

    def finish_all(self) -> None:
        while self.running:
            self.finish()

    def stop(self) -> None:
        """End the batches that are running."""
        for child in self.running:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def finish(self) -> None:
        """Wait for a batch to end and count what it found."""
        child, status = os.wait()
        batch = self.running.pop(child, None)
        if batch is None:
            return                          # an orphan that has ended by itself
        found = outcomes(batch, status)
        row = self.rows[batch.reader]
        row.seconds += time.monotonic() - batch.start
        if orphans := self.orphans():
            found.append(f'batch: left {len(orphans)} processes running')
        for line in found:
            name, _, outcome = line.partition(': ')
            if outcome == READ:
                row.read += 1
            elif outcome == REFUSED:
                row.refused += 1
            else:
                self.fault(batch, row, name, outcome)
        shutil.rmtree(batch.folder)

    def fault(self, batch: Batch, row: Row, name: str, outcome: str) -> None:
        """Keep the input, and print and count the fault."""
        self.keep.mkdir(parents=True, exist_ok=True)
        kept, made = self.keep / f'{batch.reader}-{name}', batch.folder / 'work' / name
        if made.is_file():
            shutil.copy(made, kept)
        row.faults.append(outcome)
        kind = outcome.partition(':')[0] + outcome.rpartition('(')[2]
        row.kinds[kind] = row.kinds.get(kind, 0) + 1
        if row.kinds[kind] <= SHOWN:
            print(f'{kept}: {outcome}', flush=True)

    def orphans(self) -> list[int]:
        """End the processes that are still there after GRACE; returns them."""
        end = time.monotonic() + GRACE
        while (found := left_running(set(self.running))) and time.monotonic() < end:
            time.sleep(0.05)
        for process in found:
            os.kill(process, signal.SIGKILL)
        return found

    def table(self) -> str:
        """The figures in Markdown, the totals last."""
        lines = ['| reader | inputs | faults | refused | read | inputs/s |', '|---|' + '--:|' * 5]
        total = Row()
        for reader, row in ((reader, row) for reader, row in self.rows.items() if row.inputs):
            lines.append(f'| {reader} | {" | ".join(row.cells())} |')
            total.read, total.refused = total.read + row.read, total.refused + row.refused
            total.faults += row.faults
            total.seconds += row.seconds
        return '\n'.join([*lines, f'| **all** | {" | ".join(total.cells())} |'])

    @property
    def faults(self) -> int:
        return sum(len(row.faults) for row in self.rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=1e6, help='at most so long')
    parser.add_argument('--inputs', type=int, default=10 ** 9, help='at most so many, of all')
    parser.add_argument('--readers', nargs='+', choices=TARGETS, metavar='READER',
                        help=f'of {", ".join(TARGETS)}; default: all')
    parser.add_argument('--jobs', type=int, default=1, help='batches at once (default: 1)')
    parser.add_argument('--seed', type=int, default=0, help='other inputs with another')
    parser.add_argument('--keep', type=Path, default=Path('runs/fuzz'),
                        help='folder for the inputs that go wrong (default: %(default)s)')
    parser.add_argument('--corpus', nargs='*', type=Path, metavar='FILE',
                        help='only these files; without names, those of tests/corpus')
    parser.add_argument('--coverage', action='store_true',
                        help=f'choose inputs by what they reach; by default of {COVERED}')
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    if args.coverage:
        readers = args.readers or COVERED
        sys.exit(bool(coverage(readers, args.minutes, args.keep.resolve() / 'coverage')))
    import_readers()
    args.readers = args.readers or list(TARGETS)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(args.readers, Path(folder), args.keep.resolve(), args.jobs, args.seed)
        with suppress(KeyboardInterrupt):       # the figures so far
            if args.corpus is None:
                run.go(60 * args.minutes, args.inputs)
            else:
                run.corpus(args.corpus or sorted(CORPUS.glob('*/*')))
        run.stop()
    print(run.table())
    sys.exit(bool(run.faults))


def coverage(readers: Sequence[str], minutes: float, keep: Path) -> int:
    """Run readers under atheris, one after another; the number of those with a fault. FcnError
    where atheris is missing."""
    from fcn_repro.errors import FcnError
    if importlib.util.find_spec('atheris') is None:
        raise FcnError('inputs by coverage need atheris, which is not installed',
                       do='pip install atheris (a Python that it has a wheel for, or clang).')
    faults = 0
    for reader in readers:
        folder = keep / reader
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name('fuzz_coverage.py'), reader,
             str(max(1, int(60 * minutes / len(readers)))), folder], capture_output=True, text=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, sys.path))})
        stats = dict(re.findall(r'stat::(\w+):\s+(\d+)', done.stderr))
        reached = re.findall(r'cov: (\d+)', done.stderr) or ['0']
        faults += bool(done.returncode)
        if done.returncode:
            print(*re.findall(r'AssertionError: .*|Test unit written to .*|ERROR: .*',
                              done.stderr)[-3:] or done.stderr.splitlines()[-3:], sep='\n')
        print(f'{reader}: {stats.get("number_of_executed_units", 0)} inputs, '
              f'{reached[-1]} branches reached, {"a fault" if done.returncode else "no fault"}',
              flush=True)
    return faults


def import_readers() -> None:
    """Import what all batches share, before they are forked."""
    for name in 'net', 'passes', 'solver':
        importlib.import_module(f'fcn_repro.{name}')


if __name__ == '__main__':
    main()
