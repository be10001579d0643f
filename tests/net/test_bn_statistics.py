"""Statistics folded into the BNs of SegNet and ENet, and BNs absorbed into convolutions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import DATA, ROOT
from PIL import Image
from texts import FILE, conv, image, inputs, layer

from fcn_repro.cli.main import main
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import Weights, read_extra
from fcn_repro.net import Net
from fcn_repro.net.bn_statistics import (
    absorb,
    check_weights_folded,
    fold,
    gather,
    inference_text,
    passes_of,
    statistics_text,
)
from fcn_repro.parity.golden import read_golden
from fcn_repro.parity.layers import fed_arrays
from fcn_repro.predict.segment import segment
from fcn_repro.proto.prototxt import parse_net, read_net

GOLDEN = ROOT.parent / 'shared/goldens-forks/segnet/bn_statistics'
X = inputs(data=(2, 3, 8, 8))
BN = 'bn_param { bn_mode: %s scale_filler { value: 1.5 } shift_filler { value: 0.25 } }'


def bn(name, bottom, top, mode='INFERENCE', more=''):
    return layer('BN', name, bottom, top, BN % mode + more)


def with_noise(net, seed=0):
    """The net, its parameters moved by noise, BN's scales and shifts too."""
    draws = torch.Generator().manual_seed(seed)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data.add_(torch.randn(blob.shape, generator=draws), alpha=0.3)
    return net


# ---- statistics ------------------------------------------------------------------------------

@pytest.mark.skipif(not GOLDEN.exists(), reason='the goldens of the forks are not beside the '
                    'project')
@pytest.mark.parametrize('kind', ['biased', 'unbiased'])
def test_the_folded_net_is_the_golden(kind):
    """Scale and shift that the fork's batches give, and what the deploy net then computes."""
    golden = read_golden(GOLDEN / 'golden.h5')
    text = read_net(GOLDEN / 'statistics.prototxt', 'segnet')
    net = Net.of(statistics_text(text), 'TEST')
    net.copy_from(GOLDEN / 'learned.caffemodel')
    batches = golden.need('batches', 'group')
    feeds = [{name: array for name, array in fed_arrays(batches, k).items()
              if name in net.graph.inputs} for k in sorted(batches, key=int)]
    made = gather(net, feeds)
    deploy = Net.of(inference_text(statistics_text(text), net), 'TEST')
    deploy.copy_from(GOLDEN / 'learned.caffemodel')
    wanted = golden.need(kind, 'group')
    params = wanted.params('params')
    assert params.keys() == made.keys() and len(made) > 5
    for name, statistics in made.items():
        blobs = [blob.data.detach().numpy() for blob in deploy.params[name]]
        for i, value in enumerate(fold(*blobs, statistics, kind == 'unbiased')):
            stored = params[name][str(i)].values.reshape(value.shape)
            np.testing.assert_allclose(value, stored, rtol=0, atol=1e-5 * abs(stored).max())
            deploy.params[name][i].data[...] = torch.from_numpy(value)
    out = deploy.forward(**feeds[0])
    for name, stored in wanted.blobs('outputs').items():
        out[name] = out[name].detach()
        np.testing.assert_allclose(out[name].reshape(-1), stored.values.reshape(-1), rtol=0,
                                   atol=1e-5 * abs(stored.values).max())


def test_one_batch_folds_into_what_learn_computes():
    """With the statistics of the very batch, INFERENCE equals LEARN."""
    text = parse_net(X + conv('c', 'data', num_output=4, kernel=3) + bn('b', 'c', 'c', 'LEARN')
                     + layer('ReLU', 'r', 'c', 'c') + conv('d', 'c') + bn('e', 'd', 'y', 'LEARN'),
                     FILE)
    counted = statistics_text(text)
    net = with_noise(Net.of(counted, 'TEST'))
    made = gather(net, [{'data': image(2, 3, 8, 8)}])
    assert made['b'].values == 2 * 36
    deploy = Net.of(inference_text(counted, net), 'TEST')
    for name, blobs in net.params.items():
        values = [blob.data.detach().numpy() for blob in blobs]
        values = fold(*values, made[name]) if name in made else values
        for blob, value in zip(deploy.params[name], values, strict=True):
            blob.data[...] = torch.from_numpy(value)
    x = image(2, 3, 8, 8)
    learn = Net.of(text, 'TEST')
    for name, blobs in net.params.items():
        for blob, value in zip(learn.params[name], blobs, strict=True):
            blob.data[...] = value.data
    torch.testing.assert_close(deploy.forward(data=x)['y'], learn.forward(data=x)['y'], rtol=1e-4,
                               atol=1e-5)


