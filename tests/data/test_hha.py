"""HHA: rooms of known geometry, an independent reference, holes, and the files of a folder."""

import numpy as np
import pytest
from PIL import Image

from fcn_repro.data import hha
from fcn_repro.data.hha import CAMERAS, KINECT, Camera, encode, estimate_gravity, normals
from fcn_repro.data.hha_files import (
    CAMERA,
    DEPTH,
    HHA,
    RAW,
    compare_folder,
    encode_folder,
    read_camera,
    write_camera,
)
from fcn_repro.data.rooms import Geometry, camera_of, empty_room
from fcn_repro.errors import FcnError

SIZE = 120, 160
CAMERA_OF_SIZE = camera_of(*SIZE)
WALL, FLOOR, CEILING = 0, 1, 2


def room(**changes):
    """A room with floor, ceiling and two walls in view, its HHA, and where a pixel's windows lie in
    one plane."""
    geometry = Geometry(**{'pitch': 5, 'roll': 3, 'yaw': 20, 'above': 1.4, 'ceiling': 2.6,
                           'wall': 3, 'side': 2, **changes})
    planes = empty_room(geometry, CAMERA_OF_SIZE, SIZE)
    step = np.abs(np.diff(planes.surface.astype(int), axis=0, append=planes.surface[-1:])) + \
        np.abs(np.diff(planes.surface.astype(int), axis=1, append=planes.surface[:, -1:]))
    edges = hha.summed((step > 0)[None].astype(float), 3)[0]
    return planes, encode(planes.depth, CAMERA_OF_SIZE), edges == 0


