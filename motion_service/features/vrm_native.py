"""The feature layout ``vrm`` (F = 260) and its exact inverse: bone rotations and root <-> what ``mini`` reads.

Per frame, at 20 fps, in the facing frame (the world turned by minus the heading about +Y, root x and z taken out):

====================  =====  ==========================================================================
slice                 width  meaning
====================  =====  ==========================================================================
YAW_RATE              1      heading change since the frame before, rad/s
ROOT_VELOCITY         2      hips x and z displacement since the frame before, in this facing frame, m/s
ROOT_HEIGHT           1      hips height, m
HIPS_ROT6D            6      orientation of the hips relative to the heading, two matrix columns
LOCAL_ROT6D           120    local rotations of the other 20 canonical bones
POSITIONS             63     positions of the 21 bones by FK of the canonical body, m
VELOCITIES            63     their displacement since the frame before, turned into this facing frame, m/s
CONTACTS              4      left ankle, left toe, right ankle, right toe, 0 or 1
====================  =====  ==========================================================================

Heading is the twist of the hips about +Y (0 = facing +Z). Rates look backwards, so a stream decodes without delay;
those of frame 0 are zero and the place where a clip starts is kept beside the features. Decoding reads the first five
slices and the contacts; positions and velocities are redundant and only make learning easier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motion_service.clips import FeatureClip, VrmClip
from motion_service.geometry.kinematics import forward_kinematics
from motion_service.geometry.planes import Planes, length, multiply, to_planes, to_tensor, turn_about, unroll
from motion_service.geometry.planes import forward_kinematics as forward_kinematics_planes
from motion_service.geometry.planes import quat_to_rot6d as quat_to_rot6d_planes
from motion_service.geometry.planes import rot6d_to_quat as rot6d_to_quat_planes
from motion_service.geometry.rotation import quat_multiply, quat_twist_angle, rot6d_to_quat, yaw_to_quat
from motion_service.humanoid import (
    CANONICAL_BONES,
    CANONICAL_HIPS_HEIGHT,
    CANONICAL_PARENTS,
    CANONICAL_REST,
    CONTACT_BONES,
    canonical_index,
)

VRM_FPS: Final = 20.0
NUM_BONES: Final = len(CANONICAL_BONES)

YAW_RATE: Final = slice(0, 1)
ROOT_VELOCITY: Final = slice(1, 3)
ROOT_HEIGHT: Final = slice(3, 4)
HIPS_ROT6D: Final = slice(4, 10)
LOCAL_ROT6D: Final = slice(10, 130)
POSITIONS: Final = slice(130, 193)
VELOCITIES: Final = slice(193, 256)
CONTACTS: Final = slice(256, 260)
VRM_WIDTH: Final = 260

CONTACT_HEIGHT: Final = 0.03
"""A foot joint lower than this above its rest height may be in contact, m."""
CONTACT_SPEED: Final = 0.3
"""A foot joint slower than this may be in contact, m/s."""

_UP: Final = torch.tensor([0.0, 1.0, 0.0])
_REST: Final = torch.tensor(CANONICAL_REST)
OFFSETS: Final = _REST - _REST[[max(p, 0) for p in CANONICAL_PARENTS]]
"""(21, 3) rest offset of each canonical bone from its parent, m; zero for the hips."""
OFFSET_PLANES: Final = to_planes(OFFSETS)[..., None]
"""(3, 21, 1) the same for :mod:`motion_service.geometry.planes`."""
_CONTACT_INDEX: Final = [canonical_index(bone) for bone in CONTACT_BONES]
CONTACT_REST: Final = _REST[_CONTACT_INDEX, 1:2].numpy()
"""(4, 1) height of the contact joints when the sole lies on the floor, m."""


@dataclass(frozen=True, slots=True)
class RootStart:
    """Where a clip begins, since features only hold changes: heading in radians, x and z in metres."""

    heading: float = 0.0
    x: float = 0.0
    z: float = 0.0


def canonical_fk(local: Tensor, hips: Tensor) -> tuple[Tensor, Tensor]:
    """World positions (..., 21, 3) m and orientations (..., 21, 4) xyzw of the canonical body."""
    return forward_kinematics(local, hips, OFFSETS.to(local), CANONICAL_PARENTS)


def foot_contacts(positions: Tensor, fps: float) -> Tensor:
    """Contact labels (T, 4) from world positions (T, 21, 3): low (above rest height) and slow, measured either side."""
    feet = positions[:, _CONTACT_INDEX]  # (T, 4, 3)
    low = feet[..., 1] - _REST[_CONTACT_INDEX, 1].to(feet) < CONTACT_HEIGHT
    speed = torch.zeros(feet.shape[:2], dtype=feet.dtype, device=feet.device)
    if feet.shape[0] > 1:
        step = torch.linalg.vector_norm(feet[1:] - feet[:-1], dim=-1) * fps
        speed[1:] = step
        speed[:-1] = torch.minimum(torch.cat([step[:1], speed[1:-1]]), step)
    return (low & (speed < CONTACT_SPEED)).to(positions.dtype)


def heading(hips_quat: Tensor) -> Tensor:
    """Heading in radians of hips orientations (..., 4): their twist about +Y. (...,)"""
    return quat_twist_angle(hips_quat, _UP.to(hips_quat))


def bones_to_features(local: Tensor, hips: Tensor, fps: float = VRM_FPS) -> tuple[Tensor, RootStart]:
    """Canonical bone rotations (T, 21, 4) and hips positions (T, 3) to features (T, 260) and the starting place."""
    turns, root = to_planes(local.transpose(0, 1)), to_planes(hips)  # (4, 21, T), (3, T)
    positions, _ = forward_kinematics_planes(turns, root, OFFSET_PLANES, CANONICAL_PARENTS)
    features = torch.from_numpy(planes_to_features(turns, positions, fps)).T.contiguous()
    return features, RootStart(float(_heading_planes(turns[:, 0, :1])[0]), float(hips[0, 0]), float(hips[0, 2]))


def planes_to_features(local: Planes, positions: Planes, fps: float = VRM_FPS) -> Planes:
    """Features (260, T) of bone rotations (4, 21, T) and where they put the bones, (3, 21, T)."""
    yaw = _heading_planes(local[:, 0])  # (T,)
    features = np.zeros((VRM_WIDTH, len(yaw)), local.dtype)
    features[YAW_RATE, 1:] = _wrapped(yaw[1:] - yaw[:-1]) * fps
    unturned = multiply(turn_about(_UP.numpy()[:, None], -yaw), local[:, 0])
    rotations = features[HIPS_ROT6D.start : LOCAL_ROT6D.stop].reshape(NUM_BONES, 6, -1)
    rotations[0], rotations[1:] = quat_to_rot6d_planes(unturned), quat_to_rot6d_planes(local[:, 1:]).swapaxes(0, 1)
    sine, cosine = np.sin(yaw), np.cos(yaw)
    x, y, z = positions
    places = features[POSITIONS].reshape(NUM_BONES, 3, -1)
    places[:, 1] = y
    places[:, 0], places[:, 2] = _unturn(x - x[0], z - z[0], sine, cosine)
    rates = features[VELOCITIES].reshape(NUM_BONES, 3, -1)[..., 1:]
    step = (positions[..., 1:] - positions[..., :-1]) * local.dtype.type(fps)
    rates[:, 1] = step[1]
    rates[:, 0], rates[:, 2] = _unturn(step[0], step[2], sine[1:], cosine[1:])
    features[ROOT_VELOCITY, 1:] = rates[0, ::2]
    features[ROOT_HEIGHT] = y[0]
    features[CONTACTS] = planted(positions.take(_CONTACT_INDEX, axis=1), fps)
    return features


def planted(feet: Planes, fps: float) -> npt.NDArray[np.bool_]:
    """The labels (4, T) of :func:`foot_contacts` by the places (3, 4, T) of the joints in :data:`CONTACT_BONES`."""
    speed = np.zeros_like(feet[0])
    if feet.shape[-1] > 1:
        step = length(feet[..., 1:] - feet[..., :-1]) * fps
        speed[:, 0], speed[:, -1] = step[:, 0], step[:, -1]
        speed[:, 1:-1] = np.minimum(step[:, 1:], step[:, :-1])
    down: npt.NDArray[np.bool_] = (feet[1] - CONTACT_REST < CONTACT_HEIGHT) & (speed < CONTACT_SPEED)
    return down


def _heading_planes(hips_quat: Planes) -> Planes:
    """:func:`heading` (...) of (4, ...)."""
    return _wrapped(2 * np.arctan2(hips_quat[1], hips_quat[3]))


def _wrapped(angle: Planes) -> Planes:
    """The same angle in -pi..pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _unturn(x: Planes, z: Planes, sine: Planes, cosine: Planes) -> tuple[Planes, Planes]:
    """x and z of vectors turned back by a heading."""
    return cosine * x - sine * z, sine * x + cosine * z