def test_statistics_of_nothing():
    text = X + conv('c', 'data') + bn('b', 'c', 'c', 'LEARN')
    net = Net.of(statistics_text(parse_net(text, FILE)), 'TEST')
    with pytest.raises(FcnError, match='no batch'):
        gather(net, [])
    with pytest.raises(FcnError, match='not finite') as caught:
        gather(net, [{'data': torch.full((2, 3, 8, 8), float('inf'))}])
    assert caught.value.layer == 'b'
    for other in X + conv('c', 'data'), X + conv('c', 'data') + bn('b', 'c', 'c'):
        with pytest.raises(FcnError, match='no BN with bn_mode: LEARN'):
            statistics_text(parse_net(other, FILE, 'segnet'))


def test_given_tops_are_used():
    text = parse_net(X + conv('c', 'data') + layer('BN', 'b', 'c', 'y m', BN % 'LEARN'), FILE)
    assert list(statistics_text(text).message.layer[2].top) == ['y', 'm', 'b-var']


# ---- absorption ------------------------------------------------------------------------------

POWER = layer('Power', 'p', 'b', 'p', 'power_param { scale: 1.25 }')


@pytest.mark.parametrize('text, absorbed, left', [
    (conv('c', 'data') + bn('b', 'c', 'c') + layer('ReLU', 'r', 'c', 'c'), ['b'], []),
    (conv('c', 'data', num_output=4, field='bias_term: false').replace(
        'bias_filler { type: "gaussian" std: 1 }', '') + bn('b', 'c', 'b') + POWER
     + layer('ReLU', 'r', 'p', 'y'), ['b', 'p'], []),
    (conv('c', 'data') + bn('b', 'c', 'y'), ['b'], []),         # the output keeps its name
    (conv('c', 'data', num_output=6, field='group: 3 dilation: 2') + bn('b', 'c', 'b')
     + bn('e', 'b', 'e') + layer('TanH', 't', 'e', 'y'), ['b', 'e'], []),
    (conv('c', 'data') + bn('b', 'c', 'b') + layer('Eltwise', 's', 'c b', 'y')
     + conv('d', 'y') + bn('e', 'd', 'd'), ['e'], ['b']),       # c has another reader
    (layer('Deconvolution', 'u', 'data', 'u', 'convolution_param { num_output: 3 kernel_size: 2 '
           'stride: 2 weight_filler { type: "msra" } }') + bn('b', 'u', 'u') + conv('d', 'u')
     + bn('e', 'd', 'd'), ['e'], ['b']),
    (conv('c', 'data') + layer('Concat', 'k', 'c data', 'k') + bn('b', 'k', 'k') + conv('d', 'k')
     + bn('e', 'd', 'd') + layer('Pooling', 'q', 'd', 'q m', 'pooling_param { kernel_size: 2 '
                                 'stride: 2 }') + layer('Upsample', 'v', 'q m', 'y'),
     ['e'], ['b']),
    (conv('c', 'data', more='param { name: "w" }') + bn('b', 'c', 'c')
     + conv('d', 'c', more='param { name: "w" }') + bn('e', 'd', 'd') + conv('f', 'd')
     + bn('g', 'f', 'f'), ['g'], ['b', 'e']),                   # shared filters
])
def test_scores_before_and_after(text, absorbed, left):
    read = parse_net(X + text, FILE)
    net = with_noise(Net.of(read, 'TEST'))
    made = absorb(read, net)
    assert (list(made.layers), made.left) == (absorbed, left)
    final = Net.of(made.text, 'TEST')
    assert not {node.name for node in final.graph.nodes} & set(absorbed)
    final.copy_from(Weights({name: [np.float32(blob) for blob in blobs]
                             for name, blobs in made.blobs.items() if blobs}))
    x = image(2, 3, 8, 8)
    before, after = net.forward(data=x), final.forward(data=x)
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_absorbed():
    for text, what in ((X + conv('c', 'data') + bn('b', 'c', 'c', 'LEARN'), 'no statistics yet'),
                       (X + bn('b', 'data', 'y'), 'stands behind a Convolution')):
        read = parse_net(text, FILE)
        with pytest.raises(FcnError, match=what) as caught:
            absorb(read, Net.of(read, 'TEST'))
        assert caught.value.do


