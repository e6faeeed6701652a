"""A clip to pictures: a shaded capsule figure on a floor grid, drawn with numpy alone. It knows nothing of video files.

Left is blue and right is red, as on the mannequin; nose, eyes and chest plate mark the front. Every body part is a
sphere swept between two points, drawn per pixel: coverage from the distance to the axis, a normal for the light, and a
depth for hiding. Image x goes right, image y down; a row of parts is ``(P, 2, 3)`` for its two ends in world metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from motion_service.clips import VrmClip
from motion_service.export.pose import clip_to_pose
from motion_service.geometry.rotation import quat_rotate
from motion_service.humanoid import canonical_index

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Vector = tuple[float, float, float]

_BODY: Final = (222, 217, 206)
_DARK: Final = (66, 70, 82)
_SIDE_COLOUR: Final = {"left": (66, 126, 238), "right": (232, 84, 70)}
_LIGHT: Final = np.array([0.35, 0.66, 0.66], np.float32)
"""Direction to the light in camera axes: right, up, towards the viewer; unit."""
_SKY: Final = np.array([246, 248, 251], np.float32)
_FLOOR: Final = np.array([226, 231, 238], np.float32)
GRID_STEP: Final = 0.5
"""Distance between floor lines, m."""
FOCUS_HEIGHT: Final = 0.92
"""Height that the camera looks at, m."""


@dataclass(frozen=True, slots=True)
class Capsule:
    """A body part: a sphere swept from ``start`` to ``end``, both in the frame of ``bone``; metres."""

    bone: str
    start: Vector
    end: Vector
    start_radius: float
    end_radius: float
    colour: tuple[int, int, int]


def _arm_and_leg(side: str) -> list[Capsule]:
    sign, colour = (1.0 if side == "left" else -1.0), _SIDE_COLOUR[side]
    shapes: list[tuple[str, Vector, Vector, float, float]] = [
        ("Shoulder", (0.11, 0, 0), (0.14, 0, 0), 0.057, 0.060),
        ("UpperArm", (0, 0, 0), (0.27, 0, 0), 0.052, 0.042),
        ("LowerArm", (0, 0, 0), (0.25, 0, 0), 0.042, 0.030),
        ("Hand", (0.02, 0, 0), (0.12, 0, 0), 0.036, 0.026),
        ("Hand", (0.03, -0.01, 0.03), (0.065, -0.01, 0.062), 0.016, 0.013),
        ("UpperLeg", (0, 0, 0), (0, -0.41, 0), 0.082, 0.058),
        ("LowerLeg", (0, 0, 0), (0, -0.41, 0), 0.058, 0.040),
        ("Foot", (0, -0.03, -0.03), (0, -0.04, 0.12), 0.044, 0.040),
        ("Toes", (0, 0.003, 0.0), (0, 0, 0.05), 0.036, 0.030),
    ]
    return [
        Capsule(side + bone, (sign * a[0], a[1], a[2]), (sign * b[0], b[1], b[2]), ra, rb, colour)
        for bone, a, b, ra, rb in shapes
    ]


FIGURE: Final[tuple[Capsule, ...]] = (
    Capsule("hips", (-0.055, 0.0, 0), (0.055, 0.0, 0), 0.102, 0.102, _BODY),
    Capsule("spine", (0, -0.04, 0), (0, 0.12, 0), 0.108, 0.112, _BODY),
    Capsule("chest", (-0.035, 0.04, 0.005), (-0.085, 0.175, 0.005), 0.098, 0.092, _BODY),
    Capsule("chest", (0.035, 0.04, 0.005), (0.085, 0.175, 0.005), 0.098, 0.092, _BODY),
    Capsule("chest", (0, 0.14, 0.068), (0, 0.19, 0.062), 0.042, 0.046, _DARK),
    Capsule("chest", (-0.095, 0.228, 0), (0.095, 0.228, 0), 0.054, 0.054, _BODY),
    Capsule("neck", (0, -0.02, 0), (0, 0.09, 0.015), 0.052, 0.046, _BODY),
    Capsule("head", (0, 0.055, 0.024), (0, 0.105, 0.010), 0.080, 0.100, _BODY),
    Capsule("head", (0, 0.082, 0.105), (0, 0.07, 0.118), 0.012, 0.017, _DARK),
    Capsule("head", (-0.036, 0.112, 0.092), (-0.036, 0.118, 0.092), 0.014, 0.014, _DARK),
    Capsule("head", (0.036, 0.112, 0.092), (0.036, 0.118, 0.092), 0.014, 0.014, _DARK),
    *_arm_and_leg("left"),
    *_arm_and_leg("right"),
)
"""The figure on the canonical body; order does not matter."""

_RADII: Final = np.array([(part.start_radius, part.end_radius) for part in FIGURE], np.float32)
COLOURS: Final = np.array([part.colour for part in FIGURE], np.float32)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks at a point from a fixed direction. Lengths in m, angles in rad, image in pixels."""

    width: int
    height: int
    focal: float
    """Focal length in pixels."""
    distance: float
    azimuth: float = math.radians(24.0)
    """0 looks at the front of a figure that faces +Z; positive goes to the figure's left."""
    elevation: float = math.radians(13.0)

    @property
    def axes(self) -> Floats:
        """(3, 3) rows: image right, image up, towards the viewer, in world coordinates."""
        sin_a, cos_a = math.sin(self.azimuth), math.cos(self.azimuth)
        sin_e, cos_e = math.sin(self.elevation), math.cos(self.elevation)
        right = (cos_a, 0.0, -sin_a)
        up = (-sin_e * sin_a, cos_e, -sin_e * cos_a)
        return np.array([right, up, (cos_e * sin_a, sin_e, cos_e * cos_a)], np.float32)

    def project(self, points: Floats, target: Floats) -> Floats:
        """World points (..., 3) to image x, image y and distance from the camera plane in m, looking at ``target``."""
        view = (points - target) @ self.axes.T
        depth = np.maximum(self.distance - view[..., 2], 0.05)
        x = self.width / 2 + self.focal * view[..., 0] / depth
        y = self.height / 2 - self.focal * view[..., 1] / depth
        return np.stack([x, y, depth], axis=-1)


