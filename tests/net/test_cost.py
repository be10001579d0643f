"""What a plan is said to hold: exact on small nets, a lower bound of what is measured, refused with
the number where the machine has less."""

import subprocess
import sys
from pathlib import Path

import greedy_texts
import pytest
import torch
from greedy_texts import conv, given, layer

from fcn_repro import sizes
from fcn_repro.errors import FcnError
from fcn_repro.net import Net, cost
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST, TRAIN
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.pycaffe.layerwise import LayerwiseExecutor

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(monkeypatch):
    """machine(n): this machine has n bytes from now on."""
    return lambda count: monkeypatch.setattr(sizes, 'total', lambda root=None: count)


def made(text, phase=TRAIN, **options):
    return Net.of(parse_net(text, 'cost.prototxt'), phase, **options)


def peak_of(net, learning, blobs=frozenset()):
    return cost.peak(net.executor.plan(blobs), net, net.shapes, learning)[0]


CHAIN = given(1, 1, 8, 8) + layer('Convolution', 'convolution_param { num_output: 4 kernel_size: 1 '
                                  '}', ['data'], 'a') \
    + layer('ReLU', '', ['a'], 'a') \
    + layer('Convolution', 'convolution_param { num_output: 2 kernel_size: 1 }', ['a'], 'b') \
    + layer('Convolution', 'convolution_param { num_output: 1 kernel_size: 1 }', ['b'], 'c')


def test_what_is_alive():
    """data 64, a 256 (its ReLU in place), b 128, c 64: a value is freed after its last reader, the
    inputs of learned products are not where backward follows, nor blobs that were asked for."""
    net = made(CHAIN)
    assert peak_of(net, False) == 256 + 128             # data is freed after a
    assert peak_of(net, True) == 64 + 256 + 128 + 64
    assert peak_of(net, False, frozenset(['a', 'b'])) == 256 + 128 + 64


@pytest.mark.parametrize('text, scratch', [
    (given(3, 2) + layer('Embed', 'embed_param { num_output: 5 input_dim: 7 }'), 2 * 6 + 30),
    (conv('kernel_size: 2 pad: 1', 1, 2, 3, 3, kind='Im2col'), 2 * 25 + 2 * 4 * 16),
    (given(1, 2, 4, 4) + layer('LRN', 'lrn_param { local_size: 5 }'), 6 * 16),
    (given(1, 1, 3, 3) + layer('Pooling', 'pooling_param { kernel_size: 2 pad: 1 stride: 9 }'), 0),
    (given(1, 1, 3, 3) + layer('Pooling', 'pooling_param { kernel_size: 1 stride: 8 }'), 81),
    (given(1, 1, 3, 3) + layer('Pooling', 'pooling_param { kernel_size: 3 pad: 2 }'), 49)])
def test_scratch_of_layers(text, scratch):
    net = made(text)
    node = net.graph.nodes[-1]
    assert net.layer(node).scratch([net.shapes[v] for v in node.bottoms]) == scratch
    net.forward()


def test_refused_with_the_layer_and_both_numbers(machine):
    net = made(CHAIN)
    net.forward()
    machine(sum(p.nbytes for p in net.parameters()) + 4 * (64 + 256 + 128 + 64))
    made(CHAIN).forward()                               # exactly enough
    with torch.no_grad():
        machine(1000)
        with pytest.raises(FcnError, match=r"cost\.prototxt:1: layer 'b' \(Convolution\): .* "
                                           r'1\.62 kB at once, and there are 1 kB') as caught:
            made(CHAIN).forward()
    assert not caught.value.code            # its remedy is SMALLER on a command line too


def test_shared_parameters_are_counted_once(machine):
    """Eight layers of one weight of 4 kB."""
    shared = given(1, 1, 1, 1000) + ''.join(layer(
        'InnerProduct', 'inner_product_param { num_output: 1 axis: 3 bias_term: false } '
        'param { name: "w" }', name=f'l{i}') for i in range(8))
    machine(20_000)
    net = made(shared)
    net.forward()
    assert sum(p.nbytes for p in net.parameters()) == 4000
    with pytest.raises(FcnError, match=r'parameters and inputs take 36 kB, this machine has 20 kB'):
        made(shared.replace('param { name: "w" }', ''))


