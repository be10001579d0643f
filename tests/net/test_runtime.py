"""runtime.place: what a precision changes and what it leaves, bad input, training in bf16."""

import logging
import subprocess
import sys
from dataclasses import replace
from typing import ClassVar

import pytest
import texts
import torch
from small_runs import ROOT, assert_error, call, run, small_stage, solver_maker, write_stage
from tiny_nets import INPUT, bad, noise, own, save

from fcn_repro.errors import FcnError
from fcn_repro.layers import ExecutionOptions
from fcn_repro.layers.prelu import PReLU
from fcn_repro.net import Net, placement
from fcn_repro.net.placement import PRECISIONS, check_precision, place
from fcn_repro.passes import DEFAULT
from fcn_repro.pycaffe.layerwise import LayerwiseExecutor

TOLERANCE = 0.02        # of the largest value: a few roundings to 8 bits
BODY = '''layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param {
  num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "n1" type: "LRN" bottom: "c1" top: "n1" }
layer { name: "p1" type: "Pooling" bottom: "n1" top: "p1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "c2" type: "Convolution" bottom: "p1" top: "c2" convolution_param {
  num_output: 32 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c2" top: "bn" batch_norm_param { %s } }
layer { name: "sum" type: "Eltwise" bottom: "c2" bottom: "bn" top: "sum" }
layer { name: "p2" type: "Pooling" bottom: "sum" top: "p2" top: "mask"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "quiet" type: "Silence" bottom: "mask" }
layer { name: "fc" type: "Convolution" bottom: "p2" top: "fc" convolution_param {
  num_output: 64 kernel_size: 5 pad: 2 weight_filler { type: "msra" } } }
layer { name: "rfc" type: "ReLU" bottom: "fc" top: "fc" }
layer { name: "score" type: "Convolution" bottom: "fc" top: "score" convolution_param {
  num_output: 5 kernel_size: 1 weight_filler { type: "msra" } bias_filler { type: "constant"
  value: 0.1 } } }
'''
DEPLOY = INPUT % (24, 20) + BODY % 'use_global_stats: false'
LOSS = '''layer { name: "l" type: "DummyData" top: "label" dummy_data_param {
  shape { dim: 1 dim: 1 dim: 6 dim: 5 } data_filler { type: "constant" value: 2 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "score" bottom: "label" top: "accuracy" }
'''


def made(text=DEPLOY, phase='TEST', **options):
    return place(texts.net(text, phase, passes=DEFAULT), **options)


def image(seed=0, size=(24, 20)):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def away(a, b):
    return float((a - b).detach().abs().max() / b.detach().abs().max())


def norm_away(a, b):
    return float((a - b).norm() / b.norm())


def step_types(net):
    return {step.node.name: step.dtype for step in net.executor.plan(frozenset()).steps}


def test_fp32_is_the_net_as_it_was():
    plain = texts.net(DEPLOY, passes=DEFAULT)
    assert set(step_types(made()).values()) == {None}
    assert torch.equal(made(channels_last=False)(data=image())['score'],
                       plain(data=image())['score'])


class Observer(PReLU):
    """A layer that notes torch's TF32 switches when it runs, forward and backward."""
    seen: ClassVar[list] = []

    def forward(self, bottoms, params):
        def note(*_):
            self.seen.append(tf32_switches())
        note()
        top, = super().forward(bottoms, params)
        if top.requires_grad:
            top.register_hook(note)
        return [top]


class ObservedNet(Net):
    own_types: ClassVar[dict] = {'PReLU': Observer}


class LayerwiseObservedNet(ObservedNet):
    executor_type = LayerwiseExecutor


def tf32_switches():
    return [b.allow_tf32 for b in (torch.backends.cuda.matmul, torch.backends.cudnn)]


@pytest.fixture(params=[[False, True], [True, True], [False, False]], ids=str)
def process_switches(request):
    """torch's switches as a user's own code may have set them."""
    backends, before = (torch.backends.cuda.matmul, torch.backends.cudnn), tf32_switches()
    for backend, allowed in zip(backends, request.param, strict=True):
        backend.allow_tf32 = allowed
    yield request.param
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize('net_class', [ObservedNet, LayerwiseObservedNet])
def test_each_net_has_its_own_tf32(process_switches, net_class):
    """In its passes forward and backward alone, taking turns; between them torch is as it was."""
    text = texts.inputs(data=(1, 2, 3, 3)) + texts.layer('PReLU', 'p', 'data', 'p') \
        + texts.layer('Reduction', 'loss', 'p', 'loss', 'loss_weight: 1')
    nets = {name: net_class(texts.graph(text, 'TRAIN')).place(ExecutionOptions(precision=name))
            for name in ('fp32', 'tf32')}
    assert tf32_switches() == process_switches
    for name in 'fp32', 'tf32', 'fp32':
        Observer.seen.clear()
        nets[name].forward()
        assert tf32_switches() == process_switches
        nets[name].backward()
        assert tf32_switches() == process_switches
        assert len(Observer.seen) >= 2 and all(
            seen == [name == 'tf32'] * 2 for seen in Observer.seen)


