"""The lock of a run's folder: who has it, how it ends, and what lies in its place."""

import json
import os
import time

import pytest
from holders import holder, kill, no_locks

from fcn_repro import processes
from fcn_repro.errors import FcnError
from fcn_repro.lock import locked


def refused(folder, prefix=None):
    with pytest.raises(FcnError) as caught, locked(folder, prefix):
        pass
    return caught.value


def test_another_run_is_named(tmp_path):
    pid = holder(lambda: locked(tmp_path / 'run'))
    try:
        error = refused(tmp_path / 'run')
    finally:
        kill(pid)
    assert error.code == 'folder-in-use' and error.file == str(tmp_path / 'run')
    assert error.facts['pid'] == pid and error.facts['host'] == processes.host()
    for part in f'process {pid} on {processes.host()}', time.strftime('since %Y-'), 'as out':
        assert part in str(error)


def test_a_killed_run_blocks_nobody(tmp_path):
    """Not even while processes that it had forked live on."""
    kill(holder(lambda: locked(tmp_path / 'run'), children=1))
    assert os.listdir(tmp_path / 'run') == ['.lock']
    with locked(tmp_path / 'run') as lock:
        assert json.loads(lock.file.read_text())['pid'] == os.getpid()
        assert refused(tmp_path / 'run').facts['pid'] == os.getpid()
    assert not os.listdir(tmp_path / 'run')


def test_folders_are_made_and_empty_ones_removed_again(tmp_path):
    with locked(tmp_path / 'a/b/c') as lock:
        assert lock.file.exists()
    assert not os.listdir(tmp_path)
    with locked(tmp_path / 'a/b/c'):
        (tmp_path / 'a/b/file').touch()
    assert os.listdir(tmp_path / 'a') == ['b'] and os.listdir(tmp_path / 'a/b') == ['file']
    (tmp_path / 'mine').mkdir()
    with locked(tmp_path / 'mine'):
        pass
    assert (tmp_path / 'mine').is_dir()


def test_a_folder_that_is_renamed_meanwhile(tmp_path):
    run, old = tmp_path / 'run', tmp_path / 'run.old1'
    with locked(run) as lock:
        (run / 'file').touch()
        run.rename(old)
        lock.moved(old)
        assert os.listdir(old) == ['file'] and os.listdir(run) == ['.lock']
        assert refused(run).code == 'folder-in-use'
        with locked(old):
            pass
    assert not run.exists()
    with locked(run) as lock:
        run.rename(tmp_path / 'again')
        with locked(run), pytest.raises(FcnError, match='another run is using'):
            lock.moved(tmp_path / 'again')
    assert not os.listdir(tmp_path / 'again')


def test_a_lock_that_its_owner_removes_meanwhile(tmp_path, monkeypatch):
    """Between our opening of the file and our locking it."""
    lock, taken = processes.take_lock, []

    def take_lock(opened):
        taken.append(opened)
        if len(taken) == 1:
            (tmp_path / 'run/.lock').unlink()
        return lock(opened)
    monkeypatch.setattr(processes, 'take_lock', take_lock)
    with locked(tmp_path / 'run') as held:
        assert len(taken) == 2 and held.file.exists()
        assert refused(tmp_path / 'run')


def test_prefixes_of_one_folder(tmp_path):
    with locked(tmp_path, 'a'), locked(tmp_path, 'b'), locked(tmp_path):
        error = refused(tmp_path, 'a')
        assert 'files of this prefix' in str(error) and error.file == str(tmp_path / 'a')
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('make, words', [
    (lambda path: path.symlink_to('../precious'), 'it is a symbolic link'),
    (os.mkfifo, 'no regular file'), (os.mkdir, 'Is a directory')])
def test_something_in_the_place_of_the_lock(tmp_path, make, words):
    (tmp_path / 'precious').write_text('years')
    (tmp_path / 'run').mkdir()
    make(tmp_path / 'run/.lock')
    error = refused(tmp_path / 'run')
    assert words in str(error) and error.file == str(tmp_path / 'run/.lock')
    assert (tmp_path / 'precious').read_text() == 'years'


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'run').touch()
    assert refused(tmp_path / 'run').code == 'no-folder'
    assert refused(tmp_path / 'run/further').code == 'no-folder'


@pytest.mark.parametrize('text', ['', '[]', '{"host": "x"}', '\0\0', '{"pid": "7"', '9' * 5000])
def test_a_text_that_makes_no_sense(tmp_path, text, monkeypatch):
    """It blocks nobody; while the lock is held nobody is named."""
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)
    (tmp_path / '.lock').write_text(text)
    with open(tmp_path / '.lock') as file:
        assert processes.take_lock(file.fileno())
        assert 'has not written its name' in str(refused(tmp_path))
    with locked(tmp_path):
        pass


def test_control_characters_of_a_text_do_not_reach_the_terminal(tmp_path):
    (tmp_path / '.lock').write_text(json.dumps(
        {'host': '\x1b[31mhost', 'pid': 7, 'start': '', 'since': 'now\r'}))
    with open(tmp_path / '.lock') as file:
        assert processes.take_lock(file.fileno())
        assert 'process 7 on [31mhost, since now.' in str(refused(tmp_path))


def test_without_locks_the_text_decides(tmp_path, monkeypatch):
    no_locks(monkeypatch)
    pid = holder(lambda: locked(tmp_path / 'run'))
    error = refused(tmp_path / 'run')
    assert f'process {pid} on' in str(error) and f'remove {tmp_path}/run/.lock' in str(error)
    kill(pid)
    with locked(tmp_path / 'run'):
        pass
    (tmp_path / 'run/.lock').write_text(json.dumps(
        {'host': 'another', 'pid': pid, 'start': '', 'since': 'then'}))
    assert f'process {pid} on another, since then' in str(refused(tmp_path / 'run'))
