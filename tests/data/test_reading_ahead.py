"""Nets whose images are read ahead: the same bits for any number of workers, the same errors."""

import json
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from data_folders import message, save_palette_png
from PIL import Image
from small_runs import (
    DATA,
    NET,
    assert_error,
    call,
    image_path,
    label_path,
    run,
    small_voc,
    solver_maker,
    start,
    write_stage,
)
from texts import layer
from texts import net as build_net

from fcn_repro.data.m2nist import M2nistDataLayer, M2nistDigitDataLayer
from fcn_repro.data.prefetch import Prefetch
from fcn_repro.data.reader import Reader
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.net.placement import place
from fcn_repro.predict.labels import data_layer
from fcn_repro.predict.metrics import Confusion
from fcn_repro.predict.outputs import find_output
from fcn_repro.predict.sources import evaluate
from fcn_repro.recipe.options import Options

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


@pytest.fixture
def voc(tmp_path):
    return small_voc(tmp_path / 'voc')


def net_of(voc, split='train', workers=2, more='', **options):
    return place(build_net(DATA % (voc, split) + more, 'TRAIN', **options), workers=workers)


@pytest.mark.parametrize('workers', [0, 1, 4])
def test_a_net_gets_the_sample_of_its_position(voc, workers):
    net = net_of(voc, workers=workers)
    reader = data_layer(net)
    for k in 0, 1, 2, 1, 2, 9, 3, 4, 5, 5, 0:
        net.state.position = k
        out, wanted = net.forward(), reader.batch(k)
        assert all((out[name].numpy() == blob).all()
                   for name, blob in zip(out, wanted, strict=True))
        assert [s.id for s in net.layer(net.graph.nodes[0]).samples] == [reader.sample(k).id]
        out['data'].zero_()


def test_a_net_that_is_only_made_reads_one_batch(voc, monkeypatch):
    loads = count_loads(monkeypatch)
    net = net_of(voc)
    assert sum(loads.values()) == 1 and net.layer(net.graph.nodes[0]).ahead.pool is None
    place(net, workers=0)
    net.forward()
    assert sum(loads.values()) == 1


def count_loads(monkeypatch):
    loads, load = Counter(), Reader.load

    def counted(self, i):
        loads[i] += 1
        return load(self, i)
    monkeypatch.setattr(Reader, 'load', counted)
    return loads


def test_training_has_the_same_bits(tmp_path, monkeypatch):
    """For any number of workers, restored to another number of them as well."""
    make = solver_maker(tmp_path, monkeypatch)
    finals = {n: weights(run(make(workers=n, prefix=f'w{n}/train'))) for n in (0, 1, 4)}
    assert finals[0] == finals[1] == finals[4]
    for n in 0, 3:
        again = make(workers=n, prefix='again/train')
        again.restore('w1/train_iter_3.solverstate.h5')
        assert weights(run(again)) == finals[0]


def weights(solver):
    return [blob.data.numpy().tobytes() for blob in solver.net.learnable_params]


@pytest.mark.parametrize('workers', [0, 3])
def test_a_damaged_image_stops_the_iteration_that_uses_it(tmp_path, monkeypatch, workers):
    solver = solver_maker(tmp_path, monkeypatch)(('iter_size: 2', ''), workers=workers)
    reader = data_layer(solver.net)
    ids = [reader.sample(k).id for k in range(6)]
    at = next(k for k in range(1, 6) if ids[k] not in ids[:k])
    path = image_path(tmp_path / 'voc', ids[at])
    path.write_bytes(path.read_bytes()[:-20])
    text = message(run, solver)
    assert f'{ids[at]}.jpg: ' in text and "layer 'data' (Python)" in text and 'copy it' in text
    assert solver.iter == at and solver.net.state.position == at


# Images of a list

@pytest.fixture
def images(tmp_path):
    for i in range(7):
        Image.fromarray(np.full((4, 5, 3), 10 * i, np.uint8)).save(tmp_path / f'{i}.png')
    (tmp_path / 'list.txt').write_text(''.join(f'{i}.png {i}\n' for i in range(7)))
    return tmp_path


def listed(folder, seed, workers):
    text = layer('ImageData', 'd', '', 'data label', 'image_data_param { source: "list.txt" '
                 'batch_size: 3 shuffle: true } transform_param { crop_size: 3 mirror: true }')
    return place(build_net(text, 'TRAIN', search=folder, seed=seed), workers=workers)


def passes(net, count):
    return [tuple(top.numpy().tobytes() for top in net.forward().values()) for _ in range(count)]


def test_shuffled_images_are_the_same_bits(images):
    wanted = passes(listed(images, 1, 0), 30)
    assert passes(listed(images, 1, 1), 30) == passes(listed(images, 1, 4), 30) == wanted
    net = listed(images, 1, 4)
    net.state.position = 13
    assert passes(net, 17) == wanted[13:]


def test_shuffled_images_follow_the_seed_of_a_restored_run(images):
    """A restored run gets the snapshot's seed after its net was made."""
    net = listed(images, 2, 2)
    net.forward()
    net.state.seed, net.state.position = 1, 4
    assert passes(net, 6) == passes(listed(images, 1, 0), 10)[4:]


# Scoring

