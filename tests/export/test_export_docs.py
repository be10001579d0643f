"""docs/export.md: its Python runs as it stands, one block after another."""

import re
import sys

import numpy as np
import pytest
from exported import filled
from PIL import Image
from small_runs import ROOT
from test_export_alone import SMALL

from fcn_repro import pycaffe
from fcn_repro.proto.prototxt import parse_net

PAGE = (ROOT / 'docs/export.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE, re.S)
PACKAGES = 'onnx', 'onnxruntime', 'safetensors'


def test_the_page_runs(tmp_path, monkeypatch):
    for name in PACKAGES:
        pytest.importorskip(name, reason=f'the page uses {name}, which is not installed')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'deploy.prototxt').write_text(SMALL)
    net = filled(parse_net(SMALL, 'deploy.prototxt'))
    net.save('net.caffemodel')
    pixels = np.random.default_rng(0).integers(0, 256, (45, 67, 3), dtype=np.uint8)
    Image.fromarray(pixels).save('photo.jpg', quality=95)
    names = {'caffe': pycaffe}
    scores = []
    try:
        for block in BLOCKS:
            exec(compile(block, 'document', 'exec'), names)
            scores.append(names.pop('scores', None))
    finally:
        sys.modules.pop('fcn', None)
    found = [top for top in scores if top is not None]
    assert [tuple(top.shape) for top in found] == [(1, 4, 45, 67)] * 3
    assert names['labels'].shape == (45, 67) and names['CLASSES'][1] == 'disc'
    np.testing.assert_allclose(found[0], found[1].numpy(), atol=1e-4 * np.abs(found[0]).max())
    np.testing.assert_array_equal(names['net'].params['conv'][0].data,     # of the last block
                                  net.params['conv'][0].data)
