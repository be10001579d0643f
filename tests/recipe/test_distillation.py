"""Distillation: the nets that recipe.distillation makes, their losses and gradients against torch,
and teachers that do not fit."""

import pytest
import torch
import torch.nn.functional as F
from texts import FILE, conv, image, inputs, layer

from fcn_repro.errors import FcnError
from fcn_repro.formats.atomic import write_text
from fcn_repro.formats.weights import LayerBlobs, Weights, read_weights
from fcn_repro.net import Net
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import filter_net, parse_net, parse_solver, read_net
from fcn_repro.recipe.distillation import (
    DISTILLATION,
    PAIR_LOSS,
    PAIRS,
    TEACHER,
    teach,
    with_teacher,
)
from fcn_repro.recipe.stages import shipped
from fcn_repro.solver import Solver

DATA = inputs(data=(2, 3, 6, 7), label=(2, 1, 6, 7))
LOSS = layer('SoftmaxWithLoss', 'loss', 'score label', 'loss')
STUDENT = DATA + conv('score', 'data', num_output=4) + LOSS
TEACHING = (inputs(data=(1, 3, 9, 9)) + conv('c', 'data', num_output=6, kernel=3,
                                             field='pad: 1')
            + layer('Dropout', 'drop', 'c', 'c')
            + layer('BatchNorm', 'bn', 'c', 'bn') + conv('score', 'bn', num_output=4))


def made(student=STUDENT, teacher=TEACHING, **how):
    return with_teacher(parse_net(student, FILE), parse_net(teacher, 'teacher.prototxt'), 'score',
                        **how)


def weights_of(net):
    return Weights([LayerBlobs(name, [blob.data.numpy().copy() for blob in blobs], '')
                    for name, blobs in net.params.items()], 'teacher.caffemodel', 'caffemodel', {})


def taught(**how):
    """(the student's net with its teacher, the teacher's net), random weights."""
    teacher = Net.of(parse_net(TEACHING, FILE), 'TEST', seed=3)
    mean, variance, count = (blob.data for blob in teacher.params['bn'])
    mean.copy_(torch.arange(6.))
    variance.copy_(torch.arange(1., 7))
    count.fill_(2)
    net = Net.of(made(**how), 'TRAIN', seed=1)
    assert sorted(teach(net, weights_of(teacher))) == sorted(TEACHER + n for n in teacher.params)
    return net, teacher


def given():
    return {'data': image(2, 3, 6, 7), 'label': torch.arange(84.).view(2, 1, 6, 7) * 7 % 4}


def test_the_loss_is_the_cross_entropy_with_the_teacher():
    """Its Dropout does not drop and its BatchNorm has its own statistics."""
    net, teacher = taught(weight=2.5)
    x = given()
    q = teacher.forward(data=x['data'])['score'].softmax(1)
    weight, bias = (blob.data.clone().requires_grad_() for blob in net.params['score'])
    scores = F.conv2d(x['data'], weight, bias)
    soft = F.cross_entropy(scores, q, reduction='sum') / 84
    hard = F.cross_entropy(scores, x['label'][:, 0].long())
    found = net.forward(**x)
    torch.testing.assert_close(found[DISTILLATION], soft.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found['loss'], hard.detach(), rtol=1e-5, atol=1e-6)
    net.backward()
    (hard + 2.5 * soft).backward()
    for blob, mine in zip(net.params['score'], (weight, bias), strict=True):
        torch.testing.assert_close(blob.diff, mine.grad, rtol=1e-4, atol=1e-5)


FEATURES = conv('c', 'data', num_output=5, kernel=3, field='pad: 1')
SCORES = conv('score', 'c', num_output=4)


def similarity(x, kernel):
    """The cosines between the patches of features (N, C, H, W), (N, P, P), as the authors compute
    them: the lengths are constants."""
    x = F.max_pool2d(x, kernel, kernel, ceil_mode=True)
    x = x / (x.square().sum(1, keepdim=True).sqrt().detach() + 1e-8)
    x = x.flatten(2)
    return torch.einsum('icm,icn->imn', x, x)


@pytest.mark.parametrize('weight', [0, 2.5])
@pytest.mark.parametrize('size, kernel', [((6, 8), (3, 4)), ((6, 7), (3, 3)), ((1, 9), (1, 4))],
                         ids=['2x2', '2x3', '1x3'])
