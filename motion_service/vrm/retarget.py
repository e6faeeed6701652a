"""From joint positions to VRM bones: 22 points per frame become local rotations of the mannequin's 22 bones.

Positions show where a bone points, not how it is rolled. Pelvis and upper chest have three children each, so their
orientation is fully seen (Kabsch 1976); spine and chest share what lies between; collar bones, neck and head swing;
upper limbs take their roll from the hinge below them (:mod:`motion_service.vrm.hinge`). The roll of hands and head
and the bend of toes are not in the data: hands and toes stay as they are, the face follows the neck.

``mini`` has true rotations and needs none of this.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from motion_service.clips import JointClip, VrmClip
from motion_service.errors import GenerationFailed
from motion_service.geometry.planes import (
    Planes,
    between,
    conjugate,
    cross,
    dot,
    length,
    multiply,
    relative,
    rotate,
    rotmat_to_quat,
    slerp,
    to_planes,
    to_tensor,
    unit,
    unroll,
)
from motion_service.vrm.body import MANNEQUIN_BODY
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

_REST: Final = to_planes(REST_DIRECTIONS)[..., None]
"""(3, 22, 1) directions of the bones in the T-pose."""
_ABOVE: Final = [max(parent, 0) for parent in JOINT_PARENTS]
_SEEN: Final = np.array(
    [
        [JOINT[bone] for bone in ("leftUpperLeg", "rightUpperLeg", "spine")],
        [JOINT[bone] for bone in ("neck", "leftShoulder", "rightShoulder")],
    ]
)
"""(2, 3) the joints that tell how hips and upper chest are turned."""
_SWUNG: Final = [JOINT[bone] for bone in ("head", "leftUpperArm", "rightUpperArm")]
"""Where those bones of the trunk end that only swing."""
_SHARES: Final = np.array([[SPINE_SHARE], [CHEST_SHARE], [NECK_SHARE]])
# Limbs K = left leg, right leg, left arm, right arm, each a joint where a bone starts.
_ROOTS: Final = [JOINT[bone] for bone in ("leftUpperLeg", "rightUpperLeg", "leftUpperArm", "rightUpperArm")]
_MIDDLES: Final = [JOINT[bone] for bone in ("leftLowerLeg", "rightLowerLeg", "leftLowerArm", "rightLowerArm")]
_ENDS: Final = [JOINT[bone] for bone in ("leftFoot", "rightFoot", "leftHand", "rightHand")]
_TOES: Final = [JOINT["leftToes"], JOINT["rightToes"]]
_CARRIED_BY: Final = [0, 0, 1, 1]
"""(K,) which of hips and upper chest is the parent of each limb."""
_REST_HINGES: Final = np.array([[1.0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0]]).T[..., None]
"""(3, K, 1) axis about which each limb bends by a positive angle in the T-pose: shins backward, forearms forward."""
_BEND_SINE: Final = np.array([KNEE_SINE, KNEE_SINE, ELBOW_SINE, ELBOW_SINE]).T[..., None]
"""(2, K, 1) between which sines a limb begins to tell its hinge."""
_TOE_OUT: Final = np.arctan2(_REST[0, _TOES], _REST[2, _TOES])
"""(2, 1) how far the line from ankle to toes turns outward in the T-pose, radians."""

_MADE: Final = (
    *("hips", "upperChest", "spine", "chest", "neck", "head", "leftShoulder", "rightShoulder"),
    *(JOINT_BONES[joint] for joint in (*_ROOTS, *_MIDDLES, *_ENDS[:2])),
)
"""Bones in the order in which their orientations are found; the others follow one of these."""
_FOLLOWS: Final = {
    side + end: side + bone for side in ("left", "right") for end, bone in (("Hand", "LowerArm"), ("Toes", "Foot"))
}
_FOUND_AT: Final = [_MADE.index(_FOLLOWS.get(bone, bone)) for bone in JOINT_BONES]
"""(22,) place in :data:`_MADE` of each joint's bone."""

_LEG_JOINTS: Final = [*_ROOTS[:2], *_MIDDLES[:2], *_ENDS[:2], *_TOES]
"""From hips to toes, left and right in turn."""
_LEG_ROWS: Final = [MANNEQUIN_BODY.index(JOINT_BONES[joint]) for joint in _LEG_JOINTS]
_LEG_STEPS: Final = to_planes(MANNEQUIN_BODY.offsets.double())[:, _LEG_ROWS, None]
"""(3, 8, 1) from its parent to each of these joints in the mannequin at rest, m."""
_LEG_LENGTH: Final = float(length(_LEG_STEPS)[[2, 4]].sum())  # m
_FEET_REST: Final = np.array(
    [[[MANNEQUIN_BODY.rest[side + part][1]] for side in ("left", "right")] for part in ("Foot", "Toes")]
)
"""(2 parts, 2 sides, 1) height of ankles and toes when the sole lies on the floor, m."""

_MIN_LENGTH: Final = 1e-6
"""A bone shorter than this has no direction, m."""
_VAGUE: Final = 1e-3
"""What :func:`_fit_rotations` divides by: a smaller one costs digits."""


