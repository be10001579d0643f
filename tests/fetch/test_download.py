"""Downloads from a server on loopback that stalls, truncates, refuses ranges, changes the file."""

import hashlib
import json
import os
import shutil
import socket

import loopback_server as server
import numpy as np
import pytest

from fcn_repro.errors import FcnError
from fcn_repro.fetch.download import Download, digests, total_of, verify

DATA = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(280_000)
SHA = hashlib.sha256(DATA).hexdigest()
RIGHT = {'sha256': SHA}


@pytest.fixture
def served():
    with server.serving({'f.tar': DATA}) as found:
        yield found


def download(served, folder, hashes=RIGHT, **options):
    lines = []
    made = Download(f'{served.url}/f.tar', folder / 'f.tar', hashes, say=lines.append,
                    **{'timeout': 600., 'pause': 0.01, 'tries': 3} | options)
    return made, lines


def only_the_file(folder):
    return sorted(os.listdir(folder)) == ['f.tar'] and (folder / 'f.tar').read_bytes() == DATA


@pytest.mark.parametrize('hashes', [RIGHT, {}, {'sha256 begins': SHA[:8]},
                                    {'md5': hashlib.md5(DATA).hexdigest()}])
def test_whole_in_one_go(served, tmp_path, hashes):
    seen = []
    made, lines = download(served, tmp_path, hashes, progress=lambda *at: seen.append(at))
    assert made.fetch() == SHA and only_the_file(tmp_path) and not lines
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert served.ranges() == [None]


@pytest.mark.parametrize('how', [server.STALL, server.TRUNCATE])
def test_goes_on_where_it_broke(served, tmp_path, how, monkeypatch):
    """A timeout begins once all has come that the server sends: it is no race with the server."""
    served.behaviours = [how, server.RESET, how]
    half, more = len(DATA) // 2, len(DATA) - len(DATA) // 4
    connect, connections = socket.create_connection, []

    def connected(address, timeout, *more):
        assert timeout == 600
        connections.append(connect(address, timeout, *more))
        return connections[-1]

    def progress(done, total):
        if how == server.STALL and (len(connections), done) in ((1, half), (3, more)):
            connections[-1].settimeout(0.1)
    monkeypatch.setattr(socket, 'create_connection', connected)
    made, lines = download(served, tmp_path, progress=progress)
    assert made.fetch() == SHA and only_the_file(tmp_path)
    assert served.ranges() == [None, f'bytes={half}-', f'bytes={half}-', f'bytes={more}-']
    assert [each[2] for each in served.requests] == [None, '"v1"', '"v1"', '"v1"']
    words = 'silent for 600 s' if how == server.STALL else 'ended after'
    assert len(lines) == 3 and words in lines[0] and 'once more' in lines[0]


def test_another_call_goes_on(served, tmp_path):
    served.behaviours = [server.TRUNCATE, 503, 503, 503]
    with pytest.raises(FcnError, match=r'503.*3 times in a row.*150 kB are kept') as error:
        download(served, tmp_path)[0].fetch()
    assert error.value.code == 'not-fetched' and not (tmp_path / 'f.tar').exists()
    assert download(served, tmp_path)[0].fetch() == SHA and only_the_file(tmp_path)
    assert served.ranges()[-1] == 'bytes=150000-'


def test_a_server_without_ranges_sends_all_of_it_again(served, tmp_path):
    served.behaviours = [server.TRUNCATE, server.NO_RANGES]
    made, lines = download(served, tmp_path)
    assert made.fetch() == SHA and only_the_file(tmp_path)
    assert 'from the beginning' in lines[-1]


def test_two_versions_are_never_mixed(served, tmp_path):
    served.behaviours = [server.TRUNCATE, lambda: served.replace('f.tar', OTHER)]
    made, lines = download(served, tmp_path, {})
    assert made.fetch() == hashlib.sha256(OTHER).hexdigest()
    assert (tmp_path / 'f.tar').read_bytes() == OTHER and 'from the beginning' in lines[-1]
    served.behaviours = [server.TRUNCATE, lambda: served.replace('f.tar', DATA + b'x')]
    (tmp_path / 'f.tar').unlink()
    with pytest.raises(FcnError, match=r'not the file: its SHA256'):     # the stated hash is not it
        download(served, tmp_path)[0].fetch()
    assert os.listdir(tmp_path) == []


def test_without_an_etag_the_hash_tells(served, tmp_path):
    """The server goes on with another version, unasked: joined it is wrong, and fetched whole."""
    served.tags = False
    served.files['f.tar'] = OTHER + DATA[len(OTHER):]       # the same length
    served.behaviours = [server.TRUNCATE, lambda: served.files.update({'f.tar': DATA})]
    made, lines = download(served, tmp_path)
    assert made.fetch() == SHA and only_the_file(tmp_path)
    assert served.ranges() == [None, 'bytes=150000-', None] and 'put together' in lines[-1]