def clip_to_capsules(clip: VrmClip) -> Floats:
    """World ends of every part of the figure in every frame. (T, P, 2, 3) m"""
    positions, world_quat = clip_to_pose(clip)
    bones = [canonical_index(part.bone) for part in FIGURE]
    ends = torch.tensor([(part.start, part.end) for part in FIGURE])  # (P, 2, 3)
    turned = quat_rotate(world_quat[:, bones, None], ends)  # (T, P, 2, 3)
    return (positions[:, bones, None] + turned).numpy().astype(np.float32)


class Floor:
    """The background for one camera: sky, floor and grid lines. What does not depend on the frame is computed once."""

    def __init__(self, camera: Camera) -> None:
        right, up, back = camera.axes
        x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
        ray = (
            (x - camera.width / 2)[..., None] * right - (y - camera.height / 2)[..., None] * up - camera.focal * back
        )  # (H, W, 3)
        self._top = int(np.searchsorted(-ray[:, 0, 1], 0.02 * camera.focal))  # rows above it see no floor
        below = ray[self._top :]
        eye = camera.distance * back + np.array([0.0, FOCUS_HEIGHT, 0.0])
        places = eye[[0, 2]] + below[..., [0, 2]] * (eye[1] / -below[..., 1:2])  # (H', W, 2)
        self._places = np.ascontiguousarray(np.moveaxis(places, -1, 0), np.float32)  # (2, H', W), from the focus
        footprint = [np.abs(np.gradient(place, axis=0)) + np.abs(np.gradient(place, axis=1)) for place in self._places]
        self._per_metre = (1 / np.maximum(footprint, 1e-4)).astype(np.float32)  # pixels a metre, (2, H', W)
        distance = np.hypot(*self._places)
        self._fade = (np.exp(-((distance / 2.6) ** 2))).astype(np.float32)  # (H', W)
        self._base = np.broadcast_to(_SKY, (camera.height, camera.width, 3)).copy()
        self._base[self._top :] += self._fade[..., None] * (_FLOOR - _SKY)

    def draw(self, focus: Floats, shadows: Floats) -> Floats:
        """Background (H, W, 3) in 0..255 as seen around ``focus`` (x, _, z), with a soft shadow at each of ``shadows``
        (N, 3): x, z and radius in m."""
        line = np.zeros_like(self._fade)
        for place, per_metre, origin in zip(self._places, self._per_metre, focus[[0, 2]], strict=True):
            grid = (place + origin) / np.float32(GRID_STEP)
            grid -= np.rint(grid)
            line = np.maximum(line, 1.2 - np.abs(grid) * per_metre * np.float32(GRID_STEP))
        shade = np.clip(line, 0, 1) * self._fade * np.float32(0.16)  # (H', W)
        for x, z, radius in shadows:
            square = (self._places[0] + (focus[0] - x)) ** 2 + (self._places[1] + (focus[2] - z)) ** 2
            shade = np.maximum(shade, np.float32(0.30) * np.exp(square * np.float32(-1 / radius**2)))
        canvas = self._base.copy()
        canvas[self._top :] *= (1 - shade)[..., None]
        return canvas


