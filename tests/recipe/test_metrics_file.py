"""metrics.json, which an evaluation writes and the comparison of stages reads."""

import json

import pytest

from fcn_repro.errors import FcnError
from fcn_repro.recipe.comparison import METRICS, read_metrics

WHOLE = {**dict.fromkeys(METRICS, 0.5), 'rule': 'paper', 'images': 3,
         'class_iu': {'background': 0.5, 'person': None}, 'confusion': [[3, 1], [2, 4]]}


def test_a_whole_one(tmp_path):
    (tmp_path / 'm').write_text(json.dumps(WHOLE))
    assert read_metrics(tmp_path / 'm') == WHOLE


@pytest.mark.parametrize('text', [
    '', '[1]', '{}', '{', 'null', '\0', json.dumps({**WHOLE, 'mean_iu': 'x'}),
    json.dumps({**WHOLE, 'confusion': [[1]]}), json.dumps({**WHOLE, 'class_iu': {}}),
    json.dumps({**WHOLE, 'class_iu': 7}), json.dumps(WHOLE)[:-40], '[' * 100_000], ids=range(12))
def test_a_damaged_one(tmp_path, text):
    (tmp_path / 'm').write_text(text)
    with pytest.raises(FcnError, match=r'm: is damaged'):
        read_metrics(tmp_path / 'm')
