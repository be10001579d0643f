"""Inference: label maps, ties, and what it must leave alone."""

from pathlib import Path

import numpy as np
import torch

from fcn_repro.net import Net
from fcn_repro.net.surgery import interp
from fcn_repro.passes import DEFAULT
from fcn_repro.predict.labels import predict

DEPLOY = Path(__file__).parents[2] / 'prototxt' / 'mini-fcn32s' / 'deploy.prototxt'


def deploy_net():
    net = Net.read(DEPLOY, 'TEST', passes=DEFAULT)
    interp({'upscore': [net.params['upscore'][0].data]}, ['upscore'])
    return net


def test_ties_go_to_the_lowest_index():
    """The score layer starts at zero, so every class ties at every pixel."""
    prediction = predict(deploy_net(), data=torch.zeros(1, 3, 40, 50))
    assert prediction.shape == (40, 50) and prediction.dtype == np.uint8
    assert not prediction.any()


def test_a_net_trains_after_inference():
    """The taps that are proven in inference mode must not be inference tensors."""
    net = deploy_net()
    predict(net, data=torch.zeros(1, 3, 32, 32))
    score = net.forward(data=torch.zeros(1, 3, 32, 32))['score']
    net.backward(score=torch.ones_like(score))
    assert net.params['score_fr'][1].diff.abs().sum() > 0
    assert any(step.node.type == 'UpCrop' for plan in net.executor.plans.values()
               for step in plan.steps)
