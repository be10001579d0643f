"""Rooms with digits: their geometry, colours and labels."""

import numpy as np
import pytest
from scipy.ndimage import label

from fcn_repro.data import rooms
from fcn_repro.data.digits import load_digits
from fcn_repro.data.hha import filled, point_cloud
from fcn_repro.data.image import VOID
from fcn_repro.data.rooms import CLASSES, SURFACES, Geometry, draw_room, drawn_geometry, empty_room

SETTINGS = {'size': (128, 160), 'digits': (2, 3), 'digit_sizes': (40, 60)}
CAMERA = rooms.camera_of(*SETTINGS['size'])


def room(seed, **changes):
    return draw_room(np.random.default_rng(seed), *load_digits('train'), {**SETTINGS, **changes})


@pytest.mark.parametrize('seed', range(5))
def test_surfaces_are_planes_of_the_geometry(seed):
    """Each pixel's point, by pinhole and depth, lies on the plane that its surface says."""
    geometry = drawn_geometry(np.random.default_rng(seed))
    planes = empty_room(geometry, CAMERA, SETTINGS['size'])
    points = point_cloud(planes.depth, CAMERA)
    down = points @ planes.gravity
    np.testing.assert_allclose(down[planes.surface == 1], geometry.above, atol=1e-9)
    np.testing.assert_allclose(down[planes.surface == 2], geometry.above - geometry.ceiling,
                               atol=1e-9)
    walls = down[planes.surface == 0]
    assert (walls < geometry.above + 1e-9).all()
    assert (walls > geometry.above - geometry.ceiling - 1e-9).all()
    np.testing.assert_allclose(planes.rays * planes.depth[..., None] @ (0, 1, 0), down, atol=1e-9)


def test_gravity_is_that_of_pitch_and_roll():
    """A camera that looks down sees gravity turned to its optical axis."""
    def gravity(**angles):
        geometry = Geometry(**{'pitch': 0, 'roll': 0, 'yaw': 10, 'above': 1.4, 'ceiling': 2.6,
                               'wall': 3, 'side': 2, **angles})
        return empty_room(geometry, CAMERA, SETTINGS['size']).gravity
    sin, cos = np.sin(np.radians(20)), np.cos(np.radians(20))
    np.testing.assert_allclose(gravity(), (0, 1, 0))
    np.testing.assert_allclose(gravity(pitch=20), (0, cos, sin), atol=1e-12)
    np.testing.assert_allclose(gravity(roll=20), (-sin, cos, 0), atol=1e-12)


@pytest.mark.parametrize('seed', range(6))
def test_digits_stand_upright_in_front_or_are_painted(seed):
    found, plain = room(seed), empty_room_of(seed)
    digits = found.solid >= len(SURFACES)
    assert digits.any() and set(np.unique(found.label)) <= {*range(len(CLASSES)), VOID}
    inner = found.label != VOID
    assert (found.label[inner] == found.solid[inner]).all()
    assert (found.label == VOID).any()
    points = point_cloud(found.depth, CAMERA)
    facing = np.array((0, 0, 1.0)) - found.gravity[2] * found.gravity
    facing /= np.linalg.norm(facing)
    assert (found.depth[~digits] == plain.depth[~digits]).all()
    for number in np.unique(found.solid[digits]):
        parts, count = label(found.solid == number)
        for inside in (parts == part for part in range(1, count + 1)):
            if not (found.depth[inside] == plain.depth[inside]).all():      # not painted
                assert (found.depth[inside] < plain.depth[inside]).all()
                assert np.ptp(points[inside] @ facing) < 1e-9


def test_some_digits_are_painted_and_some_hidden():
    """About a fifth each; of the first a depth image shows nothing, of the others a photograph."""
    painted = hidden = count = 0
    for seed in range(24):
        found, plain = room(seed, digits=(1, 1)), empty_room_of(seed, digits=(1, 1))
        digit = found.solid >= len(SURFACES)
        count += 1
        painted += np.allclose(found.depth[digit], plain.depth[digit])
        grey = found.image.astype(float).mean(2)
        hidden += abs(grey[digit].mean() - grey[~digit & (found.surface == 0)].mean()) < 25
    assert 0 < painted / count < 0.45 and 0 < hidden / count < 0.5


def empty_room_of(seed, **changes):
    """The planes that draw_room draws for this seed."""
    rng = np.random.default_rng(seed)
    rooms.digits_of_scene(rng, *load_digits('train'), {**SETTINGS, **changes})
    return empty_room(drawn_geometry(rng), CAMERA, SETTINGS['size'])


def test_measured_depth_has_noise_and_holes():
    found = room(3)
    holes = found.measured == 0
    assert 0.02 < holes.mean() < 0.2
    error = (found.measured - found.depth)[~holes]
    sigma = rooms.NOISE * found.depth[~holes] ** 2
    assert 0.8 < np.std(error / sigma) < 1.2 and abs(np.mean(error / sigma)) < 0.1
    whole = rooms.without_holes(found.measured)
    assert (whole > 0).all() and (whole[~holes] == found.measured[~holes]).all()
    assert (whole == filled(found.measured, holes)).all()


def test_what_stands_in_front_throws_a_shadow_to_its_left():
    """As wide as the difference of the disparities."""
    depth = np.full((4, 200), 3.0)
    depth[:, 100:140] = 1.5
    camera = rooms.camera_of(4, 200)
    shadow = rooms.shadow(depth, camera)
    wide = rooms.BASELINE * camera.fx * (1 / 1.5 - 1 / 3)
    assert not shadow[:, 100:].any() and not shadow[:, :99 - int(wide)].any()
    assert shadow[0].sum() == int(np.ceil(wide)) - 1 or shadow[0].sum() == int(wide)
    assert shadow[:, 99].all()


def test_orientations_are_those_of_sift_flow():
    assert rooms.orientation(np.arange(3)).tolist() == [2, 1, 0]    # wall, floor, ceiling or sky


def test_a_room_depends_on_its_random_stream_alone():
    one, same, other = room(7), room(7), room(8)
    assert all((a == b).all() for a, b in zip(one[:7], same[:7], strict=True))
    assert not (one.image == other.image).all() and one.camera == CAMERA
