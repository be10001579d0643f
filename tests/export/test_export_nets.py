"""Every deploy net of prototxt/ in every form, with narrow layers; slow: at full width."""

import json
import re
import struct
from pathlib import Path

import pytest
import torch
from exported import (
    as_placed,
    assert_scores,
    export,
    filled,
    folded,
    image,
    imported,
    narrow,
    package,
    run_net,
    run_session,
    session,
)

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.net.placement import place
from fcn_repro.proto import TEST
from fcn_repro.proto.prototxt import read_net

ROOT = Path(__file__).parents[2]
SEVERAL = 'siftflow-fcn16s', 'nyud-fcn32s-color-d', 'nyud-fcn32s-color-hha', 'mini-acnet'
ODD = [(33, 47), (64, 64), (75, 101)]
OWN = None                                  # the size of the deploy text
# Names of nets, and the sizes in place of ODD where they do not take every one
SIZES = [
    ('deeplab-v1-msc', [(33, 49), (65, 65), (73, 105)]),        # scales meet at 8 n + 1
    ('deeplab-v2-(mini|resnet101)$', [(33, 65), (65, 65), (97, 129)]),  # and 3 of them at 32 n + 1
    ('deeplab-v2-.*single', [(33, 47), (64, 64), (71, 105)]),   # scores of 8 n + 1 are cropped
    ('dilation', [(381, 396), (400, 400), (423, 405)]),         # 372 are the margin
    ('^(mini-)?enet', [(32, 48), (64, 64), (71, 104)]),         # maps are halved and doubled
    ('danet-mini', [(256, 33), (256, 64), (256, 101)]),         # of one height
    ('danet-resnet101', [(512, 33), (512, 64), (512, 101)]),
    ('pspnet|icnet', OWN),                  # the maps of the pyramid are resized to this one's
]
# Nets with a layer that has no form, its type and why; in Caffe's files they are like all others
BATCH = 'BN', 'it normalises by the statistics of its batch'     # exported as folded() makes them
CRF = 'MultiStageMeanfield', 'this type'                         # it filters in a lattice
PATCHES = 'Im2col', 'this type'
REFUSED = {'(mini-)?(segnet|enet)': BATCH, 'crfrnn': CRF, 'own-fickle': PATCHES}
# torch.export may take how maps of the own size fit, or a global pooling's window, for a condition
GUARDED = 'own-tags|(fastfcn-.*)?deeplab|lednet|bisenet|dupsampling|dfanet'
PAR = 'spatial.par', 'bilateral.par'        # that crfrnn-voc reads where the command runs
# seconds, each
SLOW = re.compile('pspnet101|pspnet50|icnet-city|fastfcn-resnet|resnet101$|resnet152|xception65|'
                  'dupsampling-resnet|^dfanet$')


def text_of(name):
    return read_net(ROOT / 'prototxt' / name / 'deploy.prototxt')


def of_each_kind():
    """The names of the shipped nets, one of those that differ in channels and multipliers alone,
    without those of several inputs or outputs, and the one with a ConvCRF."""
    found = {}
    for path in sorted(ROOT.glob('prototxt/*/deploy.prototxt')):
        if not re.search('siftflow|color-d|color-hha|acnet|convcrf', path.parent.name):
            text = re.sub(r'(num_output|lr_mult): \d+', '', path.read_text())
            found.setdefault(text, path.parent.name)
    return list(found.values())


def refusal(name):
    """(type, why) of REFUSED, or None."""
    return next((found for names, found in REFUSED.items() if re.match(names, name)), None)


def marked(names):
    return [pytest.param(name, marks=pytest.mark.slow if SLOW.search(name) else ())
            for name in names]


NETS = of_each_kind()


@pytest.fixture(scope='module', params=marked(n for n in NETS if refusal(n) not in (CRF, PATCHES)))
def net(request):
    return filled(narrow(folded(text_of(request.param))))


@pytest.fixture(scope='module')
def inputs(net):
    return inputs_of(net)


