"""The package as others get it: version, licence, what `import fcn_repro` loads, the wheel."""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from small_runs import ROOT

import fcn_repro

PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())


def test_one_version():
    version = fcn_repro.__version__
    assert PROJECT['project']['dynamic'] == ['version']
    assert PROJECT['tool']['setuptools']['dynamic']['version'] == {'attr': 'fcn_repro.__version__'}
    first = re.search(r'^## \[(.+?)\]', (ROOT / 'CHANGELOG.md').read_text(), re.M)
    assert first[1] == version
    cited = re.search(r'^version: (.+)$', (ROOT / 'CITATION.cff').read_text(), re.M)
    assert cited[1] == version


def test_licence_files_exist():
    for name in PROJECT['project']['license-files']:
        assert (ROOT / name).is_file()
    assert 'the fcn_repro authors' in (ROOT / 'LICENSE').read_text()


def test_import_loads_nothing_heavy():
    """Neither torch nor what only some commands need; and all of the public names exist."""
    code = '''import sys, fcn_repro
heavy = {"torch", "numpy", "scipy", "h5py", "PIL", "tqdm", "google.protobuf"} & set(sys.modules)
assert not heavy, heavy
assert set(fcn_repro.__all__) <= set(dir(fcn_repro))
import torch, fcn_repro.net
assert "scipy" not in sys.modules
for name in fcn_repro.__all__:
    getattr(fcn_repro, name)
try:
    fcn_repro.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
'''
    subprocess.run([sys.executable, '-c', code], check=True, cwd='/',
                   env={**os.environ, 'PYTHONPATH': str(ROOT)})


# ---- the wheel, installed ----------------------------------------------------------------------

DEPLOY = '''layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 40 dim: 40 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 21 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
'''
WORK = '''import h5py, numpy as np, PIL.Image, fcn_repro
from fcn_repro.proto import TEST
assert {site!r} in fcn_repro.__file__, fcn_repro.__file__
net = fcn_repro.Net.read("deploy.prototxt", TEST)
net.save("own.caffemodel")
pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
PIL.Image.fromarray(pixels).save("photo.png")
data = np.random.default_rng(0).standard_normal((1, 3, 40, 40)).astype("float32")
with h5py.File("golden.h5", "w") as golden:
    golden["inputs/data"] = data
    golden["blobs/score"] = net.forward(data=data)["score"].detach().numpy()
labels = fcn_repro.segment("photo.png", net="deploy.prototxt", weights="own.caffemodel")
assert labels.shape == (40, 40) and labels.dtype == np.uint8
'''


def without_python_path():
    """The environment without this checkout, which pip would take for installed already."""
    return {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The path of a wheel: FCN_REPRO_WHEEL, or one that is built, which takes minutes."""
    if 'FCN_REPRO_WHEEL' in os.environ:
        return Path(os.environ['FCN_REPRO_WHEEL'])
    folder = tmp_path_factory.mktemp('wheel')
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-build-isolation',
                    '--no-deps', '-w', folder, ROOT], check=True)
    return next(folder.glob('*.whl'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The folder of commands of a venv with the wheel; its dependencies are this process's, its
    fcn_repro is not."""
    home = tmp_path_factory.mktemp('venv')
    venv.create(home, with_pip=True)
    site = home / f'lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages'
    (site / 'zz_dependencies.pth').write_text(str(Path(torch.__file__).parents[1]))
    subprocess.run([home / 'bin/python', '-m', 'pip', 'install', '--quiet', '--no-deps',
                    '--disable-pip-version-check', wheel], check=True, env=without_python_path())
    return home / 'bin'


@pytest.mark.slow
def test_contents_of_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f'fcn_repro/{path.relative_to(ROOT)}'
               for path in (ROOT / 'prototxt').rglob('*.prototxt')}
    assert shipped | {'fcn_repro/data/digits.npz', 'fcn_repro/data/DIGITS.md', 'fcn_repro/py.typed',
                      'fcn_repro/_built.json', 'fcn_repro/_C.abi3.so'} <= names
    assert any(name.endswith('licenses/LICENSE') for name in names)
    assert not [name for name in names if name.startswith(('tests', 'tools', 'csrc', 'docs'))]


@pytest.mark.slow
def test_the_installed_package_in_an_empty_folder(installed, tmp_path):
    """Train, label, convert and compare with the command, without the checkout."""
    env = without_python_path()

    def run(*words):
        done = subprocess.run([installed / words[0], *words[1:]], cwd=tmp_path, env=env, text=True,
                              capture_output=True)
        assert done.returncode == 0, done
        return done.stdout

    (tmp_path / 'deploy.prototxt').write_text(DEPLOY)
    run('python', '-c', WORK.format(site=str(installed.parent)))
    assert 'iteration 20/20' in run('fcn-repro', 'train', 'mini-fcn32s', '--iterations', '20')
    assert (tmp_path / 'runs/mini-fcn32s/train_iter_20.caffemodel.h5').exists()
    assert 'mini-fcn32s' in run('fcn-repro', 'infer', 'photo.png')
    run('fcn-repro', 'infer', 'photo.png', '--net', 'deploy.prototxt', '--weights',
        'own.caffemodel', '--out', 'labels')
    assert (tmp_path / 'labels/photo.png').exists()
    assert 'wrote own.h5' in run('fcn-repro', 'convert', 'own.caffemodel', 'own.h5')
    assert 'within their limits' in run('fcn-repro', 'check-parity', 'deploy.prototxt', 'own.h5',
                                        'golden.h5')
