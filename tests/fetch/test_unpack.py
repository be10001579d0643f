"""Archives from elsewhere: confined, bounded, whole."""

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest

from fcn_repro.errors import FcnError
from fcn_repro.fetch import unpack as unpacking
from fcn_repro.fetch.unpack import unpack

FILES = {'top/a.txt': b'a', 'top/sub/b.bin': bytes(range(256)) * 5000, 'top/empty': b''}


def tar_of(path, members, mode='w'):
    """A tar of {name: bytes, or a TarInfo}."""
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = b'' if info is data else data
            info.size = info.size or len(content)
            tar.addfile(info, io.BytesIO(content or bytes(info.size)))
    return path


def zip_of(path, members):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def entry(name, kind, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def unpacked(tmp_path, archive):
    out = tmp_path / 'out'
    out.mkdir()
    return unpack(archive, out), out


def read(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('kind', ['w', 'w:gz', 'w:bz2', 'w:xz', 'zip'])
def test_all_files_come(tmp_path, kind):
    make = zip_of if kind == 'zip' else lambda path, files: tar_of(path, files, kind)
    done, out = unpacked(tmp_path, make(tmp_path / 'a', FILES | {'top/': b''} if kind == 'zip'
                                        else FILES))
    assert read(out) == FILES and done.files == 3 and not done.left_out
    assert done.bytes == sum(map(len, FILES.values()))


@pytest.mark.parametrize('name', ['../evil', '/tmp/evil', 'a/../../evil', 'x\n', 'a' * 300])
@pytest.mark.parametrize('make', [tar_of, zip_of])
def test_no_name_leaves_the_folder(tmp_path, make, name):
    with pytest.raises(FcnError, match='name of a member') as error:
        unpacked(tmp_path, make(tmp_path / 'a', {name: b'x'}))
    assert error.value.file and sorted(os.listdir(tmp_path)) == ['a', 'out']


def test_links_and_devices_are_left_out_and_modes_are_ours(tmp_path):
    members = {1: entry('link', tarfile.SYMTYPE, linkname='/etc'),
               2: entry('link/x', tarfile.LNKTYPE, linkname='/etc/passwd'),
               3: entry('pipe', tarfile.FIFOTYPE), 4: entry('tty', tarfile.CHRTYPE),
               5: entry('run', tarfile.REGTYPE, mode=0o6777)}
    done, out = unpacked(tmp_path, tar_of(tmp_path / 'a', members))
    assert os.listdir(out) == ['run'] and (done.files, done.left_out) == (1, 4)
    assert not (out / 'run').stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)
    info = zipfile.ZipInfo('link')
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    (out / 'run').unlink()
    out.rmdir()
    done, out = unpacked(tmp_path, zip_of(tmp_path / 'b', {info: '/etc'}))
    assert not os.listdir(out) and done.left_out == 1


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, 'AT_LEAST', 1 << 20)
    zeros = bytes(8 << 20)
    for archive in (zip_of(tmp_path / 'z', {'a': zeros}),
                    tar_of(tmp_path / 't', {'a': zeros}, 'w:gz')):
        with pytest.raises(FcnError, match='too much for its size'):
            unpack(archive, tmp_path)
    with gzip.open(tmp_path / 'h', 'wb') as file:       # a header of names that claims 4 GB
        info = entry('x', tarfile.XHDTYPE, size=4 << 30)
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1 << 20))
    with pytest.raises(FcnError, match='claims 4'):
        unpack(tmp_path / 'h', tmp_path)
    monkeypatch.setattr(unpacking, 'MEMBERS', 5)
    with pytest.raises(FcnError, match='more than 5 members'):
        unpack(tar_of(tmp_path / 'm', {str(i): b'' for i in range(9)}), tmp_path)


@pytest.mark.parametrize('kind', ['w', 'w:gz', 'w:bz2', 'w:xz', 'zip'])
def test_damaged(tmp_path, kind):
    """Cut at any place: refused, never taken for a smaller one."""
    path = tmp_path / 'a'
    (zip_of if kind == 'zip' else lambda *at: tar_of(*at, kind))(path, FILES)
    whole = path.read_bytes()
    for part in 0.02, 0.3, 0.6, 0.9:
        path.write_bytes(whole[:int(part * len(whole))])
        with pytest.raises(FcnError, match='no whole archive'):
            unpack(path, tmp_path)
    path.write_bytes(b'<html>not found</html>' * 99)
    with pytest.raises(FcnError, match='no whole archive'):
        unpack(path, tmp_path)


def test_a_zip_with_a_password_and_a_wrong_checksum(tmp_path):
    path = zip_of(tmp_path / 'a', {'a': b'abc' * 99})
    data = bytearray(path.read_bytes())
    for at in data.find(b'PK\x03\x04') + 6, data.find(b'PK\x01\x02') + 8:
        data[at] |= 1                                   # "encrypted"
    path.write_bytes(data)
    with pytest.raises(FcnError, match='no whole archive'):
        unpack(path, tmp_path)
    path = zip_of(tmp_path / 'b', {'a': b'abc' * 99})
    data = bytearray(path.read_bytes())
    data[data.find(b'PK\x01\x02') + 16] ^= 1            # the checksum
    path.write_bytes(data)
    with pytest.raises(FcnError, match='no whole archive'):
        unpack(path, tmp_path)


def test_a_file_in_a_folders_place(tmp_path):
    with pytest.raises(FcnError, match='cannot be unpacked'):
        unpacked(tmp_path, tar_of(tmp_path / 'a', {'a': b'x', 'a/b': b'y'}))
