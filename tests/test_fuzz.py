"""Damaged, absurd and foreign files: read, or refused in time with an FcnError, nothing written."""

import ast
import os
import random
import re
import resource
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from bad_readers import BAD
from fuzz_readers import CORPUS, mutate
from fuzz_targets import TARGETS
from goldens import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import ROOT, assert_error, call
from wire_format import blob, numbers, save, sized, v2, varint

from fcn_repro import sizes
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_solverstate, read_weights
from fcn_repro.net import Net

SNAPSHOT = DATA / 'weights/snapshot_iter_30.caffemodel'
FOUND = sorted(CORPUS.glob('*/*'))
DATA_LAYER = 'layer { name: "d" type: "Input" top: "d" input_param { shape { %s } } }\n'
SMALL = DATA_LAYER % 'dim: 1 dim: 3 dim: 8 dim: 8'


def fuzz(folder, *arguments):
    """tools/fuzz.py with these arguments, what is kept in a folder."""
    return subprocess.run([sys.executable, ROOT / 'tools/fuzz.py', '--keep', folder, *arguments],
                          capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': ''})


def test_any_damage_is_read_or_refused(tmp_path):
    """A few inputs of each reader; `make fuzz` has more."""
    done = fuzz(tmp_path, '--inputs', '500')
    assert done.returncode == 0 and '| **all** | 500 | 0 |' in done.stdout, done


@pytest.fixture(scope='module')
def replayed(tmp_path_factory):
    """The faults of the corpus, by file."""
    done = fuzz(tmp_path_factory.mktemp('kept'), '--corpus')
    assert f'| **all** | {len(FOUND)} |' in done.stdout, done
    lines = [line.partition(': ') for line in done.stdout.splitlines()]
    return {Path(name).name: outcome for name, colon, outcome in lines if colon}


@pytest.mark.parametrize('path', FOUND, ids=[f'{p.parent.name}-{p.name}' for p in FOUND])
def test_what_failed_once(replayed, path):
    assert f'{path.parent.name}-{path.name}' not in replayed, replayed


def test_the_corpus_is_small_and_of_known_readers():
    assert {path.parent.name for path in FOUND} <= TARGETS.keys()
    assert sum(path.stat().st_size for path in FOUND) < 1_000_000


def test_the_readers_are_in_the_docs():
    named = re.findall(r'`([a-z0-9-]+)`', (ROOT / 'docs/reliability.md').read_text())
    assert not TARGETS.keys() - set(named)


@pytest.fixture(scope='module')
def bad_readers(tmp_path_factory):
    """What the readers of tests/support/bad_readers.py are found to do, as printed."""
    return subprocess.run([sys.executable, ROOT / 'tests/support/bad_readers.py'], text=True,
                          capture_output=True, cwd=tmp_path_factory.mktemp('bad'),
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})


@pytest.mark.parametrize('read', BAD, ids=[read.__name__ for read in BAD])
def test_a_fault_is_seen(bad_readers, read):
    lines = [line for line in bad_readers.stdout.splitlines() if f'/{read.__name__}-' in line]
    assert bad_readers.returncode == 1 and BAD[read] in ' '.join(lines), bad_readers


# No module that opens files is left out

OPENING = {'open', 'Image.open', 'os.open', 'lmdb.open', 'np.load', 'json.load', 'json.loads',
           'mmap.mmap', 'ast.literal_eval', 'np.frombuffer', 'np.fromfile', 'gzip.decompress',
           'read_regular', 'open_regular'}
