"""M2NIST's classifier and FCN, as they are shipped, and the pictures of all channels."""

import numpy as np
import pytest
import torch
from PIL import Image

from fcn_repro.data.m2nist import CLASSES, Digits, draw_scene
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.predict.channels import channel_pictures
from fcn_repro.predict.evaluation import evaluate_and_report
from fcn_repro.proto import TEST
from fcn_repro.recipe.models import MODELS
from fcn_repro.report.channels import GAP, PAGE, TEXT, channels
from fcn_repro.solver import Solver


@pytest.fixture
def one_thread():
    """These nets are too small to gain from more, and lose where other processes run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_model(name, folder):
    for file, text in MODELS[name].files().items():
        (folder / file).write_text(text)
    return folder


def test_the_fcn_comes_back_to_64x84_without_a_crop(tmp_path):
    net = Net.read(write_model('m2nist', tmp_path) / 'val.prototxt', TEST)
    sizes = {name: tuple(net.blobs[name].shape) for name in net.blobs}
    assert sizes['pool1'] == (1, 8, 30, 40) and sizes['pool2'] == (1, 8, 14, 19)
    assert sizes['conv3'] == (1, 32, 14, 19) and sizes['score_fr'] == (1, 11, 14, 19)
    assert sizes['upscore2'] == (1, 11, 30, 40) and sizes['score'] == (1, 11, 64, 84)
    assert 'Crop' not in {node.type for node in net.graph.nodes}
    deploy = Net.read(tmp_path / 'deploy.prototxt', TEST)
    assert deploy.forward(data=torch.zeros(1, 1, 64, 84))['score'].shape == (1, 11, 64, 84)


def trainer(folder, name, iterations=1, **overrides):
    folder.mkdir(exist_ok=True)
    write_model(name, folder)
    solver = Solver(folder / 'solver.prototxt', prefix=folder / 'train', max_iter=iterations,
                    overrides=overrides)
    solver.param.snapshot = 0
    return solver


def test_the_fcn_takes_the_classifiers_body_and_nothing_else(tmp_path):
    solver = trainer(tmp_path / 'classifier', 'm2nist-classifier')
    solver.snapshot()
    classifier = Net.read(tmp_path / 'classifier/deploy.prototxt', TEST)
    classifier.share_with(solver.net)
    assert classifier.params['ip3'][0].shape == (32, 8 * 5 * 5)
    net = Net.read(write_model('m2nist', tmp_path) / 'deploy.prototxt', TEST, seed=2)
    assert set(classifier.params) & set(net.params) == {'conv1', 'conv2'}
    net.copy_from(tmp_path / 'classifier/train_iter_0.caffemodel.h5')
    image = torch.rand(1, 1, 28, 28)
    classifier.forward(data=image, blobs=['pool2'])
    net.forward(data=torch.nn.functional.pad(image, (0, 56, 0, 36)), blobs=['pool2'])
    torch.testing.assert_close(net.blobs['pool2'].data[..., :5, :5],
                               classifier.blobs['pool2'].data)


@pytest.mark.usefixtures('one_thread')
def test_gradients_reach_both_deconvolutions_and_a_few_steps_lower_the_loss(tmp_path):
    solver = trainer(tmp_path, 'm2nist', 25, M2nistDataLayer={'batch_size': 4})
    ups = {name: solver.net.params[name][0] for name in ('upscore2', 'upscore4')}
    before = {name: up.data.clone() for name, up in ups.items()}
    losses = [solver.losses[-1] for _ in solver.run()]
    assert solver.param.weight_decay == pytest.approx(1e-3)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:2])
    for name, up in ups.items():
        off_diagonal = ~torch.eye(11, dtype=bool)
        assert up.shape == (11, 11, *((4, 4) if name == 'upscore2' else (6, 6)))
        assert (up.data != before[name])[off_diagonal].float().mean() > 0.99
    assert all(blob.data.isfinite().all() for p in solver.net.params.values() for blob in p)


@pytest.mark.usefixtures('one_thread')
def test_a_few_steps_of_the_classifier_are_better_than_guessing(tmp_path):
    solver = trainer(tmp_path, 'm2nist-classifier', 60)
    for _ in solver.run():
        pass
    net = Net.read(tmp_path / 'val.prototxt', TEST)
    net.share_with(solver.net)
    with torch.no_grad():
        assert np.mean([net.forward()['accuracy'].item() for _ in range(6)]) > 0.3


# what a person sees

def test_a_grid_of_channels():
    rng = np.random.default_rng(0)
    image, label = draw_scene(rng, Digits('train'))
    scores = 50. * (label == np.arange(11)[:, None, None])
    picture = channels(np.stack([image] * 3, 2), label, scores, CLASSES)
    height, width = 64 + GAP, 84 + GAP
    assert picture.shape == (TEXT + GAP + 2 * height - GAP, 13 * width - GAP, 3)
    upper, lower = (picture[TEXT + GAP + row * height:][:64] for row in (0, 1))
    assert np.array_equal(upper[:, :84, 0], image)
    assert np.array_equal(upper[:, width:], lower[:, width:])       # as the net is always right
    for c in range(11):
        panel = lower[:, (2 + c) * width:][:, :84, 0]
        assert np.array_equal(panel == 255, label == c)
    assert (lower[20:, :84] == PAGE).all() and (picture[:TEXT, 2 * width:] < 99).any()
    with pytest.raises(FcnError, match=r'the scores are \(10, 64, 84\).*\(11, 64, 84\)'):
        channels(np.stack([image] * 3, 2), label, scores[:10], CLASSES)


def test_a_val_net_is_scored_and_drawn(tmp_path, capsys):
    net = Net.read(write_model('m2nist', tmp_path) / 'val.prototxt', TEST)
    metrics = evaluate_and_report(net, tmp_path / 'eval', pictures=2, count=3).metrics
    assert len(metrics.class_iu) == 11 and '\nbackground ' in capsys.readouterr().out
    channel_pictures(net, tmp_path / 'eval/channels.png', count=2)
    with Image.open(tmp_path / 'eval/channels.png') as picture:
        assert picture.width == 13 * (84 + GAP) - GAP and picture.height > 4 * 64
