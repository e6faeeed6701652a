"""From joint positions to VRM bones: 22 points per frame become local rotations of the mannequin's 22 bones.

Positions show where a bone points, not how it is rolled. Pelvis and upper chest have three children each, so their
orientation is fully seen (Kabsch 1976); spine and chest share what lies between; collar bones, neck and head swing;
upper limbs take their roll from the hinge below them (:mod:`motion_service.vrm.hinge`). The roll of hands and head
and the bend of toes are not in the data: hands and toes stay as they are, the face follows the neck.

``mini`` has true rotations and needs none of this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import JointClip, VrmClip
from motion_service.errors import GenerationFailed
from motion_service.geometry.rotation import (
    normalize,
    quat_between,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
    quat_slerp,
    quat_unroll,
    rotmat_to_quat,
)
from motion_service.humanoid import CONTACT_BONES
from motion_service.vrm.body import MANNEQUIN_BODY, pose_body
from motion_service.vrm.hinge import smoothstep, solve_hinge, swing_hinge
from motion_service.vrm.source_rest import JOINT, JOINT_BONES, JOINT_PARENTS, REST_DIRECTIONS

SPINE_SHARE: Final = 0.3
CHEST_SHARE: Final = 0.65
"""How far along the turn from hips to upper chest spine and chest stand. Aiming their short bones gives an S-bend."""
NECK_SHARE: Final = 0.5
"""The neck's part of the head's swing."""
FOOT_WEIGHT: Final = 0.2
"""How much the direction of the foot counts for the hinge of a straight knee; a clearly bent knee counts 1."""
KNEE_SINE: Final = (0.12, 0.40)
"""Sine of the bend where a knee starts to tell its hinge, and where it fully does: 7 and 24 degrees."""
ELBOW_SINE: Final = (0.10, 0.35)
"""The same for an elbow: 6 and 20 degrees."""

_SEEN: Final = torch.tensor(
    [
        [JOINT[bone] for bone in ("leftUpperLeg", "rightUpperLeg", "spine")],
        [JOINT[bone] for bone in ("neck", "leftShoulder", "rightShoulder")],
    ]
)
"""(2, 3) the joints that tell how hips and upper chest are turned."""
# Limbs K = left leg, right leg, left arm, right arm, each a joint where a bone starts.
_ROOTS: Final = [JOINT[bone] for bone in ("leftUpperLeg", "rightUpperLeg", "leftUpperArm", "rightUpperArm")]
_MIDDLES: Final = [JOINT[bone] for bone in ("leftLowerLeg", "rightLowerLeg", "leftLowerArm", "rightLowerArm")]
_ENDS: Final = [JOINT[bone] for bone in ("leftFoot", "rightFoot", "leftHand", "rightHand")]
_TOES: Final = [JOINT["leftToes"], JOINT["rightToes"]]
_REST_HINGES: Final = torch.tensor([[1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0]], dtype=torch.float64)
"""(K, 3) axis about which each limb bends by a positive angle in the T-pose: shins backward, forearms forward."""
_TOE_OUT: Final = torch.atan2(REST_DIRECTIONS[_TOES, 0], REST_DIRECTIONS[_TOES, 2])[:, None, None]
"""(2, 1, 1) how far the line from ankle to toes turns outward in the T-pose, radians."""

_LEGS: Final = MANNEQUIN_BODY.legs
"""What of the mannequin tells where the floor is."""
_LEG_LENGTH: Final = float(
    _LEGS.offsets[[_LEGS.index("leftLowerLeg"), _LEGS.index("leftFoot")]].norm(dim=-1).sum()
)  # m
_FEET: Final = [_LEGS.index(bone) for bone in CONTACT_BONES]
_FEET_REST: Final = torch.tensor([_LEGS.rest[bone][1] for bone in CONTACT_BONES])
"""(4,) height of the contact joints when the sole lies on the floor, m."""
_MIN_LENGTH: Final = 1e-6
"""A bone shorter than this has no direction, m."""


def joints_to_vrm(clip: JointClip) -> VrmClip:
    """The clip on the mannequin (22 bones), at its own rate, quaternion signs continuous, feet on the floor.

    Bone directions are the source's; the path is scaled by the length of the legs. Any finite positions give finite
    unit rotations; a bone without length points as in the T-pose. Computed in float64 on the CPU, returned as float32.
    """
    if len(clip.positions) == 0:
        raise GenerationFailed("a clip needs at least one frame")
    positions = clip.positions.detach().to("cpu", torch.float64)
    world = _world_orientations(bone_directions(positions), clip.fps)  # (T, 22, 4)
    parent = world[:, JOINT_PARENTS[1:]]
    local = torch.cat([world[:, :1], quat_multiply(quat_conjugate(parent), world[:, 1:])], dim=1)
    tracks = quat_unroll(normalize(local).movedim(0, -2)).float()  # (22, T, 4)
    floating = VrmClip(
        rotations=dict(zip(JOINT_BONES, tracks.unbind(0), strict=True)),
        hips=(positions[:, 0] * _leg_scale(positions)).float(),
        contacts=clip.contacts.detach().to("cpu", torch.float32).clamp(0, 1),
        fps=clip.fps,
        rest_hips_height=MANNEQUIN_BODY.hips_height,
    )
    return _ground(floating)


def bone_directions(positions: Tensor) -> Tensor:
    """(T, 22, 3) unit direction from its parent to each joint; the T-pose's where there is no length. Hips: zero."""
    offsets = positions - positions[:, [max(parent, 0) for parent in JOINT_PARENTS]]
    length = torch.linalg.vector_norm(offsets, dim=-1, keepdim=True)
    return torch.where(length > _MIN_LENGTH, offsets / length.clamp_min(_MIN_LENGTH), REST_DIRECTIONS)


