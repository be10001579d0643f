"""The process that libhdf5 runs in: files that hang, crash or blow it up, and its life and end."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from goldens import DATA
from small_runs import ROOT

from fcn_repro.errors import FcnError
from fcn_repro.formats import child
from fcn_repro.formats.weights import read_solverstate, read_weights, write_hdf5

HANG = Path(__file__).with_name('hang.solverstate.h5')
GOOD = DATA / 'weights/snapshot_iter_30.solverstate.h5'
SCRIPT = str(child.SCRIPT)


@pytest.fixture(autouse=True)
def fresh():
    child.stop()
    yield
    child.stop()


def children(pid='self'):
    """Process ids of the readers that a process has."""
    found = []
    for task in Path(f'/proc/{os.getpid() if pid == "self" else pid}/task').iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):       # a thread that ends meanwhile
            for each in (task / 'children').read_text().split():
                if 'hdf5_child.py' in Path(f'/proc/{each}/cmdline').read_text():
                    found.append(int(each))
    return found


def ended(pid, seconds=300):
    """Whether a process is gone, or a zombie, within some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z':
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_damaged_heap_on_which_libhdf5_loops_for_ever():
    with pytest.raises(FcnError, match='libhdf5 does not finish reading it') as error:
        read_solverstate(HANG)
    assert str(HANG) in str(error.value) and 'earlier snapshot' in error.value.do
    assert read_solverstate(GOOD).iter == 30


@pytest.mark.parametrize('how, said', [
    (signal.SIGSEGV, 'crashes in it with signal SIGSEGV'), (signal.SIGABRT, 'SIGABRT')])
def test_a_crash_is_an_error_of_the_file_and_the_next_one_is_read(monkeypatch, how, said):
    monkeypatch.setattr(child, 'SCRIPT', wrapped(f'os.kill(os.getpid(), {how:d})'))
    with pytest.raises(FcnError, match=said) as error:
        read_solverstate(GOOD)
    assert str(GOOD) in str(error.value)
    monkeypatch.undo()
    assert read_solverstate(GOOD).iter == 30


def wrapped(line):
    """The path of a copy of the child's script in which describing a file runs a line first."""
    path = Path(os.environ['PYTEST_TMP']) / 'hdf5_child.py'
    text = Path(SCRIPT).read_text()
    head = 'def describe(send, clock, path, inode, wanted):\n'
    assert head in text
    path.write_text(text.replace(head, f'{head}    {line}\n'))
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTEST_TMP', str(tmp_path))


def test_memory_is_limited(monkeypatch):
    monkeypatch.setattr(child, 'SCRIPT', wrapped('bytearray(1 << 33)'))
    with pytest.raises(FcnError, match='MemoryError') as error:
        read_solverstate(GOOD)
    assert str(GOOD) in str(error.value)


def test_what_a_damaged_file_did_to_the_process_is_not_blamed_on_the_next_file(monkeypatch):
    """A child that read a damaged file and dies at the next is replaced, once."""
    monkeypatch.setattr(child, 'SCRIPT', wrapped(
        'global STEP; STEP += 1; STEP > 2 and os.abort(); 1 / (STEP > 0 and "hang" not in path)'))
    with pytest.raises(FcnError, match='division by zero'):
        read_solverstate(HANG)
    first, = children()
    assert read_solverstate(GOOD).iter == 30
    assert children() != [first]


def test_one_process_serves_all_and_no_descriptor_leaks():
    read_solverstate(GOOD)
    gc.collect()                        # what earlier tests left open is closed now, or stays
    first, before = children(), len(os.listdir('/proc/self/fd'))
    for _ in range(20):
        read_solverstate(GOOD)
    assert children() == first and len(first) == 1
    assert len(os.listdir('/proc/self/fd')) == before
    child.stop()
    assert len(os.listdir('/proc/self/fd')) == before - 2 and not children()


