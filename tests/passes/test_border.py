"""collapse_border: nothing but the time changes."""

import importlib
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
from goldens import error
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layer_evidence import reference_for
from test_nets import RUNS, weights_of
from texts import AUTO_TOPS, conv, graph, image, inputs, layer, net

from fcn_repro.errors import FcnError
from fcn_repro.layers import ExecutionOptions
from fcn_repro.net import Net
from fcn_repro.net.executor import PlannedExecutor
from fcn_repro.net.graph import build
from fcn_repro.parity import Comparison, Limits
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.golden import read_golden
from fcn_repro.parity.layers import compare_param_diffs, fed_arrays
from fcn_repro.parity.nets import compare_losses
from fcn_repro.passes import collapse_border
from fcn_repro.proto.prototxt import read_net

MODULE = importlib.import_module('fcn_repro.passes.collapse_border')


@pytest.mark.parametrize('path', RUNS)
def test_nets_equal_caffe_with_it(path):
    made = build(read_net(path.parent / 'net.prototxt'), 'TEST', auto_tops=AUTO_TOPS)
    ours = Net(replace(made, force_backward='force' in path.stem), passes=(collapse_border,))
    ours.copy_from(weights_of(path))
    golden, comparison = read_golden(path), Comparison(path.stem)
    ours.forward(**fed_arrays(golden, 'inputs'))
    ours.backward()
    compare_losses(comparison, ours, golden, Limits().losses)
    compare_param_diffs(comparison, ours, golden, Limits().gradients, complete='blobs' in golden)
    assert comparison.verdict == OK, comparison.departing
    assert repeats_of(ours)


def repeats_of(net):
    return [step.node.name for plan in net.executor.plans.values() for step in plan.steps
            if step.node.type == 'RepeatBorder']


