"""own-distilled: a run that learns from a finished one, by commands: what is in its folder, what it
is used as, and teachers that do not fit, with their remedies."""

import re
import shutil

import pytest
import torch
from small_runs import assert_error, small_voc
from small_runs import call as call_main
from texts import conv, inputs, layer

import fcn_repro
from fcn_repro.cli.main import run_command
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_extra, read_weights
from fcn_repro.net import Net
from fcn_repro.passes import DEFAULT
from fcn_repro.proto.prototxt import read_net
from fcn_repro.recipe.checks import check_folders, check_options
from fcn_repro.recipe.distillation import DISTILLATION, PAIR_LOSS, PAIRS, TEACHER
from fcn_repro.recipe.finished import opened
from fcn_repro.recipe.models.own import fcn
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import shipped
from fcn_repro.recipe.teacher import FILE, Losses
from fcn_repro.recipe.training import train
from fcn_repro.solver import Solver

NAMES = 'ground\ncat\ndog\n'
DATA = '--voc', 'photos', '--pictures', 0, '--workers', 0
STUDENT = 'train', 'own-distilled', '--iterations', 1, *DATA
BY = '--teacher', 'runs/own-fcn16s'
RUN = 'runs/own-distilled'


def call(capsys, name, *args):
    return call_main(capsys, name, *args, main=lambda: run_command(name))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A folder of data, and a finished run on it."""
    folder = tmp_path_factory.mktemp('distilled')
    (small_voc(folder / 'photos') / 'classes.txt').write_text(NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = Options(voc='photos', iterations=1, pictures=0, workers=0, seed=4)
        train(Run('own', options))
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it, where we then are."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def teacher(path='runs/own-fcn16s'):
    """The deploy net of the run, with its weights."""
    run = opened(path)
    net = Net.read(run.deploy, 'TEST')
    net.copy_from(run.weights)
    return net


def solver(name, **options):
    return Solver(f'{RUN}/net/solver.prototxt', prefix=name, workers=0, passes=DEFAULT, **options)


def test_the_folder_says_all(here, capsys):
    """The solver of the run's folder, alone, makes the teacher that was given: its scores on a
    batch, with batch statistics and Dropout as in TEST. After training nothing of it has moved, and
    all of the student that learns has."""
    done = call(capsys, *STUDENT, *BY)
    assert done.status == 0 and '1 iterations' in done.out
    assert f'the layers {TEACHER}* are runs/own-fcn16s' in done.out
    taught, made = teacher(), solver('x/train').net
    start = {name: blobs[0].data.clone().numpy() for name, blobs in made.params.items()}
    found = made.forward(('data', f'{TEACHER}score', PAIR_LOSS, DISTILLATION))
    want = taught.forward(data=made.blobs['data'].data)['score']
    torch.testing.assert_close(found[f'{TEACHER}score'], want, rtol=1e-4, atol=1e-4)
    layers = {each.name: each for each in read_net(f'{RUN}/net/train.prototxt').message.layer}
    assert layers[DISTILLATION].loss_weight == [10] and layers[PAIR_LOSS].loss_weight == [
        2 * 0.5 / 4 ** 2]
    weights = read_weights(f'{RUN}/train_iter_1.caffemodel.h5')
    for name in start:
        same = (weights[name][0] == start[name]).all()
        assert same == name.startswith(TEACHER), name
    for name, blobs in taught.params.items():
        for i, blob in enumerate(blobs):
            assert (weights[TEACHER + name][i] == blob.data.numpy()).all(), name
    assert 'pixel-wise 10, pair-wise 0.5' in str(read_extra(weights.file)['recipe'])
    assert 'trained already' in call(capsys, *STUDENT, *BY).out
    assert_error(call(capsys, *STUDENT, *BY, '--pixel-wise', 5), 'the run here has another recipe',
                 'Give another --out')


def test_it_is_used_as_the_student_alone(here, capsys):
    """eval, infer, export and load know the student's layers alone."""
    assert call(capsys, *STUDENT, *BY).status == 0
    deploy = read_net(f'{RUN}/net/deploy.prototxt').message
    assert not any(each.name.startswith((TEACHER, PAIRS)) for each in deploy.layer)
    for words in (['eval', '--run', RUN, '--report'],
                  ['infer', 'photos/JPEGImages/im0.jpg', '--run', RUN, '--out', 'labels'],
                  ['export', RUN, '--python', '--safetensors', '--caffemodel']):
        done = call(capsys, *words)
        assert done.status == 0, done
    exported = read_weights(f'{RUN}/export/own_distilled.caffemodel')
    assert {each.name for each in exported.layers if each.blobs} == {
        name for name, blobs in Net.read(f'{RUN}/net/deploy.prototxt', 'TEST').params.items()
        if blobs}
    assert TEACHER not in (here / RUN / 'export/own_distilled.py').read_text()
    assert fcn_repro.load(RUN).segment('photos/JPEGImages/im0.jpg').shape == (24, 32)


