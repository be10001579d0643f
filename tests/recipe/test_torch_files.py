"""State dicts of releases in PyTorch and files of safetensors: converted, and refused."""

import re
from dataclasses import replace

import fast_twins
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch_cases import BODY, CASES, PATHS, SIZE, made
from torch_pictures import as_caffe, as_torchvision

from fcn_repro.cli.main import main
from fcn_repro.errors import FcnError
from fcn_repro.formats import torchnets, torchvision
from fcn_repro.formats.safetensors import is_safetensors, read_safetensors
from fcn_repro.net import Net
from fcn_repro.recipe.models.converted import net_of

FILES = {name: CASES[name] for name in (
    'torchvision v3', 'VainF v3', 'VainF v3+', 'jfzhang95', 'jfzhang95, DRN', 'RefineNet')}
WRAPPED = {'VainF v3+': lambda state: {'model_state': state, 'best_score': 0.5, 'cur_itrs': 3},
           'jfzhang95': lambda state: {'state_dict': {f'module.{name}': value for name, value in
                                                      state.items()}, 'epoch': 7}}


def state_of(name):
    twin = replace(FILES[name][0], modules={}).filled(SIZE, 2)
    return twin, twin.state()


def shown(seed=0):
    """A picture (3, H, W), RGB of 0 to 255."""
    return np.random.default_rng(seed).integers(0, 256, (3, *SIZE)).astype(np.float64)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('name', FILES)
def test_a_converted_file_has_the_scores_of_its_net(name, suffix, tmp_path, capsys):
    """The prototxt that is written beside the weights takes all of them, and no more."""
    twin, state = state_of(name)
    file = tmp_path / f'net{suffix}'
    if suffix == '.pth':
        torch.save(WRAPPED.get(name, dict)(state), file)
    else:
        save_file({key: value.clone() for key, value in state.items()}, file)
    main(['convert', str(file), str(tmp_path / 'out.caffemodel')])
    said = capsys.readouterr().out
    assert 'out.prototxt' in said and str(torchvision.MEAN) in said
    net = Net.read(tmp_path / 'out.prototxt', 'TEST')
    rows = net.copy_from(tmp_path / 'out.caffemodel')
    assert {row.action for row in rows if net.params.get(row.layer)} == {'copied'}
    picture = shown()
    with torch.no_grad():
        wanted = twin(as_torchvision(picture))
        found = net(['score'], data=as_caffe(picture))['score']
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_an_auxiliary_head_is_left_out(tmp_path, capsys):
    _, state = state_of('torchvision v3')
    state['aux_classifier.0.weight'] = torch.ones(2, 5, 3, 3)
    torch.save(state, tmp_path / 'net.pth')
    main(['convert', str(tmp_path / 'net.pth'), str(tmp_path / 'out.caffemodel.h5')])
    assert 'left out: 1 tensors, such as aux_classifier.0.weight' in capsys.readouterr().out


def test_a_classifier_starts_a_net(tmp_path, capsys):
    """torchvision's ResNet: the body of a net, and its fc; no prototxt."""
    state = {name.removeprefix('backbone.'): value for name, value in
             state_of('VainF v3')[1].items() if name.startswith('backbone.')}
    state |= {'fc.weight': torch.ones(7, 24), 'fc.bias': torch.ones(7)}
    torch.save(state, tmp_path / 'resnet.pth')
    main(['convert', str(tmp_path / 'resnet.pth'), str(tmp_path / 'resnet.caffemodel')])
    assert 'fc' in capsys.readouterr().out and not (tmp_path / 'resnet.prototxt').exists()
    net = made(CASES['RefineNet'][1])
    rows = net.copy_from(tmp_path / 'resnet.caffemodel')
    copied = {row.layer for row in rows if row.action == 'copied'}
    assert copied == {layer for layer in net.params if layer.startswith(('conv1', 'layer'))}


def test_a_resnet18_starts_bisenet(tmp_path, capsys):
    """torchvision's names; the maps of the body on a picture are those of its twin."""
    twin = fast_twins.Bisenet(**PATHS, stem=3, widths=BODY['widths'], blocks=BODY['blocks'])
    with torch.no_grad():
        fast_twins.resnet18(twin, torch.zeros(1, 3, *SIZE))
    twin.filled(SIZE, 3)
    body = ('conv1', 'layer')
    twin.modules = {name: module for name, module in twin.modules.items() if name.startswith(body)}
    state = {in_torchvision(name): value for name, value in twin.state().items()}
    state |= {'fc.weight': torch.ones(7, 6), 'fc.bias': torch.ones(7)}
    assert {'bn1.running_mean', 'layer2.0.downsample.1.bias', 'layer4.2.bn2.weight',
            'layer1.1.conv2.weight'} <= state.keys()
    torch.save(state, tmp_path / 'resnet18.pth')
    main(['convert', str(tmp_path / 'resnet18.pth'), str(tmp_path / 'resnet18.caffemodel')])
    assert 'basic blocks' in capsys.readouterr().out
    net = made(CASES['BiSeNet R18'][1])
    rows = net.copy_from(tmp_path / 'resnet18.caffemodel')
    assert {row.layer for row in rows if row.action == 'copied'} == {
        layer for layer in net.params if layer.startswith(body)}
    picture = shown()
    tops = [f'layer{k}_{count - 1}' for k, count in enumerate(BODY['blocks'], 1)]
    with torch.no_grad():
        wanted = fast_twins.resnet18(twin, as_torchvision(picture))
        found = net(tops, data=as_caffe(picture), label=torch.zeros(1, 1, *SIZE))
    for name, value in zip(tops, wanted, strict=True):
        assert (found[name] - value).abs().max() <= 1e-5 * value.abs().max()


