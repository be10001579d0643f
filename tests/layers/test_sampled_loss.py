"""Class weights and a sampled loss: SoftmaxWithLoss with fcn_repro_param, fused and plain."""

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layer_case import distinct, make_layer
from texts import assert_facts, conv, diffs, image, inputs, layer, message
from texts import net as build_net

from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST, TRAIN, LayerParameter
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.solver import Solver

WEIGHTS = [0.5, 2, 0, 1.25]


def make(phase=TRAIN, mode='VALID', **own):
    return make_layer('SoftmaxWithLoss', 2, 1, {
        'loss_param': {'ignore_label': 255, 'normalization': mode}, 'fcn_repro_param': own}, phase)


def labelled(*size):
    """Scores (2, 4, *size) with a gradient to come, and labels, some of them void."""
    x = distinct((2, 4, *size)).mul_(5).requires_grad_()
    labels = torch.arange(x.numel() // 4).reshape(2, 1, *size) * 7 % 4
    labels[0, 0, 0] = 255
    return x, labels


@pytest.mark.parametrize('mode', ['FULL', 'VALID', 'BATCH_SIZE', 'NONE'])
def test_class_weights_scale_the_terms_of_their_class_and_not_the_divisor(mode):
    x, labels = labelled(3, 5)
    loss, = make(mode=mode, class_weight=WEIGHTS).forward([x, labels.double()], [])
    wanted = F.cross_entropy(x, labels[:, 0], torch.tensor(WEIGHTS).double(), ignore_index=255,
                             reduction='sum')
    count = {'FULL': 30, 'VALID': 25, 'BATCH_SIZE': 2, 'NONE': 1}[mode]
    torch.testing.assert_close(loss, wanted / count, rtol=1e-13, atol=0)
    ours, = torch.autograd.grad(loss, x)
    torch.testing.assert_close(ours, torch.autograd.grad(wanted / count, x)[0], rtol=1e-12,
                               atol=1e-15)


def test_equal_weights_are_a_factor():
    x, labels = labelled(3, 5)
    plain, twice = (make(**own).forward([x, labels], [])[0]
                    for own in ({}, {'class_weight': [2] * 4}))
    assert twice == 2 * plain


@pytest.mark.parametrize('cell', [1, 3])
def test_a_position_that_is_left_out_counts_as_a_void_one(cell):
    x, labels = labelled(7, 8)
    sampled = make(keep_ratio=0.5, keep_cell=cell)
    kept = sampled.kept((2, 7, 8), 1, x.device)
    loss, = sampled.forward([x, labels], [])
    void, = make().forward([x, labels.masked_fill(~kept.unsqueeze(1), 255)], [])
    assert 0 < kept.sum() < kept.numel() and loss == void
    assert torch.equal(*(torch.autograd.grad(each, x)[0] for each in (loss, void)))


def test_cells_are_kept_as_a_whole():
    kept = make(keep_ratio=0.5, keep_cell=3).kept((4, 7, 9), 1, 'cpu')
    blocks = [kept[:, i:i + 3, j:j + 3].flatten(1) for i in range(0, 7, 3) for j in range(0, 9, 3)]
    assert all((block == block[:, :1]).all() for block in blocks)
    assert len({block[n, 0].item() for block in blocks for n in range(4)}) == 2
    whole = make(keep_ratio=0.5, keep_cell=2 ** 32 - 1).kept((20, 7, 9), 1, 'cpu').flatten(1)
    assert (whole == whole[:, :1]).all() and whole.any() and not whole.all()


def test_the_share_that_is_kept():
    for ratio in 0.25, 0.5, 0.9:
        kept = make(keep_ratio=ratio).kept((1, 200, 200), 1, 'cpu')
        assert abs(kept.double().mean() - ratio) < 6 * (ratio * (1 - ratio) / 40000) ** 0.5


def test_what_is_kept_is_a_function_of_seed_layer_and_position():
    def kept(seed=0, position=0, name='it', phase=TRAIN, **own):
        found = make(phase, **own or {'keep_ratio': 0.5})
        found.state.seed, found.state.position = seed, position
        object.__setattr__(found.node, 'name', name)
        return found.kept((1, 30, 30), 1, 'cpu')
    assert torch.equal(kept(), kept())
    assert kept(phase=TEST) is None and kept(keep_ratio=1, keep_cell=4) is None
    for other in kept(seed=1), kept(position=1), kept(name='at'):
        assert not torch.equal(kept(), other)


@pytest.mark.parametrize('type, own, facts', [
    ('SoftmaxWithLoss', 'class_weight: 1', ('1 class_weight', '3 classes')),
    ('SoftmaxWithLoss', 'class_weight: -1', ('class_weight', '-1')),
    ('SoftmaxWithLoss', 'class_weight: nan', ('class_weight', 'nan')),
    ('SoftmaxWithLoss', 'class_weight: inf', ('class_weight', 'inf')),
    ('SoftmaxWithLoss', 'keep_ratio: 0', ('keep_ratio 0',)),
    ('SoftmaxWithLoss', 'keep_ratio: 1.5', ('keep_ratio 1.5',)),
    ('SoftmaxWithLoss', 'keep_ratio: nan', ('keep_ratio nan',)),
    ('SoftmaxWithLoss', 'keep_cell: 0', ('keep_cell is 0',)),
    ('HingeLoss', 'keep_ratio: 0.5', ('fcn_repro_param', 'Remove it')),
    ('HingeLoss', '', ('fcn_repro_param', 'Remove it')),
])
def test_what_is_refused(type, own, facts):
    text = inputs(x=(2, 3), n=(2,)) + layer(type, 'it', 'x n', 'y', f'fcn_repro_param {{ {own} }}')
    assert_facts(message(build_net, text), f"net.prototxt:3: layer 'it' ({type})", *facts)


def test_a_wrong_label_is_found_where_it_takes_part():
    """The same in the fused op: a label that takes no part is not looked at."""
    x, labels = labelled(3, 5)
    sampled = make(keep_ratio=0.5)
    kept = sampled.kept((2, 3, 5), 1, x.device)
    sampled.forward([x, labels.masked_fill(~kept.unsqueeze(1), 77)], [])
    assert '77' in message(sampled.forward, [x, labels.masked_fill(kept.unsqueeze(1), 77)], [])


def test_the_fields_are_written_and_read():
    param = parse_net('layer { fcn_repro_param { class_weight: 1 class_weight: 2 keep_ratio: 0.5 '
                      'keep_cell: 32 } }', 'a.prototxt').message.layer[0]
    own = LayerParameter.FromString(param.SerializeToString()).fcn_repro_param
    assert (own.class_weight[:], own.keep_ratio, own.keep_cell) == ([1, 2], 0.5, 32)
    assert LayerParameter().fcn_repro_param.keep_ratio == 1


# Training

UP = ('param { lr_mult: 0 } convolution_param { num_output: 4 group: 4 kernel_size: 4 stride: 2 '
      'bias_term: false weight_filler { type: "bilinear" } }')
NET = (layer('HDF5Data', 'data', '', 'x y', 'hdf5_data_param { source: "data.txt" batch_size: 2 }')
       + conv('c', 'x', num_output=4) + layer('Deconvolution', 'up', 'c', 'up', UP)
       + layer('Crop', 'score', 'up y', 'score', 'crop_param { axis: 2 offset: 1 }')
       + layer('SoftmaxWithLoss', 'loss', 'score y', 'loss', 'fcn_repro_param { keep_ratio: 0.5 '
               'keep_cell: 2 class_weight: [0.5, 2, 1, 1] }'))


@pytest.fixture
def folder(tmp_path):
    with h5py.File(tmp_path / 'data.h5', 'w') as file:
        file['x'] = image(8, 3, 6, 7).numpy()
        file['y'] = np.arange(8 * 12 * 14, dtype=np.float32).reshape(8, 1, 12, 14) * 7 % 4
    (tmp_path / 'data.txt').write_text('data.h5\n')
    (tmp_path / 'net.prototxt').write_text(NET)
    return tmp_path


def solver(folder, iter_size=1, passes=DEFAULT):
    (folder / 'solver.prototxt').write_text(
        'net: "net.prototxt" base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" max_iter: 6 '
        f'iter_size: {iter_size} snapshot_format: HDF5')
    return Solver(folder / 'solver.prototxt', prefix=folder / 's', seed=3, passes=passes)


def fused(net):
    return sum(step.node.type == 'UpCropLoss'
               for plan in net.executor.plans.values() for step in plan.steps)


def test_a_restored_run_keeps_the_positions_of_an_uninterrupted_one(folder):
    whole, first, second = (solver(folder, 2) for _ in range(3))
    whole.step(4)
    first.step(2)
    second.restore(first.snapshot()[1])
    second.step(2)
    assert fused(whole.net) == 1 and whole.loss == second.loss
    for ours, other in zip(second.net.params['c'], whole.net.params['c'], strict=True):
        assert torch.equal(ours.data, other.data)


@pytest.mark.parametrize('void', ['', 'loss_param { ignore_label: 255 } '])
def test_the_fused_loss_keeps_the_same_positions(folder, void):
    text = folder / 'net.prototxt'
    text.write_text(text.read_text().replace('fcn_repro_param', f'{void}fcn_repro_param'))
    plain, quick = solver(folder, 2, ()), solver(folder, 2)
    for _ in range(3):
        plain.step(1)
        quick.step(1)
        assert quick.loss == pytest.approx(plain.loss, rel=1e-5)
    assert (fused(plain.net), fused(quick.net)) == (0, 1)
    for ours, other in zip(quick.net.params['c'], plain.net.params['c'], strict=True):
        torch.testing.assert_close(ours.data, other.data)


def test_every_pass_of_an_iteration_has_its_own_sample(folder):
    """Accumulation: the gradient is the mean of those of the passes one by one."""
    made, single = solver(folder, 3), solver(folder)
    passes = []
    for position in range(3):
        single.net.seek(position)
        single.net.clear_param_diffs()
        single.net.forward()
        single.net.backward()
        passes.append(diffs(single.net))
    made.step(1)
    for name, diff in diffs(made.net).items():
        torch.testing.assert_close(diff, sum(each[name] for each in passes) / 3)
    single.net.seek(4)                              # the data of position 0 again
    single.net.clear_param_diffs()
    single.net.forward()
    single.net.backward()
    assert any(not torch.equal(passes[0][name], diff) for name, diff in diffs(single.net).items())