def test_tf32_is_as_it_was_after_an_error(process_switches):
    net = texts.net(DEPLOY)
    with pytest.raises(FcnError):
        net(data=torch.zeros(1, 4, 24, 20))
    assert tf32_switches() == process_switches


def test_a_process_that_set_the_newer_switches():
    """torch refuses to read the older ones then."""
    script = '''
import torch
from fcn_repro.net.precision import NEWER, tf32
for backend, name in NEWER:
    setattr(backend, name, 'tf32')
for allowed, wanted in (False, 'ieee'), (True, 'tf32'):
    with tf32(allowed):
        assert {getattr(*switch) for switch in NEWER} == {wanted}
    assert {getattr(*switch) for switch in NEWER} == {'tf32'}
'''
    subprocess.run([sys.executable, '-c', script], check=True, env={'PYTHONPATH': str(ROOT)})


def test_which_layers_are_narrow():
    """Products up to the last one; what only selects goes with them, all else is float32."""
    types = step_types(made(precision='bf16'))
    assert {name for name, t in types.items() if t == torch.bfloat16} == {'c1', 'c2', 'fc'}
    assert {name for name, t in types.items() if t is None} == {
        'r1', 'p1', 'rfc', 'quiet', 'c2_c2_0_split'}
    assert {name for name, t in types.items() if t == torch.float32} == {
        'n1', 'bn', 'sum', 'p2', 'score'}


@pytest.mark.parametrize('autograd', [False, True])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_values_are_close_and_float32(dtype, autograd):
    wide, narrow = made(), made()
    name = next(name for name, each in PRECISIONS.items() if each == dtype)
    narrow.place(replace(narrow.options, precision=name))   # fp16 on the CPU is slow, and refused
    with torch.set_grad_enabled(autograd):
        a, b = wide(blobs='all', data=image()), narrow(blobs='all', data=image())
    assert 0 < away(b['score'], a['score']) < TOLERANCE
    for name, value in b.items():
        assert value.dtype == torch.float32 and narrow.blobs[name].data.dtype == torch.float32
        if name != 'mask':
            assert away(value, a[name]) < TOLERANCE, name


def test_asking_for_a_blob_changes_no_value():
    net = made(precision='bf16')
    expected = net(data=image())['score']
    assert torch.equal(net(blobs='all', data=image())['score'], expected)
    c2 = net(blobs=['c2'], data=image())['c2']
    assert torch.equal(net(stop_after='c2', data=image())['c2'], c2)


def test_gradients_are_float32_and_close():
    """Without a ReLU or a maximum, which may fall the other way and move single values far."""
    smooth = (DEPLOY + LOSS).replace('pool: MAX', 'pool: AVE').replace(' top: "mask"', '').replace(
        'type: "ReLU"', 'type: "ReLU" relu_param { negative_slope: 1 }').replace(
        'layer { name: "quiet" type: "Silence" bottom: "mask" }', '')
    wide, narrow = (made(smooth, 'TRAIN', precision=name) for name in ('fp32', 'bf16'))
    for net in wide, narrow:
        out = net(blobs=['fc', 'c2'], data=image())
        net.backward()
        assert out['loss'].dtype == out['accuracy'].dtype == torch.float32
    a, b = wide.total_loss.item(), narrow.total_loss.item()
    assert abs(a - b) < TOLERANCE * a
    for a, b in zip(wide.learnable_params, narrow.learnable_params, strict=True):
        assert b.parameter.dtype == b.diff.dtype == torch.float32
        if a.lr_mult and a.diff.abs().max() > 1e-4:
            assert norm_away(b.diff, a.diff) < TOLERANCE, a.name
    for name in 'fc', 'c2':
        assert narrow.blobs[name].diff.dtype == torch.float32
        assert norm_away(narrow.blobs[name].diff, wide.blobs[name].diff) < TOLERANCE


def test_backward_from_a_narrow_blob():
    net = made(precision='bf16')
    net(blobs=['c2'], data=image())
    net.backward(c2=torch.ones_like(net.blobs['c2'].data))
    assert net.params['c2'][1].diff.tolist() == [120.0] * 32     # 12x10 places each