def degrees(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


# ---- known geometry ------------------------------------------------------------------------------

@pytest.mark.parametrize('changes', [
    {}, {'pitch': 0, 'roll': 0}, {'pitch': 25}, {'pitch': -20}, {'roll': -12},
    {'yaw': -30, 'left': -1}, {'pitch': 20, 'roll': 8, 'yaw': 33, 'wall': 4.5}])
def test_channels_of_a_known_room(changes):
    planes, found, plain = room(**changes)
    assert degrees(found.gravity, planes.gravity) < 0.6 and found.margin > 0.02
    assert found.no_normal == 0
    disparity, height, angle = (found.image[..., i].astype(int) for i in range(3))
    exact = np.clip(31000 / np.maximum(100 * planes.depth, 100), 0, 255)
    assert np.abs(disparity - exact).max() <= 0.5
    for surface, degree in (FLOOR, 0), (WALL, 90), (CEILING, 180):
        inside = plain & (planes.surface == surface)
        if inside.any():
            assert np.abs(angle[inside] - (degree + 38)).max() <= 1, surface
    down = planes.rays[..., 1] * planes.depth           # metres below the camera
    lowest = down.max() if down.max() > 0.9 else 1.3    # what is 0 high
    above = np.maximum(100 * (lowest - down), 0)
    assert np.abs(height - np.minimum(above, 255)).max() < 0.5 + 600 * np.sin(np.radians(0.6))


def test_camera_height_is_assumed_where_the_floor_is_not_seen():
    planes, found, _ = room(pitch=-25, above=1.4)
    down = planes.rays[..., 1] * planes.depth
    assert down.max() < 0.9
    above = 130 - 100 * down
    assert np.abs(found.image[..., 1] - np.clip(above, 0, 255)).max() < 6


def test_an_upright_camera_is_not_turned():
    """Less than a tenth of a degree counts as none, as in the original."""
    points = np.array([[[0.0, 100, 200], [50, -30, 300]]])
    straight, turned = (np.array((np.sin(a), np.cos(a), 0)) for a in np.radians((0.09, 0.2)))
    assert (hha.height(points, straight) == [[0, 130]]).all()
    assert not (hha.height(points, turned) == [[0, 130]]).all()


def test_one_wall_alone_does_not_tell_gravity():
    _, found, _ = room(pitch=0, roll=0, yaw=0, above=9, ceiling=18, side=9)
    assert found.margin < 1e-6


# ---- independent reference -----------------------------------------------------------------------

def reference_normal(depth, camera, missing, row, column, radius):
    """By numpy's least squares from the definition: rows (x/z, y/z, 1), right side 1/z."""
    rows, right = [], []
    for i in range(max(0, row - radius), min(depth.shape[0], row + radius + 1)):
        for j in range(max(0, column - radius), min(depth.shape[1], column + radius + 1)):
            if not missing[i, j]:
                rows.append(((j + 1 - camera.cx) / camera.fx, (i + 1 - camera.cy) / camera.fy, 1))
                right.append(1 / depth[i, j])
    if len(rows) < 2 * radius + 2:
        return np.full(3, np.nan)
    normal = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    ray = ((column + 1 - camera.cx) / camera.fx, (row + 1 - camera.cy) / camera.fy, 1)
    return normal / np.linalg.norm(normal) * (1 if normal @ ray >= 0 else -1)


@pytest.mark.parametrize('radius', [1, 3])
def test_normals_are_least_squares(radius):
    rng = np.random.default_rng(radius)
    depth, camera = rng.uniform(100, 500, (9, 11)), Camera(70, 60, 5.2, 4.4)
    missing = rng.random(depth.shape) < 0.4
    found = normals(hha.point_cloud(depth, camera), missing, radius)
    for row in range(9):
        for column in range(11):
            np.testing.assert_allclose(
                found[row, column], reference_normal(depth, camera, missing, row, column, radius),
                rtol=1e-6, atol=1e-7)


def test_normals_of_bands_are_those_of_the_whole():
    rng = np.random.default_rng(1)
    points = hha.point_cloud(rng.uniform(1, 5, (2 * hha.BAND + 5, 20)), KINECT)
    missing = rng.random(points.shape[:2]) < 0.2
    for radius in 3, 10:
        assert np.array_equal(normals(points, missing, radius),
                              hha.fitted(points, missing, radius), equal_nan=True)


def test_gravity_minimises_what_it_says():
    """The last step's direction is the best of many for its own assignment of floors and walls."""
    rng = np.random.default_rng(0)
    normal = np.concatenate([rng.normal((0, 1, 0.1), 0.02, (50, 3)),
                             rng.normal((1, 0, 0), 0.02, (80, 3)),
                             rng.normal((0, -0.1, 1), 0.02, (70, 3)), np.full((9, 3), np.nan)])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    gravity = estimate_gravity(normal).direction
    known = normal[:200]
    cosine = np.abs(known @ gravity)
    limit = np.radians(15)
    floors, walls = known[cosine > np.cos(limit)], known[cosine < np.sin(limit)]

    def loss(direction):
        return ((walls @ direction) ** 2).sum() - ((floors @ direction) ** 2).sum()
    others = gravity + rng.normal(0, 0.05, (500, 3))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert all(loss(gravity) <= loss(other) for other in others)
    assert degrees(gravity, np.array((0, 1, 0.1)) / np.hypot(1, 0.1)) < 1.5


# ---- what is missing -----------------------------------------------------------------------------

def test_all_kinds_of_holes_are_the_same():
    planes, whole, _ = room()
    hole = np.zeros(SIZE, bool)
    hole[30:60, 50:80] = True
    images = []
    for value in 0, np.nan, np.inf, -1:
        depth = planes.depth.copy()
        depth[hole] = value
        images.append(encode(depth, CAMERA_OF_SIZE))
    assert all((each.image == images[0].image).all() for each in images)
    assert images[0].no_normal > 24 * 24            # of 30 by 30, 3 at each side see the measured
    far = np.ones(SIZE, bool)
    far[25:65, 45:85] = False
    assert np.abs(images[0].image[far].astype(int) - whole.image[far]).max() <= 2
    missing = encode(planes.depth, CAMERA_OF_SIZE, hole)
    assert missing.no_normal == images[0].no_normal
    assert (missing.image[..., 0] == whole.image[..., 0]).all()         # the depth is there
    centre = missing.image[45, 65]
    assert centre[2] == 180 + 38


def test_a_hole_has_the_nearest_depth():
    depth = np.full((40, 40), 2.0)
    depth[:, 20:] = 3
    holes = depth.copy()
    holes[10:20, 15:19] = 0
    assert (hha.filled(holes, holes == 0) == depth).all()


@pytest.mark.parametrize('depth, missing, words', [
    (np.zeros((5, 6)), None, 'no pixel has a depth'),
    (np.full((5, 6), np.nan), None, 'no pixel has a depth'),
    (np.ones((5, 6)), np.ones((5, 6), bool), 'no pixel has a depth'),
    (np.ones((5, 6, 1)), None, r'\(5, 6, 1\)'),
    (np.ones((5, 6)), np.ones((6, 5), bool), r'\(5, 6\).*\(6, 5\)'),
    (np.where(np.eye(40) > 0, 1, 0), None, 'no window'),
    (np.broadcast_to(1.0, (4096, 4096)), None, '16,777,216 pixels; at most 8,388,608'),
])
def test_depth_that_cannot_be_used(depth, missing, words):
    with pytest.raises(FcnError, match=words):
        encode(depth, KINECT, missing)


# ---- a folder ------------------------------------------------------------------------------------

def write_folder(folder, sizes=(SIZE, SIZE), raw=True, camera=CAMERA_OF_SIZE):
    """Depth images of rooms, with a hole in the raw ones."""
    for name in (DEPTH, *[RAW] * raw):
        (folder / name).mkdir(parents=True)
    for i, size in enumerate(sizes):
        planes = empty_room(Geometry(5 + i, 3, 20, 1.4, 2.6, 3, 2), camera_of(*size), size)
        depth = np.round(1000 * planes.depth).astype(np.uint16)
        Image.fromarray(depth).save(folder / DEPTH / f'img_{i}.png')
        depth[30:40, 50:60] = 0
        if raw:
            Image.fromarray(depth).save(folder / RAW / f'img_{i}.png')
    if camera:
        write_camera(folder / CAMERA, camera)
    return folder


def written(folder):
    return {path.name: np.array(Image.open(path)) for path in sorted((folder / HHA).glob('*'))}


def test_files_are_the_encoding_of_the_depth_images(tmp_path):
    made = encode_folder(write_folder(tmp_path))
    assert [record.file.name for record in made.written] == ['img_0.png', 'img_1.png']
    assert made.there == 0 and not made.faults and made.folder.raw
    for name, image in written(tmp_path).items():
        depth, raw = (np.array(Image.open(tmp_path / each / name)) for each in (DEPTH, RAW))
        assert (image == encode(depth / 1000, CAMERA_OF_SIZE, raw == 0).image).all()
        assert image.shape == (*SIZE, 3)
    record = made.written[0]
    assert record.missing == pytest.approx(100 / (SIZE[0] * SIZE[1]))
    assert 5 < record.tilt < 6.5 and record.margin > 0.05 and 2 < record.median < 4


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path):
    encode_folder(write_folder(tmp_path))
    (tmp_path / HHA / 'img_0.png').write_bytes(b'mine')
    (tmp_path / HHA / 'img_1.png').unlink()
    made = encode_folder(tmp_path)
    assert made.there == 1 and [each.file.name for each in made.written] == ['img_1.png']
    assert (tmp_path / HHA / 'img_0.png').read_bytes() == b'mine'
    assert len(encode_folder(tmp_path, overwrite=True).written) == 2
    assert written(tmp_path)['img_0.png'].shape == (*SIZE, 3)