def features_to_places(features: Tensor, start: RootStart | Tensor, fps: float = VRM_FPS) -> Tensor:
    """Heading in rad, x and z in m after each row of (..., T, 260): (..., T, 3) float64.

    ``start`` is where the first row is decoded from; a tensor (..., 3) float64 says so for each of several clips.
    """
    if isinstance(start, RootStart):
        start = features.new_tensor([start.heading, start.x, start.z], dtype=torch.float64)
    rates = features[..., YAW_RATE.start : ROOT_VELOCITY.stop].double() / fps
    yaw = start[..., :1] + torch.cumsum(rates[..., 0], dim=-1)  # (..., T)
    sine, cosine = torch.sin(yaw), torch.cos(yaw)
    steps = [cosine * rates[..., 1] + sine * rates[..., 2], cosine * rates[..., 2] - sine * rates[..., 1]]
    way = torch.cumsum(torch.stack(steps, dim=-1), dim=-2)
    return torch.cat([yaw[..., None], start[..., None, 1:] + way], dim=-1)


def features_to_bones(features: Tensor, start: RootStart | None = None, fps: float = VRM_FPS) -> tuple[Tensor, Tensor]:
    """Inverse of :func:`bones_to_features`: (..., T, 260) to rotations (..., T, 21, 4) and hips (..., T, 3)."""
    return place_bones(features, features_to_places(features, start or RootStart(), fps))


