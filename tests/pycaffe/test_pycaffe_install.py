"""`import caffe` means fcn_repro.pycaffe: after install(), and in users' layers by itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ROOT
from texts import inputs, layer

DEPLOY = inputs(data=(1, 2)) + layer('Python', 'x', 'data', 'y', 'python_param { module: "%s" '
                                     'layer: "Twice" }')
TWICE = '''import caffe
from caffe.proto import caffe_pb2

class Twice(caffe.Layer):
    def reshape(self, bottom, top):
        import caffe.io                 # when it runs, too
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data
'''
RUN = '''
net = caffe.Net('net.prototxt', caffe.TEST)
print(net.forward(data=np.ones((1, 2)))['y'], net.layers[1].__class__.__name__)
'''
FOREIGN = "class Layer: pass\nname = 'the real one'\n"


def script(folder, text, path=(), status=0):
    """What a Python process prints that runs a text as a script in a folder; or its last line."""
    (folder / 'script.py').write_text(text)
    done = subprocess.run(
        [sys.executable, 'script.py'], cwd=folder, capture_output=True, text=True, timeout=600,
        env={'PYTHONPATH': ':'.join(map(str, (ROOT, *path))), 'PATH': '', 'GLOG_minloglevel': '2'})
    assert done.returncode == status, done.stderr
    return done.stderr.splitlines()[-1] if status else done.stdout.splitlines()


def test_every_module_is_the_same_object(tmp_path):
    assert script(tmp_path, '''
import sys
import fcn_repro.pycaffe as ours
ours.install()
ours.install()
import caffe
import caffe.coord_map, caffe.proto.caffe_pb2 as pb, caffe.layerwise
from caffe import layers as L, params as P, to_proto
from caffe.proto import caffe_pb2
from caffe.coord_map import crop
from google.protobuf import text_format
assert caffe is ours and L is ours.layers and P is ours.params and crop is ours.coord_map.crop
assert pb is caffe_pb2 is ours.proto.caffe_pb2 is ours.io.caffe_pb2
assert ours.layerwise.LayerwiseNet is caffe.layerwise.LayerwiseNet
for name, module in list(sys.modules.items()):
    if name.partition('.')[0] == 'caffe':
        assert module is sys.modules['fcn_repro.pycaffe' + name[5:]], name
        assert module.__spec__.name == module.__name__, name
print(text_format.MessageToString(to_proto(L.Input(shape=dict(dim=[1, 2]))), as_one_line=True))
try:
    import caffe.no_such
except ModuleNotFoundError as error:
    print(error)
''') == ['layer { name: "Input1" type: "Input" top: "Input1" input_param { shape { dim: 1 dim: 2 '
         '} } }', "No module named 'caffe.no_such'"]


def test_ours_takes_precedence_over_one_on_the_path(tmp_path):
    (tmp_path / 'caffe').mkdir()
    (tmp_path / 'caffe' / '__init__.py').write_text(FOREIGN)
    assert script(tmp_path, 'import fcn_repro.pycaffe\nfcn_repro.pycaffe.install()\nimport caffe\n'
                            'print(caffe is fcn_repro.pycaffe)') == ['True']


def test_one_that_is_loaded_is_an_error(tmp_path):
    (tmp_path / 'caffe').mkdir()
    (tmp_path / 'caffe' / '__init__.py').write_text(FOREIGN)
    last = script(tmp_path, 'import caffe, fcn_repro.pycaffe\nfcn_repro.pycaffe.install()',
                  status=1)
    assert last.endswith(f'another caffe is loaded already, {tmp_path}/caffe/__init__.py. Call '
                         'fcn_repro.pycaffe.install() before anything imports caffe.')


@pytest.mark.parametrize('start', ['import fcn_repro.pycaffe as caffe\n',
                                   'import fcn_repro.pycaffe\nfcn_repro.pycaffe.install()\n'
                                   'import caffe\n'])
def test_layers_may_import_caffe(tmp_path, start):
    (tmp_path / 'mine.py').write_text(TWICE)
    (tmp_path / 'net.prototxt').write_text(DEPLOY % 'mine')
    assert script(tmp_path, 'import numpy as np\n' + start + RUN) == ['[[2. 2.]] Twice']


def test_layers_in_a_package_that_imports_caffe(tmp_path):
    (tmp_path / 'layers').mkdir()
    (tmp_path / 'layers' / '__init__.py').write_text('import caffe\n')
    (tmp_path / 'layers' / 'mine.py').write_text(TWICE)
    (tmp_path / 'net.prototxt').write_text(DEPLOY % 'layers.mine')
    assert script(tmp_path, 'import numpy as np, fcn_repro.pycaffe as caffe\n' + RUN) == [
        '[[2. 2.]] Twice']
    (tmp_path / 'layers' / '__init__.py').write_text('import no_such_thing\n')
    last = script(tmp_path, 'import numpy as np, fcn_repro.pycaffe as caffe\n' + RUN, status=1)
    assert "layer 'x' (Python): " in last and "No module named 'no_such_thing'" in last


@pytest.mark.parametrize('loaded', ['', 'import caffe as real\n'])
def test_a_real_caffe_keeps_its_name(tmp_path, loaded):
    """The layer's module gets ours, and nobody else: neither before nor afterwards."""
    (tmp_path / 'caffe').mkdir()
    (tmp_path / 'caffe' / '__init__.py').write_text(FOREIGN)
    (tmp_path / 'mine.py').write_text(TWICE.replace('        import caffe.io', '        pass'))
    (tmp_path / 'net.prototxt').write_text(DEPLOY % 'mine')
    assert script(tmp_path, 'import numpy as np, sys\nbefore = list(sys.meta_path)\n' + loaded
                  + 'import fcn_repro.pycaffe as caffe\n'
                  + RUN + 'import mine\nprint(mine.caffe is caffe, sys.meta_path == before, '
                  "[n for n in sys.modules if n.startswith('caffe')])\n"
                  'import caffe\nprint(caffe.name)') == [
        '[[2. 2.]] Twice', f'True True {["caffe"] if loaded else []}', 'the real one']