def joints_to_vrm(clip: JointClip) -> VrmClip:
    """The clip on the mannequin (22 bones), at its own rate, quaternion signs continuous, feet on the floor.

    Bone directions are the source's; the path is scaled by the length of the legs. Any finite positions give finite
    unit rotations; a bone without length points as in the T-pose. Computed in float64 on the CPU, returned as float32.
    """
    if len(clip.positions) == 0:
        raise GenerationFailed("a clip needs at least one frame")
    positions = np.ascontiguousarray(clip.positions.detach().cpu().numpy().T, dtype=np.float64)  # (3, 22, T)
    contacts = clip.contacts.detach().to("cpu", torch.float32).clamp(0, 1)
    steps = positions - positions[:, _ABOVE]
    lengths = length(steps)
    world = _world_orientations(bone_directions(steps, lengths), clip.fps)  # (4, 22, T)
    local = relative(world[:, _ABOVE], world)
    local[:, 0] = world[:, 0]
    hips = positions[:, 0] * _leg_scale(lengths)
    hips[1] -= _height(world, hips[1], contacts.numpy())
    tracks = to_tensor(unroll(unit(local)).astype(np.float32))  # (22, T, 4)
    return VrmClip(
        rotations=dict(zip(JOINT_BONES, tracks.unbind(0), strict=True)),
        hips=to_tensor(hips.astype(np.float32)),
        contacts=contacts,
        fps=clip.fps,
        rest_hips_height=MANNEQUIN_BODY.hips_height,
    )


def bone_directions(steps: Planes, lengths: Planes) -> Planes:
    """(3, 22, T) unit direction from its parent to each joint, by the way (3, 22, T) between them and its length
    (22, T); the T-pose's where there is no length. Hips: zero."""
    return np.where(lengths > _MIN_LENGTH, steps / np.maximum(lengths, _MIN_LENGTH), _REST)


def _world_orientations(directions: Planes, fps: float) -> Planes:
    """World orientation of every bone (4, 22, T) from bone directions (3, 22, T)."""
    trunk = _fit_rotations(directions)
    hips, chest = trunk[:, :1], trunk[:, 1:]
    swung = multiply(chest, between(_REST[:, _SWUNG], rotate(chest, directions[:, _SWUNG], back=True)))  # (4, 3, T)
    starts, ends = np.concatenate([hips, hips, chest], axis=1), np.concatenate([chest, chest, swung[:, :1]], axis=1)
    shared = slerp(starts, ends, _SHARES)
    return np.concatenate([trunk, shared, swung, _limbs(trunk, directions, fps)], axis=1)[:, _FOUND_AT]


def _fit_rotations(directions: Planes) -> Planes:
    """Orientation (4, 2, T) of hips and upper chest: the one that best takes the rest directions of their children to
    the seen ones (Kabsch 1976).

    Found without a decomposition: Markley 1993, "Attitude Determination Using Vector Observations: A Fast Optimal
    Matrix Algorithm" (https://ntrs.nasa.gov/citations/19930015542); where directions are too close to a reflection or
    a line for that, by the singular vectors.
    """
    seen, rest = directions[:, _SEEN], _REST[:, _SEEN, 0]  # (3, 2, 3, T), (3, 2, 3)
    b = np.einsum("icjt,kcj->ikct", seen, rest)  # (3, 3, 2, T)
    cofactors = np.array([cross(b[1], b[2]), cross(b[2], b[0]), cross(b[0], b[1])])
    det, square = dot(b[0], cofactors[0]), np.einsum("ik...,ik...->...", b, b)
    gain = _largest_root(square, det, np.einsum("ik...,ik...->...", cofactors, cofactors))
    kappa = (gain * gain - square) / 2
    divisor = kappa * gain - det
    cube = np.einsum("ijct,jkct->ikct", np.einsum("ijct,kjct->ikct", b, b), b)
    turns = ((kappa + square) * b + gain * cofactors - cube) / np.maximum(divisor, _VAGUE)
    vague = divisor < _VAGUE
    if vague.any():
        u, _, vt = np.linalg.svd(np.moveaxis(b[..., vague], -1, 0))
        u[..., 2] *= np.linalg.det(u @ vt)[:, None]
        turns[..., vague] = np.moveaxis(u @ vt, 0, -1)
    return rotmat_to_quat(turns)


def _largest_root(square: Planes, det: Planes, cofactors: Planes) -> Planes:
    """Largest root of (x^2 - square)^2 - 8 det x - 4 cofactors, the sum of singular values of three unit directions
    onto three, by Newton's method from above, where it cannot miss."""
    root = np.full_like(square, 3.0)
    for _ in range(60):
        inner = root * root - square
        step = (inner * inner - 8 * det * root - 4 * cofactors) / np.maximum(4 * root * inner - 8 * det, _MIN_LENGTH)
        root -= step
        if step.max() < 1e-13:
            break
    return root