def test_a_resumed_run_equals_an_uninterrupted_one(here, capsys):
    assert call(capsys, *STUDENT, *BY).status == 0
    whole, first = (solver(f'{name}/train', max_iter=2) for name in ('whole', 'first'))
    for each, until in (whole, None), (first, 1):
        for _ in each.run(until):
            pass
    second = solver('first/train', max_iter=2)
    second.restore(first.snapshot()[1])
    for _ in second.run():
        pass
    for name, blobs in whole.net.params.items():
        for one, other in zip(blobs, second.net.params[name], strict=True):
            assert torch.equal(one.data, other.data), name


def test_resumed_by_the_command(here, capsys):
    """The run is found with its teacher given, and goes on from its snapshot."""
    run = Run('own-distilled', Options(voc='photos', teacher=BY[1], iterations=2))
    stop(run)
    words = 'train', 'own-distilled', '--iterations', 2, *DATA, *BY
    assert_error(call(capsys, *words), 'this run stopped at iteration 1 of 2')
    done = call(capsys, *words, '--restore')
    assert done.status == 0 and (here / RUN / 'train_iter_2.caffemodel.h5').exists()


def stop(run):
    """A run that ended after its first of two iterations."""
    provenance = {'stage': run.name, 'max_iter': 2, 'classes': 3, 'recipe': run.recipe}
    made = Solver(run.write_prototxt() / 'solver.prototxt', prefix=run.folder / 'train',
                  max_iter=2, workers=0, overrides=run.train_overrides, provenance=provenance)
    for _ in made.run(1):
        pass
    made.snapshot()


@pytest.mark.parametrize('weights, layers, folder', [
    ((0, None), {PAIR_LOSS}, '-pair'), ((None, 0), {DISTILLATION}, '-pixel'),
    ((None, None), {PAIR_LOSS, DISTILLATION}, ''), ((0, 0), set(), '-alone')])
def test_each_loss_can_be_left_out(here, weights, layers, folder):
    given = BY[1] if layers else None
    run = Run('own-distilled', Options(voc='photos', teacher=given, pixel_wise=weights[0],
                                       pair_wise=weights[1]))
    check_options(run)
    assert str(run.folder) == RUN + folder
    names = {each.name for each in read_net(run.write_prototxt() / 'train.prototxt').message.layer}
    assert names & {PAIR_LOSS, DISTILLATION} == layers
    assert (run.folder / 'net' / FILE).exists() == bool(layers)
    assert f'{TEACHER}score' in names if layers else not any(
        name.startswith((TEACHER, PAIRS)) for name in names)


def test_class_weights_and_a_method_beside_a_teacher(here, capsys):
    """The student's own loss is then InfogainLoss; a sampled loss does not sample the teacher's."""
    assert call(capsys, *STUDENT, *BY, '--class-weights', 'balanced').status == 0
    net = read_net(f'{RUN}-weighted/net/train.prototxt').message
    assert [each.type for each in net.layer if each.name in ('loss', DISTILLATION)] == [
        'InfogainLoss', 'SoftmaxWithLoss']
    assert call(capsys, *STUDENT, *BY, '--keep-ratio', 0.5).status == 0
    net = read_net(f'{RUN}-keep0.5/net/train.prototxt').message
    assert [each.fcn_repro_param.keep_ratio for each in net.layer
            if each.type == 'SoftmaxWithLoss'] == [0.5, 1]


def test_the_digit_scenes(tmp_path):
    """Without a folder of data the shipped nets are written into the run's, with the teacher."""
    files = written(tmp_path, fcn(None, classes=11, widths=(2, 2, 2, 2, 2), last=2))
    run = Run('own-distilled', Options(teacher=files, out=str(tmp_path / 'run')))
    check_options(run)
    check_folders(run)
    folder = run.write_prototxt()
    assert folder == tmp_path / 'run/net' and (folder / 'val.prototxt').is_file()
    names = [each.name for each in read_net(folder / 'train.prototxt').message.layer]
    assert names[:2] == ['data', f'{TEACHER}conv1_1'] and names[-1] == PAIR_LOSS


def written(folder, net):
    """NET,WEIGHTS of a net, a text or a NetParameter, with its fillers."""
    path, weights = folder / 'other.prototxt', folder / 'other.caffemodel'
    path.write_text(str(net))
    Net.read(path, 'TEST').save(weights)
    return f'{path},{weights}'


