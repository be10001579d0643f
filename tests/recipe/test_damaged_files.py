"""Damaged files of a run are one error each, with their name."""

import numpy as np
import pytest

from fcn_repro.data.image import check_mean
from fcn_repro.errors import FcnError
from fcn_repro.predict.labels import names_of_data
from fcn_repro.recipe.comparison import METRICS, read_metrics
from fcn_repro.recipe.folders import recorded_folder
from fcn_repro.recipe.options import Options

LAYER = 'layer {{ name: "d" type: "Python" top: "d" python_param {{ module: "voc_layers" ' \
        'layer: "VOCSegDataLayer" param_str: "{}" }} }}'
DAMAGED = ['[1', "{'voc_dir': 7}", '(' * 5000, "{'voc_dir': 1" + '0' * 5000 + '}']


@pytest.mark.parametrize('text', [*DAMAGED, '{}', "{'voc_dir': None}", '3'], ids=range(7))
def test_the_folder_that_a_run_records(tmp_path, text):
    val = tmp_path / 'val.prototxt'
    val.write_text(LAYER.format(text))
    with pytest.raises(FcnError) as caught:
        recorded_folder(val)
    assert str(val) in str(caught.value)


def test_a_net_without_layers_records_no_folder(tmp_path):
    val = tmp_path / 'val.prototxt'
    val.write_text('name: "x"')
    with pytest.raises(FcnError, match='names no voc_dir'):
        recorded_folder(val)


@pytest.mark.parametrize('text', DAMAGED, ids=range(4))
def test_class_names_of_a_damaged_net(tmp_path, text):
    val = tmp_path / 'val.prototxt'
    val.write_text(LAYER.format(text))
    with pytest.raises(FcnError) as caught:
        names_of_data(val)
    assert str(val) in str(caught.value)


@pytest.mark.parametrize('text', ['', '{', '[]', '3', '{}', '[' * 100_000, '\0', '{"rule": 1}'],
                         ids=range(8))
def test_damaged_metrics(tmp_path, text):
    file = tmp_path / 'metrics.json'
    file.write_text(text)
    with pytest.raises(FcnError, match=r'metrics\.json: is damaged'):
        read_metrics(file)
    with pytest.raises(FcnError, match='a folder where a JSON file is wanted'):
        read_metrics(tmp_path)
    assert METRICS


@pytest.mark.parametrize('mean', [(10 ** 400, 1, 1), ('a', 1, 1), None,
                                  (np.inf, 1, 1), [[1], [2, 3]]], ids=range(5))
def test_means_that_are_none(mean):
    with pytest.raises(FcnError, match='not three numbers'):
        check_mean(mean)


@pytest.mark.parametrize('name', ['iterations', 'keep', 'seed', 'pictures'])
def test_numbers_beyond_an_int(name):
    with pytest.raises(FcnError, match=f'{name} is above 2147483647'):
        Options(**{name: 10 ** 5000})
