"""Data: batches of records of an LMDB, raw, encoded and float, transformed; and bad records."""

import io
import logging
import struct

import numpy as np
import pytest
from layer_evidence import reference_for, refusal_of
from lmdb_pages import database
from PIL import Image
from texts import assert_facts, layer, message
from texts import net as build_net
from wire_format import blob, sized, varint

from fcn_repro.solver import Solver

SIDES = 6, 9
WHERE = "net.prototxt:1: layer 'd' (Data)"


def field(number, value):
    return varint(number << 3) + varint(value)


def datum(array=None, label=None, data=b'', encoded=False):
    """A Datum's bytes: of a (C, H, W) array, or of the bytes of an image file."""
    raw = b''
    if array is not None:
        raw += b''.join(field(i + 1, n) for i, n in enumerate(array.shape))
        data = array.tobytes() if array.dtype == np.uint8 else b''
    raw += sized(4, data) if data else b''
    raw += b'' if label is None else field(5, label)
    if array is not None and array.dtype != np.uint8:
        raw += b''.join(varint(6 << 3 | 5) + struct.pack('<f', v) for v in array.ravel())
    return raw + (field(7, 1) if encoded else b'')


def arrays(count=5, sides=SIDES, channels=3):
    return [np.random.default_rng(i).integers(0, 256, (channels, *sides), dtype=np.uint8)
            for i in range(count)]


def file(array, kind='PNG'):
    """The bytes of an image file of a BGR array."""
    out = io.BytesIO()
    Image.fromarray(array[0] if len(array) == 1 else array[::-1].transpose(1, 2, 0)).save(out, kind)
    return out.getvalue()


def store(folder, *values):
    return database(folder / 'db', {b'%08d_name.jpg' % i: v for i, v in enumerate(values)})


@pytest.fixture
def folder(tmp_path):
    store(tmp_path, *(datum(a, 10 + i) for i, a in enumerate(arrays())))
    return tmp_path


def text(more='batch_size: 2', transform='', source='db', tops='data label', backend='LMDB'):
    return layer('Data', 'd', '', tops, f'data_param {{ source: "{source}" backend: {backend} '
                 f'{more} }} transform_param {{ {transform} }}')


def batches(folder, count, *args, phase='TEST', **options):
    net = build_net(text(*args), phase, search=folder, **options)
    out = [net.forward() for _ in range(count)]
    return np.stack([b['data'].numpy() for b in out]), [b['label'].int().tolist() for b in out]


@reference_for('Data')
def test_batches_in_order_and_from_the_start_again(folder):
    data, labels = batches(folder, 3)
    assert labels == [[10, 11], [12, 13], [14, 10]] and data.dtype == np.float32
    assert (data.reshape(6, 3, *SIDES) == [*arrays(), arrays()[0]]).all()
    net = build_net(text(tops='data'), search=folder)
    assert net.blobs['data'].shape == (2, 3, *SIDES) and list(net.forward()) == ['data']


def test_a_function_of_the_position(folder):
    """With threads that read ahead, and without."""
    wanted, labels = batches(folder, 8, 'batch_size: 3', 'mirror: true crop_size: 4', phase='TRAIN')
    net = build_net(text('batch_size: 3', 'mirror: true crop_size: 4'), 'TRAIN', search=folder)
    for position in 7, 2, 3:
        net.state.position = position
        found = net.forward()
        assert (found['data'].numpy() == wanted[position]).all()
        assert found['label'].tolist() == labels[position]


def test_transformed_in_its_order(folder):
    mean = np.random.default_rng(9).normal(size=(1, 3, *SIDES)).astype(np.float32)
    (folder / 'm.binaryproto').write_bytes(blob(mean))
    data, _ = batches(folder, 1, 'batch_size: 5', 'mean_file: "m.binaryproto" crop_size: 4 '
                      'scale: 0.5')
    wanted = [(a - mean[0])[:, 1:5, 2:6] * np.float32(0.5) for a in arrays()]
    assert (data[0] == wanted).all()
    data, _ = batches(folder, 1, 'batch_size: 1', 'mean_value: 1 mean_value: 2 mean_value: 3')
    assert (data[0, 0] == arrays()[0] - np.float32([[[1]], [[2]], [[3]]])).all()