METHODS = {'read_bytes', 'read_text', 'File', 'open_memmap', 'loadmat', 'FromString', 'Parse'}
# files whose functions run in another process, and the function that calls them there
CHILD = {'fcn_repro/formats/hdf5_child.py': 'fcn_repro/formats/child.py:call'}
NOT_READ = {        # file or function with such a call: why no file from outside comes there
    'fcn_repro/temporary.py': 'opens files to write them',
    'fcn_repro/glog.py': 'opens its log to write it',
    'fcn_repro/lock.py': 'tests/test_lock.py damages its file',
    'fcn_repro/processes.py': 'reads /proc',
    'fcn_repro/processor.py': 'reads /proc/cpuinfo',
    'fcn_repro/sizes.py': 'reads /proc and /sys',
    'fcn_repro/files.py:check_regular': 'reads nothing',
    'fcn_repro/files.py:digest_of': 'hashes the bytes, whatever they are',
    'fcn_repro/recipe/teacher.py:Teacher.write': 'reads what it has just written',
    'fcn_repro/cli/arguments.py:processes_of_command': 'opens /dev/null',
    'fcn_repro/data/image.py:image_size': 'tests/data/test_batches.py damages its files',
    'fcn_repro/data/order.py:_batches': 'opens no file',
    'fcn_repro/pycaffe/userlayer.py:file_without': 'reads the source of code that is to run',
    'fcn_repro/cli/reporting.py:report_errors': 'opens /dev/null',
    'fcn_repro/parity/layers.py:files_read': 'looks for the names of files',
    'fcn_repro/parity/solvers.py:compare_written': 'compares bytes with what has been read',
    'fcn_repro/doctor/subject.py:is_pytorch': 'looks at two bytes',
    'fcn_repro/doctor/subject.py:mean_of': 'evaluates a param_str that its layer has read',
    'fcn_repro/fetch/download.py:Download.take': 'opens the part to write it',
    'fcn_repro/memory.py': 'reads and writes /proc',
    'fcn_repro/predict/submission.py': 'reads what it has written itself',
    'fcn_repro/report/curves.py:Curves.add': 'opens its file to write it',
    'fcn_repro/report/html.py:check_report': 'looks for one line',
    'fcn_repro/report/html.py:page': 'reads the parts of its page',
    'fcn_repro/report/html.py:document': 'reads the parts of its page',
    'fcn_repro/report/paper.py': 'reads a file of the package',
    'fcn_repro/fetch/sources.py:sources': 'reads a file of the package',
    'fcn_repro/paper/nets.py:make_few': 'reads the split that make_scenes has written',
    'fcn_repro/paper/zoo.py:crf_iu': 'tests/paper/test_zoo.py damages its file',
    'fcn_repro/recipe/beside.py:Process.__init__': 'opens a log to write it',
    'fcn_repro/paper/page.py:picture_html': 'reads the picture that it has written itself',
    'fcn_repro/data/convert/masks.py:packed_colours': 'takes the bytes of a decoded image',
    'fcn_repro/predict/sources.py:OtherHead.predict': 'unpacks what it has kept in memory',
    'fcn_repro/recipe/runs.py:Run.write_prototxt': 'copies prototxts of the package',
    'fcn_repro/recipe/folders.py:same_text': 'compares bytes',
    'fcn_repro/viewer/saving.py:save': 'looks for one line',
}


def opening_functions():
    """{file:function} of the package with a call that opens or decodes a file."""
    for path in sorted((ROOT / 'fcn_repro').rglob('*.py')):
        name = str(path.relative_to(ROOT))
        yield from (f'{name}:{where}' for where in calls_in(ast.parse(path.read_text()), ''))


def calls_in(node, where):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from calls_in(child, f'{where}.{child.name}'.lstrip('.'))
            continue
        if isinstance(child, ast.Call):
            called = ast.unparse(child.func)
            if called in OPENING or (called.rpartition('.')[2] in METHODS and '.' in called):
                yield where
        yield from calls_in(child, where)


def test_every_function_that_opens_a_file_is_fuzzed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = set()

    def profile(frame, event, argument):
        if event == 'call' and 'fcn_repro' in frame.f_code.co_filename:
            seen.add(frame.f_code)

    sys.setprofile(profile)
    try:
        for reader, target in TARGETS.items():
            for i, data in enumerate(target.seeds()[:20]):
                path = save(tmp_path / f'{reader}-{i}', data)
                with suppress(FcnError):
                    target.read(path)
    finally:
        sys.setprofile(None)
    called = {f'{code.co_filename.removeprefix(str(ROOT) + "/")}:'
              f'{code.co_qualname.replace(".<locals>", "")}' for code in seen}
    missing = sorted(name for name in set(opening_functions()) - called
                     if not {name, name.partition(':')[0]} & NOT_READ.keys()
                     and CHILD.get(name.partition(':')[0]) not in called)
    assert not missing, "\n".join(missing)


