"""A clip to BVH, the text format that animation programs import: a T-pose skeleton in centimetres and Euler angles.

Every joint turns Z, then X, then Y in its own moving axes (degrees); the hips also have the absolute place. Their
OFFSET is zero, because some readers add it to that place and others do not. The end sites of the feet lie on the floor
in the T-pose, so the height of the hips can be read off the skeleton.

Format: https://research.cs.wisc.edu/graphics/Courses/cs-838-1999/Jeff/BVH.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.export.pose import clip_for_body
from motion_service.geometry.rotation import quat_identity, quat_to_rotmat
from motion_service.humanoid import HAND_TIP, HEAD_TOP
from motion_service.vrm.body import Body, Vector

CENTIMETRES: Final = 100.0
"""Per metre."""
ROTATION_CHANNELS: Final = "Zrotation Xrotation Yrotation"
POSITION_CHANNELS: Final = "Xposition Yposition Zposition"
DECIMALS: Final = 5
"""Of centimetres and degrees: the tips of a figure are off by about a micrometre."""

_TOE_LENGTH: Final = 0.06
_FINGER_TIP: Final = 0.02


def clip_to_bvh(clip: VrmClip, body: Body) -> str:
    """The file for ``body``, in VRM 1.0 axes; bones without a track rest.

    The clip is fitted to the body first; nothing changes when it was made for it.
    """
    clip = clip_for_body(clip, body)
    order = _depth_first(body, 0)
    rest = quat_identity(clip.num_frames)
    local = torch.stack([clip.rotations.get(body.bones[i], rest).detach().cpu().double() for i in order], dim=1)
    degrees = torch.rad2deg(_unwrap(quat_to_zxy(local)))  # (T, J, 3)
    places = clip.hips.detach().cpu().double() * CENTIMETRES  # (T, 3)
    table = torch.cat([places, degrees.flatten(1)], dim=1).numpy()  # (T, 3 + 3 J)
    row = " ".join([f"%.{DECIMALS}f"] * table.shape[1]) + "\n"
    motion = (row * len(table)) % tuple(table.ravel().tolist())
    head = [
        "HIERARCHY",
        *_joint_lines(body, 0, ""),
        "MOTION",
        f"Frames: {len(table)}",
        f"Frame Time: {1 / clip.fps:.10f}",
    ]
    return ("\n".join(head) + "\n" + motion).replace(f"{-0.0:.{DECIMALS}f}", f"{0.0:.{DECIMALS}f}")


def quat_to_zxy(q: Tensor) -> Tensor:
    """Inverse of ``euler_to_quat(.., "ZXY")``: (..., 4) xyzw to angles (..., 3) about Z, X, Y in radians.

    From q = Rz Rx Ry. Where X is a right angle only one of Z and Y can be told; Y is then zero.
    """
    m = quat_to_rotmat(q)
    cosine = torch.hypot(m[..., 2, 0], m[..., 2, 2])
    locked = cosine < 1e-6
    z = torch.where(locked, torch.atan2(m[..., 1, 0], m[..., 0, 0]), torch.atan2(-m[..., 0, 1], m[..., 1, 1]))
    y = torch.where(locked, torch.zeros_like(z), torch.atan2(-m[..., 2, 0], m[..., 2, 2]))
    return torch.stack([z, torch.atan2(m[..., 2, 1], cosine), y], dim=-1)


def _unwrap(angles: Tensor) -> Tensor:
    """The same angles (T, ...) in radians without jumps of whole turns, so that programs may interpolate them."""
    turns = torch.round(torch.diff(angles, dim=0) / (2 * torch.pi)).cumsum(dim=0)
    return torch.cat([angles[:1], angles[1:] - 2 * torch.pi * turns])


def _children(body: Body, index: int) -> list[int]:
    return [child for child, parent in enumerate(body.parents) if parent == index]


def _depth_first(body: Body, index: int) -> list[int]:
    """Bones in the order in which the file names them."""
    return [index, *(bone for child in _children(body, index) for bone in _depth_first(body, child))]


def _joint_lines(body: Body, index: int, indent: str) -> Iterator[str]:
    """The hierarchy from one bone down."""
    bone, inner = body.bones[index], indent + "  "
    kind, channels = "JOINT", f"CHANNELS 3 {ROTATION_CHANNELS}"
    if index == 0:
        kind, channels = "ROOT", f"CHANNELS 6 {POSITION_CHANNELS} {ROTATION_CHANNELS}"
    offset = (0.0, 0.0, 0.0) if index == 0 else body.offsets[index].tolist()
    yield from (f"{indent}{kind} {bone}", indent + "{", inner + _offset_line(offset), inner + channels)
    for child in _children(body, index):
        yield from _joint_lines(body, child, inner)
    if index not in body.parents:
        tip = _offset_line(_tip(bone, body.rest[bone]))
        yield from (inner + "End Site", inner + "{", f"{inner}  {tip}", inner + "}")
    yield indent + "}"


def _offset_line(offset: Vector | list[float]) -> str:
    return "OFFSET " + " ".join(f"{value * CENTIMETRES:.{DECIMALS}f}" for value in offset)


def _tip(bone: str, place: Vector) -> Vector:
    """From the last bone of a chain to its tip in the T-pose, m."""
    if bone.endswith(("Toes", "Foot", "LowerLeg", "UpperLeg")):
        return (0.0, -place[1], _TOE_LENGTH)
    if bone.endswith("Eye") or bone == "jaw":
        return (0.0, 0.0, _FINGER_TIP)
    if not bone.startswith(("left", "right")):
        return (0.0, HEAD_TOP, 0.0)
    length = HAND_TIP if bone.endswith(("Hand", "Arm", "Shoulder")) else _FINGER_TIP
    return (length if bone.startswith("left") else -length, 0.0, 0.0)
