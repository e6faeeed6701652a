"""The legs of figures in world space, and legs bent so that their feet get elsewhere: for the foot locks.

Knows neither clips nor contact. Arrays are :data:`~motion_service.geometry.planes.Planes`: what stands behind bones and
sides is frames, or figures and frames, so that many figures are bent together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from motion_service.geometry.planes import Planes, dot, forward_kinematics, multiply, relative, rotate, unit
from motion_service.vrm.body import Body
from motion_service.vrm.two_bone import turn_leg

SIDES: Final = ("left", "right")
_LEG: Final = ("UpperLeg", "LowerLeg", "Foot")
_SIDEWAYS: Final = np.array([1.0, 0.0, 0.0])
"""The axis of a thigh about which the knee bends."""


@dataclass(frozen=True, slots=True)
class LegBones:
    """Which legs a figure has, S of them; a foot has P = 2 parts: ankle and toe."""

    bones: tuple[str, ...]
    """J of them: hips and legs, parents before children."""
    parents: tuple[int, ...]
    sides: tuple[int, ...]
    """(S,) places in :data:`SIDES`."""
    rows: tuple[tuple[int, ...], ...]
    """(3, S) places of thighs, shanks and feet in :attr:`bones`."""
    parts: tuple[tuple[int, ...], ...]
    """(P, S) places of ankles and toes; of a foot without toes, the ankle twice."""

    @property
    def chain(self) -> tuple[str, ...]:
        """(3 * S) names of thighs, then shanks, then feet."""
        return tuple(self.bones[row] for sides in self.rows for row in sides)


@dataclass(frozen=True, slots=True)
class LegPose:
    """Legs in world space."""

    hip: Planes  # (3, S, ...)
    knee: Planes  # (3, S, ...)
    parts: Planes  # (3, P, S, ...)
    hips_quat: Planes  # (4, ...) orientation of the thighs' parent
    quats: Planes  # (4, 3, S, ...) orientations of thighs, shanks and feet


def find_legs(body: Body, moved: Collection[str]) -> LegBones | None:
    """The legs that ``body`` has and whose bones are all among ``moved``; None when there is none."""
    bones = set(body.rest) & set(moved)
    sides = tuple(i for i, side in enumerate(SIDES) if {side + bone for bone in _LEG} <= bones)
    if not sides:
        return None
    lower = body.legs
    rows = tuple(tuple(lower.index(SIDES[side] + bone) for side in sides) for bone in _LEG)
    toes = ((f"{SIDES[side]}Toes", ankle) for side, ankle in zip(sides, rows[2], strict=True))
    parts = (rows[2], tuple(lower.index(toe) if toe in lower.rest else ankle for toe, ankle in toes))
    return LegBones(lower.bones, lower.parents, sides, rows, parts)


def sole_heights(legs: LegBones, body: Body) -> npt.NDArray[np.float32]:
    """(P, S) height of the parts of the feet when the soles lie on the floor, m."""
    height = np.array([place[1] for place in body.legs.rest.values()], np.float32)
    return height[list(legs.parts)]


def pose_legs(legs: LegBones, local: Planes, hips: Planes, offsets: Planes) -> LegPose:
    """Where the legs are: ``local`` (4, J, ...) rotations of their bones, ``hips`` (3, ...) m, ``offsets`` (3, J, ...)
    of the bones at rest from their parents, m."""
    positions, world = forward_kinematics(local, hips, offsets, legs.parents)
    thighs, shanks, _ = legs.rows
    return LegPose(
        hip=positions[:, thighs],
        knee=positions[:, shanks],
        parts=positions[:, legs.parts],
        hips_quat=world[:, 0],
        quats=world[:, legs.rows],
    )


def bend_legs(legs: LegBones, local: Planes, pose: LegPose, offset: Planes) -> tuple[Planes, Planes]:
    """Rotations of thighs, shanks and feet (4, 3, S, ...) that move the ankles by ``offset`` (3, S, ...), and where the
    parts of the feet are then, (3, P, S, ...).

    ``local`` are the rotations that ``pose`` was made of. Frames without an offset keep their numbers.
    """
    hip, knee, ankle, quats = (a.astype(np.float64) for a in (pose.hip, pose.knee, pose.parts[:, 0], pose.quats))
    hinge = rotate(quats[:, 0], _SIDEWAYS)
    turns, moved_to = turn_leg(hip, knee, ankle, ankle + offset, hinge)  # (4, 2, S, ...), (3, S, ...)
    hips = np.broadcast_to(pose.hips_quat[:, None, None], (4, 1, *hip.shape[1:]))
    chain = np.concatenate([hips, multiply(turns, quats[:, :2]), quats[:, 2:]], axis=1)
    kept = local[:, legs.rows]  # (4, 3, S, ...)
    made = unit(relative(chain[:, :-1], chain[:, 1:])).astype(kept.dtype)
    near = np.where(dot(made, kept) < 0, -made, made)
    moved = (offset != 0).any(0)  # (S, ...)
    shift = np.where(moved, moved_to - ankle, 0.0).astype(pose.parts.dtype)  # toes go along
    return np.where(moved, near, kept), pose.parts + shift[:, None]
