"""The upgrade tools against what Caffe's own wrote, message for message."""

import logging
from pathlib import Path

import pytest
from google.protobuf import text_format
from wire_format import blob, save, v0, v1, v2

from fcn_repro.errors import FcnError
from fcn_repro.formats.upgrades import upgrade_net_binary, upgrade_net_text, upgrade_solver_text
from fcn_repro.formats.wire import read_caffemodel
from fcn_repro.proto import NetParameter, SolverParameter

GOLDENS = Path(__file__).parents[1] / 'data/formats'
TEXTS = sorted(path for path in GOLDENS.glob('*.prototxt')
               if path.with_suffix('.upgraded.prototxt').exists())


def parse(path, kind):
    return text_format.Parse(Path(path).read_text(), kind())


@pytest.mark.parametrize('path', TEXTS, ids=lambda path: path.stem)
def test_texts_become_what_caffe_made_of_them(path, tmp_path, caplog):
    caplog.set_level(logging.INFO, 'fcn_repro')
    solver = path.name.startswith('solver_')
    kind, tool = (SolverParameter, upgrade_solver_text) if solver else (NetParameter,
                                                                        upgrade_net_text)
    old = tool(path, tmp_path / 'new')
    ours, golden = parse(tmp_path / 'new', kind), parse(path.with_suffix('.upgraded.prototxt'),
                                                        kind)
    if solver and 'snapshot_prefix' not in path.read_text():
        golden.ClearField('snapshot_prefix')    # Caffe's reader adds it, its tool does not
    assert text_format.MessageToString(ours) == text_format.MessageToString(golden)
    assert old == any('Successfully upgraded' in line for line in caplog.messages)
    assert old != (f'File already in latest proto format: {path}' in caplog.messages)
    assert caplog.messages[-1].startswith('Wrote upgraded ')
    again = tool(tmp_path / 'new', tmp_path / 'again')          # is in today's form …
    assert again == ('batchnorm' in path.name)                  # … but three params stay three
    assert (tmp_path / 'again').read_text() == (tmp_path / 'new').read_text()


def test_there_are_texts_of_every_kind():
    assert {path.stem.split('_')[0] for path in TEXTS} >= {'v0', 'v1', 'legacy', 'solver'}


@pytest.mark.parametrize('made', [v0('c', 'conv', blob([[[[1., 2.]]]], legacy=True)),
                                  v1('c', 4, blob([[1., 2.]])),
                                  v2('c', 'Convolution', blob([[1., 2.]]))])
def test_models_keep_their_weights(made, tmp_path):
    old = upgrade_net_binary(save(tmp_path / 'old', made), tmp_path / 'new')
    assert old == (made[0] == 0x12)
    layer, = NetParameter.FromString((tmp_path / 'new').read_bytes()).layer
    assert (layer.name, layer.type, list(layer.blobs[0].data)) == ('c', 'Convolution', [1, 2])
    assert read_caffemodel(tmp_path / 'new')[0].blobs[0].ravel().tolist() == [1, 2]


def test_a_model_that_names_its_inputs_alone(tmp_path, caplog):
    """Caffe strips the names; a text with such inputs lacks their shapes."""
    net = NetParameter(input=['data'])
    net.layer.add(name='r', type='ReLU')
    save(tmp_path / 'old', net.SerializeToString())
    assert upgrade_net_binary(tmp_path / 'old', tmp_path / 'new')
    new = NetParameter.FromString((tmp_path / 'new').read_bytes())
    assert not new.input and [layer.type for layer in new.layer] == ['ReLU']


@pytest.mark.parametrize('tool, data, message', [
    (upgrade_net_text, None, 'cannot be read'),
    (upgrade_net_text, b'', 'the file is empty'),
    (upgrade_net_text, b'layer { nmae: "x" }', "no field 'nmae'"),
    (upgrade_net_text, b'layers { layer { name: "x" type: "what" } }', 'unknown layer type'),
    (upgrade_net_text, bytes(range(64)), 'binary file'),
    (upgrade_net_binary, None, 'No such file|cannot'),
    (upgrade_net_binary, b'', 'empty'),
    (upgrade_net_binary, b'name: "net"\n' * 9, 'text that begins'),
    (upgrade_net_binary, v2('c', 'Convolution', blob([1.]))[:-3], 'cut short'),
    (upgrade_net_binary, blob([1.] * 200), 'no layer'),
    (upgrade_solver_text, b'solver_type: ADAM type: "SGD"', 'both'),
])
def test_bad_files(tool, data, message, tmp_path):
    if data is not None:
        (tmp_path / 'old').write_bytes(data)
    with pytest.raises(FcnError, match=message) as caught:
        tool(tmp_path / 'old', tmp_path / 'new')
    assert str(tmp_path / 'old') in str(caught.value)
    assert not (tmp_path / 'new').exists()


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(FcnError, match='cannot write'):
        upgrade_net_text(TEXTS[0], tmp_path / 'no/new')
