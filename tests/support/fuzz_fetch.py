"""Readers to fuzz: what `fcn-repro data fetch` gets and keeps."""

import io
import json
import tarfile
import zipfile

from fuzz_target import folder_with


def read_archive(path):
    """An archive that was fetched: hashed, and unpacked."""
    from fcn_repro.fetch.download import verify
    from fcn_repro.fetch.unpack import unpack
    verify(path, {})
    with folder_with(path, 'in/archive') as folder:
        (folder / 'out').mkdir()
        return unpack(folder / 'in/archive', folder / 'out')


def archive_seeds():
    """Small archives of each kind: a folder, a file, an empty one, a link."""
    made = []
    for mode in 'w', 'w:gz', 'w:bz2', 'w:xz':
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as tar:
            for name, kind, data in (('top', tarfile.DIRTYPE, b''), ('top/ä' * 20, tarfile.REGTYPE,
                                                                     b'abc' * 300),
                                     ('top/b', tarfile.REGTYPE, b''), ('c', tarfile.SYMTYPE, b'')):
                info = tarfile.TarInfo(name)
                info.type, info.size, info.linkname = kind, len(data), '../top'
                tar.addfile(info, io.BytesIO(data))
        made.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('top/', '')
        archive.writestr('top/a', 'abc' * 300)
    return [*made, file.getvalue()]


def read_fetched(path):
    """What fetch keeps of a source and of a file that has come in part."""
    from fcn_repro.fetch.download import read_state
    from fcn_repro.fetch.fetching import RECORD, read_record, state_of
    from fcn_repro.fetch.sources import source
    read_state(path)
    with folder_with(path, f'voc2011{RECORD}') as folder:
        state_of(source('voc2011'), folder)
    return read_record(path)


def fetched_seeds():
    files = {'a.tar': {'url': 'http://x/a.tar', 'sha256': 'ab' * 32, 'bytes': 7,
                       'hash': 'recorded at first use', 'at': '2026-01-01 00:00:00'}}
    return [json.dumps(each).encode() for each in (
        {'files': files, 'unpacked': 'TrainVal/VOC2011'}, {'files': {}},
        {'url': 'http://x/a.tar', 'length': 9, 'validator': '"v1"'})]