def test_the_pair_wise_loss_compares_similarities(size, kernel, weight):
    """Values and gradients, beside the pixel-wise loss and alone; with a row of patches that the
    map does not fill."""
    student = inputs(data=(2, 3, *size), label=(2, 1, *size)) + FEATURES + SCORES + LOSS
    teacher = Net.of(parse_net(TEACHING, FILE), 'TEST', seed=3)
    text = with_teacher(parse_net(student, FILE), parse_net(TEACHING, FILE), 'score', weight, 0.7,
                        size)
    net = Net.of(text, 'TRAIN', seed=1)
    teach(net, weights_of(teacher))
    x = image(2, 3, *size)
    blobs = net.params['c'] + net.params['score']
    params = [blob.data.clone().requires_grad_() for blob in blobs]
    features = F.conv2d(x, *params[:2], padding=1)
    scores = F.conv2d(features, *params[2:])
    labels = torch.arange(2 * size[0] * size[1]) * 7 % 4
    loss = F.cross_entropy(scores, labels.view(2, *size))
    taught = teacher.forward(('bn', 'score'), data=x)
    pairs = (similarity(taught['bn'].detach(), kernel) - similarity(features, kernel)).square()
    count = pairs.shape[1]
    assert count == -(-size[0] // kernel[0]) * -(-size[1] // kernel[1])
    loss = loss + 0.7 * pairs.sum() / count ** 2 / 2
    if weight:
        loss = loss + weight * F.cross_entropy(scores, taught['score'].detach().softmax(1))
    found = net.forward(data=x, label=labels.view(2, 1, *size).float())
    torch.testing.assert_close(found[PAIR_LOSS], pairs.sum().detach() / 4, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.total_loss.detach(), loss.detach(), rtol=1e-5, atol=1e-6)
    assert (DISTILLATION in found) == bool(weight)
    net.backward()
    loss.backward()
    for blob, mine in zip(blobs, params, strict=True):
        torch.testing.assert_close(blob.diff, mine.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('field, divisor', [
    ('', 84), ('normalize: true', 84), ('normalization: FULL', 84), ('normalize: false', 2),
    ('normalization: NONE', 1)])
def test_losses_are_sums_where_the_students_own_is(field, divisor):
    """By the loss called 'loss', of several."""
    aux = conv('aux', 'data', num_output=4) + layer('SoftmaxWithLoss', 'early', 'aux label',
                                                    'early')
    student = DATA + FEATURES + SCORES + aux + layer(
        'SoftmaxWithLoss', 'loss', 'score label', 'loss', f'loss_param {{ {field} }}')
    teacher = Net.of(parse_net(TEACHING, FILE), 'TEST', seed=3)
    net = Net.of(made(student, weight=2, pair_weight=3, size=(6, 7)), 'TRAIN', seed=1)
    teach(net, weights_of(teacher))
    found = net.forward(('score', 'c', DISTILLATION, PAIR_LOSS, 'early', 'loss'), **given())
    taught = teacher.forward(('bn', 'score'), data=given()['data'])
    soft = F.cross_entropy(found['score'], taught['score'].softmax(1), reduction='sum') / divisor
    torch.testing.assert_close(found[DISTILLATION], soft, rtol=1e-5, atol=1e-6)
    pairs = (similarity(taught['bn'], (3, 3)) - similarity(found['c'], (3, 3))).square().mean()
    whole = found['loss'] + found['early'] + 2 * soft + 3 * pairs * (1 if divisor == 84 else 42)
    torch.testing.assert_close(net.total_loss.detach(), whole, rtol=1e-5, atol=1e-6)


def test_features_of_zeros_have_no_similarity():
    """And no gradient that is not finite: a patch without any feature."""
    text = with_teacher(parse_net(DATA + FEATURES + SCORES + LOSS, FILE), parse_net(TEACHING, FILE),
                        'score', 0, 1, (6, 7))
    net = Net.of(text, 'TRAIN', seed=1)
    for blob in net.params['c']:
        blob.data.zero_()
    found = net.forward((f'{PAIRS}similarity',), **given())
    assert not found[f'{PAIRS}similarity'].any()
    net.backward()
    assert all(torch.isfinite(blob.diff).all() for blob in net.params['c'])


def test_the_teacher_learns_nothing(tmp_path):
    net, _ = taught()
    x = given()
    solver = Solver(parse_solver(
        f'net_param {{ {made().message} }} base_lr: 0.01 momentum: 0.9 weight_decay: 0.1 '
        'lr_policy: "fixed" max_iter: 3', FILE), prefix=tmp_path / 's', seed=1)
    for name, blobs in net.params.items():
        for ours, other in zip(solver.net.params[name], blobs, strict=True):
            ours.data.copy_(other.data)
    for name, tensor in x.items():
        solver.net.blobs[name].data[...] = tensor
    solver.step(3)
    for name, blobs in net.params.items():
        for ours, other in zip(solver.net.params[name], blobs, strict=True):
            assert torch.equal(ours.data, other.data) == name.startswith(TEACHER), name


def test_the_steps_of_the_page(tmp_path):
    """docs/successors.md: from files to a snapshot that the student's deploy net takes."""
    teacher = Net.of(parse_net(TEACHING, FILE), 'TEST', seed=3)
    teacher.save(tmp_path / 'weights.caffemodel.h5')
    for name, text in (('train', STUDENT), ('deploy', TEACHING)):
        (tmp_path / f'{name}.prototxt').write_text(text)
    net = with_teacher(*(read_net(tmp_path / f'{name}.prototxt') for name in ('train', 'deploy')),
                       score='score')
    write_text(net_text(net.message), tmp_path / 'distilled.prototxt')
    (tmp_path / 'solver.prototxt').write_text(
        'train_net: "distilled.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 2')
    solver = Solver(tmp_path / 'solver.prototxt', prefix=tmp_path / 's', seed=1)
    teach(solver.net, read_weights(tmp_path / 'weights.caffemodel.h5'))
    for name, tensor in given().items():
        solver.net.blobs[name].data[...] = tensor
    solver.step(2)
    deploy = Net.of(parse_net(STUDENT.replace(LOSS, ''), FILE), 'TEST')
    deploy.copy_from(solver.snapshot()[0])
    assert torch.equal(deploy.params['score'][0].data, solver.net.params['score'][0].data)
    assert torch.equal(solver.net.params['teacher_c'][0].data, teacher.params['c'][0].data)


def test_the_teacher_reads_the_data_as_they_come():
    """Before an in-place layer of the student; other layers keep their lines."""
    student = DATA + layer('Power', 'half', 'data', 'data', 'power_param { scale: 0.5 }') + conv(
        'score', 'data', num_output=4) + LOSS
    text = made(student)
    names = [each.name for each in text.message.layer]
    assert names == ['data', 'teacher_c', 'teacher_drop', 'teacher_bn', 'teacher_score', 'label',
                     'half', 'score', 'loss', 'teacher_prob', 'teacher_loss']
    assert text.lines[names.index('half')] == 3 and text.lines[names.index('teacher_c')] is None


def test_shipped_nets_teach_each_other():
    """FCN-8s teaches FCN-32s; nothing of it learns, and a second teacher is refused."""
    student, teacher = (read_net(shipped(stage) / file) for stage, file in (
        ('mini-fcn32s', 'train.prototxt'), ('mini-fcn8s', 'deploy.prototxt')))
    text = with_teacher(student, teacher, 'score')
    added = [each for each in text.message.layer if each.name.startswith(TEACHER)]
    assert len(added) == len(teacher.message.layer) - 1 + 2
    assert all(param.lr_mult == param.decay_mult == 0 for each in added for param in each.param)
    assert [each for each in text.message.layer if each not in added] == list(
        filter_net(student, 'TRAIN').message.layer)
    assert all(each.param for each in added if each.type == 'Convolution')
    with pytest.raises(FcnError, match='already'):
        with_teacher(text, teacher, 'score')


@pytest.mark.parametrize('student, teacher, parts', [
    (DATA + conv('score', 'data', num_output=5) + LOSS, TEACHING,
     ('4 classes', 'student 5', 'same classes')),
    (DATA + conv('score', 'data', num_output=4), TEACHING, ('no loss such as SoftmaxWithLoss',)),
    (STUDENT, TEACHING.replace('"score"', '"out"'), ("no blob 'score'",)),
    (STUDENT, TEACHING.replace('"data"', '"image"'), ("reads 'image'", 'the student has not')),
    (STUDENT.replace('name: "score"', 'name: "teacher_s"'), TEACHING, ("'teacher_", 'already')),
])
def test_teachers_that_do_not_fit(student, teacher, parts):
    with pytest.raises(FcnError) as caught:
        made(student, teacher)
    assert caught.value.do and caught.value.file
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_pair_wise_loss_needs_the_size_of_images():
    with pytest.raises(FcnError, match='needs the size') as caught:
        made(pair_weight=1)
    assert caught.value.do == 'Give size.'
    assert made(DATA + FEATURES + SCORES + LOSS, pair_weight=1, size=(6, 7))


def test_scores_of_another_size():
    less = TEACHING.replace('kernel_size: 3 pad: 1', 'kernel_size: 3')
    with pytest.raises(FcnError, match="scores are 1x4x4x5, the student's 1x4x6x7") as caught:
        made(teacher=less, size=(6, 7))
    assert caught.value.code == 'teacher-size' and caught.value.file == 'teacher.prototxt'


def test_a_student_that_learns_at_another_size():
    less = layer('Pooling', 'less', 'data', 'less', 'pooling_param { kernel_size: 2 stride: 2 }')
    student = inputs(data=(2, 3, 6, 7), label=(2, 1, 3, 4)) + less + conv(
        'score', 'less', num_output=4) + LOSS
    with pytest.raises(FcnError, match="loss is at 3x4, for images of 6x7 and") as caught:
        made(student, size=(6, 7))
    assert caught.value.code == 'student-size' and caught.value.file == FILE


def test_a_teacher_of_another_dialect():
    with pytest.raises(FcnError, match='of the dialect bvlc and a teacher of pspnet'):
        with_teacher(parse_net(STUDENT, FILE), parse_net(TEACHING, FILE, 'pspnet'), 'score')


def test_weights_of_another_net():
    net, teacher = taught()
    weights = weights_of(teacher)
    with pytest.raises(FcnError, match="lack 'bn'"):
        teach(net, Weights([each for each in weights.layers if each.name != 'bn'],
                           'other.caffemodel', 'caffemodel', {}))