def test_any_stage_learns_from_a_teacher(here, capsys):
    """FCN-32s, whose surgery makes upsampling bilinear: not the teacher's."""
    words = ('train', 'mini-fcn32s', '--iterations', 1, '--weights', 'none', *DATA, '--classes', 3,
             *BY)
    assert_error(call(capsys, *words), 'the data layer of the train net names no crop',
                 'Give --pair-wise 0.')
    assert not (here / 'runs/mini-fcn32s-taught').exists()
    done = call(capsys, *words, '--pair-wise', 0)
    assert done.status == 0 and f'the layers {TEACHER}* are runs/own-fcn16s' in done.out
    assert not re.search(rf'{TEACHER}\w+ ', done.out)
    run = here / 'runs/mini-fcn32s-taught-pixel'
    weights = read_weights(run / 'train_iter_1.caffemodel.h5')
    for name, blobs in teacher().params.items():
        for i, blob in enumerate(blobs):
            assert (weights[TEACHER + name][i] == blob.data.numpy()).all(), name
    assert call(capsys, 'infer', 'photos/JPEGImages/im0.jpg', '--run', str(run), '--out',
                'labels').status == 0
    assert call(capsys, 'train', 'own', '--iterations', 1, *DATA, *BY).status == 0
    assert (here / 'runs/own-fcn16s-taught/train_iter_1.caffemodel.h5').exists()


# ---- teachers that do not fit --------------------------------------------------------------------

def test_no_teacher(here, capsys):
    done = call(capsys, *STUDENT)
    assert_error(done, 'own-distilled learns from a teacher, and none is given',
                 'Give --teacher RUN, the folder of a finished run; or, for the student alone, '
                 '--pixel-wise 0 and --pair-wise 0.')
    assert not (here / RUN).exists()
    assert call(capsys, *STUDENT, *BY).status == 0
    assert call(capsys, *STUDENT, '--pixel-wise', 0, '--pair-wise', 0).status == 0
    assert_error(call(capsys, *STUDENT, *BY, '--pixel-wise', 0, '--pair-wise', 0),
                 'Leave out --teacher.')
    assert_error(call(capsys, 'train', 'own-classifier', *BY), 'takes no', 'Leave out --teacher.')
    assert_error(call(capsys, 'train', 'own', *DATA, '--pair-wise', 0),
                 "takes no 'pair_wise' without a teacher", 'Leave out --pair-wise.')
    assert_error(call(capsys, *STUDENT, *BY, '--pair-wise', -1), 'Give --pair-wise 0 or more.')
    assert_error(call(capsys, *STUDENT, *BY, '--solver', 'runs/own-fcn16s/net/solver.prototxt'),
                 'Leave out --solver.')


def test_a_teacher_that_is_not_there(here, capsys):
    for given in 'runs/none', 'photos', 'a.prototxt,b.caffemodel':
        assert_error(call(capsys, *STUDENT, '--teacher', given),
                     'Give --teacher the folder of a finished run, as `fcn-repro train own --voc`')
    assert not (here / RUN).exists()
    net = 'runs/own-fcn16s/net/deploy.prototxt,runs/own-fcn16s/train_iter_1.caffemodel.h5'
    assert call(capsys, *STUDENT, '--teacher', net).status == 0
    assert call(capsys, *STUDENT, '--teacher', 'own-fcn16s', '--fresh').status == 0


def test_an_unfinished_teacher(here, capsys):
    stop(Run('own', Options(voc='photos', out='runs/other', iterations=2)))
    done = call(capsys, *STUDENT, '--teacher', 'runs/other')
    assert_error(done, "runs/other: the teacher's run stopped at iteration 1 of 2",
                 'Resume it with `fcn-repro train own-fcn16s --restore`; or take it as it is: ')
    net, = re.findall(r'--teacher (\S+)\.', done.err)
    assert call(capsys, *STUDENT, '--teacher', net, '--out', 'runs/one').status == 0
    assert call(capsys, 'train', 'own-fcn16s', '--restore', '--out', 'runs/other', '--iterations',
                2, *DATA).status == 0
    assert call(capsys, *STUDENT, '--teacher', 'runs/other', '--out', 'runs/two').status == 0


def test_a_teacher_of_other_classes(here, capsys):
    shutil.copytree('photos', 'more')
    (here / 'more/classes.txt').unlink()
    words = [*STUDENT, '--classes', 4, '--voc', 'more']
    assert_error(call(capsys, *words, *BY), 'the teacher has 3 classes, the student 4',
                 'Give --teacher a run that was trained on these classes.')
    assert not (here / RUN).exists()
    assert call(capsys, 'train', 'own', '--iterations', 1, *DATA, '--voc', 'more', '--classes', 4,
                '--out', 'runs/four').status == 0
    assert call(capsys, *words, '--teacher', 'runs/four').status == 0


