"""Databases: LMDB files written by hand and by the library, bad files of every kind, Datums."""

import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from lmdb_pages import database
from packages import required
from texts import message

from fcn_repro.errors import FcnError
from fcn_repro.formats.database import Reader, Writer, open_database

lmdb = required('lmdb')
RECORDS = {b'%05d' % i: bytes([i % 251]) * (i % 7 * 700 + 1) for i in range(3000)}
ORDERED = sorted(RECORDS.items())


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return database(tmp_path_factory.mktemp('lmdb') / 'whole', RECORDS)


def write(folder, records):
    with Writer(folder) as writer:
        for key, value in records.items():
            writer.put(key, value)
    return folder


def test_a_database_written_by_hand_is_read_in_the_order_of_keys(whole):
    reader = open_database(whole)
    assert len(reader) == 3000 and list(reader.records(0, 3000)) == ORDERED
    assert os.listdir(whole) == ['data.mdb']        # reading writes nothing


@pytest.mark.parametrize('count', [1, 2, 60, 130])
def test_depths_of_the_tree(tmp_path, count):
    records = dict(ORDERED[:count])
    assert list(Reader(database(tmp_path / 'd', records)).records(0, count)) == ORDERED[:count]


def test_any_place_over_and_over(whole):
    reader = Reader(shutil.copytree(whole, whole.parent / 'copy'))
    for first, count in (2999, 3), (700, 5), (256, 1), (6000 + 255, 3), (0, 6001):
        assert list(reader.records(first, count)) == [
            ORDERED[(first + i) % 3000] for i in range(count)]


def test_what_the_writer_writes(tmp_path):
    reader = open_database(write(tmp_path / 'd', dict(reversed(ORDERED))))
    assert list(reader.records(0, 3000)) == ORDERED
    assert len(ORDERED) > 1000      # several commits


def test_the_map_grows(tmp_path):
    big = {b'%d' % i: os.urandom(1 << 20) for i in range(150)}     # above the first 64 MiB
    reader = open_database(write(tmp_path / 'd', big))
    assert dict(reader.records(0, 150)) == big


def test_a_writer_takes_a_new_folder_and_leaves_nothing_where_it_fails(tmp_path):
    (tmp_path / 'there').mkdir()
    assert 'exists already' in message(Writer, tmp_path / 'there')
    with pytest.raises(ZeroDivisionError), Writer(tmp_path / 'd') as writer:
        writer.put(b'a', b'b')
        _ = 1 / 0
    assert not (tmp_path / 'd').exists()
    with Writer(tmp_path / 'd') as writer:
        for key in b'', b'x' * 600:
            assert f'a key of {len(key)} bytes' in message(writer.put, key, b'')
        writer.put(b'a', b'b')


# One database for several

def test_two_nets_share_a_reader(whole):
    reader = open_database(whole)
    assert open_database(whole) is reader is open_database(str(whole))
    link = whole.parent / 'link'
    link.symlink_to(whole)
    assert open_database(link) is reader


