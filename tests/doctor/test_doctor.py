"""The doctor: each finding fires on a run that is broken so, and none on healthy runs."""

import ast
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from doctor_runs import (
    LOSS,
    RATE,
    arrays,
    by_colour,
    classifier,
    codes,
    edit,
    filled,
    save,
    shapes,
    stage,
    tiny,
    trained,
    with_recipe,
)
from small_runs import NET, assert_error, call, contents, small_stage

from fcn_repro import doctor
from fcn_repro.cli.main import main
from fcn_repro.doctor.alignment import crop_offsets
from fcn_repro.doctor.subject import text_of
from fcn_repro.doctor.trial import Trial, loss_level
from fcn_repro.formats.weights import read_weights
from fcn_repro.net import Net
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net, parse_solver
from fcn_repro.recipe import training
from fcn_repro.recipe.models import dfanet
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import PROTOTXT, STAGES

SCALE = 'power_param { scale: 0.01 }'
UP = 'group: 3 kernel_size: 4 stride: 2 bias_term: false'
BILINEAR = 'weight_filler { type: "bilinear" }'
RAISES = {}                     # {code: how it is broken}, filled below


@pytest.fixture(scope='module')
def voc(tmp_path_factory):
    return shapes(tmp_path_factory.mktemp('data') / 'voc')


@pytest.fixture(scope='module')
def staged(tmp_path_factory, voc):
    """{stride: a stage's folder} and {'vgg': a classifier's weights, stride: a stage's}."""
    top = tmp_path_factory.mktemp('stages')
    folders = {stride: stage(top / f's{stride}', voc, stride) for stride in (32, 16, 8)}
    weights = {'vgg': classifier(folders[32])}
    for stride, before in ((32, 'vgg'), (16, 32), (8, 16)):
        weights[stride] = trained(folders[stride], weights[before], 2)
    return folders, weights


# ---- broken runs ---------------------------------------------------------------------------------

def broken(code, *changes, labels=None, iterations=0, **more):
    """Register a break of the tiny net's texts: (old, new), ...; labels: of shapes()."""
    RAISES[code if code not in RAISES else f'{code}#{len(RAISES)}'] = changes, labels, iterations, \
        more


broken('upsampling-zero', (f'{UP}\n    {BILINEAR}', 'kernel_size: 4 stride: 2 bias_term: false'))
broken('upsampling-mixes', (UP, 'kernel_size: 4 stride: 2 bias_term: false'))
broken('upsampling-not-bilinear', (BILINEAR, 'weight_filler { type: "gaussian" std: 1 }'))
broken('upsampling-factor', ('kernel_size: 4 stride: 2', 'kernel_size: 6 stride: 2'))
broken('crop-offset', ('offset: 8', 'offset: 0'))
broken('crop-offset', ('pad: 8', 'pad: 9'))
broken('rate-large', ('normalize: true', 'normalize: false'), ('base_lr: 0.01', 'base_lr: 0.1'))
broken('rate-small', ('base_lr: 0.01', 'base_lr: 1e-10'), ('momentum: 0.9', 'momentum: 0.99'))
broken('rate-small', ('normalize: true', 'normalize: false'), ('base_lr: 0.01', 'base_lr: 1e-12'))
broken('rate-of-rule', ('momentum: 0.9', 'momentum: 0.9 type: "Adam"'),
       ('base_lr: 0.01', 'base_lr: 1e-10'))
broken('rate-fades', ('lr_policy: "fixed"', 'lr_policy: "step" gamma: 0.1 stepsize: 20'))
broken('nothing-learns', ('base_lr: 0.01', 'base_lr: 0'))
broken('score-fixed', ('type: "Convolution" bottom: "fc6"', 'param { lr_mult: 0 } '
                       'param { lr_mult: 0 } type: "Convolution" bottom: "fc6"'))
broken('two-softmax', (LOSS, 'layer { name: "p" type: "Softmax" bottom: "score" top: "p" }\n'
                       + LOSS.replace('bottom: "score"', 'bottom: "p"')))
broken('relu-on-scores', (LOSS, 'layer { name: "r" type: "ReLU" bottom: "score" top: "score" }\n'
                          + LOSS))
