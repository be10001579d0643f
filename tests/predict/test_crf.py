"""--crf after a net, in infer and eval, and the search for its settings."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import assert_error, call
from test_evaluation import scored  # noqa: F401  (a fixture)
from tiny_nets import INPUT, SEGMENT, bad, noise, own, save

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.layers.common.pairwise import by_colour, by_place
from fcn_repro.net import Net
from fcn_repro.predict.crf import GRID, Crf, colours, option_of, scores_of, search, step_of
from fcn_repro.predict.outputs import find_output
from fcn_repro.predict.segmenter import Segmenter
from fcn_repro.proto import TEST

MASK = INPUT % (24, 24) + '''layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 1 kernel_size: 3 pad: 1
    weight_filler { type: "gaussian" std: 0.02 } } }
layer { name: "p" type: "Sigmoid" bottom: "c" top: "p" }
'''


def segmenter(tmp_path, text=INPUT % (24, 24) + SEGMENT, crf=None, **settings):
    words = own(tmp_path, text)
    net = Net.read(words[1], TEST)
    net.copy_from(words[3])
    return Segmenter(net, outputs=[find_output(net)], crf=crf, **settings)


# ---- the CRF itself ----------------------------------------------------------------------------

def test_it_is_what_the_twins_compute():
    image, crf = noise(12, 15), Crf(bi_w=2, bi_xy_std=9, bi_rgb_std=40, iterations=4)
    probabilities = torch.softmax(torch.randn(5, 12, 15) * 2, 0)
    kernels = [by_place(12, 15, 3.).weighed(3.), by_colour(
        torch.from_numpy(image).permute(2, 0, 1), 9., 40.).weighed(2.)]
    wanted = ops.mean_field_ref(probabilities.flatten(1).T.log(), kernels, 4)
    found = crf.refine(probabilities.numpy(), image)
    assert np.abs(found.reshape(5, -1).T - wanted.numpy()).max() < 2e-6


def test_it_smooths_within_a_colour_and_stops_at_its_edge():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = 255
    truth = np.zeros((20, 20), int)
    truth[:, 10:] = 1
    noisy = np.where(np.random.default_rng(0).random((20, 20)) < 0.2, 1 - truth, truth)
    probabilities = np.stack([np.where(noisy == c, 0.7, 0.3) for c in (0, 1)]).astype(np.float32)
    assert (noisy != truth).any()
    assert (Crf().refine(probabilities, image).argmax(0) == truth).all()


def test_of_a_probability_of_0_the_logarithm_is_taken_of_the_smallest():
    rows = scores_of(np.array([0, 1], np.float32).reshape(2, 1, 1))
    assert rows[0].isfinite().all() and rows[0, 0] < -80


def test_the_defaults_are_deeplabs():
    assert Crf().settings == {'bi_w': 4, 'bi_xy_std': 49, 'bi_rgb_std': 5, 'pos_w': 3,
                              'pos_xy_std': 3, 'iterations': 10}


@pytest.mark.parametrize('name, value', [('bi_w', -1), ('bi_xy_std', 0), ('bi_rgb_std', -2),
                                         ('pos_w', float('nan')), ('pos_xy_std', float('inf')),
                                         ('iterations', -1)])
def test_settings_that_no_crf_has(name, value):
    with pytest.raises(FcnError, match=f'{name} is {value:g}'):
        Crf(**{name: value})


@pytest.mark.parametrize('image, what', [
    (None, 'a CRF reads the image, \\(H, W, 3\\) of 4x5: there is none'),
    (np.zeros((4, 5), np.uint8), 'this one is 4x5'), (np.zeros((4, 6, 3), np.uint8), '4x6x3')])
def test_an_image_that_is_missing(image, what):
    with pytest.raises(FcnError, match=what) as caught:
        colours(image, (4, 5), 3, 3)
    assert caught.value.code == 'crf-image'


# ---- infer -------------------------------------------------------------------------------------

def test_a_segmenter_with_a_crf(tmp_path):
    crf, image = Crf(bi_rgb_std=60), noise(24, 24)
    plain, refined = segmenter(tmp_path), segmenter(tmp_path, crf=crf)
    before, after = plain.predict(image, True)[0], refined.predict(image)[0]
    wanted = crf.refine(torch.softmax(torch.from_numpy(before.scores), 0).numpy(), image)
    assert (after.labels == wanted.argmax(0)).all() and (after.labels != before.labels).any()
    assert (after.scores == wanted).all() and after.averaged and not before.averaged
    tiled = segmenter(tmp_path, crf=crf, tile=16).predict(image)[0]     # of the whole image
    assert (tiled.labels == after.labels).all()


def test_a_mask_with_a_crf(tmp_path):
    crf, image = Crf(bi_rgb_std=60), noise(24, 24)
    heat = segmenter(tmp_path, MASK).predict(image)[0].heat
    after = segmenter(tmp_path, MASK, crf).predict(image)[0]
    wanted = crf.refine(np.stack([1 - heat, heat]), image)
    assert (after.heat == wanted[1]).all() and (after.labels == (wanted[1] > 0.5)).all()


def test_infer(tmp_path, capsys):
    save(tmp_path / 'x.png', noise(24, 24))
    words = [tmp_path / 'x.png', *own(tmp_path), '--npy', '--probabilities']
    for name, more in (('a', []), ('b', ['--crf']), ('c', ['--crf', '--bi-rgb-std', 60]),
                       ('d', ['--crf', '--crf-iterations', 0])):
        done = call(capsys, 'infer', *words, '--out', tmp_path / name, *more)
        assert done.status == 0, done
        assert ('after a dense CRF: bi_w 4, bi_xy_std 49' in done.out) == (name != 'a')
    labels = {name: np.load(tmp_path / name / 'x.npy') for name in 'abcd'}
    assert (labels['c'] != labels['a']).any() and (labels['d'] == labels['a']).all()
    with np.load(tmp_path / 'c/x.probabilities.npz') as file:
        assert (file['probabilities'].argmax(0) == labels['c']).mean() > 0.99   # float16


def test_what_infer_refuses(tmp_path, capsys):
    x = save(tmp_path / 'x.png', noise(24, 24))
    bad(capsys, tmp_path, x, '--bi-w', 3, parts=['--bi-w is for a CRF', 'Give --crf'])
    bad(capsys, tmp_path, x, '--crf', '--bi-rgb-std', 0,
        parts=['bi_rgb_std is 0', 'Give --bi-rgb-std a number above 0.'])
    bad(capsys, tmp_path, x, '--crf', '--crf-iterations', -1,
        parts=['Give --crf-iterations a number of at least 0.'])
    bad(capsys, tmp_path, x, '--crf', '--heatmap', parts=['--crf is for label maps'])
    argmax = INPUT % (24, 24) + SEGMENT.replace('"score"', '"s"') + \
        'layer { name: "a" type: "ArgMax" bottom: "s" top: "a" argmax_param { axis: 1 } }\n'
    bad(capsys, tmp_path, x, '--crf', net=argmax, parts=["'a' has no probabilities"])
    done = call(capsys, 'infer', x, *own(tmp_path, argmax), '--crf', '--output', 's', '--out',
                tmp_path / 'out')
    assert done.status == 0, done


# ---- eval --------------------------------------------------------------------------------------

def test_eval_says_that_it_is_with_a_crf(scored, capsys):  # noqa: F811
    words = scored[0]
    plain = call(capsys, 'eval_voc', *words)
    assert plain.status == 0 and 'CRF' not in plain.out
    assert json.loads(Path('out/metrics.json').read_text())['crf'] is None
    done = call(capsys, 'eval_voc', *words, '--crf', '--bi-w', 5, '--report', 'r.html')
    assert done.status == 0, done
    said = 'a dense CRF: bi_w 5, bi_xy_std 49, bi_rgb_std 5, pos_w 3, pos_xy_std 3, iterations 10'
    assert f', after {said}' in done.out and f'3 images, with {said}, rule' in done.out
    assert 'net, CRF    median' in done.out
    assert json.loads(Path('out/metrics.json').read_text())['crf'] == said
    assert said in Path('r.html').read_text()


def test_a_deploy_net_with_a_crf_scores_as_its_val_net(scored, capsys):  # noqa: F811
    words, _ = scored
    text = Path('val.prototxt').read_text()
    deploy = INPUT % (32, 32) + text[text.index('layer { name: "score"'):]
    Path('deploy.prototxt').write_text(deploy)
    found = []
    for net, more in (('val.prototxt', []), ('deploy.prototxt', ['--split', 'val'])):
        done = call(capsys, 'eval_voc', '--net', net, *words[2:], '--crf', *more)
        assert done.status == 0, done
        found.append(json.loads(Path('out/metrics.json').read_text())['confusion'])
    assert found[0] == found[1]


def test_an_interrupted_evaluation_goes_on_only_with_the_same_crf(scored, capsys):  # noqa: F811
    words, voc = scored
    label = voc / 'SegmentationClass/c.png'
    kept = label.read_bytes()
    label.write_bytes(b'no image')
    assert_error(call(capsys, 'eval_voc', *words, '--crf'), 'c.png')
    label.write_bytes(kept)
    again = call(capsys, 'eval_voc', *words, '--crf')
    assert again.status == 0 and '2 of 3 images were scored' in again.out
    label.write_bytes(b'no image')
    assert_error(call(capsys, 'eval_voc', *words, '--crf'), 'c.png')
    label.write_bytes(kept)
    other = call(capsys, 'eval_voc', *words, '--crf', '--bi-w', 2)
    assert other.status == 0 and 'were scored' not in other.out


# ---- the search --------------------------------------------------------------------------------

def test_search_prints_the_best_and_eval_agrees(scored, capsys):  # noqa: F811
    words = scored[0]
    done = call(capsys, 'eval_voc', *words, '--crf-search', '--bi-w', 2, 8, '--bi-xy-std', 4,
                '--bi-rgb-std', 5, 50, '--pos-w', 0.5, '--crf-iterations', 3)
    assert done.status == 0, done
    count = int(re.search(r'(\d+) settings of a dense CRF on 3 images', done.out)[1])
    assert count > 4 and 'they were chosen on these images: score them on others' in done.out
    best = re.search(r'^the best: (.*)$', done.out, re.M)[1].split()
    first = float(re.search(r'^  ([\d.]+)  a dense CRF', done.out, re.M)[1])
    assert '--pos-w' in best and best[best.index('--pos-w') + 1] == '0.5'
    assert best[best.index('--bi-xy-std') + 1] == '4' and '--crf-iterations' in best
    assert call(capsys, 'eval_voc', *words, *best).status == 0
    assert 100 * json.loads(Path('out/metrics.json').read_text())['mean_iu'] == \
        pytest.approx(first, abs=0.006)
    without = float(re.search(r'mean IU ([\d.]+) without it', done.out)[1])
    assert call(capsys, 'eval_voc', *words).status == 0
    assert 100 * json.loads(Path('out/metrics.json').read_text())['mean_iu'] == \
        pytest.approx(without, abs=0.006)


def test_search_of_one_image_and_one_round(scored, capsys):  # noqa: F811
    done = call(capsys, 'eval_voc', *scored[0], '--crf-search', '--images', 1, '--crf-rounds', 1,
                '--bi-w', 3, 4, '--bi-xy-std', 5, '--bi-rgb-std', 5)
    assert done.status == 0 and '2 settings of a dense CRF on 1 images' in done.out


@pytest.mark.parametrize('more, parts', [
    (['--crf', '--bi-w', 3, 4], ['2 values of --bi-w', '--crf-search']),
    (['--crf', '--crf-search'], ['--crf and --crf-search are both given']),
    (['--crf-rounds', 2], ['--crf-rounds is for a search', 'Give --crf-search']),
    (['--crf-search', '--crf-rounds', 0], ['Give --crf-rounds 1 or more.']),
    (['--crf-search', '--bi-w', 3, -1], ['bi_w is -1', 'Give --bi-w a number of at least 0.']),
    (['--crf-search', '--images', 0], ['0 images to evaluate'])])
def test_what_a_search_refuses(scored, capsys, more, parts):  # noqa: F811
    assert_error(call(capsys, 'eval_voc', *scored[0], *more), *parts)


class Fed:
    """A source of two samples whose best setting is known: high bi_w."""

    def __init__(self, tmp_path):
        net = Net.read(own(tmp_path)[1], TEST)
        self.output, self.label, self.data, self.asked = find_output(net), '', self, []

    def label_file(self, sample, name=''):
        return 'label.png'

    def values(self, k):
        self.asked.append(k)
        image = np.zeros((8, 8, 3), np.uint8)
        image[:, 4:] = 255
        label = (image[..., 0] > 0).astype(np.uint8)
        values = torch.full((21, 8, 8), -9.)
        values[0], values[1] = 0.3, torch.from_numpy(label).float()
        values[1, 2, 6], values[1, 3, 1] = -1, 2                # wrong, but for their surroundings
        return type('Sample', (), {'image': image, 'label': label, 'id': str(k)})(), values


def test_rounds_go_around_the_best(tmp_path):
    source = Fed(tmp_path)
    found = search(source, 2, {'bi_w': (0.01, 2.), 'bi_xy_std': (6.,), 'bi_rgb_std': (5.,),
                               'pos_w': (0.01,)}, rounds=3)
    tried = {crf.bi_w for crf in found.tried}
    assert found.best.bi_w > 0.02 and found.tried[found.best] == 1 > found.without
    assert {0.01, 2.} < tried and any(abs(v - 2) == pytest.approx(0.995) for v in tried)
    assert source.asked == 3 * [0, 1]


def test_steps_and_options():
    assert step_of((3, 5, 4.5)) == 0.5 and step_of((3,)) == step_of((3, 3)) == 0
    assert set(GRID) == {'bi_w', 'bi_xy_std', 'bi_rgb_std'}
    assert option_of('iterations') == 'crf-iterations' and option_of('bi_w') == 'bi-w'