def test_while_a_writer_holds_its_lock(tmp_path):
    write(tmp_path / 'd', dict(ORDERED[:10]))
    code = ('import lmdb, sys\ne = lmdb.open(sys.argv[1])\nt = e.begin(write=True)\n'
            't.put(b"a", b"b")\nprint("held", flush=True)\ninput()\nt.commit()')
    child = subprocess.Popen([sys.executable, '-c', code, tmp_path / 'd'], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == 'held\n'
    reader = open_database(tmp_path / 'd')
    assert list(reader.records(0, 11)) == [*ORDERED[:10], ORDERED[0]]
    child.communicate('\n')
    assert list(reader.records(0, 11)) == [*ORDERED[:10], ORDERED[0]]       # as it was opened


def test_a_damaged_lock_file_does_not_matter(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / 'd')
    (folder / 'lock.mdb').write_bytes(b'nothing' * 1000)
    assert list(Reader(folder).records(5, 1)) == ORDERED[5:6]


def test_a_read_only_folder_without_lock_file(whole, tmp_path):
    folder = tmp_path / 'd'
    folder.mkdir()
    shutil.copy(whole / 'data.mdb', folder)
    (folder / 'data.mdb').chmod(0o444)
    folder.chmod(0o555)
    for parent in tmp_path, *tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    code = ('import os, sys\n'
            'from fcn_repro.formats.database import Reader\nimport lmdb\n'
            'os.geteuid() or os.setuid(65534)\n'
            'print(len(list(Reader(sys.argv[1]).records(0, 4000))), os.listdir(sys.argv[1]))')
    done = subprocess.run([sys.executable, '-c', code, folder], capture_output=True, text=True)
    folder.chmod(0o755)
    assert done.stdout == "4000 ['data.mdb']\n", done.stderr


def test_a_database_that_another_program_enlarges(tmp_path):
    """Its map grows under the reader, which goes on with the records that it counted."""
    with Writer(tmp_path / 'd') as writer:
        writer.put(b'00000000', b'x' * 1000)
        writer.put(b'00000001', b'y')
    reader = open_database(tmp_path / 'd')
    assert [value[:1] for _, value in reader.records(0, 2)] == [b'x', b'y']
    code = ('import sys, lmdb\n'
            'env = lmdb.open(sys.argv[1], map_size=1 << 28)\n'
            'with env.begin(write=True) as t:\n'
            '    for i in range(2, 3000): t.put(b"%08d" % i, b"z" * 50000)\n')
    subprocess.run([sys.executable, '-c', code, tmp_path / 'd'], check=True)
    assert [value[:1] for _, value in reader.records(0, 3)] == [b'x', b'y', b'x']


def test_a_forked_process_reads(whole):
    reader = open_database(whole)
    list(reader.records(0, 300))
    child = os.fork()
    if not child:
        fine = open_database(whole) is reader and list(reader.records(600, 2)) == ORDERED[600:602]
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0 and list(reader.records(0, 1)) == ORDERED[:1]


def test_a_database_replaced_by_another(tmp_path):
    old = open_database(write(tmp_path / 'd', dict(ORDERED[:10])))
    (tmp_path / 'd').rename(tmp_path / 'old')
    new = open_database(write(tmp_path / 'd', dict(ORDERED[10:15])))
    assert list(old.records(0, 10)) == ORDERED[:10]
    (tmp_path / 'd').rename(tmp_path / 'away')
    assert list(old.records(0, 10)) == ORDERED[:10]
    (tmp_path / 'away').rename(tmp_path / 'd')
    assert list(new.records(0, 5)) == ORDERED[10:15]
    database(tmp_path / 'd', dict(ORDERED[20:700]))             # another file in the same folder
    assert list(new.records(0, 5)) == ORDERED[10:15]
    assert list(open_database(tmp_path / 'd').records(0, 680)) == ORDERED[20:700]
    assert len(new) == 680                                      # all read the file that is there
    (tmp_path / 'd/data.mdb').write_bytes((tmp_path / 'old/data.mdb').read_bytes())
    assert list(open_database(tmp_path / 'd').records(0, 10)) == ORDERED[:10]


def test_a_script_that_has_it_open_itself(whole):
    """LMDB allows a file once in a process, and is not in use here."""
    with lmdb.open(str(whole), readonly=True, lock=False) as environment:
        assert len(open_database(whole)) == environment.stat()['entries']
        assert list(open_database(whole).records(0, 3000)) == ORDERED


def test_a_file_that_is_cut_while_it_is_open(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / 'd')
    reader = Reader(folder)
    list(reader.records(0, 10))
    os.truncate(folder / 'data.mdb', 20000)
    assert 'became shorter' in message(list, reader.records(2000, 10))


# Bad files

def test_what_is_no_folder_of_an_lmdb(tmp_path, whole):
    assert 'no such database' in message(open_database, tmp_path / 'missing')
    assert f"its folder: '{whole}'" in message(open_database, whole / 'data.mdb')
    (tmp_path / 'file').write_bytes(b'x')
    assert 'a folder with a data.mdb' in message(open_database, tmp_path / 'file')
    (tmp_path / 'empty').mkdir()
    assert 'no data.mdb' in message(open_database, tmp_path / 'empty')
    for name, raw in ('a', b''), ('b', bytes(9000)), ('c', b'<html>' * 2000), ('d', b'xy'), (
            'e', b'version https://git-lfs.github.com/spec/v1'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'data.mdb').write_bytes(raw)
        text = message(open_database, tmp_path / name)
        assert {'a': 'empty', 'b': 'zeros', 'c': 'a web page', 'd': 'is no LMDB',
                'e': 'git lfs pull'}[name] in text
    assert 'the database is empty' in message(open_database, database(tmp_path / 'none', {}))
    lmdb.open(str(tmp_path / 'new')).close()
    assert 'the database is empty' in message(open_database, tmp_path / 'new')


@pytest.mark.parametrize('word, order, words', [
    (4, '<', '32-bit little-endian'), (4, '>', '32-bit big-endian'), (8, '>', '64-bit big-endian')])
def test_another_byte_layout(tmp_path, word, order, words):
    text = message(open_database, database(tmp_path / 'd', RECORDS, word, order))
    assert words in text and 'mdb_dump' in text


def sizes():
    """Where a file may end: in and after the meta pages, in the first page, around each kind of
    page, one byte before its end."""
    return [1, 15, 20, 100, 151, 152, 4095, 4096, 4096 + 20, 8191, 8192, 8193, 12288, 12288 + 17,
            1 << 20, -4096, -4095, -2048, -1]


@pytest.mark.parametrize('size', sizes())
def test_cut_short(whole, tmp_path, size):
    raw = (whole / 'data.mdb').read_bytes()
    (tmp_path / 'd').mkdir()
    (tmp_path / 'd/data.mdb').write_bytes(raw[:size])
    text = message(open_database, tmp_path / 'd')
    assert 'cut short' in text or (0 < size < 20 and ('no LMDB' in text or 'zeros' in text))
    assert str(len(raw)) in text or 0 < size < 8192


CRASH = '''
import sys
import time
from fcn_repro.errors import FcnError
from fcn_repro.formats.database import Reader
try:
    print(sum(len(value) for _, value in Reader(sys.argv[1]).records(0, 3000)))
except FcnError as error:
    print(error)
'''


@pytest.mark.parametrize('first, last', [(2, 3), (-1, None), (-30, None), (2, None), (3, 400)])
def test_pages_of_zeros_end_no_process(whole, tmp_path, first, last):
    """A copy that was cut and then filled up, as by a download that is given its size first."""
    raw = bytearray((whole / 'data.mdb').read_bytes())
    pages = range(len(raw) // 4096)[first:last]
    for page in pages:
        raw[page * 4096:(page + 1) * 4096] = bytes(4096)
    (tmp_path / 'd').mkdir()
    (tmp_path / 'd/data.mdb').write_bytes(raw)
    done = subprocess.run([sys.executable, '-c', CRASH, tmp_path / 'd'], capture_output=True,
                          text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.strip().isdigit() or 'amaged' in done.stdout


def changed(whole, folder, changes):
    """A copy of a database in which the bytes at some places are others."""
    raw = bytearray((whole / 'data.mdb').read_bytes())
    for at, values in changes:
        raw[at:at + len(values)] = values
    folder.mkdir(exist_ok=True)
    (folder / 'data.mdb').write_bytes(raw)
    return folder


def attempt(folder):
    """'read', or the message with which a database is refused; at most its own records are read."""
    try:
        reader = Reader(folder)
        for _ in reader.records(0, min(len(reader), 4000)):
            pass
        return 'read'
    except FcnError as error:
        assert str(folder) in str(error) and error.do
        return str(error)


def test_random_bytes_in_pages(tmp_path):
    """Most in the heads of pages and their nodes, where liblmdb would end the process."""
    rng, outcomes = random.Random(0), set()
    small = database(tmp_path / 'small', dict(ORDERED[:300]))
    size = (small / 'data.mdb').stat().st_size
    for _ in range(400):
        places = [rng.randrange(size // 4096) * 4096 + rng.choice((rng.randrange(48),
                                                                   rng.randrange(4096)))
                  for _ in range(rng.choice((1, 5, 50)))]
        folder = changed(small, tmp_path / 'd', [(at, rng.randbytes(rng.choice((1, 2, 8))))
                                                 for at in places])
        outcomes.add(attempt(folder)[-40:])
    assert len(outcomes) > 1


def root_of(whole):
    """(number of the root page, its kind) of a database written by hand."""
    raw = (whole / 'data.mdb').read_bytes()
    return struct.unpack_from('<Q', raw, 4096 + 128)[0]


META = 4096         # the second meta page, the newer one
DAMAGES = {
    'root outside': [(META + 128, struct.pack('<Q', 1 << 40))],
    'root is a meta page': [(META + 128, bytes(8))],
    'levels': [(META + 94, b'\xff\xff')],
    'no levels': [(META + 94, bytes(2))],
    'too few levels': [(META + 94, b'\1\0')],
    'absurd count': [(META + 120, b'\xff' * 8)],
    'count of more than there are': [(META + 120, struct.pack('<Q', 3001))],
    'page size': [(40, bytes(4)), (META + 40, bytes(4))],
    'huge pages': [(40, b'\0\0\0\1'), (META + 40, b'\0\0\0\1')],
    'last page': [(META + 136, b'\xff' * 8)],
    'other order of keys': [(META + 92, b'\x08')],
    'several values': [(META + 92, b'\x04')],
    'other version': [(20, b'\2'), (META + 20, b'\2')],
}


@pytest.mark.parametrize('changes', DAMAGES.values(), ids=DAMAGES)
def test_damaged_headers(whole, tmp_path, changes):
    assert attempt(changed(whole, tmp_path / 'd', changes)) != 'read'


def test_a_tree_that_leads_to_itself(whole, tmp_path):
    """The second child of the root is the first one again, and the root a child of itself."""
    root = root_of(whole) * 4096
    raw = (whole / 'data.mdb').read_bytes()
    nodes = [root + struct.unpack_from('<H', raw, root + 16 + 2 * i)[0] for i in range(2)]
    again = [(nodes[1], raw[nodes[0]:nodes[0] + 6])]
    assert 'comes after' in attempt(changed(whole, tmp_path / 'd', again))
    itself = [(nodes[0], struct.pack('<HHH', root // 4096, 0, 0))]
    assert 'is no leaf' in attempt(changed(whole, tmp_path / 'd', itself))


def test_a_database_with_named_ones_in_it(tmp_path):
    with lmdb.open(str(tmp_path / 'd'), max_dbs=2) as environment:
        environment.open_db(b'train')
    text = message(list, Reader(tmp_path / 'd').records(0, 1))
    assert "b'train'" in text and 'name of a database' in text


def test_while_another_program_writes_all_the_time(tmp_path):
    """What is read belongs to one version, without LMDB's lock."""
    with Writer(tmp_path / 'd') as writer:
        for i in range(200):
            writer.put(b'%03d' % i, b'%05d' % 0 * 100 * (1 + i % 3 * 20))
    code = ('import sys, lmdb\n'
            'env = lmdb.open(sys.argv[1], map_size=1 << 28, sync=False)\n'
            'print("ready", flush=True)\n'
            'for n in range(1, 100000):\n'
            '    with env.begin(write=True) as t:\n'
            '        for i in range(200): t.put(b"%03d" % i, b"%05d" % n * 100 * (1 + i % 3 * 20))')
    child = subprocess.Popen([sys.executable, '-c', code, tmp_path / 'd'], text=True,
                             stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == 'ready\n'
        reader, seen, reads = Reader(tmp_path / 'd'), set(), 0
        deadline = time.monotonic() + 120   # on a busy machine the writer may wait for its turn
        while reads < 100 or (len(seen) < 2 and time.monotonic() < deadline):
            reads += 1
            some = list(reader.records(0, 60))
            values = {value[:5] for _, value in some}
            assert len(values) == 1 and all(
                value == value[:5] * 100 * (1 + int(key) % 3 * 20) for key, value in some)
            seen |= values
        assert len(seen) > 1
    finally:
        child.kill()
        child.communicate()


def test_a_leveldb_is_converted_by_what_its_error_advises(tmp_path, monkeypatch):
    for names in (('CURRENT', 'LOCK', 'MANIFEST-000004'), ('CURRENT',)):
        folder = tmp_path / f'of {len(names)}'
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b'')
        with pytest.raises(FcnError) as caught:
            open_database(folder)
        assert 'LevelDB' in str(caught.value)
    stand_in = types.ModuleType('plyvel')
    stand_in.DB = lambda path: iter(ORDERED[:20]) if path == str(folder) else None
    monkeypatch.setitem(sys.modules, 'plyvel', stand_in)
    code = re.search(r': (from fcn_repro.*w\.close\(\))', str(caught.value)).group(1)
    exec(code, {})
    assert list(open_database(f'{folder}_lmdb').records(0, 20)) == ORDERED[:20]


def test_values_are_plain_bytes(whole):
    (key, value), = open_database(whole).records(0, 1)
    assert type(key) is bytes and type(value) is bytes and np.frombuffer(value, np.uint8).size == 1


def test_lmdb_is_imported_when_a_database_is_written(whole, tmp_path, monkeypatch):
    """Its lack is said with what to install; reading needs none."""
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    assert list(open_database(whole).records(0, 3000)) == ORDERED
    with pytest.raises(FcnError, match='pip install lmdb'):
        Writer(tmp_path / 'db')
    assert os.listdir(tmp_path) == []