broken('mean-order', ('(104.0, 116.7, 122.7)', '(122.7, 116.7, 104.0)'))
broken('mean-scale', ('(104.0, 116.7, 122.7)', '(0.406, 0.456, 0.485)'))
broken('no-mean', ('(104.0, 116.7, 122.7)', '(0, 0, 0)'))
broken('unusable', ('offset: 8', 'offset: 80'))
broken('labels-x255', labels={'scale': 255, 'only': 1})
broken('labels-scaled', labels={'scale': 127})
broken('labels-from-1', labels={'shift': 1})
broken('label-ids', labels={'shift': 4})
broken('void-not-ignored', ('ignore_label: 255 ', ''))
broken('one-class', labels={'only': 1})
broken('mostly-void', labels={'only': 255})
broken('dead-layer', ('num_output: 8 kernel_size: 1',
                      'num_output: 8 kernel_size: 1 bias_filler { type: "constant" value: -1e4 }'),
       iterations=2)
broken('no-gradient', ('num_output: 8 kernel_size: 1',
                       'num_output: 8 kernel_size: 1 bias_filler { type: "constant" value: -1e4 }'),
       iterations=3)
broken('constant-loss', ('base_lr: 0.01', 'base_lr: 1e-20'), iterations=2)
broken('no-update', ('base_lr: 0.01', 'base_lr: 1e-30'), ('kernel_size: 1 }', 'kernel_size: 1 '
       'weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" value: 1 } }'),
       iterations=2)
broken('scores-large', ('kernel_size: 1 }', 'kernel_size: 1 weight_filler { type: "gaussian" '
                        'std: 99 } }'), ('base_lr: 0.01', 'base_lr: 1e-6'), iterations=1)
broken('exploding', ('lr_policy: "fixed"', 'lr_policy: "fixed" clip_gradients: -1'),
       ('base_lr: 0.01', 'base_lr: 1e30'), iterations=4)


@pytest.mark.parametrize('code', RAISES)
def test_a_broken_net_is_found(tmp_path, voc, code):
    changes, labels, iterations, _ = RAISES[code]
    data = voc if labels is None else shapes(tmp_path / 'voc', **labels)
    subject = doctor.of_files(tiny(tmp_path / 'net', data, *changes))
    assert code.partition('#')[0] in codes(subject, iterations)


@pytest.mark.parametrize('before, after, code', [
    (1.0, 6.0, 'exploding'), (0.2, 0.9, 'loss-rises'), (5.0, 4.0, 'scores-large'),
    (0.2, 0.4, None), (1.0, 0.9, None)])
def test_levels_of_the_loss(tmp_path, voc, before, after, code):
    """Of the same samples before and after the iterations; ln 3 is 1.1."""
    subject = doctor.of_files(tiny(tmp_path, voc))
    trial = Trial(losses=[1.0], before=[before], after=[after], classes=3)
    assert [finding.code for finding in loss_level(subject, trial)] == ([code] if code else [])


def test_layers_that_were_not_copied(tmp_path, voc):
    """fc6 under another name, or missing; with a random filler, and without."""
    solver = tiny(tmp_path, voc)
    net = read_weights(filled(solver))
    other = save(tmp_path / 'renamed.h5', {'fc6_ip' if name == 'fc6' else name: net[name]
                                           for name in net})
    assert codes(doctor.of_files(solver, weights=other)) == ['not-copied']
    edit(tmp_path / 'train.prototxt', ('kernel_size: 1 weight_filler { type: "msra" }',
                                       'kernel_size: 1'))
    report = doctor.examine(doctor.of_files(solver, weights=other), 0)
    assert [f.code for f in report.findings] == ['not-copied']
    assert "'fc6_ip'" in report.findings[0].what and report.faults
    less = filled(solver, 'less.h5', fc6=None)
    assert codes(doctor.of_files(solver, weights=less)) == ['not-copied']


def test_few_layers_found_by_name(tmp_path, voc):
    solver = tiny(tmp_path, voc)
    edit(tmp_path / 'train.prototxt', ('num_output: 8 kernel_size: 1',
                                       'num_output: 99 kernel_size: 1'))
    assert codes(doctor.of_files(solver, weights=filled(solver, fc6=None))) == ['few-copied']


def test_scores_under_another_name(tmp_path, voc):
    solver = tiny(tmp_path, voc)
    net = read_weights(filled(solver))
    other = save(tmp_path / 'renamed.h5', {'score59' if name == 'score_fr' else name: net[name]
                                           for name in net})
    assert 'score-not-transplanted' in codes(doctor.of_files(solver, weights=other))