def test_threads_take_turns():
    found, threads = [], [threading.Thread(target=lambda: found.append(
        read_solverstate(GOOD).iter)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [30] * 8 and len(children()) == 1


def test_a_forked_process_has_its_own_and_leaves_its_parents():
    read_solverstate(GOOD)
    mine = children()
    pid = os.fork()
    if not pid:
        fine = read_solverstate(GOOD).iter == 30 and len(children()) == 1 and children() != mine
        os._exit(0 if fine else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert children() == mine and read_solverstate(GOOD).iter == 30


LIVES = '''
import os, sys, time
from fcn_repro.formats.weights import read_solverstate
found = read_solverstate(sys.argv[1]).iter
forked = sys.argv[2:] and not os.fork()
if not forked:
    print(found, flush=True)
if sys.argv[2:]:
    time.sleep(100)
'''


def start(*args, **options):
    return subprocess.Popen([sys.executable, '-c', LIVES, *map(str, args)], text=True,
                            stdout=subprocess.PIPE, **{'cwd': ROOT, **options})


def test_it_ends_with_its_process_even_by_kill():
    """A fork of the killed process lives on and holds nothing that keeps it."""
    process = start(GOOD, 'stay', process_group=0)
    try:
        assert process.stdout.readline() == '30\n'
        reader, = children(process.pid)
        process.kill()
        process.wait()
        assert ended(reader)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_an_ordinary_end_leaves_nothing():
    with start(GOOD) as process:
        assert process.stdout.read() == '30\n'
    assert process.returncode == 0


def test_isolated_and_in_another_folder(tmp_path):
    """python -I, a relative path, a planted h5py.py in the folder, and a change of folder."""
    shutil.copy(GOOD, tmp_path / 's.h5')
    (tmp_path / 'h5py.py').write_text('raise SystemExit("planted")')
    (tmp_path / 'numpy.py').write_text('raise SystemExit("planted")')
    code = (f'import sys; sys.path.append({str(ROOT)!r})\nimport os\n'
            'from fcn_repro.formats.weights import read_solverstate\n'
            'print(read_solverstate("s.h5").iter)\nos.mkdir("b")\nos.chdir("b")\n'
            'print(read_solverstate("../s.h5").iter)')
    done = subprocess.run([sys.executable, '-I', '-c', code], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.stdout == '30\n30\n', done.stderr


def test_what_cannot_be_started_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'none'))
    with pytest.raises(FcnError, match='cannot start the process that reads HDF5'):
        read_solverstate(GOOD)


def test_h5py_is_looked_for_where_this_process_finds_it(monkeypatch, tmp_path):
    folder = tmp_path / 'site'
    folder.mkdir()
    (folder / 'h5py.py').write_text('raise ImportError("of the folder that comes first")')
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(FcnError, match='of the folder that comes first'):
        read_solverstate(GOOD)


def test_an_interrupt_ends_the_reader(monkeypatch, tmp_path):
    """Ctrl-C while it works: the next call does not get the answer to this one."""
    working = tmp_path / 'working'
    monkeypatch.setattr(child, 'SCRIPT', wrapped(
        f'open({str(working)!r}, "w").close() or __import__("time").sleep(100)'))

    def interrupt(*_):
        raise KeyboardInterrupt

    def interrupt_when_it_works():
        while not working.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    waiting = threading.Thread(target=interrupt_when_it_works, daemon=True)
    try:
        with pytest.raises(KeyboardInterrupt):
            waiting.start()
            read_solverstate(GOOD)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not children()
    monkeypatch.undo()
    assert read_solverstate(GOOD).iter == 30


def test_a_file_that_another_replaces_meanwhile(monkeypatch, tmp_path):
    """Places that the child found in one file are not looked up in another."""
    shutil.copy(GOOD, tmp_path / 's.h5')
    shutil.copy(GOOD, tmp_path / 'new')
    monkeypatch.setattr(child, 'SCRIPT', wrapped(
        f'os.path.exists({str(tmp_path / "new")!r}) and '
        f'os.replace({str(tmp_path / "new")!r}, path)'))
    with pytest.raises(FcnError, match='was replaced by another file'):
        read_solverstate(tmp_path / 's.h5')
    assert read_solverstate(tmp_path / 's.h5').iter == 30


def test_the_limit_on_time_holds_where_its_signal_is_ignored(monkeypatch):
    before = signal.signal(signal.SIGPROF, signal.SIG_IGN)
    try:
        with pytest.raises(FcnError, match='libhdf5 does not finish reading it'):
            read_solverstate(HANG)
    finally:
        signal.signal(signal.SIGPROF, before)


# What a file may not refer to

def elsewhere(folder):
    with h5py.File(folder / 'other.h5', 'w') as file:
        file['data/a/0'] = file['secret'] = np.ones(4, 'f4')
    (folder / 'raw').write_bytes(bytes(16))
    return folder / 'other.h5'


def external(file, other):
    file['data/a'] = h5py.ExternalLink(str(other), '/data/a')


def through_a_soft_link(file, other):
    file['x'] = h5py.ExternalLink(str(other), '/')
    file['data/a'] = h5py.SoftLink('/x/data/a')


def to_itself(file, other):
    file['data/a'] = h5py.SoftLink('/data/a')


def storage(file, other):
    file.create_dataset('data/a/0', (4,), 'f4', external=[(str(other.with_name('raw')), 0, 16)])


def virtual(file, other):
    layout = h5py.VirtualLayout((4,), 'f4')
    layout[:] = h5py.VirtualSource(str(other), 'secret', (4,))
    file.create_virtual_dataset('data/a/0', layout)


def odd_filter(file, other):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4,))
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    file.create_group('data/a')
    h5py.h5d.create(file.id, b'/data/a/0', h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)),
                    plist)
    file['data/a/0'][...] = 1


