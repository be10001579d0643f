"""Rooms with digits in them: colour, depth and surfaces of planes whose geometry is known.

A camera that is tilted and rolled a little stands in a room with a floor, a ceiling and two walls
at a right angle. Two or three large digits stand in it, in vertical planes that face the camera, at
depths of their own. Some of them are painted on the surface behind, and so have no depth of their
own; others have the colour of that surface, and so are hardly seen without depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fcn_repro.data.digits import NAMES, colours, paint, resize, texture, to_uint8
from fcn_repro.data.hha import Camera, filled
from fcn_repro.data.image import VOID
from fcn_repro.data.scenes import digits_of_scene

SURFACES = ('wall', 'floor', 'ceiling')             # 0, 1, 2 of Room.surface
CLASSES = (*SURFACES, *NAMES)                       # of Room.label
OUTDOORS = ('wall', 'ground', 'sky', *NAMES)        # the same, where the ceiling is a sky

FOCAL = 519 / 560           # of the image's width: the field of view of NYUDv2's cropped frames
PITCH, ROLL, YAW = (-12, 22), (-6, 6), (-35, 35)    # degrees; pitch: downward, yaw: of the walls
CAMERA_HEIGHT, CEILING = (1.2, 1.6), (2.4, 3.0)     # metres above the floor
WALL, SIDE = (2.5, 4.5), (1.5, 3.5)                 # metres from the camera
STANDING = (0.45, 0.9)      # depth of a digit, as a part of that behind it where this is least
PAINTED, HIDDEN = 0.2, 0.2  # parts of the digits without their own depth, without their own colour
CONTRAST = 12               # grey levels between a hidden digit and what is behind it

# Kinect: standard deviation of depth in m, of its square (K. Khoshelham and S. Oude Elberink,
# "Accuracy and Resolution of Kinect Depth Data", Sensors 2012, equation 9); distance in m between
# projector and sensor, which makes a shadow beside everything that stands in front.
NOISE, BASELINE = 1.425e-3, 0.075
HOLES = 0.03                # part of the pixels in which the surface reflects nothing back


class Room(NamedTuple):
    """image: (H, W, 3) uint8 RGB. label: (H, W) uint8, of CLASSES, 255 in the rims of digits.
    solid: the same without rims. surface: (H, W) uint8 of SURFACES, 0 where a digit stands. depth,
    measured: (H, W) float64 in metres, exact, and with noise and 0 in holes. gravity: (3,) unit
    vector of camera coordinates (x right, y down, z forward). camera: its pinhole."""

    image: np.ndarray
    label: np.ndarray
    solid: np.ndarray
    surface: np.ndarray
    depth: np.ndarray
    measured: np.ndarray
    gravity: np.ndarray
    camera: Camera


class Planes(NamedTuple):
    """The empty room. depth: (H, W) metres. surface: (H, W) uint8. rays: (H, W, 3), the position at
    the depth 1, in the room's axes: right, down and forward of a camera that looks straight ahead.
    gravity: (3,) in the axes of the camera."""

    depth: np.ndarray
    surface: np.ndarray
    rays: np.ndarray
    gravity: np.ndarray


def camera_of(height: int, width: int) -> Camera:
    """The camera of rooms of this size."""
    return Camera(FOCAL * width, FOCAL * width, (width + 1) / 2, (height + 1) / 2)


def draw_room(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray,
              settings: Mapping[str, Any]) -> Room:
    """One room. images, labels: the digits to choose from; settings: `size`, `digits` and
    `digit_sizes` as of scenes.make_scenes."""
    size = settings['size']
    camera = camera_of(*size)
    placed_label, placed = digits_of_scene(rng, images, labels, settings)
    planes = empty_room(drawn_geometry(rng), camera, size)
    canvas, grounds = painted_surfaces(rng, planes)
    depth, solid = planes.depth.copy(), planes.surface.copy()
    for alpha, top, left, digit in placed:
        place, kind = np.s_[top:top + alpha.shape[0], left:left + alpha.shape[1]], rng.random()
        inside = alpha > 0.5
        solid[place][inside] = len(SURFACES) + digit
        if kind >= PAINTED:
            depth[place][inside] = standing(rng, planes, place, inside)
        behind = grounds[planes.surface[place][middle(inside)]]
        hidden = PAINTED <= kind < PAINTED + HIDDEN
        ink = behind + rng.choice((-CONTRAST, CONTRAST)) if hidden else ink_on(rng, behind)
        paint(canvas, alpha, top, left, texture(rng, alpha.shape, ink, 0.5))
    label = solid.copy()
    label[placed_label == VOID] = VOID
    surface = np.where(solid < len(SURFACES), planes.surface, 0).astype(np.uint8)
    return Room(to_uint8(canvas), label, solid, surface, depth, measured(rng, depth, camera),
                planes.gravity, camera)


def standing(rng: np.random.Generator, planes: Planes, place: tuple[slice, slice],
             inside: np.ndarray) -> np.ndarray:
    """The depths of a digit's pixels, `inside` of a place in the picture, in a vertical plane that
    faces the camera, in front of everything behind them."""
    facing = planes.rays[place][inside][:, 2]
    return rng.uniform(*STANDING) * (planes.depth[place][inside] * facing).min() / facing


def middle(inside: np.ndarray) -> tuple[int, int]:
    """A pixel (row, column) of a digit that is nearest to the middle of its ink."""
    rows, columns = np.nonzero(inside)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return int(rows[nearest]), int(columns[nearest])


class Geometry(NamedTuple):
    """A room and its camera. pitch (downward), roll and yaw (of the walls) in degrees; metres: the
    camera above the floor, the ceiling above the floor, the walls from the camera. left: -1 where
    the second wall is to the left, else 1."""

    pitch: float
    roll: float
    yaw: float
    above: float
    ceiling: float
    wall: float
    side: float
    left: int = 1


def drawn_geometry(rng: np.random.Generator) -> Geometry:
    """A geometry within the limits above."""
    ranges = PITCH, ROLL, YAW, CAMERA_HEIGHT, CEILING, WALL, SIDE
    drawn = [float(rng.uniform(*limits)) for limits in ranges]
    return Geometry._make((*drawn, int(rng.choice((-1, 1)))))


def empty_room(geometry: Geometry, camera: Camera, size: tuple[int, int]) -> Planes:
    """Look into a room: for each pixel of an image (height, width) the nearest plane."""
    pitch, roll, yaw = np.radians(geometry[:3])
    from_room = turned(2, roll) @ turned(0, pitch)
    rays = np.ones((*size, 3))
    rows, columns = (np.arange(1.0, n + 1) for n in size)
    rays[..., 0] = (columns - camera.cx) / camera.fx
    rays[..., 1] = ((rows - camera.cy) / camera.fy)[:, None]
    rays = rays @ from_room                     # into the room's axes; z of the camera stays 1
    ahead = (np.sin(yaw), 0, np.cos(yaw))
    across = (geometry.left * np.cos(yaw), 0, -geometry.left * np.sin(yaw))
    faces = ((ahead, geometry.wall, 0), (across, geometry.side, 0),
             ((0, 1, 0), geometry.above, 1), ((0, -1, 0), geometry.ceiling - geometry.above, 2))
    with np.errstate(divide='ignore'):
        depths = np.stack([distance / np.maximum(rays @ np.array(normal), 0)
                           for normal, distance, _ in faces])
    nearest = depths.argmin(0)
    surface = np.array([face for *_, face in faces], np.uint8)[nearest]
    return Planes(depths.min(0), surface, rays, from_room @ (0.0, 1.0, 0.0))


def turned(axis: int, angle: float) -> np.ndarray:
    """The rotation (3, 3) by an angle in radians about the x (0) or z (2) axis."""
    matrix, (i, j) = np.eye(3), ((1, 2), (2, 0), (0, 1))[axis]
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


def painted_surfaces(rng: np.random.Generator, planes: Planes) -> tuple[np.ndarray, np.ndarray]:
    """The picture (H, W, 3) float32 of the empty room, and the colours (3, 3) of its surfaces: of
    each a colour with spots, and boards that become narrower with distance."""
    grounds = np.stack([colours(rng, 1)[0] for _ in SURFACES])
    position = planes.rays * planes.depth[..., None]
    canvas = np.zeros((*planes.depth.shape, 3), np.float32)
    for i, ground in enumerate(grounds):
        picture = texture(rng, planes.depth.shape, ground, 0.5)
        direction, period = rng.standard_normal(3), rng.uniform(0.25, 0.6)
        boards = np.sin(2 * np.pi / period * position @ (direction / np.linalg.norm(direction)))
        picture += (rng.uniform(6, 18) * boards / np.maximum(planes.depth, 1)).astype(
            np.float32)[..., None]
        canvas[planes.surface == i] = picture[planes.surface == i]
    return canvas, grounds


def ink_on(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour (3,) that is lighter than the ground."""
    light = rng.uniform(min(ground.mean() + 80, 225), 245)
    return light + rng.uniform(-35, 35, 3)


