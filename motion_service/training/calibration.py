"""From a mocap skeleton's joint transforms to true VRM bone rotations, twist included, on the canonical body.

For every bone a constant rotation C maps VRM axes to the source joint's own axes: world_vrm(t) = world_source(t) * C.
The bone axis is set by the joint's child; the twist about that axis comes from a T-pose where the source has one, else
from the flexion of elbows and knees over many clips, and from neutral standing (head and feet forward, hands as the
forearms). Conventions: quaternions xyzw; hinges flex about -Y (left elbow), +Y (right elbow), +X (knees).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_service.features.vrm_native import OFFSETS, canonical_fk, heading
from motion_service.geometry.kinematics import world_to_local_quat
from motion_service.geometry.rotation import (
    normalize,
    quat_conjugate,
    quat_identity,
    quat_multiply,
    quat_rotate,
    quat_unroll,
    rotmat_to_quat,
    yaw_to_quat,
)
from motion_service.humanoid import (
    CANONICAL_BONES,
    CANONICAL_PARENTS,
    CANONICAL_REST,
    CONTACT_BONES,
    canonical_index,
)

AIMED: Mapping[str, str] = {
    "hips": "spine",
    "spine": "chest",
    "chest": "neck",
    "neck": "head",
    **{f"{side}UpperArm": f"{side}LowerArm" for side in ("left", "right")},
    **{f"{side}LowerArm": f"{side}Hand" for side in ("left", "right")},
    **{f"{side}UpperLeg": f"{side}LowerLeg" for side in ("left", "right")},
    **{f"{side}LowerLeg": f"{side}Foot" for side in ("left", "right")},
}
"""Bones whose axis, towards this child, is laid exactly on the canonical rest axis."""

HINGE: Mapping[str, tuple[float, float, float]] = {
    **{f"left{part}Arm": (0.0, -1.0, 0.0) for part in ("Upper", "Lower")},
    **{f"right{part}Arm": (0.0, 1.0, 0.0) for part in ("Upper", "Lower")},
    **{f"{side}{part}Leg": (1.0, 0.0, 0.0) for side in ("left", "right") for part in ("Upper", "Lower")},
}
"""Flexion axis of the elbow or knee in VRM axes, for the bones above and below it."""

_LEFT = (1.0, 0.0, 0.0)
_FLEXED_SIN = 0.35  # a joint bent by more than 20 degrees shows its hinge axis clearly
_LEG_LENGTH = CANONICAL_REST[canonical_index("leftUpperLeg")][1] - CANONICAL_REST[canonical_index("leftFoot")][1]


@dataclass(frozen=True, slots=True)
class SourceMotion:
    """World transforms of one clip in a source skeleton, joints named by the VRM bone they drive.

    The source may lack some bones (CMU has no toe joint but a toe position); such bones follow their parent.
    """

    rotations: Mapping[str, Tensor]
    """{bone: (T, 4)} xyzw world orientation of the source joint."""
    positions: Mapping[str, Tensor]
    """{bone: (T, 3)} world, any unit."""
    fps: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Constants of one source skeleton."""

    to_source: Mapping[str, Tensor]
    """{bone: (4,)} the rotation C, VRM axes -> source joint axes."""
    rest_direction: Mapping[str, Tensor]
    """{bone: (3,)} direction from the bone to its child in VRM axes when its VRM rotation is the identity."""


def _axes(primary: Tensor, secondary: Tensor) -> Tensor:
    """Matrix (..., 3, 3) of columns ``primary``, ``secondary`` made perpendicular to it, and their cross product."""
    x = normalize(primary)
    y = normalize(secondary - (x * secondary).sum(-1, keepdim=True) * x)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def _aim(source_axis: Tensor, source_side: Tensor, vrm_axis: Tensor, vrm_side: Tensor) -> Tensor:
    """Rotation (4,) that takes the VRM axis and side direction to the source's."""
    return rotmat_to_quat(_axes(source_axis, source_side) @ _axes(vrm_axis, vrm_side).transpose(-1, -2))


