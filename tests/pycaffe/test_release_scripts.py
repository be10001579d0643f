"""The reference release's own scripts, every one, as python -m fcn_repro.pycaffe runs them.

They run where FCN_RELEASE names a checkout (release_tree.py); docs/pycaffe.md says how.
"""

import ast
import re

import numpy as np
import pytest
import scipy.io
from PIL import Image
from release_tree import MODELS, copy_release, make_data, make_narrow, make_weights, read, run

from fcn_repro.data.palette import palette
from fcn_repro.net import Net

pytestmark = pytest.mark.slow

# Two iterations where solve.py takes thousands, and an end after two rounds. What the release's
# scripts for NYUDv2 read and never set, `val`, is there.
SHORT = '''import builtins, sys
import numpy as np
from fcn_repro.cli.main import run_command
from fcn_repro.pycaffe import solvers

def step(self, count, step=solvers.Solver.step):
    if self.iter == 4:
        sys.exit()
    step(self, 2)

solvers.Solver.step = step
if 'nyud' in sys.argv[2]:
    builtins.val = np.loadtxt('../data/nyud/test.txt', dtype=str)
run_command('pycaffe', [sys.argv[1], '0'])
'''


@pytest.fixture(scope='module')
def release(tmp_path_factory):
    return copy_release(tmp_path_factory.mktemp('as_it_is'))


@pytest.fixture(scope='module')
def narrow(tmp_path_factory):
    release = copy_release(tmp_path_factory.mktemp('narrow'))
    make_data(release / 'data')
    make_narrow(release)
    make_weights(release)
    return release


def comparable(net):
    """The layers' messages, a reader's param_str without the order of its keys."""
    for layer in net.layer:
        if layer.type == 'Python':
            given = ast.literal_eval(layer.python_param.param_str)
            layer.python_param.param_str = repr(sorted(given.items()))
    return list(net.layer)


@pytest.mark.parametrize('model', MODELS)
def test_net_py_writes_the_nets_of_the_release(model, release):
    paths = [path for path in (release / model).glob('*.prototxt')
             if path.stem in ('train', 'val', 'trainval', 'test')]
    theirs = {path: comparable(read(path)) for path in paths}
    assert len(theirs) == 2
    for path in paths:
        path.unlink()
    done = run(release, release / model / 'net.py')
    assert done.returncode == 0, done.stderr
    for path, layers in theirs.items():
        assert comparable(read(path)) == layers


@pytest.mark.parametrize('model', MODELS)
def test_solve_py_trains_and_scores(model, narrow):
    done = run(narrow, narrow / model / 'solve.py', model, start=('-c', SHORT))
    assert done.returncode == 0, done.stderr
    assert 'running on the CPU instead' in done.stderr or 'cuda' in done.stderr
    rounds = 4 if 'siftflow' in model else 2
    for what, low, high in (('loss', 1e-3, np.inf), ('overall accuracy', 0, 1),
                            ('mean accuracy', 0, 1), ('mean IU', 0, 1), ('fwavacc', 0, 1)):
        found = re.findall(rf'Iteration (\d) {what} (\S+)', done.stdout)
        assert len(found) == rounds and {i for i, _ in found} == {'2', '4'}, done.stdout
        assert all(low <= float(value) <= high for _, value in found)


def test_infer_py_labels_the_demo_image(narrow):
    image = Image.open(narrow / 'demo/image.jpg').resize((60, 40))
    image.save(narrow / 'demo/image.jpg')
    done = run(narrow, narrow / 'infer.py')
    assert done.returncode == 0, done.stderr
    net = Net.read(narrow / 'voc-fcn8s/deploy.prototxt', 'TEST')
    net.copy_from(narrow / 'voc-fcn8s/fcn8s-heavy-pascal.caffemodel')
    pixels = np.array(Image.open(narrow / 'demo/image.jpg'), np.float32)[:, :, ::-1]
    pixels = pixels - np.array((104.00698793, 116.66876762, 122.67891434), np.float32)
    labels = net.forward(data=pixels.transpose(2, 0, 1)[None].copy())['score'][0].argmax(0).numpy()
    assert len(np.unique(labels)) > 1
    assert (np.array(Image.open(narrow / 'demo/output.png')) == palette()[labels]).all()


def test_convert_sbdd_py_writes_labels(narrow):
    """It knows no Caffe; it is one of the release's scripts."""
    folder = narrow / 'data/sbdd/dataset'
    script = narrow / 'data/pascal/convert_sbdd.py'
    (script.parent / 'sbdd').symlink_to(folder)
    done = run(narrow, script)
    assert done.returncode == 0, done.stderr
    assert 'Converting 0th annotation' in done.stdout
    paths = sorted(folder.glob('cls/*.mat'))
    assert len(paths) == 3
    for path in paths:
        label = scipy.io.loadmat(path)['GTcls'][0]['Segmentation'][0]
        assert (np.array(Image.open(path.with_suffix('.png'))) == label).all()