def test_crops_and_mirrors_are_drawn_in_training(folder):
    whole = arrays()[0].astype(np.float32)
    cuts = {(i, j, m): whole[:, i:i + 4, j:j + 4][:, :, ::m] for i in range(3) for j in range(6)
            for m in (1, -1)}
    found = {next(place for place, cut in cuts.items() if (cut == data[0, 0]).all()) for data in (
        batches(folder, 1, 'batch_size: 1', 'crop_size: 4 mirror: true', phase='TRAIN', seed=s)[0]
        for s in range(80))}
    assert {i for i, *_ in found} == {0, 1, 2} and {j for _, j, _ in found} == set(range(6))
    assert {m for *_, m in found} == {1, -1}


def test_rand_skip_leaves_out_some_at_the_start(folder):
    starts = {batches(folder, 1, 'batch_size: 1 rand_skip: 3', seed=s)[1][0][0] for s in range(30)}
    assert starts == {10, 11, 12}


def test_kinds_of_records(tmp_path):
    """Encoded ones have their file's channels, or as they are forced; others stay as they are."""
    color, (grey,) = arrays(1)[0], arrays(1, channels=1)
    floats = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    rgb = color[::-1].transpose(1, 2, 0).astype(int)
    luma = (rgb @ (9797, 19234, 3737) >> 15)[None]          # libpng's, for OpenCV
    deep = io.BytesIO()
    Image.fromarray(grey[0].astype(np.uint16) * 256 + 200).save(deep, 'PNG')
    clear = io.BytesIO()
    rgba = np.concatenate([color[::-1], grey]).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(rgba)).save(clear, 'PNG')
    cases = [(datum(data=file(color), encoded=True, label=1), color, color, luma),
             (datum(data=file(grey), encoded=True, label=1), grey, np.repeat(grey, 3, 0), grey),
             (datum(data=deep.getvalue(), encoded=True, label=1), grey, np.repeat(grey, 3, 0),
              grey), (datum(data=clear.getvalue(), encoded=True, label=1),
                      np.concatenate([color, grey]), color, luma),
             (datum(grey, 1), grey, grey, grey), (datum(floats, 1), *[floats] * 3)]
    for value, *wanted in cases:
        store(tmp_path, value)
        for force, array in zip(('', 'force_color: true', 'force_gray: true'), wanted, strict=True):
            data, labels = batches(tmp_path, 1, 'batch_size: 1', force)
            assert data[0, 0].shape == array.shape and (data[0, 0] == array).all()
            assert labels == [[1]]


def test_jpegs(tmp_path):
    raw = file(arrays(1, (16, 16))[0], 'JPEG')
    store(tmp_path, datum(data=raw, encoded=True, label=3))
    wanted = np.array(Image.open(io.BytesIO(raw)))[:, :, ::-1].transpose(2, 0, 1)
    assert (batches(tmp_path, 1, 'batch_size: 1')[0][0, 0] == wanted).all()


def test_a_batch_of_one_takes_each_size_and_larger_ones_name_the_odd_record(tmp_path):
    store(tmp_path, datum(arrays()[0], 1), datum(arrays(1, (4, 7))[0], 2))
    net = build_net(text('batch_size: 1'), search=tmp_path)
    assert [tuple(net.forward()['data'].shape) for _ in range(3)] == [
        (1, 3, 6, 9), (1, 3, 4, 7), (1, 3, 6, 9)]
    assert_facts(message(build_net(text(), search=tmp_path).forward),
                 f"{tmp_path}/db: layer 'd' (Data)", "'00000001_name.jpg'", '3x4x7', '3x6x9',
                 'resize_height', 'crop_size', 'batch_size')
    data, _ = batches(tmp_path, 1, 'batch_size: 2', 'crop_size: 4')
    assert (data[0, 1] == arrays(1, (4, 7))[0][:, :, 1:5]).all()


