"""Where a DiP window shall end, as its network reads it: places of up to six joints, the way on the floor, a heading.

Coordinates are metres and radians in the frame of the window decoded ALONE: its first frame at x = z = 0, facing +Z.
Goals of a request in world coordinates are moved there by the place where the window starts. Source: Tevet et al.
2025 (CLoSD), section 4, and ``data_loaders/humanml_utils.py`` of https://github.com/GuyTevet/motion-diffusion-model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.errors import BadRequest
from motion_service.features.humanml3d import features_to_joints, forward_direction
from motion_service.features.skeleton import JOINT_NAMES
from motion_service.features.vrm_native import RootStart
from motion_service.geometry.rotation import quat_rotate, yaw_to_quat

GOAL_JOINTS: Final = ("pelvis", "left_foot", "right_foot", "left_wrist", "right_wrist", "head")
TRAJECTORY: Final = "traj"
"""The pelvis with y = 0: where on the floor to end."""
HEADING: Final = "heading"
"""Where to face: radians about +Y, 0 = +Z, positive towards +X (the figure's left)."""
GOALS: Final = (*GOAL_JOINTS, TRAJECTORY, HEADING)
"""Rows of a target, in the order in which the network was trained."""


@dataclass(frozen=True, slots=True)
class TargetLocation:
    """What one window shall reach at its last frame."""

    places: Tensor
    """(8, 3) rows of :data:`GOALS`, zero where nothing is asked; ``heading`` is (radians, 0, 0)."""
    asked: Tensor
    """(8,) bool."""

    @property
    def names(self) -> tuple[str, ...]:
        """Goals asked for, without the heading: the official ``target_joint_names``."""
        return tuple(goal for goal, asked in zip(GOALS, self.asked.tolist(), strict=True) if asked and goal != HEADING)

    @property
    def is_heading(self) -> bool:
        """Whether a heading is asked for: the official ``is_heading``."""
        return bool(self.asked[GOALS.index(HEADING)])


def request_to_target(goals: Mapping[str, Sequence[float]], start: RootStart | None = None) -> TargetLocation:
    """Goals as a request names them: {joint or traj: [x, y, z] m, heading: [radians]}.

    ``start``: where the window begins, if the goals are in world coordinates. Raises BadRequest on an unknown goal or
    a wrong number of finite values.
    """
    start = start or RootStart()
    places, asked = torch.zeros(len(GOALS), 3), torch.zeros(len(GOALS), dtype=torch.bool)
    for goal, values in goals.items():
        _check(goal, values)
        row = GOALS.index(goal)
        asked[row] = True
        if goal == HEADING:
            places[row, 0] = math.remainder(values[0] - start.heading, math.tau)
        else:
            from_start = torch.tensor([values[0] - start.x, values[1], values[2] - start.z])
            places[row] = quat_rotate(yaw_to_quat(torch.tensor(-start.heading)), from_start)
    places[GOALS.index(TRAJECTORY), 1] = 0.0
    return TargetLocation(places, asked)


def window_to_target(features: Tensor, goals: Iterable[str]) -> TargetLocation:
    """What a window of de-normalised features (T, 263) reaches at its last frame, for ``goals`` of :data:`GOALS`."""
    joints = features_to_joints(features)[-1]  # (22, 3)
    floor = joints[0] * joints.new_tensor([1.0, 0.0, 1.0])
    heading = joints.new_zeros(3)
    heading[0] = joints_to_heading(joints)
    rows = [*(joints[JOINT_NAMES.index(name)] for name in GOAL_JOINTS), floor, heading]
    wanted = set(goals)
    asked = torch.tensor([goal in wanted for goal in GOALS], device=joints.device)
    return TargetLocation(torch.stack(rows) * asked[:, None], asked)


def joints_to_heading(positions: Tensor) -> Tensor:
    """Heading (...,) in radians of joints (..., 22, 3): 0 = +Z, positive towards +X."""
    forward = forward_direction(positions)
    return torch.atan2(forward[..., 0], forward[..., 2])


def _check(goal: str, values: Sequence[float]) -> None:
    if goal not in GOALS:
        raise BadRequest(f"target_joints: {goal!r} is none of {', '.join(GOALS)}", field="target_joints")
    count = 1 if goal == HEADING else 3
    if len(values) != count or not all(math.isfinite(value) for value in values):
        kind = "one angle in radians" if count == 1 else "three coordinates in metres"
        raise BadRequest(f"target_joints: {goal} needs {kind}, as finite numbers", field="target_joints")
