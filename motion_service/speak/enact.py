"""From channels to bones: what a performance adds to a motion, within the limits of the joints, feet where they were.

Trunk, neck and head turn further; the hips move over feet that stay where the motion has them, legs bent to it; arms
are led as far as ``reach`` says. Only bones that the motion has are touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from motion_service.geometry.planes import Planes, to_planes, to_tensor
from motion_service.geometry.rotation import quat_conjugate, quat_multiply, quat_rotate, quat_slerp, rotvec_to_quat
from motion_service.speak.arms import FOREARM, SIDES, UPPER_ARM, Side, wrist_to_arm
from motion_service.vrm.body import CANONICAL_BODY
from motion_service.vrm.legs import LegBones, LegPose, bend_legs, find_legs, pose_legs

Array = npt.NDArray[np.float64]
Channels = Mapping[str, Array]

_SHARES: Final[Mapping[str, tuple[str, float]]] = {
    # bone: which turn it takes a share of
    "spine": ("trunk", 0.45),
    "chest": ("trunk", 0.55),
    "neck": ("head", 0.4),
    "head": ("head", 0.6),
}
_LIMITS: Final[Mapping[str, tuple[float, float, float]]] = {
    # pitch, yaw and roll, degrees either way: well within what a person's can (Kapandji, Physiology of the Joints)
    "trunk": (18.0, 20.0, 12.0),
    "head": (28.0, 40.0, 20.0),
}
_HIPS_M: Final = 0.04
"""The hips move so far at most, m."""
_ROLL_DEG_PER_M: Final = 70.0
"""The pelvis drops on the side without weight."""
_SLACK_M: Final = 0.006
"""The hips sink so much while they sway, so that the legs reach."""


def enact(channels: Channels, bones: Sequence[str], local: Tensor, hips: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (T, J, 4) of ``bones`` and hips (T, 3) m with a performance on them; the arguments stay as they are."""
    local, column = local.clone(), {bone: i for i, bone in enumerate(bones)}
    hips = _shift_hips(channels, tuple(bones), local, hips)
    for bone, (part, share) in _SHARES.items():
        if bone in column:
            turn = _turn(channels, part, share)
            local[:, column[bone]] = quat_multiply(local[:, column[bone]], turn)
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        if f"{side}Shoulder" in column:
            lift = torch.zeros(len(hips), 3)
            lift[:, 2] = _column(channels["lift"]) * (sign * np.pi / 180)
            here = column[f"{side}Shoulder"]
            local[:, here] = quat_multiply(local[:, here], rotvec_to_quat(lift))
        _lead_arm(channels, side, column, local)
    return local, hips


def gaze(channels: Channels) -> Tensor:
    """Yaw and pitch (T, 2) rad of the eyes that the performance asks for."""
    turns = np.stack([channels["gaze_yaw"], channels["gaze_pitch"]], axis=-1)
    return torch.from_numpy(np.radians(turns)).float()


def _column(values: Array) -> Tensor:
    return torch.from_numpy(values).float()


def _turn(channels: Channels, part: str, share: float) -> Tensor:
    """(T, 4) of one bone."""
    turns = np.stack([channels[f"{part}_{turn}"] for turn in ("pitch", "yaw", "roll")], axis=-1)
    limits = np.array(_LIMITS[part])
    return rotvec_to_quat(_column(np.radians(turns.clip(-limits, limits)) * share))


