"""The class grid of a cast classifier: its values, the positions of its cells, its picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_runs import ROOT, call, contents
from tiny_nets import CLASSIFIER, CONV, INPUT, MEAN, PROB, bad, noise, own, save, write_net

from fcn_repro.data.image import to_blob
from fcn_repro.net import Net
from fcn_repro.net.cast import cast_classifier
from fcn_repro.net.graph import build
from fcn_repro.predict.heatmap import Heatmaps, cast_net, cell_places
from fcn_repro.predict.labels import image_input
from fcn_repro.proto import TEST
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.report.heatmap import cells, colour_map


def classifier_and_heat(tmp_path, text, **options):
    net_file, weights = write_net(tmp_path, text)
    classifier = Net.read(net_file, TEST)
    net = cast_net(classifier)
    net.copy_from(weights)
    return classifier, Heatmaps(net, (17, 13), MEAN, top=2, **options)


@pytest.mark.parametrize('end', ['', PROB % 'prob', PROB % 'cls'],
                         ids=['scores', 'prob', 'inplace'])
def test_the_grid_is_the_classifier_slid_over_the_image(tmp_path, end):
    classifier, heat = classifier_and_heat(tmp_path, CLASSIFIER + end)
    plain = Net.read(write_net(tmp_path, CLASSIFIER, 'plain')[0], TEST)
    image = noise(29, 37)
    grid = heat.scores(image).numpy()
    assert grid.shape == (5, 4, 7) and (heat.stride == 4).all()
    for i in range(4):
        for j in range(7):
            crop = image[4 * i:4 * i + 17, 4 * j:4 * j + 13]
            with torch.no_grad():
                score = plain.forward(data=to_blob(crop, MEAN)[None])['cls'][0].numpy()
            assert np.abs(grid[:, i, j] - score).max() <= 1e-5 * np.abs(grid).max()
    own_size = heat.scores(image[:17, :13])
    with torch.no_grad():
        out, = classifier.forward(data=to_blob(image[:17, :13], MEAN)[None]).values()
    own_size = torch.softmax(own_size, 0) if end else own_size
    assert own_size.shape == (5, 1, 1)
    assert (own_size[:, 0, 0] - out[0]).abs().max() <= 1e-5 * out.abs().max()


def test_the_cells_lie_where_their_receptive_fields_do(tmp_path):
    _, heat = classifier_and_heat(tmp_path, 'force_backward: true\n' + CLASSIFIER)
    assert heat.first.tolist() == [8, 6]            # the middle of 17 x 13
    for blob in heat.net.learnable_params:          # so that every path counts
        blob.data.abs_().add_(0.1)
    score = heat.net.forward(blobs=['data'], data=torch.zeros(1, 3, 29, 37))['cls']
    diff = torch.zeros_like(score)
    diff[0, 0, 2, 3] = 1
    heat.net.backward(cls=diff)
    field = heat.net.blobs['data'].diff[0].abs().sum(0).nonzero().float()
    assert field.mean(0).tolist() == (heat.first + heat.stride * (2, 3)).tolist()


def test_shipped_nets_have_the_stride_of_the_paper():
    net = Net.read(ROOT / 'prototxt/mini-classifier/deploy.prototxt', TEST)
    cast = Net(cast_classifier(net))
    stride, first = cell_places(cast, image_input(cast), cast.graph.last('score_cls'))
    assert stride.tolist() == [32, 32] and first.tolist() == [111.5, 111.5]


@settings(max_examples=100)
@given(st.integers(1, 60), st.floats(0.3, 40), st.floats(-30, 30), st.integers(1, 12))
def test_each_pixel_belongs_to_the_nearest_cell(size, stride, first, count):
    centres = first + stride * np.arange(count)
    for pixel, cell in enumerate(cells(size, stride, first, count)):
        distance = np.abs(centres - pixel)
        if cell < 0:
            assert distance.min() >= stride / 2 - 1e-9
        else:
            assert distance[cell] <= stride / 2 + 1e-9


def test_colours_rise_evenly():
    colours = colour_map().astype(float) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ (0.2126, 0.7152, 0.0722)) - 16
    rise = np.diff(lightness[::8])
    assert lightness[0] < 10 and lightness[-1] > 90 and (rise > 0).all() and rise.max() < 6


def test_heatmap_of_the_tool(tmp_path, capsys):
    save(tmp_path / 'x.png', noise(29, 37))
    (tmp_path / 'names').write_text('a\nb\nc\nd\ne\n')
    done = call(capsys, 'infer', tmp_path / 'x.png', '--heatmap', *own(tmp_path, CLASSIFIER),
                '--classes', tmp_path / 'names', '--top', 2, '--scale', 2, '--save-scores',
                '--out', tmp_path / 'out')
    assert done.status == 0 and '1 copied, 2 cast' in done.out, done
    assert set(map(str, contents(tmp_path / 'out'))) == {'x.heatmap.png', 'x.npz'}
    with np.load(tmp_path / 'out/x.npz') as file:
        scores, y, x = (file[name] for name in ('scores', 'y', 'x'))
    assert scores.dtype == np.float32 and scores.shape == (5, len(y), len(x)) == (5, 11, 16)
    assert y[1] - y[0] == 2 and y[0] == 3.75        # (8 + 0.5) / 2 - 0.5
    best = torch.softmax(torch.from_numpy(scores), 0).flatten(1).amax(1)
    first, second = best.argsort(descending=True)[:2].tolist()
    assert f'grid 11x16  {"abcde"[first]} {best[first]:.2f}, {"abcde"[second]} ' in done.out
    picture = np.asarray(Image.open(tmp_path / 'out/x.heatmap.png'))
    assert picture.shape[1] > 3 * 400


def test_bad_grids(tmp_path, capsys):
    x = save(tmp_path / 'x.png', noise(24, 24))
    small = save(tmp_path / 'small.png', noise(12, 10))
    bad(capsys, tmp_path, small, '--heatmap', net=CLASSIFIER, parts=[
        'small.png', '12x10', 'the classifier is for 17x13', '--scale 1.5, or a larger image'])
    bad(capsys, tmp_path, x, '--heatmap', net=INPUT % (24, 24) + CONV, parts=[
        "'pool' is made by a Pooling", 'InnerProduct'])
    bad(capsys, tmp_path, x, '--heatmap', '--top', 6, net=CLASSIFIER, parts=['top 6 of 5'])
    bad(capsys, tmp_path, x, '--top', 2, parts=['--top is for', 'Give --heatmap'])
    (tmp_path / 'names').write_text('a\nb\n')
    bad(capsys, tmp_path, x, '--heatmap', '--classes', tmp_path / 'names', net=CLASSIFIER,
        parts=['2 class names for the 5 classes'])


def test_the_net_of_another_text_is_not_changed():
    """cast_net leaves its classifier as it is."""
    classifier = Net(build(parse_net(CLASSIFIER, 'c.prototxt'), TEST))
    before = classifier.graph
    cast_net(classifier)
    assert classifier.graph is before and before.nodes[-1].type == 'InnerProduct'