def test_a_cast_follows_its_weight():
    net = made(precision='bf16', winograd=False, gemm=False)
    blob = net.params['c2'][0]
    with torch.no_grad():
        first = net(data=image())['score']
        kept = blob.cast(torch.bfloat16)
        assert kept is blob.cast(torch.bfloat16) and kept.dtype == torch.bfloat16
        blob.data.mul_(2)
        assert torch.equal(blob.cast(torch.bfloat16), blob.data.bfloat16())
        second = net(data=image())['score']
    assert not torch.equal(first, second)
    assert torch.equal(second, net(data=image())['score'].detach())     # cast anew by autograd


def test_solver_trains_in_bf16(tmp_path, monkeypatch):
    make = solver_maker(tmp_path, monkeypatch)
    wide, narrow = (run(make(prefix=name, precision=name), 1) for name in ('fp32', 'bf16'))
    assert {step.dtype for step in narrow.net.executor.plan(frozenset()).steps} >= {torch.bfloat16}
    for a, b in zip(wide.net.learnable_params, narrow.net.learnable_params, strict=True):
        assert b.parameter.dtype == torch.float32 and norm_away(b.data, a.data) < TOLERANCE
    for a, b in zip(wide.history, narrow.history, strict=True):
        assert not a.any() or 0 < norm_away(b, a) < TOLERANCE


@pytest.mark.parametrize('name', ['fp64', 'BF16', 'bf-16', ''])
def test_unknown_precision(name):
    with pytest.raises(FcnError) as error:
        made(precision=name)
    assert f"'{name}'" in str(error.value) and all(p in str(error.value) for p in PRECISIONS)


@pytest.mark.parametrize('name', ['tf32', 'fp16'])
def test_what_the_cpu_cannot_do(name):
    with pytest.raises(FcnError, match='is for GPUs'):
        made(precision=name)
    check_precision(name, torch.device('cuda'))


def test_fp16_does_not_train():
    with pytest.raises(FcnError, match='fp16 does not train'):
        check_precision('fp16', torch.device('cuda'), train=True)


def test_caffes_own_arithmetic_is_float32():
    net = texts.net(DEPLOY, blas=True)
    with pytest.raises(FcnError, match='blas=True'):
        place(net, precision='bf16')


@pytest.mark.parametrize(('supported', 'name', 'said'), [
    (False, 'AMD EPYC', 'without AVX512-BF16 is slower'), (True, 'AMD EPYC', ''),
    (True, 'Intel(R) Xeon(R)', 'on the Xeon')])
def test_slow_bf16_is_said(supported, name, said, monkeypatch, caplog):
    monkeypatch.setattr(placement, 'has_avx512_bf16', lambda: supported)
    monkeypatch.setattr(placement, 'processor_name', lambda: name)
    with caplog.at_level(logging.WARNING):
        made()
        assert not caplog.messages
        made(precision='bf16')
    assert said in caplog.text and bool(said) == bool(caplog.messages)


def test_infer_in_bf16(tmp_path, capsys):
    photo = save(tmp_path / 'a.png', noise(24, 20))
    settings = own(tmp_path, DEPLOY.replace('pad: 1 ', 'pad: 1 stride: 1 ').replace(
        'stride: 2', 'stride: 1').replace('kernel_size: 2', 'kernel_size: 1'))
    done = call(capsys, 'infer', photo, *settings, '--precision', 'bf16', '--out', tmp_path / 'out')
    assert done.status == 0 and (tmp_path / 'out/a.png').exists(), done
    for path in (tmp_path / 'out').iterdir():
        path.unlink()
    (tmp_path / 'out').rmdir()
    bad(capsys, tmp_path, photo, '--precision', 'bf61', parts=("'bf61'", 'bf16', 'fp32, tf32'))
    bad(capsys, tmp_path, photo, '--device', 'cpu', '--precision', 'tf32', parts=('tf32',))


def test_train_and_eval_in_bf16(tmp_path, monkeypatch, capsys):
    folder, voc = small_stage(tmp_path, monkeypatch)
    write_stage(folder, voc)
    bf16 = ['--precision', 'bf16', '--device', 'cpu']
    done = call(capsys, 'train', 'small', '--precision', 'half')
    assert_error(done, "'half'", 'fp32, tf32, bf16, fp16')
    assert not (tmp_path / 'runs/small').exists()
    assert_error(call(capsys, 'train', 'small', '--device', 'cpu', '--precision', 'fp16'), 'GPUs')
    done = call(capsys, 'train', 'small', *bf16)
    assert done.status == 0, done
    done = call(capsys, 'eval_voc', '--stage', 'small', *bf16)
    assert done.status == 0 and 'mean IU' in done.out, done
    assert_error(call(capsys, 'eval_voc', '--stage', 'small', '--precision', 'half'), "'half'")
