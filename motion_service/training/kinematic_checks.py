"""Which hand, which way, standing or not: read off the positions of a clip, without any learned judge.

A prompt names a side or a direction; these predicates say whether the clip shows it. They know nothing of the action
itself (a raised hand that never waves has a side all the same): that is the classifier's task. All lengths are those of
the canonical body. Thresholds lie in the gaps measured over the real clips of the corpus (Bandai-Namco, with mirrors):
the hand that acts reaches at least 0.09 m below its shoulder (the weakest of 1,938 raises and waves), the idle one
never comes above 0.33 m below; sidesteps go at least 0.15 of their way sideways (these actors step diagonally), while
99 of 100 walks and runs stay under 0.12, measured in the facing frame of each moment so that a curve does not count.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from motion_service.clips import VrmClip
from motion_service.errors import BadRequest
from motion_service.features.vrm_native import canonical_fk, foot_contacts, heading
from motion_service.geometry.rotation import quat_rotate, yaw_to_quat
from motion_service.humanoid import canonical_index
from motion_service.quality import clip_to_canonical, clip_to_positions

RAISED_HEIGHT: Final = -0.2
"""A hand is up when its wrist spends a tenth of the clip above this height over the shoulder, m."""
WAVE_TRAVEL: Final = 0.5
"""A waving wrist travels at least this far beside the shoulder while it is up, m."""
RAISED_SIDE_MARGIN: Final = 0.1
"""The named hand reaches at least this much higher than the other, m."""
MIN_TRAVEL: Final = 0.3
"""Shorter ways have no direction, m."""
SIDEWAYS_SHARE: Final = 0.14
"""Going left or right means: at least this share of the way is sideways."""
MIN_TURN: Final = math.radians(30)
"""Least net change of heading of a turn."""
IDLE_TRAVEL: Final = 0.2
"""Standing still: the hips never leave this circle around where they began, m."""
IDLE_PLANTED: Final = 0.9
"""Standing still: the share of frames with both feet planted."""


def check_side(clip: VrmClip, action: str, side: str) -> bool:
    """Whether ``side`` ("left", "right", "both") is the hand that acts. ``action`` is "wave" or "raise".

    One hand: it is up, the other is clearly lower and not up. Both: both are up. A wave moves while it is up: the
    named wrist travels, both of them for "both". Raises :class:`BadRequest` for words it does not know.
    """
    if action not in ("wave", "raise") or side not in ("left", "right", "both"):
        raise BadRequest(
            f"no side check for action {action!r} and side {side!r}: use wave or raise, left, right or both"
        )
    reach, travel = _hands(clip_to_positions(clip))
    enough = travel if action == "wave" else {"left": math.inf, "right": math.inf}
    named = ("left", "right") if side == "both" else (side,)
    shown = all(reach[hand] > RAISED_HEIGHT and enough[hand] > WAVE_TRAVEL for hand in named)
    if side == "both":
        return shown
    other = "right" if side == "left" else "left"
    return shown and reach[other] < RAISED_HEIGHT and reach[side] - reach[other] > RAISED_SIDE_MARGIN


def _hands(positions: Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """Per hand: 90th percentile of the wrist's height over its shoulder, and its way around it while up, m."""
    reach: dict[str, float] = {}
    travel: dict[str, float] = {}
    for side in ("left", "right"):
        shoulder, wrist = canonical_index(f"{side}UpperArm"), canonical_index(f"{side}Hand")
        arm = positions[:, wrist] - positions[:, shoulder]  # (T, 3)
        reach[side] = float(arm[:, 1].quantile(0.9))
        step = torch.linalg.vector_norm(arm[1:] - arm[:-1], dim=-1)
        travel[side] = float((step * (arm[1:, 1] > RAISED_HEIGHT)).sum())
    return reach, travel


def travelled(clip: VrmClip) -> tuple[float, float, float]:
    """Way to the left m and forward m, summed in the facing frame of each moment; net change of heading, rad, left > 0.

    A net displacement in the first facing frame would count every curve and every drift of a long walk as sideways.
    """
    local, hips = clip_to_canonical(clip)
    yaw = heading(local[:, 0])  # (T,)
    turns = torch.remainder(yaw[1:] - yaw[:-1] + math.pi, 2 * math.pi) - math.pi
    way = quat_rotate(yaw_to_quat(-yaw[1:]), hips[1:] - hips[:-1]).sum(dim=0)  # (3,)
    return float(way[0]), float(way[2]), float(turns.sum())


def check_direction(clip: VrmClip, action: str, direction: str) -> bool:
    """Whether the figure goes (or, for turn actions, turns) the named way. Raises :class:`BadRequest` for other words.

    Turn actions ("turn-left", "turn-right") by the sign of the net change of heading. Others by :func:`travelled`:
    forward and backward must outweigh sideways; left and right must hold 14 % of the way.
    """
    left, forward, turn = travelled(clip)
    if action.startswith("turn") and direction in ("left", "right"):
        return turn > MIN_TURN if direction == "left" else turn < -MIN_TURN
    sideways = max(MIN_TRAVEL, SIDEWAYS_SHARE * math.hypot(left, forward))
    ahead = max(MIN_TRAVEL, abs(left))
    verdict = {
        "forward": forward > ahead,
        "backward": -forward > ahead,
        "left": left > sideways,
        "right": -left > sideways,
    }
    if direction not in verdict or action.startswith("turn"):
        raise BadRequest(f"no direction check for action {action!r} and direction {direction!r}")
    return verdict[direction]


def check_idle(clip: VrmClip) -> bool:
    """Standing still: the hips stay within 0.2 m of where they began and both feet are planted in 9 of 10 frames."""
    positions, _ = canonical_fk(*clip_to_canonical(clip))
    hips = positions[:, 0] - positions[:1, 0]
    away = float(torch.linalg.vector_norm(hips[:, [0, 2]], dim=-1).max())
    planted = foot_contacts(positions, clip.fps).unflatten(1, (2, 2)).amax(dim=2).amin(dim=1)  # (T,) both feet
    return away < IDLE_TRAVEL and float(planted.mean()) >= IDLE_PLANTED
