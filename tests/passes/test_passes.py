"""Passes: how many sites each finds in nets, equal outputs and gradients."""

import re
from pathlib import Path

import h5py
import pytest
import torch
from goldens import DATA, NETS, error, params
from texts import diffs, graph
from upcrop_nets import fused, make_bilinear, steps

from fcn_repro import passes
from fcn_repro.net import Net
from fcn_repro.net.graph import build
from fcn_repro.passes import fuse_upcrop
from fcn_repro.proto.prototxt import read_net
from fcn_repro.recipe.models import MODELS, acnet

PROTOTXT = Path(__file__).parents[2] / 'prototxt'
SHIPPED = sorted(path for path in PROTOTXT.glob('*/*.prototxt') if 'solver' not in path.name)
OWN = 'own-fcn16s', 'own-full-fcn16s', 'own-distilled', 'own-scribbles', 'own-convcrf'
SITES = {'late-fusion': 1, 'early-fusion': 1, 'multitask': 2}       # all others: 1
LAYERS = sorted(path.stem for path in (DATA / 'layers').glob('*.prototxt')
                if path.stem.startswith(('deconv_crop', 'fcn_skip')))


# Sites

@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_sites_in_each_shipped_prototxt(path):
    """One in each head of an FCN, its last upsampling: the others are not cropped but crop a skip.
    The own nets crop each of their five to the encoder's map, ACNet the two of each skip."""
    found = build(read_net(path), 'TRAIN' if path.stem.startswith('train') else 'TEST')
    sites, model = fused(found), path.parent.name
    if model in OWN:
        assert [node.name for node in sites] == ['up16c', 'up8c', 'up4c', 'up2c', 'up1c']
        return
    if model.startswith('crfrnn'):          # the authors' Crop is another one: nets are left alone
        authors = (model, path.stem) == ('crfrnn-voc', 'deploy')
        assert [node.name for node in sites] == (['crop'] if authors else ['coarse'])
        return
    if 'acnet' in model:
        last = MODELS[model].settings.get('decoder', acnet.DECODER)
        assert [node.name for node in sites] == [
            *(f'up{k}_{last[3 - k] - 1}_{of}_cut' for k in (3, 2, 1, 0) for of in ('conv2', 'up')),
            'score']
        return
    heads = {name for name in ('score', 'score_sem', 'score_geo') if name in found.values}
    assert {node.name for node in sites} == (
        heads if '-fcn' in model or model.startswith(('dilation', 'dupsampling')) else set())
    for node in sites:
        up, crop = (name for name, _ in node.owners)
        assert crop == node.name and re.fullmatch(
            r'upscore(16|8|4|_pool1)?' + node.name.removeprefix('score') + '|ctx?_upsample|up', up)
    if sites:
        assert len(fuse_upcrop(found).nodes) == len(found.nodes) - len(sites)
        kept = {found.values[node.parts[0].tops[0]] for node in sites}
        assert not fused(found, kept)


def test_every_shipped_model_is_counted():
    assert {path.parent.name for path in SHIPPED} == set(MODELS)


@pytest.mark.parametrize('path', params(NETS, 'net.prototxt', 'nets'))
def test_sites_in_each_golden_net(path):
    assert len(fused(build(read_net(path), 'TEST'))) == SITES.get(path.parent.name, 1)


# Equality

@pytest.mark.parametrize('use, limit', [((fuse_upcrop,), 1e-6), (passes.DEFAULT, 1e-5)],
                         ids=['fuse_upcrop', 'default'])
@pytest.mark.parametrize('bilinear', [False, True], ids=['', 'bilinear'])
@pytest.mark.parametrize('path', params(NETS, 'net.prototxt', 'nets'))
def test_nets_are_equal_with_and_without(path, bilinear, use, limit, called):
    """Loss, scores and the gradient of every parameter, with the golden's weights (in some nets
    bilinear) and with bilinear ones; 1e-5 where convolutions see other shapes and round anew."""
    plain, quick = (Net.read(path, 'TEST', passes=passes_) for passes_ in ((), use))
    with h5py.File(path.parent / 'golden_1x3x64x64.h5') as golden:
        blobs = {name: blob[...] for name, blob in golden['inputs'].items()}
    scores = [name for name in plain.blobs if name.startswith('score') and name in (
        node.name for node in fused(plain.graph))]
    for ours in plain, quick:
        ours.copy_from(path.parent / 'weights.caffemodel')
        if bilinear:
            make_bilinear(ours)
        ours.forward(blobs=scores, **blobs)
        ours.backward()
    sites = SITES.get(path.parent.name, 1)
    assert (steps(plain).count('UpCrop'), steps(quick).count('UpCrop')) == (0, sites)
    assert len(called) == sites or not bilinear
    assert error(quick.total_loss.detach(), plain.total_loss.detach()) <= 1e-6
    for name in scores:
        assert error(quick.blobs[name].data, plain.blobs[name].data) <= limit
    for name, diff in diffs(plain).items():
        assert error(diffs(quick)[name], diff) <= 1e-5, name


@pytest.mark.parametrize('learned', [True, False])
@pytest.mark.parametrize('case', LAYERS)
def test_fused_layers_equal_caffe(case, learned):
    """Every golden with a deconvolution and a crop, without asking for what is between them."""
    path = DATA / 'layers' / f'{case}.prototxt'
    ours = Net.read(path, 'TEST', passes=passes.DEFAULT)
    with h5py.File(path.with_suffix('.h5')) as golden:
        for name, blobs in golden['params'].items():
            for i, blob in blobs.items():
                ours.params[name][int(i)].data[...] = torch.from_numpy(blob[...])
                ours.params[name][int(i)].parameter.requires_grad_(learned)
        given = {name: blob[...] for name, blob in golden['inputs'].items()}
        ours.forward(blobs=list(given), **given)
        assert golden['outputs'] and golden['input_diffs'] and golden['params']
        for name, blob in golden['outputs'].items():
            assert error(ours.blobs[name].data, blob[...]) <= 1e-5, name
        ours.backward(**{name: blob[...] for name, blob in golden['output_diffs'].items()})
        for name, blob in golden['input_diffs'].items():
            assert error(ours.blobs[name].diff, blob[...]) <= 1e-5, name
        for name, blobs in golden.get('param_diffs', {}).items() if learned else ():
            for i, blob in blobs.items():
                assert error(ours.params[name][int(i)].diff, blob[...]) <= 1e-5, name


def test_which_golden_layers_are_fused():
    left = {case for case in LAYERS if not fused(graph((DATA / 'layers' / f'{case}.prototxt')
                                                       .read_text()))}
    assert left == {'deconv_crop_channel_axis', 'deconv_crop_other_consumer', 'fcn_skip_fuse'}
