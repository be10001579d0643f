"""fcn-repro data list and fetch, as a user gives them, from a server on loopback."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import tarfile
import zipfile
from pathlib import Path

import commands
import loopback_server as server
import pytest
from data_folders import SIZES, make_voc

from fcn_repro.errors import FcnError
from fcn_repro.fetch import fetching, sources
from fcn_repro.fetch.fetching import fetch, read_record, state_of

ROOT = Path(__file__).parents[2]
LISTED = json.loads(sources.FILE.read_text())['sources']
HEX = re.compile(r'\b[0-9a-f]{32,64}\b')
WEIGHTS = b'weights' * 1000


def sift_flow(text=''):
    """SIFT Flow's zip in miniature."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for folder in 'Images', 'SemanticLabels', 'GeoLabels':
            archive.writestr(f'SiftFlowDataset/{folder}/spatial_envelope/a.txt', folder + text)
    return file.getvalue()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The sources, from loopback: voc2011 and voc-fcn8s with hashes, siftflow without. The working
    folder is a new one."""
    made = make_voc(tmp_path / 'made')
    with tarfile.open(tmp_path / 'voc.tar', 'w') as tar:
        tar.add(made, 'TrainVal/VOCdevkit/VOC2011')
    files = {'VOCtrainval_25-May-2011.tar': (tmp_path / 'voc.tar').read_bytes(),
             'seg11valid.txt': f'{next(iter(SIZES))}\n'.encode(),
             'SiftFlowDataset.zip': sift_flow(), 'trainval.txt': b'a\n', 'test.txt': b'b\n',
             'fcn8s-heavy-pascal.caffemodel': WEIGHTS}
    with server.serving(files) as found:
        listed = json.loads(json.dumps(LISTED))
        for entry in listed.values():
            for part in entry['parts']:
                name = part['url'].rpartition('/')[2]
                part['url'] = f'{found.url}/{name}'
                for kind in sources.HASHES:
                    if kind in part and name in files:
                        part[kind] = hashlib.new(kind, files[name]).hexdigest()
        (tmp_path / 'sources.json').write_text(json.dumps({'sources': listed}))
        monkeypatch.setattr(sources, 'FILE', tmp_path / 'sources.json')
        sources.sources.cache_clear()
        (tmp_path / 'here').mkdir()
        monkeypatch.chdir(tmp_path / 'here')
        yield found
    sources.sources.cache_clear()


def call(words, capsys):
    """(status, stdout, stderr) of fcn-repro data."""
    return commands.call(f'data {words}', capsys)


def quick(name, **options):
    lines, options = [], {'pause': 0.01, 'timeout': 600.} | options
    return fetch(name, 'data', say=lines.append, **options), lines


def test_a_data_set_as_a_user_does(served, capsys):
    served.behaviours = [server.TRUNCATE]
    status, out, err = call('fetch voc2011', capsys)
    assert status == 0, err
    folder = 'data/voc2011/TrainVal/VOCdevkit/VOC2011'
    assert f'{folder}\nnext: fcn-repro data check {folder}\n' in out and 'once more, from' in out
    assert 'as torchvision states' in out and 'nobody states one' in out    # the archive, the list
    assert Path(folder, 'ImageSets/Segmentation/seg11valid.txt').read_text().split() == [
        next(iter(SIZES))]
    assert sorted(os.listdir('data')) == ['archives', 'voc2011', 'voc2011.fetched.json']
    status, out, err = call(f'check {folder} --splits train', capsys)
    assert "VOC's layout" in out or 'train' in out
    asked = len(served.requests)
    status, out, err = call('fetch voc2011', capsys)
    assert status == 0 and 'there already' in out and len(served.requests) == asked
    shutil.rmtree('data/archives')              # which is not needed any more
    assert call('fetch voc2011', capsys)[0] == 0 and len(served.requests) == asked
    assert f'here: {folder}' in call('list voc2011', capsys)[1]


def test_a_folder_that_is_only_known_by_what_it_has(served):
    found, lines = quick('siftflow')
    assert found.path == Path('data/siftflow/SiftFlowDataset')
    assert (found.path / 'trainval.txt').read_text() == 'a\n'
    assert any('3 files' in line for line in lines)


def test_a_first_use_is_recorded_and_a_change_is_seen(served):
    quick('siftflow')
    record = Path('data/siftflow.fetched.json')
    entry = read_record(record)['files']['SiftFlowDataset.zip']
    assert entry['hash'] == 'recorded at first use'
    assert entry['sha256'] == hashlib.sha256(served.files['SiftFlowDataset.zip']).hexdigest()
    shutil.rmtree('data/siftflow')
    shutil.rmtree('data/archives')
    served.replace('SiftFlowDataset.zip', sift_flow('other'))
    for _ in range(2):
        with pytest.raises(FcnError, match='recorded then was') as error:
            quick('siftflow')
        assert str(record) in error.value.do and os.listdir('data/archives') == []
    record.unlink()
    assert quick('siftflow')[0].path.is_dir()


def test_a_file_that_is_there_already_is_verified(served):
    """Put there by hand, since the server is away."""
    archives = Path('data/archives')
    archives.mkdir(parents=True)
    archive = archives / 'VOCtrainval_25-May-2011.tar'
    archive.write_bytes(b'something else')
    with pytest.raises(FcnError, match='not the file') as error:
        quick('voc2011')
    assert str(archive) in str(error.value) and archive.exists() and not served.requests
    archive.write_bytes(served.files[archive.name])
    assert quick('voc2011')[0].path.is_dir()
    assert [name for name, *_ in served.requests] == ['seg11valid.txt']


def test_a_wrong_file_is_never_put_in_place(served, capsys):
    served.files['fcn8s-heavy-pascal.caffemodel'] = b'other weights'
    status, out, err = call('fetch voc-fcn8s', capsys)
    assert status == 1 and 'not the file' in err and '--url' in err and not out.startswith('data')
    assert os.listdir('data/weights') == []


def test_weights_from_another_address(served, capsys):
    served.files['mirror/fcn8s-heavy-pascal.caffemodel'] = WEIGHTS
    del served.files['fcn8s-heavy-pascal.caffemodel']
    status, _, err = call('fetch voc-fcn8s --tries 1', capsys)
    assert status == 1 and '404' in err
    assert '--url' in err and 'data/weights/fcn8s-heavy-pascal.caffemodel' in err
    status, out, err = call('fetch voc-fcn8s --url '
                            f'{served.url}/mirror/fcn8s-heavy-pascal.caffemodel', capsys)
    path = Path('data/weights/fcn8s-heavy-pascal.caffemodel')
    assert status == 0 and path.read_bytes() == WEIGHTS
    assert f'next: fcn-repro convert {path}' in out
    status, _, err = call(f'fetch voc-fcn8s --url {served.url}/other.caffemodel', capsys)
    assert status == 1 and 'fcn8s-heavy-pascal.caffemodel' in err


def test_unpacking_that_is_interrupted_leaves_nothing(served, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(fetching, 'root_of', stop)
    with pytest.raises(KeyboardInterrupt):
        quick('voc2011')
    assert sorted(os.listdir('data')) == ['archives', 'voc2011.fetched.json']
    assert state_of(sources.source('voc2011'), 'data').startswith('here, not unpacked')


def test_it_goes_on_from_the_archive(served, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(fetching, 'root_of', lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            quick('voc2011')
    asked = len(served.requests)
    assert quick('voc2011')[0].path.is_dir() and len(served.requests) == asked


def test_an_archive_of_something_else(served):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as tar:
        tar.addfile(tarfile.TarInfo('readme'))
    served.files['SiftFlowDataset.zip'] = file.getvalue()
    with pytest.raises(FcnError, match=r'no folder with Images and SemanticLabels.*readme'):
        quick('siftflow')
    assert not Path('data/siftflow').exists()


def test_bad_requests(served, capsys):
    for words, said in (
            ('fetch voc2013', "Did you mean 'voc2010'|data list"), ('fetch a/../b', 'data list'),
            ('fetch voc2011 --tries 0', '--tries 1'), ('fetch voc2011 --timeout 0', '--timeout'),
            ('fetch voc2011 voc2012 --url http://127.0.0.1/x', 'one name with --url'),
            ('list nothing', 'data list')):
        status, _, err = call(words, capsys)
        assert status == 1 and re.search(said, err) and err.count('\n') == 1, (words, err)
    assert not served.requests and not os.path.exists('data')
    Path('data/voc2011').mkdir(parents=True)
    status, _, err = call('fetch voc2011', capsys)
    assert status == 1 and 'another --out' in err
    assert call('fetch voc2011 --out elsewhere', capsys)[0] == 0
    Path('data/siftflow.fetched.json').write_text('[]')
    status, _, err = call('fetch siftflow', capsys)
    assert status == 1 and 'no record' in err


def test_two_at_once(served):
    from fcn_repro.lock import locked
    with locked('data', prefix='voc2011'):
        with pytest.raises(FcnError, match='another run') as error:
            quick('voc2011')
        assert 'Wait' in error.value.do and 'snapshot' not in error.value.do
        assert quick('siftflow')[0].path.is_dir()       # another one may


@pytest.mark.parametrize(('number', 'expected'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_says_what_is_kept(served, capsys, number, expected):
    def stop():
        os.kill(os.getpid(), number)
        served.closing.wait(600)        # no answer: the main thread stops
    served.behaviours = [server.TRUNCATE, stop]
    status, _, err = call('fetch voc2011', capsys)
    assert status == expected
    assert 'are kept, from which the next call goes on' in err.splitlines()[-1]
    assert call('fetch voc2011', capsys)[0] == 0


# ---- what is listed ------------------------------------------------------------------------------

def test_all_is_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call('list', capsys)
    assert status == 0 and not err
    blocks = dict(zip(sources.sources(), out.split('\n\n'), strict=False))
    for name, found in sources.sources().items():
        block = blocks[name]
        assert found.what in block and found.licence in block and found.parts[0].url in block
        assert 'checked by: fcn-repro' in block and ('size not' in block or 'about' in block)
        assert all(value in block for value in found.parts[0].hashes.values())
        assert found.parts[0].hashes or 'no hash is stated' in block
        assert 'here' not in block.splitlines()[-1].split()
    listed = json.loads(call('list --json', capsys)[1])
    assert [each['name'] for each in listed] == list(sources.sources())


def test_what_was_begun_is_listed(served, capsys):
    served.behaviours = [server.TRUNCATE, 404]
    assert call('fetch voc2011', capsys)[0] == 1
    assert 'begun: ' in call('list voc2011', capsys)[1]


def test_the_entries_are_whole():
    for name, found in sources.sources().items():
        for part in found.parts:
            assert part.url.startswith(('http://', 'https://')) and part.file, name
            assert bool(part.hashes) == bool(part.stated_by) and \
                (part.about is None) == (not part.size_from), name
            for kind, value in part.hashes.items():
                length = {'md5': 32, 'sha1': 40, 'sha256': 64, 'sha256 begins': 8}[kind]
                assert re.fullmatch(f'[0-9a-f]{{{length}}}', value), name
        assert not found.is_data or found.parts[0].is_archive


def test_the_page_says_the_same():
    """docs/sources.md has the addresses and hashes of sources.json, and no other hashes."""
    page = (ROOT / 'docs/sources.md').read_text()
    hashes, known = set(HEX.findall(page)), set()
    for name, found in sources.sources().items():
        assert f'`{name}`' in page, name
        for part in found.parts:
            known |= set(part.hashes.values())
            assert part.url in page or part.file in page, part.url
            for kind, value in part.hashes.items():
                assert value in page, (name, kind)
    assert hashes <= known