# ---- the commands ----------------------------------------------------------------------------

@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder with a train net on a list of images, and its weights."""
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(draws.integers(0, 255, (16, 24, 3), dtype=np.uint8)).save(f'i{i}.png')
        Image.fromarray(draws.integers(0, 3, (16, 24), dtype=np.uint8)).save(f'l{i}.png')
    Path('list.txt').write_text(''.join(f'i{i}.png l{i}.png\n' for i in range(5)))
    data = ''.join(layer('DenseImageData', 'data', '', 'data label', 'dense_image_data_param { '
                         f'source: "list.txt" batch_size: {n} }} include {{ phase: {phase} }}')
                   for n, phase in ((2, 'TRAIN'), (1, 'TEST')))
    text = 'name: "t"\n' + data + conv('c1', 'data', num_output=4, kernel=3, field='pad: 1') + bn(
        'b1', 'c1', 'c1', 'LEARN') + layer('ReLU', 'r1', 'c1', 'c1') + layer(
        'Pooling', 'p1', 'c1', 'p1 m1', 'pooling_param { kernel_size: 2 stride: 2 }') + conv(
        'c2', 'p1', num_output=4) + bn('b2', 'c2', 'b2', 'LEARN') + layer(
        'Python', 'd2', 'b2', 'd2', 'python_param { module: "spatial_dropout" layer: '
        '''"SpatialDropoutLayer" param_str: "{'phase': 'TRAIN', 'p': '0.1'}" }''') + layer(
        'Upsample', 'u', 'd2 m1', 'u') + conv('score', 'u') + layer(
        'SoftmaxWithLoss', 'loss', 'score label', 'loss') + layer(
        'Accuracy', 'acc', 'score label', 'acc', 'include { phase: TEST }')
    Path('train.prototxt').write_text(text)
    with_noise(Net.read('train.prototxt', 'TRAIN')).save('w.caffemodel')
    return tmp_path


def command(words):
    main(words.split())


def refused(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert end.value.code in (1, 2)
    return capsys.readouterr().err


def test_from_a_snapshot_to_the_final_net(trained, capsys):
    command('bn-statistics --net train.prototxt --weights w.caffemodel --out a/test')
    assert 'statistics of 2 BNs over 3 passes' in capsys.readouterr().out
    assert read_extra('a/test.caffemodel')['parent'] == 'w.caffemodel'
    test = Net.read('a/test.prototxt', 'TEST')
    assert test.graph.inputs == ('data',) and test.graph.outputs == ('prob',)
    assert [node.type for node in test.graph.nodes if node.name == 'd2'] == ['Power']
    assert not test.graph.force_backward and 'state' not in Path('a/test.prototxt').read_text()
    test.copy_from('a/test.caffemodel')
    command('bn-absorb --net a/test.prototxt --weights a/test.caffemodel --out a/final')
    said = capsys.readouterr().out
    assert 'absorbed 3 layers; the scores' in said
    assert read_extra('a/final.caffemodel')['parent'] == 'a/test.caffemodel'
    final = Net.read('a/final.prototxt', 'TEST', dialect='segnet')
    assert not {node.type for node in final.graph.nodes} & {'BN', 'Power'}
    final.copy_from('a/final.caffemodel')
    x = image(1, 3, 16, 24) * 50
    torch.testing.assert_close(final.forward(data=x)['prob'], test.forward(data=x)['prob'],
                               rtol=1e-4, atol=1e-5)


def test_the_number_of_passes(trained, capsys):
    net = Net.of(statistics_text(read_net('train.prototxt')), 'TEST')
    assert passes_of(net) == 5 // 2 + 5 % 2
    command('bn-statistics --net train.prototxt --weights w.caffemodel --out t --passes 2 '
            '--unbiased')
    assert 'over 2 passes' in capsys.readouterr().out
    assert '--passes 0' in refused(capsys, 'bn-statistics', '--net', 'train.prototxt', '--weights',
                                   'w.caffemodel', '--out', 't', '--passes', 0)


def test_statistics_that_were_never_made(trained, capsys):
    """The train net, or a deploy net with weights of a net that still learned; a snapshot of the
    scripts' own net, which has tops for its statistics, passes."""
    command('bn-statistics --net train.prototxt --weights w.caffemodel --out t')
    capsys.readouterr()
    for net, weights, place in (('train.prototxt', 'w.caffemodel', 'train.prototxt:5'),
                                ('t.prototxt', 'w.caffemodel', 'w.caffemodel')):
        said = refused(capsys, 'bn-absorb', '--net', net, '--weights', weights, '--out', 'x')
        assert place in said and "layer 'b1' (BN)" in said and 'no statistics yet' in said
        assert 'fcn-repro bn-statistics --net --weights --out' in said
    net = Net.of(statistics_text(read_net('train.prototxt')), 'TEST')
    net.copy_from('w.caffemodel')
    net.save('script.caffemodel')
    command('bn-absorb --net t.prototxt --weights script.caffemodel --out x')
    assert 'wrote x.prototxt' in capsys.readouterr().out