def in_torchvision(name):
    """What torchvision calls a tensor of a ResNet of this project."""
    name = re.sub(r'^(layer\d)_(\d+)_', r'\1.\2.', name)
    name = re.sub(r'down_bn\.', 'downsample.1.', name)
    return re.sub(r'conv(\d)_bn\.', r'bn\1.', re.sub(r'down\.', 'downsample.0.', name))


@pytest.mark.parametrize('stride, rates', [(None, [6, 12, 18]), (16, [6, 12, 18]),
                                           (8, [12, 24, 36])])
def test_the_stride_of_a_file(stride, rates):
    found = torchnets.read_net(state_of('VainF v3')[1], 'net.pth')
    layers = {layer.name: layer for layer in net_of(found, stride).layer}
    assert [layers[f'aspp{i}'].convolution_param.dilation[:] for i in (1, 2, 3)] == [
        [rate] for rate in rates]


@pytest.mark.parametrize('name', ['jfzhang95, DRN', 'RefineNet'])
def test_a_stride_that_a_form_lacks(name):
    found = torchnets.read_net(state_of(name)[1], 'net.pth')
    with pytest.raises(FcnError, match='stride 16'):
        net_of(found, 16)


@pytest.mark.parametrize('change, parts', [
    (lambda s: s.pop('classifier.4.weight'), ("no tensor 'classifier.4.weight'",)),
    (lambda s: s.pop('backbone.layer2.0.conv1.weight'), ('backbone.layer2.0.conv1.weight',)),
    (lambda s: s.pop('backbone.bn1.running_var'), ("'backbone.bn1.running_var'",)),
    (lambda s: s.update({'backbone.bn1.weight': torch.ones(9)}), ("'backbone.bn1.weight' is 9",
                                                                  'not 6')),
    (lambda s: s.update({'backbone.conv1.weight': torch.ones(6, 4, 7, 7)}),
     ("'backbone.conv1.weight' is 6x4x7x7", 'nx3xnxn')),
    (lambda s: s.update(more=torch.ones(1)), ("holds 'more'", '1 such')),
    (lambda s: s.update({'classifier.0.convs.0.0.weight': 7}),
     ("a int as 'classifier.0.convs.0.0.weight'",)),
    (lambda s: s.update({'backbone.bn1.bias': torch.ones(6, dtype=torch.int64)}), ('int64',)),
])
def test_what_a_file_may_not_hold(change, parts, tmp_path):
    state = state_of('torchvision v3')[1]
    change(state)
    with pytest.raises(FcnError) as caught:
        torchnets.read_net(state, 'net.pth')
    assert all(part in str(caught.value) for part in ('net.pth', *parts)), str(caught.value)
    assert 'docs/torch-nets.md' in caught.value.do


def test_options_for_other_files(tmp_path, capsys):
    for name, state in (('vgg', {'features.0.weight': torch.ones(1)}), ('none', {})):
        torch.save(state, tmp_path / f'{name}.pth')
        with pytest.raises(SystemExit):
            main(['convert', str(tmp_path / f'{name}.pth'), 'x', '--stride', '8'])
        assert '--stride is for DeepLab nets' in capsys.readouterr().err
    torch.save(state_of('RefineNet')[1], tmp_path / 'net.pth')
    with pytest.raises(SystemExit):
        main(['convert', str(tmp_path / 'net.pth'), 'x', '--stride', '8'])
    assert 'net.pth' in capsys.readouterr().err


# ---- safetensors ---------------------------------------------------------------------------------

def test_safetensors_of_every_type(tmp_path):
    tensors = {str(type): torch.arange(6).reshape(2, 3).to(type) for type in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
        torch.int16, torch.int8, torch.uint8, torch.bool)}
    tensors |= {'scalar': torch.tensor(3.), 'none': torch.zeros(0, 4)}
    save_file(tensors, tmp_path / 'a.safetensors', metadata={'format': 'pt'})
    assert is_safetensors(tmp_path / 'a.safetensors')
    found = read_safetensors(tmp_path / 'a.safetensors')
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value)


def packed(header, values=b'', length=None):
    header = header if isinstance(header, bytes) else str(header).replace("'", '"').encode()
    return (len(header) if length is None else length).to_bytes(8, 'little') + header + values


F32 = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}


@pytest.mark.parametrize('data, part', [
    (packed({'a': F32}, b'1234567'), "'a' lies at 0 to 8 of 7"),
    (packed({'a': F32}, b'12345678', 900), 'a header of 900 bytes'),
    (packed(b'{"a"', b'12345678'), 'no JSON'),
    (packed(b'{"a": "\xff"}'), 'no JSON'),
    (packed(b'[' * 20000), 'no JSON'),
    (packed(b'[]'), 'no object'),
    (packed({'a': {**F32, 'dtype': 'F8'}}, b'12345678'), "type 'F8'"),
    (packed({'a': {**F32, 'shape': [3]}}, b'12345678'), "'a' lies"),
    (packed({'a': {**F32, 'shape': [-2]}}, b'12345678'), "entry of 'a'"),
    (packed({'a': {**F32, 'shape': [2 ** 40, 2 ** 40]}}, b'12345678'), "'a' lies"),
    (packed({'a': {**F32, 'shape': [1] * 40}}, b'12345678'), "entry of 'a'"),
    (packed({'a': {**F32, 'data_offsets': [8, 0]}}, b'12345678'), "'a' lies"),
    (packed({'a': 3}), "entry of 'a'"),
    (b'123', 'a header of 0 bytes'),
])
def test_damaged_safetensors(data, part, tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(data)
    with pytest.raises(FcnError, match=r'a\.safetensors') as caught:
        read_safetensors(tmp_path / 'a.safetensors')
    assert part in str(caught.value)