def inputs_of(net):
    """Images of the sizes that the net takes: its own, as classifiers do, or odd ones."""
    (name,) = net.graph.inputs
    shape = net.shapes[net.graph.first(name)]
    folder = Path(net.graph.file).parent.name
    sizes = next((sizes for names, sizes in SIZES if re.search(names, folder)), ODD)
    if any(node.type == 'InnerProduct' for node in net.graph.nodes):
        sizes = OWN
    return [{name: image(*size)[:, :shape[1]].contiguous()} for size in sizes or [shape[2:]]]


def test_python_has_the_same_bits_in_both_memory_formats(net, inputs, tmp_path):
    output, = net.graph.outputs
    path, weights = export(net, 'python', tmp_path / 'net.py')
    assert max(map(len, path.read_text().splitlines())) <= 120
    module = imported(path).load()
    results = []
    for given in inputs:
        with torch.no_grad():
            results.append(run_net(net, given)[output])
            assert torch.equal(module(*given.values()), results[-1])
    if inputs[0][net.graph.inputs[0]].shape[1] == 1:    # it is in both formats at once
        return
    place(net, channels_last=True, winograd=False, gemm=False, prepack=False)
    module = as_placed(imported(path).load(weights))
    for given in inputs:
        x, = given.values()
        with torch.no_grad():
            top = module(x.contiguous(memory_format=torch.channels_last))
        assert torch.equal(top, run_net(net, given)[output])


def test_a_net_that_ends_in_a_convcrf(tmp_path):
    """In Python its windows are a loop, the same to rounding; there is no form of it in ONNX."""
    net, given = filled(narrow(text_of('own-convcrf'))), {'data': image(33, 47)}
    path, _ = export(net, 'python', tmp_path / 'net.py')
    with torch.no_grad():
        assert_scores(imported(path).load()(given['data']), run_net(net, given)['score'])
    with pytest.raises(FcnError, match='cannot be exported') as caught:
        export(net, 'onnx', tmp_path / 'net.onnx')
    assert (caught.value.type, caught.value.layer) == ('LocalMeanField', 'convcrf')
    assert caught.value.do
    assert_made_again(net, given, tmp_path)


@pytest.mark.parametrize('name', SEVERAL)
def test_several_inputs_and_outputs(name, tmp_path):
    net = filled(narrow(text_of(name)))
    shapes = {name: net.shapes[net.graph.first(name)] for name in net.graph.inputs}
    given = {name: image(*shape[2:])[:, :shape[1]].contiguous() for name, shape in shapes.items()}
    path, _ = export(net, 'python', tmp_path / 'net.py')
    with torch.no_grad():
        wanted = run_net(net, given)
        tops = imported(path).load()(*given.values())
    tops = tops if isinstance(tops, dict) else {net.graph.outputs[0]: tops}
    assert tops.keys() == set(net.graph.outputs)
    assert all(torch.equal(tops[blob], wanted[blob]) for blob in tops)
    package('onnx')
    run = session(export(net, 'onnx', tmp_path / 'net.onnx')[0])
    for blob, top in run_session(run, given).items():
        assert_scores(top, wanted[blob])


def test_onnx_has_the_scores_and_labels_at_every_size(net, inputs, tmp_path):
    onnx = package('onnx')
    path, = export(net, 'onnx', tmp_path / 'net.onnx')
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {''}
    assert [(o.domain, o.version) for o in model.opset_import] == [('', 13)]
    names = {node.name for node in model.graph.node}
    assert {node.name for node in net.graph.nodes if node.type == 'Convolution'} <= names
    output, = net.graph.outputs
    run = session(path)
    for given in inputs:
        top = run_session(run, given)[output]
        assert_scores(top, run_net(net, given)[output])
    two = {name: torch.cat([x, x.flip(3)]) for name, x in inputs[0].items()}
    assert_scores(run_session(run, two)[output], run_net(net, two)[output])


def test_caffemodel_and_prototxt_make_the_net_again(net, inputs, tmp_path):
    assert_made_again(net, inputs[0], tmp_path)