@settings(max_examples=25, derandomize=True, database=None)
@given(st.integers(0, 1 << 30))
def test_what_cannot_be_converted_leaves_no_file(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp('convert')
    path = save(folder / 'in.caffemodel', mutate('weights', random.Random(seed)))
    done = convert(path, folder / 'out.h5')
    assert sorted(p.name for p in folder.iterdir()) == (
        ['in.caffemodel'] if done else ['in.caffemodel', 'out.h5'])


def convert(source, out):
    """What convert_caffemodel.py does with its arguments; the error, or None."""
    from fcn_repro.formats.weights import modern, write_hdf5
    try:
        write_hdf5(out, modern(read_weights(source)))
    except FcnError as error:
        return error


# Absurd numbers in nets

def layer(type, param='', top='top: "y"'):
    return f'{SMALL}layer {{ name: "l" type: "{type}" bottom: "d" {top} {param} }}\n'


ABSURD = [
    (DATA_LAYER % 'dim: 1048576 dim: 1048576 dim: 1000', "top 'd' of shape 1048576x1048576x1000"),
    (DATA_LAYER % 'dim: 4611686018427387904', '18.4 EB'),
    (DATA_LAYER % 'dim: 1 dim: -3', 'negative size'), (DATA_LAYER % ('dim: 1 ' * 33), '33 axes'),
    (layer('InnerProduct', 'inner_product_param { num_output: 4000000000 }'), 'num_output 40000'),
    (layer('InnerProduct', 'inner_product_param { num_output: 1000000000 }'), '768 GB'),
    (layer('Convolution', 'convolution_param { num_output: 4 kernel_size: 4000000000 }'),
     'kernel_size 4000000000 is above'),
    (layer('Convolution', 'convolution_param { num_output: 4 kernel_size: 3 pad: 2000000000 }'),
     "top 'y' of shape 1x4x4000000006x4000000006"),
    (layer('Tile', 'tile_param { tiles: 2147483647 }'), 'would hold'),
    (layer('Reshape', 'reshape_param { shape { dim: 4611686018427387904 dim: -1 } }'), 'has 192'),
    (layer('Slice', 'slice_param { slice_point: 4000000000 }', 'top: "a" top: "b"'), 'is above'),
    ('layer { name: "l" type: "DummyData" top: "y" dummy_data_param { shape { dim: 99999999999 } '
     '} }', '400 GB'),
    ('layer { name: "l" type: "Parameter" top: "y" parameter_param { shape { dim: 99999999999 } '
     '} }', '400 GB'),
    (SMALL + ''.join(f'layer {{ name: "c{i}" type: "Concat" bottom: "{f"x{i}" if i else "d"}" '
                     f'bottom: "{f"x{i}" if i else "d"}" top: "x{i + 1}" }}\n' for i in range(60)),
     'would hold'),
    ('layer { ' * 10000, ''), ('input_shape ' + '{ ' * 10000, ''),
    ('name: "%s"' % ('\\' * 9999), 'backslashes'),
    ('<!DOCTYPE html>\n<html>', ''),
    (layer('ReLU') + 'layers { type: \udcff }', ':3: this line is not UTF-8'),
    ('name: "a\\377"\n\0', 'binary'),
]


@pytest.mark.parametrize('text, said', ABSURD, ids=range(len(ABSURD)))
def test_absurd_nets_are_refused_at_once(tmp_path, text, said):
    path, start = tmp_path / 'n.prototxt', time.process_time()
    path.write_text(text, errors='surrogateescape')
    with pytest.raises(FcnError) as error:
        Net.read(path, 'TEST')
    assert said in str(error.value) and str(path) in str(error.value)
    assert time.process_time() - start < 1 and len(str(error.value)) < 5000


PARAM_STR = ["__import__('os').mkdir('pwned')", '{' * 9999, '-' * 99999 + '1', '1+' * 20000 + '1',
             "{'a': [" + '1,' * 300_000 + ']}',
             '{{}: 1}', '[1]', '{', "{'a': %s}" % ('9' * 5000), '\\000']


@pytest.mark.parametrize('text', PARAM_STR, ids=range(len(PARAM_STR)))
def test_a_param_str_is_a_literal_or_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'n.prototxt').write_text(
        'layer { name: "d" type: "Python" top: "a" top: "b" python_param { module: "voc_layers" '
        f'layer: "VOCSegDataLayer" param_str: "{text}" }} }}')
    with pytest.raises(FcnError, match='param_str') as error:
        Net.read('n.prototxt', 'TEST')
    assert len(str(error.value)) < 1000 and not (tmp_path / 'pwned').exists()