def place_bones(features: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (..., T, 21, 4) and hips (..., T, 3) of features (..., T, 260) at ``places`` (..., T, 3)."""
    yaw, x, z = places.to(features.dtype).unbind(-1)
    hips = torch.stack([x, features[..., ROOT_HEIGHT.start], z], dim=-1)
    local = rot6d_to_quat(features[..., HIPS_ROT6D.start : LOCAL_ROT6D.stop].unflatten(-1, (NUM_BONES, 6)))
    local[..., 0, :] = quat_multiply(yaw_to_quat(yaw), local[..., 0, :])
    return local, hips


def place_planes(features: Tensor, places: Tensor) -> tuple[Planes, Planes]:
    """The same as planes: rotations (4, 21, ..., T) and hips (3, ..., T), on the CPU."""
    numbers, (yaw, x, z) = features.numpy(), np.moveaxis(places.numpy().astype(np.float32), -1, 0)
    columns = to_planes(features[..., HIPS_ROT6D.start : LOCAL_ROT6D.stop])
    local = rot6d_to_quat_planes(columns.reshape(NUM_BONES, 6, *columns.shape[1:]).swapaxes(0, 1))
    local[:, 0] = multiply(turn_about(_UP.numpy().reshape(3, *[1] * yaw.ndim), yaw), local[:, 0])
    return local, np.array([x, numbers[..., ROOT_HEIGHT.start], z])


def vrm_to_features(clip: VrmClip) -> tuple[FeatureClip, RootStart]:
    """A clip of the canonical body to features. The clip must carry every canonical bone."""
    local = torch.stack([clip.rotations[bone] for bone in CANONICAL_BONES], dim=1)
    features, start = bones_to_features(local, clip.hips, clip.fps)
    return FeatureClip(features, "vrm", clip.fps), start


def features_to_vrm(clip: FeatureClip, start: RootStart | None = None) -> VrmClip:
    """Features to a clip of the canonical body, quaternion signs continuous over time."""
    features = clip.features.detach().cpu()
    local, hips_planes = place_planes(features, features_to_places(features, start or RootStart(), clip.fps))
    tracks = to_tensor(unroll(local))  # (21, T, 4)
    hips = to_tensor(hips_planes)
    return VrmClip(
        rotations=dict(zip(CANONICAL_BONES, tracks.unbind(0), strict=True)),
        hips=hips,
        contacts=features[:, CONTACTS].clamp(0, 1),
        fps=clip.fps,
        rest_hips_height=CANONICAL_HIPS_HEIGHT,
    )