def test_weights_that_do_not_fit(tmp_path, voc):
    solver = tiny(tmp_path, voc)
    wide = filled(solver, fc6=[np.zeros((9, 8, 1, 1), np.float32), np.zeros(9, np.float32)])
    assert codes(doctor.of_files(solver, weights=wide), 2) == ['weights-misfit']
    (tmp_path / 'vgg16.pth').write_bytes(b'PK\x03\x04 and so on')
    assert codes(doctor.of_files(solver, weights=tmp_path / 'vgg16.pth'), 2) == ['pytorch-file']


def test_weights_of_zeros(tmp_path, voc):
    solver = tiny(tmp_path, voc)
    zero = filled(solver, fc6=[np.zeros((8, 8, 1, 1), np.float32), np.zeros(8, np.float32)])
    assert codes(doctor.of_files(solver, weights=zero)) == ['zero-weights']


def test_weights_of_another_range(tmp_path, voc):
    """As torchvision's are: for images of about -2 to 2."""
    solver = tiny(tmp_path, voc)
    weights = filled(solver, score_fr=None)
    assert codes(doctor.of_files(solver, weights=weights), 2) == []
    edit(tmp_path / 'train.prototxt', (SCALE, 'power_param { scale: 2 }'))
    edit(solver, ('base_lr: 0.01', 'base_lr: 1e-5'))
    assert 'features-large' in codes(doctor.of_files(solver, weights=weights), 2)


def test_weights_that_record_another_mean(tmp_path, voc):
    solver = tiny(tmp_path, voc)
    net = read_weights(filled(solver))
    other = save(tmp_path / 'w.h5', {name: net[name] for name in net},
                 mean=[103.53, 116.28, 123.675])
    assert codes(doctor.of_files(solver, weights=other)) == ['mean-of-weights']


def test_stages_out_of_order(staged):
    folders, weights = staged

    def found(stride, source):
        return codes(doctor.of_files(folders[stride] / 'solver.prototxt', weights=weights[source],
                                     surgery=True))
    assert found(8, 32) == ['stage-skipped']
    assert 'later-stage' in found(32, 8)


def test_a_run_that_records_another_parent(tmp_path, staged):
    folders, weights = staged
    subject = doctor.of_files(folders[8] / 'solver.prototxt', weights=weights[8], surgery=True)
    subject.sources.own, subject.sources.stage = True, doctor.subject.STAGES['mini-fcn8s']
    subject.sources.record = {'stage': 'mini-fcn8s', 'parent_stage': 'mini-fcn32s'}
    assert 'stage-skipped' in codes(subject)


def test_the_rate_of_16s_from_a_classifier(staged, tmp_path, voc):
    """The release's rate of FCN-16s is for scores that exist: new ones never learn."""
    _, weights = staged
    folder = stage(tmp_path / 'net', voc, recipe=with_recipe(base_lr=RATE / 1e4, normalize=False))
    subject = doctor.of_files(folder / 'solver.prototxt', weights=weights['vgg'], surgery=True)
    assert codes(subject) == ['rate-small']
    other = stage(tmp_path / 's16', voc, 16, with_recipe(base_lr=RATE / 1e4, normalize=False))
    assert codes(doctor.of_files(other / 'solver.prototxt', weights=weights[32],
                                 surgery=True)) == []


@pytest.mark.parametrize('broken, code', [({}, None), ({'swapped': True}, 'channel-order'),
                                          ({'dead': True}, 'output-one-class')])
def test_a_deploy_net_on_labelled_images(tmp_path, voc, broken, code):
    net, weights = by_colour(tmp_path, **broken)
    found = codes(doctor.of_files(net=net, weights=weights, voc=str(voc)))
    assert found == ([code] if code else [])


def test_a_deploy_net_of_zeros(tmp_path, voc):
    net, _ = by_colour(tmp_path)
    weights = save(tmp_path / 'zero.h5', {
        'conv': [np.ones((2, 3, 1, 1), np.float32), np.zeros(2, np.float32)],
        'score': [np.zeros((3, 2, 1, 1), np.float32), np.zeros(3, np.float32)]})
    assert codes(doctor.of_files(net=net, weights=weights, voc=str(voc))) == [
        'scores-zero', 'output-constant']