def test_a_record_without_label_counts_as_0_and_is_told_once(tmp_path, caplog):
    store(tmp_path, datum(arrays()[0]), datum(arrays()[1]))
    with caplog.at_level(logging.WARNING):
        assert batches(tmp_path, 2)[1] == [[0, 0], [0, 0]]
    assert [r.getMessage() for r in caplog.records].count(
        f"{tmp_path}/db: record '00000000_name.jpg' has no label; as in Caffe, it counts as 0") == 1
    caplog.clear()
    build_net(text(tops='data'), search=tmp_path).forward()
    assert not caplog.records


def test_force_gray_on_raw_records_is_told_once(folder, caplog):
    data, _ = batches(folder, 2, 'batch_size: 2', 'force_gray: true')
    assert data.shape == (2, 2, 3, *SIDES)
    assert [r.getMessage() for r in caplog.records].count(
        f"{folder}/db: record '00000000_name.jpg' is raw and keeps its channels; as in Caffe, "
        'force_color and force_gray are for encoded images') == 1


REFUSED = [
    ('', '', ('data_param.batch_size',)),
    ('batch_size: 1 mirror: true', '', ('data_param.mirror', 'transform_param')),
    ('batch_size: 1 mean_file: "m"', '', ('data_param.mean_file', 'transform_param')),
    ('batch_size: 1 force_encoded_color: true', '', ('data_param.force_encoded_color',
                                                     'force_color')),
    ('batch_size: 1', 'force_color: true force_gray: true', ('force_color', 'force_gray')),
    ('batch_size: 1', 'crop_size: 7', ('6x9', 'crop_size 7')),
    ('batch_size: 1', 'mean_value: 1 mean_value: 2', ('2 mean_value', '3 channels')),
]


@refusal_of('Data')
@pytest.mark.parametrize('more, transform, wanted', REFUSED)
def test_refused_by_name(folder, more, transform, wanted):
    assert_facts(message(build_net, text(more, transform), search=folder), WHERE, *wanted)


def test_a_mean_of_another_size(folder):
    (folder / 'm.binaryproto').write_bytes(blob(np.zeros((1, 3, 5, 9))))
    assert_facts(message(build_net, text(transform='mean_file: "m.binaryproto"'), search=folder),
                 WHERE, '3x6x9', '3x5x9', 'compute_image_mean', 'mean_value')


def test_a_database_and_its_backend(folder):
    assert_facts(message(build_net, text(backend='LEVELDB'), search=folder),
                 f"{folder}/db: layer 'd' (Data)", 'LEVELDB', 'backend: LMDB')
    assert_facts(message(build_net, text(source='db/data.mdb'), search=folder),
                 f"{folder}/db/data.mdb: layer 'd' (Data)", f"'{folder}/db'")
    (folder / 'level').mkdir()
    (folder / 'level/CURRENT').write_bytes(b'')
    for backend in 'LMDB', 'LEVELDB':
        assert_facts(message(build_net, text(source='level', backend=backend), search=folder),
                     f"{folder}/level: layer 'd' (Data)", 'LevelDB', 'backend: LMDB', 'plyvel')
    assert_facts(message(build_net, text(source='none'), search=folder), WHERE, 'none',
                 'data_param.source')