def test_without_raw_depth_the_holes_are_those_of_the_depth(tmp_path):
    write_folder(tmp_path / 'a', raw=False)
    write_folder(tmp_path / 'b')
    for i in range(2):
        (tmp_path / 'b' / RAW / f'img_{i}.png').replace(tmp_path / 'a' / DEPTH / f'img_{i}.png')
    made = encode_folder(tmp_path / 'a')
    assert not made.folder.raw
    assert made.written[0].missing == pytest.approx(100 / (SIZE[0] * SIZE[1]))


def test_the_largest_number_is_no_depth(tmp_path):
    write_folder(tmp_path, sizes=[SIZE], raw=False)
    path = tmp_path / DEPTH / 'img_0.png'
    depth = np.array(Image.open(path))
    images = []
    for value in 0, 65535:
        depth[20:30, 20:30] = value
        Image.fromarray(depth).save(path)
        assert encode_folder(tmp_path, overwrite=True).written[0].missing > 0
        images.append(written(tmp_path)['img_0.png'])
    assert (images[0] == images[1]).all()


def test_cameras(tmp_path):
    """NYUDv2's are known by size; the crop of the release moves the principal point."""
    assert CAMERAS[480, 640] == KINECT
    cropped = CAMERAS[425, 560]
    assert (cropped.cx, cropped.cy) == (KINECT.cx - 40, KINECT.cy - 45)
    assert (cropped.fx, cropped.fy) == (KINECT.fx, KINECT.fy)
    write_folder(tmp_path, camera=None)
    made = encode_folder(tmp_path)
    assert [error.code for error in made.faults] == ['no-camera'] * 2
    assert '120x160' in made.faults[0].what and '425x560' in made.faults[0].what
    made = encode_folder(tmp_path, camera=CAMERA_OF_SIZE)
    assert len(made.written) == 2 and made.cameras == {SIZE: CAMERA_OF_SIZE}