def _world_orientations(directions: Tensor, fps: float) -> Tensor:
    """World orientation of every bone (T, 22, 4) from bone directions (T, 22, 3)."""
    world = torch.zeros(*directions.shape[:2], 4, dtype=directions.dtype)
    trunk = _fit_rotations(directions)
    hips, chest = trunk[:, :1], trunk[:, 1:]
    swung = _swing(chest, directions, [JOINT["head"], *_ROOTS[2:]])  # (T, 3, 4)
    world[:, [JOINT["hips"], JOINT["upperChest"]]] = trunk
    world[:, [JOINT["spine"], JOINT["chest"]]] = quat_slerp(hips, chest, hips.new_tensor([SPINE_SHARE, CHEST_SHARE]))
    world[:, [JOINT["neck"]]] = quat_slerp(chest, swung[:, :1], hips.new_tensor([NECK_SHARE]))
    world[:, [JOINT["head"], JOINT["leftShoulder"], JOINT["rightShoulder"]]] = swung
    _fill_limbs(world, directions, fps)
    return world


def _fit_rotations(directions: Tensor) -> Tensor:
    """Orientation (T, 2, 4) of hips and upper chest: the one that best takes the rest directions of their children to
    the seen ones (Kabsch 1976)."""
    seen, rest = directions[:, _SEEN], REST_DIRECTIONS[_SEEN]  # (T, 2, 3, 3) rows are directions
    u, _, vt = torch.linalg.svd(seen.mT @ rest)
    u = torch.cat([u[..., :2], u[..., 2:] * torch.linalg.det(u @ vt).sign()[..., None, None]], dim=-1)
    return rotmat_to_quat(u @ vt)


def _swing(parent: Tensor, directions: Tensor, joints: list[int]) -> Tensor:
    """The parent's orientation (T, 1, 4) and then the shortest turn that points each bone at its joint. (T, J, 4)"""
    seen = quat_rotate(quat_conjugate(parent), directions[:, joints])
    return quat_multiply(parent, quat_between(REST_DIRECTIONS[joints], seen))


def _fill_limbs(world: Tensor, directions: Tensor, fps: float) -> None:
    """Set arms, legs, hands, feet and toes of ``world`` (T, 22, 4), whose trunk is known."""
    upper, lower, toes = (directions[:, joints].movedim(1, 0) for joints in (_MIDDLES, _ENDS, _TOES))  # (K, T, 3)
    hips, chest = world[:, JOINT["hips"]], world[:, JOINT["upperChest"]]
    hinges = _limb_hinges(torch.stack([hips, hips, chest, chest]), upper, lower, toes, fps)
    aimed = _aim(_AIMED, torch.cat([upper, lower, toes]), torch.cat([hinges, hinges, hinges[:2]])).movedim(0, 1)
    hands, feet = aimed[:, 6:8], aimed[:, 8:]
    world[:, [*_ROOTS, *_MIDDLES, *_ENDS, *_TOES]] = torch.cat([aimed[:, :8], feet, hands, feet], dim=1)