# What is given in place of a caffemodel

FOREIGN = [(b'<!DOCTYPE html><html>', 'web page'), (b'\n <html>', 'web page'),
           (b'{"a": 1}', 'JSON'),
           (b'version https://git-lfs.github.com/spec/v1\n', 'Git LFS pointer'),
           (b'\x1f\x8b\x08', 'gzip'), (b'PK\x03\x04abc', 'zip'), (b'name: "x"\n', 'text'),
           (bytes(999), 'zeros'), (b'm'.ljust(257, b'\0') + b'ustar\0', 'tar')]


@pytest.mark.parametrize('raw, what', FOREIGN, ids=[what for _, what in FOREIGN])
def test_foreign_files_are_named(tmp_path, capsys, raw, what):
    path = save(tmp_path / 'm.caffemodel', raw)
    assert_error(call(capsys, 'convert_caffemodel', path, tmp_path / 'out.h5'), path, what)
    assert list(tmp_path.iterdir()) == [path]


def dims(*values, data=b''):
    return v2('a', 'X', sized(7, sized(1, b''.join(map(varint, values)))) + data)


@pytest.mark.parametrize('raw, what', [
    (dims(2 ** 40, 2 ** 40, 2 ** 40), 'would hold'), (dims(0, 2 ** 62, 2 ** 62), 'would hold'),
    (dims(*[1] * 40, data=numbers([1.], True, False)), 'more than 32 axes'),
    ((varint(9 << 3) + varint(1)) * 1_100_000, 'fields')])
def test_absurd_binaries(tmp_path, raw, what):
    with pytest.raises(FcnError, match=what):
        read_weights(save(tmp_path / 'm', raw))


def test_interleaved_numbers_take_linear_time(tmp_path):
    body = (numbers([1.], False, False) + varint(9 << 3) + varint(1)) * 50_000
    start = time.process_time()
    assert read_weights(save(tmp_path / 'm', dims(50_000, data=body)))['a'][0].sum() == 50_000
    assert time.process_time() - start < 10


# HDF5 that cannot be what it says

def diamond(file):
    file.create_group('data')['g0'] = file.create_group('g0')
    for i in range(40):
        next_one = file.create_group(f'g{i + 1}')
        file[f'g{i}/x'] = file[f'g{i}/y'] = next_one


def circle(file):
    file.create_group('data/a')['b'] = h5py.SoftLink('/data')


def petabytes(file):
    file.create_dataset('data/a/0', (2 ** 48,), 'f4', chunks=(2 ** 20,))


def unwritten(file):
    file.create_dataset('data/a/0', (2 ** 28,), 'f4')


@pytest.mark.parametrize('make, what', [(diamond, 'second place'), (circle, 'second place'),
                                        (petabytes, 'would hold'), (unwritten, 'are stored')])
def test_hdf5_that_would_never_end(tmp_path, make, what):
    with h5py.File(tmp_path / 'w', 'w') as file:
        make(file)
    with pytest.raises(FcnError, match=what):
        read_weights(tmp_path / 'w')


def test_a_state_whose_iteration_is_a_text(tmp_path):
    with h5py.File(tmp_path / 's', 'w') as file:
        file['iter'], file['current_step'] = 'x', [1]
    with pytest.raises(FcnError, match='no numbers'):
        read_solverstate(tmp_path / 's')