def _lead_arm(channels: Channels, side: Side, column: Mapping[str, int], local: Tensor) -> None:
    """One arm as far as it is led, in place; one that hangs only stirs a little."""
    chain = [column.get(f"{side}{part}") for part in ("UpperArm", "LowerArm", "Hand")]
    reach = channels[f"{side}_reach"].clip(0, 1)
    if any(bone is None for bone in chain):
        return
    sign = 1.0 if side == "left" else -1.0
    stir = {part: channels[f"{side}_stir_{part}"] for part in ("out", "ahead", "roll", "bend")}
    length = UPPER_ARM + FOREARM
    aside, swing = stir["out"] / length, stir["ahead"] / length  # rad
    none = np.zeros_like(reach)
    swings = rotvec_to_quat(_column(np.stack([-swing, none, sign * aside], axis=-1)))
    flex = rotvec_to_quat(_column(np.stack([none, -sign * 2 * np.abs(swing), none], axis=-1)))
    hand = rotvec_to_quat(_column(np.stack([none, none, -sign * np.radians(stir["bend"])], axis=-1)))
    upper, lower, end = (local[:, bone] for bone in chain)
    hangs = [quat_multiply(swings, upper), quat_multiply(lower, flex), quat_multiply(end, hand)]
    turns = hangs
    if reach.max() > 1e-4:
        places = [channels[f"{side}_{part}"] for part in ("out", "up", "ahead")]
        roll, bend = (channels[f"{side}_{part}"] + stir[part] for part in ("roll", "bend"))
        led = wrist_to_arm(
            side, _column(np.stack(places, axis=-1)), _column(np.radians(roll)), _column(np.radians(bend))
        )
        shoulder = column.get(f"{side}Shoulder")
        against = led.upper if shoulder is None else quat_multiply(quat_conjugate(local[:, shoulder]), led.upper)
        pairs = zip(hangs, (against, led.lower, led.hand), strict=True)
        turns = [quat_slerp(own, turn, _column(reach)[:, None]) for own, turn in pairs]
    for bone, turn in zip(chain, turns, strict=True):
        local[:, bone] = turn


# --- hips over planted feet -------------------------------------------------------------------------------------------


def _shift_hips(channels: Channels, bones: tuple[str, ...], local: Tensor, hips: Tensor) -> Tensor:
    """The hips moved and tilted, and the legs bent in place so that the feet stay. The place of the hips (T, 3)."""
    aside, ahead = (channels[name].clip(-_HIPS_M, _HIPS_M) for name in ("hips_aside", "hips_ahead"))
    level = channels["body"].clip(0, 1)
    legs = _legs(bones)
    if legs is None or not (level.max() > 1e-4 or np.abs(aside).max() > 1e-6):
        return hips
    rows = [bones.index(bone) for bone in legs.bones]
    before = _pose_legs(legs, local[:, rows], hips)
    facing = local[:, 0]
    way = np.stack([aside, -_SLACK_M * level, ahead], axis=-1)
    forward = quat_rotate(facing, facing.new_tensor([0.0, 0.0, 1.0]).expand(len(hips), 3))
    yaw = torch.atan2(forward[:, 0], forward[:, 2])
    turn = torch.stack([torch.zeros_like(yaw), yaw, torch.zeros_like(yaw)], dim=-1)
    moved = hips + quat_rotate(rotvec_to_quat(turn), _column(way))
    tilt = torch.zeros(len(hips), 3)
    tilt[:, 2] = _column(aside) * (_ROLL_DEG_PER_M * np.pi / 180)
    local[:, 0] = quat_multiply(facing, rotvec_to_quat(tilt))
    after = _pose_legs(legs, local[:, rows], moved)
    standing = np.concatenate([after.quats[:, :2], before.quats[:, 2:]], axis=1)
    offset = before.parts[:, 0] - after.parts[:, 0]  # (3, S, T)
    bent, _ = bend_legs(legs, _to_planes(local[:, rows]), replace(after, quats=standing), offset)
    local[:, [bones.index(bone) for bone in legs.chain]] = to_tensor(bent).flatten(0, 1).transpose(0, 1).to(local)
    if "spine" in bones:  # the trunk stays upright over a tilted pelvis
        spine = bones.index("spine")
        local[:, spine] = quat_multiply(rotvec_to_quat(-tilt), local[:, spine])
    return moved


def _pose_legs(legs: LegBones, local: Tensor, hips: Tensor) -> LegPose:
    """Legs by the rotations of their bones (T, J, 4) and the place of the hips (T, 3)."""
    return pose_legs(legs, _to_planes(local), to_planes(hips), CANONICAL_BODY.legs.offset_planes)


def _to_planes(local: Tensor) -> Planes:
    """(T, J, 4) to (4, J, T)."""
    return to_planes(local.transpose(0, 1))


@lru_cache(maxsize=16)
def _legs(bones: tuple[str, ...]) -> LegBones | None:
    return find_legs(CANONICAL_BODY, bones) if bones and bones[0] == "hips" else None
