"""Section 3.1's times: of a small net, and none that was not measured."""

import pytest
import torch
from small_classifier import CLASSIFIER
from texts import net as build_net

from fcn_repro.net.placement import place
from fcn_repro.paper import timing as module
from fcn_repro.paper.experiment import Setting
from fcn_repro.recipe.options import Options


def test_times_of_a_small_net():
    found, faster = module.measured(place(build_net(CLASSIFIER)), torch.device('cpu'), (40, 40))
    assert set(found) == {'patch', 'grid', 'single'} and faster > 1
    assert all(value > 0 for columns in found.values() for value in columns.values())


def test_the_outcome(monkeypatch):
    monkeypatch.setattr(module, 'random_net', lambda *_: None)
    monkeypatch.setattr(module, 'measured', lambda *_: (
        {row: {'milliseconds': 1.0, 'backward_milliseconds': 2.0} for row in
         ('patch', 'grid', 'single')}, 4.5))
    outcome = module.timing(Setting(Options(device='cpu')))
    times, ratios = outcome.tables
    assert [row.stated is not None for row in times.rows] == [True, True, False, False]
    assert times.rows[-1].needs == 'a GPU' and not times.rows[-1].ours
    assert times.rows[1].values('backward_milliseconds') == [2.0]
    assert ratios.rows[0].values('times_faster') == [4.5]
    finding, = outcome.findings
    assert finding.holds is False and '4.5 times' in finding.measured


@pytest.mark.slow
def test_the_paper_s_grid():
    """AlexNet's own layers: 227x227 becomes one cell, 500x500 10x10 of them."""
    net = module.random_net(module.shipped(module.NET) / 'deploy.prototxt', torch.device('cpu'))
    assert module.Patchwise(net, (500, 500)).grid == (10, 10)