def whole(*shape, seed=0, most=2):
    """Whole numbers from -most to most, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, shape, generator=generator).double()


class Feeding(PlannedExecutor):
    """Feeds one tensor itself, so that it gets a gradient."""

    def __init__(self, net, tensor):
        super().__init__(net)
        self.tensor = tensor

    def placed_input(self, tensor):
        return self.tensor


def outcomes(graph, size, seed, force=True):
    """[plain, collapsed], each (outputs, gradients of parameters and image), of whole numbers; and
    the nodes that repeat."""
    got = []
    for use in (), (collapse_border,):
        x = whole(2, 2, *size, seed=seed).requires_grad_(force)
        ours = Net(graph, passes=use, executor=partial(Feeding, tensor=x)).double()
        for i, blob in enumerate(ours.learnable_params):
            blob.parameter.data = whole(*blob.shape, seed=seed + i, most=1)
        tops = ours.forward(data=x)
        ours.backward(**{name: whole(*top.shape, seed=seed + 1) for name, top in tops.items()})
        grads = [blob.parameter.grad for blob in ours.learnable_params]
        got.append(([top.detach() for top in tops.values()], [*grads, x.grad]))
    return got, repeats_of(ours)


def sides(draw, name, least, most, short=None):
    """A field with one value, or with one an axis; and the two values."""
    values = [draw(st.integers(least, most)) for _ in 'hw']
    if draw(st.booleans()):
        values = [values[0]] * 2
    return f'{short or name}_h: {values[0]} {short or name}_w: {values[1]}', values


def a_convolution(draw, name, bottom, pad):
    kernel, ks = sides(draw, 'kernel_size', 1, 4, 'kernel')
    dilation = draw(st.integers(1, 2))
    stride, _ = sides(draw, 'stride', 1, min(2, *ks))
    pads, _ = sides(draw, 'pad', *pad)
    return layer('Convolution', name, bottom, name, f'convolution_param {{ num_output: 2 {kernel} '
                 f'{stride} {pads} dilation: {dilation} weight_filler {{ type: "gaussian" }} }}')


def a_pooling(draw, name, bottom):
    kernel, ks = sides(draw, 'kernel_size', 2, 3, 'kernel')
    stride, _ = sides(draw, 'stride', 1, min(ks))
    pads, _ = sides(draw, 'pad', 0, 1)
    rounding = draw(st.sampled_from(['CEIL', 'FLOOR']))
    return layer('Pooling', name, bottom, name,
                 f'pooling_param {{ {kernel} {stride} {pads} round_mode: {rounding} }}')


@st.composite
def nets(draw):
    """Convolutions with a large pad first, poolings, in-place ReLUs; at the end one blob, or two
    that read the same one."""
    text, bottom = inputs(data=(1, 2, 9, 9)), 'data'
    for i in range(draw(st.integers(2, 5))):
        name = f'x{i}'
        if i == 0 or draw(st.booleans()):
            text += a_convolution(draw, name, bottom, (0, 2) if i else (4, 40))
            if draw(st.booleans()):
                text += layer('ReLU', f'r{i}', name, name)
        else:
            text += a_pooling(draw, name, bottom)
        bottom = name
    text += a_pooling(draw, 'last', bottom)
    if draw(st.booleans()):
        text += conv('side', 'last', num_output=1) + conv('main', 'last', kernel=3, field='pad: 1')
    return text


@settings(max_examples=60)
@given(nets(), st.data())
def test_equal_to_the_bit_wherever_cells_are_put_back(text, data):
    """Random nets, sizes and, in place of the cheapest, random choices of where to put back."""
    made, drawn = graph(text), []

    def any_path(stops):
        path = []
        for i in range(len(stops)):
            more = [a - b for a, b in zip(stops[path[-1]].removable, stops[i].removable,
                                          strict=True)] if path else [1]
            if max(more) > 0 and data.draw(st.booleans()):
                path.append(i)
        drawn.extend(path)
        return 0, path
    size = [data.draw(st.integers(1, 12)) for _ in 'hw']
    try:
        Net(made).infer_shapes({0: (2, 2, *size)})
    except FcnError:                # an empty top
        assume(False)
    with mock.patch.object(MODULE, 'cheapest', any_path):
        (plain, quick), repeats = outcomes(made, size, data.draw(st.integers(0, 99)))
    assert len(repeats) == len(drawn)
    for wanted, got in zip(plain, quick, strict=True):
        for a, b in zip(wanted, got, strict=True):
            assert torch.equal(a, b)


def test_one_cell_more_is_too_many():
    """The bands are no narrower than they must be: a search that is wrong by one cell is seen."""
    text = inputs(data=(1, 2, 9, 9)) + conv('x', 'data', kernel=3, field='pad: 20') \
        + conv('y', 'x', kernel=3, field='pad: 1') \
        + layer('Pooling', 'z', 'y', 'z', 'pooling_param { kernel_size: 2 stride: 2 }')

    for more, equal in (0, True), (1, False):
        def at_the_end(stops, more=more):
            spare = tuple(cells + more for cells in stops[-1].spare)
            stops[-1] = replace(stops[-1], spare=spare)
            return 0, [len(stops) - 1]
        with mock.patch.object(MODULE, 'cheapest', at_the_end):
            (plain, quick), repeats = outcomes(graph(text), (9, 8), 3)
        assert repeats == ['z_border'] and torch.equal(plain[0][0], quick[0][0]) == equal


BACKBONE = inputs(data=(1, 3, 9, 9)) + conv('a', 'data', num_output=8, kernel=3, field='pad: 60') \
    + layer('ReLU', 'r', 'a', 'a') + conv('b', 'a', num_output=8, kernel=3, field='pad: 1') \
    + layer('Pooling', 'p', 'b', 'p', 'pooling_param { kernel_size: 2 stride: 2 }')
END = conv('c', 'p', num_output=64, kernel=3, field='pad: 1') \
    + layer('Pooling', 'q', 'c', 'q', 'pooling_param { kernel_size: 3 stride: 2 }') \
    + conv('out', 'q', kernel=5)
SMALL = BACKBONE + END
LRN = layer('LRN', 'n', 'p', 'n', 'lrn_param { local_size: 3 norm_region: %s }')


def pair(text, phase='TEST', blobs=(), size=(9, 9), **options):
    """The net without and with the pass, after a run and its backward; and what was delivered."""
    both = [net(text, phase, passes=use, seed=4) for use in ((), (collapse_border,))]
    both[1].share_with(both[0])
    tops, diffs = [], []
    for ours in both:
        ours.clear_param_diffs()
        tops.append(ours.forward(blobs=blobs, data=image(2, 3, *size), **options))
        ours.backward(**{name: image(*top.shape, seed=1) for name, top in tops[-1].items()
                         if top.requires_grad})
        diffs.append({name: blob.diff.clone() for name, blobs_ in ours.params.items()
                      for blob in blobs_ if blob.parameter.grad is not None})
    for name, top in tops[0].items():
        assert error(tops[1][name].detach(), top.detach()) <= 1e-5, name
    for name, diff in diffs[0].items():
        assert error(diffs[1][name], diff) <= 1e-5, name
    return both


@pytest.mark.parametrize('size', [(1, 1), (9, 8), (7, 14)])
@pytest.mark.parametrize('more', [
    '', LRN % 'ACROSS_CHANNELS', layer('PReLU', 'n', 'p', 'n'),
    layer('Pooling', 'n', 'p', 'n', 'pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }'),
], ids=['plain', 'LRN', 'PReLU', 'AVE'])
@reference_for('RepeatBorder')
def test_equal_in_float32(more, size):
    """Training and testing, whatever the size of the image: that may change from run to run."""
    text = BACKBONE + more + (END.replace('"p"', '"n"') if more else END)
    for phase in 'TRAIN', 'TEST':
        assert repeats_of(pair(text, phase, size=size)[1])


def test_memory_formats_and_sizes():
    plain, quick = pair(SMALL)
    for last in True, False:
        for ours in plain, quick:
            ours.place(ExecutionOptions(channels_last=last))
        for size in (9, 9), (30, 1), (2, 17):
            x = image(1, 3, *size)
            assert error(quick.forward(data=x)['out'].detach(),
                         plain.forward(data=x)['out'].detach()) <= 1e-5
