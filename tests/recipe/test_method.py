"""What the paper varies about training: the nets and solvers that are written, and runs of them."""

from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch
from data_folders import write_split
from original_layouts import make_siftflow
from PIL import Image
from small_runs import NET, SIZE, SOLVER, assert_error, call, contents, label_path, small_stage
from texts import message

from fcn_repro.cli.remedies import REMEDIES
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_extra, write_hdf5
from fcn_repro.passes import DEFAULT
from fcn_repro.proto.prototxt import parse_net, parse_solver, read_net
from fcn_repro.recipe.method import Method, classes_of, divides_by_all
from fcn_repro.recipe.models import MODELS
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import STAGES, shipped
from fcn_repro.solver import Solver

TRAIN = 'train', 'small', '--pictures', 0, '--workers', 0
FCNS = sorted(name for name, stage in STAGES.items() if not stage.classifier)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The small stage, whose layers name their rates as the shipped nets do."""
    folder, _ = small_stage(tmp_path, monkeypatch, surgeries=('transplant', 'zero scores'))
    rates = 'param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }'
    for name in 'train', 'val':
        text = (folder / f'{name}.prototxt').read_text()
        for layer in 'conv1', 'score_fr':
            text = text.replace(f'top: "{layer}"\n', f'top: "{layer}" {rates}\n', 1)
        (folder / f'{name}.prototxt').write_text(text)
    return folder


def train_net(name):
    """The net that a stage trains; some of the release's folders call it trainval."""
    return read_net(min(shipped(name).glob('train*.prototxt')))


def rates(net):
    """{layer: [rate of each param]}; a layer of weights without a param learns at rate 1."""
    return {layer.name: [param.lr_mult for param in layer.param] or [1] for layer in net.layer
            if layer.param or layer.type in ('Convolution', 'Deconvolution', 'InnerProduct', 'BN',
                                             'PReLU')}


@pytest.mark.parametrize('name', FCNS)
def test_score_layers_alone(name):
    """In every shipped net: what learns has the names of the stage's scores, and learns as before.
    """
    before = train_net(name).message
    after = rates(Method(learn='scores').net(before, STAGES[name].score_layers))
    learned = {layer for layer, found in after.items() if any(found)}
    assert learned and all(fnmatchcase(layer, STAGES[name].score_layers) for layer in learned)
    assert all(after[layer] == rates(before)[layer] for layer in learned)


@pytest.mark.parametrize('name', ['mini-fcn8s', 'voc-fcn16s'])
def test_random_score_layers(name):
    before = train_net(name).message
    after = Method(random_scores=True).net(before, 'score*')
    fillers = {layer.name: layer.convolution_param.weight_filler for layer in after.layer
               if layer.type == 'Convolution' and layer.name.startswith('score')}
    assert {filler.type for filler in fillers.values()} == {'gaussian'}
    for layer in after.layer:
        if layer.name in fillers:
            layer.convolution_param.ClearField('weight_filler')
    assert after == before      # nothing else
    assert len(fillers) == {'mini-fcn8s': 3, 'voc-fcn16s': 2}[name]
    run = Run(name, Options(method=Method(random_scores=True)))
    assert run.surgeries == ('transplant', 'interp')


def test_the_rate_of_biases():
    before = train_net('voc-fcn32s').message
    after = rates(Method(bias_rate=1).net(before, 'score*'))
    assert after['conv1_1'] == [1, 1] and after['score_fr'] == [1, 1] and after['upscore'] == [0]
    assert 'Leave out bias_rate' in message(Method(bias_rate=1).net, parse_net(
        'layer { name: "a" type: "ReLU" }', 'a').message, 'score*')