REFUSED = [(external, 'link to another file'), (through_a_soft_link, 'link to another file'),
           (to_itself, 'lead to one another'), (storage, 'stored in another file'),
           (virtual, 'stored in another file'), (odd_filter, 'filter 32015')]


@pytest.mark.parametrize('make, said', REFUSED, ids=[make.__name__ for make, _ in REFUSED])
def test_what_lies_outside_of_the_file_is_refused(tmp_path, make, said):
    with h5py.File(tmp_path / 'w.h5', 'w') as file:
        make(file, elsewhere(tmp_path))
    with pytest.raises(FcnError, match=said) as error:
        read_weights(tmp_path / 'w.h5')
    assert str(tmp_path / 'w.h5') in str(error.value) and error.value.do


def test_what_is_in_chunks_of_odd_types_or_behind_a_soft_link(tmp_path):
    """These the child sends; plain ones are views of the file."""
    numbers = (np.arange(5 * 7 * 3000) % 2048).astype('f4').reshape(5, 7, 3000)
    with h5py.File(tmp_path / 'w.h5', 'w') as file:
        file['kept'] = numbers
        file['data/a/0'] = h5py.SoftLink('/kept')
        file.create_dataset('data/a/1', data=numbers, chunks=(2, 3, 1000), compression='gzip')
        file.create_dataset('data/a/2', data=numbers, dtype='>f8', chunks=(5, 7, 3000),
                            shuffle=True, compression='lzf')
        file['data/a/3'] = numbers.astype('f2')
        file['data/a/4'] = np.float32(3)
        file['data/b/0'] = np.zeros((0, 4), 'f4')
    found = read_weights(tmp_path / 'w.h5')
    for i, kind in enumerate(('<f4', '<f4', '>f8', '<f2')):
        assert found['a'][i].dtype.str == kind
        np.testing.assert_array_equal(found['a'][i], numbers.astype(kind))
    assert found['a'][4] == 3 and found['b'][0].shape == (0, 4)
    assert not found['a'][0].flags.writeable


def test_texts_of_variable_length_of_earlier_snapshots(tmp_path):
    extra = {'note': 'é', 'texts': np.array(['a', 'bc'], object), 'none': '', 'n': 3}
    write_hdf5(tmp_path / 'new.h5', {'a': [np.ones(2)]}, extra)
    with h5py.File(tmp_path / 'old.h5', 'w') as file:
        file['data/a/0'] = np.ones(2)
        file.create_group('fcn_repro').attrs.update(extra)
    assert b'GCOL' in (tmp_path / 'old.h5').read_bytes()        # a global heap
    assert b'GCOL' not in (tmp_path / 'new.h5').read_bytes()
    for name in 'old.h5', 'new.h5':
        found = read_weights(tmp_path / name).extra
        assert found.pop('texts').tolist() == ['a', 'bc']
        assert found == {'note': 'é', 'none': '', 'n': 3}
