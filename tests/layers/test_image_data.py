"""Images from a list, transformed; and blobs to an HDF5 file."""

import h5py
import numpy as np
import pytest
import torch
from layer_evidence import reference_for, refusal_of
from PIL import Image
from texts import assert_facts, image, inputs, layer, message
from texts import net as build_net
from wire_format import blob

SIDES = 6, 9


def arrays(count=5, sides=SIDES):
    return [np.random.default_rng(i).integers(0, 256, (*sides, 3), dtype=np.uint8)
            for i in range(count)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'in a folder').mkdir()
    for i, pixels in enumerate(arrays()):
        Image.fromarray(pixels).save(tmp_path / f'in a folder/{i}.png')
    (tmp_path / 'list.txt').write_text(''.join(f'{i}.png {10 + i}\n' for i in range(5)))
    return tmp_path


def text(more='batch_size: 2', transform='', source='list.txt', root='in a folder/'):
    return layer('ImageData', 'd', '', 'data label', f'image_data_param {{ source: "{source}" '
                 f'root_folder: "{root}" {more} }} transform_param {{ {transform} }}')


def batches(folder, count, *args, phase='TEST', **options):
    net = build_net(text(*args), phase, search=folder, **options)
    out = [net.forward() for _ in range(count)]
    return np.stack([b['data'].numpy() for b in out]), [b['label'].int().tolist() for b in out]


def bgr(pixels):
    return pixels[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)


@reference_for('ImageData')
def test_batches_in_order_bgr_and_from_the_start_again(folder):
    data, labels = batches(folder, 3)
    assert labels == [[10, 11], [12, 13], [14, 10]] and data.dtype == np.float32
    wanted = [bgr(a) for a in arrays()]
    assert (data.reshape(6, 3, *SIDES) == [*wanted, wanted[0]]).all()
    net = build_net(text(), search=folder)
    assert net.blobs['data'].shape == (2, 3, *SIDES) and net.blobs['label'].shape == (2,)


def test_a_batch_of_one_takes_each_images_size(folder):
    Image.fromarray(arrays(1, (4, 7))[0]).save(folder / 'in a folder/1.png')
    net = build_net(text(''), search=folder)
    assert [tuple(net.forward()['data'].shape) for _ in range(3)] == [
        (1, 3, 6, 9), (1, 3, 4, 7), (1, 3, 6, 9)]
    assert_facts(message(build_net(text(), search=folder).forward),
                 "net.prototxt:1: layer 'd' (ImageData)", '1.png', '3x4x7', '3x6x9', 'new_height',
                 'new_width', 'crop_size', 'batch_size')


def test_mean_values_and_scale(folder):
    data, _ = batches(folder, 1, '', 'mean_value: 1 mean_value: 2 mean_value: 3.5 scale: 0.5')
    mean = np.float32([1, 2, 3.5]).reshape(3, 1, 1)
    assert (data[0, 0] == (bgr(arrays()[0]) - mean) * np.float32(0.5)).all()
    data, _ = batches(folder, 1, '', 'mean_value: 7')
    assert (data[0, 0] == bgr(arrays()[0]) - 7).all()


def test_crop_is_the_middle_in_test_and_drawn_in_train(folder):
    whole = bgr(arrays()[0])
    data, _ = batches(folder, 1, '', 'crop_size: 3')
    assert (data[0, 0] == whole[:, 1:4, 3:6]).all()
    cuts = {(i, j): whole[:, i:i + 3, j:j + 3] for i in range(4) for j in range(7)}
    one = [batches(folder, 1, '', 'crop_size: 3', phase='TRAIN', seed=s)[0] for s in range(60)]
    places = [next(p for p, cut in cuts.items() if (data[0, 0] == cut).all()) for data in one]
    assert {i for i, _ in places} == set(range(4)) and {j for _, j in places} == set(range(7))


def test_mirror_is_drawn_for_each_image(folder):
    data, labels = batches(folder, 30, 'batch_size: 2', 'mirror: true')
    turned = 0
    for pixels, label in zip(data.reshape(60, 3, *SIDES), np.ravel(labels), strict=True):
        whole = bgr(arrays()[label - 10])
        assert (pixels == whole).all() or (pixels == whole[:, :, ::-1]).all()
        turned += (pixels != whole).any()
    assert 15 < turned < 45
    assert (batches(folder, 30, 'batch_size: 2', 'mirror: true')[0] == data).all()


def test_mean_file_is_subtracted_where_the_crop_lies(folder):
    mean = np.random.default_rng(9).normal(size=(1, 3, *SIDES)).astype(np.float32)
    (folder / 'mean.binaryproto').write_bytes(blob(mean))
    data, _ = batches(folder, 1, '', 'mean_file: "mean.binaryproto" crop_size: 4')
    assert (data[0, 0] == (bgr(arrays()[0]) - mean[0])[:, 1:5, 2:6]).all()
    odd = text('new_height: 5 new_width: 9', 'mean_file: "mean.binaryproto"')
    assert_facts(message(build_net, odd, search=folder),
                 "net.prototxt:1: layer 'd' (ImageData)", '3x5x9', '3x6x9', 'mean_file')
    for bad in (2, 3, *SIDES), SIDES:
        (folder / 'mean.binaryproto').write_bytes(blob(np.zeros(bad)))
        assert f'a mean of {"x".join(map(str, bad))} (mean_file)' in message(
            build_net, text('', 'mean_file: "mean.binaryproto"'), search=folder)
    (folder / 'mean.binaryproto').unlink()
    assert_facts(message(build_net, text('', 'mean_file: "mean.binaryproto"'), search=folder),
                 "net.prototxt:1: layer 'd' (ImageData)", f'{folder}/mean.binaryproto')


