"""Temporary files: their names, whose they are, and what lies in the way of a file or a log."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from holders import holder, kill, no_locks
from packages import required

from fcn_repro import glog, processes, temporary
from fcn_repro.errors import FcnError
from fcn_repro.formats.atomic import replacing, write_bytes, write_text
from fcn_repro.formats.database import Writer
from fcn_repro.report.progress import log_to


def names(folder):
    return sorted(os.listdir(folder))


# ---- names and modes -------------------------------------------------------------------------

def test_names_say_whose_they_are_and_cannot_be_guessed(tmp_path):
    first, second = (temporary.name_for(tmp_path / 'a.h5') for _ in range(2))
    assert first != second and first.parent == tmp_path
    end = rf'{processes.host()}\.{os.getpid()}\.[0-9a-f]{{16}}\.tmp'
    assert re.fullmatch(rf'a\.h5\.{end}', first.name)
    assert temporary.NAME.fullmatch(first.name)[2] == str(os.getpid())


def test_the_longest_names_can_be_written(tmp_path):
    name = 'ä' * 120 + 'x' * 15             # 255 bytes
    write_text('a', tmp_path / name)
    assert names(tmp_path) == [name]


def test_the_mode_is_that_of_open(tmp_path):
    before = os.umask(0o027)
    try:
        write_text('a', tmp_path / 'x')
        with temporary.folder_for(tmp_path / 'folder') as folder:
            assert folder.stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(before)
    assert (tmp_path / 'x').stat().st_mode & 0o777 == 0o640


def test_an_error_in_the_block_leaves_the_earlier_file(tmp_path):
    write_text('old', tmp_path / 'x')
    with pytest.raises(KeyError), replacing(tmp_path / 'x') as file:
        file.write(b'new')
        raise KeyError
    assert (tmp_path / 'x').read_text() == 'old' and names(tmp_path) == ['x']


# ---- what killed processes left ----------------------------------------------------------------

def test_left_overs_of_killed_processes_alone_are_removed(tmp_path):
    pids = [holder(lambda: temporary.file_for(tmp_path / 'x')),
            holder(lambda: temporary.folder_for(tmp_path / 'y'))]
    other = tmp_path / f'z.another-{processes.host()[:20]}.7.{16 * "0"}.tmp'
    own, others = tmp_path / 'model.7.tmp', tmp_path / 'notes.tmp'
    for path in other, own, others:
        path.touch()
    with replacing(tmp_path / 'mine') as file:
        file.write(b'a')
        temporary.sweep(tmp_path)
        assert len(names(tmp_path)) == 6        # two of others, ours, three that are none
    for pid in pids:
        kill(pid)
    assert len(names(tmp_path)) == 6
    temporary.sweep(tmp_path)
    assert names(tmp_path) == sorted(['mine', other.name, own.name, others.name])


def test_the_first_file_that_a_process_writes_into_a_folder_removes_them(tmp_path):
    kill(holder(lambda: temporary.file_for(tmp_path / 'table.json')))
    assert len(names(tmp_path)) == 1
    write_text('a', tmp_path / 'x')
    assert names(tmp_path) == ['x']


def test_a_planted_link_under_such_a_name_leads_nowhere(tmp_path):
    (tmp_path / 'precious').mkdir()
    (tmp_path / 'precious/thesis').write_text('years')
    for target in 'precious', 'precious/thesis':
        temporary.name_for(tmp_path / 'x').symlink_to(tmp_path / target)
    os.mkfifo(temporary.name_for(tmp_path / 'x'))
    temporary.sweep(tmp_path)
    assert (tmp_path / 'precious/thesis').read_text() == 'years' and len(names(tmp_path)) == 4


def test_without_locks_the_process_id_decides(tmp_path, monkeypatch):
    no_locks(monkeypatch)
    pid = holder(lambda: temporary.file_for(tmp_path / 'x'))
    temporary.sweep(tmp_path)
    assert len(names(tmp_path)) == 1
    kill(pid)
    temporary.sweep(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize('make', [temporary.file_for, temporary.folder_for])
def test_a_sweep_between_making_and_locking(tmp_path, monkeypatch, make):
    """The file is made again; the sweep of another process had it as a left-over."""
    lock, taken = processes.take_lock, []

    def take_lock(opened):
        taken.append(opened)
        if len(taken) == 1:
            temporary.sweep(tmp_path)
        return lock(opened)
    monkeypatch.setattr(processes, 'take_lock', take_lock)
    with make(tmp_path / 'x') as made:
        path = made if isinstance(made, Path) else made[0]
        assert path.exists() and len(taken) == 3        # ours, the sweep's, ours


def test_a_process_is_told_from_a_later_one_of_its_id():
    start = processes.started(os.getpid())
    assert processes.runs(os.getpid(), start) and processes.runs(os.getpid())
    assert start == '' or not processes.runs(os.getpid(), '1')
    assert not processes.runs(2 ** 22 + 1) and not processes.runs(10 ** 30)
    assert processes.started(2 ** 22 + 1) == ''


CONVERTER = '''
import os, signal, sys
from fcn_repro.formats.database import Writer
writer = Writer(sys.argv[1])
writer.put(b'a', b'b')
writer.commit()
os.kill(os.getpid(), signal.SIGKILL)
'''


def test_a_killed_converter_leaves_nothing_behind_the_next(tmp_path):
    required('lmdb')
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, '-c', CONVERTER, tmp_path / 'db'],
                   env={**os.environ, 'PYTHONPATH': str(root)})
    assert [name.startswith('db.') for name in names(tmp_path)] == [True]
    temporary._swept.discard(str(tmp_path))
    with Writer(tmp_path / 'db') as writer:
        writer.put(b'a', b'b')
    assert names(tmp_path) == ['db'] and 'data.mdb' in names(tmp_path / 'db')


# ---- what lies in a file's place ---------------------------------------------------------------

def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    """It may have been planted; a link to a folder is the user's way to another disk."""
    (tmp_path / 'precious').write_text('years')
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'run').symlink_to('disk')
    for name, target in {'x': '../precious', 'y': 'nowhere'}.items():
        (tmp_path / 'disk' / name).symlink_to(target)
        write_text('a', tmp_path / 'run' / name)
        assert (tmp_path / 'disk' / name).read_text() == 'a'
        assert not (tmp_path / 'disk' / name).is_symlink()
    assert (tmp_path / 'precious').read_text() == 'years' and names(tmp_path / 'disk') == ['x', 'y']