def test_batchnorm_without_statistics(tmp_path):
    net, _ = by_colour(tmp_path)
    edit(net, ('layer { name: "relu"', 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: '
               '"conv" }\nlayer { name: "relu"'))
    weights = read_weights(tmp_path / 'colours.caffemodel.h5')
    none = save(tmp_path / 'w.h5', {name: weights[name] for name in weights} | {
        'bn': [np.zeros(2, np.float32), np.zeros(2, np.float32), np.zeros(1, np.float32)]})
    assert codes(doctor.of_files(net=net, weights=none)) == ['no-statistics']


def test_enets_encoder(tmp_path, voc):
    """It subtracts no mean, which its first BN does, and repeats its scores; with a ReLU before
    that BN, and with another kernel, both are doubtful."""
    for name in 'solver', 'train', 'deploy':
        shutil.copy(PROTOTXT / f'enet-encoder/{name}.prototxt', tmp_path)
    train, deploy = tmp_path / 'train.prototxt', tmp_path / 'deploy.prototxt'
    edit(train, ('data/digits/VOC', str(voc)))
    Net.read(deploy, 'TEST').save(tmp_path / 'w.caffemodel')
    deployed = {'net': deploy, 'weights': tmp_path / 'w.caffemodel'}
    solver = {'solver': tmp_path / 'solver.prototxt'}
    healthy = codes(doctor.of_files(**solver)), codes(doctor.of_files(**deployed))
    assert 'no-mean' not in healthy[0] and 'unusable' not in healthy[0]
    assert 'upsampling-not-bilinear' not in healthy[1]
    edit(train, ('layer {\n  name: "bn0_1"', 'layer { name: "r" type: "ReLU" bottom: "concat0_1" '
                 'top: "concat0_1" }\nlayer {\n  name: "bn0_1"'))
    edit(deploy, ('kernel_size: 8\n', 'kernel_size: 10\n    pad: 1\n'))
    Net.read(deploy, 'TEST').save(tmp_path / 'w.caffemodel')
    assert 'no-mean' in codes(doctor.of_files(**solver))
    assert 'upsampling-not-bilinear' in codes(doctor.of_files(**deployed))


def test_bn_without_statistics(tmp_path):
    """SegNet's, in HDF5 of a net that still learned; folded ones pass."""
    net, _ = by_colour(tmp_path)
    edit(net, ('layer { name: "relu"', 'layer { name: "bn" type: "BN" bottom: "conv" top: '
               '"conv" bn_param { bn_mode: LEARN } }\nlayer { name: "relu"'))
    learned, folded = tmp_path / 'learned.h5', tmp_path / 'folded.h5'
    for mode, file in (('LEARN', learned), ('INFERENCE', folded)):
        edit(net, ('LEARN', mode))
        made = Net.read(net, 'TEST')
        made.copy_from(tmp_path / 'colours.caffemodel.h5')
        made.params['bn'][0].data.fill_(1)
        made.save_hdf5(file)
    assert codes(doctor.of_files(net=net, weights=learned)) == ['bn-unfolded']
    assert codes(doctor.of_files(net=net, weights=folded)) == []


LOG = 'I0101 00:00:{:02d}.000000 1 solver.cpp:239] Iteration {}, loss = {}\n'


@pytest.mark.parametrize('losses, code', [
    ([1.09861] * 9, 'log-constant'), ([87.3365] * 9, 'log-constant'), ([0.9, 0.8, 'nan'],
                                                                      'log-not-finite'),
    ([0.5 + 0.1 * i for i in range(30)], 'log-rises'), ([1 / (1 + i) for i in range(30)], None)])
def test_losses_of_a_log(tmp_path, voc, losses, code):
    log = tmp_path / 'train.log'
    log.write_text('I0101 00:00:00.000000 1 solver.cpp:289] Solving\n' + ''.join(
        LOG.format(i, 20 * i, loss) for i, loss in enumerate(losses)))
    assert codes(doctor.of_files(tiny(tmp_path, voc), log=log)) == ([code] if code else [])


TOPS = """layer {{ name: "data" type: "ImageData" top: "data" top: "class"
  image_data_param {{ source: "{0}/list.txt" batch_size: 4 }} transform_param {{ {1} }} }}
"""
CLASSES = """layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.0001 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "class" top: "loss" }
"""


