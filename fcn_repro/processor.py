"""Which instructions a build of the C++ ops uses, and whether this processor has them. setup.py and
tools/build_stamp.py import this too: it needs nothing but the standard library."""

import os
import platform
import subprocess
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from .errors import FcnError

# {flag of /proc/cpuinfo: macro of g++ and clang++}: the instructions that a compiler chooses of its
# own accord. Those for keys, random numbers and operating systems it never emits.
INSTRUCTIONS = {
    **{flag: f'__{flag.upper()}__' for flag in (
        'ssse3', 'sse4_1', 'sse4_2', 'sse4a', 'avx', 'avx2', 'fma', 'f16c', 'bmi2', 'popcnt',
        'movbe', 'xop', 'fma4', 'tbm', 'gfni', 'avx512f', 'avx512bw', 'avx512cd', 'avx512dq',
        'avx512vl', 'avx512ifma', 'avx512vbmi', 'avx512er', 'avx512pf')},
    'pni': '__SSE3__', 'abm': '__LZCNT__', 'bmi1': '__BMI__', 'avx_vnni': '__AVXVNNI__',
    **{f'avx512_{name}': f'__AVX512{name.upper()}__' for name in (
        'vbmi2', 'vnni', 'bitalg', 'vpopcntdq', 'bf16', 'fp16', 'vp2intersect')},
    'atomics': '__ARM_FEATURE_ATOMICS', 'asimddp': '__ARM_FEATURE_DOTPROD',
    'asimdhp': '__ARM_FEATURE_FP16_VECTOR_ARITHMETIC', 'asimdrdm': '__ARM_FEATURE_QRDMX',
    'bf16': '__ARM_FEATURE_BF16_VECTOR_ARITHMETIC', 'i8mm': '__ARM_FEATURE_MATMUL_INT8',
    'jscvt': '__ARM_FEATURE_JCVT', 'fcma': '__ARM_FEATURE_COMPLEX', 'sve': '__ARM_FEATURE_SVE',
    'sve2': '__ARM_FEATURE_SVE2'}

NATIVE = '-march=native' if platform.machine() == 'x86_64' else '-mcpu=native'
CPUINFO = '/proc/cpuinfo'


def macros(compiler: Iterable[str]) -> str:
    """What a compiler defines for this machine's own instruction set, itself included, one a line.
    OSError or CalledProcessError where it does not run."""
    return subprocess.run([*compiler, NATIVE, '-dM', '-E', '-x', 'c++', os.devnull], check=True,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def compiled_in(defined: str, cpuinfo: str | PathLike = CPUINFO) -> list[str]:
    """The flags of this processor whose instructions a build with these macros uses."""
    names = {line.split()[1] for line in defined.splitlines()}
    return sorted(flag for flag in flags(cpuinfo) or () if INSTRUCTIONS.get(flag) in names)


def flags(cpuinfo: str | PathLike = CPUINFO) -> frozenset[str] | None:
    """The flags of this processor; None where the system does not tell."""
    try:
        lines = Path(cpuinfo).read_text(errors='replace').splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(('flags', 'Features'))), None)
    return None if found is None else frozenset(found.partition(':')[2].split())


def processor_name(cpuinfo: str | PathLike = CPUINFO) -> str:
    """The processor's name; its architecture where the system does not tell."""
    try:
        lines = Path(cpuinfo).read_text(errors='replace').splitlines()
    except OSError:
        lines = []
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, '') or platform.machine()


def check_processor(built: dict, folder: str | PathLike, do: str,
                    cpuinfo: str | PathLike = CPUINFO) -> None:
    """FcnError, with this remedy, where the library in `folder`, which `built` records, is for
    another architecture or uses instructions that this processor lacks: one of them would end the
    process (SIGILL). A portable build, which records no processor, runs on any of its kind."""
    machine = built.get('machine', platform.machine())
    if machine != platform.machine():
        raise FcnError(f'the compiled ops in {folder} were built for {machine}, this is '
                       f'{platform.machine()}', do=do)
    there = flags(cpuinfo)
    lacking = [str(flag) for flag in built.get('processor', ()) if there and flag not in there]
    if lacking:
        raise FcnError(f'the compiled ops in {folder} were built for a processor with '
                       f'{", ".join(lacking)}, which this one lacks', do=do)