def draw_capsules(canvas: Floats, camera: Camera, capsules: Floats, target: Floats, colours: Floats) -> None:
    """Draw parts (P, 2, 3) of colours (P, 3) onto ``canvas`` (H, W, 3) in place, nearer ones over farther ones."""
    ends = camera.project(capsules, target)  # (P, 2, 3)
    pixels = camera.focal * _tiled_radii(len(capsules)) / ends[..., 2]  # (P, 2)
    depth = np.full(canvas.shape[:2], np.inf, np.float32)
    for part in range(len(capsules)):
        nearer = int(ends[part, 1, 2] < ends[part, 0, 2])
        order = [nearer, 1 - nearer]  # where both ends fall on one pixel, the nearer sphere is the one that shows
        _draw_capsule(canvas, depth, ends[part, order], pixels[part, order], camera.focal, colours[part])


def _tiled_radii(num_parts: int) -> Floats:
    return np.tile(_RADII, (num_parts // len(_RADII), 1))


def _draw_capsule(
    canvas: Floats, depth: Floats, ends: npt.NDArray[Any], radii: npt.NDArray[Any], focal: float, colour: Floats
) -> None:
    """One part: ``ends`` (2, 3) image x, y, depth, ``radii`` (2,) pixels."""
    (ax, ay, az), (bx, by, bz) = ends.tolist()
    ra, rb = radii.tolist()
    height, width = depth.shape
    left, right = max(0, int(min(ax - ra, bx - rb)) - 1), min(width, int(max(ax + ra, bx + rb)) + 2)
    top, bottom = max(0, int(min(ay - ra, by - rb)) - 1), min(height, int(max(ay + ra, by + rb)) + 2)
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - ax)  # (w,)
    y = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - ay))[:, None]  # (h, 1)
    dx, dy = bx - ax, by - ay
    square = max(dx * dx + dy * dy, 1e-6)
    along = np.clip(x * np.float32(dx / square) + y * np.float32(dy / square), 0, 1)  # (h, w)
    inverse = 1 / (ra + along * np.float32(rb - ra))
    nx = (x - along * np.float32(dx)) * inverse
    ny = (y - along * np.float32(dy)) * inverse
    rim = nx * nx + ny * ny  # 0 on the axis, 1 on the outline
    nz = np.sqrt(np.maximum(1 - rim, 0))
    near = az + along * np.float32(bz - az) - nz * np.float32(ra * az / focal)
    region = (slice(top, bottom), slice(left, right))
    cover = np.clip((1 - np.sqrt(rim)) / inverse + 0.5, 0, 1) * (near < depth[region])
    light = 0.50 + 0.56 * np.maximum(nx * _LIGHT[0] - ny * _LIGHT[1] + nz * _LIGHT[2], 0) + 0.10 * ny * nz
    light *= 0.72 + 0.28 * nz  # a darker rim parts limbs of one colour
    canvas[region] += (np.minimum(light[..., None] * colour, 255) - canvas[region]) * cover[..., None]
    np.copyto(depth[region], near, where=cover > 0.5)