def image_data(folder, voc, classes=(0, 1), transform='scale: 0.01 '
               'mean_value: 104 mean_value: 117 mean_value: 123'):
    """The solver of a classifier that reads a list of images, as Caffe's users have it."""
    solver = tiny(folder, voc)
    (folder / 'list.txt').write_text(''.join(f'{voc}/JPEGImages/im{i}.jpg {classes[i % 2]}\n'
                                             for i in range(8)))
    (folder / 'train.prototxt').write_text(
        TOPS.format(folder, transform) + CLASSES)
    edit(solver, ('base_lr: 0.01', 'base_lr: 1e-4'))
    return solver


def test_a_classifier_of_caffes_users(tmp_path, voc):
    assert codes(doctor.of_files(image_data(tmp_path / 'a', voc)), 3) == []
    assert 'labels-from-1' in codes(doctor.of_files(image_data(tmp_path / 'b', voc, (1, 2))))
    assert 'blank-images' in codes(doctor.of_files(
        image_data(tmp_path / 'c', voc, transform='scale: 0')))
    edit(tmp_path / 'a/train.prototxt', ('num_output: 2', 'num_output: 3'))
    assert codes(doctor.of_files(tmp_path / 'a/solver.prototxt'), 2) == []


def test_labels_that_are_fractions(tmp_path, voc):
    """Labels that a layer between has scaled."""
    solver = tiny(tmp_path, voc, (LOSS, 'layer { name: "s" type: "Power" bottom: "label" top: "s" '
                                  'power_param { scale: 0.3 } }\n'
                                  + LOSS.replace('bottom: "label"', 'bottom: "s"')))
    assert 'labels-not-whole' in codes(doctor.of_files(solver))


def test_a_sample_that_cannot_be_read(tmp_path):
    data = shapes(tmp_path / 'voc')
    solver = tiny(tmp_path / 'net', data)
    reader = doctor.of_files(solver).net
    reader = reader.layer(reader.graph.nodes[0]).reader
    first, *others = (reader.sample(k).id for k in range(12))
    for id_ in set(others) - {first}:
        (data / f'JPEGImages/{id_}.jpg').write_bytes(b'no image')
    found = codes(doctor.of_files(solver), 2)
    assert 'unreadable-data' in found and 'data-unreadable' in found


def test_labels_all_void_have_no_loss(tmp_path):
    """The loss of labels that are all ignored is 0; said once, as what it is."""
    data = shapes(tmp_path / 'voc', only=255)
    found = codes(doctor.of_files(tiny(tmp_path / 'net', data)), 2)
    assert 'mostly-void' in found


# ---- healthy runs --------------------------------------------------------------------------------

HEALTHY = {
    'FCN-32s from a classifier': (32, 'vgg', {}, 4),
    'FCN-16s from FCN-32s': (16, 32, {}, 3),
    'FCN-8s from FCN-16s': (8, 16, {}, 3),
    'FCN-32s at the start of its own': (32, 32, {}, 3),
    'a summed loss': (32, 'vgg', {'base_lr': RATE, 'normalize': False}, 4),
    'heavy momentum': (32, 'vgg', {'base_lr': RATE / 10, 'momentum': 0.99, 'normalize': False}, 4),
    'accumulated': (32, 'vgg', {'iter_size': 3}, 2),
}


@pytest.mark.parametrize('name', HEALTHY)
def test_nothing_is_found_in_a_healthy_stage(tmp_path, voc, staged, name):
    stride, source, recipe, iterations = HEALTHY[name]
    folder = stage(tmp_path / 'net', voc, stride, with_recipe(**recipe))
    subject = doctor.of_files(folder / 'solver.prototxt', weights=staged[1][source], surgery=True)
    assert codes(subject, iterations) == []


@pytest.mark.parametrize('changes', [
    (), (('momentum: 0.9', 'momentum: 0.9 type: "Adam"'), ('base_lr: 0.01', 'base_lr: 0.001')),
    (('base_lr: 0.01', 'base_lr: 0.003'), ('normalize: true', 'normalization: FULL')),
    (('lr_policy: "fixed"', 'lr_policy: "poly" power: 0.9'),)])
def test_nothing_is_found_in_a_healthy_small_net(tmp_path, voc, changes):
    """From random weights, by several rules: with all of the iterations."""
    assert codes(doctor.of_files(tiny(tmp_path, voc, *changes)), doctor.ITERATIONS) == []