@pytest.mark.parametrize('kind, make', [
    ('a folder', Path.mkdir), ('a pipe', os.mkfifo),
    ('a device', lambda path: path.symlink_to('/dev/null'))])
def test_what_is_no_file_is_not_replaced(tmp_path, kind, make):
    """/dev/null would be a file from then on, for root."""
    make(tmp_path / 'x')
    before = os.lstat(tmp_path / 'x')
    with pytest.raises(FcnError, match=f'there is {kind} of this name'):
        write_bytes(b'a', tmp_path / 'x')
    assert os.path.samestat(before, os.lstat(tmp_path / 'x')) and names(tmp_path) == ['x']


@pytest.mark.parametrize('make, words', [
    (lambda path: path.symlink_to('precious'), 'a symbolic link'),
    (os.mkfifo, 'no regular file|No such device')])
def test_a_log_is_a_file(tmp_path, make, words):
    (tmp_path / 'precious').write_text('years')
    make(tmp_path / 'train.log')
    with pytest.raises(FcnError, match=words):
        log_to(tmp_path / 'train.log')
    assert (tmp_path / 'precious').read_text() == 'years'


def test_a_planted_link_under_the_name_of_glogs_file(tmp_path, monkeypatch):
    """Its name can be guessed: program, host, user, second and process."""
    now = glog.datetime(2026, 1, 2, 3, 4, 5)

    class Clock(glog.datetime):
        @classmethod
        def now(cls):
            return now
    monkeypatch.setattr(glog, 'datetime', Clock)
    (tmp_path / 'precious').write_text('years')
    made = glog.log_file('caffe', str(tmp_path))
    made.close()
    path = Path(made.baseFilename)
    path.unlink()
    path.symlink_to('precious')
    second = glog.log_file('caffe', str(tmp_path))
    second.close()
    assert (tmp_path / 'precious').read_text() == 'years'
    assert Path(second.baseFilename).read_text().startswith('Log file created at: 2026/01/02')
    assert os.readlink(tmp_path / 'caffe.INFO') == Path(second.baseFilename).name
