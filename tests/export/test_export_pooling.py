"""Caffe's windows in both forms: for every size from 1 to 64, kernel, stride and pad."""

import pytest
import torch
from exported import export, package, run_net, run_python, run_session, session
from texts import inputs, layer, net

from fcn_repro.errors import FcnError

# kernel, stride, pad: usual ones, a pad over half the kernel, a stride over the kernel
WINDOWS = [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 3, 1), (2, 3, 0), (1, 2, 0), (3, 1, 1), (5, 3, 2),
           (2, 2, 1), (4, 2, 3), (7, 4, 0)]
SIZES = [*range(1, 65)]


def pooling(kind, kernel, stride, pad, mode, size=64):
    return net(inputs(data=(1, 2, size, size)) + layer(
        'Pooling', 'pool', 'data', 'pool', f'pooling_param {{ pool: {kind} kernel_size: {kernel} '
        f'stride: {stride} pad: {pad} round_mode: {mode} }}'))


@pytest.mark.parametrize('mode', ['CEIL', 'FLOOR'])
@pytest.mark.parametrize('kind', ['MAX', 'AVE'])
@pytest.mark.parametrize('kernel, stride, pad', WINDOWS)
def test_all_sizes(kernel, stride, pad, kind, mode, tmp_path):
    made = pooling(kind, kernel, stride, pad, mode)
    given = session(export(made, 'onnx', tmp_path / 'net.onnx')[0]) if package('onnx') else None
    for size in SIZES:
        x = torch.randn(1, 2, size, 65 - size)
        try:
            wanted = run_net(made, {'data': x})['pool']
        except FcnError:            # smaller than the kernel
            continue
        top = run_session(given, {'data': x})['pool']
        assert top.shape == wanted.shape, size
        torch.testing.assert_close(top, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize('kind', ['MAX', 'AVE'])
@pytest.mark.parametrize('kernel, stride, pad', WINDOWS)
def test_python_at_sizes_of_all_remainders(kernel, stride, pad, kind, tmp_path):
    for size in range(7, 13):
        made = pooling(kind, kernel, stride, pad, 'CEIL', size)
        x = torch.randn(1, 2, size, size)
        wanted = run_net(made, {'data': x})['pool']
        top = run_python(made, {'data': x}, tmp_path)['pool']
        torch.testing.assert_close(top, wanted, rtol=0, atol=0, equal_nan=True)