def _local_direction(motion: SourceMotion, bone: str, towards: str) -> Tensor:
    """Direction (3,) from ``bone`` to ``towards`` in the axes of ``bone``'s source joint (bones are rigid)."""
    offset = motion.positions[towards] - motion.positions[bone]
    return normalize(quat_rotate(quat_conjugate(motion.rotations[bone]), offset).mean(0))


def _median_direction(vectors: Tensor) -> Tensor:
    """Robust mean direction (3,) of unit vectors (N, 3): component-wise median."""
    return normalize(vectors.median(dim=0).values)


def _mean_rotation(q: Tensor) -> Tensor:
    """Mean (4,) of rotations (N, 4): the largest eigenvector of the sum of q q^T (Markley et al. 2007, eq. 12)."""
    _, vectors = torch.linalg.eigh((q[:, :, None] * q[:, None, :]).mean(0).double())
    mean = vectors[:, -1].to(q)
    return torch.where(mean[3] < 0, -mean, mean)


def _vrm_rest_direction(bone: str) -> Tensor:
    return normalize(OFFSETS[canonical_index(AIMED[bone])])


def calibrate_from_t_pose(t_pose: SourceMotion) -> Calibration:
    """Calibration of a skeleton with a T-pose: every bone reads identity there.

    Only the eight limb bones are laid on the exact VRM axes instead, because T-poses of source rigs bend them a little
    (17 degrees at the elbows of CMU's conversion) and a straight arm must stay straight; their twist is zero there.
    """
    to_source: dict[str, Tensor] = {}
    for bone in CANONICAL_BONES:
        if bone not in t_pose.rotations:
            continue
        inverse = quat_conjugate(t_pose.rotations[bone][0])
        if bone in HINGE:
            source_axis = _local_direction(t_pose, bone, AIMED[bone])
            hinge = torch.tensor(HINGE[bone])
            to_source[bone] = _aim(source_axis, quat_rotate(inverse, hinge), _vrm_rest_direction(bone), hinge)
        else:
            to_source[bone] = inverse
    return _with_rest_directions(t_pose, to_source)


def calibrate_from_motion(motion: SourceMotion, standing: Tensor) -> Calibration:
    """Calibration of a skeleton without a T-pose, from many frames of motion.

    ``standing`` (T,) bool marks frames of neutral standing. Limb twist: the median flexion axis. Trunk: left is the
    body's left in standing. Head, shoulders, feet and toes read as "facing forward" in standing, hands as the forearm.
    """
    to_source: dict[str, Tensor] = {}
    across = motion.positions["leftUpperLeg"] - motion.positions["rightUpperLeg"]
    body_turn = yaw_to_quat(torch.atan2(-across[:, 2], across[:, 0]))  # (T, 4)
    for bone in CANONICAL_BONES:
        rotations = motion.rotations[bone]
        if bone in AIMED:
            source_axis = _local_direction(motion, bone, AIMED[bone])
            if bone in HINGE:
                vrm_side, source_side = torch.tensor(HINGE[bone]), _flexion_axis(motion, bone)
            else:
                vrm_side = torch.tensor(_LEFT)
                left = quat_rotate(body_turn[standing], vrm_side)
                source_side = _median_direction(quat_rotate(quat_conjugate(rotations[standing]), left))
            to_source[bone] = _aim(source_axis, source_side, _vrm_rest_direction(bone), vrm_side)
    for bone in CANONICAL_BONES:
        rotations = motion.rotations[bone]
        if bone in AIMED:
            continue
        if bone.endswith("Hand"):
            forearm = bone.replace("Hand", "LowerArm")
            upright = quat_multiply(motion.rotations[forearm], to_source[forearm])
        elif bone.endswith(("Foot", "Toes")):
            side = bone.removesuffix("Foot").removesuffix("Toes")
            ahead = motion.positions[f"{side}Toes"] - motion.positions[f"{side}Foot"]
            upright = yaw_to_quat(torch.atan2(ahead[:, 0], ahead[:, 2]))
        else:
            upright = body_turn
        to_source[bone] = _mean_rotation(quat_multiply(quat_conjugate(rotations), upright)[standing])
    return _with_rest_directions(motion, to_source)