def test_a_state_whose_weights_are_a_type(tmp_path):
    with h5py.File(tmp_path / 's', 'w') as file:
        file['iter'], file['current_step'], file['learned_net'] = [1], [1], np.dtype('f4')
        file.create_group('history')
    with pytest.raises(FcnError, match="no dataset 'learned_net'"):
        read_solverstate(tmp_path / 's')


# The way back, and files of 2 GB

def test_there_and_back(tmp_path, capsys):
    there, back = tmp_path / 'm.h5', tmp_path / 'm.caffemodel'
    assert call(capsys, 'convert_caffemodel', SNAPSHOT, there).status == 0
    assert call(capsys, 'convert_caffemodel', there, back).status == 0
    first, last = read_weights(SNAPSHOT), read_weights(back)
    assert set(last) == {name for name, blobs in first.items() if blobs}
    for name, blobs in last.items():
        for mine, its in zip(blobs, first[name], strict=True):
            np.testing.assert_array_equal(mine, its, strict=True)


@pytest.mark.parametrize('name, said', [
    ('v1.caffemodel', 'parameters (binary)'), ('mean_double.binaryproto', 'float64  1,728'),
    ('snapshot_iter_30.solverstate', 'iteration 30'),
    ('snapshot_iter_30.solverstate.h5', 'iteration 30')])
def test_inspect_any_file(capsys, name, said):
    path = DATA / 'weights' / name
    done = call(capsys, 'convert_caffemodel', '--inspect', path)
    sums = subprocess.run(['sha256sum', path], capture_output=True, text=True).stdout
    assert done.status == 0 and said in done.out and f'SHA-256 {sums.split()[0]}' in done.out


@pytest.mark.slow
def test_beyond_two_gigabytes(tmp_path, capsys):
    """A caffemodel of 2.2 GB, a hole in the disk, is read as a view; one like it is not written."""
    count = 550_000_000
    data = varint(5 << 3 | 2) + varint(4 * count)
    shape = sized(7, sized(1, varint(1000) + varint(count // 1000)))
    body = len(shape) + len(data) + 4 * count
    head = sized(1, b'fc') + sized(2, b'InnerProduct') + varint(7 << 3 | 2) + varint(body)
    path = tmp_path / 'big.caffemodel'
    with open(path, 'wb') as file:
        file.write(varint(100 << 3 | 2) + varint(len(head) + body) + head + shape + data)
        file.seek(4 * count - 4, 1)
        file.write(struct.pack('<f', 7))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_weights(path)['fc'][0]
    assert found.shape == (1000, count // 1000) and found[-1, -1] == 7 and found[0, 0] == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000     # kB
    done = call(capsys, 'convert_caffemodel', path, tmp_path / 'again.caffemodel')
    assert_error(done, '2.20 GB', 'Write HDF5 instead')
    assert list(tmp_path.iterdir()) == [path]


def test_blobs_of_double_are_written_as_float(tmp_path, capsys):
    path = save(tmp_path / 'd.caffemodel', v2('a', 'Bias', blob(np.array([0.1, 3]), double=True)))
    assert call(capsys, 'convert_caffemodel', path, tmp_path / 'f.caffemodel').status == 0
    found = read_weights(tmp_path / 'f.caffemodel')
    assert found['a'][0].dtype == np.float32 and found.types == {'a': 'Bias'}
    np.testing.assert_array_equal(found['a'][0], np.array([0.1, 3], 'f4'))


def test_json_without_the_keys(tmp_path, capsys):
    (tmp_path / 'rules.json').write_text('[{"stages": ["a"]}]')
    done = call(capsys, 'check_goldens', tmp_path)
    assert done.status == 1 and "has no 'phase'" in done.out + done.err


def test_more_parameters_than_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, 'memory', lambda: 7_000)
    (tmp_path / 'n.prototxt').write_text(layer('InnerProduct', 'inner_product_param { num_output: '
                                               '9 }'))
    with pytest.raises(FcnError, match=r'take 7\.72 kB, this machine has 7 kB') as error:
        Net.read(tmp_path / 'n.prototxt', 'TEST')
    assert '9x192 (6.91 kB)' in str(error.value)