def test_nothing_is_written_and_nothing_changes(tmp_path, voc, monkeypatch):
    solver = tiny(tmp_path, voc, ('snapshot_prefix', 'snapshot: 1\nsnapshot_prefix'))
    weights = filled(solver)
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    subject = doctor.of_files(solver, weights=weights)
    mine = [blob.data.clone() for blob in subject.net.learnable_params]
    doctor.examine(subject, 3)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    assert all((a == blob.data).all() for a, blob in
               zip(mine, subject.net.learnable_params, strict=True))


# ---- all of them ---------------------------------------------------------------------------------

def test_every_code_has_a_broken_run():
    """A code that no test names is one that may never fire."""
    root = Path(doctor.__file__).parent
    known = set()
    for path in root.glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'Finding':
                known |= {each.value for each in ast.walk(node.args[1])
                          if isinstance(each, ast.Constant)} - {'data-'}
    tests = Path(__file__).read_text()
    assert {code for code in known if f"'{code}'" not in tests} <= {'training-fails', 'zero-loss'}
    assert len(known) > 40


def test_a_run_shorter_than_the_trial(tmp_path, voc):
    """Beyond max_iter a polynomial's rate is not a number, which is no fault of the run."""
    solver = tiny(tmp_path, voc, ('lr_policy: "fixed"', 'lr_policy: "poly" power: 0.9'),
                  ('max_iter: 1000', 'max_iter: 3'))
    subject = doctor.of_files(solver)
    assert codes(subject, 20) == [] and '3 iterations' in doctor.examine(subject).checked


# ---- the command ---------------------------------------------------------------------------------

def run_doctor(capsys, *args):
    return call(capsys, 'doctor', *args, main=lambda: main(['doctor', *map(str, args)]))


def test_the_command_on_files(tmp_path, voc, capsys):
    solver = tiny(tmp_path, voc)
    done = run_doctor(capsys, '--solver', solver, '--iterations', 2)
    assert done.status == 0 and done.out.count('\n') == 1, done
    assert done.out.startswith('no faults, no doubts in the solver') and '2 iterations' in done.out
    edit(tmp_path / 'train.prototxt', ('offset: 8', 'offset: 4'), ('ignore_label: 255 ', ''))
    done = run_doctor(capsys, '--solver', solver, '--static')
    assert done.status == 1 and '2 faults' in done.out
    assert "layer 'score'" in done.out and 'offset 4' in done.out and 'Set offset: 8' in done.out


def test_the_remedy_for_a_file_of_pytorch(tmp_path, voc, capsys):
    """Named in the words of the command; a file that is none of VGG16's is refused there."""
    solver, file = tiny(tmp_path, voc), tmp_path / 'vgg16.pth'
    torch.save({'features.0.weight': torch.zeros(4, 3, 3, 3)}, file)
    done = run_doctor(capsys, '--solver', solver, '--weights', file)
    assert done.status == 1 and f'fcn-repro convert {file} vgg16.caffemodel' in done.out


def test_wrong_options(tmp_path, voc, capsys):
    assert_error(run_doctor(capsys), '--solver')
    assert_error(run_doctor(capsys, 'no-such-run'), 'no-such-run')
    solver = tiny(tmp_path, voc)
    assert_error(run_doctor(capsys, '--solver', solver, '--iterations', '-1'), '--iterations')
    assert_error(run_doctor(capsys, '--solver', solver, '--weights', tmp_path / 'none'), 'none')
    assert_error(run_doctor(capsys, 'run', '--solver', solver), '--solver')


def test_the_folder_of_a_run(tmp_path, monkeypatch, capsys):
    """Healthy as it is; then with weights of zeros, and a log that says so."""
    folder, voc = small_stage(tmp_path, monkeypatch)
    shutil.rmtree(voc)
    shapes(voc)
    edit(folder / 'solver.prototxt', ('max_iter: 6', 'max_iter: 8'))
    (folder / 'deploy.prototxt').write_text('input: "data" input_shape { dim: 1 dim: 3 dim: 48 '
                                            'dim: 64 }\n' + NET[:NET.index('layer { name: "loss"')])
    training.train(Run('small', Options(pictures=0)))
    done = run_doctor(capsys, 'small', '--iterations', 3)
    assert done.status == 0 and done.out.startswith('no faults, no doubts'), done
    assert 'losses of the log' in done.out and '3 iterations' in done.out
    before = contents(tmp_path)
    run = tmp_path / 'runs/small'
    assert contents(tmp_path) == before
    newest = sorted(run.glob('*_iter_8.caffemodel.h5'))[0]
    zero = {name: [blob * 0 for blob in blobs] for name, blobs in arrays(newest).items()}
    newest.unlink()
    save(newest, zero, max_iter=8, stage='small')
    found = codes(doctor.of_run('small'))
    assert found[:2] == ['zero-weights', 'scores-zero'] and 'upsampling-zero' in found