def _flexion_axis(motion: SourceMotion, bone: str) -> Tensor:
    """Hinge axis (3,) of the elbow or knee at either end of ``bone``, in the axes of its source joint."""
    upper = bone.replace("Lower", "Upper")
    lower = bone.replace("Upper", "Lower")
    end = AIMED[lower]
    above = normalize(motion.positions[lower] - motion.positions[upper])
    below = normalize(motion.positions[end] - motion.positions[lower])
    axis = torch.linalg.cross(above, below)
    bent = torch.linalg.vector_norm(axis, dim=-1) > _FLEXED_SIN
    return _median_direction(quat_rotate(quat_conjugate(motion.rotations[bone]), normalize(axis))[bent])


def _with_rest_directions(motion: SourceMotion, to_source: Mapping[str, Tensor]) -> Calibration:
    children = dict(AIMED)
    for side in ("left", "right"):
        children |= {f"{side}Shoulder": f"{side}UpperArm", f"{side}Foot": f"{side}Toes"}
    rest = {
        bone: quat_rotate(quat_conjugate(to_source[bone]), _local_direction(motion, bone, child))
        for bone, child in children.items()
        if bone in to_source
    }
    return Calibration(to_source, rest)


def source_to_bones(motion: SourceMotion, calibration: Calibration) -> tuple[Tensor, Tensor]:
    """Local rotations (T, 21, 4) and hips positions (T, 3) m of the canonical body; floor and facing are not set yet.

    Hips and travel are scaled by leg length, and placed so that the middle of the hip joints agrees with the source.
    """
    frames = next(iter(motion.rotations.values())).shape[0]
    world: list[Tensor] = []
    for bone, parent in zip(CANONICAL_BONES, CANONICAL_PARENTS, strict=True):
        if bone in calibration.to_source:
            world.append(quat_multiply(motion.rotations[bone], calibration.to_source[bone]))
        else:
            world.append(world[parent] if parent >= 0 else quat_identity(frames))
    local = world_to_local_quat(torch.stack(world, dim=1), CANONICAL_PARENTS)
    local = quat_unroll(normalize(local).movedim(0, -2)).movedim(-2, 0)
    middle = (motion.positions["leftUpperLeg"] + motion.positions["rightUpperLeg"]) / 2
    lift = -(OFFSETS[canonical_index("leftUpperLeg")] + OFFSETS[canonical_index("rightUpperLeg")]) / 2
    return local, middle * (_LEG_LENGTH / leg_length(motion)) + quat_rotate(local[:, 0], lift)


def leg_length(motion: SourceMotion) -> float:
    """Thigh plus shank of the source, its unit, mean of both sides."""
    total = 0.0
    for side in ("left", "right"):
        for upper, lower in (("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot")):
            bone = motion.positions[f"{side}{lower}"] - motion.positions[f"{side}{upper}"]
            total += float(torch.linalg.vector_norm(bone, dim=-1).mean()) / 2
    return total


def place_on_floor(local: Tensor, hips: Tensor) -> tuple[Tensor, Tensor]:
    """Start at x = z = 0 facing +Z, lowest foot joints at their rest height (5th percentile over time: noise-proof)."""
    turn = yaw_to_quat(-heading(local[:1, 0]))
    root = quat_multiply(turn, local[:, 0])
    local = torch.cat([root[:, None], local[:, 1:]], dim=1)
    hips = quat_rotate(turn, hips - hips[:1] * hips.new_tensor([1.0, 0.0, 1.0]))
    positions, _ = canonical_fk(local, hips)
    feet = [canonical_index(bone) for bone in CONTACT_BONES]
    rest = torch.tensor(CANONICAL_REST)[feet, 1]
    lowest = (positions[:, feet, 1] - rest).min(dim=1).values
    return local, hips - hips.new_tensor([0.0, 1.0, 0.0]) * lowest.quantile(0.05)
