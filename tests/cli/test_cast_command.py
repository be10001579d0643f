"""fcn-repro cast: a classifier's prototxt and weights as a fully convolutional net's."""

import pytest
from small_runs import assert_error
from small_runs import call as call_main

from fcn_repro.cli.main import run_command
from fcn_repro.formats.weights import read_extra, read_weights
from fcn_repro.net import Net
from fcn_repro.proto import TEST
from fcn_repro.proto.netspec import net_text
from fcn_repro.recipe.models import alexnet, googlenet, vgg

SMALL = {'widths': (4, 8, 8, 8, 8), 'fc': 16}
NETS = {'alexnet': alexnet.classifier(classes=7, **SMALL, weight_filler={'type': 'msra'}),
        'googlenet': googlenet.classifier(classes=7, width=0.05),
        'vgg16': vgg.classifier(classes=7, size=64, widths=(4, 4, 4, 4, 4), fc=8,
                                weight_filler={'type': 'msra'})}
RECORD = {'mean': [1., 2., 3.], 'stage': 'a'}


def call(capsys, *args):
    return call_main(capsys, 'cast', *args, main=lambda: run_command('cast'))


@pytest.fixture(params=NETS)
def classifier(request, tmp_path):
    path = tmp_path / f'{request.param}.prototxt'
    path.write_text(net_text(NETS[request.param]))
    net = Net.read(path, TEST)
    net.save(tmp_path / 'weights.caffemodel', RECORD)
    net.save_hdf5(tmp_path / 'weights.caffemodel.h5', RECORD)
    return path


@pytest.mark.parametrize('ending', ['.caffemodel', '.caffemodel.h5'])
def test_prototxt_and_weights(classifier, ending, tmp_path, capsys):
    weights = tmp_path / f'weights{ending}'
    done = call(capsys, classifier, weights, '--out', tmp_path / 'new/fcn')
    assert done.status == 0 and 'cast  (' in done.out, done
    assert float(done.out.split('by at most ')[1].split(';')[0]) < 1e-4
    net = Net.read(tmp_path / 'new/fcn.prototxt', TEST)
    assert all(node.type != 'InnerProduct' for node in net.graph.nodes)
    rows = net.copy_from(tmp_path / f'new/fcn{ending}')
    assert {row.action for row in rows} == {'copied'}
    assert net.shapes[net.graph.first('data')][0] == 1
    record = read_extra(tmp_path / f'new/fcn{ending}')
    assert record['parent'] == str(weights) and record['parent_stage'] == 'a'
    assert list(record['mean']) == RECORD['mean'] and 'stage' not in record
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == [
        f'fcn{ending}', 'fcn.prototxt']


def test_a_grid_and_the_nets_that_start_from_it(tmp_path, capsys):
    """The scores of 10x10 places of a 500x500 image, as in section 3.1; FCN-AlexNet takes it."""
    (tmp_path / 'net.prototxt').write_text(net_text(NETS['alexnet']))
    Net.read(tmp_path / 'net.prototxt', TEST).save(tmp_path / 'w.caffemodel')
    done = call(capsys, tmp_path / 'net.prototxt', tmp_path / 'w.caffemodel', '--size', '500x500',
                '--out', tmp_path / 'fcn')
    assert done.status == 0 and 'prob: a grid of 10x10, 100 times' in done.out, done
    net = Net.read(tmp_path / 'fcn.prototxt', TEST)
    assert net.shapes[net.graph.last('fc8')] == (1, 7, 10, 10)
    (tmp_path / 'target.prototxt').write_text(net_text(alexnet.fcn(classes=3, **SMALL)))
    target = Net.read(tmp_path / 'target.prototxt', TEST)
    actions = {row.layer: row.action for row in target.copy_from(tmp_path / 'fcn.caffemodel')}
    assert actions['fc6'] == actions['conv1'] == 'copied'
    assert actions['score_fr'] == 'left at filler' and actions['fc8'] == 'ignored'
    assert read_weights(tmp_path / 'fcn.caffemodel')['fc6'][0].shape == (16, 8, 6, 6)


def test_bad_input(tmp_path, capsys):
    net, weights = tmp_path / 'net.prototxt', tmp_path / 'w.caffemodel'
    net.write_text(net_text(alexnet.fcn(classes=3, **SMALL)))
    Net.read(net, TEST).save(weights)
    assert_error(call(capsys, net, weights, '--out', tmp_path / 'x'), 'no InnerProduct')
    net.write_text(net_text(alexnet.classifier(classes=7, scores='other', **SMALL)))
    Net.read(net, TEST).save(weights)
    net.write_text(net_text(NETS['alexnet']))
    assert_error(call(capsys, net, weights, '--out', tmp_path / 'x'), 'lack fc8')
    assert_error(call(capsys, net, tmp_path / 'none', '--out', tmp_path / 'x'), 'none')
    assert_error(call(capsys, net, weights, '--out', tmp_path / 'x', '--size', 'big'), "'big'",
                 '--size')
    assert not (tmp_path / 'x.prototxt').exists()