def _shadows(capsules: Floats) -> Floats:
    """Soft shadows below the hips and both feet of one frame (P, 2, 3). (3, 3): x, z, radius"""
    names = [part.bone for part in FIGURE]
    places = [(capsules[names.index(bone), 0], radius) for bone, radius in _SHADOW_RADII]
    return np.array([(place[0], place[2], radius) for place, radius in places], np.float32)


_SHADOW_RADII: Final = (("hips", 0.26), ("leftFoot", 0.13), ("rightFoot", 0.13))


def smooth_focus(clip: VrmClip, capsules: Floats) -> Floats:
    """Where the camera looks in each frame: the hips over the ground, smoothed over about a second. (T, 3) m"""
    hips = capsules[:, 0].mean(axis=1)  # the first part is the hips
    sigma = 0.4 * clip.fps  # frames
    reach = max(1, int(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(hips[:, [0, 2]], ((reach, reach), (0, 0)), mode="edge")
    smooth = [np.convolve(padded[:, axis], kernel / kernel.sum(), mode="valid") for axis in (0, 1)]
    return np.stack([smooth[0], np.full(len(hips), FOCUS_HEIGHT), smooth[1]], axis=1).astype(np.float32)


def draw_frame(floor: Floor, camera: Camera, capsules: Floats, focus: Floats) -> Bytes:
    """One frame (H, W, 3) of a figure (P, 2, 3) seen around ``focus`` (3,)."""
    canvas = floor.draw(focus, _shadows(capsules))
    draw_capsules(canvas, camera, capsules, focus, COLOURS)
    return canvas.astype(np.uint8)


def portrait_camera(width: int, height: int) -> Camera:
    """The camera of videos: the figure takes about two thirds of the height."""
    return Camera(width, height, focal=1.62 * min(width, height), distance=4.3)


def clip_to_image(clip: VrmClip, frame: int = 0, size: int = 480) -> Image.Image:
    """One frame of a clip as an RGB picture of ``size`` by ``size`` pixels."""
    camera, capsules = portrait_camera(size, size), clip_to_capsules(clip)
    return Image.fromarray(draw_frame(Floor(camera), camera, capsules[frame], smooth_focus(clip, capsules)[frame]))


def clip_to_strip(clip: VrmClip, num_poses: int = 6, width: int = 640, height: int = 240) -> Image.Image:
    """``num_poses`` evenly spaced poses of a clip in a row, first on the left; travel is taken out, turns are kept."""
    camera = Camera(width, height, focal=height * 5.9, distance=14.0, elevation=math.radians(9.0))
    capsules = clip_to_capsules(clip)
    frames = np.linspace(0, len(capsules) - 1, num_poses).round().astype(int)
    spacing = width / num_poses * camera.distance / camera.focal  # m
    poses = capsules[frames].copy()  # (N, P, 2, 3)
    poses -= poses[:, :1].mean(axis=2, keepdims=True) * np.array([1, 0, 1], np.float32)
    shifts = (np.arange(num_poses) - (num_poses - 1) / 2) * spacing
    poses += shifts[:, None, None, None].astype(np.float32) * camera.axes[0]
    focus = np.array([0, FOCUS_HEIGHT + 0.06, 0], np.float32)
    canvas = Floor(camera).draw(focus, np.concatenate([_shadows(pose) for pose in poses]))
    draw_capsules(canvas, camera, poses.reshape(-1, 2, 3), focus, np.tile(COLOURS, (num_poses, 1)))
    return Image.fromarray(canvas.astype(np.uint8))
