"""Names in the goldens' files lead to no file outside their folder."""

import json

import h5py
import pytest

from fcn_repro.parity import KINDS, Limits, check_folder
from fcn_repro.parity.fixtures import KINDS as FIXTURES

BAD = '../../etc/x', 'a\0b', 'x' * 300, '/etc/x'


@pytest.mark.parametrize('name', BAD)
@pytest.mark.parametrize('file, content', [
    ('nets.json', lambda name: {'nets': {name: [{'input': [1], 'blobs': {'data': [1]}}]}}),
    ('legacy.json', lambda name: {name: {'layers': [], 'outputs': [], 'inputs': [], 'blobs': {},
                                         'params': {}}})])
def test_names_in_json(tmp_path, name, file, content):
    name = f'/../../..{name}' if file == 'legacy.json' and name[0] == '/' else name.replace(
        '../../', '/../../../')
    (tmp_path / file).write_text(json.dumps(content(name)))
    [found] = check_folder(tmp_path, Limits(), (*KINDS, *FIXTURES))
    assert 'the net ' in found.refusal and file in found.refusal


@pytest.mark.parametrize('name', BAD)
def test_names_of_models(tmp_path, name):
    (tmp_path / 'net.prototxt').write_text('layer { name: "d" type: "Input" top: "d" input_param '
                                           '{ shape { dim: 1 } } }')
    (tmp_path / 'load_rules.json').write_text(json.dumps(
        {name: {'accepted': False, 'message': ''}}))
    with h5py.File(tmp_path / 'loaded.h5', 'w'):
        pass
    [found] = check_folder(tmp_path, Limits(), (*KINDS, *FIXTURES))
    assert 'the model ' in found.refusal and 'load_rules.json' in found.refusal


@pytest.mark.parametrize('groups', [('score_every_8th', 'argmax'), ('binaryproto',)])
def test_names_of_groups(tmp_path, groups):
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        for group in groups:
            file.require_group(f'{"x" * 300}/{group}')
            file.require_group(group)
    assert all(found.refusal for found in check_folder(tmp_path, Limits(), (*KINDS, *FIXTURES)))
