"""The corpus as one table on the device: a row a frame with all that is needed to compose its features again.

Row (104): yaw rate and root x, z velocity as in the features, hips height, the four contact joints in the facing frame,
contact labels, and the 21 rotations (hips relative to the heading). Rows of all clips lie one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from motion_service.features.vrm_native import (
    CONTACTS,
    HIPS_ROT6D,
    LOCAL_ROT6D,
    NUM_BONES,
    POSITIONS,
    ROOT_HEIGHT,
    ROOT_VELOCITY,
    VELOCITIES,
    YAW_RATE,
    bones_to_features,
    heading,
)
from motion_service.geometry.rotation import quat_multiply, yaw_to_quat
from motion_service.training.corpus import CorpusClip
from motion_service.training.facing import feet
from motion_service.training.standing import standing_pose

RATES: Final = slice(0, 3)
"""Yaw rate rad/s and root x, z velocity m/s."""
HEIGHT: Final = 3
SOLES: Final = slice(4, 16)
LABELS: Final = slice(16, 20)
QUATS: Final = slice(20, 20 + 4 * NUM_BONES)

STILL: Final = 0.35
"""A body whose fastest bone is slower than this is at rest, m/s."""
IN_PLACE: Final = 0.3
"""A figure whose hips are slower than this does not travel, m/s."""
_LAST_FRAMES: Final = 4


def soles_of(rows: Tensor) -> Tensor:
    """Positions (..., 4, 3) of the contact joints kept in rows (..., 104)."""
    soles: Tensor = rows[..., SOLES].unflatten(-1, (4, 3))
    return soles


def quats_of(rows: Tensor) -> Tensor:
    """Local rotations (..., 21, 4) kept in rows (..., 104); the hips relative to the heading."""
    quats: Tensor = rows[..., QUATS].unflatten(-1, (NUM_BONES, 4))
    return quats


def standing_row() -> Tensor:
    """The row (104,) of the neutral standing pose."""
    local, hips = standing_pose()
    clip = CorpusClip("standing", "cmu", "idle", "normal", local.expand(4, -1, -1), hips.expand(4, -1))
    return pose_rows([clip])[0][-1]


def pose_rows(clips: Sequence[CorpusClip]) -> tuple[Tensor, Tensor]:
    """Rows (N, 104) and features (N, 260) in physical units of all frames of all clips, one after the other."""
    rotations = torch.cat([clip.rotations for clip in clips])
    # Neighbours stand 64 m apart, so that no speed or contact is seen across a border between clips.
    apart = (torch.tensor([64.0 * (i % 2), 0.0, 0.0]) for i in range(len(clips)))
    hips = torch.cat([clip.hips + away for clip, away in zip(clips, apart, strict=True)])
    features, _ = bones_to_features(rotations, hips)
    lengths = torch.tensor([len(clip.rotations) for clip in clips])
    first = torch.cumsum(lengths, 0) - lengths
    for rates in (YAW_RATE, ROOT_VELOCITY, VELOCITIES):
        features[first, rates] = 0.0
    facing = quat_multiply(yaw_to_quat(-heading(rotations[:, 0])), rotations[:, 0])
    quats = torch.cat([facing[:, None], rotations[:, 1:]], dim=1)
    soles = feet(features[:, POSITIONS].unflatten(1, (NUM_BONES, 3)))
    rows = [features[:, : ROOT_HEIGHT.stop], soles.flatten(1), features[:, CONTACTS], quats.flatten(1)]
    return torch.cat(rows, dim=1), features


def feature_statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (F,) of features (N, F), kept mild where a channel hardly varies.

    Each channel of rotations, positions and velocities is scaled half by its own deviation and half by its group's
    mean, else a channel that is almost constant (a toe, a collar) would be blown up to the weight of a waving hand.
    """
    mean, std = features.mean(0), features.std(0)
    for group in (HIPS_ROT6D, LOCAL_ROT6D, POSITIONS, VELOCITIES):
        std[group] = (std[group] + std[group].mean()) / 2
    std[ROOT_VELOCITY] = std[ROOT_VELOCITY].mean()
    std[ROOT_HEIGHT] = std[ROOT_HEIGHT].clamp_min(0.1)  # m; else one sitting clip would outweigh all standing ones
    std[YAW_RATE] = std[YAW_RATE].clamp_min(0.3)  # rad/s
    mean[CONTACTS], std[CONTACTS] = 0.5, 0.5
    return mean, std.clamp_min(1e-3)


def last_speeds(features: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest speed, m/s, of the hips and of any bone in the last frames of each clip. (n,), (n,)

    ``features`` (N, 260) of all clips, ``ends`` (n,) the row after each clip's last.
    """
    index = (ends[:, None] - 1 - torch.arange(_LAST_FRAMES)).clamp_min(0)  # (n, 4)
    velocity = features[index][..., VELOCITIES].unflatten(-1, (NUM_BONES, 3))
    speed = torch.linalg.vector_norm(velocity, dim=-1)  # (n, 4, 21)
    return speed[..., 0].amax(1), speed.amax((1, 2))
