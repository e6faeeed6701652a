"""Functions on planes, called with tensors whose components stand last, as the tests have them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from motion_service.geometry.planes import length, to_planes, to_tensor
from motion_service.vrm import hinge, retarget, two_bone
from motion_service.vrm.source_rest import JOINT_PARENTS


class LegTurn(NamedTuple):
    """World rotations (..., 4) of thigh and shank."""

    thigh: Tensor
    shank: Tensor
    ankle: Tensor
    """(3,) where it is then."""


def signed_angle(a: Tensor, b: Tensor, axis: Tensor) -> Tensor:
    return torch.from_numpy(hinge.signed_angle(to_planes(a), to_planes(b), to_planes(axis)))


def swing_hinge(bone: Tensor, rest_bone: Tensor, rest_hinge: Tensor) -> Tensor:
    return to_tensor(hinge.swing_hinge(to_planes(bone), to_planes(rest_bone[:, None]), to_planes(rest_hinge[:, None])))


def solve_hinge(bone: Tensor, swing: Tensor, rest_bone: Tensor, axes: Tensor, weights: Tensor, fps: float) -> Tensor:
    planes = (to_planes(vectors) for vectors in (bone, swing, rest_bone[:, None], axes))
    return to_tensor(hinge.solve_hinge(*planes, weights.numpy(), fps))


def turn_leg(hip: Tensor, knee: Tensor, ankle: Tensor, target: Tensor, axis: Tensor) -> LegTurn:
    turns, place = two_bone.turn_leg(*(to_planes(point) for point in (hip, knee, ankle, target, axis)))
    thigh, shank = to_tensor(turns)
    return LegTurn(thigh, shank, to_tensor(place))


def bone_directions(positions: Tensor) -> Tensor:
    """(T, 22, 3) from joint positions (T, 22, 3)."""
    joints = positions.numpy().T
    steps = np.ascontiguousarray(joints - joints[:, [max(parent, 0) for parent in JOINT_PARENTS]])
    return torch.from_numpy(np.ascontiguousarray(retarget.bone_directions(steps, length(steps)).T))
