"""Arms from where the hands are: two-bone inverse kinematics on the canonical body, all frames at once.

Gestures are told as places of the wrist against the shoulder, because people move their hands on straight smooth paths
whatever the joints do for it (Morasso 1981, https://doi.org/10.1007/BF00236911). Axes of the chest: out to the figure's
own side, up, ahead. The elbow hangs and points outwards; it never bends beyond what a person's can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motion_service.geometry.rotation import axis_angle_to_quat, normalize, quat_multiply, rotmat_to_quat
from motion_service.humanoid import CANONICAL_REST, canonical_index

Side = Literal["left", "right"]
SIDES: Final[tuple[Side, Side]] = ("left", "right")
UPPER_ARM: Final = (
    CANONICAL_REST[canonical_index("leftLowerArm")][0] - CANONICAL_REST[canonical_index("leftUpperArm")][0]
)
FOREARM: Final = CANONICAL_REST[canonical_index("leftHand")][0] - CANONICAL_REST[canonical_index("leftLowerArm")][0]
"""m."""
MAX_BEND: Final = math.radians(145.0)
MIN_BEND: Final = math.radians(8.0)
"""Of the elbow."""
MAX_ROLL: Final = math.radians(85.0)
MAX_WRIST: Final = math.radians(60.0)
_NEAREST: Final = math.sqrt(UPPER_ARM**2 + FOREARM**2 + 2 * UPPER_ARM * FOREARM * math.cos(MAX_BEND))
_FARTHEST: Final = math.sqrt(UPPER_ARM**2 + FOREARM**2 + 2 * UPPER_ARM * FOREARM * math.cos(MIN_BEND))
_LOW_POLE: Final = (0.3, 0.0, -1.0)
_HIGH_POLE: Final = (0.3, -1.0, -0.15)
"""Where the elbow of a hanging and of a raised arm points: out, up, ahead."""
_LOW, _HIGH = -0.50, -0.15
"""Heights of the wrist between which the one goes over into the other, m below the shoulder."""


@dataclass(frozen=True, slots=True)
class ArmTurns:
    """Rotations (T, 4) xyzw of an arm: upper arm against the chest, forearm and hand against their parents."""

    upper: Tensor
    lower: Tensor
    hand: Tensor


def wrist_to_arm(side: Side, wrist: Tensor, roll: Tensor, bend: Tensor) -> ArmTurns:
    """The arm whose wrist is at ``wrist`` (T, 3): out, up, ahead of the shoulder joint, m on the canonical body.

    ``roll`` (T,) of the forearm, rad: 0 with the palm to the body's middle, negative turns it up, positive down.
    ``bend`` (T,) of the wrist, rad: towards the palm; negative lifts the back of the hand.
    """
    sign = 1.0 if side == "left" else -1.0
    mirror = wrist.new_tensor([sign, 1.0, 1.0])
    far = wrist.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    to_wrist = wrist / far * mirror
    far = far.clamp(_NEAREST, _FARTHEST)[:, 0]
    share = ((wrist[:, 1:2] - _LOW) / (_HIGH - _LOW)).clamp(0, 1)
    share = share * share * (3 - 2 * share)
    pole = wrist.new_tensor(_LOW_POLE) * (1 - share) + wrist.new_tensor(_HIGH_POLE) * share
    pole = pole * mirror
    across = normalize(pole - (pole * to_wrist).sum(-1, keepdim=True) * to_wrist)
    cosine = (UPPER_ARM**2 + far**2 - FOREARM**2) / (2 * UPPER_ARM * far)
    along = UPPER_ARM * cosine
    aside = UPPER_ARM * (1 - cosine**2).clamp_min(0).sqrt()
    elbow = to_wrist * along[:, None] + across * aside[:, None]
    forearm = to_wrist * far[:, None] - elbow
    x = normalize(elbow) * sign  # left arms rest along +X, right ones along -X
    z = normalize(forearm - (forearm * x).sum(-1, keepdim=True) * x)  # the elbow bends towards it
    upper = rotmat_to_quat(torch.stack([x, torch.linalg.cross(z, x), z], dim=-1))
    inside = (UPPER_ARM**2 + FOREARM**2 - far**2) / (2 * UPPER_ARM * FOREARM)
    flex = math.pi - torch.acos(inside.clamp(-1, 1))
    lower = quat_multiply(
        axis_angle_to_quat(wrist.new_tensor([0.0, -sign, 0.0]), flex),
        axis_angle_to_quat(wrist.new_tensor([1.0, 0.0, 0.0]), roll.clamp(-MAX_ROLL, MAX_ROLL)),
    )
    hand = axis_angle_to_quat(wrist.new_tensor([0.0, 0.0, -sign]), bend.clamp(-MAX_WRIST, MAX_WRIST))
    return ArmTurns(upper, lower, hand)