BLOCKS = '''layer { name: "data" type: "Input" top: "data" input_param { shape {
  dim: 1 dim: 2 dim: 8 dim: 8 } } }
layer { name: "coarse" type: "Convolution" bottom: "data" top: "coarse" convolution_param {
  num_output: 3 kernel_size: 1 stride: 4 } }
layer { name: "up" type: "Deconvolution" bottom: "coarse" top: "up" param { lr_mult: %d }
  convolution_param { num_output: 3 kernel_size: %d stride: 4 bias_term: false } }
layer { name: "score" type: "Crop" bottom: "up" bottom: "data" top: "score" crop_param {
  axis: 2 offset: 0 } }
'''


@pytest.mark.parametrize('learned, kernel, found', [
    (1, 4, []),                         # 1.5 beside: blocks of their own
    (0, 4, ['crop-offset']),         # fixed: it can be nothing but an interpolation
    (1, 6, ['crop-offset']),         # learned, but overlapping
])
def test_blocks_that_are_learned_may_lie_beside_their_cells(learned, kernel, found):
    net = Net.of(parse_net(BLOCKS % (learned, kernel), 'net.prototxt'), 'TEST')
    assert [each.code for each in crop_offsets(SimpleNamespace(net=net))] == found


def test_a_trial_of_a_net_of_a_fork():
    """The solver's text becomes one in the dialect of its net."""
    net = parse_net(net_text(dfanet.net(classes=3, **dfanet.MINI)), 'net.prototxt')
    solver = parse_solver('train_net: "x" base_lr: 0.5 type: "Adam" display: 3', 'solver.prototxt')
    made = text_of(solver, net)
    assert made.message.base_lr == 0.5 and not made.message.display
    held, = made.inline_nets('train_net_param')
    assert held.message == net.message and 'Interp' in {layer.type for layer in held.message.layer}


SHIPPED = sorted(PROTOTXT.glob('*/solver*.prototxt'))


@pytest.mark.parametrize('solver', [path for path in SHIPPED
                                    if not STAGES[path.parent.name].zero_fillers],
                         ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_nothing_is_found_in_a_shipped_solver(solver, monkeypatch, tmp_path):
    """But that its data are not here, and that the paper's rates of later stages are too small for
    a net without weights."""
    monkeypatch.chdir(tmp_path)
    allowed = {'unusable'} | ({'rate-small'} if solver.stem.endswith('slow') else set())
    assert set(codes(doctor.of_files(solver))) <= allowed


@pytest.mark.slow
@pytest.mark.parametrize('solver', [path for path in SHIPPED if STAGES[
    path.parent.name].zero_fillers and (path.stem == 'solver' or path.parent.name[:4] == 'voc-')],
    ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_nothing_is_found_in_a_shipped_solver_of_the_release(solver, monkeypatch, tmp_path):
    """But that its data are not here, and that a stage's net starts from zeros without weights."""
    monkeypatch.chdir(tmp_path)
    assert set(codes(doctor.of_files(solver))) <= {'unusable', 'not-copied', 'rate-small'}


def test_a_run_that_ended_before_its_first_snapshot(tmp_path, monkeypatch, capsys, voc):
    """Its log and its nets are looked at all the same."""
    monkeypatch.chdir(tmp_path)
    tiny(tmp_path / 'runs/died/net', voc)
    (tmp_path / 'runs/died/train.log').write_text(
        LOG.format(1, 20, 2.5) + LOG.format(2, 40, 'nan'))
    done = run_doctor(capsys, 'died', '--iterations', 2)
    assert done.status == 1 and 'became NaN' in done.out and '1 fault' in done.out
    (tmp_path / 'runs/none').mkdir()
    assert_error(run_doctor(capsys, 'none'), 'none', 'no weights')