def test_other_files(trained, capsys):
    said = refused(capsys, 'bn-statistics', '--net', 'train.prototxt', '--weights',
                   DATA / 'weights/v1.caffemodel', '--out', 'x')
    assert 'lack' in said or 'no layer' in said
    assert 'no such file' in refused(capsys, 'bn-absorb', '--net', 'no.prototxt', '--weights',
                                     'w.caffemodel', '--out', 'x').lower()
    Path('plain.prototxt').write_text(X + conv('c1', 'data', num_output=4, kernel=3))
    assert 'stands behind a Convolution' in refused(
        capsys, 'bn-absorb', '--net', 'plain.prototxt', '--weights', 'w.caffemodel', '--out', 'x')
    assert not Path('x.caffemodel').exists()


def test_nets_that_are_used_without_statistics(trained, capsys, tmp_path):
    """infer, eval, export and segment: an error instead of a label map of nothing."""
    command('bn-statistics --net train.prototxt --weights w.caffemodel --out t')
    capsys.readouterr()
    for words in (['infer', 'i0.png', '--net', 't.prototxt', '--weights', 'w.caffemodel'],
                  ['export', '--net', 't.prototxt', '--weights', 'w.caffemodel', '--python',
                   '--out', 'x']):
        assert 'no statistics yet' in refused(capsys, *words)
    with pytest.raises(FcnError, match='no statistics yet') as caught:
        segment('i0.png', 't.prototxt', 'w.caffemodel')
    assert caught.value.do
    net = Net.read('t.prototxt', 'TEST')
    check_weights_folded(net, 't.caffemodel')
    net.copy_from('t.caffemodel')
    net.save_hdf5('t.h5')
    check_weights_folded(net, 't.h5')


def test_hdf5_says_that_statistics_were_never_made(trained, capsys):
    """A run's own weights, and those that convert made of a snapshot of either format and back."""
    command('bn-statistics --net train.prototxt --weights w.caffemodel --out t')
    net = Net.read('train.prototxt', 'TRAIN')
    net.copy_from('w.caffemodel')
    net.save_hdf5('run.caffemodel.h5', {'mean': [1., 2., 3.], 'stage': 'a'})
    command('convert w.caffemodel forks.h5')
    command('convert run.caffemodel.h5 back.caffemodel')
    command('convert back.caffemodel again.h5')
    folded = Net.read('t.prototxt', 'TEST')
    for file in ('run.caffemodel.h5', 'forks.h5', 'back.caffemodel', 'again.h5'):
        capsys.readouterr()
        assert 'no statistics yet' in refused(capsys, 'infer', 'i0.png', '--net', 't.prototxt',
                                              '--weights', file)
        with pytest.raises(FcnError, match='no statistics yet'):
            check_weights_folded(folded, file)
        check_weights_folded(net, file)
    assert read_extra('again.h5')['stage'] == 'a'
    np.testing.assert_array_equal(read_extra('again.h5')['mean'], [1, 2, 3])

    command('convert t.caffemodel t.h5')
    command('convert t.h5 u.caffemodel')
    net = Net.of(statistics_text(read_net('train.prototxt')), 'TEST')
    net.copy_from('w.caffemodel')
    net.save_hdf5('script.h5')
    net.save('script.caffemodel')
    command('convert script.caffemodel too.h5')
    for file in ('t.h5', 'u.caffemodel', 'script.h5', 'too.h5'):
        check_weights_folded(folded, file)
        assert 'batch_statistics' not in read_extra(file)
