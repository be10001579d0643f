"""DenseCRF and MultiStageMeanfield beyond their goldens (test_fork_layers.py): what they begin
with, what they refuse, and their derivatives by differences."""

import struct

import pytest
import torch
from goldens import DATA
from test_fork_layers import make, refused
from texts import inputs, layer

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.layers.common.pairwise import by_colour, by_place
from fcn_repro.net import Net
from fcn_repro.parity.golden import read_golden
from fcn_repro.search import SearchPath

SCORES = inputs(u=(1, 3, 6, 5), d=(1, 1, 1, 2), i=(1, 3, 6, 5))
FIELDS = 'pos_xy_std: 3 pos_w: 3 bi_xy_std: 20 bi_rgb_std: 10 bi_w: 4'
STRINGS = 'spatial_filter_weights_str: "3 3 3" bilateral_filter_weights_str: "5 5 5"'


def image(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def crf(fields=FIELDS, bottoms='u d i'):
    return SCORES + layer('DenseCRF', 'y', bottoms, 'y', f'dense_crf_param {{ {fields} }}')


def meanfield(fields=STRINGS, n=1, iterations=2):
    return inputs(u=(n, 3, 6, 5), q=(n, 3, 6, 5), i=(n, 3, 6, 5)) + layer(
        'MultiStageMeanfield', 'y', 'u q i', 'y', 'multi_stage_meanfield_param { num_iterations: '
        f'{iterations} theta_alpha: 8 theta_beta: 9 theta_gamma: 3 {fields} }}')


def size(h, w):
    return torch.tensor([float(h), float(w)]).reshape(1, 1, 1, 2)


# ---- DenseCRF ----------------------------------------------------------------------------------

def test_a_crf_without_an_image():
    """Two bottoms, which the fork accepts and crashes on: the kernel of place alone."""
    net = make(crf('pos_xy_std: 2 pos_w: 3 max_iter: 4', 'u d'))
    u = image(1, 3, 6, 5)
    found = net.forward(u=u, d=size(6, 5), i=image(1, 3, 6, 5))['y']
    wanted = ops.mean_field_ref(u[0].flatten(1).T, [by_place(6, 5, 2.).weighed(3.)], 4)
    assert torch.allclose(found[0].flatten(1).T, wanted, atol=1e-6)


def test_a_crf_has_no_gradient():
    text = crf().replace('bottom: "u"', 'bottom: "s"').replace(
        'layer { name: "y"', 'layer { name: "s" type: "Power" bottom: "u" top: "s" }\n'
        'layer { name: "y"')
    net = make(f'force_backward: true\n{text}', phase='TRAIN')
    y = net.forward(u=image(1, 3, 6, 5), d=size(6, 5), i=image(1, 3, 6, 5))['y']
    assert not y.requires_grad


@pytest.mark.parametrize('fields, parts', [
    ('max_iter: -1', ('max_iter -1',)),
    ('pos_w: 3', ('1 pos_w, 0 pos_xy_std',)),
    ('bi_w: 3 bi_xy_std: 2', ('1 bi_w, 1 bi_xy_std, 0 bi_rgb_std',)),
    (FIELDS.replace('bi_rgb_std: 10', 'bi_rgb_std: 0'), ('bi_rgb_std 0 is not positive',)),
    (FIELDS.replace('pos_xy_std: 3', 'pos_xy_std: nan'), ('pos_xy_std nan',)),
    ('pos_xy_std: 3 pos_w: 3', ('there is an image, but no bi_w',)),
])
def test_what_a_crf_refuses(fields, parts):
    error = refused(crf(fields))
    assert error.line and error.do and all(part in str(error) for part in parts)


@pytest.mark.parametrize('text, what', [
    (crf(bottoms='u d'), 'bi_w is set, but there is no image'),
    (crf(bottoms='u i i'), 'bottoms of 1x3x6x5, 1x3x6x5, 1x3x6x5'),
    (crf(bottoms='d d i'), 'bottoms of 1x1x1x2'),
    (crf().replace('dim: 2', 'dim: 3'), 'sizes (N, 1, 1, 2)')])
def test_bottoms_that_a_crf_refuses(text, what):
    error = refused(text)
    assert what in str(error) and error.line


@pytest.mark.parametrize('h, w', [(0, 5), (-2, 5), (7, 4), (3, 9)])
def test_sizes_that_a_crf_refuses(h, w):
    error = refused(crf(), u=image(1, 3, 6, 5), d=size(h, w), i=image(1, 3, 6, 5))
    assert f'an image of {h}x{w} in a blob of 1x3x6x5' in str(error)


def test_an_image_that_is_not_finite():
    picture = image(1, 3, 6, 5).clone()
    picture[0, 1, 2, 3] = torch.nan
    error = refused(crf(), u=image(1, 3, 6, 5), d=size(6, 5), i=picture)
    assert "layer 'y'" in str(error) and 'a point is not finite' in str(error)
    assert 'Check the image' in str(error)
    assert make(crf()).forward(u=image(1, 3, 6, 5), d=size(2, 5), i=picture)    # beyond the image


# ---- MultiStageMeanfield -----------------------------------------------------------------------

@pytest.mark.parametrize('fork, dialect', [('crfasrnn-crfrnn', 'crfasrnn'),
                                           ('crfasrnn-master', 'crfasrnn-master')])
def test_first_weights_are_the_forks(fork, dialect):
    """Of master those in spatial.par and bilateral.par, as float64 in memory of float32."""
    compared = 0
    for path in sorted((DATA / 'forks' / fork / 'layers').glob('meanfield_*.prototxt')):
        if 'trained' not in path.name:
            net = Net.read(path, 'TEST', dialect=dialect, search=SearchPath.beside(path))
            golden = read_golden(path.with_suffix('.h5')).params('params')['y']
            for i, blob in enumerate(net.params['y']):
                assert (blob.data.numpy() == golden[str(i)].values.reshape(blob.shape)).all()
                compared += 1
    assert compared == 3 * (2 if dialect == 'crfasrnn' else 3)


def test_a_number_in_memory_of_float32(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in 'spatial.par', 'bilateral.par':
        (tmp_path / name).write_text('0.1 -2\n7 9')
    net = make(meanfield(''), 'crfasrnn-master')
    halves = [struct.unpack('<2f', struct.pack('<d', value)) for value in (0.1, -2, 7)]
    wanted = [*halves[0], 0, 0, *halves[1], 0, 0, halves[2][0]]     # 7's other half is outside
    assert net.params['y'][0].data.flatten().tolist() == wanted


@pytest.mark.parametrize('content, what', [
    (None, "there is no file of weights 'spatial.par'"), ('1 2', 'not one finite number for each'),
    ('1 two 3', 'not one finite number for each'), ('1 nan 3', 'not one finite number for each'),
    ('', 'not one finite number for each')])
def test_files_of_weights(tmp_path, monkeypatch, content, what):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / 'spatial.par').write_text(content)
    error = refused(meanfield(''), 'crfasrnn-master')
    assert what in str(error) and error.line and error.layer == 'y' and '3 ' in error.do
    for name in 'spatial.par', 'bilateral.par':             # what the remedy says
        (tmp_path / name).write_text('3 3 3')
    make(meanfield(''), 'crfasrnn-master')


@pytest.mark.parametrize('text, what', [
    (meanfield(STRINGS.replace('3 3 3', '3 3')), 'spatial_filter_weights_str has not one finite'),
    (meanfield(''), 'spatial_filter_weights_str has not one finite'),
    (meanfield(iterations=1), 'num_iterations 1 is not at least 2'),
    (meanfield(f'{STRINGS} theta_beta: 0').replace('theta_beta: 9 ', ''), 'theta_beta 0'),
    (inputs(z=(1, 2, 6, 5)) + meanfield().replace('bottom: "q"', 'bottom: "z"'),
     'bottoms of 1x3x6x5, 1x2x6x5, 1x3x6x5'),
])
def test_what_mean_field_refuses(text, what):
    error = refused(text, 'crfasrnn')
    assert what in str(error) and error.line


def test_fields_without_effect_in_master(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in 'spatial.par', 'bilateral.par':
        (tmp_path / name).write_text('3 3 3')
    given = {name: image(1, 3, 6, 5, seed=seed) for seed, name in enumerate('uqi')}
    plain, set_ = (make(meanfield(fields), 'crfasrnn-master').forward(**given)['y'] for fields in (
        '', 'spatial_filter_weight: 9 bilateral_filter_weight: 9 threshold: 2'))
    assert torch.equal(plain, set_)


def test_batches_of_master_are_its_images():
    """Each image of a batch as if alone; of branch crfrnn only the first is inferred."""
    given = {name: image(2, 3, 6, 5, seed=seed) for seed, name in enumerate('uqi')}
    alone = [{name: blob[n:n + 1] for name, blob in given.items()} for n in (0, 1)]
    net = make(meanfield(n=2), 'crfasrnn')
    both = net.forward(**given)['y']
    one = [make(meanfield(), 'crfasrnn').forward(**each)['y'] for each in alone]
    assert not torch.allclose(both[0], one[0][0]) and torch.equal(both[1], given['u'][1])


def test_derivatives_by_differences():
    """Of unary, first scores and the three weights, along random directions, in float64."""
    net = make(meanfield(iterations=3), 'crfasrnn')
    mean_field = net.layer(net.graph.nodes[-1])
    draw = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=draw).requires_grad_()
    blobs = [random(1, 3, 6, 5), random(1, 3, 6, 5)]
    weights = [random(1, 1, 3, 3) for _ in range(3)]
    picture = 10 * random(1, 3, 6, 5).detach()
    top = random(1, 3, 6, 5).detach()

    def loss(*args):
        return (mean_field.forward([*args[:2], picture], list(args[2:]))[0] * top).sum()
    assert torch.autograd.gradcheck(loss, (*blobs, *weights), atol=1e-6)


def test_kernels_are_normalised():
    for kernel in by_place(9, 8, 3.), by_colour(image(3, 9, 8), 5., 2.):
        ones = torch.ones(72, 2)
        assert torch.allclose(kernel.filter(ones), ones, atol=1e-6)
        x, y = torch.randn(72, 4).double(), torch.randn(72, 4).double()
        assert abs((kernel.filter(x) * y).sum() - (x * kernel.adjoint(y)).sum()) < 1e-6


def test_a_crf_is_not_exported(tmp_path):
    from exported import run_python
    with pytest.raises(FcnError, match='cannot be exported as PyTorch code'):
        run_python(make(crf()), {}, tmp_path)
