"""HumanML3D's feature layout (F = 263) <-> positions of its 22 joints: what the official MDM and DiP read and write.

Per frame t, 20 fps. The facing frame is the world turned by ``r`` about +Y so that the figure looks along +Z.

=========  =====  ======================================================================================
slice      width  meaning
=========  =====  ======================================================================================
ROOT_TURN  1      HALF of the turn of the facing frame from t to t + 1, radians
ROOT_STEP  2      x and z displacement of the pelvis from t to t + 1 in the facing frame of t + 1, m
ROOT_Y     1      height of the pelvis, m
POSITIONS  63     joints 1 to 21 in the facing frame, pelvis x and z taken out, m
ROTATIONS  126    6D rotations (two matrix columns) of the bones that end at joints 1 to 21
STEPS      66     displacement of all 22 joints from t to t + 1 in the facing frame of t, m
CONTACTS   4      left ankle, left toe, right ankle, right toe: 1 = still
=========  =====  ======================================================================================

Rates look ahead, so n poses give n - 1 rows and the rates of the last row decode to nothing. The encoder repeats the
original, slips included, because the networks were trained on its output: the hips are exchanged in the facing
direction, and the facing of frame 0 is overwritten by +Z. One of them is optional: where the facing direction passes
180 degrees the original writes that frame's turn with the wrong sign, and decoding goes astray from there on.
``fix_heading`` mends it; it is the default, since a client's own clip must come back as it was sent.

Source: Guo et al. 2022 (CVPR) and https://github.com/EricGuo5513/HumanML3D.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from motion_service.clips import FeatureClip, JointClip
from motion_service.errors import BadRequest
from motion_service.features.skeleton import (
    FEET,
    LEFT_HIP,
    LEFT_SHOULDER,
    LOWER_BODY,
    NUM_JOINTS,
    PARENTS,
    RAW_DIRECTIONS,
    RIGHT_HIP,
    RIGHT_SHOULDER,
    TURNED_BY,
    target_offsets,
)
from motion_service.features.vrm_native import RootStart
from motion_service.geometry.rotation import (
    normalize,
    quat_between,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
    quat_to_rot6d,
    quat_to_rotmat,
    rot6d_to_rotmat,
    yaw_to_quat,
)

HUMANML3D_FPS: Final = 20.0
HUMANML3D_WIDTH: Final = 263

ROOT_TURN: Final = slice(0, 1)
ROOT_STEP: Final = slice(1, 3)
ROOT_Y: Final = slice(3, 4)
POSITIONS: Final = slice(4, 67)
ROTATIONS: Final = slice(67, 193)
STEPS: Final = slice(193, 259)
CONTACTS: Final = slice(259, 263)
RATES: Final[tuple[slice, ...]] = (ROOT_TURN, ROOT_STEP, STEPS, CONTACTS)
"""The slices that tell of the way to the next frame."""

STILL_M2: Final = 0.002
"""A foot joint that moves less than this between two frames is in contact, squared metres (4.5 cm)."""
FACING_SIGMA: Final = 20.0
"""Width of the Gaussian that smooths the facing direction, frames."""

_FACING_REACH: Final = int(4 * FACING_SIGMA + 0.5)
_RIGHT_KNEE, _RIGHT_ANKLE = 5, 8
_AHEAD: Final = (0.0, 0.0, 1.0)
_SHORTEST_M: Final = 1e-6


# --- statistics -------------------------------------------------------------------------------------------------------


def normalise(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Features (..., 263) as the network reads them; ``mean`` and ``std`` (263,)."""
    return (features - mean) / std