def _limbs(trunk: Planes, directions: Planes, fps: float) -> Planes:
    """Orientations (4, 10, T) of the upper and lower parts of the limbs and of the feet, carried by ``trunk``
    (4, 2, T)."""
    upper, lower, toes = (
        directions[:, _MIDDLES],
        directions[:, _ENDS],
        directions[:, _TOES],
    )  # (3, K, T), toes (3, 2, T)
    hinges = _limb_hinges(trunk[:, _CARRIED_BY], upper, lower, toes, fps)
    return _aim(np.concatenate([upper, lower, toes], axis=1), np.concatenate([hinges, hinges, hinges[:, :2]], axis=1))


def _limb_hinges(parent: Planes, upper: Planes, lower: Planes, toes: Planes, fps: float) -> Planes:
    """World hinge axes (3, K, T) of knees and elbows.

    ``parent`` (4, K, T) orientation of hips or upper chest, bone directions ``upper`` and ``lower`` (3, K, T) and
    ``toes`` (3, 2, T).
    """
    bend = cross(upper, lower)  # as long as the sine of the bend
    across = cross(toes, lower[:, :2])  # the foot's own hinge, turned outward with the line to the toes
    across = np.cos(_TOE_OUT) * across - np.sin(_TOE_OUT) * cross(across, lower[:, :2])
    inward = rotate(
        np.concatenate([parent, parent, parent[:, :2]], axis=1),
        np.concatenate([upper, bend, across], axis=1),
        back=True,
    )
    bone, bend, foot = inward[:, :4], inward[:, 4:8], np.zeros_like(bend)
    foot[:, :2] = inward[:, 8:]
    swing = swing_hinge(bone, _REST[:, _MIDDLES], _REST_HINGES)
    bend_weight = smoothstep(length(bend), *_BEND_SINE)
    forward = dot(unit(bend[:, :2]), unit(swing[:, :2] + unit(foot[:, :2])))
    bend_weight[:2] *= smoothstep(forward, -0.3, 0.2)  # a knee that seems to bend the wrong way is a straight one
    foot_weight = FOOT_WEIGHT * smoothstep(length(foot), 0.3, 0.7) * (1 - bend_weight)
    axes, weights = np.stack([bend, foot], axis=1), np.array([bend_weight, foot_weight])
    return rotate(parent, solve_hinge(bone, swing, _REST[:, _MIDDLES], axes, weights, fps))


def _aim(bone: Planes, hinge: Planes) -> Planes:
    """Orientation (4, 10, T) that takes the rest bones to ``bone`` (3, 10, T), and the hinge as near as can be.

    A hinge that lies along the bone says nothing: then the shortest swing decides.
    """
    side = hinge - dot(hinge, bone) * bone
    lost = length(side) < 1e-3
    if lost.any():
        side = np.where(lost, swing_hinge(bone, _AIMED, _AIMED_HINGES), side)
    return multiply(_frame(bone, side), _REST_FRAMES)


def _frame(bone: Planes, side: Planes) -> Planes:
    """Orientation (4, ...) whose axes are ``bone``, ``side`` made upright on it, and their cross product."""
    upright = unit(side - dot(side, bone) * bone)
    return rotmat_to_quat([*zip(bone, upright, cross(bone, upright), strict=True)])


_AIMED: Final = _REST[:, [*_MIDDLES, *_ENDS, *_TOES]]
"""(3, 10, 1) upper and lower part of each limb, then the feet, in the T-pose."""
_AIMED_HINGES: Final = np.concatenate([_REST_HINGES, _REST_HINGES, _REST_HINGES[:, :2]], axis=1)
_REST_FRAMES: Final = conjugate(_frame(_AIMED, _AIMED_HINGES))
"""(4, 10, 1) inverse orientation of their frames."""


def _leg_scale(lengths: Planes) -> float:
    """Length of the mannequin's legs by that of the source's (median over time); 1 if the source has none. Lengths of
    the bones are (22, T) m."""
    source = _median(lengths[_MIDDLES[:2]] + lengths[_ENDS[:2]])
    return _LEG_LENGTH / source if source > _MIN_LENGTH else 1.0


def _height(world: Planes, hips: Planes, contacts: Planes) -> float:
    """How far above the floor the clip is, m: toes in contact have their rest height (in the median).

    Without any contact the lowest point of the feet touches the floor. Orientations (4, 22, T), heights of the hips
    (T,) m, contacts (T, 4).
    """
    steps = rotate(world[:, [JOINT_PARENTS[joint] for joint in _LEG_JOINTS]], _LEG_STEPS)[1]  # (8, T)
    above = hips + steps.reshape(4, 2, -1).cumsum(0)[2:] - _FEET_REST  # (2 parts, 2 sides, T)
    toes_down = above[1][contacts.T[[1, 3]] > 0.5]
    return _median(toes_down) if len(toes_down) else float(above.min())


def _median(values: Planes) -> float:
    """The middle one in order, of an even number the lower of the two."""
    return float(np.partition(values, (values.size - 1) // 2, axis=None)[(values.size - 1) // 2])
