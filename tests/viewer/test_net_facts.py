"""Receptive field, stride, layers and parameters of the shipped nets: Table 1 of the paper."""

import pytest

from fcn_repro.errors import FcnError
from fcn_repro.recipe.models import MODELS
from fcn_repro.recipe.stages import shipped
from fcn_repro.viewer.facts import facts_of_net


@pytest.mark.parametrize('name, blob, field, layers, millions', [
    ('voc-fcn-alexnet', 'score_fr', 355, 8, 57), ('voc-fcn32s', 'score_fr', 404, 16, 134),
    ('voc-fcn-googlenet', 'score_fr', 715, 22, 6)])
def test_table_1(name, blob, field, layers, millions):
    facts = facts_of_net(shipped(name) / 'deploy.prototxt')
    assert (facts.blob, facts.receptive_field, facts.stride, facts.layers) == (
        blob, field, 32, layers)
    assert round(facts.parameters / 1e6) == millions


def test_googlenet_has_907_with_its_average_pooling():
    net = shipped('googlenet') / 'deploy.prototxt'
    facts = facts_of_net(net)
    assert (facts.blob, facts.receptive_field, facts.layers) == ('pool5/7x7_s1', 907, 21)
    assert facts.parameters == 6998552
    assert facts_of_net(net, 'inception_5b/output').receptive_field == 715


@pytest.mark.parametrize('name, field, stride', [
    ('voc-fcn8s', 404, 32), ('voc-fcn-pool4', 100, 16), ('voc-fcn-pool3', 44, 8),
    ('voc-fcn16s-fc6-14x14', 420, 16), ('siftflow-fcn16s', 404, 32),
    ('nyud-fcn32s-color-hha', 404, 32)])
def test_other_nets(name, field, stride):
    """Of the coarsest scores, which no upsampling is in; data layers are not opened."""
    for file in f'{MODELS[name].splits[0]}.prototxt', 'deploy.prototxt':
        facts = facts_of_net(shipped(name) / file)
        assert (facts.receptive_field, facts.stride) == (field, stride)


def test_learned_parameters_alone_are_counted():
    """The upsampling of the release is fixed; FCN-32s-fixed learns its scores."""
    assert facts_of_net(shipped('voc-fcn32s-fixed') / 'train.prototxt').parameters == 21 * 4097
    learned = facts_of_net(MODELS['voc-fcn32s-learned'].net(stride=32, learned_up=('last',)))
    plain = facts_of_net(MODELS['voc-fcn32s'].net(stride=32))
    assert learned.parameters - plain.parameters == 21 * 21 * 64 * 64


def test_a_blob_without_a_receptive_field():
    with pytest.raises(FcnError, match="'fc6' is not known"):
        facts_of_net(shipped('caffenet') / 'deploy.prototxt', 'fc6')
    with pytest.raises(FcnError, match=r"no blob 'scor'.*score"):
        facts_of_net(shipped('voc-fcn32s') / 'deploy.prototxt', 'scor')
