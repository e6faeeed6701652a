"""Two-bone inverse kinematics of a leg as a change of pose: how thigh and shank turn so that the ankle gets elsewhere.

The leg bends or stretches at the knee until hip and ankle are as far apart as asked (law of cosines), about the axis it
is bent about already, and swings as a whole by the shortest arc. So the knee keeps its plane and its side, an ankle
that stays gives no turn at all, and lengths cannot change. Knows no clip: world space only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from motion_service.geometry.rotation import axis_angle_to_quat, normalize, quat_between, quat_multiply, quat_rotate

MAX_REACH: Final = 0.9995
"""Share of its length that a stretched leg comes near to (3.6 degrees of knee); one that is straighter stays so."""
_STRAIGHT: Final = math.sin(math.radians(3.0))
"""Sine of the knee angle below which the plane comes from the thigh's own hinge: three points on a line have none."""

_WRONG: Final = math.sin(math.radians(8.0))
"""Sine of the backward bend from which a knee is not bent any further."""


@dataclass(frozen=True, slots=True)
class LegTurn:
    """World rotations (..., 4) xyzw to put in front of the world orientations of thigh and shank."""

    thigh: Tensor
    shank: Tensor


def turn_leg(hip: Tensor, knee: Tensor, ankle: Tensor, target: Tensor, hinge: Tensor) -> LegTurn:
    """Turns that bring the ankle to ``target``; points (..., 3) in m, world. Lengths must not be zero.

    A leg that has to stretch gives way softly: what it lacks of being straight is never used up, because a knee snaps
    on the last millimetres. The ankle then stays short of the target, on the line from the hip.

    ``hinge`` (..., 3): world axis about which the knee flexes, the +X axis of the thigh bone.
    """
    thigh, shank = _length(knee - hip), _length(ankle - knee)  # (...,)
    reach, wanted = _length(ankle - hip), _length(target - hip)
    spare = (MAX_REACH * (thigh + shank) - reach).clamp_min(1e-9)
    normal = torch.linalg.cross(knee - hip, ankle - knee)  # twice the triangle, along the flexion axis
    size = (thigh * shank)[..., None]
    bend = (normal * hinge).sum(-1, keepdim=True) / size  # sine of the knee, negative when it is bent the wrong way
    sound = (1 + bend[..., 0] / _WRONG).clamp(0, 1)
    stretched = reach + spare * torch.tanh((wanted - reach) / spare)
    wanted = torch.where(wanted > reach, stretched, torch.lerp(reach, wanted, sound))
    wanted = wanted.maximum((thigh - shank).abs() + 1e-4)
    axis = normalize(normal + torch.where(bend < -_STRAIGHT, -_STRAIGHT, _STRAIGHT) * size * hinge)
    old_lead, old_flexion = _triangle(thigh, shank, reach)
    lead, flexion = _triangle(thigh, shank, wanted)
    bend_thigh = axis_angle_to_quat(axis, old_lead - lead)
    bend_shank = axis_angle_to_quat(axis, old_lead - lead + flexion - old_flexion)
    bent = quat_rotate(bend_thigh, knee - hip) + quat_rotate(bend_shank, ankle - knee)
    swing = quat_between(bent, target - hip)
    return LegTurn(quat_multiply(swing, bend_thigh), quat_multiply(swing, bend_shank))


def _triangle(thigh: Tensor, shank: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Angle between thigh and the line hip-ankle, and flexion of the knee (0 = straight), rad."""
    lead = (thigh**2 + reach**2 - shank**2) / (2 * thigh * reach).clamp_min(1e-9)
    inner = (thigh**2 + shank**2 - reach**2) / (2 * thigh * shank).clamp_min(1e-9)
    return torch.acos(lead.clamp(-1, 1)), math.pi - torch.acos(inner.clamp(-1, 1))


def _length(v: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(v, dim=-1)
    return length