def scored(voc, workers):
    net = net_of(voc, 'val', workers, NET)
    return net, Confusion(net.blobs['score'].shape[1])


@pytest.mark.parametrize('workers', [0, 2])
def test_each_image_is_read_once(voc, monkeypatch, workers):
    loads = count_loads(monkeypatch)
    net, confusion = scored(voc, workers)
    seen = [(sample.id, sample.image.shape) for sample, _, _ in evaluate(net, confusion)]
    assert seen == [('im0', (24, 32, 3)), ('im1', (24, 36, 3))] and confusion.hist.sum()
    assert sum(loads.values()) <= 2 + 2 * workers
    assert workers or loads == {0: 1, 1: 1}


def test_scores_do_not_depend_on_workers(voc, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stage(tmp_path / 'net', voc)
    net = Net.read('net/val.prototxt', 0)
    net.save_hdf5('w.h5')
    words = ['eval_voc', '--net', 'net/val.prototxt', '--weights', 'w.h5']
    results = []
    for n in 0, 1, 5:
        assert call(capsys, *words, '--workers', n, '--out', f'out{n}').status == 0
        results.append(json.loads(Path(f'out{n}/metrics.json').read_text()))
        for key in 'median_seconds', 'seconds', 'peak_memory':
            results[-1].pop(key)
    assert results[0] == results[1] == results[2]
    assert_error(call(capsys, *words, '--workers', -1), '-1 workers')
    assert_error(call(capsys, 'train', 'mini-classifier', '--workers', 65), '65 workers')


def test_a_net_that_reads_several_is_not_scored():
    text = layer('Python', 'data', '', 'data label', 'python_param { module: "m2nist_layers" '
                 'layer: "%s" param_str: "{\'split\': \'val\', \'batch_size\': 2}" }')
    pool = layer('Pooling', 'score', 'data', 'score', 'pooling_param { kernel_size: 1 }')
    for kind, count in ('M2nistDataLayer', 2), ('M2nistDigitDataLayer', 0):
        net = place(build_net(text % kind + pool, 'TEST'), workers=0)
        assert f'{count} images with a label per pixel' in message(
            lambda net=net: next(evaluate(net, Confusion(2), output=find_output(
                net, threshold=0))))


def test_a_wrong_label_is_named(voc):
    net, confusion = scored(voc, 2)
    save_palette_png(np.full((24, 36), 7, np.uint8), label_path(voc, 'im1'))
    steps = evaluate(net, confusion)
    assert next(steps)[0].id == 'im0'
    assert 'im1.png: the label holds id 7' in message(lambda: next(steps))


# Seeds

@pytest.mark.parametrize('kind', [M2nistDataLayer, M2nistDigitDataLayer])
def test_the_seed_of_a_run_changes_the_order_of_m2nist_alone(kind):
    """Its scenes, and what is scored, stay the same."""
    changed = Options(seed=2).overrides[kind.__name__]
    assert changed == {'order_seed': 1339} and not Options(seed=0).overrides[kind.__name__]
    for split in 'train', 'val':
        params = {'split': split, 'batch_size': 1, 'seed': 1337}
        its, mine = kind(params), kind({**params, **changed})
        same = [(its.batch(k)[0] == mine.batch(k)[0]).all() for k in range(8)]
        assert all(same) if split == 'val' else not all(same)
        assert its.fingerprint() == mine.fingerprint()
    if kind is M2nistDataLayer:
        assert (its.reader.load(7).image == mine.reader.load(7).image).all()


# A run that is interrupted

def test_an_interrupted_run_ends(tmp_path, voc):
    """While images are read that take long: SIGINT ends scoring at once, without a hang."""
    write_stage(tmp_path / 'net', voc)
    Net.read(tmp_path / 'net/val.prototxt', 0).save_hdf5(tmp_path / 'w.h5')
    ids = (voc / 'ImageSets/Segmentation/val.txt').read_text() * 100_000     # minutes of them
    (voc / 'ImageSets/Segmentation/val.txt').write_text(ids)
    process = start('eval_voc', '--net', 'net/val.prototxt', '--weights', 'w.h5', '--workers', 4,
                    cwd=tmp_path)
    assert process.stdout.readline().startswith('net/val.prototxt with')
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 130


# On a GPU

@CUDA
def test_a_gpu_gets_the_same_samples_from_pinned_memory(voc):
    net = place(build_net(DATA % (voc, 'train'), 'TRAIN'), 'cuda', workers=2)
    reader, source = data_layer(net), net.layer(net.graph.nodes[0])
    assert all(tensor.is_pinned() for tensor in source.read(0)[1])
    for k in range(200):
        out = net.forward()
        torch.cuda._sleep(100_000)                  # the copies of several batches are under way
        assert all(top.is_cuda for top in out.values())
        if k % 7 == 0:
            wanted = reader.batch(k)
            assert all((out[n].cpu().numpy() == blob).all()
                       for n, blob in zip(out, wanted, strict=True))


def test_a_thread_that_cannot_start_is_an_error(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")
    ahead = Prefetch(lambda k: k)
    monkeypatch.setattr('threading.Thread.start', start)
    with pytest.raises(FcnError, match=r"can't start new thread.*fewer workers than 3"):
        ahead.take(0, 3)
    assert ahead.take(0, 0) == 0
