"""A build knows its processor: the library is refused elsewhere before it is opened, and `make
build` compiles it anew there."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fcn_repro import ops, processor
from fcn_repro.errors import FcnError
from fcn_repro.ops import extension

ROOT = Path(__file__).parents[1]
LIBRARY = next((ROOT / 'fcn_repro').glob('_C*.so'))
CPUINFO = 'processor\t: 0\nflags\t\t: fpu pni avx avx2 bmi1\nbugs\t\t: spectre\n'


@pytest.fixture
def checkout(tmp_path):
    """A folder for the library, in a checkout; make(**record) gives the library that record."""
    folder = tmp_path / 'fcn_repro'
    folder.mkdir()
    (tmp_path / 'csrc').mkdir()
    (folder / LIBRARY.name).symlink_to(LIBRARY)

    def make(**record):
        (folder / extension.BUILT).write_text(json.dumps({'torch': torch.__version__} | record))
        return folder
    return make


def test_another_processor(checkout):
    with pytest.raises(FcnError, match=r'built for a processor with avx9, sse17, which this one '
                                       r'lacks\. Run `make build` on this machine'):
        ops.load_extension(checkout(processor=['avx9', 'sse17']))
    with pytest.raises(FcnError, match=f'built for vax, this is {platform.machine()}. Run `make b'):
        ops.load_extension(checkout(machine='vax'))


def test_it_is_refused_before_it_is_opened(checkout):
    """Opening it runs its code: the library of this test is none, and nothing says so."""
    folder = checkout(processor=['avx9'])
    (folder / LIBRARY.name).unlink()
    (folder / LIBRARY.name).write_bytes(b'not a library')
    with pytest.raises(FcnError, match='a processor with avx9'):
        ops.load_extension(folder)


def test_portable_and_own_builds_load(checkout):
    ops.load_extension(checkout())                      # as older builds recorded
    ops.load_extension(checkout(machine=platform.machine()))                # a wheel
    ops.load_extension(checkout(processor=sorted(processor.flags() or ())))


@pytest.mark.parametrize('record', ['', '[]', '{"torch"', '{}', 'null'])
def test_damaged_record(checkout, record):
    folder = checkout()
    (folder / extension.BUILT).write_text(record)
    with pytest.raises(FcnError, match=f'{extension.BUILT}: the record .* cannot be read'):
        ops.load_extension(folder)


def test_compiled_in(tmp_path):
    """Of the macros of a compiler those that this processor's flags name."""
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text(CPUINFO)
    defined = '#define __SSE3__ 1\n#define __AVX__ 1\n#define __BMI__ 1\n#define __AVX512F__ 1\n'
    assert processor.compiled_in(defined, cpuinfo) == ['avx', 'bmi1', 'pni']
    assert processor.flags(tmp_path / 'absent') is None
    processor.check_processor({'processor': ['avx9']}, '.', '', tmp_path / 'absent')
    with pytest.raises(FcnError, match='with avx512f, which'):
        processor.check_processor({'processor': ['avx', 'avx512f']}, '.', '', cpuinfo)


def stamp(**env):
    return subprocess.run([sys.executable, 'tools/build_stamp.py'], cwd=ROOT, text=True, check=True,
                          env=os.environ | env, capture_output=True).stdout.strip()


def test_stamp_knows_the_compiler_and_its_target(tmp_path):
    other = tmp_path / 'c++'
    other.write_text('#!/bin/sh\necho "#define __VERSION__ another"\n')
    other.chmod(0o755)
    stamps = [stamp(), stamp(CXX=str(other)), stamp(FCN_REPRO_PORTABLE='1'),
              stamp(CXX=str(tmp_path / 'absent'))]
    assert len(set(stamps)) == 4 and stamps[0] == stamp()
    assert all(each.startswith(importlib.metadata.version('torch')) for each in stamps)


@pytest.mark.skipif(not shutil.which('make'), reason='needs make')
def test_make_build_is_the_remedy(tmp_path):
    """In a checkout that was built elsewhere, `make build` throws the library away and builds. The
    builder is a stand-in that leaves a record of this machine."""
    for name in 'Makefile', 'tools/build_stamp.py', 'fcn_repro/processor.py', \
            'fcn_repro/errors.py', 'fcn_repro/__init__.py':
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / 'csrc').mkdir()
    (tmp_path / 'tools/check_build.py').write_text('')
    (tmp_path / 'setup.py').write_text(
        'import pathlib\n'
        'assert not pathlib.Path("fcn_repro/_C.abi3.so").exists(), "the old library is there"\n'
        f'pathlib.Path("fcn_repro/_C.abi3.so").symlink_to({str(LIBRARY)!r})\n'
        f'pathlib.Path("fcn_repro/_built.json").write_text(\'{{"torch": "{torch.__version__}"}}\')')
    folder = tmp_path / 'fcn_repro'
    (folder / '_C.abi3.so').write_bytes(b'for another processor')
    (folder / '_built.json').write_text(
        json.dumps({'torch': torch.__version__, 'processor': ['avx9']}))
    (tmp_path / 'build').mkdir()
    (tmp_path / f'build/built-{torch.__version__}-of-another').touch()
    with pytest.raises(FcnError, match='Run `make build` on this machine'):
        ops.load_extension(folder)
    build = ['make', 'build', f'PYTHON={sys.executable}', 'VENV=']
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    ops.load_extension(folder)
    again = subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert 'compiling' not in again.stdout
    assert len(list((tmp_path / 'build').glob('built-*'))) == 1
