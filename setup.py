"""Builds fcn_repro._C: the CPU sources always, CUDA's where torch has CUDA and nvcc is found.

Local builds use this machine's instructions, and record which. A wheel, or FCN_REPRO_PORTABLE=1,
picks them when it runs instead. FCN_REPRO_SANITIZE=1 puts AddressSanitizer and UBSan in.
TORCH_CUDA_ARCH_LIST names other GPUs; whether one is present does not matter. Metadata is in
pyproject.toml.

Compilers: g++ 12 or later (12.2 is tested), or clang++ 16 or later (16.0 compiles the CPU sources;
not tested further), named by $CXX.
"""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

# nvcc on the PATH may be a script outside its toolkit; torch would look for headers beside it.
TOOLKIT = '/usr/local/cuda'
found = shutil.which('nvcc')
root = os.path.dirname(os.path.dirname(os.path.realpath(found))) if found else ''
if not os.path.exists(f'{root}/include/cuda_runtime.h') and os.path.exists(f'{TOOLKIT}/bin/nvcc'):
    os.environ.setdefault('CUDA_HOME', TOOLKIT)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torch
from setuptools import find_packages, setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

from fcn_repro.processor import NATIVE, compiled_in, macros

OLDEST = {'g++': 12, 'clang++': 16}
nvcc = shutil.which(os.path.join(CUDA_HOME, 'bin', 'nvcc')) if CUDA_HOME else None
cuda = bool(torch.version.cuda and nvcc)
portable = os.environ.get('FCN_REPRO_PORTABLE', '0') == '1' or 'bdist_wheel' in sys.argv

# No contraction: a value has the same bits in every loop and instruction set that computes it.
# No errno: square roots are vectorised.
cxx = ['-O3', '-std=c++20', '-ffp-contract=off', '-fno-math-errno', '-fopenmp', '-Wall', '-g0']
if portable:
    cxx.append('-DFCN_PORTABLE')
else:
    cxx.append(NATIVE)


def loaded(name):
    """Paths of the shared libraries of this process, torch's among them, that begin with `name`."""
    maps = Path('/proc/self/maps')
    paths = {line.split()[-1] for line in maps.read_text().splitlines()} if maps.exists() else ()
    return sorted(path for path in paths if os.path.basename(path).startswith(name))


# torch's own C++ library, ahead of the compiler's: a gcc that has only a static one, as some have
# that stand outside the system, would put a second copy of it into the extension, whose streams
# crash or lose the numbers when an error is put into words (tools/check_build.py).
link = ['-fopenmp', *loaded('libstdc++.so')]
if os.environ.get('FCN_REPRO_SANITIZE', '0') == '1':   # torch's types have no vptr to look into
    checks = ['-fsanitize=address,undefined', '-fno-sanitize=vptr',
              '-fno-sanitize-recover=undefined']
    cxx += ['-O1', '-g', '-fno-omit-frame-pointer', '-fno-wrapv', '-D_GLIBCXX_ASSERTIONS',
            *checks]
    link += checks

if cuda:
    os.environ.setdefault('TORCH_CUDA_ARCH_LIST', '8.0;9.0;10.0+PTX')


def compiler():
    """The command that compiles C++, as torch's extension builder finds it."""
    return shlex.split(os.environ.get('CXX', 'c++'))


def check_compiler():
    """Exit with a message if the C++ compiler is missing or too old for the sources."""
    command = compiler()
    try:
        versions = subprocess.run([*command, '-E', '-P', '-x', 'c++', '-'], check=True, text=True,
                                  input='__clang_major__ __GNUC__', stdout=subprocess.PIPE).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f'error: no C++ compiler: {error}. Install g++ {OLDEST["g++"]}, or set CXX.')
    clang, gnu = versions.split()[-2:]              # a macro that is not defined stays its name
    name, version = ('clang++', clang) if clang.isdigit() else ('g++', gnu)
    if not version.isdigit() or int(version) < OLDEST[name]:
        sys.exit(f'error: {shlex.join(command)} is {name} {version}, but the sources need {name} '
                 f'{OLDEST[name]} or later. Install one and set CXX to it.')


class Build(BuildExtension):
    """Build the extension, and record beside it the torch and the processor that it is for."""

    def build_extensions(self):
        check_compiler()
        super().build_extensions()

    def run(self):
        super().run()
        built = {'torch': torch.__version__, 'machine': platform.machine()}
        if not portable:
            built['processor'] = compiled_in(macros(compiler()))
        folder = Path('' if self.inplace else self.build_lib, 'fcn_repro')
        (folder / '_built.json').write_text(json.dumps(built) + '\n')


sources = glob('csrc/*.cpp') + glob('csrc/cpu/**/*.cpp', recursive=True)
if cuda:
    sources += glob('csrc/cuda/**/*.c*', recursive=True)    # .cpp and .cu
extension = (CUDAExtension if cuda else CppExtension)(
    'fcn_repro._C',
    sorted(sources),
    depends=glob('csrc/**/*.h', recursive=True),
    extra_compile_args={'cxx': cxx, 'nvcc': ['-O3', '-std=c++20']},
    extra_link_args=link,
    py_limited_api=True,
)


# prototxt/ stands at the top level, as in Caffe; an installed package has it inside.
setup(ext_modules=[extension], cmdclass={'build_ext': Build},
      packages=[*find_packages(include=['fcn_repro*']), 'fcn_repro.prototxt'],
      package_dir={'fcn_repro.prototxt': 'prototxt'},
      package_data={'fcn_repro': ['py.typed', 'data/digits.npz', 'data/DIGITS.md',
                                  'viewer/page.*', 'viewer/svg.css', 'report/page/*',
                                  'report/paper.toml', 'fetch/sources.json'],
                    'fcn_repro.prototxt': ['*/*.prototxt']},
      options={'bdist_wheel': {'py_limited_api': 'cp311'}})
