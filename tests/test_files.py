"""Only regular files are opened, and nothing waits for a writer."""

import os
import socket
import stat

import pytest

from fcn_repro.errors import FcnError
from fcn_repro.files import MOST_TEXT, check_regular, open_regular, read_regular


@pytest.fixture
def odd(tmp_path):
    """{what an error calls it: path} of what is no regular file."""
    os.mkfifo(tmp_path / 'fifo')
    link = tmp_path / 'link'
    link.symlink_to('/dev/zero')
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / 'socket'))
    bound.close()
    return {'a folder': tmp_path, 'a pipe': tmp_path / 'fifo', 'a socket': tmp_path / 'socket',
            'a device': link}


@pytest.mark.parametrize('read', [read_regular, check_regular, open_regular])
@pytest.mark.parametrize('kind', ['a folder', 'a pipe', 'a socket', 'a device'])
def test_other_files_are_refused(odd, kind, read):
    with pytest.raises(FcnError, match=f'is {kind} where a list is wanted') as caught:
        read(odd[kind], 'a list')
    assert caught.value.file == odd[kind] and caught.value.do


def test_the_pipe_of_a_shell_is_refused():
    ends = os.pipe()
    with pytest.raises(FcnError, match=r'is a pipe .* Write what it gives into a file'):
        read_regular(f'/dev/fd/{ends[0]}', 'a prototxt')
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(('name', 'words'), [
    ('missing', 'No such file'), ('n' * 300, 'name too long'), ('a\0b', 'null'),
    ('a\udfff\ud800b', 'no file can have this name'), ('', 'No such file'),
    ('file/under', 'Not a directory'), ('loop', 'symbolic links')])
def test_a_path_of_no_file(tmp_path, name, words):
    (tmp_path / 'file').write_text('x')
    (tmp_path / 'loop').symlink_to('loop')
    path = str(tmp_path / name) if name else ''
    with pytest.raises(FcnError, match=words):
        read_regular(path, 'a list', do='Fix it.')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / 'file'
    path.write_text('x')
    path.chmod(0)
    with pytest.raises(FcnError, match='Permission denied'):
        check_regular(path, 'a list')


def test_the_limit(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'abcd')
    assert read_regular(path, 'a list', 4) == b'abcd'
    with pytest.raises(FcnError, match='has 4 bytes where a list has at most 3'):
        read_regular(path, 'a list', 3)
    os.truncate(path, 10 ** 11)         # sparse
    with pytest.raises(FcnError, match=f'100,000,000,000 bytes where a list .* {MOST_TEXT:,}'):
        read_regular(path, 'a list')


@pytest.mark.skipif(not os.path.exists('/proc/self/maps'), reason='needs /proc')
def test_a_file_whose_size_the_system_does_not_say():
    assert not os.stat('/proc/self/maps').st_size
    assert b'\n' in read_regular('/proc/self/maps', 'a list')
    with pytest.raises(FcnError, match='has more than 10 bytes'):
        read_regular('/proc/self/maps', 'a list', 10)


def test_a_symlink_is_followed_and_the_file_is_open(tmp_path):
    (tmp_path / 'file').write_bytes(b'ab')
    (tmp_path / 'link').symlink_to('file')
    with open_regular(tmp_path / 'link', 'a list') as file:
        assert stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        assert file.read() == b'ab'