@pytest.mark.parametrize('value, wanted', [
    (b'', ('0x0x0', '0')), (b'no Datum', ('Datum',)), (b'\xff' * 40, ('Datum',)),
    (datum(arrays()[0], 1)[:-20], ('Datum',)),
    (b''.join(map(field, (1, 2, 3), (3, 5, 5))) + sized(4, b'x' * 74), ('3x5x5', '74')),
    (field(1, 3) + sized(4, file(arrays()[0])), ('3x0x0', 'encoded: true')),
    (b''.join(map(field, (1, 2, 3), (3, 5, 5))) + sized(4, file(arrays(1, (16, 16))[0], 'JPEG')),
     ('3x5x5', 'encoded: true')),
    (datum(data=bytes(162), encoded=True, label=1), ('encoded image', 'encoded: false')),
    (datum(data=file(arrays()[0])[:-30], encoded=True, label=1), ('encoded image',)),
    (datum(data=b'', encoded=True, label=1), ('encoded image',))], ids=range(10))
def test_records_that_are_none(tmp_path, value, wanted):
    """Each is named by its key, where the net is built and where it is met later."""
    good = datum(arrays()[0], 1)
    store(tmp_path, value, good)
    place = f"{tmp_path}/db: layer 'd' (Data)"
    assert_facts(message(build_net, text(), search=tmp_path), place, "'00000000_name.jpg'", *wanted)
    store(tmp_path / '.', good, value)
    assert_facts(message(build_net(text(), search=tmp_path).forward), place,
                 "'00000001_name.jpg'", *wanted)


def test_keys_that_are_no_text(tmp_path):
    database(tmp_path / 'db', {b'\xff\0k': b'x'})
    assert r"'\\xff\x00k'" in message(build_net, text(), search=tmp_path)


def test_two_nets_read_one_database(folder):
    train = build_net(text('batch_size: 2'), 'TRAIN', search=folder)
    test = build_net(text('batch_size: 1'), 'TEST', search=folder)
    assert train.forward()['label'].tolist() == [10, 11]
    assert test.forward()['label'].tolist() == [10]
    assert train.forward()['label'].tolist() == [12, 13]


OLD = 'layers { name: "d" type: DATA top: "data" top: "label" data_param { source: "db" backend: ' \
      'LMDB batch_size: 2 crop_size: 4 scale: 0.5 } }'


def test_a_net_of_the_old_format_has_its_fields_moved(folder):
    found = build_net(OLD, 'TEST', search=folder).forward()['data'].numpy()
    assert (found[0] == arrays()[0][:, 1:5, 2:6] * np.float32(0.5)).all()


TRAINED = ('name: "t" ' + ' '.join(layer('Data', 'data', '', 'data label', f'include {{ phase: '
           f'{phase} }} transform_param {{ crop_size: 12 mirror: {mirror} mean_file: '
           f'"m.binaryproto" }} data_param {{ source: "db" batch_size: 4 backend: LMDB }}')
           for phase, mirror in (('TRAIN', 'true'), ('TEST', 'false')))
           + layer('InnerProduct', 'ip', 'data', 'ip', 'inner_product_param { num_output: 2 '
                   'weight_filler { type: "gaussian" std: 0.001 } }')
           + layer('SoftmaxWithLoss', 'loss', 'ip label', 'loss'))


def test_data_layers_as_those_of_caffenet_train(tmp_path):
    rng = np.random.default_rng(0)
    values = []
    for i in range(12):
        array = rng.integers(0, 100, (3, 16, 16), dtype=np.uint8) + np.uint8(100 * (i % 2))
        values.append(datum(data=file(array, 'JPEG'), encoded=True, label=i % 2))
    store(tmp_path, *values)
    (tmp_path / 'm.binaryproto').write_bytes(blob(np.full((1, 3, 16, 16), 100.)))
    (tmp_path / 'net.prototxt').write_text(TRAINED)
    (tmp_path / 'solver.prototxt').write_text('net: "net.prototxt" base_lr: 1e-5 lr_policy: '
                                              '"fixed" max_iter: 30 random_seed: 1')
    solver = Solver(tmp_path / 'solver.prototxt')
    first = solver.net.forward()['loss'].item()
    solver.step(30)
    assert solver.net.forward()['loss'].item() < first / 2