def _limb_hinges(parent: Tensor, upper: Tensor, lower: Tensor, toes: Tensor, fps: float) -> Tensor:
    """World hinge axes (K, T, 3) of knees and elbows.

    ``parent`` (K, T, 4) orientation of hips or upper chest, bone directions ``upper`` and ``lower`` (K, T, 3) and
    ``toes`` (2, T, 3).
    """
    rest, inward = REST_DIRECTIONS[_MIDDLES], quat_conjugate(parent)
    bone = quat_rotate(inward, upper)
    swing = swing_hinge(bone, rest, _REST_HINGES)
    bend = quat_rotate(inward, torch.linalg.cross(upper, lower))  # as long as the sine of the bend
    across = torch.linalg.cross(toes, lower[:2])  # the foot's own hinge, turned outward with the line to the toes
    across = torch.cos(_TOE_OUT) * across - torch.sin(_TOE_OUT) * torch.linalg.cross(across, lower[:2])
    foot = torch.zeros_like(bend)
    foot[:2] = quat_rotate(inward[:2], across)
    sine = torch.linalg.vector_norm(bend, dim=-1)
    bend_weight = torch.cat([smoothstep(sine[:2], *KNEE_SINE), smoothstep(sine[2:], *ELBOW_SINE)])
    forward = (normalize(bend[:2]) * normalize(swing[:2] + normalize(foot[:2]))).sum(-1)
    bend_weight[:2] *= smoothstep(forward, -0.3, 0.2)  # a knee that seems to bend the wrong way is a straight one
    foot_weight = FOOT_WEIGHT * smoothstep(torch.linalg.vector_norm(foot, dim=-1), 0.3, 0.7) * (1 - bend_weight)
    hinges = solve_hinge(bone, swing, rest, torch.stack([bend, foot]), torch.stack([bend_weight, foot_weight]), fps)
    return quat_rotate(parent, hinges)


def _aim(rest: _Rest, bone: Tensor, hinge: Tensor) -> Tensor:
    """Orientation (K, T, 4) that takes the rest bones to ``bone`` (K, T, 3), and the hinge as near as can be.

    A hinge that lies along the bone says nothing: then the shortest swing decides.
    """
    side = hinge - (hinge * bone).sum(-1, keepdim=True) * bone
    lost = torch.linalg.vector_norm(side, dim=-1, keepdim=True) < 1e-3
    if bool(lost.any()):
        side = torch.where(lost, swing_hinge(bone, rest.bones, rest.hinges), side)
    return rotmat_to_quat(_frame(bone, side) @ rest.frames[:, None].mT)


def _frame(bone: Tensor, side: Tensor) -> Tensor:
    """Right-handed frame (..., 3, 3) with columns ``bone``, ``side`` made upright on it, and their cross product."""
    upright = normalize(side - (side * bone).sum(-1, keepdim=True) * bone)
    return torch.stack([bone, upright, torch.linalg.cross(bone, upright)], dim=-1)


@dataclass(frozen=True, slots=True)
class _Rest:
    """Bones of the T-pose that are to be aimed, in the order K of what they are aimed at."""

    bones: Tensor  # (K, 3) direction
    hinges: Tensor  # (K, 3)
    frames: Tensor  # (K, 3, 3) of both


def _rest_of(joints: list[int], hinges: Tensor) -> _Rest:
    bones = REST_DIRECTIONS[joints]
    return _Rest(bones, hinges, _frame(bones, hinges))


_AIMED: Final = _rest_of([*_MIDDLES, *_ENDS, *_TOES], torch.cat([_REST_HINGES, _REST_HINGES, _REST_HINGES[:2]]))
"""Upper and lower part of each limb, then the feet."""


def _leg_scale(positions: Tensor) -> float:
    """Length of the mannequin's legs by that of the source's (median over time); 1 if the source has none."""
    thigh, shin = (
        (positions[:, a] - positions[:, b]) for a, b in ((_MIDDLES[:2], _ROOTS[:2]), (_ENDS[:2], _MIDDLES[:2]))
    )
    source = float((torch.linalg.vector_norm(thigh, dim=-1) + torch.linalg.vector_norm(shin, dim=-1)).median())
    return _LEG_LENGTH / source if source > _MIN_LENGTH else 1.0


def _ground(clip: VrmClip) -> VrmClip:
    """The clip moved up or down as a whole, so that toes in contact have their rest height (in the median).

    Without any contact the lowest point of the feet touches the floor.
    """
    above = pose_body(_LEGS, clip)[0][:, _FEET, 1] - _FEET_REST  # (T, 4)
    toes_down = above[:, [1, 3]][clip.contacts[:, [1, 3]] > 0.5]
    height = toes_down.median() if len(toes_down) else above.min()
    return replace(clip, hips=clip.hips - height * clip.hips.new_tensor([0.0, 1.0, 0.0]))
