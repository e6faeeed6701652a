"""The legs of figures in world space, and legs bent so that their feet get elsewhere: for the foot locks.

Knows neither clips nor contact. All functions take any axes in front, so that many figures are bent together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.geometry.kinematics import forward_kinematics
from motion_service.geometry.rotation import normalize, quat_conjugate, quat_multiply, quat_rotate
from motion_service.vrm.body import Body
from motion_service.vrm.two_bone import turn_leg

SIDES: Final = ("left", "right")
_LEG: Final = ("UpperLeg", "LowerLeg", "Foot")


@dataclass(frozen=True, slots=True)
class LegBones:
    """Which legs a figure has, S of them; a foot has P = 2 parts: ankle and toe."""

    bones: tuple[str, ...]
    """J of them: hips and legs, parents before children."""
    parents: tuple[int, ...]
    sides: tuple[int, ...]
    """(S,) places in :data:`SIDES`."""
    rows: tuple[tuple[int, ...], ...]
    """(S, 3) places of thigh, shank and foot in :attr:`bones`."""
    parts: tuple[tuple[int, int], ...]
    """(S, P) places of ankle and toe; of a foot without toes, the ankle twice."""

    @property
    def chain(self) -> tuple[str, ...]:
        """(S * 3) names of thighs, shanks and feet, side after side."""
        return tuple(self.bones[row] for side in self.rows for row in side)


@dataclass(frozen=True, slots=True)
class LegPose:
    """Legs in world space."""

    hip: Tensor  # (..., S, 3)
    knee: Tensor  # (..., S, 3)
    parts: Tensor  # (..., S, P, 3)
    hips_quat: Tensor  # (..., S, 4) orientation of the thigh's parent
    quats: Tensor  # (..., S, 3, 4) orientations of thigh, shank and foot


def find_legs(body: Body, moved: Collection[str]) -> LegBones | None:
    """The legs that ``body`` has and whose bones are all among ``moved``; None when there is none."""
    bones = set(body.rest) & set(moved)
    sides = tuple(i for i, side in enumerate(SIDES) if {side + bone for bone in _LEG} <= bones)
    if not sides:
        return None
    lower = body.legs
    rows = tuple(tuple(lower.index(SIDES[side] + bone) for bone in _LEG) for side in sides)
    toes = (f"{SIDES[side]}Toes" for side in sides)
    parts = ((row[2], lower.index(toe) if toe in lower.rest else row[2]) for row, toe in zip(rows, toes, strict=True))
    return LegBones(lower.bones, lower.parents, sides, rows, tuple(parts))


def sole_heights(legs: LegBones, body: Body) -> Tensor:
    """(S, P) height of the parts of the feet when the soles lie on the floor, m."""
    height = [place[1] for place in body.legs.rest.values()]
    return torch.tensor([[height[part] for part in side] for side in legs.parts])


def pose_legs(legs: LegBones, local: Tensor, hips: Tensor, offsets: Tensor) -> LegPose:
    """Where the legs are: ``local`` (..., J, 4) rotations of their bones, ``hips`` (..., 3) m, ``offsets`` (..., J, 3)
    of the bones at rest from their parents, m."""
    positions, world = forward_kinematics(local, hips, offsets, legs.parents)
    return LegPose(
        hip=_pick(positions, tuple(row[0] for row in legs.rows)),
        knee=_pick(positions, tuple(row[1] for row in legs.rows)),
        parts=_pick(positions, sum(legs.parts, ())).unflatten(-2, (-1, 2)),
        hips_quat=world[..., :1, :].expand(*world.shape[:-2], len(legs.sides), 4),
        quats=_pick(world, sum(legs.rows, ())).unflatten(-2, (-1, 3)),
    )


def bend_legs(legs: LegBones, local: Tensor, pose: LegPose, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations of thigh, shank and foot (..., S, 3, 4) that move the ankles by ``offset`` (..., S, 3), and where the
    parts of the feet are then, (..., S, P, 3).

    ``local`` are the rotations that ``pose`` was made of. Frames without an offset keep their numbers.
    """
    hip, knee, ankle = pose.hip.double(), pose.knee.double(), pose.parts[..., 0, :].double()
    hinge = quat_rotate(pose.quats[..., 0, :].double(), ankle.new_tensor([1.0, 0.0, 0.0]))
    turn = turn_leg(hip, knee, ankle, ankle + offset, hinge)
    turns = torch.stack([turn.thigh, turn.shank], dim=-2)  # (..., S, 2, 4)
    bent = quat_multiply(turns, pose.quats[..., :2, :].double())
    chain = torch.cat([pose.hips_quat[..., None, :].double(), bent, pose.quats[..., 2:, :].double()], dim=-2)
    kept = _pick(local, sum(legs.rows, ())).unflatten(-2, (-1, 3))  # (..., S, 3, 4)
    made = normalize(quat_multiply(quat_conjugate(chain[..., :-1, :]), chain[..., 1:, :])).to(kept)
    near = torch.where((made * kept).sum(-1, keepdim=True) < 0, -made, made)
    moved = (offset != 0).any(-1, keepdim=True)  # (..., S, 1)
    bones = torch.stack([knee - hip, ankle - knee], dim=-2)
    reached = hip + quat_rotate(turns, bones).sum(-2)  # (..., S, 3) where thigh and shank lead to now
    shift = torch.where(moved, reached - ankle, 0.0).to(pose.parts)  # toes go along
    return torch.where(moved[..., None], near, kept), pose.parts + shift[..., None, :]


def _pick(rows: Tensor, numbers: tuple[int, ...]) -> Tensor:
    """Some of the rows along axis -2; several times as fast as by indexing."""
    return rows.index_select(-2, torch.tensor(numbers))