def denormalise(normalised: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Inverse of :func:`normalise`: network output (..., 263) to physical units."""
    return normalised * std + mean


# --- features to joints -----------------------------------------------------------------------------------------------


def features_to_root(features: Tensor, start: RootStart | None = None) -> tuple[Tensor, Tensor]:
    """World to facing frame ``r`` (..., T, 4) xyzw and pelvis positions (..., T, 3) m.

    The first frame stands at ``start``, by default the origin, facing +Z.
    """
    angle, root = _features_to_facing(features, start or RootStart())
    return yaw_to_quat(angle), root


def _features_to_facing(features: Tensor, start: RootStart) -> tuple[Tensor, Tensor]:
    """Angle (..., T) in rad about +Y of the turn from the world to the facing frame, and pelvis positions."""
    rates = torch.cat([torch.zeros_like(features[..., :1, :3]), features[..., :-1, :3]], dim=-2)
    angle = 2 * torch.cumsum(rates[..., 0], dim=-1) - start.heading
    x, z = _to_world(angle, rates[..., 1], rates[..., 2])
    way = torch.cumsum(torch.stack([x, z], dim=-1), dim=-2)
    return angle, torch.stack([way[..., 0] + start.x, features[..., 3], way[..., 1] + start.z], dim=-1)


def _to_world(angle: Tensor, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """x and z of vectors, turned back by the angle of their facing frame."""
    sine, cosine = torch.sin(angle), torch.cos(angle)
    return cosine * x - sine * z, sine * x + cosine * z


def features_to_end(features: Tensor, start: RootStart | None = None) -> RootStart:
    """Where the frame after the last of ``features`` (T, 263) stands: the start of a window that continues them."""
    start = start or RootStart()
    r, root = features_to_root(torch.cat([features, features[-1:]]), start)
    heading = start.heading - 2 * float(features[:, 0].double().sum())
    return RootStart(heading, float(root[-1, 0]), float(root[-1, 2]))


def features_to_joints(features: Tensor, start: RootStart | None = None) -> Tensor:
    """Joint positions (..., T, 22, 3) m from the POSITIONS slice of de-normalised features (..., T, 263), float32."""
    angle, root = _features_to_facing(features, start or RootStart())
    x, y, z = features[..., POSITIONS].unflatten(-1, (NUM_JOINTS - 1, 3)).unbind(-1)  # (..., T, 21)
    x, z = _to_world(angle[..., None], x, z)
    joints = torch.stack([x + root[..., :1], y, z + root[..., 2:]], dim=-1)
    return torch.cat([root[..., None, :], joints], dim=-2)


def features_to_joints_by_rotation(features: Tensor, skeleton_offsets: Tensor) -> Tensor:
    """Joint positions (..., T, 22, 3) m from the ROTATIONS slice, on a skeleton of rest offsets (22, 3) m.

    Only right where the recovered facing frame is the encoder's: the rotations of the first bones depend on it.
    """
    r, root = features_to_root(features)
    local = rot6d_to_rotmat(features[..., ROTATIONS].unflatten(-1, (NUM_JOINTS - 1, 6)))  # (..., T, 21, 3, 3)
    turns, places = [quat_to_rotmat(r)], [root]
    for joint in range(1, NUM_JOINTS):
        turns.append(turns[TURNED_BY[joint]] @ local[..., joint - 1, :, :])
        places.append(places[PARENTS[joint]] + turns[joint] @ skeleton_offsets[joint].to(features))
    return torch.stack(places, dim=-2)


def features_to_clip(clip: FeatureClip, start: RootStart | None = None) -> JointClip:
    """De-normalised ``humanml3d`` features to joints, decoded by positions; contacts are clamped to 0..1."""
    joints = features_to_joints(clip.features, start)
    return JointClip(joints, clip.features[:, CONTACTS].clamp(0, 1), clip.fps)


# --- joints to features -----------------------------------------------------------------------------------------------


def joints_to_features(positions: Tensor, offsets: Tensor | None = None, *, fix_heading: bool = True) -> Tensor:
    """Joint positions (T, 22, 3) m, 20 fps, any place, heading, floor and body, to features (T - 1, 263), float32.

    ``offsets`` (22, 3): the body to put them on, HumanML3D's by default. Computed in float64. ``fix_heading=False`` is
    the original to the sign (see the module).
    """
    joints = place_at_start(to_skeleton(positions.double(), target_offsets() if offsets is None else offsets))
    return poses_to_features(joints, facing_frames(joints), fix_heading=fix_heading)


def clip_to_features(clip: JointClip) -> FeatureClip:
    """A clip of any length at 20 fps as features of as many frames: the last frame takes the rates of the one before.

    Raises BadRequest for another frame rate: resample first.
    """
    if clip.fps != HUMANML3D_FPS:
        raise BadRequest(f"this model needs {HUMANML3D_FPS:g} frames a second, the clip has {clip.fps:g}: resample it")
    features = joints_to_features(torch.cat([clip.positions, clip.positions[-1:]]))
    if len(features) > 1:
        for rate in RATES:
            features[-1, rate] = features[-2, rate]
    return FeatureClip(features, "humanml3d", clip.fps)


def to_skeleton(positions: Tensor, offsets: Tensor) -> Tensor:
    """The motion (T, 22, 3) on a body of rest ``offsets`` (22, 3): directions kept, the path scaled by leg length."""
    lengths = torch.linalg.vector_norm(offsets.to(positions), dim=-1)
    bones = positions - positions[:, [max(parent, 0) for parent in PARENTS]]
    own = torch.linalg.vector_norm(bones[0], dim=-1)
    legs = own[_RIGHT_KNEE] + own[_RIGHT_ANKLE]
    moved = normalize(bones) * lengths[:, None]
    places = [positions[:, 0] * ((lengths[_RIGHT_KNEE] + lengths[_RIGHT_ANKLE]) / legs.clamp_min(_SHORTEST_M))]
    for joint in range(1, NUM_JOINTS):
        places.append(places[PARENTS[joint]] + moved[:, joint])
    return torch.stack(places, dim=1)


def place_at_start(positions: Tensor) -> Tensor:
    """The motion (T, 22, 3) with its lowest joint at y = 0, frame 0 at x = z = 0 and facing +Z."""
    lowest = positions[..., 1].min()
    shift = torch.stack([positions[0, 0, 0], lowest, positions[0, 0, 2]])
    turn = quat_between(forward_direction(positions[0]), positions.new_tensor(_AHEAD))
    return quat_rotate(turn, positions - shift)


def forward_direction(positions: Tensor, *, hips_exchanged: bool = False) -> Tensor:
    """Horizontal direction (..., 3) that hips and shoulders of (..., 22, 3) face; the shorter, the more the body leans
    to a side.

    ``hips_exchanged``: the left hip taken for the right one, a slip of the original encoder that its data depend on.
    """
    left, right = (RIGHT_HIP, LEFT_HIP) if hips_exchanged else (LEFT_HIP, RIGHT_HIP)
    across = positions[..., right, :] - positions[..., left, :]
    across = normalize(across + positions[..., RIGHT_SHOULDER, :] - positions[..., LEFT_SHOULDER, :])
    up = positions.new_tensor([0.0, 1.0, 0.0]).expand_as(across)
    forward: Tensor = torch.linalg.cross(up, across)
    return forward


def facing_frames(positions: Tensor) -> Tensor:
    """World to facing frame (T, 4) xyzw of every frame of (T, 22, 3): smoothed over time, identity in frame 0."""
    forward = _smooth(forward_direction(positions, hips_exchanged=True))
    r = quat_between(forward, positions.new_tensor(_AHEAD))
    r[0] = r.new_tensor([0.0, 0.0, 0.0, 1.0])
    return r


def poses_to_features(positions: Tensor, r: Tensor, *, fix_heading: bool = True) -> Tensor:
    """The slices (T - 1, 263), float32, of placed joints (T, 22, 3) and their facing frames ``r`` (T, 4) xyzw."""
    ahead, now = positions[1:], positions[:-1]
    turn = quat_multiply(r[1:], quat_conjugate(r[:-1]))
    if fix_heading:  # q and -q are one rotation, but asin only reads the hemisphere of w >= 0
        turn = torch.where(turn[..., 3:] < 0, -turn, turn)
    root_step = quat_rotate(r[1:], ahead[:, 0] - now[:, 0])
    flat = now[:, :1] * now.new_tensor([1.0, 0.0, 1.0])
    features = torch.cat(
        [
            torch.asin(turn[:, 1:2].clamp(-1, 1)),
            root_step[:, [0, 2]],
            now[:, 0, 1:2],
            quat_rotate(r[:-1, None], now - flat)[:, 1:].flatten(1),
            quat_to_rot6d(_bone_rotations(now, r[:-1])).flatten(1),
            quat_rotate(r[:-1, None], ahead - now).flatten(1),
            still_feet(positions),
        ],
        dim=1,
    )
    return features.float()


def still_feet(positions: Tensor) -> Tensor:
    """Contacts (T - 1, 4): feet that hardly move until the next frame; their height does not count."""
    step = positions[1:, FEET] - positions[:-1, FEET]
    return ((step**2).sum(-1) < STILL_M2).to(positions.dtype)


def _bone_rotations(positions: Tensor, r: Tensor) -> Tensor:
    """Rotations (T, 21, 4) of the bones that end at joints 1 to 21, relative to those of :data:`TURNED_BY`."""
    bones = positions[:, 1:] - positions[:, PARENTS[1:]]
    world = torch.cat([r[:, None], quat_between(positions.new_tensor(RAW_DIRECTIONS[1:]), bones)], dim=1)  # (T, 22, 4)
    return quat_multiply(quat_conjugate(world[:, TURNED_BY[1:]]), world[:, 1:])


def _smooth(track: Tensor) -> Tensor:
    """Gaussian filter over time of (T, D), the end values repeated beyond the ends."""
    reach = torch.arange(-_FACING_REACH, _FACING_REACH + 1, device=track.device)
    weights = torch.exp(-0.5 * (reach.to(track) / FACING_SIGMA) ** 2)
    frames = torch.arange(len(track), device=track.device)
    around = track[(frames[:, None] + reach).clamp(0, len(track) - 1)]  # (T, 161, D)
    return torch.einsum("tkd,k->td", around, weights / weights.sum())


# --- masks ------------------------------------------------------------------------------------------------------------


def lower_body_mask() -> Tensor:
    """(263,) bool: the features that upper-body editing keeps (root, pelvis and legs, contacts)."""
    joints = torch.zeros(NUM_JOINTS, dtype=torch.bool)
    joints[list(LOWER_BODY)] = True
    parts = [torch.ones(4), *(joints[1:].repeat_interleave(width) for width in (3, 6)), joints.repeat_interleave(3)]
    return torch.cat([*(part.bool() for part in parts), torch.ones(4, dtype=torch.bool)])