def test_without_etag_and_hash_it_begins_again(served, tmp_path):
    served.tags, served.behaviours = False, [server.TRUNCATE]
    assert download(served, tmp_path, {})[0].fetch() == SHA and only_the_file(tmp_path)
    assert served.ranges() == [None, None]


def test_a_length_that_is_not_known(served, tmp_path):
    served.behaviours = [server.NO_LENGTH]
    made, lines = download(served, tmp_path, {})
    assert made.fetch() == SHA and 'is not known' in lines[-1]
    (tmp_path / 'f.tar').unlink()
    served.behaviours = [server.CHUNK_CUT]
    assert download(served, tmp_path)[0].fetch() == SHA and only_the_file(tmp_path)


def test_a_part_that_was_not_asked_for(served, tmp_path):
    served.behaviours = [server.TRUNCATE, server.WRONG_PART]
    made, lines = download(served, tmp_path)
    assert made.fetch() == SHA and only_the_file(tmp_path) and 'another part' in lines[-1]
    assert served.ranges()[-1] is None


def test_a_whole_part_is_only_verified(served, tmp_path):
    """The process was killed between the last byte and the move."""
    made, _ = download(served, tmp_path)
    made.part.write_bytes(DATA)
    made.state.write_text(json.dumps({'url': made.url, 'length': len(DATA), 'validator': None}))
    assert made.fetch() == SHA and only_the_file(tmp_path) and not served.requests
    (tmp_path / 'f.tar').unlink()
    made.part.write_bytes(OTHER + DATA[len(OTHER):])
    made.state.write_text(json.dumps({'url': made.url, 'length': len(DATA), 'validator': None}))
    assert made.fetch() == SHA and only_the_file(tmp_path) and served.ranges() == [None]


@pytest.mark.parametrize('state', ['', '[]', '{"url": 3}', '{"url": "http://x/f.tar", "length": '
                                   '9, "validator": null}', 'link'])
def test_a_part_of_something_else_is_thrown_away(served, tmp_path, state):
    made, _ = download(served, tmp_path)
    if state == 'link':
        (tmp_path / 'mine').write_bytes(b'keep')
        made.part.symlink_to(tmp_path / 'mine')
    else:
        made.part.write_bytes(b'other bytes')
    made.state.write_text(state)
    assert made.fetch() == SHA and served.ranges() == [None]
    assert (tmp_path / 'f.tar').read_bytes() == DATA
    assert state != 'link' or (tmp_path / 'mine').read_bytes() == b'keep'


@pytest.mark.parametrize(('how', 'words'), [
    (404, '404'), (403, '403'), (server.HTML, 'web page'),
    (('redirect', 'file:///etc/passwd'), 'not allowed'),
    (('redirect', 'ftp://127.0.0.1/f.tar'), 'refers to ftp:')])
def test_faults_that_stay(served, tmp_path, how, words):
    served.behaviours = [how]
    with pytest.raises(FcnError, match=words) as error:
        download(served, tmp_path)[0].fetch()
    assert served.url in str(error.value) and error.value.do
    assert len(served.requests) == 1 and not (tmp_path / 'f.tar').exists()


def test_redirections_are_followed(served, tmp_path):
    served.behaviours = [('redirect', f'{served.url}/f.tar')]
    assert download(served, tmp_path)[0].fetch() == SHA and only_the_file(tmp_path)


def test_a_server_that_is_not_there(tmp_path):
    with server.serving({}) as gone:
        pass
    with pytest.raises(FcnError, match=r'cannot be reached.*3 times'):
        download(gone, tmp_path)[0].fetch()


def test_the_disk_is_full(served, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(FcnError, match=r'1 kB free, 300 kB are still to come') as error:
        download(served, tmp_path)[0].fetch()
    assert error.value.code == 'no-room-to-fetch'


def test_addresses_and_ranges(tmp_path):
    with pytest.raises(FcnError, match='no address of http'):
        Download('file:///etc/passwd', tmp_path / 'f')
    assert total_of('bytes 5-9/10', 5) == 10
    for wrong in None, '', 'bytes 5-8/10', 'bytes 4-9/10', 'bytes */10', 'bytes 5-9/*', 'x 5-9/10':
        assert total_of(wrong, 5) is None


def test_hashes(tmp_path):
    file = tmp_path / 'f'
    file.write_bytes(b'abc')
    assert digests(file, {'md5', 'sha1'}) == {
        'md5': '900150983cd24fb0d6963f7d28e17f72',
        'sha1': 'a9993e364706816aba3e25717850c26c9cd0d89d'}
    sha = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    assert verify(file, {'sha256 begins': 'ba7816bf'}) == verify(file, {}) == sha
    for hashes in {'sha256 begins': 'ba7816b0'}, {'md5': '0' * 32}, {'sha1': 'f' * 40, 'md5': '0'}:
        with pytest.raises(FcnError, match='not the file') as error:
            verify(file, hashes)
        assert error.value.code == 'wrong-hash'
