"""HHA: horizontal disparity, height above ground and angle with gravity, from depth.

After S. Gupta, R. Girshick, P. Arbelaez and J. Malik, "Learning Rich Features from RGB-D Images
for Object Detection and Segmentation" (ECCV 2014), with the gravity estimate of Gupta, Arbelaez and
Malik, "Perceptual Organization and Recognition of Indoor Scenes from RGB-D Images" (CVPR 2013). The
constants are those of the authors' release (saveHHA.m, processDepthImage.m, getYDir.m), with which
the HHA images were made that the NYUDv2 nets were trained on.

Camera coordinates: x to the right, y down, z along the optical axis, all in centimetres here; the
centre of the first pixel is (1, 1), as in MATLAB.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fcn_repro.errors import FcnError

NORMAL_RADIUS = 3           # pixels: normals are fitted in windows of 2 r + 1
GRAVITY_RADIUS = 10         # the same for the normals of which gravity is estimated
START = (0.0, 1.0, 0.0)     # gravity before the first iteration: down in the image
STEPS = ((45.0, 5), (15.0, 5))      # (threshold in degrees, iterations), one after the other
TURN = 0.1                  # degrees; a camera that is tilted less is taken as upright

NEAREST = 100.0             # cm: what is nearer has the disparity of this depth
DISPARITY = 31000.0         # channel 1 is this number / depth in cm
CAMERA_HEIGHT = 130.0       # cm, assumed where the lowest point is …
LOWEST = 90.0               # … less than this below the camera: the floor is not in view
ANGLE = 38.0                # channel 3 is the angle in degrees + 128 - 90
NO_NORMAL = 180.0           # degrees where no normal can be fitted: MATLAB's max(-1, NaN) is -1

MOST_PIXELS = 2 ** 23       # of a depth image; they take 1.4 GB
BAND = 64                   # rows whose normals are computed at once


class Camera(NamedTuple):
    """A pinhole camera in pixels: focal lengths and principal point, (1, 1) the first pixel."""

    fx: float
    fy: float
    cx: float
    cy: float

    def cropped(self, left: int, top: int) -> Camera:
        """That of images whose first `left` columns and `top` rows are cut off."""
        return self._replace(cx=self.cx - left, cy=self.cy - top)


# The colour camera of NYUDv2's Kinect (the data set's toolbox), of whole frames (480, 640) and of
# those without their white border (425, 560), as Gupta et al. and the nets' release cut them.
KINECT = Camera(518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465)
CAMERAS = {(480, 640): KINECT, (425, 560): KINECT.cropped(40, 45)}


class Encoded(NamedTuple):
    """image: (H, W, 3) uint8, disparity, height, angle. gravity: (3,) unit vector of camera
    coordinates, downward; margin: of Gravity. no_normal: pixels without a normal, which have the
    angle NO_NORMAL."""

    image: np.ndarray
    gravity: np.ndarray
    margin: float
    no_normal: int


class Gravity(NamedTuple):
    """direction: (3,) unit vector. margin: by how much the next best direction at a right angle
    fits worse, as a part of the normals that count; 0, say, where all of them are of one wall, in
    which any direction in the wall fits."""

    direction: np.ndarray
    margin: float


def encode(depth: np.ndarray, camera: Camera, missing: np.ndarray | None = None) -> Encoded:
    """The HHA image of a depth image.

    depth: (H, W) in metres, along the optical axis. missing: (H, W) bool, where the sensor measured
    nothing: such pixels support no normal, and their depth, filled in by somebody, counts for
    disparity and height. Depth that is 0, negative, infinite or NaN is missing too, and is filled
    with that of the nearest pixel that has one. FcnError for another shape, for more than
    MOST_PIXELS, and where no pixel, or no window, has depth enough.
    """
    depth, missing = checked(depth, missing)
    points = point_cloud(100 * depth, camera)
    gravity, margin = estimate_gravity(normals(points, missing, GRAVITY_RADIUS))
    fine = normals(points, missing, NORMAL_RADIUS)
    angle = np.degrees(np.arccos(np.clip(fine @ gravity, -1, 1)))
    without = np.isnan(angle)
    angle[without] = NO_NORMAL
    channels = (DISPARITY / np.maximum(points[..., 2], NEAREST), height(points, gravity),
                angle + ANGLE)
    return Encoded(saturated(np.stack(channels, -1)), gravity, margin, int(without.sum()))


def checked(depth: np.ndarray, missing: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(depth without gaps (H, W) float64, where nothing was measured (H, W) bool)."""
    depth = np.asarray(depth, np.float64)
    if depth.ndim != 2 or (missing is not None and np.shape(missing) != depth.shape):
        shapes = f'depth {depth.shape}' + ('' if missing is None else f', missing '
                                           f'{np.shape(missing)}')
        raise FcnError(f'the shapes are {shapes}, not twice the same height and width',
                       do='Give depth and missing as arrays of the shape (H, W).')
    if depth.size > MOST_PIXELS:
        raise FcnError(f'the depth image has {depth.size:,} pixels; at most {MOST_PIXELS:,} are '
                       'encoded', do='Give a smaller copy, and its camera.')
    invalid = ~(np.isfinite(depth) & (depth > 0))
    missing = invalid if missing is None else np.asarray(missing, bool) | invalid
    if missing.all():
        raise FcnError('no pixel has a depth', do='Give the depth in metres; 0 and NaN mean that '
                       'nothing was measured.')
    return filled(depth, invalid), missing