def test_a_layer_of_a_real_caffe_is_told_apart(tmp_path):
    (tmp_path / 'caffe').mkdir()
    (tmp_path / 'caffe' / '__init__.py').write_text(FOREIGN)
    (tmp_path / 'mine.py').write_text('import caffe\nclass Twice(caffe.Layer): pass\n')
    (tmp_path / 'net.prototxt').write_text(DEPLOY % 'mine')
    last = script(tmp_path, 'import numpy as np, mine, fcn_repro.pycaffe as caffe\n' + RUN,
                  status=1)
    assert f'a Layer of another caffe, {tmp_path}/caffe/__init__.py' in last
    assert 'Call fcn_repro.pycaffe.install() before' in last


@pytest.mark.parametrize('given, wanted', [
    ('layers/mine.py', 'layers.mine'), ('layers/mine', 'layers.mine'),
    ('./layers/mine.py', 'layers.mine'), ('top.py', 'top'), ('{folder}/layers/mine', 'mine'),
    ('../{name}/top.py', 'top'), ('{folder}/top.py', 'top'), ('layers\\\\mine.py', 'layers.mine')])
def test_a_path_is_no_module_name(tmp_path, given, wanted):
    """The error names the module that works, which the test then writes."""
    (tmp_path / 'layers').mkdir()
    (tmp_path / 'layers' / 'mine.py').write_text(TWICE)
    (tmp_path / 'top.py').write_text(TWICE)
    given = given.format(folder=tmp_path, name=tmp_path.name)
    (tmp_path / 'net.prototxt').write_text(DEPLOY % given)
    run = 'import numpy as np, fcn_repro.pycaffe as caffe\n' + RUN
    last = script(tmp_path, run, status=1)
    assert f"python_param.module is the path '{given}'".replace('\\\\', '\\') in last
    remedy = last.rpartition('Write module: ')[2]
    assert remedy.startswith(f'"{wanted}"')
    path = []
    if 'put ' in remedy:
        path = [tmp_path / Path(remedy.split('put ')[1].split(' on sys.path')[0])]
    (tmp_path / 'net.prototxt').write_text(DEPLOY % wanted)
    assert script(tmp_path, run, path) == ['[[2. 2.]] Twice']


def test_the_users_object_is_a_nets_layer(tmp_path):
    """As in pycaffe, where scripts set up the data layers of a net so."""
    (tmp_path / 'mine.py').write_text('''import caffe
class Twice(caffe.Layer):
    factor = 0
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data
''')
    (tmp_path / 'net.prototxt').write_text(DEPLOY % 'mine')
    assert script(tmp_path, '''import numpy as np, fcn_repro.pycaffe as caffe
net = caffe.Net('net.prototxt', caffe.TEST)
layer = net.layers[1]
layer.factor = 3
print(net.forward(data=np.ones((1, 2)))['y'], layer.type, len(layer.blobs))
net.params['x'][0].data[...] = 5
print(layer.blobs[0].data, net.layer_dict['x'] is layer)
''') == ['[[3. 3.]] Python 1', '[5.] True']