def test_a_sampled_loss_has_as_many_pixels():
    """By the kind of its divisor: the step that an iteration makes stays."""
    solver = parse_solver(SOLVER + 'clip_gradients: 3')
    method = Method(keep_ratio=0.25, keep_cell=32)
    mean, summed = (parse_net(NET.replace('normalize: true', text), 'net')
                    for text in ('normalize: true', 'normalize: false'))
    assert (divides_by_all(mean), divides_by_all(summed)) == (False, True)
    p = method.solver(solver, mean).message
    assert (p.iter_size, p.clip_gradients, p.max_iter) == (8, 12, 6)
    assert (p.base_lr, p.weight_decay) == (solver.message.base_lr, solver.message.weight_decay)
    p = method.solver(solver, summed).message
    assert (p.iter_size, p.clip_gradients, p.max_iter) == (8, 3, 6)
    assert p.base_lr == pytest.approx(0.04) and p.weight_decay == pytest.approx(0.000125)
    assert Method().solver(solver, mean) is solver
    own = method.net(mean.message, 'score*').layer[-1].fcn_repro_param
    assert (own.keep_ratio, own.keep_cell) == (0.25, 32)


def test_losses_of_two_kinds_or_none():
    last = NET[NET.index('layer { name: "loss"'):]
    both = parse_net(NET + last.replace('"loss"', '"loss2"').replace('true', 'false'), 'net')
    assert 'Leave out keep_ratio' in message(
        Method(keep_ratio=0.5).solver, parse_solver(SOLVER), both)
    assert '2 losses' in message(Method().net, both.message, 'score*', None, [1, 2, 3])
    sampled = Method(keep_ratio=0.5).net(both.message, 'score*')
    assert [layer.fcn_repro_param.keep_ratio for layer in sampled.layer[-2:]] == [0.5, 0.5]
    none = parse_net(NET.replace(last, ''), 'net').message
    assert 'no SoftmaxWithLoss' in message(Method(keep_ratio=0.5).net, none, 'score*')
    assert 'classes under the SoftmaxWithLoss' in message(classes_of, none)
    assert "no Convolution is called 'scores'" in message(Method(learn='scores').net, none,
                                                          'scores')


@pytest.mark.parametrize('name', FCNS)
def test_the_classes_of_every_shipped_net(name):
    model = MODELS[name]
    heads = model.settings.get('heads')
    wanted = next(iter(heads.values())) if heads else model.settings.get('classes')
    assert classes_of(train_net(name).message) == (wanted or classes_of(model.net(
        data=model.train, **model.settings)))


def test_another_split_for_training():
    train, val = (read_net(shipped('voc-fcn32s') / f'{name}.prototxt') for name in ('train', 'val'))
    data = Method(train_split='train').net(train.message, 'score*', val.message.layer[0]).layer[0]
    assert data.python_param.layer == 'VOCSegDataLayer'
    assert "'split': 'train'" in data.python_param.param_str
    assert list(data.top) == list(train.message.layer[0].top)
    assert 'Python data layer' in message(
        Method(train_split='train').net, parse_net(NET, 'net').message, 'score*')


def test_relaxed_labels():
    """Beside a label of another class, either is right: the loss of the train net says so."""
    relaxed = Method(relax=3).net(parse_net(NET, 'net').message, 'score*')
    assert relaxed.layer[-1].fcn_repro_param.relax == 3
    none = parse_net(NET[:NET.index('layer { name: "loss"')], 'net').message
    assert 'Leave out relax' in message(Method(relax=3).net, none, 'score*')


@pytest.mark.parametrize('values', [
    {'learn': 'some'}, {'bias_rate': -1}, {'bias_rate': float('nan')}, {'keep_ratio': 0},
    {'keep_ratio': 0.3}, {'keep_ratio': 1.5}, {'keep_ratio': float('nan')}, {'keep_ratio': 1e-9},
    {'keep_cell': 0}, {'relax': 2}, {'relax': -1}, {'relax': 101}])
def test_values_that_make_no_sense(values):
    with pytest.raises(FcnError) as error:
        Method(**values)
    assert error.value.code == 'bad-method' and next(iter(values)) in error.value.what
    REMEDIES['bad-method'].format(**error.value.facts)