@pytest.mark.parametrize('text', ['', '1 2 3', '1 2 3 4 5', '0 1 1 1', 'nan 1 1 1', 'a b c d',
                                  '1 1 1 inf', '\0' * 8])
def test_a_file_that_is_no_camera(tmp_path, text):
    (tmp_path / 'c').write_text(text)
    with pytest.raises(FcnError, match='no camera') as caught:
        read_camera(tmp_path / 'c')
    assert str(tmp_path / 'c') in str(caught.value)


def test_a_camera_is_read_as_it_was_written(tmp_path):
    write_camera(tmp_path / 'c', KINECT)
    assert read_camera(tmp_path / 'c') == KINECT


def test_faults_are_told_by_file_and_the_others_are_made(tmp_path):
    write_folder(tmp_path, sizes=[SIZE] * 6)
    depth = tmp_path / DEPTH
    (depth / 'img_1.png').write_bytes(b'not a picture')
    Image.new('RGB', SIZE[::-1]).save(depth / 'img_2.png')
    (tmp_path / RAW / 'img_3.png').unlink()
    Image.fromarray(np.ones((4, 5), np.uint16)).save(tmp_path / RAW / 'img_4.png')
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(depth / 'img_5.png')
    made = encode_folder(tmp_path)
    assert list(written(tmp_path)) == ['img_0.png']
    texts = [str(error) for error in made.faults]
    assert len(texts) == 5
    for text, file, words in zip(texts, ('depth/img_1', 'depth/img_2', 'rawdepth/img_3',
                                         'rawdepth/img_4', 'depth/img_5'),
                                 ('cannot be read', "'RGB'", 'no such', '4x5', 'no pixel'),
                                 strict=True):
        assert f'{file}.png' in text and words in text


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(FcnError, match='no depth images'):
        encode_folder(tmp_path)
    write_folder(tmp_path)
    for per_metre in 0, -1, np.nan, np.inf:
        with pytest.raises(FcnError, match='per_metre'):
            encode_folder(tmp_path, per_metre=per_metre)
    with pytest.raises(FcnError, match='no camera'):
        encode_folder(tmp_path, camera=(0, 1, 1, 1))
    (tmp_path / 'data/hha').write_text('a file')
    with pytest.raises(FcnError, match='cannot make') as caught:
        encode_folder(tmp_path)
    assert caught.value.code == 'no-folder'


def test_a_wrong_unit_is_noticed(tmp_path):
    write_folder(tmp_path)
    assert not encode_folder(tmp_path).implausible
    made = encode_folder(tmp_path, per_metre=10_000, overwrite=True)
    assert len(made.implausible) == 2 and made.implausible[0].median < 0.5


def test_another_programs_images_are_compared(tmp_path):
    write_folder(tmp_path, sizes=[SIZE] * 4)
    encode_folder(tmp_path)
    images = written(tmp_path)
    images['img_1.png'][:12, :, 1] ^= 1             # a tenth of the rows, by one
    images['img_2.png'][0, 0] = images['img_2.png'][0, 0] + np.array((0, 0, 100), np.uint8)
    for name in 'img_1.png', 'img_2.png':
        Image.fromarray(images[name]).save(tmp_path / HHA / name)
    Image.fromarray(images['img_3.png'][1:]).save(tmp_path / HHA / 'img_3.png')
    before = written(tmp_path)
    compared, faults = compare_folder(tmp_path)
    assert [each.file.name for each in compared] == ['img_0.png', 'img_1.png', 'img_2.png']
    same, height, angle = compared
    assert same.equal == same.near == (1, 1, 1) and same.most == (0, 0, 0)
    assert height.equal == (1, 0.9, 1) and height.near == (1, 1, 1) and height.most == (0, 1, 0)
    assert angle.equal[2] == angle.near[2] < 1 and angle.most[2] in (100, 156)
    assert [str(error.file) for error in faults] == [str(tmp_path / HHA / 'img_3.png')]
    assert '119x160' in faults[0].what and '120x160' in faults[0].what
    assert all((a == before[name]).all() for name, a in written(tmp_path).items())
    (tmp_path / HHA / 'img_0.png').unlink()
    assert 'no such image' in str(compare_folder(tmp_path)[1][0])