def test_shuffled_is_a_permutation_in_each_epoch_and_a_function_of_the_position(folder):
    _, labels = batches(folder, 10, 'batch_size: 3 shuffle: true')
    epochs = np.ravel(labels).reshape(6, 5)
    assert (np.sort(epochs) == np.arange(10, 15)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 3
    net = build_net(text('batch_size: 3 shuffle: true'), search=folder)
    for position in 7, 2, 9:
        net.state.position = position
        assert net.forward()['label'].tolist() == labels[position]
    assert batches(folder, 10, 'batch_size: 3 shuffle: true', seed=1)[1] != labels


def test_rand_skip_leaves_out_some_at_the_start_alone(folder):
    starts = set()
    for seed in range(20):
        labels = np.ravel(batches(folder, 8, 'rand_skip: 3', seed=seed)[1])
        assert (labels == 10 + (np.arange(8) + labels[0]) % 5).all()
        starts.add(labels[0])
    assert starts == {10, 11, 12}


def bilinear(x, height, width):
    """Between pixel centres, one value after the other; x (C, H, W)."""
    out = np.empty((len(x), height, width))
    for i in range(height):
        for j in range(width):
            at = [min(max((k + 0.5) * n / m - 0.5, 0), n - 1) for k, n, m in
                  ((i, x.shape[1], height), (j, x.shape[2], width))]
            (a, b), (p, q) = map(int, at), (v % 1 for v in at)
            c, d = min(a + 1, x.shape[1] - 1), min(b + 1, x.shape[2] - 1)
            out[:, i, j] = (1 - p) * ((1 - q) * x[:, a, b] + q * x[:, a, d]) \
                + p * ((1 - q) * x[:, c, b] + q * x[:, c, d])
    return out


@pytest.mark.parametrize('height, width', [(3, 4), (6, 9), (12, 18), (11, 5), (1, 1)])
def test_resized(folder, height, width):
    data, _ = batches(folder, 1, f'new_height: {height} new_width: {width}')
    wanted = bilinear(bgr(arrays()[0]), height, width)
    assert (data == np.rint(data)).all() and np.abs(data[0, 0] - wanted).max() <= 0.5 + 1e-3


def test_kinds_of_images(folder):
    """Grey, palette and alpha images in colour; all of them in grey."""
    whole = Image.fromarray(arrays()[0])
    alpha = whole.convert('RGBA')
    alpha.putalpha(100)
    palette = whole.quantize(256)
    for i, kind in enumerate([whole.convert('L'), alpha, palette, whole.convert('1'), whole]):
        kind.save(folder / f'in a folder/{i}.png')
    data, _ = batches(folder, 5, '')
    grey = np.array(whole.convert('L'), np.float32)
    computed = arrays()[0].astype(int) @ (9797, 19234, 3737) >> 15     # libpng's, for OpenCV
    assert (data[0, 0] == grey).all() and (data[1, 0] == bgr(arrays()[0])).all()
    assert (data[2, 0] == bgr(np.array(palette.convert('RGB')))).all()
    assert set(np.unique(data[3])) == {0, 255}
    data, _ = batches(folder, 5, 'is_color: false')
    assert data.shape == (5, 1, 1, *SIDES)
    assert (data[0, 0, 0] == grey).all() and (data[[1, 4], 0, 0] == computed).all()
    deep = (np.arange(54).reshape(SIDES) * 1213).astype(np.uint16)
    Image.fromarray(deep).save(folder / 'in a folder/0.png')
    data, _ = batches(folder, 5, '')            # the upper 8 bits, as OpenCV's png reader
    assert (data[0, 0] == deep >> 8).all()


REFUSED = [
    ('batch_size: 0', '', ('image_data_param.batch_size', '0')),
    ('new_height: 4', '', ('new_height 4', 'new_width 0')),
    ('mirror: true', '', ('image_data_param.mirror',)),
    ('', 'force_gray: true', ('transform_param.force_gray',)),
    ('', 'mean_file: "m" mean_value: 1', ('mean_file', 'mean_value')),
    ('', 'mean_value: 1 mean_value: 2', ('2 mean_value', '3 channels')),
    ('', 'crop_size: 7', ('6x9', 'crop_size 7')),
]


@refusal_of('ImageData')
@pytest.mark.parametrize('more, transform, wanted', REFUSED)
def test_refused_by_name(folder, more, transform, wanted):
    assert_facts(message(build_net, text(more, transform), search=folder),
                 "net.prototxt:1: layer 'd' (ImageData)", *wanted)


@pytest.mark.parametrize('lines, where, wanted', [
    (b'', '', ('no image', "'image label'")),
    (b'\xff\xfe', '', ('UTF-16', 'UTF-8')),
    (b'\x81', '', ("'image label'",)),
    (b'<html><body>', '', ('web page',)),
    (b'0.png 1\n1.png\n', ':2', ("'1.png'", "'image 3'")),
    (b'0.png 1\n\n1.png 2\n', ':2', ("''", 'empty line')),
    (b'0.png 1\n1.png x\n', ':2', ("'1.png x'", "'image 3'")),
    (b'0.png\t1\n', ':1', ('tab', "'image 3'")),
    (b'0.png 0.5\n', ':1', ("'0.png 0.5'", 'HDF5Data')),
])
def test_lists_that_are_none(folder, lines, where, wanted):
    (folder / 'list.txt').write_bytes(lines)
    assert_facts(message(build_net, text(), search=folder),
                 f"{folder}/list.txt{where}: layer 'd' (ImageData)", *wanted)


def test_files_that_are_missing_or_damaged(folder):
    assert_facts(message(build_net, text(root='in a folder'), search=folder),
                 "net.prototxt:1: layer 'd' (ImageData)", "no image 'in a folder0.png'",
                 f'{folder}/in a folder0.png', 'root_folder or list.txt')
    (folder / 'in a folder/0.png').write_bytes(b'nothing')
    assert 'the image cannot be read' in message(build_net, text(), search=folder)
    (folder / 'in a folder/0.png').write_bytes(b'version https://git-lfs.github.com/spec/v1')
    assert_facts(message(build_net, text(), search=folder), '', 'Git LFS pointer', 'git lfs pull')


def test_absolute_names_below_a_root_folder(folder):
    (folder / 'list.txt').write_text(f'{folder}/0.png 1\n')
    assert 'absolute though root_folder is set' in message(build_net, text(), search=folder)


def test_more_skipped_than_there_is(folder):
    assert_facts(message(build_net, text('rand_skip: 2000000000'), search=folder),
                 f"{folder}/list.txt: layer 'd' (ImageData)", 'rand_skip 2000000000', '5 images')


# HDF5Output

OUTPUT = inputs(x=(3, 2), l=(3,)) + layer('HDF5Output', 'o', 'x l', '',
                                          'hdf5_output_param { file_name: "out.h5" }')
WHERE = "layer 'o' (HDF5Output)"


@reference_for('HDF5Output')
def test_what_is_written_is_read_back(tmp_path):
    net, x = build_net(OUTPUT, search=tmp_path, writes=[tmp_path]), image(3, 2)
    assert not list(tmp_path.iterdir())
    net.forward(x=x, l=torch.tensor([4., 5, 6]))
    with h5py.File(tmp_path / 'out.h5') as file:
        assert set(file) == {'data', 'label'} and file['data'].dtype == np.float32
        assert file['data'].shape == (3, 2, 1, 1) and file['label'].shape == (3, 1, 1, 1)
        assert (file['data'][..., 0, 0] == x.numpy()).all()
        assert file['label'][...].ravel().tolist() == [4, 5, 6]
    (tmp_path / 'list.txt').write_text('out.h5\n')
    again = build_net(layer('HDF5Data', 'd', '', 'data label', 'hdf5_data_param { source: '
                            '"list.txt" batch_size: 3 }'), search=tmp_path)
    assert torch.equal(again.forward()['data'][..., 0, 0], x)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ['list.txt', 'out.h5']


def test_a_second_pass_is_refused_and_the_first_rows_stay(tmp_path):
    net = build_net(OUTPUT, search=tmp_path, writes=[tmp_path])
    net.forward(x=image(3, 2))
    before = (tmp_path / 'out.h5').read_bytes()
    assert_facts(message(net.forward), f'net.prototxt:3: {WHERE}', tmp_path / 'out.h5',
                 'forward pass')
    assert (tmp_path / 'out.h5').read_bytes() == before
    build_net(OUTPUT, search=tmp_path, writes=[tmp_path]).forward()    # a new net writes anew
    assert (tmp_path / 'out.h5').read_bytes() != before


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / 'out.h5').mkdir()
    net = build_net(OUTPUT, search=tmp_path, writes=[tmp_path])
    assert_facts(message(net.forward), f'{tmp_path}/out.h5: {WHERE}', 'cannot be written')
    assert [path.name for path in tmp_path.iterdir()] == ['out.h5']


@pytest.mark.parametrize('shapes, more, wanted', [
    ({'x': (3, 2), 'l': (2,)}, 'file_name: "o.h5"', ('3x2', '2')),
    ({'x': (3, 2, 1, 1, 1), 'l': (3,)}, 'file_name: "o.h5"', ('3x2x1x1x1', '3')),
    ({'x': (3, 2), 'l': (3,)}, '', ('hdf5_output_param.file_name',)),
])
def test_output_refused(shapes, more, wanted):
    net = inputs(**shapes) + layer('HDF5Output', 'o', 'x l', '', f'hdf5_output_param {{ {more} }}')
    assert_facts(message(build_net, net), f'net.prototxt:3: {WHERE}', *wanted)