@pytest.mark.parametrize('name', marked(filter(refusal, NETS)))
def test_what_has_no_form_is_an_error_and_goes_to_caffe(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in PAR:
        Path(file).write_text('3 ' * 21)
    net = filled(narrow(text_of(name)))
    type, why = refusal(name)
    for kind, end in ('python', 'py'), ('onnx', 'onnx'), ('safetensors', 'safetensors'), \
            ('torch-export', 'pt2'):
        with pytest.raises(FcnError, match=f'{why}.* cannot be exported') as caught:
            export(net, kind, tmp_path / f'net.{end}')
        assert caught.value.type == type and caught.value.layer and caught.value.do
    assert_made_again(net, inputs_of(net)[0], tmp_path)


def assert_made_again(net, given, tmp_path):
    """The files for Caffe have the net's layers, parameters and labels."""
    weights, text = export(net, 'caffemodel', tmp_path / 'net.caffemodel')
    again = Net.read(text, TEST)
    assert [node.name for node in again.graph.nodes] == [node.name for node in net.graph.nodes]
    rows = again.copy_from(weights)
    assert {row.action for row in rows} <= {'copied', 'no parameters'}, rows
    for key, blobs in net.layer_params.items():
        assert all(torch.equal(a.data, b.data)
                   for a, b in zip(blobs, again.layer_params[key], strict=True))
    output, = net.graph.outputs
    again.place(net.options)            # as another test may have placed it
    assert torch.equal(run_net(again, given)[output].argmax(1),
                       run_net(net, given)[output].argmax(1))


def test_safetensors_is_the_state_dict_of_the_module(net, tmp_path):
    path, = export(net, 'safetensors', tmp_path / 'net.safetensors')
    _, weights = export(net, 'python', tmp_path / 'net.py')
    metadata, state = read_safetensors(path)
    wanted = torch.load(weights, weights_only=True)
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert metadata['net'] == net.graph.name or not net.graph.name


def read_safetensors(path):
    """(metadata, {name: tensor}) of a file, as its format is described."""
    data = path.read_bytes()
    length, = struct.unpack('<Q', data[:8])
    header, values = json.loads(data[8:8 + length]), data[8 + length:]
    metadata = header.pop('__metadata__')
    state = {name: torch.frombuffer(bytearray(values[slice(*entry['data_offsets'])]),
                                    dtype=torch.float32).reshape(entry['shape'])
             for name, entry in header.items()}
    assert sum(tensor.numel() * 4 for tensor in state.values()) == len(values)
    return metadata, state


@pytest.mark.slow
def test_torch_export_has_the_same_bits(net, inputs, tmp_path):
    # a new net: the strides of 1x1 filters that were placed in channels-last stay as they are
    net = filled(narrow(folded(text_of(Path(net.graph.file).parent.name))))
    path, = export(net, 'torch-export', tmp_path / 'net.pt2')
    program = torch.export.load(str(path)).module()
    place(net, channels_last=False, winograd=False, gemm=False, prepack=False)
    output, = net.graph.outputs
    same = 0
    name, = net.graph.inputs
    size = net.layer(net.graph.nodes[0]).shape([])[0]
    own = [{name: image(*size[2:])}] if re.match(GUARDED, Path(net.graph.file).parent.name) else []
    for given in [*inputs, *own]:
        wanted = run_net(net, given)[output]
        thin = any(1 in shape[2:] for shape in net.shapes.values() if len(shape) == 4)
        try:
            with torch.no_grad():
                found = program(*given.values())
        except AssertionError as error:     # as docs/export.md says
            assert 'Guard failed' in str(error) and (thin or own)
            assert not any(given is one for one in own)
        else:
            assert torch.equal(found, wanted)
            same += 1
    assert same


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in NETS if name.startswith('voc-')])
def test_full_width(name, tmp_path):
    """Scores and bits of the nets of the release."""
    net, given = filled(text_of(name)), {'data': image(250, 333)}
    path, _ = export(net, 'python', tmp_path / 'net.py')
    module = imported(path).load()
    wanted = run_net(net, given)['score']
    with torch.no_grad():
        assert torch.equal(module(given['data']), wanted)
    package('onnx')
    run = session(export(net, 'onnx', tmp_path / 'net.onnx')[0])
    assert_scores(run_session(run, given)['score'], wanted)