def test_a_teacher_of_other_names(here, capsys):
    """The same number of classes, in another order; numbers in place of names say nothing."""
    (here / 'photos/classes.txt').write_text('ground\ndog\ncat\n')
    done = call(capsys, *STUDENT, *BY)
    assert_error(done, "class 1 is 'cat' for the teacher, 'dog' here", 'if the names alone differ')
    assert not (here / RUN).exists()
    net, = re.findall(r'its files: --teacher (\S+)\.', done.err)
    assert call(capsys, *STUDENT, '--teacher', net).status == 0
    (here / 'runs/own-fcn16s/classes.txt').write_text('0\n1\n2\n')
    assert call(capsys, *STUDENT, *BY, '--out', 'runs/numbers').status == 0


HALF = inputs(data=(1, 3, 32, 32)) + conv('features', 'data', num_output=4)
LESS = layer('Pooling', 'less', 'features', 'less', 'pooling_param { kernel_size: 2 stride: 2 }')


def test_a_teacher_whose_scores_have_another_size(here, capsys):
    small = written(here, HALF + LESS + conv('score', 'less'))
    assert_error(call(capsys, *STUDENT, '--teacher', small), "the teacher's scores are 1x3x12x18",
                 'Give --teacher a run whose scores have the size of the image.')
    assert call(capsys, *STUDENT, *BY).status == 0


def test_a_student_that_learns_at_an_eighth_of_the_size(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = written(tmp_path, (shipped('lednet-mini') / 'deploy.prototxt').read_text())
    assert_error(call(capsys, 'train', 'deeplab-v2-single-mini', '--teacher', files),
                 "the student's loss is at 33x41, for images of 257x321",
                 'Leave out --teacher, or train a stage whose loss is at the size of the image.')


@pytest.mark.parametrize('net', [
    HALF + layer('Deconvolution', 'score', 'data', 'score',     # of no features at all
                 'convolution_param { num_output: 3 kernel_size: 1 }'),
    inputs(data=(1, 3, 32, 32)) + layer(      # of 5x7 cells, in 3x3 patches
        'Pooling', 'less', 'data', 'less', 'pooling_param { kernel_size: 5 stride: 5 }')
    + conv('small', 'less') + layer(
        'Deconvolution', 'large', 'small', 'large',
        'convolution_param { num_output: 3 kernel_size: 5 stride: 5 }')
    + layer('Crop', 'score', 'large data', 'score', 'crop_param { axis: 2 offset: 0 }')])
def test_a_teacher_without_patches_to_compare(here, capsys, net):
    files = written(here, net)
    assert_error(call(capsys, *STUDENT, '--teacher', files), 'Give --pair-wise 0.')
    assert call(capsys, *STUDENT, '--teacher', files, '--pair-wise', 0).status == 0


def test_a_teacher_with_a_softmax_of_its_own(here):
    """Its scores are what the Softmax reads."""
    files = written(here, HALF + conv('scores', 'features') + layer('Softmax', 'p', 'scores', 'p'))
    run = Run('own-distilled', Options(voc='photos', teacher=files))
    net = read_net(run.write_prototxt() / 'train.prototxt').message
    soft, = (each for each in net.layer if each.name == f'{TEACHER}prob')
    assert soft.bottom == [f'{TEACHER}scores']


def test_a_teacher_of_another_dialect_or_without_weights(here, capsys):
    (here / 'runs/own-fcn16s/classes.txt').unlink()
    net = inputs(data=(1, 3, 32, 32)) + conv('a', 'data', num_output=4) + layer(
        'Interp', 'b', 'a', 'b', 'interp_param { zoom_factor: 1 }') + conv('score', 'b')
    assert_error(call(capsys, *STUDENT, '--teacher', written(here, net)),
                 'a student of the dialect bvlc and a teacher of', 'Give --teacher another run.')
    weights = written(here, HALF + conv('score', 'features')).partition(',')[2]
    (here / 'more.prototxt').write_text(
        HALF + conv('more', 'features', num_output=4) + conv('score', 'more', num_output=3))
    assert_error(call(capsys, *STUDENT, '--teacher', f'more.prototxt,{weights}'),
                 "the teacher's weights lack 'more'", 'Give --teacher another run.')
    assert call(capsys, *STUDENT, *BY).status == 0


def test_a_teacher_of_another_mean(here, capsys):
    """Its images are less another pixel than the student's."""
    val = here / 'runs/own-fcn16s/net/val.prototxt'
    val.write_text(val.read_text().replace('(104.00699,', '(0.0,'))
    done = call(capsys, *STUDENT, *BY)
    assert_error(done, "the teacher's images are less the mean pixel (0.0, 116.66877, ",
                 'Give --teacher another run.')
    assert not (here / RUN).exists()


def test_wrong_weights_of_losses():
    for value in float('nan'), float('inf'), -1:
        with pytest.raises(FcnError, match='pixel_wise is') as caught:
            Losses(pixel_wise=value)
        assert caught.value.code == 'negative'