def measured(rng: np.random.Generator, depth: np.ndarray, camera: Camera) -> np.ndarray:
    """What a depth camera makes of a depth (H, W) in metres: noise that grows with its square, and
    0 in the shadow to the left of what stands in front, and in spots."""
    noise = resize(rng.standard_normal([n // 2 + 2 for n in depth.shape]).astype(np.float32),
                   *depth.shape)
    spots = resize(rng.standard_normal([n // 24 + 3 for n in depth.shape]).astype(np.float32),
                   *depth.shape)
    with_noise = depth + NOISE * depth ** 2 * noise / noise.std()
    holes = shadow(depth, camera) | (spots > np.quantile(spots, 1 - HOLES))
    return np.where(holes, 0, with_noise)


def shadow(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Where something nearer hides the projector, which is BASELINE to the right of the sensor: a
    pixel that a nearer one to its right displaces further."""
    disparity = BASELINE * camera.fx / depth                        # pixels
    reach = np.arange(depth.shape[1]) - disparity                   # where the projector sees it
    least = np.minimum.accumulate(reach[:, ::-1], axis=1)[:, ::-1]
    later = np.concatenate((least[:, 1:], np.full((len(depth), 1), np.inf)), 1)
    return reach > later


def without_holes(measured: np.ndarray) -> np.ndarray:
    """A measured depth with the nearest measured value in its holes."""
    return filled(measured, measured == 0)


def orientation(surface: np.ndarray) -> np.ndarray:
    """The second label (H, W) uint8 by surface: 0 sky, 1 horizontal, 2 vertical, as SIFT Flow has
    them. Digits stand, and are vertical."""
    return np.array((2, 1, 0), np.uint8)[surface]