@pytest.mark.parametrize('method, suffix, words', [
    (Method(), '', ''), (Method(keep_cell=4), '', ''),
    (Method(learn='scores', random_scores=True), '-scores-alone-random-scores',
     'score layers alone learn, random score layers'),
    (Method(relax=3), '-relax3', 'labels relaxed over 3x3 pixels'),
    (Method(bias_rate=1, keep_ratio=0.5), '-bias1-keep0.5',
     'bias rate 1, 0.5 of the pixels, 2 times the images'),
    (Method(keep_ratio=0.25, keep_cell=32, train_split='a/b'), '-keep0.25-cell32-on-a-b',
     "0.25 of the cells of 32x32 pixels, 4 times the images, split 'a/b'")])
def test_the_name_of_a_run_and_its_words(method, suffix, words):
    run = Run('mini-fcn32s', Options(method=method))
    assert run.folder.name == f'mini-fcn32s{suffix}' and method.words == words
    assert run.parent is None or run.parent.options.method == Method()


def test_a_sampled_run_resumes_to_the_same_bits(small, tmp_path, capsys):
    sampled = '--keep-ratio', 0.5, '--keep-cell', 3
    done = call(capsys, *TRAIN, *sampled, '--out', 'whole')
    assert done.status == 0, done
    assert "method than the stage's own: 0.5 of the cells of 3x3 pixels, 2 times" in done.out
    assert '6 iterations of 4 x 1 images' in done.out
    assert call(capsys, *TRAIN, *sampled, '--iterations', 3).status == 0
    assert call(capsys, *TRAIN, *sampled, '--iterations', 6, '--restore').status == 0
    run = tmp_path / 'runs/small-keep0.5-cell3'
    name = 'train_iter_6.caffemodel.h5'
    assert (run / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
    assert 'keep_cell: 3' in (run / 'net/train.prototxt').read_text()
    assert (run / 'net/val.prototxt').read_text() == (small / 'val.prototxt').read_text()
    assert 'keeps' not in read_extra(run / name)['recipe']
    assert '0.5 of the cells' in read_extra(run / name)['recipe']


HEADS = {'sem': 5, 'geo': 3}
TWO_HEADS = NET[:NET.index('layer { name: "score_fr"')] + ''.join(
    NET[NET.index('layer { name: "score_fr"'):].replace('num_output: 3', f'num_output: {count}')
    .replace('"label"', f'"{head}"').replace('name: "loss"', f'name: "loss_{head}"')
    .replace('top: "loss"', f'top: "loss_{head}"').replace('"score_fr"', f'"score_fr_{head}"')
    .replace('type: "gaussian" std: 1 }', 'type: "bilinear" }')
    .replace('kernel_size: 4', f'group: {count} kernel_size: 4')
    .replace('"upscore"', f'"upscore_{head}"').replace('"score"', f'"score_{head}"')
    for head, count in HEADS.items())
SIFT_FLOW = """layer { name: "data" type: "Python" top: "data" top: "sem" top: "geo" python_param {
  module: "siftflow_layers" layer: "SIFTFlowSegDataLayer"
  param_str: "{'siftflow_dir': 'sift-flow', 'classes': 5, 'seed': 1337, 'split': '%s'}" } }
"""


@pytest.fixture
def two_heads(tmp_path, monkeypatch):
    """The small stage with two heads, as SIFT Flow's nets are, and its files."""
    folder, _ = small_stage(tmp_path, monkeypatch, surgeries=())
    make_siftflow(tmp_path, {'trainval': ['a', 'b', 'c'], 'test': ['d']}, SIZE, HEADS['sem'])
    (folder / 'val.prototxt').unlink()
    for name, split in ('train', 'trainval'), ('test', 'test'):
        (folder / f'{name}.prototxt').write_text(SIFT_FLOW % split + TWO_HEADS)
    return folder


def test_both_losses_of_two_heads_are_sampled(two_heads, tmp_path, capsys):
    """A run of them ends, resumes to the same bits, and is scored by both labels."""
    sampled = '--keep-ratio', 0.5, '--keep-cell', 3
    done = call(capsys, *TRAIN, *sampled, '--out', 'whole')
    assert done.status == 0, done
    assert '6 iterations of 4 x 1 images' in done.out
    net = read_net(tmp_path / 'whole/net/train.prototxt').message
    assert [(layer.name, layer.fcn_repro_param.keep_ratio, layer.fcn_repro_param.keep_cell)
            for layer in net.layer if layer.type == 'SoftmaxWithLoss'] == [
        ('loss_sem', 0.5, 3), ('loss_geo', 0.5, 3)]
    assert {path.name for path in (tmp_path / 'whole/eval').iterdir()} >= {
        'metrics.json', 'score_geo'}
    assert call(capsys, *TRAIN, *sampled, '--iterations', 3).status == 0
    assert call(capsys, *TRAIN, *sampled, '--iterations', 6, '--restore').status == 0
    name = 'train_iter_6.caffemodel.h5'
    assert (tmp_path / 'runs/small-keep0.5-cell3' / name).read_bytes() == (
        tmp_path / 'whole' / name).read_bytes()


def test_sampled_losses_of_two_heads_are_the_same_when_fused(two_heads, tmp_path):
    Method(keep_ratio=0.5, keep_cell=3).write(two_heads, 'score*', {})
    plain, fused = (Solver(two_heads / 'solver.prototxt', prefix=tmp_path / 's', seed=3,
                           passes=passes) for passes in ((), DEFAULT))
    for _ in range(3):
        plain.step(1)
        fused.step(1)
        assert fused.loss == pytest.approx(plain.loss, rel=1e-5)
    kinds = [step.node.type for plan in fused.net.executor.plans.values() for step in plan.steps]
    assert kinds.count('UpCropLoss') == 2
    for name, blobs in plain.net.params.items():
        for ours, other in zip(fused.net.params[name], blobs, strict=True):
            torch.testing.assert_close(ours.data, other.data, rtol=1e-4, atol=1e-6)


def test_class_weights_are_for_one_label(two_heads, capsys):
    for weights in 'balanced', '1,2,3':
        done = call(capsys, *TRAIN, '--class-weights', weights)
        assert_error(done, 'train.prototxt', 'the train net has 2 losses',
                     'Leave out --class-weights')


def test_what_does_not_learn_stays_as_it_was(small, tmp_path, capsys):
    whole, scores = (tmp_path / name for name in ('whole', 'scores'))
    assert call(capsys, *TRAIN, '--out', whole, '--iterations', 1).status == 0
    weights = whole / 'train_iter_1.caffemodel.h5'
    done = call(capsys, *TRAIN, '--out', scores, '--learn', 'scores', '--bias-rate', 1,
                '--weights', weights)
    assert done.status == 0, done
    net = Run('small', Options()).val_net()
    net.copy_from(weights)
    first = {name: [blob.data.clone() for blob in blobs] for name, blobs in net.params.items()}
    net.copy_from(scores / 'train_iter_6.caffemodel.h5')
    same = {name for name, blobs in net.params.items()
            if all(map(torch.equal, first[name], (blob.data for blob in blobs)))}
    assert same == {'conv1', 'upscore'}


def test_random_scores_are_not_made_zero(small, tmp_path, capsys):
    """Where the weights to start from lack them."""
    source = tmp_path / 'body.h5'
    write_hdf5(source, {'conv1': [np.full((4, 3, 3, 3), 1e-5), np.zeros(4)]})
    for more, zero in ((), True), (('--random-scores',), False):
        done = call(capsys, *TRAIN, '--weights', source, '--out', f'random-{not zero}',
                    '--iterations', 1, '--learn', 'scores', *more)
        assert done.status == 0, done
    seen = {}
    for random in True, False:
        net = Run('small', Options()).val_net()
        net.copy_from(tmp_path / f'random-{random}/train_iter_1.caffemodel.h5')
        seen[random] = net.params['score_fr'][0].data.std()
    assert seen[True] > 0.004 > 0.001 > seen[False]


def test_class_weights_of_a_net_that_is_no_own_net(small, tmp_path, capsys):
    done = call(capsys, *TRAIN, '--class-weights', 'balanced')
    assert done.status == 0, done
    net = read_net(tmp_path / 'runs/small-weighted/net/train.prototxt').message
    weights = net.layer[-1].fcn_repro_param.class_weight[:]
    pixels, around = np.zeros(256), np.zeros(256)
    for i in range(2, 5):
        label = np.asarray(Image.open(label_path(tmp_path / 'voc', f'im{i}')))
        found = np.bincount(label.reshape(-1), minlength=256)
        pixels += found
        around[found > 0] += label.size
    frequency = pixels[:3] / around[:3]
    share = np.sqrt(pixels[:3] / pixels[:3].sum())
    np.testing.assert_allclose(weights, 1 / share / share.sum(), rtol=1e-3)
    done = call(capsys, *TRAIN, '--class-weights', 'median', '--out', 'median')
    assert done.status == 0, done
    own = read_net(tmp_path / 'median/net/train.prototxt').message.layer[-1].fcn_repro_param
    np.testing.assert_allclose(own.class_weight, np.median(frequency) / frequency, rtol=1e-3)
    done = call(capsys, *TRAIN, '--class-weights', '1,2,3', '--out', 'numbers')
    assert done.status == 0, done
    own = read_net(tmp_path / 'numbers/net/train.prototxt').message.layer[-1].fcn_repro_param
    assert own.class_weight[:] == [1, 2, 3]
    assert_error(call(capsys, *TRAIN, '--class-weights', '1,2', '--out', 'two'),
                 '2 class_weight for 3 classes')


def test_a_split_of_ones_own(small, tmp_path, capsys):
    write_split(tmp_path / 'voc', 'train-few', ['im3'])
    done = call(capsys, *TRAIN, '--train-split', 'train-few')
    assert done.status == 0, done
    text = read_net(tmp_path / 'runs/small-on-train-few/net/train.prototxt').message
    assert "'split': 'train-few'" in text.layer[0].python_param.param_str
    assert "'seed': 1337" in text.layer[0].python_param.param_str
    assert_error(call(capsys, *TRAIN, '--train-split', 'nothing'), 'nothing.txt')
    assert_error(call(capsys, *TRAIN, '--train-split', '../../x'), 'split')


def test_another_method_in_a_run_folder_is_refused(small, tmp_path, capsys):
    assert call(capsys, *TRAIN, '--out', 'here', '--bias-rate', 1).status == 0
    before = contents(tmp_path / 'here')
    assert_error(call(capsys, *TRAIN, '--out', 'here'), 'another recipe', 'bias rate 1')
    assert_error(call(capsys, *TRAIN, '--out', 'here', '--bias-rate', 3), 'another recipe')
    assert contents(tmp_path / 'here') == before


def test_the_remedies(small, tmp_path, capsys):
    for words, wanted in ((('--keep-ratio', 0.3), 'Give --keep-ratio one over'),
                          (('--bias-rate', -1), 'Give --bias-rate a finite number'),
                          (('--keep-cell', 0), 'Give --keep-cell a number of pixels')):
        assert_error(call(capsys, *TRAIN, *words), wanted)
    own = tmp_path / 'own_solver.prototxt'
    own.write_text((small / 'solver.prototxt').read_text())
    wrong = (*TRAIN, '--solver', own, '--learn', 'scores')
    assert_error(call(capsys, *wrong), "takes no 'method' with a solver of one's own",
                 'Leave out --class-weights, --learn')
    for word in '--bias-rate', '--learn':
        text = (small / 'train.prototxt').read_text()
        (small / 'train.prototxt').write_text(text.replace('score_fr', 'fr').replace(
            'lr_mult: 2', 'lr_mult: 1'))
        assert_error(call(capsys, *TRAIN, word, {'--learn': 'scores'}.get(word, 1)),
                     'train.prototxt', f'Leave out {word}.')
        (small / 'train.prototxt').write_text(text)
    assert_error(call(capsys, 'train', 'mini-classifier', '--learn', 'scores'),
                 "takes no 'method' with a classifier")
    assert_error(call(capsys, 'train', 'own', '--class-weights', 'balanced'), 'Give --voc DIR')