def filled(field: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """A field (H, W) with the value of the nearest pixel outside the holes in each of them; of
    several the choice is scipy's."""
    if not holes.any():
        return field
    from scipy.ndimage import distance_transform_edt  # slow to import
    nearest = distance_transform_edt(holes, return_distances=False, return_indices=True)
    return field[tuple(nearest)]


def point_cloud(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W, 3) camera coordinates of the pixels of a depth image (H, W), in its unit."""
    rows, columns = (np.arange(1.0, n + 1) for n in depth.shape)
    return np.stack(((columns - camera.cx) * depth / camera.fx,
                     (rows - camera.cy)[:, None] * depth / camera.fy, depth), -1)


def normals(points: np.ndarray, missing: np.ndarray, radius: int) -> np.ndarray:
    """(H, W, 3) unit normals that point away from the camera; NaN where a window of 2 radius + 1
    holds fewer than 2 radius + 2 measured points, which may all lie on a line. Computed by fitted,
    BAND rows at a time."""
    found = np.empty_like(points)
    for top in range(0, len(points), BAND):
        first = max(0, top - radius)
        rows = np.s_[first:top + BAND + radius]
        found[top:top + BAND] = fitted(points[rows], missing[rows],
                                       radius)[top - first:][:BAND]
    return found


def fitted(points: np.ndarray, missing: np.ndarray, radius: int) -> np.ndarray:
    """What normals() returns.

    A plane n·p = 1 is fitted to the points p of a window with the weight 1/z, which turns it into
    n·(x/z, y/z, 1) = 1/z: least squares in the error of the disparity. The normal equations are
    solved up to a factor, by the adjugate.
    """
    z = points[..., 2]
    a, b, w = points[..., 0] / z, points[..., 1] / z, 1 / z
    rows = np.stack((a * a, a * b, a, b * b, b, np.ones_like(a), a * w, b * w, w))
    rows[:, missing] = 0
    aa, ab, ac, bb, bc, cc, aw, bw, cw = summed(rows, radius)
    normal = np.stack((
        (bb * cc - bc * bc) * aw + (ac * bc - ab * cc) * bw + (ab * bc - ac * bb) * cw,
        (ac * bc - ab * cc) * aw + (aa * cc - ac * ac) * bw + (ab * ac - aa * bc) * cw,
        (ab * bc - ac * bb) * aw + (ab * ac - aa * bc) * bw + (aa * bb - ab * ab) * cw), -1)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    usable = (cc[..., None] > 2 * radius + 1) & (length > 0)
    normal = np.divide(normal, length, out=np.full_like(normal, np.nan), where=usable)
    return np.where(np.sum(normal * points, -1, keepdims=True) < 0, -normal, normal)


def summed(fields: np.ndarray, radius: int) -> np.ndarray:
    """Sums of fields (N, H, W) over square windows of 2 radius + 1, with zeros outside."""
    from scipy.ndimage import correlate1d  # slow to import
    ones = np.ones(2 * radius + 1)
    return correlate1d(correlate1d(fields, ones, 1, mode='constant'), ones, 2, mode='constant')


def estimate_gravity(normal: np.ndarray) -> Gravity:
    """The direction of gravity in which floors, or ceilings, and walls fit best.

    Normals (…, 3) nearer to the present direction than a threshold, up or down, are taken as of
    floors, those as near to its plane as of walls; the new direction minimises the sum of squared
    cosines with the walls' less that with the floors'. STEPS says how often. FcnError where there
    are no normals.
    """
    known = normal[np.isfinite(normal).all(-1)]
    if not len(known):
        raise FcnError('no window has depth enough to fit a plane to, so gravity cannot be '
                       'estimated', do='Give a depth image with fewer holes.')
    gravity, margin = np.array(START), 0.0
    for threshold, iterations in STEPS:
        limit = np.radians(threshold)
        for _ in range(iterations):
            cosine = np.abs(known @ gravity)
            floors, walls = known[cosine > np.cos(limit)], known[cosine < np.sin(limit)]
            if not len(floors) + len(walls):
                break
            values, vectors = np.linalg.eigh(walls.T @ walls - floors.T @ floors)
            new = vectors[:, 0]                 # of the smallest eigenvalue
            gravity = new if new @ gravity >= 0 else -new
            margin = float(values[1] - values[0]) / (len(floors) + len(walls))
    return Gravity(gravity, margin)


def height(points: np.ndarray, gravity: np.ndarray) -> np.ndarray:
    """(H, W) heights in cm above the lowest point, or, where that is less than LOWEST below the
    camera, above a floor that is CAMERA_HEIGHT below it."""
    upright = gravity @ START > np.cos(np.radians(TURN))
    above = -points @ (np.array(START) if upright else gravity)
    lowest = above.min()
    return above + (CAMERA_HEIGHT if lowest > -LOWEST else -lowest)


def saturated(values: np.ndarray) -> np.ndarray:
    """uint8 as MATLAB makes it: rounded, halves upward, and cut off at 0 and 255."""
    return np.floor(np.clip(values, 0, 255) + 0.5).clip(0, 255).astype(np.uint8)