def test_every_executor_and_new_shapes(machine):
    net, by_layer = made(CHAIN), made(CHAIN, executor=LayerwiseExecutor)
    machine(10000)
    net.forward()
    by_layer.forward()
    with pytest.raises(FcnError, match=r"layer 'c' .* at once, and there are 10 kB"):
        net.forward(data=torch.zeros(1, 1, 24, 24))
    net.forward(data=torch.zeros(1, 1, 8, 8))
    by_layer.reshape({0: (1, 1, 24, 24)})
    with pytest.raises(FcnError, match=r"layer 'a' .* at once, and there are 10 kB"):
        by_layer.forward()


def test_passes_are_costed_as_they_run(machine):
    """A map that is fused with its crop is never whole, so nothing of that size is claimed."""
    up = given(1, 1, 4, 4) + layer(
        'Deconvolution', 'convolution_param { num_output: 1 kernel_size: 100 stride: 50 '
        'bias_term: false weight_filler { type: "bilinear" } } param { lr_mult: 0 }') \
        + layer('Crop', 'crop_param { axis: 2 }', ('l', 'data'), 'c')
    whole, fused = made(up, TEST), made(up, TEST, passes=DEFAULT)
    machine(100000)
    fused.forward()
    with pytest.raises(FcnError, match=r'\(Deconvolution\): .* at once'):
        whole.forward()


def test_shipped_nets_are_not_refused_where_they_run():
    """FCN-32s at 500x500 takes less than its measured peak, which is under 4 GB (a slow test)."""
    text = (ROOT / 'prototxt/voc-fcn32s/deploy.prototxt').read_text()
    net = Net.of(parse_net(text, 'deploy.prototxt'), TEST, passes=DEFAULT)
    with torch.no_grad():
        assert peak_of(net, False) * 4 < 1e9


def test_limits_of_the_machine(tmp_path):
    """The least of memory and swap, the control groups' limits of both versions, and those of the
    groups above."""
    proc, group = tmp_path / 'proc/self', tmp_path / 'sys/fs/cgroup'
    proc.mkdir(parents=True)
    assert sizes.memory(tmp_path) > 2**50               # the system does not tell
    (tmp_path / 'proc/meminfo').write_text('MemTotal:   4000 kB\nSwapTotal:    96 kB\n')
    assert sizes.memory(tmp_path) == 4096 * 1024
    (proc / 'cgroup').write_text('4:memory:/job\n0::/job/part\n')
    for name, text in (('job/part/memory.max', 'max\n'), ('job/memory.max', '3000000\n'),
                       ('memory/job/memory.limit_in_bytes', '2000000\n')):
        (group / name).parent.mkdir(parents=True, exist_ok=True)
        (group / name).write_text(text)
    assert sizes.memory(tmp_path) == 2000000
    (group / 'memory/job/memory.limit_in_bytes').write_text('9223372036854771712\n')
    assert sizes.memory(tmp_path) == 3000000


def test_short_texts_that_ask_for_much():
    """In a process that may take 1 GiB beyond torch: an FcnError or a result, each in a second of
    processor time, 50 times what it takes."""
    done = subprocess.run([sys.executable, greedy_texts.__file__], capture_output=True, text=True,
                          cwd=ROOT, env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(greedy_texts.TEXTS), done.stderr[-1000:]
    assert all(len(text) < 400 for name, text in greedy_texts.TEXTS.items()
               if name not in ('inputs', 'concat'))     # several of one line
    for line in lines:
        told, _, seconds = line.rpartition(' | ')
        assert float(seconds) < 1 and (told.endswith(': runs') or 'refused: ' in told), line
